//! Two TUN devices and the threads between them.

use crate::{Result, Wire};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// What waits before the narrow place.
const QUEUE: Duration = Duration::from_millis(50);

type Work = Box<dyn FnOnce() + Send>;

/// A server's namespace, which is ours, and a client's, which is a thread's.
pub struct Link {
    /// Of what has crossed it.
    pub flights: Arc<Flights>,
    client: Option<Sender<Work>>,
}

impl Link {
    pub fn new(wire: &Wire) -> Result<Link> {
        let near = device("wire0", SERVER, CLIENT, wire)?;
        let (client, work) = channel::<Work>();
        let (made, far) = channel();
        let (congestion, name) = (wire.congestion, "wire0");
        let seen = Wire {
            congestion,
            ..copy(wire)
        };
        std::thread::spawn(move || {
            let device = apart().and_then(|()| device(name, CLIENT, SERVER, &seen));
            let _ = made.send(device.map_err(|error| error.to_string()));
            work.into_iter().for_each(|work| work());
        });
        let far = far.recv()??;
        let flights = Arc::<Flights>::default();
        carry(near.try_clone()?, far.try_clone()?, wire, (&flights, 0))?;
        carry(far, near, wire, (&flights, 1))?;
        Ok(Link {
            flights,
            client: Some(client),
        })
    }

    /// Does something on the client's side, and waits for it.
    pub fn at_client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, wait) = channel();
        let work: Work = Box::new(move || {
            let _ = done.send(work());
        });
        let client = self.client.as_ref().ok_or("the client is gone")?;
        client.send(work).map_err(|_| "the client is gone")?;
        Ok(wait.recv()?)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.client = None;
        let _ = ip(&["link", "del", "wire0"]);
    }
}

fn copy(wire: &Wire) -> Wire {
    Wire { ..*wire }
}

/// Makes a network namespace for this thread and what it starts.
pub fn apart() -> Result<()> {
    // SAFETY: no descriptor of this thread is unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    ip(&["link", "set", "lo", "up"])
}

fn ip(words: &[&str]) -> Result<()> {
    if Command::new("ip").args(words).status()?.success() {
        Ok(())
    } else {
        Err(format!("ip {} failed", words.join(" ")).into())
    }
}

fn device(name: &str, own: Ipv4Addr, other: Ipv4Addr, wire: &Wire) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // struct ifreq: the name and, at 16, the flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes one struct ifreq, which is as long.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr()) };
    if made != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let (own, other) = (own.to_string(), other.to_string());
    ip(&["addr", "add", &own, "peer", &other, "dev", name])?;
    ip(&[
        "link",
        "set",
        name,
        "mtu",
        "1500",
        "txqueuelen",
        "10000",
        "up",
    ])?;
    ip(&[
        "route",
        "replace",
        &other,
        "dev",
        name,
        "congctl",
        wire.congestion,
    ])?;
    Ok(file)
}

/// One direction: packets wait for the narrow place, are dropped where too
/// many wait or by chance, and come out after the delay.
fn carry(from: File, to: File, wire: &Wire, (flights, side): (&Arc<Flights>, usize)) -> Result<()> {
    let (seen, delivered) = (Arc::clone(flights), Arc::clone(flights));
    let wire = copy(wire);
    let in_flight = wire.megabits * 1_000_000 / 8 / 1000 * (QUEUE + wire.delay).as_millis() as u64;
    // A packet of 1,500 bytes each; what is shorter than that takes less room.
    let (sender, receiver) = sync_channel(in_flight as usize / 500 + 1000);
    std::thread::Builder::new().spawn(move || narrow(from, &sender, &wire, (&seen, side)))?;
    std::thread::Builder::new().spawn(move || deliver(to, &receiver, (&delivered, 1 - side)))?;
    Ok(())
}

/// When it comes out, its place in the chain of flights, and its bytes.
type Packet = (Instant, u32, Vec<u8>);

/// How many packets have waited for one another: a packet that says something
/// comes one flight after the last one that its sender had received. Two
/// flights are a round trip, however slow the machine is.
#[derive(Default)]
pub struct Flights([AtomicU32; 2]);

impl Flights {
    /// Begins anew.
    pub fn clear(&self) {
        self.0.iter().for_each(|seen| seen.store(0, Relaxed));
    }

    /// Round trips so far.
    pub fn round_trips(&self) -> f64 {
        let most = self.0.iter().map(|seen| seen.load(Relaxed)).max();
        f64::from(most.unwrap_or(0)) / 2.0
    }

    fn sent(&self, side: usize, packet: &[u8]) -> u32 {
        if says_something(packet) {
            self.0[side].load(Relaxed) + 1
        } else {
            0
        }
    }

    fn arrived(&self, side: usize, flight: u32) {
        self.0[side].fetch_max(flight, Relaxed);
    }
}

/// Whether a packet is of TCP and more than an acknowledgement.
fn says_something(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 15) * 4;
    let (Some(offset), Some(flags)) = (packet.get(header + 12), packet.get(header + 13)) else {
        return false;
    };
    let (fin, syn) = (1, 2);
    packet[9] == 6
        && (packet.len() > header + usize::from(offset >> 4) * 4 || flags & (fin | syn) != 0)
}

fn narrow(
    mut from: File,
    sender: &SyncSender<Packet>,
    wire: &Wire,
    (flights, side): (&Flights, usize),
) {
    let mut random = (side as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut free = Instant::now();
    let mut buffer = [0; 2048];
    while let Ok(length) = from.read(&mut buffer) {
        let now = Instant::now();
        let flight = flights.sent(side, &buffer[..length]);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        free = free.max(now);
        if free > now + QUEUE || random % 1000 < u64::from(wire.loss) {
            continue;
        }
        free += Duration::from_nanos(length as u64 * 8 * 1000 / wire.megabits);
        // Full: dropped too.
        let _ = sender.try_send((free + wire.delay, flight, buffer[..length].to_vec()));
    }
}

fn deliver(mut to: File, receiver: &Receiver<Packet>, (flights, side): (&Flights, usize)) {
    for (due, flight, packet) in receiver {
        let left = due.saturating_duration_since(Instant::now());
        if left > Duration::from_micros(50) {
            std::thread::sleep(left);
        }
        flights.arrived(side, flight);
        if to.write_all(&packet).is_err() {
            return;
        }
    }
}
