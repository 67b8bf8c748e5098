//! The control connection: lines in, replies out, one write a reply.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::line::{ControlLine, LineReader};
use super::reply::{self, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::net::closing::Closing;
use crate::net::patience::{Look, Progress, STEP, late};
use crate::net::socket::{Interest, Socket, wait};
use crate::net::stream::Stream;

/// How often a pipeline of commands is held against the end of its client.
const END_EVERY: Duration = Duration::from_millis(20);
/// Bytes of replies that wait at the most, besides the one that is being made:
/// a client that sends commands and reads nothing is read no further.
const REPLIES_MAX: usize = 64 * 1024;

/// How long a client that has not logged in may leave its replies unread: it
/// must not hold a thread.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long the rest of a TLS record may take that has begun to come.
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);

/// After this silence a session gives back the stack that its last command has
/// needed. Longer waits are made without a timeout of the socket, so that it
/// is set once and not for each command.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a session that ends reads on what its client still sends.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What a client may ask during a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgent {
    /// ABOR, wherever in the queue.
    Abort,
    /// STAT without an argument, first in the queue.
    Status,
}

/// What the end of the client's commands means for the command that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEnd {
    /// The client is gone: the command stops.
    Stops,
    /// The client may have closed its direction alone (`printf ... | nc -N`):
    /// the data connection that it downloads from tells whether it is there.
    GoesOn,
}

/// The control connection of one session.
pub struct ControlConnection {
    stream: Option<Stream>,
    reader: LineReader,
    out: Vec<u8>,
    read_timeout: Option<Duration>,
    /// How long a reply may stand still on its way.
    patience: Duration,
    listing: Listing,
    /// The client has closed the connection, and not reset it.
    ended: bool,
    input_end: InputEnd,
    /// The connection was reset: nobody waits for what it asked.
    is_lost: bool,
    /// When lines that wait were last held against that.
    looked_for_end: Instant,
    look: Look,
    /// For how long this process did not run while it waited for a command.
    late: Duration,
}

/// A reply whose lines are made one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    None,
    /// It begins here in what waits.
    Waits(usize),
    /// A part of it has left.
    Begun,
}

impl ControlConnection {
    /// Takes over a connection.
    pub fn new(stream: Stream) -> Result<Self> {
        let mut control = ControlConnection {
            stream: Some(stream),
            reader: LineReader::default(),
            out: Vec::new(),
            read_timeout: None,
            patience: Duration::ZERO,
            listing: Listing::None,
            ended: false,
            input_end: InputEnd::Stops,
            is_lost: false,
            looked_for_end: Instant::now(),
            look: Look::now(),
            late: Duration::ZERO,
        };
        control.set_patience(PATIENCE)?;
        Ok(control)
    }

    /// How long the replies may stand still: `limit` for a user, less for
    /// somebody who has not logged in.
    pub fn set_patience(&mut self, limit: Duration) -> Result<()> {
        if self.patience != limit {
            self.patience = limit;
            let step = Progress::new(limit).step();
            self.socket()?.set_write_timeout(Some(step))?;
        }
        Ok(())
    }

