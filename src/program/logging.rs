//! The daemon's log: one line an event, on standard error, in a file, in
//! syslog or in the journal, as text or as JSON. Times are UTC. Lines are
//! written by a thread of their own, so that a log that blocks holds nobody.

pub mod changes;
mod line;
mod sinks;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use env_logger::{Builder, Target};
use log::Level;
use wharf::daemon::line_writer::LineWriter;
use wharf::daemon::{Settings, Swap};

use line::{Format, Head, Look};
use sinks::{LogFile, Stderr, ToSyslog};

use super::syslog::{SYSLOG, Syslog, datagram};

/// LOG_FTP of RFC 3164, table 1.
const FACILITY: u8 = 11;
/// How long a log that blocks may hold a session, once, and the end of the
/// process.
const PATIENCE: Duration = Duration::from_millis(300);

/// The log in use.
#[derive(Clone)]
pub struct Logs {
    writer: LineWriter,
    look: Arc<Swap<Look>>,
}

impl Logs {
    /// Takes on level, format and name of other settings.
    pub fn change(&self, settings: &Settings) {
        log::set_max_level(settings.log_level);
        self.look.replace(Look::of(settings));
    }

    /// Opens the file again by its name, after it was rotated away; on
    /// failure the old one stays in use.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// From now on a thread writes the lines. Call it when the process is who
    /// it will be.
    pub fn start_thread(&self) {
        self.writer.start();
    }

    /// Waits for the lines that were logged, unless the log blocks.
    pub fn finish(&self) {
        self.writer.wait();
    }
}

/// Starts the log as the settings say. Until [`Logs::start_thread`] lines are
/// written by whoever logs them.
///
/// # Errors
/// A log file that can't be opened, or no syslogd, as a sentence.
pub fn start(settings: &Settings) -> Result<Logs, String> {
    let look = Arc::new(Swap::new(Look::of(settings)));
    let format = |head| Format::new(head, Arc::clone(&look));
    let (head, writer) = if let Some(path) = &settings.log_file {
        let file = LogFile::open(path, format(Head::Time)).map_err(|error| {
            format!(
                "log-file {}: {error}; may this user write there?",
                path.display()
            )
        })?;
        (Head::Time, LineWriter::new(file, PATIENCE))
    } else if settings.syslog {
        let head = Head::Syslog(format!("wharfd[{}]", std::process::id()));
        let socket = Syslog::connect().map_err(|error| {
            format!("syslog: {SYSLOG}: {error}; is a syslogd running? --log-file FILE needs none")
        })?;
        let format = format(head.clone());
        (head, LineWriter::new(ToSyslog { socket, format }, PATIENCE))
    } else {
        let head = if is_journal() {
            Head::Journal
        } else {
            Head::Time
        };
        let sink = Stderr(format(head.clone()));
        (head, LineWriter::new(sink, PATIENCE))
    };
    let mut builder = Builder::new();
    // The level that counts is that of the log crate, which can change.
    builder.filter_level(log::LevelFilter::Trace);
    builder.target(Target::Pipe(Box::new(Queued(writer.clone()))));
    let lines = format(head);
    builder.format(move |out, record| out.write_all(&lines.line(record)));
    // A second logger in one process: then the first one stays.
    let _ = builder.try_init();
    log::set_max_level(settings.log_level);
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(Logs { writer, look })
}

/// Whether standard error is the journal: systemd tells which socket is
/// (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let Ok(own) = rustix::fs::fstat(io::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", own.st_dev, own.st_ino))
}

/// Whether a syslogd listens.
pub fn has_syslog() -> bool {
    Syslog::connect().is_ok()
}

/// One line to syslogd before the log has started.
pub fn once(sentence: &str) {
    if let Ok(mut socket) = Syslog::connect() {
        let tag = format!("wharfd[{}]", std::process::id());
        let line = datagram(FACILITY, Level::Error, &tag, sentence);
        let _ = socket.send(&line);
    }
}

/// The logger's side of the queue: each write is a line.
struct Queued(LineWriter);

impl Write for Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A lost line is counted there.
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
