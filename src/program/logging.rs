//! The daemon's log: one line an event, on standard error, in a file or in
//! syslog, as text or as JSON. Times are UTC.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use env_logger::{Builder, Target};
use log::{Level, Record};
use wharf::Config;
use wharf::config::LogFormat;
use wharf::session;
use wharf::time::Utc;

/// Where syslogd listens.
const SYSLOG: &str = "/dev/log";
/// LOG_FTP of RFC 3164, table 1.
const FACILITY: u8 = 11;
/// A datagram that every syslogd takes (RFC 3164, section 4.1, says 1024; all
/// of today's take 8 KiB). A longer line is cut, not lost.
const SYSLOG_MAX: usize = 8000;

/// The log in use.
#[derive(Clone)]
pub struct Logs {
    file: Option<Arc<LogFile>>,
    look: Arc<RwLock<Look>>,
}

/// How lines look.
struct Look {
    format: LogFormat,
    node: Option<String>,
}

impl Look {
    fn of(config: &Config) -> Self {
        Look {
            format: config.program.log_format,
            node: config.own_name(),
        }
    }
}

impl Logs {
    /// Takes on level, format and name of other settings.
    pub fn change(&self, config: &Config) {
        log::set_max_level(config.program.log_level);
        *self.look.write().unwrap_or_else(PoisonError::into_inner) = Look::of(config);
    }

    /// Opens the file again by its name, after it was rotated away; on
    /// failure the old one stays in use.
    pub fn reopen(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.reopen()
        {
            log::error!(
                "{}: {error}; the log goes on in the old file",
                file.path.display()
            );
        }
    }
}

/// Starts the log as the settings say.
///
/// # Errors
/// A log file that can't be opened, or no syslogd, as a sentence.
pub fn start(config: &Config) -> Result<Logs, String> {
    let settings = &config.program;
    let mut builder = Builder::new();
    // The level that counts is that of the log crate, which can change.
    builder.filter_level(log::LevelFilter::Trace);
    let mut logs = Logs {
        file: None,
        look: Arc::new(RwLock::new(Look::of(config))),
    };
    let mut syslog = false;
    if let Some(path) = &settings.log_file {
        let file = LogFile::open(path).map_err(|error| {
            format!(
                "log-file {}: {error}; may this user write there?",
                path.display()
            )
        })?;
        let file = Arc::new(file);
        builder.target(Target::Pipe(Box::new(Shared(Arc::clone(&file)))));
        logs.file = Some(file);
    } else if settings.syslog {
        let socket = Syslog::connect().map_err(|error| {
            format!("syslog: {SYSLOG}: {error}; is a syslogd running? --log-file FILE needs none")
        })?;
        builder.target(Target::Pipe(Box::new(socket)));
        syslog = true;
    }
    let look = Arc::clone(&logs.look);
    let tag = format!("wharfd[{}]", std::process::id());
    builder.format(move |out, record| {
        let look = look.read().unwrap_or_else(PoisonError::into_inner);
        let (event, format) = (Event::of(record, look.node.as_deref()), look.format);
        if syslog {
            let text = match format {
                LogFormat::Text => event.sentence(),
                LogFormat::Json => event.json(SystemTime::now()),
            };
            return write_datagram(out, FACILITY, record.level(), &tag, &text);
        }
        match format {
            LogFormat::Text => {
                let now = Utc::from(SystemTime::now()).rfc3339();
                writeln!(out, "{now} {:<5} {}", record.level(), event.sentence())
            }
            LogFormat::Json => writeln!(out, "{}", event.json(SystemTime::now())),
        }
    });
    // A second logger in one process: then the first one stays.
    let _ = builder.try_init();
    log::set_max_level(settings.log_level);
    Ok(logs)
}

/// Writes what syslogd takes (RFC 3164, section 4.1). One write is one
/// datagram, so it is made in one piece.
pub(super) fn write_datagram(
    out: &mut impl Write,
    facility: u8,
    level: Level,
    tag: &str,
    text: &str,
) -> io::Result<()> {
    let line = format!(
        "<{}>{} {tag}: {text}",
        u32::from(facility) << 3 | u32::from(severity(level)),
        wharf::os::LocalTime::now().syslog()
    );
    let length = line.len().min(SYSLOG_MAX);
    out.write_all(&line.as_bytes()[..length])
}

