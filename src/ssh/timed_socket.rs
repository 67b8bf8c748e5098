//! The socket under the packets: non-blocking reads and writes, and one wait
//! that knows all deadlines of a connection.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::fault::{Fault, Reason};

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
    looked: Instant,
    unanswered: u32,
    /// The last write found the socket full.
    blocked: bool,
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
            looked: now,
            unanswered: 0,
            blocked: false,
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
        self.looked.elapsed()
    }

    /// Reads once; 0: nothing is there now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.looked = Instant::now();
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(closed()),
                Ok(count) => {
                    self.last_heard = self.looked;
                    // Here too: a peer that never pauses never lets us wait.
                    return match self.deadline {
                        Some((end, phase)) if self.looked >= end => Err(Fault::Timeout(phase)),
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
                    if std::mem::take(&mut self.blocked) {
                        self.last_heard = Instant::now();
                        self.unanswered = 0;
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(0);
                }
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Waits until the socket is ready or a timer wants something.
    ///
    /// Timers are judged by what the last look at the socket found, not by the
    /// clock alone: a process that was stopped in between must first read what
    /// has come meanwhile. [`Wake::Ready`] asks for that look.
    pub(super) fn wait(&mut self, interest: PollFlags, buffers: Buffers) -> Result<Wake, Fault> {
        // A socket that is not read because too much output waits can't be
        // looked at: there the clock decides.
        let reads = interest.contains(PollFlags::IN);
        loop {
            let now = Instant::now();
            let judged = if reads { self.looked } else { now };
            let mut until: Option<Instant> = None;
            if let Some((deadline, phase)) = self.deadline {
                if judged >= deadline {
                    return Err(Fault::Timeout(phase));
                }
                earlier(&mut until, deadline);
            }
            if !self.idle.is_zero() {
                let end = self.last_active + self.idle;
                if judged >= end {
                    return Err(Fault::Timeout("the session was idle"));
                }
                earlier(&mut until, end);
            }
            if !self.keepalive.is_zero() {
                let due = self.last_heard.max(self.last_asked) + self.keepalive;
                if judged >= due {
                    return self.ask();
                }
                earlier(&mut until, due);
            }
            if until.is_some_and(|until| now >= until) {
                return Ok(Wake::Ready);
            }
            if buffers == Buffers::InUse {
                earlier(&mut until, now + REST);
            }
            let timeout = until.map(|until| {
                let left = until.saturating_duration_since(now);
                Timespec {
                    tv_sec: left.as_secs() as _,
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            let mut ready = [PollFd::new(&self.socket, interest)];
            match poll(&mut ready, timeout.as_ref()) {
                Ok(0) if buffers == Buffers::InUse => return Ok(Wake::Idle),
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
