//! A few ports that all sessions share. A connection goes to the session that
//! waits for its address; where several of one address wait on one port, the
//! TLS session that its first bytes ask for tells whose it is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::RecvFlags;

use super::{Arrival, PassivePort, ToldBy, random};
use crate::address::Network;
use crate::config::{Config, Endpoint, ProxyData};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::net::listener::{self, Stop};
use crate::net::proxy_protocol;
use crate::net::refusal;
use crate::net::socket::{Blocking, Interest, Socket, wait};
use crate::net::tls::{FirstBytes, ResumptionId, inspect};
use crate::sync::unpoisoned;

/// Ports that can be shared: each holds a descriptor and a thread.
const SHARED_MAX: u32 = 64;
/// Connections of one port at the same time whose first bytes are waited for.
const SORTING_MAX: usize = 64;
/// How long they may take: the client begins after its reply 150.
const SORTING_TIME: Duration = Duration::from_secs(20);
/// Between two looks at a ClientHello that has come in part.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest ClientHello that is looked at.
const HELLO_MAX: usize = 16 * 1024;

/// The shared ports of a server.
pub struct SharedPorts(Vec<Arc<SharedPort>>);

struct SharedPort {
    number: u16,
    listener: TcpListener,
    stop: Stop,
    /// Balancers that write a PROXY header in front of data connections.
    balancers: Vec<Network>,
    /// Who is waited for, by address.
    claims: Mutex<HashMap<IpAddr, Vec<Arc<Slot>>>>,
    sorting: AtomicUsize,
}

struct Slot {
    event: OwnedFd,
    /// What its client can name its TLS session by; none without TLS.
    resumption_ids: Vec<ResumptionId>,
    contested: AtomicBool,
    arrived: Mutex<Option<Arrival>>,
}

