//! The sessions that are alive, for `who`, for limits and for the end of the
//! server. A session writes into its own [`SessionInfo`]; others read.

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;
use crate::sync::unpoisoned;

/// All live sessions of one server.
#[derive(Default)]
pub struct Registry {
    next: AtomicU64,
    /// By their numbers.
    live: Mutex<Vec<Arc<SessionInfo>>>,
}

/// What is known about one session.
pub struct SessionInfo {
    /// Number, unique in this process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// `ftp`, `ftps` or `sftp`.
    pub protocol: &'static str,
    /// Begin of the session.
    pub since: Instant,
    /// Bytes of the running transfer.
    pub bytes: AtomicU64,
    /// Size of the file being sent, 0 if unknown.
    pub size: AtomicU64,
    activity: Mutex<Activity>,
    gives_way: AtomicBool,
    control: Mutex<Waker>,
}

/// What is needed to wake a session at the right moment.
#[derive(Default)]
struct Waker {
    socket: Option<Socket>,
    busy: u32,
    woken: bool,
}

/// A piece of work that the end of the server waits for: a command, an open
/// file. Whoever drops the last one is woken if that was put off.
pub struct Busy(Arc<SessionInfo>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut control = self.0.control();
        control.busy -= 1;
        control.wake_if_idle();
    }
}

impl Waker {
    fn wake_if_idle(&self) {
        if let Some(socket) = &self.socket
            && self.woken
            && self.busy == 0
        {
            // The peer may be gone already; then there is nobody to wake.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

/// What a session does now.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// User, once logged in.
    pub user: String,
    /// Version and cipher of TLS; empty in the clear.
    pub tls: String,
    /// What runs now, such as `RETR`; empty when idle.
    pub command: String,
    /// The file of the running transfer, escaped.
    pub file: String,
    /// Begin of the running transfer.
    pub transfer_since: Option<Instant>,
}

impl SessionInfo {
    /// What it does now, to read or to change.
    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        unpoisoned(self.activity.lock())
    }

    /// Tells an unauthenticated session to end, because others want its place.
    pub fn give_way(&self) {
        self.gives_way.store(true, SeqCst);
        self.wake(Wake::Gently);
    }

    /// Whether the session has been told to end.
    pub fn gives_way(&self) -> bool {
        self.gives_way.load(SeqCst)
    }

    /// Whether a transfer runs.
    pub fn is_busy(&self) -> bool {
        self.activity().transfer_since.is_some()
    }

    fn control(&self) -> MutexGuard<'_, Waker> {
        unpoisoned(self.control.lock())
    }

    /// Lets others wake the session through its control connection.
    pub fn set_control(&self, socket: Option<Socket>) {
        let mut control = self.control();
        control.socket = socket;
        control.wake_if_idle();
    }

    /// Begins a piece of work during which nobody wakes the session gently.
    ///
    /// # Errors
    /// [`ErrorKind::TooMany`]: it has been woken, and nothing begins any more.
    pub fn begin(self: &Arc<Self>) -> Result<Busy> {
        let mut control = self.control();
        if control.woken && control.busy == 0 {
            return Err(Error::new(ErrorKind::TooMany, "the server is going down"));
        }
        control.busy += 1;
        Ok(Busy(Arc::clone(self)))
    }

    /// Ends the session's wait for a command, now or, gently, as soon as its
    /// work is done: it reads the end of the stream, looks at the server's
    /// phase and says goodbye.
    pub fn wake(&self, how: Wake) {
        let mut control = self.control();
        control.woken = true;
        match (how, &control.socket) {
            (Wake::Gently, _) => control.wake_if_idle(),
            (Wake::AtOnce, Some(socket)) => drop(socket.shutdown(Shutdown::Both)),
            (Wake::AtOnce, None) => {}
        }
    }
}

/// How a session is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// It can still say goodbye.
    Gently,
    /// Its connection is gone.
    AtOnce,
}

impl Registry {
    fn live(&self) -> MutexGuard<'_, Vec<Arc<SessionInfo>>> {
        unpoisoned(self.live.lock())
    }

    /// Enters a new session.
    pub fn enter(&self, peer: SocketAddr, protocol: &'static str) -> Arc<SessionInfo> {
        // Locked before the number is taken, so that they come in order.
        let mut all = self.live();
        let live = Arc::new(SessionInfo {
            id: self.next.fetch_add(1, Relaxed) + 1,
            peer,
            protocol,
            since: Instant::now(),
            bytes: AtomicU64::new(0),
            size: AtomicU64::new(0),
            activity: Mutex::default(),
            control: Mutex::default(),
            gives_way: AtomicBool::new(false),
        });
        all.push(Arc::clone(&live));
        live
    }

    /// Takes a session out.
    pub fn leave(&self, id: u64) {
        let mut all = self.live();
        if let Ok(at) = all.binary_search_by_key(&id, |live| live.id) {
            all.remove(at);
        }
    }

    /// All sessions, the oldest first.
    pub fn all(&self) -> Vec<Arc<SessionInfo>> {
        self.live().clone()
    }
}
