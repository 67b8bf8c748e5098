//! Ports that clients open data connections to: one of its own for each
//! transfer, or a few that all sessions share, because containers and
//! Kubernetes can't publish a range.

mod shared;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::config::PortRange;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::net::socket::Socket;

pub use shared::{Claim, SharedPorts, shareable};

/// A connection that has come to a passive port, non-blocking.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub socket: Socket,
    /// The address at its other end.
    pub from: IpAddr,
    /// The client that a balancer's PROXY header names, where the header has
    /// been read already.
    pub named: Option<IpAddr>,
    /// What it was told apart by from connections of others.
    pub told_by: ToldBy,
}

/// What tells one connection to a passive port from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// The port or the address: only one session waits there.
    Place,
    /// It has asked for the TLS session of one of several that wait. Whoever
    /// takes it must see that it can really resume it.
    TlsSession,
}

/// A port that waits for one data connection.
#[derive(Debug)]
pub enum PassivePort {
    /// Opened for this transfer.
    Own(TcpListener),
    /// A claim on the next connection of one client to a shared port.
    Shared(Claim),
}

impl PassivePort {
    /// Opens a port of its own on `address`, anywhere in `range`.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when no port is free.
    pub fn open(address: IpAddr, range: PortRange) -> Result<(PassivePort, u16)> {
        listen(address, range)
            .or_else(|error| {
                if error.kind() != ErrorKind::Busy {
                    return Err(error);
                }
                // The port of the last transfer may be the only one, and a child
                // of the program that we are part of holds it until its exec.
                std::thread::sleep(UNTIL_EXEC);
                listen(address, range)
            })
            .map(|(listener, port)| (PassivePort::Own(listener), port))
    }

    /// The connection, if one has come.
    pub fn accept(&self) -> io::Result<Arrival> {
        match self {
            PassivePort::Own(listener) => accept(listener).map(|(stream, peer)| Arrival {
                socket: stream.into(),
                from: peer.ip(),
                named: None,
                told_by: ToldBy::Place,
            }),
            PassivePort::Shared(claim) => claim.take().ok_or(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether a connection is there that may be for this port's session or
    /// for another one's. Only its TLS handshake will tell, and many clients
    /// begin that only after they have seen the reply 150.
    pub fn is_contested(&self) -> bool {
        match self {
            PassivePort::Own(_) => false,
            PassivePort::Shared(claim) => claim.is_contested(),
        }
    }
}

impl AsFd for PassivePort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            PassivePort::Own(listener) => listener.as_fd(),
            PassivePort::Shared(claim) => claim.as_fd(),
        }
    }
}

/// Connections that may wait on a passive port: strangers must not keep the
/// real client out.
const BACKLOG: i32 = 16;
/// Ports that are tried before the client is told that there is none.
const PORTS_TRIED: u32 = 200;
/// How long a child holds our descriptors between fork and exec.
const UNTIL_EXEC: Duration = Duration::from_millis(50);

/// Opens a passive port on `address`, anywhere in `range`, in random order.
fn listen(address: IpAddr, range: PortRange) -> Result<(TcpListener, u16)> {
    let count = range.count();
    // Each port of the range at most once, in an order that nobody can guess:
    // a step without a common divisor visits all of them.
    let [start, step] = random()?;
    let start = start % count;
    let mut step = 1 + step % count;
    while common_divisor(step, count) != 1 {
        step += 1;
    }
    let mut socket = None;
    for number in 0..PORTS_TRIED.min(count) {
        let at = (u64::from(start) + u64::from(number) * u64::from(step)) % u64::from(count);
        let port = range.first + at as u16;
        let unbound = match socket.take() {
            Some(unbound) => unbound,
            None => unbound_socket(address)?,
        };
        match rustix::net::bind(&unbound, &SocketAddr::new(address, port)) {
            // Others with SO_REUSEADDR may be bound; only one can listen.
            Ok(()) => match rustix::net::listen(&unbound, BACKLOG) {
                Ok(()) => return Ok((unbound.into(), port)),
                Err(Errno::ADDRINUSE) => {}
                Err(errno) => return Err(errno).doing("opening a passive port"),
            },
            Err(Errno::ADDRINUSE) => socket = Some(unbound),
            Err(errno) => return Err(errno).doing("opening a passive port"),
        }
    }
    Err(Error::with_source(
        ErrorKind::Busy,
        "no passive port is free",
        io::Error::from(Errno::ADDRINUSE),
    ))
}

fn common_divisor(mut one: u32, mut two: u32) -> u32 {
    while two != 0 {
        (one, two) = (two, one % two);
    }
    one
}

/// Unpredictable, so that nobody can connect to the port before its client
/// (wharf-security(7), attack 3).
fn random() -> Result<[u32; 2]> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let number = u64::from_le_bytes(bytes);
    Ok([number as u32, (number >> 32) as u32])
}

fn unbound_socket(address: IpAddr) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Ports in TIME_WAIT are ours to use again: thousands of small transfers
    // a second leave as many of them.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// Accepts a connection that is non-blocking from the start: std's `accept`
/// would need a system call more.
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer
        .and_then(|peer| SocketAddr::try_from(peer).ok())
        .ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket.into(), peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_no_order_and_every_port_is_found() {
        let here: IpAddr = [127, 0, 0, 1].into();
        let range = PortRange {
            first: 49152,
            last: 65535,
        };
        let numbers: Vec<u16> = (0..20)
            .map(|_| PassivePort::open(here, range).unwrap().1)
            .collect();
        assert!(
            numbers.windows(2).any(|two| two[0].abs_diff(two[1]) > 1),
            "{numbers:?}"
        );
    }
}
