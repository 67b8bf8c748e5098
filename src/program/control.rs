//! The control socket: what `wharfd who`, `status`, `kick`, `ban` and `unban` ask a running
//! wharfd. A question is a line, the answer is lines of fields between tabs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use wharf::config::Network;
use wharf::daemon::{End, Phase, Services, SessionInfo, Unban};

use super::failure::{Failure, what_to_do};

/// How long a question may take, both ways.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest question.
const QUESTION_MAX: u64 = 256;

/// Binds the socket so that only its owner may use it.
///
/// # Errors
/// The path can't be bound, or another wharfd answers there.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let trouble = |error: io::Error| {
        let hint = what_to_do(error.kind());
        Failure::temporary(format!("control-socket {}: {error}{hint}", path.display()))
    };
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(Failure::temporary(format!(
                "control-socket {}: another wharfd answers there",
                path.display()
            )));
        }
        // What one that was killed has left behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(trouble)?;
        }
        Err(_) => {}
    }
    // The mode must be right from the first moment on.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(umask);
    listener.map_err(trouble)
}

/// Answers, one client at a time, for as long as the process lives.
pub fn serve(listener: &UnixListener, services: &Arc<Services>) {
    let since = Instant::now();
    loop {
        match listener.accept() {
            // A client that goes in the middle is its own trouble.
            Ok((stream, _)) => drop(converse(&stream, services, since)),
            Err(error) => {
                log::error!("control-socket: {error}");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

fn converse(stream: &UnixStream, services: &Services, since: Instant) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(stream.take(QUESTION_MAX)).read_line(&mut question)?;
    let answer = answer(question.trim_end(), services, since);
    (&mut &*stream).write_all(answer.as_bytes())
}

fn answer(question: &str, services: &Services, since: Instant) -> String {
    let config = services.config();
    let (word, argument) = question.split_once(' ').unwrap_or((question, ""));
    match word {
        "who" => sessions(services),
        "status" => {
            let sessions = services.registry.all();
            let phase = match services.phase() {
                Phase::Running => "running",
                _ => "stopping",
            };
            let transfers = sessions.iter().filter(|live| live.is_busy()).count();
            let rows = [
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("phase", phase.into()),
                ("uptime", since.elapsed().as_secs().to_string()),
                ("sessions", sessions.len().to_string()),
                ("sessions-limit", config.threads.to_string()),
                ("transfers", transfers.to_string()),
                ("bans", services.limits.bans(&config).len().to_string()),
            ];
            let mut rows: String = rows
                .iter()
                .map(|(name, value)| format!("{name}\t{value}\n"))
                .collect();
            for (reason, count) in services.data_failures.counts() {
                let name = reason.name().replace(' ', "-");
                rows.push_str(&format!("data-{name}\t{count}\n"));
            }
            rows
        }
        "bans" => {
            let bans = services.limits.bans(&config);
            let rows = bans.iter();
            rows.map(|(network, left)| format!("{network}\t{}\n", left.as_secs()))
                .collect()
        }
        "unban" if argument == "all" => {
            services.limits.unban(Unban::All);
            "done\n".into()
        }
        "kick" => kick(services, argument),
        "ban" => match argument.parse::<Network>().map(Network::widened) {
            Ok(network) => {
                services.limits.ban(network, &config);
                let inside =
                    |live: &&Arc<SessionInfo>| network.contains(live.peer.ip().to_canonical());
                for live in services.registry.all().iter().filter(inside) {
                    live.end(End::Kicked);
                }
                "done\n".into()
            }
            Err(what) => format!("error\t{what}\n"),
        },
        "unban" => match argument.parse::<Network>().map(Network::widened) {
            Ok(network) => {
                services.limits.unban(Unban::One(network));
                "done\n".into()
            }
            Err(what) => format!("error\t{what}\n"),
        },
        _ => "error\tunknown question\n".into(),
    }
}

/// Ends the session of a number, or all sessions of a user.
fn kick(services: &Services, whose: &str) -> String {
    let number = whose.parse().ok();
    let all = services.registry.all();
    // A user may be called 7, but who gives a number means the session.
    let found: Vec<_> = match all.iter().filter(|live| Some(live.id) == number).collect() {
        found if !Vec::is_empty(&found) => found,
        _ => all
            .iter()
            .filter(|live| !whose.is_empty() && *live.user.load() == whose)
            .collect(),
    };
    if found.is_empty() {
        return "error\tno session has this number or user; wharfd who lists them\n".into();
    }
    for live in &found {
        live.end(End::Kicked);
    }
    format!("done\t{}\n", found.len())
}

/// Number, user, address, protocol, seconds, command, file, bytes, size,
/// milliseconds of the transfer, version and cipher of TLS, the client's
/// certificate, how the last data connection was protected.
fn sessions(services: &Services) -> String {
    let mut rows = String::new();
    for live in services.registry.all() {
        let words = live.activity().clone();
        let running = words.transfer_since.map(|since| since.elapsed());
        let plain = |text: &str| text.replace(|byte: char| byte.is_control(), "?");
        rows.push_str(&format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            live.id,
            plain(&live.user.load()),
            live.peer.ip().to_canonical(),
            live.protocol,
            live.since.elapsed().as_secs(),
            plain(&words.command),
            plain(&words.file),
            live.bytes.load(Relaxed),
            live.size.load(Relaxed),
            running.map_or(0, |time| time.as_millis()),
            words.tls.version,
            words.tls.cipher,
            plain(&words.tls.certificate),
            words.tls.data.word(),
        ));
    }
    rows
}
