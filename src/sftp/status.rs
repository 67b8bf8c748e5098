//! What a client is told about an error: the one mapping from kinds to the
//! numbers of draft-ietf-secsh-filexfer-02, section 7, with fixed words. The
//! cause goes to the log.

use super::wire::Replies;
use crate::error::{Error, ErrorKind};

/// SSH_FXP_STATUS.
const STATUS: u8 = 101;

/// A number of section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Writes a whole STATUS reply.
pub(super) fn reply(replies: &mut Replies, id: u32, code: Code, words: &str) {
    replies.begin(STATUS, id);
    replies.u32(code as u32);
    replies.string(words.as_bytes());
    // No language tag: the words are English whatever is asked.
    replies.string(b"");
    replies.finish();
}

/// Writes the STATUS reply for an error.
pub(super) fn refuse(replies: &mut Replies, id: u32, error: &Error) {
    let (code, words) = of(error.kind());
    reply(replies, id, code, error.words().unwrap_or(words));
}

/// Number and words of a kind. OpenSSH's numbers where it has one for the
/// same cause, because clients were written against it; the words say more
/// than the number can, because WinSCP, FileZilla and lftp show them.
pub(super) fn of(kind: ErrorKind) -> (Code, &'static str) {
    use Code::*;
    match kind {
        ErrorKind::NotFound => (NoSuchFile, "No such file"),
        ErrorKind::NotDirectory => (NoSuchFile, "Not a directory"),
        ErrorKind::Denied => (PermissionDenied, "Permission denied"),
        ErrorKind::LoginRefused => (PermissionDenied, "Permission denied"),
        ErrorKind::ReadOnly => (PermissionDenied, "Read-only file system"),
        ErrorKind::Exists => (Failure, "File exists"),
        ErrorKind::IsDirectory => (Failure, "Is a directory"),
        ErrorKind::NotEmpty => (Failure, "Directory not empty"),
        ErrorKind::NoSpace => (Failure, "No space left"),
        ErrorKind::CrossDevice => (Failure, "Cross-device link"),
        ErrorKind::Quota => (Failure, "Quota exceeded"),
        ErrorKind::BadOffset => (Failure, "Bad offset"),
        ErrorKind::Busy => (Failure, "Busy, try again later"),
        ErrorKind::TooMany => (Failure, "Too many open handles"),
        ErrorKind::NameInvalid => (BadMessage, "Invalid name"),
        ErrorKind::Protocol => (BadMessage, "Bad message"),
        ErrorKind::Unsupported => (Unsupported, "Operation unsupported"),
        _ => (Failure, "Failure"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_numbers_that_clients_expect() {
        for (kind, want) in [
            (ErrorKind::NotFound, 2),
            (ErrorKind::Denied, 3),
            (ErrorKind::Exists, 4),
            (ErrorKind::Internal, 4),
            (ErrorKind::Protocol, 5),
            (ErrorKind::Unsupported, 8),
        ] {
            assert_eq!(of(kind).0 as u32, want, "{kind:?}");
        }
    }
}