impl Slot {
    fn ring(&self) {
        // The counter can't be full: it is written twice at most.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

/// Whose a connection is.
enum Whose {
    Nobodys,
    One(Arc<Slot>),
    /// One of these sessions'.
    Several(Vec<Arc<Slot>>),
}

impl SharedPort {
    fn claims(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Arc<Slot>>>> {
        unpoisoned(self.claims.lock())
    }

    fn whose(&self, peer: IpAddr) -> Whose {
        match self.claims().get(&peer).map_or(&[][..], Vec::as_slice) {
            [] => Whose::Nobodys,
            [slot] => Whose::One(Arc::clone(slot)),
            several => Whose::Several(several.to_vec()),
        }
    }

    /// Gives a connection to the session that waits for its client.
    fn deliver(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let from = peer.ip().to_canonical();
        let named = self.balancers.iter().any(|one| one.contains(from));
        match self.whose(from) {
            Whose::One(slot) if !named => {
                self.give(&slot, stream.into(), from, None, ToldBy::Place)
            }
            Whose::Nobodys if !named => refuse(from, "no session waits for it"),
            _ => {
                if self.sorting.fetch_add(1, Relaxed) >= SORTING_MAX {
                    self.sorting.fetch_sub(1, Relaxed);
                    return refuse(from, "too many wait to be told apart");
                }
                let port = Arc::clone(self);
                let sort = move || {
                    port.sort(stream, from, named);
                    port.sorting.fetch_sub(1, Relaxed);
                };
                let thread = std::thread::Builder::new().name("data".into());
                if let Err(error) = thread.stack_size(128 * 1024).spawn(sort) {
                    self.sorting.fetch_sub(1, Relaxed);
                    log::error!("starting a thread: {error}");
                }
            }
        }
    }

    /// Waits for the first bytes of a connection to see whose it is.
    fn sort(&self, stream: TcpStream, from: IpAddr, by_header: bool) {
        let socket = Socket::from(stream);
        let mut named = None;
        if by_header {
            match proxy_protocol::read(&socket, Instant::now() + proxy_protocol::DEADLINE) {
                Ok(client) => {
                    named = Some(client.map_or(from, |one| one.client.ip().to_canonical()))
                }
                Err(error) => return refuse(from, &format!("{error}; see proxy-data")),
            }
        }
        let client = named.unwrap_or(from);
        let (slot, told_by) = match self.whose(client) {
            Whose::Nobodys => return refuse(client, "no session waits for it"),
            Whose::One(slot) => (slot, ToldBy::Place),
            Whose::Several(slots) => {
                for slot in &slots {
                    slot.contested.store(true, Relaxed);
                    slot.ring();
                }
                let asked = match wanted(&socket) {
                    Ok(asked) => asked,
                    Err(why) => return refuse(client, &format!("several sessions wait and {why}")),
                };
                let own =
                    |slot: &&Arc<Slot>| slot.resumption_ids.iter().any(|id| asked.contains(id));
                match slots.iter().find(own) {
                    Some(slot) => (Arc::clone(slot), ToldBy::TlsSession),
                    None => {
                        let why = "several sessions wait and it resumes no TLS session of theirs";
                        return refuse(client, why);
                    }
                }
            }
        };
        self.give(&slot, socket, from, named, told_by);
    }

    fn give(
        &self,
        slot: &Arc<Slot>,
        socket: Socket,
        from: IpAddr,
        named: Option<IpAddr>,
        told_by: ToldBy,
    ) {
        if !self.remove(named.unwrap_or(from), slot) || socket.set_blocking(Blocking::No).is_err() {
            return;
        }
        *unpoisoned(slot.arrived.lock()) = Some(Arrival {
            socket,
            from,
            named,
            told_by,
        });
        slot.ring();
    }

    /// Takes a claim away; `false` if it was gone already.
    fn remove(&self, peer: IpAddr, slot: &Arc<Slot>) -> bool {
        let mut claims = self.claims();
        let Some(slots) = claims.get_mut(&peer) else {
            return false;
        };
        let before = slots.len();
        slots.retain(|other| !Arc::ptr_eq(other, slot));
        let removed = slots.len() < before;
        if slots.is_empty() {
            claims.remove(&peer);
        }
        removed
    }
}

fn refuse(from: IpAddr, why: &str) {
    refusal::tell("refused a data connection from", from, &why);
}

/// The TLS sessions that a connection asks for; its bytes stay where they are.
fn wanted(socket: &Socket) -> std::result::Result<Vec<ResumptionId>, &'static str> {
    let until = Instant::now() + SORTING_TIME;
    let mut bytes = vec![0; HELLO_MAX];
    let mut seen = 0;
    loop {
        let ready = wait([(socket.as_fd(), Interest::Read)], Some(until));
        if !ready.is_ok_and(|[ready]| ready) {
            return Err("it said nothing");
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let length = match rustix::net::recv(socket, &mut bytes[..], flags) {
            Ok((0, _)) | Err(_) => return Err("it ended"),
            Ok((length, _)) => length,
        };
        match inspect(&bytes[..length]) {
            FirstBytes::ClientHello(hello) => return Ok(hello.sessions),
            FirstBytes::NotTls | FirstBytes::Malformed => return Err("it has no TLS"),
            // What has been looked at stays readable: only more is news.
            FirstBytes::Incomplete if length == seen => std::thread::sleep(PAUSE),
            FirstBytes::Incomplete => seen = length,
        }
        if Instant::now() >= until {
            return Err("it took too long");
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
    pub(super) fn take(&self) -> Option<Arrival> {
        // Rung for nothing but contest, it must not stay readable.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        let arrived = self.slot.arrived.lock();
        unpoisoned(arrived).take()
    }

    pub(super) fn is_contested(&self) -> bool {
        self.slot.contested.load(Relaxed)
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.port.remove(self.peer, &self.slot);
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({} on {})", self.peer, self.port.number)
    }
}

/// Whether the passive ports are few enough to be open all the time.
///
/// # Errors
/// There are more than 64.
pub fn shareable(config: &Config) -> Result<()> {
    let count = config.own_passive_ports().count();
    if count > SHARED_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "shared-data-ports is for at most {SHARED_MAX} ports; passive-ports has {count}"
            ),
        ));
    }
    Ok(())
}

impl SharedPorts {
    /// Opens every own passive port on all addresses, each with a thread that
    /// gives connections to the sessions that wait for them.
    ///
    /// # Errors
    /// A port that can't be opened, more than 64 of them.
    pub fn open(config: &Config) -> Result<SharedPorts> {
        let range = config.own_passive_ports();
        shareable(config)?;
        let mut listeners = Vec::new();
        for port in range.first..=range.last {
            listeners.push(listener::bind(&Endpoint {
                host: String::new(),
                port,
            })?);
        }
        let balancers = match config.proxy_data {
            ProxyData::Header => config.proxy_from.clone(),
            ProxyData::Tls => Vec::new(),
        };
        SharedPorts::on(listeners, &balancers)
    }

