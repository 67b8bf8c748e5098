//! The data connection: where it listens or connects to, and who may be at
//! its other end.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::control::InputEnd;
use super::data_port::{DataPort, NoData, Proof};
use super::reply::Reply;
#[cfg(feature = "deflate")]
use super::state::Mode;
use super::state::{Interpreter, Protection};
use crate::config::told::ToldAddress;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::net::congestion;
use crate::net::passive::PassivePort;
use crate::net::socket::{Interest, Socket};
use crate::net::stream::Stream;
use crate::net::tls::Direction;
use crate::session::{DataFailure, deadline};

/// A client that connects only after it has seen 150 gets it after this wait.
const EARLY_150: Duration = Duration::from_secs(2);

impl Interpreter {
    /// Opens a passive port on the address that the client has connected to.
    pub fn open_passive(&mut self) -> Result<u16> {
        self.parameters.data = DataPort::None;
        self.parameters.data_proof = Proof::Address;
        let address = self.session.local().ip().to_canonical();
        let (port, number) = match &self.session.services().shared_ports {
            Some(shared) => {
                let tls = self.tls.as_ref();
                let tls = tls.filter(|_| self.protection == Protection::Private);
                let ids = tls.map(|tls| tls.resumption_ids()).unwrap_or_default();
                shared.reserve(self.passive_claimant(), &ids)?
            }
            None => PassivePort::open(address, self.session.config().own_passive_ports())?,
        };
        self.parameters.data = DataPort::Passive(port);
        Ok(number)
    }

    /// The IPv4 address for the 227 reply.
    pub fn told_address(&self) -> ToldAddress {
        let (own, peer) = (self.session.reached(), self.session.peer().ip());
        let external = &self.session.services().external;
        let config = self.session.config();
        config.told_address(own, peer, |name| external.address(name))
    }

    #[cfg(feature = "deflate")]
    fn begin_deflating(&mut self, direction: Direction) {
        let deflates = direction == Direction::Send && self.parameters.mode == Mode::Deflate;
        let level = self.parameters.level.unwrap_or(6);
        self.deflater = deflates.then(|| super::deflate::Deflater::new(level));
    }

    #[cfg(not(feature = "deflate"))]
    fn begin_deflating(&mut self, _: Direction) {}

    /// Makes the data connection and says 150. An ABOR ends the wait.
    ///
    /// # Errors
    /// Why there is none; the caller answers 425 or 426.
    pub fn open_data(
        &mut self,
        direction: Direction,
        what: impl FnOnce() -> Reply,
    ) -> Result<Stream, NoData> {
        if direction == Direction::Send {
            self.control.set_input_end(InputEnd::GoesOn);
        }
        self.begin_deflating(direction);
        let until = deadline(Instant::now(), self.session.config().data_connect_timeout);
        let mut what = Some(what);
        let socket = match std::mem::replace(&mut self.parameters.data, DataPort::None) {
            DataPort::None => {
                return Err(Error::new(ErrorKind::Protocol, "no PASV or PORT before").into());
            }
            DataPort::Passive(listener) => self.accept(&listener, until, &mut what)?,
            DataPort::Active(address) => {
                self.parameters.data_proof = Proof::Address;
                self.connect(address, until)?
            }
            DataPort::Connected(socket) => socket,
            DataPort::Handshake(handshake) => {
                if let Some(what) = what {
                    self.preliminary(what())?;
                }
                return Ok(self.shake_hands(*handshake, until)?);
            }
            DataPort::Ready(stream) => {
                if let Some(what) = what {
                    self.preliminary(what())?;
                }
                return Ok(*stream);
            }
            DataPort::Refused(error) => return Err(error.into()),
        };
        if let Some(what) = what {
            self.preliminary(what())?;
        }
        Ok(self.protect(socket, until, direction)?)
    }

    fn accept(
        &mut self,
        listener: &PassivePort,
        until: Option<Instant>,
        what: &mut Option<impl FnOnce() -> Reply>,
    ) -> Result<Socket, NoData> {
        let early = Instant::now() + EARLY_150;
        let mut reason = DataFailure::NeverCame;
        loop {
            match self.accept_peer(listener) {
                Ok(Some(socket)) => {
                    congestion::set(&socket, self.congestion.as_deref());
                    return Ok(socket);
                }
                Ok(None) => reason = DataFailure::WrongAddress,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if listener.is_contested()
                        && let Some(what) = what.take()
                    {
                        self.preliminary(what())?;
                    }
                    let next = match what {
                        Some(_) => until.map_or(Some(early), |until| Some(until.min(early))),
                        None => until,
                    };
                    if !self.wait_for(listener, Interest::Read, next)? {
                        if until.is_some_and(|until| Instant::now() >= until) {
                            let error = Error::new(ErrorKind::Timeout, "no data connection came");
                            return Err(NoData::because(reason, error));
                        }
                        if let Some(what) = what.take() {
                            self.preliminary(what())?;
                        }
                    }
                }
                Err(error) => return Err(error).doing("accepting the data connection")?,
            }
        }
    }

    fn connect(&mut self, address: SocketAddr, until: Option<Instant>) -> Result<Socket, NoData> {
        let local = SocketAddr::new(self.session.local().ip().to_canonical(), 0);
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
            .doing("making a data connection")?;
        if local.is_ipv4() == address.is_ipv4() {
            // From the address that the client knows, as its firewall expects.
            // Without a port of its own: a bound one could serve no other
            // client meanwhile, and for a minute after. Old kernels can't.
            let _ = crate::sys::bind_address_without_port(&socket);
            rustix::net::bind(&socket, &local).doing("binding the data connection")?;
        }
        let doing = "connecting to the client's data port";
        let failed = |errno| {
            let error = Err::<(), _>(errno).doing(doing).err();
            let error = error.unwrap_or_else(|| ErrorKind::Internal.into());
            match errno {
                Errno::CONNREFUSED => NoData::because(DataFailure::Refused, error),
                Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH => {
                    NoData::because(DataFailure::TimedOut, error)
                }
                Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => {
                    NoData::because(DataFailure::NoPort, error)
                }
                _ => error.into(),
            }
        };
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                if !self.wait_for(&socket, Interest::Write, until)? {
                    return Err(failed(Errno::TIMEDOUT));
                }
                let outcome = sockopt::socket_error(&socket).unwrap_or(Ok(()));
                outcome.map_err(failed)?;
            }
            Err(errno) => return Err(failed(errno)),
        }
        let socket = Socket::from(std::net::TcpStream::from(socket));
        congestion::set(&socket, self.congestion.as_deref());
        Ok(socket)
    }
}
