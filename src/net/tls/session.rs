//! TLS of one control connection and of the data connections that belong to it.

use std::io;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use super::backend::{Connection, Context, Handshake};
use super::certificates::{Certificates, Loaded, Tls};
use super::hello::ClientHello;
use super::stream::TlsStream;
use super::wire::{Reads, Wire};
use super::{Direction, HandshakeStep, Purpose, ResumptionId, Rules};
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;
use crate::sync::unpoisoned;

/// Stack of a handshake's thread, in bytes; it touches about 20 KiB.
const HANDSHAKE_STACK: usize = 256 * 1024;

/// RFC 7301, section 3.2.
const NO_APPLICATION_PROTOCOL: u8 = 120;

impl Tls {
    /// What a new control connection needs. Costs next to nothing until its
    /// first handshake.
    pub fn session(&self) -> SessionTls {
        self.session_at(Instant::now())
    }

    pub(super) fn session_at(&self, now: Instant) -> SessionTls {
        SessionTls {
            loaded: self.0.current(now),
            certificates: Arc::clone(&self.0),
            rules: Rules::Usual,
            host: None,
            context: OnceLock::new(),
            control: Mutex::new(None),
            ticket_owed: Arc::default(),
        }
    }
}

/// TLS for one control connection and its data connections.
pub struct SessionTls {
    certificates: Arc<Certificates>,
    loaded: Arc<Loaded>,
    rules: Rules,
    /// The name that the client has said before the handshake (HOST).
    host: Option<String>,
    /// Made at the first handshake, with the certificate asked for there.
    context: OnceLock<Context>,
    control: Mutex<Option<ControlSession>>,
    /// Set by each data connection: the control connection owes its client a
    /// ticket for the next one.
    ticket_owed: Arc<AtomicBool>,
}

/// What data connections are measured by.
struct ControlSession {
    /// SHA-256 of the client's certificate.
    certificate: Option<Vec<u8>>,
    resumption_ids: Vec<ResumptionId>,
}

impl SessionTls {
    /// Takes the rules for the client at `peer`.
    pub fn for_client(mut self, peer: IpAddr) -> Self {
        let old = &self.certificates.settings.old_clients;
        if old
            .iter()
            .any(|network| network.contains(peer.to_canonical()))
        {
            self.rules = Rules::Old;
        }
        self
    }

    /// Takes the certificate for `host` where the handshake names no server.
    pub fn for_host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    /// The server's side of a handshake on a control connection, after AUTH
    /// or at once (implicit). It ends by `deadline`, or earlier when
    /// [`TlsSettings::handshake_timeout`] is over; both are put off by the time
    /// in which this process did not run.
    ///
    /// # Errors
    /// `Timeout`, `Disconnected`, or `Protocol` with the reason for the log;
    /// the socket is closed.
    pub fn accept(&self, socket: Socket, deadline: &mut Instant) -> Result<TlsStream> {
        let longest = Instant::now() + self.certificates.settings.handshake_timeout;
        let until = longest.min(*deadline);
        let wire = Wire::new(socket.clone(), Purpose::Control, until, Reads::Blocking);
        let connection = self
            .negotiate_apart(wire)
            .map_err(|error| refused(&socket, error))?;
        let ended = connection.wire().deadline().unwrap_or(until);
        *deadline += ended.saturating_duration_since(until);
        let resumption_ids = match self.context.get() {
            Some(context) => context.resumption_ids(connection.wire()),
            None => Vec::new(),
        };
        let mut stream =
            TlsStream::new(connection, socket, self.certificates.settings.close_notify);
        stream.watch_ticket_owed(Arc::clone(&self.ticket_owed));
        *self.control() = Some(ControlSession {
            certificate: stream.peer().map(|peer| peer.digest),
            resumption_ids,
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
        let until = Instant::now() + self.certificates.settings.handshake_timeout;
        Ok(DataHandshake::new(socket, direction, until))
    }

    /// What a data connection's handshake has led to.
    fn take_data(&self, connection: Connection, socket: Socket) -> Result<TlsStream> {
        let stream = TlsStream::new(connection, socket, self.certificates.settings.close_notify);
        // SECURITY: another client's certificate is good too, but not here.
        let certificate = stream.peer().map(|peer| peer.digest);
        let control = self.control();
        let expected = control.as_ref().and_then(|one| one.certificate.as_ref());
        if certificate.is_some() && certificate.as_ref() != expected {
            let doing = "a data connection with another client certificate";
            return Err(Error::new(ErrorKind::Denied, doing));
        }
        drop(control);
        self.ticket_owed.store(true, Ordering::Relaxed);
        Ok(stream)
    }

    /// What a data connection will name the control connection's session by,
    /// for whoever must find out which session it belongs to.
    pub fn resumption_ids(&self) -> Vec<ResumptionId> {
        let control = self.control();
        control
            .as_ref()
            .map(|control| control.resumption_ids.clone())
            .unwrap_or_default()
    }

    /// Makes the context now.
    #[cfg(test)]
    pub(super) fn warm(&self) -> io::Result<()> {
        self.context(&ClientHello::default()).map(drop)
    }

    fn control(&self) -> MutexGuard<'_, Option<ControlSession>> {
        unpoisoned(self.control.lock())
    }

    /// The handshake of a control connection in a thread of its own, which
    /// ends with it. It needs much memory for a moment: stack, OpenSSL's
    /// random generators, the allocator's cache of what was freed. All of
    /// that belongs to a thread and would stay with the session's for as long
    /// as it is idle: measured, 96 KiB a session became 59.
    fn negotiate_apart(&self, wire: Wire) -> io::Result<Connection> {
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

    fn negotiate(&self, mut wire: Wire) -> io::Result<Connection> {
        let hello = wire.client_hello()?;
        match self.negotiate_after(&hello, wire, Purpose::Control)? {
            HandshakeStep::Done(connection) => Ok(connection),
            // The wire waits by itself; only its deadline ends it.
            HandshakeStep::Wait(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The handshake once its first message is known.
    fn negotiate_after(
        &self,
        hello: &ClientHello,
        mut wire: Wire,
        purpose: Purpose,
    ) -> io::Result<HandshakeStep<Connection, Handshake>> {
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
        let material = self
            .loaded
            .choose(hello, self.host.as_deref())
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "every certificate has expired")
            })?;
        let made = Context::new(material, self.rules)?;
        Ok(self.context.get_or_init(|| made))
    }
}

impl std::fmt::Debug for SessionTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTls").finish_non_exhaustive()
    }
}