    /// The connection itself.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] after a TLS handshake that failed.
    pub fn stream(&mut self) -> Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(gone)
    }

    /// The socket, for readiness.
    pub fn socket(&self) -> Result<&Socket> {
        self.stream.as_ref().map(Stream::socket).ok_or_else(gone)
    }

    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_secure)
    }

    /// The next line; replies that wait are sent first. `None` is the end of
    /// the stream.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when `deadline` passes.
    pub fn next_line(&mut self, mut deadline: Option<Instant>) -> Result<Option<ControlLine>> {
        if self.out.len() >= REPLIES_MAX {
            self.flush()?;
        }
        if self.has_lines() && self.looked_for_end.elapsed() >= END_EVERY {
            self.looked_for_end = Instant::now();
            self.is_lost |= self.has_hung_up()?;
        }
        loop {
            if self.is_lost {
                return Err(gone());
            }
            if let Some(line) = self.reader.next_line() {
                return Ok(Some(line));
            }
            self.flush()?;
            if self.ended {
                return Ok(None);
            }
            if deadline.is_some_and(|deadline| self.look.is_after(deadline)) {
                return Err(ErrorKind::Timeout.into());
            }
            self.look = Look::now();
            if self.patience == PATIENCE && !self.waits_a_step(&mut deadline)? {
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let patience = left.map_or(SILENCE, |left| left.min(SILENCE));
            self.set_read_timeout(patience)?;
            let stream = self.stream.as_mut().ok_or_else(gone)?;
            let secure = stream.is_secure();
            match self.reader.fill(stream) {
                Ok(0) => return Ok(None),
                // A client set to implicit FTPS on the port of AUTH TLS: it
                // waits for an answer that would never come.
                Ok(_) if !secure && self.reader.begins_tls() => {
                    let doing = "a TLS handshake without AUTH TLS before it";
                    return Err(Error::new(ErrorKind::Protocol, doing));
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => self.wait_in_silence(deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// By how much what the client has to do before a fixed time is put off.
    pub fn late(&self) -> Duration {
        self.late
    }

    /// Before the login time passes in steps. Whether there is something.
    fn waits_a_step(&mut self, deadline: &mut Option<Instant>) -> Result<bool> {
        let begin = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(begin));
        let step = left.map_or(STEP, |left| left.min(STEP));
        let stream = self.stream.as_ref().ok_or_else(gone)?;
        let ready = stream.has_buffered()
            || wait(
                [(stream.socket().as_fd(), Interest::Read)],
                Some(begin + step),
            )? == [true];
        let late = late(begin, step);
        self.late += late;
        *deadline = deadline.map(|deadline| deadline + late);
        if !ready {
            self.look = Look::now();
        }
        Ok(ready)
    }

    /// A wait elsewhere was late by this.
    pub fn put_off(&mut self, late: Duration) {
        self.late += late;
    }

    fn wait_in_silence(&mut self, deadline: Option<Instant>) -> Result<()> {
        crate::sys::release_stack();
        if wait([(self.socket()?.as_fd(), Interest::Read)], deadline)? == [false] {
            self.look = Look::now();
        }
        Ok(())
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> Result<()> {
        if self.read_timeout != Some(timeout) {
            self.socket()?.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }

    /// Queues a reply; it leaves when no further command waits, or with
    /// [`ControlConnection::flush`].
    pub fn reply(&mut self, reply: &Reply) {
        if log::log_enabled!(log::Level::Debug) {
            log::debug!(
                "reply {} {}",
                reply.code(),
                crate::text::Escaped(reply.text())
            );
        }
        reply.write(&mut self.out);
    }

    /// Sends what is queued, in one write if the client reads.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] for a client that is gone, or has
    /// acknowledged nothing for too long. After any error the connection is given up.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let outcome = self.send_queued();
        self.out.clear();
        self.out.shrink_to(256);
        if self.listing != Listing::None {
            self.listing = Listing::Begun;
        }
        if outcome.is_err()
            && let Some(stream) = self.stream.take()
        {
            stream.socket().reset_on_close();
        }
        outcome
    }

    fn send_queued(&mut self) -> Result<()> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let mut progress = Progress::new(self.patience);
        let mut sent = 0;
        loop {
            let written = sent == self.out.len();
            let outcome = if written {
                stream.flush()
            } else {
                stream.write(&self.out[sent..]).map(|length| sent += length)
            };
            match outcome {
                Ok(()) if written => return Ok(()),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    if progress.has_stalled(stream.socket(), sent as u64) {
                        let doing = "the client does not read its replies";
                        return Err(Error::with_source(ErrorKind::Disconnected, doing, error));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Begins a reply of several lines that are made one after the other, with
    /// [`ControlConnection::list`], until [`ControlConnection::end_listing`].
    pub fn begin_listing(&mut self, code: u16, first: &[u8]) {
        self.listing = Listing::Waits(self.out.len());
        reply::first_line(&mut self.out, code, first);
    }

    /// Queues lines of a listing, each of which ends with CR LF, and sends
    /// them when enough wait.
    pub fn list(&mut self, lines: &[u8]) -> Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.out.push(b' ');
            self.out.extend_from_slice(line);
        }
        if self.out.len() >= REPLIES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Forgets a listing of which nothing has left yet; `false` when it has
    /// begun to, and needs its last line.
    pub fn forget_listing(&mut self) -> bool {
        match self.listing {
            Listing::Waits(start) => {
                self.out.truncate(start);
                self.listing = Listing::None;
                true
            }
            _ => false,
        }
    }

    /// Ends a listing with its last line.
    pub fn end_listing(&mut self, last: &Reply) {
        self.listing = Listing::None;
        self.reply(last);
    }

    /// Sends a reply at once, behind what is queued.
    pub fn send(&mut self, reply: &Reply) -> Result<()> {
        self.reply(reply);
        self.flush()
    }

    /// Whether something waits above the socket, where readiness can't be seen;
    /// replies that wait are for a client that has sent more already.
    pub fn has_input(&self) -> bool {
        self.reader.waiting().next().is_some()
            || self.stream.as_ref().is_some_and(Stream::has_buffered)
    }

    /// Reads what has come during a transfer, without waiting, and says
    /// whether it holds something that acts at once. Everything stays queued.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] when the connection was reset, or at the end
    /// of the stream if that [stops](InputEnd::Stops) the command.
    pub fn poll(&mut self) -> Result<Option<Urgent>> {
        while !self.ended && !self.reader.is_full() && self.is_readable()? {
            if self.is_secure() {
                // A readable socket may hold half a record.
                self.set_read_timeout(RECORD_TIMEOUT)?;
            }
            let stream = self.stream.as_mut().ok_or_else(gone)?;
            self.ended = match self.reader.fill(stream) {
                Ok(length) => length == 0,
                // Without close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
                Err(error) => {
                    self.is_lost |= !is_timeout(&error);
                    return Err(error.into());
                }
            };
        }
        // Where the buffer is full, reading finds no end.
        self.is_lost |= (self.ended || !self.has_room()) && self.has_hung_up()?;
        let is_gone = self.is_lost || self.ended && self.input_end == InputEnd::Stops;
        let mut lines = self.reader.waiting().filter(|line| !line.is_empty());
        let first = lines.next();
        let is = |line: &[u8], verb: &[u8]| line.trim_ascii().eq_ignore_ascii_case(verb);
        Ok(match first {
            // Not between the lines of another reply.
            Some(line) if is(&line, b"ABOR") => Some(Urgent::Abort),
            Some(line) if is(&line, b"STAT") && self.listing == Listing::None && !self.ended => {
                Some(Urgent::Status)
            }
            _ if lines.any(|line| is(&line, b"ABOR")) => Some(Urgent::Abort),
            _ if is_gone => {
                let doing = "the control connection has ended";
                return Err(Error::new(ErrorKind::Disconnected, doing));
            }
            _ => None,
        })
    }

    fn is_readable(&self) -> Result<bool> {
        if self.stream.as_ref().is_some_and(Stream::has_buffered) {
            return Ok(true);
        }
        let [ready] = wait(
            [(self.socket()?.as_fd(), Interest::Read)],
            Some(Instant::now()),
        )?;
        Ok(ready)
    }

    /// Whether neither direction is open any more: after a reset, or when the
    /// server itself has ended the session.
    fn has_hung_up(&self) -> Result<bool> {
        let socket = self.socket()?.as_fd();
        let [hung_up] = wait([(socket, Interest::HangUp)], Some(Instant::now()))?;
        Ok(hung_up)
    }

    /// What the end of the client's commands means until the next command.
    pub fn set_input_end(&mut self, input_end: InputEnd) {
        self.input_end = input_end;
    }

    /// What to wait for during a command. A stream that has ended is readable
    /// all the time, and so is one whose buffer can take no more before its lines
    /// are handled.
    pub fn interest(&self) -> Interest {
        if !self.has_room() || self.ended && self.input_end == InputEnd::GoesOn {
            Interest::HangUp
        } else {
            Interest::Read
        }
    }

    /// Whether [`ControlConnection::poll`] has seen the client close the connection, and
    /// not reset it.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn has_room(&self) -> bool {
        !self.reader.is_full()
    }

    /// Whether anything has come that is not handled yet.
    pub fn has_lines(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Takes the first line, which [`ControlConnection::poll`] has shown.
    pub fn take_line(&mut self) {
        let _ = self.reader.next_line();
    }

    /// Replaces the connection by what `change` makes of it; everything that
    /// was read and not handled is thrown away.
    pub fn change_stream(&mut self, change: impl FnOnce(Stream) -> Result<Stream>) -> Result<()> {
        self.flush()?;
        self.reader.clear();
        self.read_timeout = None;
        let stream = self.stream.take().ok_or_else(gone)?;
        let stream = change(stream)?;
        let step = Progress::new(self.patience).step();
        stream.socket().set_write_timeout(Some(step))?;
        stream.socket().set_read_timeout(None)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Takes bytes that were read from the connection by somebody else.
    pub fn push_read(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// Sends what is queued and says that nothing more comes. What the peer
    /// still sends is read for a moment, so that the kernel does not answer
    /// it with a reset that destroys our last reply.
    pub fn close(mut self) {
        if self.flush().is_err() {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        if stream.finish().is_err() {
            return;
        }
        let socket = stream.socket();
        Closing::new(socket.clone()).wait(Instant::now() + LAST_WAIT);
        let _ = socket.shutdown(Shutdown::Both);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn gone() -> Error {
    Error::new(ErrorKind::Disconnected, "the control connection is gone")
}
