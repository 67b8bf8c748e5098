//! The socket under the packets: non-blocking reads and writes, and one wait
//! that knows all deadlines of a connection.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::fault::{Fault, Reason};
use crate::net::patience::{Acknowledged, Look, STEP, late};

/// What SSH runs on: a TCP or Unix stream. It is made non-blocking.
pub trait Socket: Read + Write + AsFd {}
impl<T: Read + Write + AsFd> Socket for T {}

/// A session that has been silent for so long may rest.
const REST: Duration = Duration::from_secs(2);
/// Keepalive questions without any sign of life, after which the peer is gone.
const UNANSWERED: u32 = 3;

/// Why [`TimedSocket::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// The socket is ready, or has failed.
    Ready,
    /// Nothing has happened for a while.
    Idle,
    /// It is time for a keepalive request.
    Keepalive,
}

/// Whether a waiting connection has buffers that can be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buffers {
    InUse,
    Released,
}

pub(super) struct TimedSocket<'a> {
    socket: &'a mut dyn Socket,
    /// When the present phase must have ended, and what it is.
    pub(super) deadline: Option<(Instant, &'static str)>,
    /// Longest time without [`TimedSocket::active`]; zero is for ever.
    pub(super) idle: Duration,
    last_active: Instant,
    /// Silence after which the peer is asked for a sign of life; zero is never.
    pub(super) keepalive: Duration,
    last_heard: Instant,
    last_asked: Instant,
    look: Look,
    unanswered: u32,
    /// The last write found the socket full: what the peer takes of it since.
    blocked: Option<Acknowledged>,
}

impl<'a> TimedSocket<'a> {
    pub(super) fn new(socket: &'a mut dyn Socket) -> Result<Self, Fault> {
        rustix::io::ioctl_fionbio(socket.as_fd(), true).map_err(io::Error::from)?;
        let now = Instant::now();
        Ok(TimedSocket {
            socket,
            deadline: None,
            idle: Duration::ZERO,
            last_active: now,
            keepalive: Duration::ZERO,
            last_heard: now,
            last_asked: now,
            look: Look::now(),
            unanswered: 0,
            blocked: None,
        })
    }

    /// Something of use happened: the idle time begins anew.
    pub(super) fn active(&mut self) {
        self.last_active = Instant::now();
    }

    /// The peer sent a whole, valid packet: it lives.
    pub(super) fn alive(&mut self) {
        self.unanswered = 0;
    }

    /// How long ago the socket was last asked for input.
    pub(super) fn last_look(&self) -> Duration {
        self.look.age()
    }