/// The handshake of a data connection, step by step: between two steps the
/// session looks at its control connection, so that ABOR and STAT are served
/// while a peer keeps its next message back.
pub struct DataHandshake {
    socket: Socket,
    direction: Direction,
    deadline: Instant,
    progress: HandshakeStage,
}

enum HandshakeStage {
    /// The ClientHello has not come whole.
    Hello(Wire),
    /// The library has begun.
    Begun(Handshake),
}

impl DataHandshake {
    fn new(socket: Socket, direction: Direction, deadline: Instant) -> Self {
        let purpose = Purpose::Data(direction);
        DataHandshake {
            progress: HandshakeStage::Hello(Wire::new(
                socket.clone(),
                purpose,
                deadline,
                Reads::NonBlocking,
            )),
            socket,
            direction,
            deadline,
        }
    }

    /// The connection, to wait for the client's next bytes.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// When the handshake must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on with what has come, without waiting for more.
    ///
    /// # Errors
    /// `Disconnected`, `Protocol` with the reason for the log, or `Denied`
    /// when another certificate is shown than on the control connection. The
    /// connection is closed.
    pub fn step(self, session: &SessionTls) -> Result<HandshakeStep<TlsStream, DataHandshake>> {
        let DataHandshake {
            socket, direction, ..
        } = self;
        let step = match self.progress {
            HandshakeStage::Begun(handshake) => handshake.step(),
            HandshakeStage::Hello(mut wire) => match wire.client_hello() {
                Ok(hello) => session.negotiate_after(&hello, wire, Purpose::Data(direction)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(HandshakeStep::Wait(DataHandshake {
                        progress: HandshakeStage::Hello(wire),
                        socket,
                        ..self
                    }));
                }
                Err(error) => Err(error),
            },
        };
        match step {
            Ok(HandshakeStep::Done(connection)) => session
                .take_data(connection, socket)
                .map(HandshakeStep::Done),
            Ok(HandshakeStep::Wait(handshake)) => Ok(HandshakeStep::Wait(DataHandshake {
                progress: HandshakeStage::Begun(handshake),
                socket,
                ..self
            })),
            Err(error) => Err(refused(&socket, error)),
        }
    }
}

impl std::fmt::Debug for DataHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataHandshake").finish_non_exhaustive()
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
fn refused(socket: &Socket, error: io::Error) -> Error {
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
