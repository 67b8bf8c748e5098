//! The one error type of the core.
//!
//! An [`Error`] says *what kind* of thing went wrong, *what was being done*
//! and, for the log, the cause. It carries no protocol numbers: only
//! `ftp::reply` and `sftp::status` turn a kind into something a client sees,
//! so that the core never has to ask which protocol it serves.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// The result of every fallible operation in the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An enum, and its values in their order as `ALL`.
macro_rules! listed {
    ($(#[$meta:meta])* $seen:vis enum $name:ident {
        $($(#[$doc:meta])* $value:ident,)*
    }) => {
        $(#[$meta])*
        $seen enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            pub(crate) const ALL: &[$name] = &[$($name::$value),*];
        }
    };
}
pub(crate) use listed;

listed! {
    /// What kind of thing went wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// No such file or directory.
        NotFound,
        /// The target exists and must not be replaced.
        Exists,
        /// A directory was needed and something else is there.
        NotDirectory,
        /// A file was needed and a directory is there.
        IsDirectory,
        /// A directory to be removed still has entries.
        NotEmpty,
        /// The user or the operating system does not allow it.
        Denied,
        /// The file system is mounted read-only.
        ReadOnly,
        /// A name is too long, empty, or has bytes that are not allowed.
        NameInvalid,
        /// The disk is full.
        NoSpace,
        /// Source and target lie on different file systems.
        CrossDevice,
        /// The user's quota, or the largest size of a file, would be exceeded.
        Quota,
        /// The back-end, or this build, can't do it.
        Unsupported,
        /// An offset or a range lies outside what is there.
        BadOffset,
        /// A value that was given is wrong.
        Invalid,
        /// The resource is in use; trying again later may work.
        Busy,
        /// Name and secret do not fit, or this user may not log in here and now.
        LoginRefused,
        /// A limit on sessions, commands or handles is reached.
        TooMany,
        /// Nothing happened for longer than the limit.
        Timeout,
        /// The peer is gone.
        Disconnected,
        /// The transfer was cut short by the client's wish or by the server's end.
        Aborted,
        /// The peer broke the rules of the protocol.
        Protocol,
        /// A bug, or a failure nobody expects, such as EIO.
        Internal,
    }
}

/// An error of the core: kind, what was being done, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    doing: Cow<'static, str>,
    words: Option<&'static str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that happened while `doing` (a present participle:
    /// "opening the file").
    pub fn new(kind: ErrorKind, doing: impl Into<Cow<'static, str>>) -> Self {
        Error {
            kind,
            doing: doing.into(),
            words: None,
            source: None,
        }
    }

    /// An error with its cause, which goes to the log and never to a client.
    pub fn with_source(
        kind: ErrorKind,
        doing: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error {
            kind,
            doing: doing.into(),
            words: None,
            source: Some(source.into()),
        }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Replaces the kind, keeping what was being done and the cause.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds words for the client, where the kind alone says too
    /// little. They are fixed and name nothing that a stranger must not know.
    pub fn telling(mut self, words: &'static str) -> Self {
        self.words = Some(words);
        self
    }

    /// The words for the client, if there are any.
    pub fn words(&self) -> Option<&'static str> {
        self.words
    }

    /// Replaces what was being done, keeping kind and cause.
    pub fn doing(mut self, doing: impl Into<Cow<'static, str>>) -> Self {
        self.doing = doing.into();
        self
    }
}

/// Adds what was being done to any error that can become an [`Error`].
pub trait Doing<T> {
    /// Maps the error, naming what was being done.
    fn doing(self, doing: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|error| error.into().doing(doing))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        match &self.source {
            Some(source) if self.doing.is_empty() => write!(f, "{source}"),
            Some(source) => write!(f, ": {source}"),
            None if self.doing.is_empty() => write!(f, "{:?}", self.kind),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error::new(kind, "")
    }
}

