//! The loop: take a request, check it, run its handler, answer once.

use std::io;
use std::ops::Range;

use super::interpreter::{Answer, Interpreter, Sent};
use super::status::{self, Code};
use super::table::{self, INIT, REQUESTS, VERSION, Wire};
use super::wire::Arguments;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::text::Escaped;

/// The version of the protocol.
const PROTOCOL: u32 = 3;

/// Replies are sent when there are so many bytes of them. A client that
/// sends requests and takes no replies is not read from any more, so it
/// never makes the server hold more than this and one reply.
const PENDING_MAX: usize = 64 * 1024;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The channel has no data now, or no room.
    Waiting,
    /// The client has ended the channel.
    Ended,
}

impl Interpreter<'_> {
    /// Answers requests until the channel ends, or has no more data or room now.
    pub(super) fn step(&mut self) -> Result<Step> {
        loop {
            while let Some(packet) = self.next_packet()? {
                // The buffer is put back, whatever becomes of the request.
                let input = std::mem::take(&mut self.input);
                let outcome = self.packet(input.bytes(packet));
                self.input = input;
                outcome?;
                if !self.owed.is_zero() {
                    self.send()?;
                    let wait = std::mem::take(&mut self.owed);
                    self.wait(wait)?;
                }
            }
            let sent = self.send()?;
            if self.replies.pending().len() >= PENDING_MAX {
                return Ok(Step::Waiting);
            }
            let idle = self.handles.is_empty();
            if idle {
                self.replies.shrink();
            }
            match self.input.fill(&mut *self.channel, idle) {
                Ok(0) if self.input.is_cut() => {
                    return Err(Error::new(
                        ErrorKind::Disconnected,
                        "the channel ended within a packet",
                    ));
                }
                Ok(0) if sent == Sent::All => return Ok(Step::Ended),
                Ok(0) => return Ok(Step::Waiting),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Step::Waiting);
                }
                Err(error) => return Err(error).doing("reading requests"),
            }
        }
    }

    /// The next request, unless so many replies wait that the client must read
    /// some first.
    fn next_packet(&mut self) -> Result<Option<Range<usize>>> {
        if self.replies.pending().len() >= PENDING_MAX {
            self.send()?;
            if self.replies.pending().len() >= PENDING_MAX {
                return Ok(None);
            }
        }
        self.input.packet()
    }

    fn packet(&mut self, packet: &[u8]) -> Result<()> {
        let mut arguments = Arguments::new(packet);
        let kind = arguments.u8()?;
        if kind == INIT {
            return self.init(&mut arguments);
        }
        if !self.initialized {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("request {kind} before INIT"),
            ));
        }
        self.id = arguments.u32()?;
        let outcome = self.request(kind, &mut arguments);
        match outcome {
            Ok(Answer::Made) => self.replies.finish(),
            Ok(Answer::Done) => status::reply(&mut self.replies, self.id, Code::Ok, "Success"),
            Ok(Answer::End) => status::reply(&mut self.replies, self.id, Code::Eof, "End of file"),
            // Nobody is there to be told.
            Err(error) if error.kind() == ErrorKind::Disconnected => return Err(error),
            Err(error) => {
                self.replies.cancel();
                self.log(kind, &error);
                status::refuse(&mut self.replies, self.id, &error);
            }
        }
        Ok(())
    }

    fn log(&self, kind: u8, error: &Error) {
        let name = table::find(kind, b"").map_or("extended", |(_, row)| row.name);
        match error.kind() {
            ErrorKind::Internal => log::error!("sftp {name} {}: {error}", self.id),
            // Not our rules, which the client is told of: the disk's.
            ErrorKind::Denied if std::error::Error::source(error).is_some() => {
                log::warn!("sftp {name} {}: {error}", self.id);
            }
            _ => log::debug!("sftp {name} {}: {error}", self.id),
        }
    }

    fn request(&mut self, kind: u8, arguments: &mut Arguments<'_>) -> Result<Answer> {
        let extension = match kind {
            table::EXTENDED => arguments.string()?,
            _ => b"",
        };
        let Some((at, row)) = table::find(kind, extension) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("unknown request {kind} {}", Escaped(extension)),
            ));
        };
        log::debug!("sftp {} {}", row.name, self.id);
        if self.options.deny.has(at) || !self.options.allow.has(at) {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("{} is not allowed", row.name),
            ));
        }
        (row.run)(self, arguments)
    }

    /// Whatever version the client names, the answer is 3: OpenSSH does so,
    /// and clients of higher versions come down to it.
    fn init(&mut self, arguments: &mut Arguments<'_>) -> Result<()> {
        let version = arguments.u32()?;
        log::debug!("sftp init, client's version {version}");
        self.initialized = true;
        // VERSION has the version where replies have the request's number.
        self.replies.begin(VERSION, PROTOCOL);
        for (at, row) in REQUESTS.iter().enumerate() {
            if let Wire::Name(name, data) = row.wire
                && self.options.allow.has(at)
                && !self.options.deny.has(at)
            {
                self.replies.string(name.as_bytes());
                self.replies.string(data.as_bytes());
            }
        }
        self.replies.finish();
        Ok(())
    }
}
