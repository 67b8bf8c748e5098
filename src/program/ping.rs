//! `wharfd ping`: whether a server greets, and with `--tls` whether clients
//! will trust its certificate. For health checks and for administrators.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use getopts::Options;

use super::failure::Failure;

/// How long everything may take, unless the command line says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest greeting that is read.
const GREETING_MAX: u64 = 64 * 1024;
/// Exit code when the server is not as it should be.
const NOT_WELL: i32 = 1;

/// Runs `wharfd ping` with the arguments after that word; the exit code.
pub fn run(arguments: &[String]) -> i32 {
    match ping(arguments) {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

fn not_well(what: impl std::fmt::Display) -> Failure {
    Failure {
        code: NOT_WELL,
        what: what.to_string(),
    }
}

/// Where to ask, and how.
struct Target {
    host: String,
    port: u16,
    #[cfg_attr(not(feature = "ftps"), allow(dead_code))]
    implicit: bool,
    until: Instant,
}

fn ping(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options::new();
    options.optflag("", "tls", "with AUTH TLS, and look at the certificate");
    options.optflag("", "implicit", "the same with TLS from the first byte");
    options.optopt("", "timeout", "how long all of it may take; 10", "SECONDS");
    options.optflag("h", "help", "show this");
    let matches = options.parse(arguments).map_err(Failure::usage)?;
    if matches.opt_present("help") {
        print!(
            "{}",
            options.usage("usage: wharfd ping [options] HOST[:PORT]")
        );
        return Ok(());
    }
    let implicit = matches.opt_present("implicit");
    let time = match matches.opt_str("timeout").map(|text| text.parse()) {
        None => PATIENCE,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => return Err(Failure::usage("--timeout takes seconds")),
    };
    let [place] = &matches.free[..] else {
        return Err(Failure::usage("ping takes one HOST:PORT"));
    };
    let (host, port) = split(place, if implicit { 990 } else { 21 })
        .ok_or_else(|| Failure::usage(format!("'{}' is no HOST:PORT", place.escape_debug())))?;
    let target = Target {
        host,
        port,
        implicit,
        until: Instant::now() + time,
    };
    let said = if implicit || matches.opt_present("tls") {
        tls::ask(&target)?
    } else {
        greeted(&mut BufReader::new(target.connect()?))?
    };
    let _ = writeln!(io::stdout(), "{said}");
    Ok(())
}

/// `[::1]:21`, `host:21`, `::1` or `host`.
fn split(place: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some(""))?,
            )
        }
        None if place.matches(':').count() > 1 => (place, ""),
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = match port {
        "" => default,
        port => port.parse().ok()?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

impl Target {
    /// The first address that answers.
    fn connect(&self) -> Result<Timed, Failure> {
        let place = (self.host.as_str(), self.port);
        let wrong = |error: io::Error| not_well(format!("{}: {error}", self.host));
        let mut last = io::ErrorKind::NotFound.into();
        for address in place.to_socket_addrs().map_err(wrong)? {
            match TcpStream::connect_timeout(&address, left(self.until).map_err(wrong)?) {
                Ok(stream) => {
                    return Ok(Timed {
                        stream,
                        until: self.until,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(wrong(last))
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A connection all of whose waits end in time.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a greeting and takes leave; its last line.
fn greeted(stream: &mut BufReader<impl Read + Write>) -> Result<String, Failure> {
    let line = reply(stream)?;
    if line.starts_with("SSH-2.0-") {
        return Ok(line);
    }
    if !line.starts_with("220 ") {
        return Err(not_well(format!("the server greets with: {line}")));
    }
    let _ = stream.get_mut().write_all(b"QUIT\r\n");
    Ok(line)
}

/// The last line of a reply, with nothing in it that moves a terminal.
fn reply(stream: &mut BufReader<impl Read>) -> Result<String, Failure> {
    let mut most = stream.take(GREETING_MAX);
    loop {
        let mut line = Vec::new();
        most.read_until(b'\n', &mut line)
            .map_err(|error| not_well(format!("no reply: {error}")))?;
        if !line.ends_with(b"\n") {
            return Err(not_well("the server ends the connection without a reply"));
        }
        let more = line.get(3) == Some(&b'-') && line[..3].iter().all(u8::is_ascii_digit);
        if !more {
            let text = String::from_utf8_lossy(&line);
            return Ok(text.trim_end().replace(char::is_control, "?"));
        }
    }
}

#[cfg(not(feature = "ftps"))]
mod tls {
    use super::{Failure, Target};

    pub(super) fn ask(_: &Target) -> Result<String, Failure> {
        Err(Failure::usage(
            "this build has no TLS: it lacks the feature ftps",
        ))
    }
}

/// As clients will see it, through the library that many of them use: the
/// authorities that this machine trusts, the chain, the name and the dates.
#[cfg(feature = "ftps")]
mod tls {
    use std::io::{BufReader, Write};

    use native_tls::{Protocol, TlsConnector, TlsStream};

    use super::{Failure, Target, Timed, greeted, not_well, reply};

    pub(super) fn ask(target: &Target) -> Result<String, Failure> {
        let mut stream = BufReader::new(handshake(target, Protocol::Tlsv12)?);
        let version = match handshake(target, Protocol::Tlsv13) {
            Ok(_) => "TLS 1.3",
            Err(_) => "TLS 1.2 and not 1.3",
        };
        let said = if target.implicit {
            greeted(&mut stream)?
        } else {
            let _ = stream.get_mut().write_all(b"QUIT\r\n");
            String::from("ready")
        };
        Ok(format!(
            "{said} ({version}, and the certificate is good for {})",
            target.host
        ))
    }

    fn handshake(target: &Target, min: Protocol) -> Result<TlsStream<Timed>, Failure> {
        let mut stream = target.connect()?;
        if !target.implicit {
            let mut buffered = BufReader::new(stream);
            let greeting = reply(&mut buffered)?;
            if !greeting.starts_with("220 ") {
                return Err(not_well(format!("the server greets with: {greeting}")));
            }
            buffered
                .get_mut()
                .write_all(b"AUTH TLS\r\n")
                .map_err(not_well)?;
            let answer = reply(&mut buffered)?;
            if !answer.starts_with("234 ") {
                return Err(not_well(format!("AUTH TLS: {answer}")));
            }
            stream = buffered.into_inner();
        }
        let connector = TlsConnector::builder()
            .min_protocol_version(Some(min))
            .build()
            .map_err(not_well)?;
        connector.connect(&target.host, stream).map_err(|error| {
            let what = error.to_string();
            let advice = ADVICE.iter().find(|(part, _)| what.contains(part));
            let advice = advice.map_or("", |(_, advice)| advice);
            not_well(format!("TLS: {what}{advice}"))
        })
    }

    /// What to do about what OpenSSL says.
    const ADVICE: [(&str, &str); 6] = [
        (
            "mismatch",
            "; clients must use a name that is in the certificate",
        ),
        (
            "has expired",
            "; renew it, or set this machine's clock if that is wrong",
        ),
        ("not yet valid", "; is the clock right?"),
        (
            "self-signed certificate",
            "; clients ask their users whether to trust it",
        ),
        (
            "unable to get local issuer certificate",
            "; an intermediate certificate is missing in tls-cert, or nobody here knows the authority",
        ),
        (
            "unable to verify the first certificate",
            "; the intermediate certificates are missing in tls-cert",
        ),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_split() {
        for (place, want) in [
            ("host", Some(("host", 21))),
            ("host:2121", Some(("host", 2121))),
            ("[::1]:2121", Some(("::1", 2121))),
            ("[::1]", Some(("::1", 21))),
            ("::1", Some(("::1", 21))),
            ("host:ftp", None),
            ("[::1]x", None),
            (":21", None),
        ] {
            let want = want.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(split(place, 21), want, "{place}");
        }
    }
}
