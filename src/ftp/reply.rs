//! Replies, and the only place that turns errors into reply codes.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind};

/// A reply: its code and one line or several (RFC 959, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Lines,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lines {
    One(Cow<'static, [u8]>),
    /// First line, lines between with one blank before each, last line.
    Many(Vec<Vec<u8>>),
    /// Was written already.
    Sent,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let text = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Reply {
            code,
            lines: Lines::One(text),
        }
    }

    /// A reply of one line of bytes, which may hold a name.
    pub fn bytes(code: u16, text: Vec<u8>) -> Self {
        Reply {
            code,
            lines: Lines::One(Cow::Owned(text)),
        }
    }

    /// A reply of several lines: each between the first and the last begins
    /// with a blank, as RFC 2389 and RFC 3659 ask.
    pub fn many(code: u16, lines: Vec<Vec<u8>>) -> Self {
        Reply {
            code,
            lines: Lines::Many(lines),
        }
    }

    /// Stands for a final reply that the handler has written itself.
    pub fn sent(code: u16) -> Self {
        Reply {
            code,
            lines: Lines::Sent,
        }
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Appends the reply to `out` as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.lines {
            Lines::Sent => {}
            Lines::One(text) => line(out, self.code, b' ', text),
            Lines::Many(lines) => {
                let last = lines.len().saturating_sub(1);
                for (at, text) in lines.iter().enumerate() {
                    if at == last {
                        line(out, self.code, b' ', text);
                    } else if at == 0 {
                        line(out, self.code, b'-', text);
                    } else {
                        out.push(b' ');
                        text_without_breaks(out, text);
                        out.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
    }

    /// The text of a reply of one line, for the log.
    pub fn text(&self) -> &[u8] {
        match &self.lines {
            Lines::One(text) => text,
            Lines::Many(lines) => lines.first().map_or(b"", |line| line),
            Lines::Sent => b"",
        }
    }
}

/// Appends the first of several lines.
pub fn first_line(out: &mut Vec<u8>, code: u16, text: &[u8]) {
    line(out, code, b'-', text);
}

fn line(out: &mut Vec<u8>, code: u16, separator: u8, text: &[u8]) {
    let digit = |number: u16| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[digit(code / 100), digit(code / 10), digit(code), separator]);
    text_without_breaks(out, text);
    out.extend_from_slice(b"\r\n");
}

/// A line break in a name must never begin a line of its own.
fn text_without_breaks(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    out.extend_from_slice(text);
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b'?';
        }
    }
}

/// A path in double quotes, inner ones doubled (RFC 959, appendix II).
pub fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len() + 2);
    text.push(b'"');
    for &byte in path {
        if byte == b'"' {
            text.push(b'"');
        }
        text.push(byte);
    }
    text.push(b'"');
    text
}

impl From<&Error> for Reply {
    fn from(error: &Error) -> Self {
        let (code, text) = match error.kind() {
            ErrorKind::NotFound => (550, "No such file or directory."),
            ErrorKind::Exists => (550, "It exists already."),
            ErrorKind::NotDirectory => (550, "Not a directory."),
            ErrorKind::IsDirectory => (550, "Is a directory."),
            ErrorKind::NotEmpty => (550, "The directory is not empty."),
            ErrorKind::Denied => (550, "Permission denied."),
            ErrorKind::ReadOnly => (550, "The file system is read-only."),
            ErrorKind::NameInvalid => (553, "This name is not allowed."),
            ErrorKind::NoSpace => (452, "The disk is full."),
            ErrorKind::CrossDevice => (550, "Source and target are on different file systems."),
            ErrorKind::Quota => (552, "The quota or the largest size is exceeded."),
            ErrorKind::Unsupported => (502, "Not supported here."),
            ErrorKind::BadOffset => (554, "The offset lies outside the file."),
            ErrorKind::Invalid => (501, "Invalid argument."),
            ErrorKind::Busy => (450, "Busy, try again later."),
            ErrorKind::LoginRefused => (530, "Login incorrect."),
            ErrorKind::TooMany => (421, "Too many; try again later."),
            ErrorKind::Timeout => (421, "Timeout."),
            ErrorKind::Disconnected => (426, "The connection was closed."),
            ErrorKind::Aborted => (426, "The transfer was aborted."),
            ErrorKind::Protocol => (500, "Protocol error."),
            ErrorKind::Internal => (451, "A local error; the server's log says more."),
        };
        Reply::new(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn replies_are_written_as_the_rfcs_say() {
        assert_eq!(wire(Reply::new(220, "ready")), "220 ready\r\n");
        let lines = vec![b"Features".to_vec(), b"SIZE".to_vec(), b"End".to_vec()];
        assert_eq!(
            wire(Reply::many(211, lines)),
            "211-Features\r\n SIZE\r\n211 End\r\n"
        );
        assert_eq!(
            wire(Reply::bytes(257, b"\"a\r\n226 b\"".to_vec())),
            "257 \"a??226 b\"\r\n"
        );
        assert_eq!(wire(Reply::sent(226)), "");
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quoted(b"/a\"b"), b"\"/a\"\"b\"");
    }
}
