//! The certificates in force, and one session's part of them.

use std::io;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use super::backend::{Context, Material, TICKET_LIFE};
use super::channel::{Channel, Progress};
use super::handshake::DataHandshake;
use super::hello::ClientHello;
use super::keys::{self, Identity};
use super::stream::TlsStream;
use super::wire::{Reads, Wire};
use super::{CertificateFacts, Direction, Mark, Purpose, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;

/// How often, at most, the files' times are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Stack of a handshake's thread, in bytes; it touches about 20 KiB.
const HANDSHAKE_STACK: usize = 256 * 1024;

/// RFC 7301, section 3.2.
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The server's certificates: one for the whole server.
///
/// Changed files are noticed when a session begins and serve it and those
/// after it; a pair that does not pass the checks is logged once, and the
/// one before stays in force.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    settings: TlsSettings,
    loaded: RwLock<Arc<Loaded>>,
    state: Mutex<State>,
}

struct State {
    /// Of the files in force, or of those that were refused last.
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// What was read from the files at one time.
struct Loaded {
    served: Vec<(Identity, Material)>,
}

/// What changes when a file is replaced or written to.
#[derive(Debug)]
enum Stamp {
    /// Device, inode and size; time of change in seconds and nanoseconds.
    Found([u64; 3], [i64; 2]),
    Missing,
    /// In a directory that we may not enter: since root was given up, nothing
    /// is known of the file, and nothing can be read. That is no change.
    Hidden,
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        match std::fs::metadata(path) {
            Ok(found) => Stamp::Found(
                [found.dev(), found.ino(), found.size()],
                [found.mtime(), found.mtime_nsec()],
            ),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Stamp::Hidden,
            Err(_) => Stamp::Missing,
        }
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Stamp) -> bool {
        match (self, other) {
            (Stamp::Hidden, _) | (_, Stamp::Hidden) | (Stamp::Missing, Stamp::Missing) => true,
            (Stamp::Found(file, time), Stamp::Found(other, changed)) => {
                (file, time) == (other, changed)
            }
            _ => false,
        }
    }
}

impl Tls {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// With what to do about it: a missing or unreadable file, a damaged or
    /// encrypted key, a key of another certificate, a chain in the wrong
    /// order, an expired certificate, something this build can't do.
    pub fn new(settings: &TlsSettings) -> Result<Tls> {
        let stamps = stamps(settings);
        let loaded = Loaded::read(settings)?;
        Ok(Tls(Arc::new(Shared {
            settings: settings.clone(),
            loaded: RwLock::new(Arc::new(loaded)),
            state: Mutex::new(State {
                stamps,
                looked: Instant::now(),
            }),
        })))
    }

    /// Reads the files again, whether they have changed or not.
    ///
    /// # Errors
    /// As [`Tls::new`]; what was in force stays.
    pub fn reload(&self) -> Result<()> {
        let mut state = self.0.state();
        state.stamps = stamps(&self.0.settings);
        state.looked = Instant::now();
        self.0.replace(Loaded::read(&self.0.settings)?);
        Ok(())
    }

    /// Looks at the files; what came of it if they have changed.
    #[cfg(test)]
    pub(super) fn look(&self, now: Instant) -> Option<Result<()>> {
        self.0.look(&mut self.0.state(), now)
    }

    /// As long as it is held, a look at the files lasts.
    #[cfg(test)]
    pub(super) fn looking(&self) -> impl Sized {
        self.0.state()
    }

    /// What a new control connection needs. Costs next to nothing until its
    /// first handshake.
    pub fn session(&self) -> SessionTls {
        self.session_at(Instant::now())
    }

    pub(super) fn session_at(&self, now: Instant) -> SessionTls {
        SessionTls {
            loaded: self.0.current(now),
            shared: Arc::clone(&self.0),
            context: OnceLock::new(),
            control: Mutex::new(None),
            ticket_owed: Arc::default(),
        }
    }

