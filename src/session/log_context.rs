//! Whose session the calling thread serves, for loggers. It is set once per
//! thread: log calls carry the event alone, and the logger adds the session's
//! number, user, address and protocol.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use super::events::Who;
use log::Level;

use super::registry::{SessionInfo, UserName};
use crate::error::{Error, ErrorKind};
use crate::time::Told;

/// A session may last for weeks: a disk that is full again is told again.
const AGAIN: Duration = Duration::from_secs(3600);

thread_local! {
    static CURRENT: RefCell<Option<LogContext>> = const { RefCell::new(None) };
    static TOLD: RefCell<Told<(Level, &'static str)>> = const { RefCell::new(Told::new(AGAIN)) };
}

/// What a logger adds to each line of a session.
#[derive(Clone)]
pub struct LogContext {
    /// The session's number, unique in this process.
    pub session: u64,
    /// The client's address.
    pub address: IpAddr,
    /// `ftp`, `ftps` or `sftp`.
    pub protocol: &'static str,
    /// Who is logged in.
    pub user: UserName,
}

/// While this exists, the thread's lines are a session's.
#[must_use]
pub struct Scope(Option<LogContext>);

impl LogContext {
    /// The context of a session.
    pub fn of(live: &SessionInfo) -> Self {
        LogContext {
            session: live.id,
            address: live.peer.ip().to_canonical(),
            protocol: live.protocol,
            user: live.user.clone(),
        }
    }

    /// Lines of this thread belong to the session until the scope ends.
    pub fn enter(self) -> Scope {
        TOLD.set(Told::new(AGAIN));
        Scope(CURRENT.replace(Some(self)))
    }
}

impl From<&Who<'_>> for LogContext {
    fn from(who: &Who<'_>) -> Self {
        LogContext {
            session: who.session,
            address: who.peer.ip().to_canonical(),
            protocol: who.protocol,
            user: who.user.unwrap_or_default().into(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Calls `f` with the context of the thread's session, if it serves one.
pub fn with_current<R>(f: impl FnOnce(Option<&LogContext>) -> R) -> R {
    CURRENT.with(|current| match current.try_borrow() {
        Ok(current) => f(current.as_ref()),
        Err(_) => f(None),
    })
}

/// Tells the log what a client was refused, with its address: the same reason
/// once in a session and hour, or a client could fill the log; more is for those
/// who look for mistakes.
pub fn tell_once(level: Level, reason: &'static str, what: &dyn Display) {
    let is_news =
        level < Level::Debug && TOLD.with_borrow_mut(|told| told.is_news((level, reason)));
    let level = if is_news { level } else { Level::Debug };
    match with_current(|current| current.map(|current| current.address)) {
        Some(peer) => log::log!(level, "{peer}: {reason}: {what}"),
        None => log::log!(level, "{reason}: {what}"),
    }
}

/// Tells the log of an error that a command or request, `reason`, has come to:
/// it says what the client is not told.
pub(crate) fn tell_error(reason: &'static str, error: &Error) {
    let level = match error.kind() {
        ErrorKind::Internal => Level::Error,
        ErrorKind::NoSpace | ErrorKind::ReadOnly | ErrorKind::Busy => Level::Warn,
        // Not our rules, which the client is told of: the disk's.
        ErrorKind::Denied if std::error::Error::source(error).is_some() => Level::Warn,
        ErrorKind::Denied
        | ErrorKind::NameInvalid
        | ErrorKind::Invalid
        | ErrorKind::BadOffset
        | ErrorKind::Protocol
        | ErrorKind::Quota
        | ErrorKind::TooMany
        | ErrorKind::Unsupported => Level::Info,
        _ => Level::Debug,
    };
    tell_once(level, reason, error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_ends_with_the_context_that_was_there_before() {
        let context = |session| LogContext {
            session,
            address: [192, 0, 2, 1].into(),
            protocol: "ftp",
            user: UserName::default(),
        };
        let number = || with_current(|current| current.map(|current| current.session));
        assert_eq!(number(), None);
        let outer = context(1).enter();
        {
            let inner = context(2);
            inner.user.set("ann");
            let _inner = inner.enter();
            assert_eq!(number(), Some(2));
        }
        assert_eq!(number(), Some(1));
        with_current(|current| assert_eq!(*current.unwrap().user.load(), ""));
        drop(outer);
        assert_eq!(number(), None);
    }
}
