//! The data connection: where it listens or connects to, and who may be at
//! its other end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::control::Urgent;
use super::data_peer::Proof;
use super::reply::Reply;
use super::state::{Interpreter, Protection};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::net::passive::PassivePort;
use crate::net::socket::{Interest, Socket, wait};
use crate::net::stream::Stream;
use crate::net::tls::{DataHandshake, Direction};
use crate::session::deadline;

/// A client that connects only after it has seen 150 gets it after this wait.
const EARLY_150: Duration = Duration::from_secs(2);

/// Where the next data connection comes from.
#[derive(Debug)]
pub enum DataPort {
    /// Nowhere: the client has not said.
    None,
    /// The client connects to us.
    Passive(PassivePort),
    /// The client has connected already.
    Connected(Socket),
    /// The client has connected and begun TLS before it said what for.
    Shaking(Box<DataHandshake>),
    /// It has made the whole handshake.
    Ready(Box<Stream>),
    /// What came of that was not good enough.
    Refused(Error),
    /// We connect to the client.
    Active(SocketAddr),
}

impl Interpreter {
    /// Opens a passive port on the address that the client has connected to.
    pub fn open_passive(&mut self) -> Result<u16> {
        self.data = DataPort::None;
        self.data_proof = Proof::Address;
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
        self.data = DataPort::Passive(port);
        Ok(number)
    }

    /// The IPv4 address for the 227 reply; `None` when there is none, as on a
    /// connection over IPv6.
    pub fn told_address(&self) -> Option<Ipv4Addr> {
        let (own, peer) = (self.session.reached(), self.session.peer().ip());
        let external = &self.session.services().external;
        let config = self.session.config();
        config.told_address(own, peer, |name| external.address(name))
    }

    /// Makes the data connection and says 150. An ABOR ends the wait.
    ///
    /// # Errors
    /// [`ErrorKind::Aborted`], or what the wait or the connection said; the
    /// caller answers 425.
    pub fn open_data(
        &mut self,
        direction: Direction,
        what: impl FnOnce() -> Reply,
    ) -> Result<Stream> {
        let until = deadline(Instant::now(), self.session.config().data_connect_timeout);
        let mut what = Some(what);
        let socket = match std::mem::replace(&mut self.data, DataPort::None) {
            DataPort::None => {
                return Err(Error::new(ErrorKind::Protocol, "no PASV or PORT before"));
            }
            DataPort::Passive(listener) => self.accept(&listener, until, &mut what)?,
            DataPort::Active(address) => {
                self.data_proof = Proof::Address;
                self.connect(address, until)?
            }
            DataPort::Connected(socket) => socket,
            DataPort::Shaking(handshake) => {
                if let Some(what) = what {
                    self.preliminary(what())?;
                }
                return self.shake_hands(*handshake, until);
            }
            DataPort::Ready(stream) => {
                if let Some(what) = what {
                    self.preliminary(what())?;
                }
                return Ok(*stream);
            }
            DataPort::Refused(error) => return Err(error),
        };
        if let Some(what) = what {
            self.preliminary(what())?;
        }
        self.protect(socket, until, direction)
    }

    fn accept(
        &mut self,
        listener: &PassivePort,
        until: Option<Instant>,
        what: &mut Option<impl FnOnce() -> Reply>,
    ) -> Result<Socket> {
        let early = Instant::now() + EARLY_150;
        loop {
            match self.accept_peer(listener) {
                Ok(Some(socket)) => return Ok(socket),
                Ok(None) => {}
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
                            return Err(Error::new(ErrorKind::Timeout, "no data connection came"));
                        }
                        if let Some(what) = what.take() {
                            self.preliminary(what())?;
                        }
                    }
                }
                Err(error) => return Err(error).doing("accepting the data connection"),
            }
        }
    }

    fn connect(&mut self, address: SocketAddr, until: Option<Instant>) -> Result<Socket> {
        let local = SocketAddr::new(self.session.local().ip().to_canonical(), 0);
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if local.is_ipv4() == address.is_ipv4() {
            // From the address that the client knows, as its firewall expects.
            rustix::net::bind(&socket, &local).doing("binding the data connection")?;
        }
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => {
                if !self.wait_for(&socket, Interest::Write, until)? {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        "connecting to the client's data port",
                    ));
                }
                sockopt::socket_error(&socket)?.doing("connecting to the client's data port")?;
            }
            Err(errno) => return Err(errno).doing("connecting to the client's data port"),
        }
        Ok(Socket::from(std::net::TcpStream::from(socket)))
    }

    /// Waits for a descriptor and watches the control connection meanwhile.
    /// `false`: the time is over.
    ///
    /// # Errors
    /// [`ErrorKind::Aborted`] for ABOR, [`ErrorKind::Disconnected`] when the
    /// client is gone.
    pub fn wait_for(
        &mut self,
        descriptor: &impl AsFd,
        interest: Interest,
        until: Option<Instant>,
    ) -> Result<bool> {
        // An ABOR in one segment with the command is here already.
        if self.control.has_lines() {
            self.look()?;
        }
        loop {
            let mut ready = false;
            if self.control.can_look() {
                let control = self.control.socket()?;
                let [data, asks] = wait(
                    [
                        (descriptor.as_fd(), interest),
                        (control.as_fd(), Interest::Read),
                    ],
                    until,
                )?;
                ready |= data;
                if asks {
                    self.look()?;
                }
                if !data && !asks {
                    return Ok(false);
                }
            } else {
                let [data] = wait([(descriptor.as_fd(), interest)], until)?;
                if !data {
                    return Ok(false);
                }
                ready = true;
            }
            if ready {
                return Ok(true);
            }
        }
    }

    /// Looks at the control connection in the middle of a transfer: STAT is
    /// answered, ABOR ends the transfer, the rest waits.
    pub fn look(&mut self) -> Result<()> {
        loop {
            match self.control.look()? {
                None => return Ok(()),
                Some(Urgent::Abort) => return Err(Error::new(ErrorKind::Aborted, "ABOR")),
                Some(Urgent::Status) => {
                    self.control.take_line();
                    let status = super::cmd::info::transfer_status(self);
                    self.control.send(&status)?;
                }
            }
        }
    }
}
