//! The room of replies that wait to be sent.
//!
//! Channels cost a client nothing, so what the sessions of a connection make it
//! hold is counted for all of them together. Long replies, which READ makes, need
//! a permit: one session of a connection always has it, others get one from a
//! common number, or wait until there is one. No READ is cut short for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Replies are sent when there are so many bytes of them. A client that sends
/// requests and takes no replies is not read from any more, so it never makes
/// the server hold more than this and one reply.
const PENDING_MAX: usize = 64 * 1024;
/// When replies of one session are sent, where the sessions of the connection
/// hold as much together.
const PENDING_CROWDED: usize = 8 * 1024;
/// Permits for long replies beside one of each connection.
const PERMITS: usize = 12;

/// Those that are given out.
static GIVEN: AtomicUsize = AtomicUsize::new(0);

/// What the sessions of a connection have together.
#[derive(Debug, Default)]
pub(super) struct ConnectionUse {
    /// Open handles.
    pub(super) handles: AtomicUsize,
    /// Bytes of replies that wait.
    pending: AtomicUsize,
    /// The connection's own permit for long replies is given out.
    permit: AtomicBool,
}

#[cfg(test)]
impl ConnectionUse {
    pub(super) fn handles(&self) -> usize {
        self.handles.load(Relaxed)
    }
}

/// The room of one session.
pub(super) struct Room {
    shared: Arc<ConnectionUse>,
    pending: usize,
    permit: Option<Permit>,
}

#[derive(Clone, Copy)]
enum Permit {
    Own,
    Common,
}

impl Room {
    pub(super) fn new(shared: Arc<ConnectionUse>) -> Self {
        Room {
            shared,
            pending: 0,
            permit: None,
        }
    }

    /// Counts what waits now; whether it is so much that the client must read
    /// some before it is answered again.
    pub(super) fn is_full(&mut self, pending: usize) -> bool {
        let all = &self.shared.pending;
        all.fetch_add(pending, Relaxed);
        all.fetch_sub(std::mem::replace(&mut self.pending, pending), Relaxed);
        pending
            >= if self.is_crowded() {
                PENDING_CROWDED
            } else {
                PENDING_MAX
            }
    }

    /// Whether the sessions of the connection should make short replies where
    /// they can.
    pub(super) fn is_crowded(&self) -> bool {
        self.shared.pending.load(Relaxed) >= PENDING_MAX
    }

    /// Whether a long reply may be made.
    pub(super) fn has_permit(&mut self) -> bool {
        if self.permit.is_none() {
            let common = |given| (given < PERMITS).then_some(given + 1);
            self.permit = if !self.shared.permit.swap(true, Relaxed) {
                Some(Permit::Own)
            } else {
                let taken = GIVEN.fetch_update(Relaxed, Relaxed, common);
                taken.is_ok().then_some(Permit::Common)
            };
        }
        self.permit.is_some()
    }

    /// The room of long replies was given back.
    pub(super) fn return_permit(&mut self) {
        match self.permit.take() {
            Some(Permit::Own) => self.shared.permit.store(false, Relaxed),
            Some(Permit::Common) => drop(GIVEN.fetch_sub(1, Relaxed)),
            None => {}
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.is_full(0);
        self.return_permit();
    }
}
