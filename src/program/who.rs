//! `wharfd who`, `wharfd status` and `wharfd unban`: asks a running wharfd
//! through its control socket.

use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use getopts::{Matches, Options};

use super::failure::Failure;
use super::json::quoted;

/// Where a wharfd that was not told otherwise is asked.
const SOCKET: &str = "/run/wharf/wharfd.sock";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two pictures of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);
/// Characters of a progress bar.
const BAR: u64 = 20;

/// Runs one of the words; the exit code.
pub fn run(word: &str, arguments: &[String]) -> i32 {
    match ask_and_show(word, arguments) {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

fn ask_and_show(word: &str, arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options::new();
    options.optopt("", "control-socket", "where wharfd listens", "FILE");
    options.optflag("h", "help", "show this");
    match word {
        "who" => {
            options.optflag("", "json", "one JSON object for each session");
            options.optflag("w", "watch", "again every second");
        }
        "status" => {
            options.optflag("", "json", "one JSON object");
            options.optflag("", "bans", "the banned addresses instead");
        }
        _ => {}
    }
    let matches = options.parse(arguments).map_err(Failure::usage)?;
    let takes = match word {
        "kick" => " ID|USER",
        "ban" => " ADDRESS",
        "unban" => " ADDRESS|all",
        _ => "",
    };
    if matches.opt_present("help") {
        print!(
            "{}",
            options.usage(&format!("usage: wharfd {word} [options]{takes}"))
        );
        return Ok(());
    }
    match (word, &matches.free[..]) {
        ("kick" | "ban" | "unban", [whose]) => {
            let reply = ask(&matches, &format!("{word} {whose}"))?;
            match reply.trim_end().split_once('\t') {
                Some(("error", what)) => Err(Failure::usage(what)),
                _ => Ok(()),
            }
        }
        ("kick" | "ban" | "unban", _) => Err(Failure::usage(format!("{word} takes one{takes}"))),
        (_, [surplus, ..]) => Err(Failure::usage(format!(
            "{word} takes no '{}'",
            surplus.escape_debug()
        ))),
        ("status", []) if matches.opt_present("bans") => {
            say(&bans(&ask(&matches, "bans")?, matches.opt_present("json")))
        }
        ("status", []) => say(&status(
            &ask(&matches, "status")?,
            matches.opt_present("json"),
        )),
        (_, []) => who(&matches),
    }
}

fn who(matches: &Matches) -> Result<(), Failure> {
    let watch = matches.opt_present("watch");
    let terminal = io::stdout().is_terminal();
    loop {
        let answer = ask(matches, "who")?;
        let mut picture = if matches.opt_present("json") {
            answer.lines().map(object).collect()
        } else {
            table(&answer)
        };
        if watch && terminal {
            // Home, and clear what was below.
            picture = format!("\x1b[H\x1b[J{picture}");
        }
        say(&picture)?;
        if !watch {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask(matches: &Matches, question: &str) -> Result<String, Failure> {
    let path = matches
        .opt_str("control-socket")
        .or_else(|| {
            let named = std::env::var("WHARFD_CONTROL_SOCKET").ok();
            named.filter(|path| !path.is_empty())
        })
        .map_or_else(|| PathBuf::from(SOCKET), PathBuf::from);
    let exchange = || -> io::Result<String> {
        let mut socket = UnixStream::connect(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        writeln!(socket, "{question}")?;
        socket.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(|error| {
        Failure::temporary(format!(
            "{}: {error}; does a wharfd run with --control-socket {0}?",
            path.display()
        ))
    })
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    // `wharfd who | head` ends us well.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.map_err(Failure::temporary),
    }
}

/// Fields of a line of the answer to `who`, as control.rs writes them.
struct Row<'a>(Vec<&'a str>);

impl<'a> Row<'a> {
    fn of(line: &'a str) -> Self {
        Row(line.split('\t').collect())
    }

    fn text(&self, at: usize) -> &'a str {
        self.0.get(at).copied().unwrap_or("")
    }

    fn number(&self, at: usize) -> u64 {
        self.text(at).parse().unwrap_or(0)
    }

    fn rate(&self) -> u64 {
        let time = self.number(9).max(1);
        (u128::from(self.number(7)) * 1000 / u128::from(time)).min(u64::MAX.into()) as u64
    }

    fn per_cent(&self) -> Option<u64> {
        let (bytes, size) = (self.number(7), self.number(8));
        (size > 0).then(|| (u128::from(bytes.min(size)) * 100 / u128::from(size)) as u64)
    }
}

fn table(answer: &str) -> String {
    let mut out = format!(
        "{:>6} {:<16} {:<15} {:<5} {:<4} {:>8} {:<6} {:<28} {:>8} FILE\n",
        "ID", "USER", "ADDRESS", "PROTO", "TLS", "TIME", "DOES", "PROGRESS", "RATE/S"
    );
    for row in answer.lines().map(Row::of) {
        let running = !row.text(6).is_empty();
        let progress = match (running, row.per_cent()) {
            (false, _) => String::new(),
            (true, Some(per_cent)) => {
                let full = (per_cent * BAR / 100) as usize;
                let empty = BAR as usize - full;
                format!(
                    "[{}{}] {per_cent:>3} %",
                    "#".repeat(full),
                    "-".repeat(empty)
                )
            }
            (true, None) => bytes(row.number(7)),
        };
        let rate = if running {
            bytes(row.rate())
        } else {
            String::new()
        };
        let does = match row.text(5) {
            "" if running => "files",
            "" => "idle",
            command => command,
        };
        let user = match row.text(1) {
            "" => "(login)",
            user => user,
        };
        let tls = match row.text(10) {
            "" if row.text(3) == "sftp" => "",
            "" => "no",
            version => version.trim_start_matches("TLSv"),
        };
        let seconds = row.number(4);
        let time = format!(
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let line = format!(
            "{:>6} {user:<16} {:<15} {:<5} {tls:<4} {time:>8} {does:<6} {progress:<28} {rate:>8} {}",
            row.text(0),
            row.text(2),
            row.text(3),
            row.text(6)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn object(line: &str) -> String {
    let row = Row::of(line);
    let mut out = format!(
        "{{\"session\":{},\"user\":{},\"address\":{},\"protocol\":{},\"seconds\":{},\"command\":{}",
        row.number(0),
        quoted(row.text(1)),
        quoted(row.text(2)),
        quoted(row.text(3)),
        row.number(4),
        quoted(row.text(5))
    );
    for (name, at) in [
        ("tls", 10),
        ("cipher", 11),
        ("certificate", 12),
        ("data_tls", 13),
    ] {
        if !row.text(at).is_empty() {
            out.push_str(&format!(",\"{name}\":{}", quoted(row.text(at))));
        }
    }
    if !row.text(6).is_empty() {
        out.push_str(&format!(
            ",\"file\":{},\"bytes\":{},\"rate\":{}",
            quoted(row.text(6)),
            row.number(7),
            row.rate()
        ));
        if let Some(per_cent) = row.per_cent() {
            out.push_str(&format!(
                ",\"size\":{},\"percent\":{per_cent}",
                row.number(8)
            ));
        }
    }
    out + "}\n"
}

fn status(answer: &str, json: bool) -> String {
    let rows = answer.lines().filter_map(|line| line.split_once('\t'));
    if !json {
        return rows
            .map(|(name, value)| format!("{name:<20}{value}\n"))
            .collect();
    }
    let value = |text: &str| match text.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => quoted(text),
    };
    let fields: Vec<_> = rows
        .map(|(name, text)| format!("{}:{}", quoted(name), value(text)))
        .collect();
    format!("{{{}}}\n", fields.join(","))
}

fn bans(answer: &str, json: bool) -> String {
    let rows = answer.lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(network, left)| {
        if json {
            format!("{{\"network\":{},\"seconds\":{left}}}\n", quoted(network))
        } else {
            format!("{network:<40} {left} seconds left\n")
        }
    })
    .collect()
}

/// With one decimal and a letter, as in `df -h`.
fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut unit = 1024_u64;
    for letter in ["K", "M", "G", "T"] {
        // Tenths, rounded. What is left over is below the unit: nothing overflows.
        let tenths = count / unit * 10 + (count % unit * 10 + unit / 2) / unit;
        if tenths < 10_000 || letter == "T" {
            return format!("{}.{} {letter}", tenths / 10, tenths % 10);
        }
        unit *= 1024;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_objects_show_what_runs() {
        let answer = "7\tann\t192.0.2.1\tftp\t3661\tRETR\t/a \"b\"\t512\t1024\t500\tTLSv1.3\tTLS_X\tCN=ann\tresumed\n\
                      8\t\t2001:db8::1\tsftp\t5\t\t\t0\t0\t0\n";
        let table = table(answer);
        let mut lines = table.lines().skip(1);
        let line = lines.next().unwrap();
        for part in [
            "ann",
            "1:01:01",
            "RETR",
            "[##########----------]  50 %",
            "1.0 K",
            " ftp   1.3  ",
            "/a \"b\"",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let line = lines.next().unwrap();
        assert!(line.contains("(login)") && line.contains("idle"), "{line}");
        let objects: Vec<_> = answer.lines().map(object).collect();
        assert_eq!(
            objects[0],
            "{\"session\":7,\"user\":\"ann\",\"address\":\"192.0.2.1\",\"protocol\":\"ftp\",\
             \"seconds\":3661,\"command\":\"RETR\",\"tls\":\"TLSv1.3\",\"cipher\":\"TLS_X\",\
             \"certificate\":\"CN=ann\",\"data_tls\":\"resumed\",\"file\":\"/a \\\"b\\\"\",\"bytes\":512,\
             \"rate\":1024,\"size\":1024,\"percent\":50}\n"
        );
        assert!(objects[1].ends_with("\"command\":\"\"}\n"));
        assert_eq!(bytes(1536), "1.5 K");
        assert_eq!(bytes(u64::MAX), "16777216.0 T");
    }
}
