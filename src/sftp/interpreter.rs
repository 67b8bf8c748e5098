//! The loop: take a request, check it, run its handler, answer once.

use std::io::{Read, Write};
use std::time::Duration;

use super::Options;
use super::handles::Handles;
use super::status::{self, Code};
use super::table::{self, INIT, REQUESTS, VERSION, Wire};
use super::wire::{Arguments, Input, Replies};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::session::Files;
use crate::storage::VirtualPath;
use crate::text::Escaped;

/// The version of the protocol.
const PROTOCOL: u32 = 3;

/// Replies are sent when there are so many bytes of them. A client that
/// sends requests and takes no replies is not read from any more, so it
/// never makes the server hold more than this and one reply.
const PENDING_MAX: usize = 64 * 1024;

/// Between looks at the channel during long work.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What carries requests and replies.
pub(super) trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// What a handler does: it reads its arguments and says how to answer.
pub(super) type Handler = fn(&mut Interpreter<'_>, &mut Arguments<'_>) -> Result<Answer>;

/// The one answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// STATUS, success.
    Done,
    /// STATUS, end of file or of a listing.
    End,
    /// The handler has made the reply.
    Made,
}

/// The state of one session.
pub(super) struct Interpreter<'a> {
    channel: &'a mut dyn Duplex,
    pub(super) files: &'a Files,
    pub(super) options: &'a Options,
    pub(super) handles: Handles,
    pub(super) replies: Replies,
    /// Number of the request at hand.
    pub(super) id: u32,
    initialized: bool,
    /// What the rates ask to wait before the next request.
    pub(super) owed: Duration,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(channel: &'a mut dyn Duplex, files: &'a Files, options: &'a Options) -> Self {
        Interpreter {
            channel,
            files,
            options,
            handles: Handles::new(options.max_handles),
            replies: Replies::new(),
            id: 0,
            initialized: false,
            owed: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) -> Result<()> {
        let mut input = Input::new();
        loop {
            while let Some(packet) = input.packet()? {
                self.packet(input.bytes(packet))?;
                if self.replies.pending().len() >= PENDING_MAX || !self.owed.is_zero() {
                    self.send()?;
                }
                if !self.owed.is_zero() {
                    let wait = std::mem::take(&mut self.owed);
                    self.wait(wait)?;
                }
            }
            self.send()?;
            let idle = self.handles.is_empty();
            if idle {
                self.replies.shrink();
            }
            let length = input
                .fill(&mut *self.channel, idle)
                .doing("reading requests")?;
            if length == 0 {
                return match input.is_cut() {
                    true => Err(Error::new(
                        ErrorKind::Disconnected,
                        "the channel ended within a packet",
                    )),
                    false => Ok(()),
                };
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        if !self.replies.pending().is_empty() {
            self.channel
                .write_all(self.replies.pending())
                .and_then(|()| self.channel.flush())
                .doing("sending replies")?;
            self.replies.clear();
        }
        Ok(())
    }

    /// Lets the transport look after its peer during long work.
    pub(super) fn poll_peer(&mut self) -> Result<()> {
        self.channel
            .flush()
            .map_err(|error| Error::with_source(ErrorKind::Disconnected, "during work", error))
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        let mut left = time;
        while !left.is_zero() {
            let now = left.min(POLL_INTERVAL);
            std::thread::sleep(now);
            left -= now;
            self.poll_peer()?;
        }
        Ok(())
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

    /// Begins the reply to the request at hand.
    pub(super) fn reply(&mut self, kind: u8) {
        self.replies.begin(kind, self.id);
    }

    /// The path that the next argument means.
    pub(super) fn path(&self, arguments: &mut Arguments<'_>) -> Result<VirtualPath> {
        let path = self.options.start.join(arguments.string()?)?;
        log::debug!("sftp path {path}");
        Ok(path)
    }
}
