//! The end of a connection on which all is sent while its peer may still be
//! reading.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::socket::{Interest, Socket, wait};

/// What may still come from a peer that is only sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// Something may.
    Open,
    /// Nothing: the peer has ended its direction.
    Ended,
}

/// Bytes of one read that discards, and how many reads are made before the
/// caller looks at something else.
const DISCARD: usize = 4096;
const DISCARD_READS: usize = 64;

/// Reads and discards what waits in a socket.
pub fn discard(socket: &Socket) -> io::Result<Incoming> {
    let mut scratch = [0; DISCARD];
    for _ in 0..DISCARD_READS {
        match recv(socket.as_fd(), &mut scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Incoming::Ended),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Incoming::Open),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Incoming::Open)
}

/// How long a connection is held for a peer that does not close it.
const HELD: Duration = Duration::from_secs(30);

/// A connection on which all is sent, held until its peer closes it too. To
/// close it while bytes of the peer are unread or on their way would reset it,
/// and the peer would lose what it has not read yet.
#[derive(Debug)]
pub struct Closing {
    socket: Socket,
    until: Instant,
}

impl Closing {
    /// Takes over a connection whose sending direction has been ended.
    pub fn new(socket: Socket) -> Closing {
        let until = Instant::now() + HELD;
        Closing { socket, until }
    }

    /// When it need not be held any longer.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Discards what has come; whether the connection need not be held any
    /// longer.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until || !matches!(discard(&self.socket), Ok(Incoming::Open))
    }

    /// Waits for the peer to close, at most until `deadline`.
    pub fn wait(self, deadline: Instant) {
        while Instant::now() < deadline && !self.is_over() {
            if wait([(self.as_fd(), Interest::Read)], Some(deadline)).is_err() {
                return;
            }
        }
    }
}

impl Drop for Closing {
    /// What is unread when the socket closes would reset it.
    fn drop(&mut self) {
        let _ = discard(&self.socket);
    }
}

impl AsFd for Closing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
