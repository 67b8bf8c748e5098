//! The loop: take a request, check it, run its handler, answer once.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::time::Duration;

use super::Options;
use super::handles::Handles;
use super::status::{self, Code};
use super::table::{self, INIT, REQUESTS, VERSION, Wire};
use super::wire::{Arguments, Input, Replies};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::session::Files;
use crate::storage::{FileKind, Follow, Metadata, VirtualPath};
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

/// Whether replies still wait.
#[derive(PartialEq, Eq)]
enum Sent {
    All,
    Some,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The channel has no data now, or no room.
    Waiting,
    /// The client has ended the channel.
    Ended,
}

/// The state of one session.
pub(super) struct Interpreter<'a> {
    channel: Box<dyn Duplex + 'a>,
    pub(super) files: &'a Files,
    pub(super) options: Options,
    pub(super) handles: Handles,
    pub(super) replies: Replies,
    input: Input,
    /// Number of the request at hand.
    pub(super) id: u32,
    initialized: bool,
    /// What the rates ask to wait before the next request.
    pub(super) owed: Duration,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(channel: Box<dyn Duplex + 'a>, files: &'a Files, options: Options) -> Self {
        Interpreter {
            channel,
            files,
            handles: Handles::new(options.max_handles),
            options,
            replies: Replies::new(),
            input: Input::new(),
            id: 0,
            initialized: false,
            owed: Duration::ZERO,
        }
    }

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

    /// Sends replies as far as there is room for them.
    fn send(&mut self) -> Result<Sent> {
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

    /// The path that the next argument means. One that ends with a slash must
    /// be a directory's, and then a link is followed, as everywhere in Unix.
    pub(super) fn path(&self, arguments: &mut Arguments<'_>) -> Result<VirtualPath> {
        let (path, slash) = self.path_with_slash(arguments)?;
        if !slash || self.directory_at(&path)?.is_none() {
            return Ok(path);
        }
        match self.files.metadata(&path, Follow::No) {
            Ok(metadata) if metadata.kind == FileKind::Link => self.files.real_path(&path),
            _ => Ok(path),
        }
    }

    /// The path of an entry that is removed or renamed: with a slash at the end
    /// it is a directory itself, never a link to one.
    pub(super) fn entry(&self, arguments: &mut Arguments<'_>) -> Result<VirtualPath> {
        let (path, slash) = self.path_with_slash(arguments)?;
        if slash
            && self.directory_at(&path)?.is_some()
            && let Ok(metadata) = self.files.metadata(&path, Follow::No)
            && metadata.kind == FileKind::Link
        {
            return Err(not_directory());
        }
        Ok(path)
    }

    /// The path of a file that may be made: no file has a slash at the end.
    pub(super) fn file_path(&self, arguments: &mut Arguments<'_>) -> Result<VirtualPath> {
        let (path, slash) = self.path_with_slash(arguments)?;
        if slash && self.directory_at(&path)?.is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                "a file with a slash at its end",
            ));
        }
        Ok(path)
    }

    fn path_with_slash(&self, arguments: &mut Arguments<'_>) -> Result<(VirtualPath, bool)> {
        let text = arguments.string()?;
        let path = self.options.start.join(text)?;
        log::debug!("sftp path {path}");
        let slash = text.ends_with(b"/") || text.ends_with(b"/.");
        Ok((path, slash))
    }

    /// What is at a path that ends with a slash, if it can be seen. Where it
    /// can't, the request itself tells why.
    ///
    /// # Errors
    /// Something that is no directory.
    fn directory_at(&self, path: &VirtualPath) -> Result<Option<Metadata>> {
        match self.files.metadata(path, Follow::Yes) {
            Ok(metadata) if metadata.kind == FileKind::Directory => Ok(Some(metadata)),
            Ok(_) => Err(not_directory()),
            Err(_) => Ok(None),
        }
    }
}

fn not_directory() -> Error {
    Error::new(ErrorKind::NotDirectory, "a path with a slash at its end")
}
