//! Ports that clients open data connections to: one of its own for each
//! transfer, or a few that all sessions share, because containers and
//! Kubernetes can't publish a range.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::listener::Stop;
use crate::config::{Endpoint, PortRange};
use crate::error::{Doing, Error, ErrorKind, Result};

/// Ports that can be shared: each holds a descriptor and a thread.
pub const SHARED_MAX: u32 = 64;

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
        listen(address, range).map(|(listener, port)| (PassivePort::Own(listener), port))
    }

    /// The connection, non-blocking, if one has come.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            PassivePort::Own(listener) => accept(listener),
            PassivePort::Shared(claim) => claim.take().ok_or(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsFd for PassivePort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            PassivePort::Own(listener) => listener.as_fd(),
            PassivePort::Shared(claim) => claim.event.as_fd(),
        }
    }
}

/// Connections that may wait on a passive port: strangers must not keep the
/// real client out.
const BACKLOG: i32 = 16;
/// Ports that are tried before the client is told that there is none.
const PORTS_TRIED: u32 = 200;
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
    let mut last = None;
    for number in 0..PORTS_TRIED.min(count) {
        let at = (u64::from(start) + u64::from(number) * u64::from(step)) % u64::from(count);
        let port = range.first + at as u16;
        match bind(SocketAddr::new(address, port)) {
            Ok(listener) => return Ok((listener, port)),
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => last = Some(error),
            Err(error) => return Err(error).doing("opening a passive port"),
        }
    }
    let cause = last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse));
    Err(Error::with_source(
        ErrorKind::Busy,
        "no passive port is free",
        cause,
    ))
}

fn common_divisor(mut one: u32, mut two: u32) -> u32 {
    while two != 0 {
        (one, two) = (two, one % two);
    }
    one
}

/// Unpredictable, so that nobody can connect to the port before its client
/// (landscape.md, attack 3).
fn random() -> Result<[u32; 2]> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let number = u64::from_le_bytes(bytes);
    Ok([number as u32, (number >> 32) as u32])
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Ports in TIME_WAIT are ours to use again: thousands of small transfers
    // a second leave as many of them.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
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

/// The shared ports of a server.
pub struct SharedPorts(Vec<Arc<SharedPort>>);

struct SharedPort {
    number: u16,
    listener: TcpListener,
    stop: Stop,
    /// Who is waited for, by address.
    claims: Mutex<HashMap<IpAddr, Arc<Slot>>>,
}

struct Slot {
    event: OwnedFd,
    arrived: Mutex<Option<(TcpStream, SocketAddr)>>,
}

impl SharedPort {
    fn claims(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Slot>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection to the session that waits for its client.
    fn deliver(&self, stream: TcpStream, peer: SocketAddr) {
        let slot = self.claims().remove(&peer.ip().to_canonical());
        match slot {
            Some(slot) => {
                if stream.set_nonblocking(true).is_err() {
                    return;
                }
                *slot.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream, peer));
                // The counter can't be full: it is written once.
                let _ = rustix::io::write(&slot.event, &1u64.to_ne_bytes());
            }
            None => log::warn!(
                "refused a data connection from {}: no session waits for it",
                peer.ip().to_canonical()
            ),
        }
    }
}

/// One session's claim on the next connection of its client.
pub struct Claim {
    port: Arc<SharedPort>,
    peer: IpAddr,
    slot: Arc<Slot>,
    event: OwnedFd,
}

