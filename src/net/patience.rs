//! When a peer has had its time: the one judge for all deadlines of sessions.
//!
//! A peer is judged by looks at its socket, never by the clock alone: this
//! process may have been stopped (a paused container, a hypervisor, a hung
//! disk, a long checksum) while that which it waits for has come. And a peer
//! that acknowledges is there, however slow it is.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::socket::Socket;
use crate::sys::unacknowledged;

/// The longest wait towards a deadline that is put off by what [`late`] tells.
pub const STEP: Duration = Duration::from_secs(1);

/// For how long this process did not run during a wait that began at `begin`
/// and was to last no longer than `most`: a client that logs in does not pay
/// for it, although it has more to say than one look can find.
pub fn late(begin: Instant, most: Duration) -> Duration {
    begin.elapsed().saturating_sub(most)
}

/// When a socket was last looked at. What was there has been read by then.
#[derive(Debug, Clone, Copy)]
pub struct Look(Instant);

impl Look {
    /// The look that is made now.
    pub fn now() -> Self {
        Look(Instant::now())
    }

    /// Whether a deadline had passed when the socket was looked at.
    pub fn is_after(self, deadline: Instant) -> bool {
        self.0 >= deadline
    }

    /// How long ago it was.
    pub fn age(self) -> Duration {
        self.0.elapsed()
    }
}

/// What a peer acknowledges, from one question to the next.
#[derive(Debug, Default)]
pub struct Acknowledged {
    queue: Option<u64>,
}

impl Acknowledged {
    /// Whether the send queue has changed since the last question; the first
    /// has nothing to compare with.
    pub fn moves(&mut self, socket: impl AsFd) -> bool {
        let queue = unacknowledged(socket);
        let before = std::mem::replace(&mut self.queue, queue);
        before.is_some() && before != queue
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
    look: Look,
    moved: u64,
    acknowledged: Acknowledged,
}

impl Progress {
    /// Begins now. A limit of zero means that nothing is ever given up.
    pub fn new(limit: Duration) -> Self {
        Progress {
            limit,
            quiet: Duration::ZERO,
            look: Look::now(),
            moved: 0,
            acknowledged: Acknowledged::default(),
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
        self.look = Look::now();
    }

    /// Whether the peer did something at the last look.
    pub fn moves(&self) -> bool {
        self.quiet.is_zero()
    }

    /// Whether nothing has moved for as long as the limit says. Called after a
    /// wait of one step in which the socket did not become ready.
    pub fn has_stalled(&mut self, socket: &Socket, moved: u64) -> bool {
        self.quiet += self.look.age().min(2 * self.step());
        self.look = Look::now();
        self.note(moved);
        if self.acknowledged.moves(socket) {
            self.start_again();
        }
        !self.limit.is_zero() && self.quiet >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::socket::Blocking;

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
