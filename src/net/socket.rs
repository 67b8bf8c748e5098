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
