//! `scp -f`: the client receives files and directories.

use super::super::handles::Counted;
use super::command::{Command, Word};
use super::wildcards::Expansion;
use super::{CHUNK, Io, Next};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Transfer;
use crate::session::log_context::tell_once;
use crate::storage::{Directory, FileKind, Follow, Metadata, VirtualPath};
use crate::text::Escaped;
use crate::time::seconds_of;

/// Directories within each other: each one stays open while what is in it goes.
const DEEPEST: usize = 64;

pub(super) struct Source {
    /// What the command line names, in reverse.
    words: Vec<Word>,
    /// The word whose wildcards are being looked for.
    expansion: Option<(Word, Box<Expansion>)>,
    /// What the last word stands for, in reverse.
    operands: Vec<VirtualPath>,
    _held: Option<Counted>,
    /// Directories that are being sent.
    open: Vec<(Box<dyn Directory>, VirtualPath, Counted)>,
    item: Option<Item>,
    awaited: Awaited,
}

/// What the client's answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Nothing: the next file can begin.
    No,
    /// The beginning, or the end of a file or directory.
    Any,
    /// The times.
    Times,
    /// The line of a file or directory.
    Entry,
}

/// A file or directory that is being sent.
struct Item {
    path: VirtualPath,
    name: Vec<u8>,
    metadata: Metadata,
    /// `None` for a directory.
    transfer: Option<Transfer>,
    _counted: Counted,
    error: Option<Error>,
    offset: u64,
    /// The client takes the data.
    wanted: bool,
}

impl Source {
    pub(super) fn new(command: Command) -> Source {
        let mut words = command.operands;
        words.reverse();
        Source {
            words,
            expansion: None,
            operands: Vec::new(),
            _held: None,
            open: Vec::new(),
            item: None,
            awaited: Awaited::Any,
        }
    }

    /// Whether it goes on without the client.
    pub(super) fn has_work(&self) -> bool {
        self.expansion.is_some()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.item.is_some() || !self.open.is_empty() || self.has_work()
    }

    pub(super) fn step(&mut self, io: &mut Io<'_>) -> Next {
        if self.awaited != Awaited::No {
            return self.answer(io);
        }
        match &mut self.item {
            Some(item) if item.wanted => {
                if item.data(io) {
                    self.item = None;
                    self.awaited = Awaited::Any;
                }
                Next::Step
            }
            _ => self.next(io),
        }
    }

    /// The client's answer: a zero, or what went wrong on its side.
    fn answer(&mut self, io: &mut Io<'_>) -> Next {
        let good = match io.pending().first() {
            None => return Next::Input,
            Some(0) => {
                io.read += 1;
                true
            }
            Some(1) => match io.line() {
                Ok(Some(line)) => {
                    log::debug!("scp of the client: {}", Escaped(&line[1..]));
                    io.failed = true;
                    false
                }
                Ok(None) => return Next::Input,
                Err(()) => return io.give_up("a line is too long"),
            },
            Some(_) => {
                io.failed = true;
                return Next::End;
            }
        };
        match (std::mem::replace(&mut self.awaited, Awaited::No), good) {
            (Awaited::Times, true) => self.announce(io),
            (Awaited::Entry, true) => self.begin(io),
            (Awaited::Times | Awaited::Entry, false) => self.item = None,
            _ => {}
        }
        Next::Step
    }

    /// Goes to the next entry of the innermost directory, or the next operand.
    fn next(&mut self, io: &mut Io<'_>) -> Next {
        let (path, name) = match self.open.last_mut() {
            Some((directory, path, _)) => {
                let mut name = Vec::new();
                match directory.next(&mut name) {
                    Ok(Some(_)) => match path.join(&name) {
                        Ok(path) => (path, name),
                        Err(error) => {
                            io.refuse(&name, &error);
                            self.awaited = Awaited::Any;
                            return Next::Step;
                        }
                    },
                    outcome => {
                        self.open.pop();
                        // SECURITY: a listing is never cut without an error.
                        if let Err(error) = outcome {
                            io.tell(b"reading a directory", "Failure");
                            tell_once(log::Level::Warn, "scp could not read a directory", &error);
                        }
                        io.output.extend_from_slice(b"E\n");
                        self.awaited = Awaited::Any;
                        return Next::Step;
                    }
                }
            }
            None => match self.operands.pop() {
                Some(path) => {
                    let name = if path.is_root() { b"." } else { path.name() };
                    let name = name.to_vec();
                    (path, name)
                }
                None => return self.next_word(io),
            },
        };
        match self.look_at(path, &name, io) {
            Ok(item) => {
                let (modified, accessed) = (item.metadata.modified, item.metadata.accessed);
                self.item = Some(item);
                if io.preserves {
                    let (modified, accessed) = (seconds_of(modified), seconds_of(accessed));
                    let line = format!("T{} 0 {} 0\n", modified.max(0), accessed.max(0));
                    io.output.extend_from_slice(line.as_bytes());
                    self.awaited = Awaited::Times;
                } else {
                    self.announce(io);
                }
            }
            // The client does not answer errors.
            Err(error) => io.refuse(&name, &error),
        }
        Next::Step
    }