    /// The certificates in force, for `--check` and the log.
    pub fn certificates(&self) -> Result<Vec<CertificateFacts>> {
        let loaded = self.0.loaded();
        let served = loaded.served.iter();
        served.map(|(identity, _)| identity.facts()).collect()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, loaded: Loaded) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// What is in force now, read again if the files have changed. While one
    /// session looks, which may take long on a disk that hangs, the others go
    /// on with what was read before.
    fn current(&self, now: Instant) -> Arc<Loaded> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.loaded(),
        };
        match self.look(&mut state, now) {
            None => {}
            Some(Ok(())) => log::info!("TLS: changed certificates are in force"),
            Some(Err(error)) => log::error!(
                "TLS: the changed certificates can't be used, the old ones stay: {error}"
            ),
        }
        self.loaded()
    }

    /// Reads files that have changed since the last look; `None` when there
    /// is no news. Files that were refused are not read again until they
    /// change again.
    fn look(&self, state: &mut State, now: Instant) -> Option<Result<()>> {
        if now.saturating_duration_since(state.looked) < LOOK_INTERVAL {
            return None;
        }
        state.looked = now;
        let stamps = stamps(&self.settings);
        if stamps == state.stamps {
            return None;
        }
        state.stamps = stamps;
        Some(Loaded::read(&self.settings).map(|loaded| self.replace(loaded)))
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let pairs = settings.certificates.iter();
    pairs
        .flat_map(|pair| [&pair.certificate, &pair.key])
        .chain(&settings.key_password_file)
        .chain(&settings.client_ca)
        .map(|path| Stamp::of(path))
        .collect()
}

impl Loaded {
    fn read(settings: &TlsSettings) -> Result<Loaded> {
        if settings.certificates.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "TLS needs a certificate"));
        }
        let password = match &settings.key_password_file {
            Some(path) => Some(keys::read_password(path)?),
            None => None,
        };
        let mut served = Vec::new();
        for pair in &settings.certificates {
            let identity = Identity::load(pair, password.as_deref())?;
            let material = Material::new(&identity, settings)?;
            // The library may still refuse it: a key too short, for example.
            Context::new(&material).map_err(|error| {
                let doing = format!("using the certificate {}", identity.path.display());
                Error::with_source(ErrorKind::Invalid, doing, error)
            })?;
            served.push((identity, material));
        }
        Ok(Loaded { served })
    }

    /// The certificate for the name a client asks for.
    fn choose(&self, hello: &ClientHello) -> Option<&Material> {
        let named = hello.server_name.as_deref().and_then(|host| {
            let mut served = self.served.iter();
            served.find(|(identity, _)| identity.serves(host))
        });
        named.or(self.served.first()).map(|(_, material)| material)
    }
}

/// TLS for one control connection and its data connections.
pub struct SessionTls {
    shared: Arc<Shared>,
    loaded: Arc<Loaded>,
    /// Made at the first handshake, with the certificate asked for there.
    context: OnceLock<Context>,
    control: Mutex<Option<Control>>,
    /// Set when the control connection owes its client a ticket.
    ticket_owed: Arc<AtomicBool>,
}

/// What data connections are measured by.
struct Control {
    since: Instant,
    /// SHA-256 of the client's certificate.
    certificate: Option<Vec<u8>>,
    marks: Vec<Mark>,
}

impl SessionTls {
    /// The server's side of a handshake on a control connection, after AUTH
    /// or at once (implicit). It ends by `deadline`, or earlier when
    /// [`TlsSettings::handshake_timeout`] is over.
    ///
    /// # Errors
    /// `Timeout`, `Disconnected`, or `Protocol` with the reason for the log;
    /// the socket is closed.
    pub fn accept(&self, socket: Socket, deadline: Instant) -> Result<TlsStream> {
        let longest = Instant::now() + self.shared.settings.handshake_timeout;
        let wire = Wire::new(
            socket.clone(),
            Purpose::Control,
            deadline.min(longest),
            Reads::Wait,
        );
        let channel = self
            .negotiate_apart(wire)
            .map_err(|error| refused(&socket, error))?;
        let marks = channel.wire().marks();
        let mut stream = TlsStream::new(channel, socket, self.shared.settings.close_notify);
        stream.watch_ticket_owed(Arc::clone(&self.ticket_owed));
        *self.control() = Some(Control {
            since: Instant::now(),
            certificate: stream.peer().map(|peer| peer.digest),
            marks,
        });
        Ok(stream)
    }

    /// Begins the same on a data connection, whose socket must not block:
    /// [`DataHandshake::step`] goes on whenever bytes have come, so that the
    /// control connection can be looked at meanwhile.
    ///
    /// # Errors
    /// `Invalid` before the control connection's handshake.
    pub fn begin_data(&self, socket: Socket, direction: Direction) -> Result<DataHandshake> {
        if self.context.get().is_none() {
            let doing = "TLS on a data connection before the control connection's";
            return Err(Error::new(ErrorKind::Invalid, doing));
        }
        let until = Instant::now() + self.shared.settings.handshake_timeout;
        Ok(DataHandshake::new(socket, direction, until))
    }

