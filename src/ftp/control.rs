//! The control connection: lines in, replies out, one write a reply.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::line::{Line, LineReader};
use super::reply::Reply;
use crate::error::{Error, ErrorKind, Result};
use crate::net::closing::Closing;
use crate::net::socket::{Interest, Socket, wait};
use crate::net::stream::Stream;

/// How long a reply may take to leave: a peer that does not read its control
/// connection must not hold a thread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

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

/// The control connection of one session.
pub struct Control {
    stream: Option<Stream>,
    reader: LineReader,
    out: Vec<u8>,
    read_timeout: Option<Duration>,
}

impl Control {
    /// Takes over a connection.
    pub fn new(stream: Stream) -> Result<Self> {
        stream.socket().set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Control {
            stream: Some(stream),
            reader: LineReader::default(),
            out: Vec::new(),
            read_timeout: None,
        })
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
    pub fn next_line(&mut self, deadline: Option<Instant>) -> Result<Option<Line>> {
        loop {
            if let Some(line) = self.reader.next_line() {
                return Ok(Some(line));
            }
            self.flush()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let patience = left.map_or(SILENCE, |left| left.min(SILENCE));
            if patience.is_zero() {
                return Err(ErrorKind::Timeout.into());
            }
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

    fn wait_in_silence(&self, deadline: Option<Instant>) -> Result<()> {
        crate::sys::release_stack();
        match wait([(self.socket()?.as_fd(), Interest::Read)], deadline)? {
            [true] => Ok(()),
            [false] => Err(ErrorKind::Timeout.into()),
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> Result<()> {
        if self.read_timeout != Some(timeout) {
            self.socket()?.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }

    /// Queues a reply; it leaves when no further command waits, or with
    /// [`Control::flush`].
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

    /// Sends what is queued, in one write.
    pub fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let outcome = stream.write_all(&self.out).and_then(|()| stream.flush());
        self.out.clear();
        self.out.shrink_to(256);
        Ok(outcome?)
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
    /// [`ErrorKind::Disconnected`] at the end of the stream.
    pub fn look(&mut self) -> Result<Option<Urgent>> {
        while !self.reader.is_full() && self.is_readable()? {
            if self.is_secure() {
                // A readable socket may hold half a record.
                self.set_read_timeout(WRITE_TIMEOUT)?;
            }
            let stream = self.stream.as_mut().ok_or_else(gone)?;
            if self.reader.fill(stream)? == 0 {
                return Err(Error::new(
                    ErrorKind::Disconnected,
                    "the control connection has ended",
                ));
            }
        }
        let mut lines = self.reader.waiting().filter(|line| !line.is_empty());
        let first = lines.next();
        let is = |line: &[u8], verb: &[u8]| line.trim_ascii().eq_ignore_ascii_case(verb);
        Ok(match first {
            Some(line) if is(&line, b"STAT") => Some(Urgent::Status),
            Some(line) if is(&line, b"ABOR") => Some(Urgent::Abort),
            _ if lines.any(|line| is(&line, b"ABOR")) => Some(Urgent::Abort),
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

    /// Whether waiting for the socket makes sense: not when the buffer can
    /// take no more before its lines are handled.
    pub fn can_look(&self) -> bool {
        !self.reader.is_full()
    }

    /// Whether anything has come that is not handled yet.
    pub fn has_lines(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Takes the first line, which [`Control::look`] has shown.
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
        stream.socket().set_write_timeout(Some(WRITE_TIMEOUT))?;
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
