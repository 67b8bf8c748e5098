//! A plain connected socket, TCP or UNIX: what TLS runs on, and what a data
//! transfer hands to `sendfile`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A connected socket. A clone is the same socket, for whoever must be able to
/// wake a session that waits on it; it costs no descriptor.
#[derive(Debug, Clone)]
pub enum Socket {
    /// TCP, over IPv4 or IPv6.
    Tcp(Arc<TcpStream>),
    /// A UNIX stream socket: tests and local proxies.
    Unix(Arc<UnixStream>),
}

impl Socket {
    /// Limits how long one read blocks; `None` is for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(at_least_a_moment(timeout)),
            Socket::Unix(socket) => socket.set_read_timeout(at_least_a_moment(timeout)),
        }
    }

    /// Limits how long one write blocks; `None` is for ever.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_write_timeout(at_least_a_moment(timeout)),
            Socket::Unix(socket) => socket.set_write_timeout(at_least_a_moment(timeout)),
        }
    }

    /// Whether reads and writes wait, or answer `WouldBlock` at once.
    pub fn set_blocking(&self, blocking: Blocking) -> io::Result<()> {
        let nonblocking = blocking == Blocking::No;
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Unix(socket) => socket.set_nonblocking(nonblocking),
        }
    }

    /// Ends one or both directions.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(how),
            Socket::Unix(socket) => socket.shutdown(how),
        }
    }

    /// Acknowledges at once what comes next. A peer that writes twice before
    /// we answer and leaves Nagle's algorithm on (ftplib, PHP, Java) sends the
    /// second write only after the first is acknowledged, which the kernel
    /// puts off by 40 ms on a connection where we have just sent something.
    pub fn acknowledge_at_once(&self) {
        if let Socket::Tcp(socket) = self {
            // It is about speed alone.
            let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
        }
    }

    /// Bytes that the peer has not acknowledged, as far as the kernel tells.
    pub fn unacknowledged(&self) -> Option<u64> {
        crate::sys::unacknowledged(self)
    }

    /// Has closing the socket reset the connection, so that the peer learns
    /// that it was given up. Otherwise the kernel would go on sending what is
    /// queued, for a quarter of an hour, to a peer that takes nothing.
    pub fn reset_on_close(&self) {
        // One that is gone already needs no reset.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }

    /// The address of the other end; `None` for a UNIX socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(socket) => socket.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The address of this end; `None` for a UNIX socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

/// Whether a socket's calls wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// They wait, for as long as the timeouts say.
    Yes,
    /// They answer `WouldBlock` instead.
    No,
}

/// A timeout of zero means "for ever" to the kernel and is an error to std.
fn at_least_a_moment(timeout: Option<Duration>) -> Option<Duration> {
    timeout.map(|timeout| timeout.max(Duration::from_millis(1)))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Socket::Tcp(Arc::new(socket))
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Socket::Unix(Arc::new(socket))
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &**socket).read(buffer),
            Socket::Unix(socket) => (&mut &**socket).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => (&mut &**socket).write(data),
            Socket::Unix(socket) => (&mut &**socket).write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Judges whether a connection stands still. What counts for a sender is what
/// the peer has acknowledged, not what the kernel has taken: a slow line drains
/// a full buffer for minutes before there is room for more.
///
/// Time counts in steps, as it is asked: an hour in which this process itself
/// was stopped is two steps at the most.
#[derive(Debug)]
pub struct Progress {
    limit: Duration,
    quiet: Duration,
    looked: Instant,
    moved: u64,
    unacknowledged: Option<u64>,
}

impl Progress {
    /// Begins now. A limit of zero means that nothing is ever given up.
    pub fn new(limit: Duration) -> Self {
        Progress {
            limit,
            quiet: Duration::ZERO,
            looked: Instant::now(),
            moved: 0,
            unacknowledged: None,
        }
    }

    /// How long to wait before [`Progress::has_stalled`] is asked again: much
    /// shorter than the limit, so that what happened in between is seen.
    pub fn step(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(5);
        if self.limit.is_zero() {
            return LONGEST;
        }
        (self.limit / 8).clamp(Duration::from_millis(10), LONGEST)
    }

    /// Notes that `moved` bytes in all have been moved.
    pub fn note(&mut self, moved: u64) {
        if self.moved != moved {
            self.moved = moved;
            self.start_again();
        }
    }

    fn start_again(&mut self) {
        self.quiet = Duration::ZERO;
        self.looked = Instant::now();
    }

    /// Whether nothing has moved for as long as the limit says. Called after a
    /// wait of one step in which the socket did not become ready.
    pub fn has_stalled(&mut self, socket: &Socket, moved: u64) -> bool {
        self.quiet += self.looked.elapsed().min(2 * self.step());
        self.looked = Instant::now();
        self.note(moved);
        let unacknowledged = socket.unacknowledged();
        if self.unacknowledged != unacknowledged {
            // The first look has nothing to compare with.
            if self.unacknowledged.is_some() {
                self.start_again();
            }
            self.unacknowledged = unacknowledged;
        }
        !self.limit.is_zero() && self.quiet >= self.limit
    }
}

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, a connection, or the end of the stream.
    Read,
    /// Room to write.
    Write,
    /// An error, or the end of both directions.
    HangUp,
}

/// Waits until one of `descriptors` is ready or `deadline` has passed; says
/// for each whether it is. An error on a descriptor counts as ready: the next
/// call on it tells.
pub fn wait<const N: usize>(
    descriptors: [(BorrowedFd<'_>, Interest); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut entries: [PollFd<'_>; N] = std::array::from_fn(|at| {
        let (descriptor, interest) = descriptors[at];
        PollFd::from_borrowed_fd(
            descriptor,
            match interest {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
                Interest::HangUp => PollFlags::empty(),
            },
        )
    });
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().min(i32::MAX as u64) as _,
                tv_nsec: left.subsec_nanos() as _,
            }
        });
        match poll(&mut entries, timeout.as_ref()) {
            Ok(_) => return Ok(std::array::from_fn(|at| !entries[at].revents().is_empty())),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender whose socket has no room, as its client reads a little at a
    /// time: the kernel takes nothing for long, and the line moves.
    #[test]
    fn what_the_peer_takes_is_progress_although_there_is_no_room() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Socket::from(ours);
        socket.set_blocking(Blocking::No).unwrap();
        let mut moved = 0;
        while let Ok(length) = (&socket).write(&[0; 512]) {
            moved += length as u64;
        }
        let limit = Duration::from_millis(160);
        let mut progress = Progress::new(limit);
        let step = progress.step();
        for _ in 0..20 {
            std::thread::sleep(step);
            assert!(!progress.has_stalled(&socket, moved));
            theirs.read_exact(&mut [0; 512]).unwrap();
        }
        let since = Instant::now();
        while !progress.has_stalled(&socket, moved) {
            assert!(since.elapsed() < Duration::from_secs(20), "never");
            std::thread::sleep(step);
        }
        assert!(since.elapsed() >= limit - 2 * step);
    }

    #[test]
    fn time_in_which_nobody_looked_is_no_stall() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let socket = Socket::from(ours);
        let mut progress = Progress::new(Duration::from_millis(400));
        std::thread::sleep(Duration::from_millis(600));
        assert!(!progress.has_stalled(&socket, 0));
        assert!(!Progress::new(Duration::ZERO).has_stalled(&socket, 0));
    }
}