    fn on(listeners: Vec<TcpListener>, balancers: &[Network]) -> Result<SharedPorts> {
        let mut shared = SharedPorts(Vec::new());
        for listener in listeners {
            let port = Arc::new(SharedPort {
                number: listener.local_addr()?.port(),
                listener,
                stop: Stop::new().doing("making an eventfd")?,
                balancers: balancers.to_vec(),
                claims: Mutex::default(),
                sorting: AtomicUsize::new(0),
            });
            shared.0.push(Arc::clone(&port));
            std::thread::Builder::new()
                .name("data".into())
                .stack_size(128 * 1024)
                .spawn(move || {
                    listener::accept_all(&port.listener, &port.stop, |stream, peer| {
                        port.deliver(stream, peer);
                    });
                })
                .doing("starting a thread")?;
        }
        Ok(shared)
    }

    /// Claims the next connection from `peer` to one of the ports. `resumption_ids`
    /// are those of the TLS session that the connection will resume, if it
    /// will be protected.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when sessions of this address wait on every port
    /// already and their connections could not be told apart.
    pub fn reserve(
        &self,
        peer: IpAddr,
        resumption_ids: &[ResumptionId],
    ) -> Result<(PassivePort, u16)> {
        let peer = peer.to_canonical();
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let slot = Arc::new(Slot {
            event: rustix::io::dup(&event)?,
            resumption_ids: resumption_ids.to_vec(),
            contested: AtomicBool::new(false),
            arrived: Mutex::default(),
        });
        let start = random()?[0] as usize;
        let (before, after) = self.0.split_at(start % self.0.len().max(1));
        // A port that nobody of this address waits on is better than any
        // telling apart.
        for alone in [true, false] {
            for port in after.iter().chain(before) {
                let mut claims = port.claims();
                let waiting = claims.get(&peer).map_or(&[][..], Vec::as_slice);
                let told_apart = !resumption_ids.is_empty()
                    && waiting.iter().all(|one| !one.resumption_ids.is_empty());
                if !waiting.is_empty() && (alone || !told_apart) {
                    continue;
                }
                claims.entry(peer).or_default().push(Arc::clone(&slot));
                drop(claims);
                let claim = Claim {
                    port: Arc::clone(port),
                    peer,
                    slot,
                    event,
                };
                return Ok((PassivePort::Shared(claim), port.number));
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "{peer} waits on every shared data port already, and without TLS on both \
                 connections could not be told apart; publish more passive-ports"
            ),
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
    use std::io::{self, Read};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ports(count: usize) -> SharedPorts {
        let listeners = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        SharedPorts::on(listeners, &[]).unwrap()
    }

    fn accept(port: &PassivePort) -> Arrival {
        let until = Some(Instant::now() + Duration::from_secs(10));
        loop {
            assert_eq!(
                wait([(port.as_fd(), Interest::Read)], until).unwrap(),
                [true]
            );
            match port.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                arrival => return arrival.unwrap(),
            }
        }
    }

    #[test]
    fn clients_are_told_apart_by_address() {
        let shared = ports(2);
        let (one, first) = shared.reserve(HERE, &[]).unwrap();
        let (two, second) = shared.reserve(HERE, &[]).unwrap();
        assert_ne!(first, second);
        let ids = [b"a TLS session".to_vec()];
        for ids in [&[][..], &ids] {
            // One in the clear can't be told from the other.
            let refused = shared.reserve(HERE, ids).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Busy);
        }
        // Another client is told apart on any of them.
        drop(shared.reserve([127, 0, 0, 2].into(), &[]).unwrap());
        let client = TcpStream::connect(("127.0.0.1", second)).unwrap();
        let arrival = accept(&two);
        assert_eq!(arrival.told_by, ToldBy::Place);
        assert_eq!(arrival.socket.peer_addr(), client.local_addr().ok());
        // Served or dropped, a claim is free again.
        drop((one, two));
        let (_again, _) = shared.reserve(HERE, &[]).unwrap();
        let (_and_again, _) = shared.reserve(HERE, &[]).unwrap();
    }

    #[test]
    fn nobody_waits_nobody_is_let_in() {
        let shared = ports(1);
        let mut stranger = TcpStream::connect(("127.0.0.1", shared.0[0].number)).unwrap();
        stranger
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
    }
}