/// The only mapping from operating-system errors to kinds. It takes them for
/// those of a connection where they can be; a user's file system is wrapped so
/// that they are not.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use ErrorKind::*;
        let kind = match error.raw_os_error() {
            Some(number) => kind_of_errno(number),
            None => match error.kind() {
                io::ErrorKind::NotFound => NotFound,
                io::ErrorKind::AlreadyExists => Exists,
                io::ErrorKind::PermissionDenied => Denied,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Timeout,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected => Disconnected,
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Invalid,
                io::ErrorKind::Unsupported => Unsupported,
                io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => NoSpace,
                io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Quota,
                _ => Internal,
            },
        };
        Error::with_source(kind, "", error)
    }
}

// Hidden, so that a newer rustix needs no new major version.
#[doc(hidden)]
impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Error::from(io::Error::from(errno))
    }
}

/// An error of the operating system, in one of its two spellings.
pub trait MaybeStale {
    /// Whether it is ESTALE.
    fn is_stale(&self) -> bool;
}

impl MaybeStale for io::Error {
    fn is_stale(&self) -> bool {
        self.raw_os_error() == Some(libc::ESTALE)
    }
}

impl MaybeStale for rustix::io::Errno {
    fn is_stale(&self) -> bool {
        *self == rustix::io::Errno::STALE
    }
}

/// How often something is tried that NFS calls stale.
const STALE_TRIES: u32 = 4;

/// Tries again when NFS says (ESTALE) that the file behind a name has been
/// replaced or removed by another machine: the next look finds the new one.
///
/// # Errors
/// Those of the last try.
pub fn retried<T, E: MaybeStale>(
    mut attempt: impl FnMut() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    for _ in 1..STALE_TRIES {
        match attempt() {
            Err(error) if error.is_stale() => {}
            result => return result,
        }
    }
    attempt()
}

fn kind_of_errno(number: i32) -> ErrorKind {
    use ErrorKind::*;
    match number {
        libc::ENOENT => NotFound,
        libc::EEXIST => Exists,
        libc::ENOTDIR => NotDirectory,
        libc::EISDIR => IsDirectory,
        libc::ENOTEMPTY => NotEmpty,
        // ELOOP: a link chain without end.
        libc::EACCES | libc::EPERM | libc::ELOOP => Denied,
        libc::EXDEV => CrossDevice,
        libc::EROFS => ReadOnly,
        libc::ENAMETOOLONG | libc::EILSEQ => NameInvalid,
        libc::ENOSPC => NoSpace,
        libc::EDQUOT | libc::EFBIG => Quota,
        libc::EOPNOTSUPP | libc::ENOSYS => Unsupported,
        libc::EINVAL => Invalid,
        libc::EBUSY | libc::ETXTBSY | libc::EMFILE | libc::ENFILE | libc::ENOMEM => Busy,
        libc::EAGAIN | libc::ETIMEDOUT => Timeout,
        libc::EPIPE | libc::ECONNRESET | libc::ECONNABORTED | libc::ENOTCONN => Disconnected,
        _ => Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operating_system_errors_keep_their_meaning() {
        for (errno, want) in [
            (libc::ENOENT, ErrorKind::NotFound),
            (libc::ENOSPC, ErrorKind::NoSpace),
            (libc::EDQUOT, ErrorKind::Quota),
            (libc::EROFS, ErrorKind::ReadOnly),
            (libc::EIO, ErrorKind::Internal),
            (libc::EAGAIN, ErrorKind::Timeout),
        ] {
            let error = Error::from(io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), want, "errno {errno}");
        }
    }

    #[test]
    fn what_is_stale_is_tried_again_but_not_for_ever() {
        let stale = || io::Error::from_raw_os_error(libc::ESTALE);
        for (fails, works) in [(0, true), (1, true), (3, true), (4, false)] {
            let mut tries = 0;
            let outcome = retried(|| {
                tries += 1;
                if tries > fails {
                    Ok(tries)
                } else {
                    Err(stale())
                }
            });
            assert_eq!(outcome.is_ok(), works, "{fails} times");
            assert_eq!(tries, (fails + 1).min(4));
        }
        // Anything else is told at once.
        let mut tries = 0;
        let outcome = retried::<(), io::Error>(|| {
            tries += 1;
            Err(io::ErrorKind::NotFound.into())
        });
        assert!(outcome.is_err() && tries == 1);
    }
}
