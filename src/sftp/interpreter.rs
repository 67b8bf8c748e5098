//! The state of one session, and what every handler needs of it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::handles::Handles;
use super::room::Room;
use super::wire::{Input, Replies};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::session::{Files, Slash};
use crate::ssh_data::Reader;
use crate::storage::VirtualPath;

/// Between looks at the channel during long work.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What carries requests and replies.
pub(super) trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// What a handler does: it reads its arguments and says how to answer.
pub(super) type RequestHandler = fn(&mut Interpreter<'_>, &mut Reader<'_>) -> Result<Answer>;

/// The one answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// STATUS, success.
    Done,
    /// STATUS, end of file or of a listing.
    End,
    /// The handler has made the reply.
    Made,
    /// There is no room for the reply now: the request is to be tried again.
    Later,
}

/// Whether replies still wait.
#[derive(PartialEq, Eq)]
pub(super) enum Sent {
    All,
    Some,
}

/// A request that is longer than what waits in memory.
pub(super) struct LongRequest {
    pub(super) kind: u8,
    pub(super) handle: Vec<u8>,
    pub(super) offset: u64,
    /// Data that are still to be written.
    pub(super) data: usize,
    pub(super) outcome: Result<()>,
}

/// The state of one session.
pub(super) struct Interpreter<'a> {
    pub(super) channel: Box<dyn Duplex + 'a>,
    pub(super) files: &'a Files,
    pub(super) options: Options,
    pub(super) handles: Handles,
    pub(super) replies: Replies,
    pub(super) input: Input,
    pub(super) room: Room,
    /// The WRITE that is being taken in pieces.
    pub(super) long: Option<LongRequest>,
    /// A request waits for room that others hold.
    pub(super) stalled: bool,
    /// Number of the request at hand.
    pub(super) id: u32,
    pub(super) initialized: bool,
    /// What the rates ask to wait before the next request.
    pub(super) owed: Duration,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(channel: Box<dyn Duplex + 'a>, files: &'a Files, options: Options) -> Self {
        Interpreter {
            channel,
            files,
            handles: Handles::new(options.max_handles, Arc::clone(&options.shared)),
            replies: Replies::new(),
            input: Input::new(),
            room: Room::new(Arc::clone(&options.shared)),
            long: None,
            stalled: false,
            id: 0,
            initialized: false,
            owed: Duration::ZERO,
            options,
        }
    }

    /// Sends replies as far as there is room for them.
    pub(super) fn send(&mut self) -> Result<Sent> {
        if self.replies.pending().is_empty() {
            return Ok(Sent::All);
        }
        while !self.replies.pending().is_empty() {
            match self.channel.write(self.replies.pending()) {
                Ok(0) => {
                    return Err(io::Error::from(io::ErrorKind::WriteZero)).doing("sending replies");
                }
                Ok(count) => self.replies.sent(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Some),
                Err(error) => return Err(error).doing("sending replies"),
            }
        }
        self.channel.flush().doing("sending replies")?;
        Ok(Sent::All)
    }

    /// Lets the transport look after its peer during long work.
    pub(super) fn poll_peer(&mut self) -> Result<()> {
        self.channel
            .flush()
            .map_err(|error| Error::with_source(ErrorKind::Disconnected, "during work", error))
    }

    pub(super) fn wait(&mut self, time: Duration) -> Result<()> {
        let mut left = time;
        while !left.is_zero() {
            let now = left.min(POLL_INTERVAL);
            std::thread::sleep(now);
            left -= now;
            self.poll_peer()?;
        }
        Ok(())
    }

    /// Begins the reply to the request at hand.
    pub(super) fn reply(&mut self, kind: u8) {
        self.replies.begin(kind, self.id);
    }

    /// The path that the next argument means.
    pub(super) fn path(&self, arguments: &mut Reader<'_>) -> Result<VirtualPath> {
        self.named(arguments, Slash::Through)
    }

    /// The path of an entry that is removed or renamed.
    pub(super) fn entry(&self, arguments: &mut Reader<'_>) -> Result<VirtualPath> {
        self.named(arguments, Slash::Entry)
    }

    /// The path of a file that may be made.
    pub(super) fn file_path(&self, arguments: &mut Reader<'_>) -> Result<VirtualPath> {
        self.named(arguments, Slash::File)
    }

    /// The new name of an entry.
    pub(super) fn new_name(
        &self,
        from: &VirtualPath,
        arguments: &mut Reader<'_>,
    ) -> Result<VirtualPath> {
        let text = arguments.string()?;
        self.files.new_name(from, &self.options.start, text)
    }

    fn named(&self, arguments: &mut Reader<'_>, slash: Slash) -> Result<VirtualPath> {
        let text = arguments.string()?;
        let path = self.files.named(&self.options.start, text, slash)?;
        log::debug!("sftp path {path}");
        Ok(path)
    }
}