impl Claim {
    fn take(&self) -> Option<(TcpStream, SocketAddr)> {
        self.slot
            .arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.port.claims();
        // It may have been served, and another session may wait by now.
        if claims
            .get(&self.peer)
            .is_some_and(|slot| Arc::ptr_eq(slot, &self.slot))
        {
            claims.remove(&self.peer);
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({} on {})", self.peer, self.port.number)
    }
}

impl SharedPorts {
    /// Opens every port of `range` on all addresses, each with a thread that
    /// gives connections to the sessions that wait for them.
    ///
    /// # Errors
    /// A port that can't be opened, more than 64 of them.
    pub fn open(range: PortRange) -> Result<SharedPorts> {
        if range.count() > SHARED_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "shared-data-ports is for at most {SHARED_MAX} ports; passive-ports has {}",
                    range.count()
                ),
            ));
        }
        let mut listeners = Vec::new();
        for port in range.first..=range.last {
            listeners.push(super::listener::bind(&Endpoint {
                host: String::new(),
                port,
            })?);
        }
        SharedPorts::on(listeners)
    }

    fn on(listeners: Vec<TcpListener>) -> Result<SharedPorts> {
        let mut shared = SharedPorts(Vec::new());
        for listener in listeners {
            let port = Arc::new(SharedPort {
                number: listener.local_addr()?.port(),
                listener,
                stop: Stop::new().doing("making an eventfd")?,
                claims: Mutex::default(),
            });
            shared.0.push(Arc::clone(&port));
            std::thread::Builder::new()
                .name("data".into())
                .stack_size(128 * 1024)
                .spawn(move || {
                    super::listener::accept_all(&port.listener, &port.stop, |stream, peer| {
                        port.deliver(stream, peer);
                    });
                })
                .doing("starting a thread")?;
        }
        Ok(shared)
    }

    /// Claims the next connection from `peer` to one of the ports.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when sessions of this address wait on every port
    /// already: their connections could not be told apart.
    pub fn reserve(&self, peer: IpAddr) -> Result<(PassivePort, u16)> {
        let peer = peer.to_canonical();
        let start = random()?[0] as usize;
        for at in 0..self.0.len() {
            let port = &self.0[(start + at) % self.0.len()];
            let mut claims = port.claims();
            if claims.contains_key(&peer) {
                continue;
            }
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let slot = Arc::new(Slot {
                event: rustix::io::dup(&event)?,
                arrived: Mutex::default(),
            });
            claims.insert(peer, Arc::clone(&slot));
            drop(claims);
            let claim = Claim {
                port: Arc::clone(port),
                peer,
                slot,
                event,
            };
            return Ok((PassivePort::Shared(claim), port.number));
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("{peer} waits on every shared data port already; publish more passive-ports"),
        ))
    }
}

impl Drop for SharedPorts {
    fn drop(&mut self) {
        for port in &self.0 {
            port.stop.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::{Interest, wait};
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn accept(port: &PassivePort) -> TcpStream {
        let until = Some(Instant::now() + Duration::from_secs(10));
        assert_eq!(
            wait([(port.as_fd(), Interest::Read)], until).unwrap(),
            [true]
        );
        port.accept().unwrap().0
    }

    #[test]
    fn shared_ports_tell_clients_apart_by_address() {
        let listeners = (0..2)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let shared = SharedPorts::on(listeners).unwrap();
        let here: IpAddr = [127, 0, 0, 1].into();
        let (one, first) = shared.reserve(here).unwrap();
        let (two, second) = shared.reserve(here).unwrap();
        assert_ne!(first, second);
        assert_eq!(shared.reserve(here).unwrap_err().kind(), ErrorKind::Busy);
        // Another client is told apart on any of them.
        drop(shared.reserve([127, 0, 0, 2].into()).unwrap());
        let client = TcpStream::connect(("127.0.0.1", second)).unwrap();
        assert_eq!(
            accept(&two).peer_addr().unwrap(),
            client.local_addr().unwrap()
        );
        // Served or dropped, a claim is free again.
        drop((one, two));
        let (_again, _) = shared.reserve(here).unwrap();
        let (_and_again, _) = shared.reserve(here).unwrap();
    }

    #[test]
    fn nobody_waits_nobody_is_let_in() {
        let shared = SharedPorts::on(vec![TcpListener::bind("127.0.0.1:0").unwrap()]).unwrap();
        let mut stranger = TcpStream::connect(("127.0.0.1", shared.0[0].number)).unwrap();
        stranger
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    }

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
