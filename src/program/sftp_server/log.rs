//! What the subsystem tells the administrator.

use std::io::{self, Write};
use std::time::Duration;

use log::{Log, Metadata, Record};
use wharf::daemon::line_writer::{LineWriter, Sink};
use wharf::events::{Event, Events, Transferred, Who};

use super::super::syslog::{Syslog, datagram};
use super::flags::Flags;

/// How long a log that blocks may hold the session, once, and its end.
const PATIENCE: Duration = Duration::from_millis(300);

/// Begins logging: to standard error, which sshd hands to the client's
/// terminal, or to syslog. Without a syslogd nobody is told. A thread writes
/// the lines, so that a log that blocks holds nobody.
pub(super) fn start(flags: &Flags) -> Option<LineWriter> {
    let (writer, facility) = if flags.to_stderr {
        (LineWriter::new(Stderr, PATIENCE), None)
    } else {
        let socket = Syslog::connect().ok()?;
        let sink = ToSyslog {
            socket,
            facility: flags.facility,
        };
        (LineWriter::new(sink, PATIENCE), Some(flags.facility))
    };
    let logger = Logger {
        writer: writer.clone(),
        facility,
    };
    // A second logger in one process: then the first one stays.
    if ::log::set_logger(Box::leak(Box::new(logger))).is_ok() {
        ::log::set_max_level(flags.level);
    }
    writer.start();
    Some(writer)
}

/// Not env_logger: `sftp-server` alone is to be small.
struct Logger {
    writer: LineWriter,
    /// `None`: standard error.
    facility: Option<u8>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        let line = match self.facility {
            Some(facility) => datagram(facility, record.level(), &tag(), &text),
            None => (text + "\n").into_bytes(),
        };
        self.writer.push(line);
    }

    fn flush(&self) {}
}

fn tag() -> String {
    format!("sftp-server[{}]", std::process::id())
}

struct Stderr;

impl Sink for Stderr {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        io::stderr().write_all(line)
    }

    fn recovered(&mut self, lost: u64) {
        let _ = self.write_line(format!("{lost} lines of the log were lost\n").as_bytes());
    }
}

struct ToSyslog {
    socket: Syslog,
    facility: u8,
}

impl Sink for ToSyslog {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.socket.send(line)
    }

    fn recovered(&mut self, lost: u64) {
        let text = format!("{lost} lines of the log were lost");
        let _ = self.write_line(&datagram(self.facility, ::log::Level::Warn, &tag(), &text));
    }
}

/// Lines like those of OpenSSH's sftp-server, which analysers know.
pub(super) struct Lines;

impl Events for Lines {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        match event {
            Event::LoggedIn => session("opened", who),
            Event::LoggedOut => session("closed", who),
            Event::Download(transferred) => closed(transferred, transferred.bytes, 0),
            Event::Upload(transferred) => closed(transferred, 0, transferred.bytes),
            Event::Deleted(path) => ::log::info!("remove name \"{path}\""),
            Event::DirectoryMade(path) => ::log::info!("mkdir name \"{path}\""),
            Event::DirectoryRemoved(path) => ::log::info!("rmdir name \"{path}\""),
            Event::Renamed(from, to) => ::log::info!("rename old \"{from}\" new \"{to}\""),
            _ => {}
        }
    }
}

fn session(word: &str, who: &Who<'_>) {
    let user = who.user.unwrap_or("?").escape_debug();
    ::log::info!(
        "session {word} for local user {user} from [{}]",
        who.peer.ip()
    );
}

fn closed(transferred: &Transferred<'_>, read: u64, written: u64) {
    let word = if transferred.complete {
        "close"
    } else {
        "forced close"
    };
    ::log::info!(
        "{word} \"{}\" bytes read {read} written {written}",
        transferred.path
    );
}
