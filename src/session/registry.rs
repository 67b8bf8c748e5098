//! The sessions that are alive, for `who`, for limits and for the end of the
//! server. A session writes into its own [`SessionInfo`]; others read.

use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::events::Who;
use crate::auth::User;
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;
use crate::sync::{Swap, unpoisoned};

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
    /// Who is logged in.
    pub user: UserName,
    /// Begin of the session.
    pub since: Instant,
    /// Bytes of the running transfer.
    pub bytes: AtomicU64,
    /// Size of the file being sent, 0 if unknown.
    pub size: AtomicU64,
    activity: Mutex<Activity>,
    /// Why others want the session to end.
    end: OnceLock<End>,
    /// When the client was heard last, in milliseconds after `since`.
    heard: AtomicU64,
    control: Mutex<Waker>,
}

/// Who is logged in to a session, which others read and its log lines name.
#[derive(Clone, Default)]
pub struct UserName(Arc<Swap<String>>);

impl UserName {
    /// The name; empty before the login.
    pub fn load(&self) -> Arc<String> {
        self.0.load()
    }

    pub(super) fn set(&self, name: &str) {
        self.0.replace(name.into());
    }
}

impl From<&str> for UserName {
    fn from(name: &str) -> Self {
        UserName(Arc::new(Swap::new(name.into())))
    }
}

/// Why a session ends that has not ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has not logged in, and others want its place.
    GivesWay,
    /// A new session of the same client has taken its place.
    Replaced,
    /// The administrator wishes it.
    Kicked,
    /// The user may not log in any more.
    Revoked,
}

/// How long a session that has been told to end is waited for.
pub const ENDS_WITHIN: Duration = Duration::from_secs(2);

impl End {
    /// What the client is told.
    pub fn words(self) -> &'static str {
        match self {
            End::GivesWay => "Others want to connect; try again later.",
            End::Replaced => "Another session of yours has taken the place of this one.",
            End::Kicked => "The administrator has ended this session.",
            End::Revoked => "You may not log in any more.",
        }
    }

    /// What the log is told.
    pub fn reason(self) -> &'static str {
        match self {
            End::GivesWay => "gives way to others, not having logged in",
            End::Replaced => "was silent, and a new session of the same user has its place",
            End::Kicked => "was ended by the administrator",
            End::Revoked => "ends: the user is locked, expired or gone",
        }
    }
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
    /// TLS of the control connection.
    pub tls: TlsFacts,
    /// What runs now, such as `RETR`; empty when idle.
    pub command: String,
    /// The file of the running transfer, escaped.
    pub file: String,
    /// Begin of the running transfer.
    pub transfer_since: Option<Instant>,
    /// Whether it is an upload.
    pub uploads: bool,
}

/// What administrators want to know of a session's TLS. Empty in the clear.
#[derive(Debug, Clone, Default)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The cipher in OpenSSL's name.
    pub cipher: &'static str,
    /// Subject of the client's certificate, escaped.
    pub certificate: String,
    /// How the last data connection was protected.
    pub data: DataTls,
}

/// How a data connection was protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataTls {
    /// There was none.
    #[default]
    Unknown,
    /// It was in the clear.
    Clear,
    /// By a TLS session of its own.
    Full,
    /// It resumed the session of the control connection.
    Resumed,
}

impl DataTls {
    /// For the log.
    pub fn word(self) -> &'static str {
        match self {
            DataTls::Unknown => "",
            DataTls::Clear => "none",
            DataTls::Full => "full",
            DataTls::Resumed => "resumed",
        }
    }
}

impl SessionInfo {
    /// Whose session it is, for whoever is told of events.
    pub(super) fn who<'a>(&self, user: Option<&'a User>) -> Who<'a> {
        let version = self.activity().tls.version;
        Who {
            session: self.id,
            user: user.map(|user| user.name.as_str()),
            anonymous: user.is_some_and(|user| user.anonymous),
            peer: self.peer,
            protocol: self.protocol,
            tls: Some(version).filter(|version| !version.is_empty()),
        }
    }

    /// What it does now, to read or to change.
    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        unpoisoned(self.activity.lock())
    }

    /// Tells the session to end: one that waits says goodbye, and a transfer
    /// that runs is cut off.
    pub fn end(&self, why: End) {
        // The first reason is the one that is told.
        let _ = self.end.set(why);
        if self.is_busy() || why == End::Replaced {
            self.wake(Wake::AtOnce);
        } else {
            self.wake(Wake::Gently);
        }
    }

    /// Why the session has been told to end, if it has.
    pub fn ends(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// The client has been heard.
    pub fn touch(&self) {
        self.heard
            .store(self.since.elapsed().as_millis() as u64, Relaxed);
    }

    /// For how long the client has not been heard.
    pub fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Relaxed));
        self.since.elapsed().saturating_sub(heard)
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
            user: UserName::default(),
            since: Instant::now(),
            bytes: AtomicU64::new(0),
            size: AtomicU64::new(0),
            activity: Mutex::default(),
            control: Mutex::default(),
            end: OnceLock::new(),
            heard: AtomicU64::new(0),
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

    /// The one of these sessions of `user` that has been silent for longest,
    /// if that is `least` at least.
    pub fn silent(
        &self,
        user: &str,
        least: Duration,
        which: impl Fn(&SessionInfo) -> bool,
    ) -> Option<Arc<SessionInfo>> {
        let all = self.all();
        let mine = all
            .iter()
            .filter(|live| which(live) && live.silence() >= least && *live.user.load() == user);
        mine.max_by_key(|live| live.silence()).cloned()
    }

    /// All sessions, the oldest first.
    pub fn all(&self) -> Vec<Arc<SessionInfo>> {
        self.live().clone()
    }
}
