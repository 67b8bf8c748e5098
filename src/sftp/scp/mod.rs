//! The old protocol of scp, for `scp -O`, `pscp -scp`, scp.py and what has it
//! built in. It was never written down; OpenSSH's scp.c says what it is. A
//! client starts its other end by a command line ([`command`]), which then
//! receives files ([`sink`]) or sends them ([`source`], [`wildcards`]), over the same [`Files`]
//! as SFTP.

mod command;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod wildcards;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::interpreter::Duplex;
use super::room::ConnectionUse;
use super::status;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::session::Files;
use crate::session::log_context::{tell_error, tell_once};
use crate::storage::{FileKind, Follow, VirtualPath};
use crate::text::Escaped;

use command::Command;
use sink::Sink;
use source::Source;

/// What is read and sent at once.
const CHUNK: usize = 64 << 10;
/// Longest line: a mode, a size and a name, or a message.
const LONGEST_LINE: usize = 4 << 10;
/// Between looks at the channel while a rate is kept.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// One end of scp, on a channel that never blocks.
pub struct Scp<'a> {
    io: Io<'a>,
    role: Role,
    ended: bool,
}

enum Role {
    Sink(Sink),
    Source(Source),
}

/// What a role needs before it can go on.
#[derive(PartialEq, Eq)]
enum Next {
    /// Nothing.
    Step,
    /// More of what the client sends.
    Input,
    /// The others' turn: there is more to do, and nothing to wait for.
    Later,
    /// It has ended.
    End,
}

impl<'a> Scp<'a> {
    /// Begins what a command line asks for.
    ///
    /// # Errors
    /// A text for the person who sent it: it is no command line of scp.
    pub fn new(
        line: &[u8],
        channel: impl Read + Write + 'a,
        files: &'a Files,
        options: &Options,
    ) -> Result<Self, &'static str> {
        let command = Command::parse(line)?;
        let mut io = Io {
            channel: Box::new(channel),
            files,
            start: options.start.clone(),
            shared: Arc::clone(&options.shared),
            preserves: command.preserves,
            recursive: command.recursive,
            input: Vec::new(),
            read: 0,
            output: Vec::new(),
            sent: 0,
            failed: false,
            owed: Duration::ZERO,
        };
        let role = if command.receives {
            Role::Sink(Sink::new(&command, &mut io))
        } else {
            Role::Source(Source::new(command))
        };
        Ok(Scp {
            io,
            role,
            ended: false,
        })
    }

    /// Whether a file is open.
    pub fn is_busy(&self) -> bool {
        match &self.role {
            Role::Sink(sink) => sink.is_busy(),
            Role::Source(source) => source.is_busy(),
        }
    }

    /// Whether there is something to do whatever the client does.
    pub fn has_work(&self) -> bool {
        matches!(&self.role, Role::Source(source) if source.has_work())
    }

    /// Does what can be done now; yields the exit status at the end.
    ///
    /// # Errors
    /// What the channel said.
    pub fn step(&mut self) -> Result<Option<u32>> {
        loop {
            if !self.io.send()? {
                return Ok(None);
            }
            if self.ended {
                return Ok(Some(self.io.failed.into()));
            }
            self.io.keep_rate()?;
            let next = match &mut self.role {
                Role::Sink(sink) => sink.step(&mut self.io),
                Role::Source(source) => source.step(&mut self.io),
            };
            match next {
                Next::Step => {}
                Next::Later => return Ok(None),
                Next::End => self.ended = true,
                Next::Input => match self.io.fill()? {
                    None => return Ok(None),
                    // The client has gone in the middle, or after its last file.
                    Some(0) => {
                        let whole = match &mut self.role {
                            Role::Sink(sink) => sink.end_of_input(&mut self.io),
                            Role::Source(_) => false,
                        };
                        // Nobody may be left to read it.
                        let _ = self.io.send();
                        return Ok(Some((self.io.failed || !whole).into()));
                    }
                    Some(_) => {}
                },
            }
        }
    }
}

/// What both roles share.
struct Io<'a> {
    channel: Box<dyn Duplex + 'a>,
    files: &'a Files,
    start: VirtualPath,
    shared: Arc<ConnectionUse>,
    preserves: bool,
    recursive: bool,
    input: Vec<u8>,
    /// How much of `input` has been taken.
    read: usize,
    output: Vec<u8>,
    /// How much of `output` has been sent.
    sent: usize,
    /// The client has been told of something: the exit status is 1.
    failed: bool,
    /// What the rates ask to wait.
    owed: Duration,
}

impl Io<'_> {
    /// Sends what there is; `false` if some of it is left.
    fn send(&mut self) -> Result<bool> {
        if self.output.is_empty() {
            return Ok(true);
        }
        while self.sent < self.output.len() {
            match self.channel.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::Disconnected.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).doing("sending to scp"),
            }
        }
        // Not flushed: a client with an open window must come to an end of it, so
        // that the other channels have their turn.
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Reads what the channel has; `None`: nothing now, 0: it has ended.
    fn fill(&mut self) -> Result<Option<usize>> {
        self.input.drain(..self.read);
        self.read = 0;
        let had = self.input.len();
        self.input.resize(had + CHUNK, 0);
        let outcome = self.channel.read(&mut self.input[had..]);
        self.input
            .truncate(had + outcome.as_ref().copied().unwrap_or(0));
        match outcome {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(1)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.input.is_empty() {
                    // Idle channels hold nothing.
                    self.input = Vec::new();
                }
                Ok(None)
            }
            Err(error) => Err(error).doing("reading from scp"),
        }
    }

    /// Waits as long as the rates ask.
    fn keep_rate(&mut self) -> Result<()> {
        let mut left = std::mem::take(&mut self.owed);
        while !left.is_zero() {
            let now = left.min(POLL_INTERVAL);
            std::thread::sleep(now);
            left -= now;
            self.channel.flush().doing("waiting")?;
        }
        Ok(())
    }

    /// What has come and has not been taken.
    fn pending(&self) -> &[u8] {
        &self.input[self.read..]
    }

    /// Takes a line, without its end.
    ///
    /// # Errors
    /// One that is too long.
    fn line(&mut self) -> Result<Option<Vec<u8>>, ()> {
        match self.pending().iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= LONGEST_LINE => {
                let line = self.pending()[..end].to_vec();
                self.read += end + 1;
                Ok(Some(line))
            }
            None if self.pending().len() <= LONGEST_LINE => Ok(None),
            _ => Err(()),
        }
    }

    fn acknowledge(&mut self) {
        self.output.push(0);
    }

    /// Tells the client what went wrong with a file.
    fn refuse(&mut self, name: &[u8], error: &Error) {
        tell_error("scp", error);
        let (_, words) = status::of(error.kind());
        self.tell(name, error.words().unwrap_or(words));
    }

    fn tell(&mut self, name: &[u8], words: &str) {
        self.failed = true;
        let line = format!("\u{1}scp: {}: {words}\n", Escaped(name));
        self.output.extend_from_slice(line.as_bytes());
    }

    /// Tells the client that it breaks the rules, and ends.
    fn give_up(&mut self, why: &str) -> Next {
        tell_once(log::Level::Info, "scp broke the rules", &why);
        self.tell(b"protocol error", why);
        Next::End
    }

    /// Whether there is a directory: whoever may not list can still store into it.
    fn is_directory(&self, path: &VirtualPath) -> bool {
        path.is_root()
            || match self.files.metadata(path, Follow::Yes) {
                Ok(metadata) => metadata.kind == FileKind::Directory,
                Err(_) => self.files.enter(path).is_ok(),
            }
    }
}