    /// Goes on with the wildcards of a word, or to the next word.
    fn next_word(&mut self, io: &mut Io<'_>) -> Next {
        let (word, (found, held)) = match self.expansion.take() {
            Some((word, mut expansion)) => match expansion.step(io) {
                Ok(None) => {
                    self.expansion = Some((word, expansion));
                    return Next::Later;
                }
                Ok(Some(found)) => (word, found),
                Err(error) => {
                    io.refuse(&word.bytes, &error);
                    return Next::Step;
                }
            },
            None => match self.words.pop() {
                None => return Next::End,
                Some(word) if word.is_pattern() => {
                    let expansion = Box::new(Expansion::new(&word, io));
                    self.expansion = Some((word, expansion));
                    return Next::Step;
                }
                Some(word) => (word, (Vec::new(), None)),
            },
        };
        (self.operands, self._held) = (found, held);
        if self.operands.is_empty() {
            match named(&word, io) {
                Ok(path) => self.operands.push(path),
                Err(error) => io.refuse(&word.bytes, &error),
            }
        }
        Next::Step
    }

    fn look_at(&self, path: VirtualPath, name: &[u8], io: &Io<'_>) -> Result<Item> {
        if name.contains(&b'\n') {
            let why = "a name with a line break";
            return Err(Error::new(ErrorKind::NameInvalid, why));
        }
        let files = io.files;
        let counted = Counted::new(&io.shared)?;
        let metadata = files.metadata(&path, Follow::Yes);
        let transfer = match &metadata {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(metadata) if metadata.kind != FileKind::File => {
                let error = Error::new(ErrorKind::Denied, "neither a file nor a directory");
                return Err(error.telling("not a regular file"));
            }
            // Who may not list may still read what can be named.
            _ => Some(files.get(&path)?),
        };
        let metadata = match &transfer {
            Some(transfer) => transfer.metadata()?,
            None if !io.recursive => {
                let error = Error::new(ErrorKind::IsDirectory, "a directory without -r");
                return Err(error.telling("not a regular file"));
            }
            None if self.open.len() >= DEEPEST => {
                let error = Error::new(ErrorKind::TooMany, "directories within each other");
                return Err(error.telling("too many directories within each other"));
            }
            None => metadata?,
        };
        Ok(Item {
            path,
            name: name.to_vec(),
            metadata,
            transfer,
            _counted: counted,
            error: None,
            offset: 0,
            wanted: false,
        })
    }

    /// Says what comes.
    fn announce(&mut self, io: &mut Io<'_>) {
        let Some(item) = &self.item else { return };
        let (kind, size) = match &item.transfer {
            Some(_) => ('C', item.metadata.size),
            None => ('D', 0),
        };
        let line = format!("{kind}{:04o} {size} ", item.metadata.mode & 0o7777);
        io.output.extend_from_slice(line.as_bytes());
        io.output.extend_from_slice(&item.name);
        io.output.push(b'\n');
        self.awaited = Awaited::Entry;
    }

    /// The client wants what was announced.
    fn begin(&mut self, io: &mut Io<'_>) {
        let Some(item) = &mut self.item else { return };
        if item.transfer.is_some() {
            item.wanted = true;
            return;
        }
        let counted = Counted::new(&io.shared);
        match counted.and_then(|counted| Ok((io.files.list(&item.path)?, counted))) {
            Ok((directory, counted)) => self.open.push((directory, item.path.clone(), counted)),
            Err(error) => {
                // The client is in the directory by now.
                io.refuse(&item.name, &error);
                io.output.extend_from_slice(b"E\n");
                self.awaited = Awaited::Any;
            }
        }
        self.item = None;
    }
}

impl Item {
    /// Sends the next data; `true` at the end.
    fn data(&mut self, io: &mut Io<'_>) -> bool {
        let left = self.metadata.size - self.offset;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        if most > 0 {
            io.output.resize(most, 0);
            let mut count = most;
            if let Some(transfer) = &mut self.transfer {
                match transfer.read_at(&mut io.output, self.offset) {
                    Ok(0) => {
                        let why = "the file became shorter while it was sent";
                        self.error = Some(Error::new(ErrorKind::Internal, why).telling(why));
                        self.transfer = None;
                    }
                    Ok(read) => {
                        count = read;
                        if transfer.is_paced() {
                            io.owed = transfer.pace(read as u64);
                        }
                    }
                    Err(error) => {
                        self.error = Some(error);
                        self.transfer = None;
                    }
                }
            }
            // What can't be read is sent as zeros: the length has been told.
            if self.transfer.is_none() {
                io.output.fill(0);
            }
            io.output.truncate(count);
            self.offset += count as u64;
            return false;
        }
        let ended = match (self.transfer.take(), self.error.take()) {
            (_, Some(error)) => Err(error),
            (Some(transfer), None) => transfer.finish(),
            (None, None) => Ok(()),
        };
        match ended {
            Ok(()) => io.acknowledge(),
            Err(error) => io.refuse(&self.name, &error),
        }
        true
    }
}

/// The path that a word without wildcards means, or with ones that nothing fits:
/// as in a shell, it is a name then.
fn named(word: &Word, io: &Io<'_>) -> Result<VirtualPath> {
    let path = io.start.join(&word.bytes)?;
    if word.bytes.ends_with(b"/") && !io.is_directory(&path) {
        return Err(ErrorKind::NotDirectory.into());
    }
    Ok(path)
}
