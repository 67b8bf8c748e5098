//! How a line looks: text or JSON, and what stands before it.

use std::sync::Arc;
use std::time::SystemTime;

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use wharf::daemon::log_context::{self, LogContext};
use wharf::daemon::{LogFormat, Settings, Swap, Utc};

use super::FACILITY;
use crate::program::json::quoted;
use crate::program::syslog::{datagram, severity};

/// What may change while the log is in use.
pub(super) struct Look {
    format: LogFormat,
    node: Option<String>,
}

impl Look {
    pub(super) fn of(settings: &Settings) -> Self {
        Look {
            format: settings.log_format,
            node: wharf::daemon::own_name(&settings.server),
        }
    }
}

/// What stands before a line.
#[derive(Clone)]
pub(super) enum Head {
    /// Time and level.
    Time,
    /// The importance alone, in the form of sd-daemon(3): the journal knows
    /// the time, and takes the number off.
    Journal,
    /// What syslogd takes, with this tag.
    Syslog(String),
}

/// Makes lines of records.
#[derive(Clone)]
pub(super) struct Format {
    head: Head,
    look: Arc<Swap<Look>>,
}

impl Format {
    pub(super) fn new(head: Head, look: Arc<Swap<Look>>) -> Self {
        Format { head, look }
    }

    /// One line or datagram.
    pub(super) fn line(&self, record: &Record<'_>) -> Vec<u8> {
        let look = self.look.load();
        let now = SystemTime::now();
        let line = LogLine::of(record, &look);
        let text = match look.format {
            LogFormat::Text => line.sentence(),
            LogFormat::Json => line.json(now),
        };
        let level = record.level();
        match (&self.head, look.format) {
            (Head::Syslog(tag), _) => datagram(FACILITY, level, tag, &text),
            (Head::Journal, _) => format!("<{}>{text}\n", severity(level)).into_bytes(),
            (Head::Time, LogFormat::Text) => {
                format!("{} {level:<5} {text}\n", Utc::from(now).rfc3339()).into_bytes()
            }
            (Head::Time, LogFormat::Json) => format!("{text}\n").into_bytes(),
        }
    }

    /// The line that tells that `lost` lines are missing.
    pub(super) fn lost(&self, lost: u64) -> Vec<u8> {
        let record = |args| self.line(&Record::builder().level(Level::Warn).args(args).build());
        record(format_args!(
            "{lost} lines of this log are lost: it could not be written, or not fast enough"
        ))
    }
}

/// One event, taken apart into what each format writes.
pub(super) struct LogLine<'a> {
    level: Level,
    node: Option<&'a str>,
    context: Option<LogContext>,
    message: String,
    /// What the event has besides its message, as JSON.
    fields: Vec<(String, String)>,
}

impl<'a> LogLine<'a> {
    fn of(record: &Record<'_>, look: &'a Look) -> Self {
        let mut fields = Fields(Vec::new());
        if look.format == LogFormat::Json {
            // The visitor never fails.
            let _ = record.key_values().visit(&mut fields);
        }
        LogLine {
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
            let user = context.user.load();
            if !user.is_empty() && !self.fields.iter().any(|(key, _)| key == "user") {
                put("user", &quoted(&user));
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
            _ => match value.to_string() {
                // There is nothing to say, such as of TLS in the clear.
                empty if empty.is_empty() => return Ok(()),
                text => quoted(&text),
            },
        };
        self.0.push((key.to_string(), value));
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
            user: "ann".into(),
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
            let line = LogLine::of(record, &look);
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