    /// Reads once; 0: nothing is there now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.look = Look::now();
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(closed()),
                Ok(count) => {
                    self.last_heard = Instant::now();
                    // Here too: a peer that never pauses never lets us wait.
                    return match self.deadline {
                        Some((end, phase)) if self.look.is_after(end) => Err(Fault::Timeout(phase)),
                        _ => Ok(count),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Writes once; 0: nothing can be sent now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        loop {
            match self.socket.write(bytes) {
                Ok(0) => return Err(closed()),
                Ok(count) => {
                    // A full socket that takes more has a peer that reads:
                    // however slow it is, it lives.
                    if self.blocked.take().is_some() {
                        self.heard();
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.blocked.is_none() {
                        let mut taken = Acknowledged::default();
                        taken.moves(self.socket.as_fd());
                        self.blocked = Some(taken);
                    }
                    return Ok(0);
                }
                Err(error) => return Err(lost(error)),
            }
        }
    }

    fn heard(&mut self) {
        self.last_heard = Instant::now();
        self.unanswered = 0;
    }

    /// Waits until the socket is ready or a timer wants something. Timers are
    /// judged by the last look at the socket; [`Wake::Ready`] asks for one.
    pub(super) fn wait(&mut self, interest: PollFlags, buffers: Buffers) -> Result<Wake, Fault> {
        let reads = interest.contains(PollFlags::IN);
        let mut look = self.look;
        loop {
            let now = Instant::now();
            let mut until: Option<Instant> = None;
            if let Some((deadline, phase)) = self.deadline {
                if look.is_after(deadline) {
                    return Err(Fault::Timeout(phase));
                }
                earlier(&mut until, deadline);
            }
            if !self.idle.is_zero() {
                let end = self.last_active + self.idle;
                if look.is_after(end) {
                    return Err(Fault::Timeout("the session was idle"));
                }
                earlier(&mut until, end);
            }
            if !self.keepalive.is_zero() {
                let due = self.last_heard.max(self.last_asked) + self.keepalive;
                if look.is_after(due) {
                    // It need not make room to be there, see `write`.
                    let taken = self.blocked.as_mut();
                    if taken.is_some_and(|taken| taken.moves(self.socket.as_fd())) {
                        self.heard();
                        continue;
                    }
                    return self.ask();
                }
                earlier(&mut until, due);
            }
            if reads && until.is_some_and(|until| now >= until) {
                return Ok(Wake::Ready);
            }
            if buffers == Buffers::InUse {
                earlier(&mut until, now + REST);
            }
            if self.deadline.is_some() {
                earlier(&mut until, now + STEP);
            }
            let left = until.map(|until| until.saturating_duration_since(now));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [PollFd::new(&self.socket, interest)];
            let outcome = poll(&mut ready, timeout.as_ref());
            if let (Some((end, _)), Some(left)) = (&mut self.deadline, left) {
                *end += late(now, left);
            }
            match outcome {
                Ok(0) if buffers == Buffers::InUse => return Ok(Wake::Idle),
                // While too much output waits, nothing is read: this is all
                // that is looked at.
                Ok(0) if !reads => look = Look::now(),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(Wake::Ready),
                Err(errno) => return Err(Fault::Io(errno.into())),
            }
        }
    }

    fn ask(&mut self) -> Result<Wake, Fault> {
        if self.unanswered >= UNANSWERED {
            return Err(Fault::Disconnect(
                Reason::ConnectionLost,
                "no answer to keepalive requests".into(),
            ));
        }
        self.unanswered += 1;
        self.last_asked = Instant::now();
        Ok(Wake::Keepalive)
    }

    /// Only `patience` counts from here on.
    pub(super) fn limit_shutdown(&mut self, patience: Duration) {
        self.deadline = Some((Instant::now() + patience, "saying good-bye"));
        self.idle = Duration::ZERO;
        self.keepalive = Duration::ZERO;
    }

    /// Closes our side and reads what the peer still sends: closing a socket
    /// with unread bytes resets it, and the peer would lose our last words.
    pub(super) fn drain_and_close(&mut self) {
        const MOST: usize = 1 << 20;
        let _ = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Write);
        let mut scratch = [0; 4096];
        let mut count = 0;
        while count < MOST {
            match self.read(&mut scratch) {
                Ok(0) => {
                    if self.wait(PollFlags::IN, Buffers::Released).is_err() {
                        return;
                    }
                }
                Ok(read) => count += read,
                Err(_) => return,
            }
        }
    }
}

fn earlier(until: &mut Option<Instant>, instant: Instant) {
    *until = Some(until.map_or(instant, |until| until.min(instant)));
}

fn closed() -> Fault {
    Fault::Left("the connection was closed".into())
}

fn lost(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Fault::Left("the connection was reset".into())
        }
        _ => Fault::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const KEEPALIVE: Duration = Duration::from_millis(100);

    /// Output that waits for a peer that takes a little at a time, so that
    /// there is never room for more, and is not read meanwhile.
    #[test]
    fn a_peer_that_takes_a_little_at_a_time_lives() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = TimedSocket::new(&mut ours).unwrap();
        socket.keepalive = KEEPALIVE;
        while socket.write(&[0; 512]).unwrap() > 0 {}
        let taken = std::thread::spawn(move || {
            for _ in 0..10 {
                std::thread::sleep(KEEPALIVE);
                theirs.read_exact(&mut [0; 512]).unwrap();
            }
            (Instant::now(), theirs)
        });
        // Three questions and the wait before each would be over long before.
        let fault = loop {
            match socket.wait(PollFlags::OUT, Buffers::Released) {
                Ok(Wake::Ready) => panic!("there is room"),
                Ok(_) => {}
                Err(fault) => break fault,
            }
        };
        assert!(matches!(fault, Fault::Disconnect(..)));
        let given_up = Instant::now();
        let (last, _theirs) = taken.join().unwrap();
        assert!(given_up > last, "while it still took something");
    }

    /// The process was stopped for longer than every deadline, while something
    /// came: that is read before anybody is judged.
    #[test]
    fn what_came_during_a_stop_is_read_first() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = TimedSocket::new(&mut ours).unwrap();
        socket.keepalive = KEEPALIVE;
        socket.idle = KEEPALIVE;
        assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
        theirs.write_all(b"here").unwrap();
        std::thread::sleep(4 * KEEPALIVE);
        let woken = socket.wait(PollFlags::IN, Buffers::Released).unwrap();
        assert_eq!(woken, Wake::Ready);
        assert_eq!(socket.read(&mut [0; 8]).unwrap(), 4);
    }
}