/// Whether a syslogd listens.
pub fn has_syslog() -> bool {
    Syslog::connect().is_ok()
}

/// One line to syslogd before the log has started.
pub fn once(sentence: &str) {
    if let Ok(mut socket) = Syslog::connect() {
        let tag = format!("wharfd[{}]", std::process::id());
        let _ = write_datagram(&mut socket, FACILITY, Level::Error, &tag, sentence);
    }
}

/// The numbers of RFC 3164, table 2.
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// One event, taken apart into what each format writes.
struct Event<'a> {
    level: Level,
    node: Option<&'a str>,
    session: Option<u64>,
    message: String,
}

impl<'a> Event<'a> {
    fn of(record: &Record<'_>, node: Option<&'a str>) -> Self {
        Event::new(
            record.level(),
            node,
            session::current(),
            record.args().to_string(),
        )
    }

    /// Messages about a session of another thread begin with its number;
    /// in those of the thread's own session it may be left out.
    fn new(level: Level, node: Option<&'a str>, current: Option<u64>, message: String) -> Self {
        let named = message
            .strip_prefix("session ")
            .and_then(|rest| rest.split_once(": "))
            .and_then(|(number, rest)| Some((number.parse().ok()?, rest.to_owned())));
        let (session, message) = match named {
            Some((number, rest)) => (Some(number), rest),
            None => (current, message),
        };
        Event {
            level,
            node,
            session,
            message,
        }
    }

    fn sentence(&self) -> String {
        let mut line = String::with_capacity(self.message.len() + 32);
        if let Some(node) = self.node {
            line.push_str(node);
            line.push(' ');
        }
        if let Some(session) = self.session {
            line.push_str(&format!("session {session}: "));
        }
        // Peers' text is escaped where it enters a message. Should one have
        // been forgotten, it still forges no line.
        for character in self.message.chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
        line
    }

    fn json(&self, now: SystemTime) -> String {
        let mut line = format!(
            "{{\"time\":\"{}\",\"level\":\"{}\"",
            Utc::from(now).rfc3339(),
            self.level.as_str().to_ascii_lowercase()
        );
        if let Some(node) = self.node {
            line.push_str(",\"node\":");
            line.push_str(&super::json::quoted(node));
        }
        if let Some(session) = self.session {
            line.push_str(&format!(",\"session\":{session}"));
        }
        line.push_str(",\"message\":");
        line.push_str(&super::json::quoted(&self.message));
        line.push('}');
        line
    }
}

/// A file that can be opened again while others write to it.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(LogFile {
            path: path.into(),
            file: Mutex::new(append(path)?),
        })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

struct Shared(Arc<LogFile>);

impl Write for Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way to syslogd. One that was started again is found again.
pub(super) struct Syslog(UnixDatagram);

impl Syslog {
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SYSLOG)?;
        // A syslogd that hangs must not hold the sessions.
        socket.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
        Ok(Syslog(socket))
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.send(line).is_err() {
            *self = Syslog::connect()?;
            self.0.send(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_node_and_session_once_and_can_not_be_forged() {
        for (current, message, text, json) in [
            (
                None,
                "plain",
                "n plain",
                r#"{"time":"1970-01-01T00:00:00Z","level":"warn","node":"n","message":"plain"}"#,
            ),
            (
                Some(3),
                "session 4: of \"another\"",
                "n session 4: of \"another\"",
                r#"{"time":"1970-01-01T00:00:00Z","level":"warn","node":"n","session":4,"message":"of \"another\""}"#,
            ),
            (
                Some(3),
                "two\nlines",
                "n session 3: two\\nlines",
                r#"{"time":"1970-01-01T00:00:00Z","level":"warn","node":"n","session":3,"message":"two\nlines"}"#,
            ),
        ] {
            let event = Event::new(Level::Warn, Some("n"), current, message.into());
            assert_eq!(event.sentence(), text);
            assert_eq!(event.json(SystemTime::UNIX_EPOCH), json);
        }
    }
}
