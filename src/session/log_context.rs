//! Whose session the calling thread serves, for loggers. It is set once per
//! thread: log calls carry the event alone, and the logger adds the session's
//! number, user, address and protocol.

use std::cell::RefCell;
use std::net::IpAddr;

use super::events::Who;
use super::registry::SessionInfo;

thread_local! {
    static CURRENT: RefCell<Option<LogContext>> = const { RefCell::new(None) };
}

/// What a logger adds to each line of a session.
#[derive(Debug, Clone)]
pub struct LogContext {
    /// The session's number, unique in this process.
    pub session: u64,
    /// The client's address.
    pub address: IpAddr,
    /// `ftp`, `ftps` or `sftp`.
    pub protocol: &'static str,
    /// The user, once logged in.
    pub user: Option<String>,
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
            user: None,
        }
    }

    /// Lines of this thread belong to the session until the scope ends.
    pub fn enter(self) -> Scope {
        Scope(CURRENT.replace(Some(self)))
    }
}

impl From<&Who<'_>> for LogContext {
    fn from(who: &Who<'_>) -> Self {
        LogContext {
            session: who.session,
            address: who.peer.ip().to_canonical(),
            protocol: who.protocol,
            user: who.user.map(String::from),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The thread's session has logged in, or, with `None`, out.
pub(super) fn set_user(name: Option<&str>) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current {
            current.user = name.map(String::from);
        }
    });
}

/// Calls `f` with the context of the thread's session, if it serves one.
pub fn with_current<R>(f: impl FnOnce(Option<&LogContext>) -> R) -> R {
    CURRENT.with(|current| match current.try_borrow() {
        Ok(current) => f(current.as_ref()),
        Err(_) => f(None),
    })
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
            user: None,
        };
        let number = || with_current(|current| current.map(|current| current.session));
        assert_eq!(number(), None);
        let outer = context(1).enter();
        {
            let _inner = context(2).enter();
            set_user(Some("ann"));
            assert_eq!(number(), Some(2));
        }
        assert_eq!(number(), Some(1));
        with_current(|current| assert_eq!(current.unwrap().user, None));
        drop(outer);
        assert_eq!(number(), None);
    }
}
