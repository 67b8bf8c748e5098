//! The daemon's log: one line an event, on standard error, in a file or in
//! syslog, as text or as JSON. Times are UTC.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use env_logger::{Builder, Target};
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use wharf::daemon::Utc;
use wharf::daemon::log_context::{self, LogContext};
use wharf::daemon::{LogFormat, Settings};

use super::json::quoted;

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
    fn of(settings: &Settings) -> Self {
        Look {
            format: settings.log_format,
            node: wharf::daemon::own_name(&settings.server),
        }
    }
}

impl Logs {
    /// Takes on level, format and name of other settings.
    pub fn change(&self, settings: &Settings) {
        log::set_max_level(settings.log_level);
        *self.look.write().unwrap_or_else(PoisonError::into_inner) = Look::of(settings);
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
pub fn start(settings: &Settings) -> Result<Logs, String> {
    let mut builder = Builder::new();
    // The level that counts is that of the log crate, which can change.
    builder.filter_level(log::LevelFilter::Trace);
    let mut logs = Logs {
        file: None,
        look: Arc::new(RwLock::new(Look::of(settings))),
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
        let (line, format) = (Line::of(record, &look), look.format);
        if syslog {
            let text = match format {
                LogFormat::Text => line.sentence(),
                LogFormat::Json => line.json(SystemTime::now()),
            };
            return write_datagram(out, FACILITY, record.level(), &tag, &text);
        }
        match format {
            LogFormat::Text => {
                let now = Utc::from(SystemTime::now()).rfc3339();
                writeln!(out, "{now} {:<5} {}", record.level(), line.sentence())
            }
            LogFormat::Json => writeln!(out, "{}", line.json(SystemTime::now())),
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
        wharf::daemon::os::LocalTime::now().syslog()
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
struct Line<'a> {
    level: Level,
    node: Option<&'a str>,
    context: Option<LogContext>,
    message: String,
    /// What the event has besides its message, as JSON.
    fields: Vec<(String, String)>,
}

impl<'a> Line<'a> {
    fn of(record: &Record<'_>, look: &'a Look) -> Self {
        let mut fields = Fields(Vec::new());
        if look.format == LogFormat::Json {
            // The visitor never fails.
            let _ = record.key_values().visit(&mut fields);
        }
        Line {
            level: record.level(),
            node: look.node.as_deref(),
            context: log_context::with_current(|context| context.cloned()),
            message: record.args().to_string(),
            fields: fields.0,
        }
    }

    fn sentence(&self) -> String {
        let mut line = String::with_capacity(self.message.len() + 32);
        if let Some(node) = self.node {
            line.push_str(node);
            line.push(' ');
        }
        if let Some(context) = &self.context {
            line.push_str(&format!("session {}: ", context.session));
        }
        // Peers' text is escaped where it enters a message. Should one have
        // been forgotten, it still forges no line.
        for character in self.message.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
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
        let mut put = |key: &str, value: &str| {
            line.push_str(&format!(",\"{key}\":{value}"));
        };
        if let Some(node) = self.node {
            put("node", &quoted(node));
        }
        if let Some(context) = &self.context {
            put("session", &context.session.to_string());
            // An event that names a user, as a refused login does, says more.
            if let Some(user) = &context.user
                && !self.fields.iter().any(|(key, _)| key == "user")
            {
                put("user", &quoted(user));
            }
            put("address", &quoted(&context.address.to_string()));
            put("protocol", &quoted(context.protocol));
        }
        for (key, value) in &self.fields {
            put(key, value);
        }
        put("message", &quoted(&self.message));
        line.push('}');
        line
    }
}

/// The fields of an event. Their keys are ours and need no quoting.
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = match (value.to_u64(), value.to_bool()) {
            (Some(number), _) => number.to_string(),
            (_, Some(flag)) => flag.to_string(),
            _ => quoted(&value.to_string()),
        };
        self.0.push((key.to_string(), value));
        Ok(())
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

    fn ann() -> LogContext {
        LogContext {
            session: 3,
            address: [192, 0, 2, 1].into(),
            protocol: "ftp",
            user: Some("ann".into()),
        }
    }

    fn line(
        context: Option<LogContext>,
        message: &str,
        fields: &[(&str, Value<'_>)],
    ) -> (String, String) {
        let look = Look {
            format: LogFormat::Json,
            node: Some("n".into()),
        };
        let _scope = context.map(LogContext::enter);
        let mut record = Record::builder();
        record.level(Level::Warn).key_values(&fields);
        let written = |record: &Record<'_>| {
            let line = Line::of(record, &look);
            (line.sentence(), line.json(SystemTime::UNIX_EPOCH))
        };
        written(&record.args(format_args!("{message}")).build())
    }

    #[test]
    fn lines_have_the_session_of_their_thread_and_can_not_be_forged() {
        for (context, message, text, json) in [
            (
                None,
                "session 4: \"quoted\"",
                "n session 4: \"quoted\"",
                r#""node":"n","message":"session 4: \"quoted\""}"#,
            ),
            (
                Some(ann()),
                "two\nlines",
                "n session 3: two\\nlines",
                r#""node":"n","session":3,"user":"ann","address":"192.0.2.1","protocol":"ftp","message":"two\nlines"}"#,
            ),
        ] {
            let start = r#"{"time":"1970-01-01T00:00:00Z","level":"warn","#;
            assert_eq!(
                line(context, message, &[]),
                (text.into(), format!("{start}{json}"))
            );
        }
    }

    #[test]
    fn an_events_fields_are_in_json_and_go_before_those_of_the_session() {
        let fields = [
            ("path", Value::from("/a\"b")),
            ("bytes", Value::from(7u64)),
            ("complete", Value::from(false)),
            ("user", Value::from("bob")),
        ];
        let (text, json) = line(Some(ann()), "sent", &fields);
        assert_eq!(text, "n session 3: sent");
        let end = r#""session":3,"address":"192.0.2.1","protocol":"ftp","path":"/a\"b","bytes":7,"complete":false,"user":"bob","message":"sent"}"#;
        assert!(json.ends_with(end), "{json}");
    }
}