    /// What a data connection's handshake has led to.
    pub(super) fn take_data(
        &self,
        channel: Channel,
        socket: Socket,
        direction: Direction,
    ) -> Result<TlsStream> {
        let stream = TlsStream::new(channel, socket, self.shared.settings.close_notify);
        // SECURITY: another client's certificate is good too, but not here.
        let certificate = stream.peer().map(|peer| peer.digest);
        let control = self.control();
        let expected = control.as_ref().and_then(|one| one.certificate.as_ref());
        if certificate.is_some() && certificate.as_ref() != expected {
            let doing = "a data connection with another client certificate";
            return Err(Error::new(ErrorKind::Denied, doing));
        }
        drop(control);
        if direction == Direction::Receive {
            self.ticket_owed.store(true, Ordering::Relaxed);
        }
        Ok(stream)
    }

    /// Whether a data connection can be asked to resume: the library forgets
    /// a session some time after the control connection's handshake, and the
    /// client is not to blame for it.
    pub fn can_resume(&self) -> bool {
        let control = self.control();
        control
            .as_ref()
            .is_some_and(|control| control.since.elapsed() < TICKET_LIFE)
    }

    /// What the control connection's session is known by, for those who must
    /// find out whose a data connection is. None with TLS 1.3, which shows
    /// nothing of it.
    pub fn marks(&self) -> Vec<Mark> {
        let control = self.control();
        control
            .as_ref()
            .map(|control| control.marks.clone())
            .unwrap_or_default()
    }

    /// Makes the context now.
    #[cfg(test)]
    pub(super) fn warm(&self) -> io::Result<()> {
        self.context(&ClientHello::default()).map(drop)
    }

    fn control(&self) -> MutexGuard<'_, Option<Control>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handshake of a control connection in a thread of its own, which
    /// ends with it. It needs much memory for a moment: stack, OpenSSL's
    /// random generators, the allocator's cache of what was freed. All of
    /// that belongs to a thread and would stay with the session's for as long
    /// as it is idle: measured, 96 KiB a session became 59.
    fn negotiate_apart(&self, wire: Wire) -> io::Result<Channel> {
        let mut wire = Some(wire);
        let run = |wire: &mut Option<Wire>| match wire.take() {
            Some(wire) => self.negotiate(wire),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let apart = std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(HANDSHAKE_STACK);
            let thread = builder.spawn_scoped(scope, || run(&mut wire)).ok()?;
            Some(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        // Where no thread is to be had, at a limit, memory is no concern.
        apart.unwrap_or_else(|| run(&mut wire))
    }

    fn negotiate(&self, mut wire: Wire) -> io::Result<Channel> {
        let hello = wire.client_hello()?;
        match self.negotiate_after(&hello, wire, Purpose::Control)? {
            Progress::Done(channel) => Ok(channel),
            // The wire waits by itself; only its deadline ends it.
            Progress::Wait(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The handshake once its first message is known.
    pub(super) fn negotiate_after(
        &self,
        hello: &ClientHello,
        mut wire: Wire,
        purpose: Purpose,
    ) -> io::Result<Progress> {
        if !speaks_ftp(hello, purpose) {
            wire.alert(NO_APPLICATION_PROTOCOL);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client offers other protocols and not FTP (ALPN)",
            ));
        }
        self.context(hello)?.accept(wire, purpose)
    }

    fn context(&self, hello: &ClientHello) -> io::Result<&Context> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let material = self.loaded.choose(hello).ok_or(io::ErrorKind::NotFound)?;
        let made = Context::new(material)?;
        Ok(self.context.get_or_init(|| made))
    }
}

impl std::fmt::Debug for SessionTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTls").finish_non_exhaustive()
    }
}

/// SECURITY: a browser that was led here by somebody on the path offers
/// `http/1.1` and must not get a connection, on data ports least of all: there
/// its cookies become an upload (ALPACA, CVE-2021-3618; wharf-security(7), attack
/// 7). Clients that offer nothing are FTP clients of the older kind.
fn speaks_ftp(hello: &ClientHello, purpose: Purpose) -> bool {
    hello.protocols.as_ref().is_none_or(|offered| {
        offered
            .iter()
            .any(|name| name == b"ftp" || (purpose != Purpose::Control && name == b"ftp-data"))
    })
}

/// Ends a connection whose handshake has failed: after the alert a clean end,
/// not a reset.
pub(super) fn refused(socket: &Socket, error: io::Error) -> Error {
    let _ = socket.shutdown(Shutdown::Both);
    handshake_error(error)
}

/// The library's words are for the log; the kind is for the session.
fn handshake_error(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::Timeout,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ErrorKind::Disconnected,
        _ => ErrorKind::Protocol,
    };
    Error::with_source(kind, "TLS handshake", error)
}
