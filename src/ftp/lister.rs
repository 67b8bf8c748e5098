//! Walks directories and writes their listings. Listings stream: the memory
//! they take does not grow with the directory.

use std::time::SystemTime;

use super::arguments::ListOptions;
use super::listing::{self, Owners, Place};
use super::state::Interpreter;
use crate::auth::Perms;
use crate::error::{Error, ErrorKind, Result};
use crate::net::stream::Stream;
use crate::session::matches;
use crate::storage::{Directory, FileKind, Follow, Metadata, VirtualPath};
use crate::text::Escaped;
use crate::time::seconds_of;

/// LIST is sorted up to so many entries; a longer one comes in the order of
/// the file system, so that the first line is there at once. NLST and MLSD,
/// which programs read, are never sorted.
const SORTED_MAX: usize = 10_000;
/// Bytes that are gathered before they are sent.
const PIECE: usize = 64 * 1024;

/// What is written for each entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Long,
    Names,
    Facts,
}

/// A listing on its way: what to list, and the lines not sent yet.
pub struct Lister {
    format: Format,
    owners: Owners,
    facts: listing::Facts,
    perms: Perms,
    now: i64,
    all: bool,
    out: Vec<u8>,
    count: u32,
    left: u64,
    /// An entry that could not be looked at has been logged.
    told: bool,
}

/// Where the lines go.
pub enum Sink {
    Data(Stream),
    /// STAT: between the lines of its reply.
    Control,
}

impl Lister {
    pub fn new(state: &Interpreter, format: Format, all: bool, at: &VirtualPath) -> Result<Self> {
        let files = state.files()?;
        Ok(Lister {
            format,
            owners: if files.user().anonymous {
                Owners::Hidden
            } else {
                Owners::Numbers
            },
            facts: state.parameters.facts,
            perms: files.perms_at(at),
            now: seconds_of(SystemTime::now()),
            all,
            out: Vec::new(),
            count: 0,
            left: state.session.config().max_recursion,
            told: false,
        })
    }

    fn shows(&self, name: &[u8]) -> bool {
        // MLSD has no options; its clients filter by themselves.
        self.all || self.format == Format::Facts || name.first() != Some(&b'.')
    }

    fn line(&mut self, name: &[u8], metadata: &Metadata, target: Option<&[u8]>) {
        match self.format {
            Format::Long => {
                listing::long_line(&mut self.out, name, metadata, target, self.owners, self.now)
            }
            Format::Names => listing::name_line(&mut self.out, b"", name),
            Format::Facts => self.facts(name, metadata, Place::Entry),
        }
    }

    pub fn facts(&mut self, name: &[u8], metadata: &Metadata, place: Place) {
        listing::facts_line(&mut self.out, self.facts, metadata, self.perms, place, name);
        self.out.extend_from_slice(b"\r\n");
    }

    /// One entry of an open directory, of which `known` is its kind. One that
    /// has vanished since is left out.
    fn entry(
        &mut self,
        directory: &dyn Directory,
        prefix: &[u8],
        (name, known): (&[u8], Option<FileKind>),
    ) -> Option<FileKind> {
        if self.format == Format::Names {
            listing::name_line(&mut self.out, prefix, name);
            return None;
        }
        let metadata = match directory.metadata(name, Follow::No) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                self.unknown(name, known, &error);
                return known;
            }
        };
        let mut shown = metadata;
        let mut target = None;
        if metadata.kind == FileKind::Link {
            match self.format {
                Format::Long => target = directory.read_link(name).ok(),
                // Clients want to know what they get when they go there.
                _ => shown = directory.metadata(name, Follow::Yes).unwrap_or(metadata),
            }
        }
        self.line(name, &shown, target.as_deref());
        Some(metadata.kind)
    }

    /// An entry that can't be looked at (a file system whose daemon is dead, a
    /// bad sector) is shown by what the directory says of it, and takes no
    /// other with it.
    fn unknown(&mut self, name: &[u8], known: Option<FileKind>, error: &Error) {
        if !std::mem::replace(&mut self.told, true) {
            log::warn!("listing: {} can't be looked at: {error}", Escaped(name));
        }
        let mut metadata = Metadata::new(known.unwrap_or(FileKind::Other), 0);
        metadata.mode = 0;
        let facts = self.facts;
        self.facts = facts.of_unknown();
        self.line(name, &metadata, None);
        self.facts = facts;
    }

    pub fn send(&mut self, state: &mut Interpreter, sink: &mut Sink) -> Result<()> {
        match sink {
            Sink::Data(stream) => state.send_bytes(stream, &self.out)?,
            Sink::Control => state.control.list(&self.out)?,
        }
        self.out.clear();
        Ok(())
    }

    fn after_entry(&mut self, state: &mut Interpreter, sink: &mut Sink) -> Result<()> {
        if self.out.len() >= PIECE {
            self.send(state, sink)?;
            if let Sink::Data(stream) = sink {
                state.flush_data(stream)?;
            }
        }
        self.count += 1;
        state.poll_if_due()
    }

    /// All entries of a directory that `pattern` allows; directories among
    /// them go to `below`, for a recursive listing.
    pub fn directory(
        &mut self,
        state: &mut Interpreter,
        sink: &mut Sink,
        mut directory: Box<dyn Directory>,
        prefix: &[u8],
        pattern: Option<&[u8]>,
        mut below: Option<&mut Vec<Vec<u8>>>,
    ) -> Result<()> {
        let mut name = Vec::new();
        let mut names = Names::default();
        let sorted = self.format == Format::Long;
        let fits = |lister: &Lister, name: &[u8]| match pattern {
            Some(pattern) => {
                matches(pattern, name) && (lister.shows(name) || pattern.first() == Some(&b'.'))
            }
            None => lister.shows(name),
        };
        while sorted && names.len() < SORTED_MAX {
            let Some(known) = directory.next(&mut name)? else {
                break;
            };
            if fits(self, &name) {
                names.push(&name, known);
            }
        }
        names.sort();
        for (name, known) in names.iter() {
            let kind = self.entry(directory.as_ref(), prefix, (name, known));
            if let (Some(below), Some(FileKind::Directory)) = (&mut below, kind) {
                below.push(name.to_vec());
            }
            self.after_entry(state, sink)?;
        }
        while let Some(known) = directory.next(&mut name)? {
            if !fits(self, &name) {
                continue;
            }
            let kind = self.entry(directory.as_ref(), prefix, (&name, known));
            if let (Some(below), Some(FileKind::Directory)) = (&mut below, kind) {
                below.push(name.clone());
            }
            self.after_entry(state, sink)?;
        }
        Ok(())
    }

    /// LIST -R: each directory with its path above it, as ls does.
    fn recursive(
        &mut self,
        state: &mut Interpreter,
        sink: &mut Sink,
        top: &VirtualPath,
    ) -> Result<()> {
        let files = state.files()?.clone();
        let mut stack = vec![(top.clone(), b".".to_vec())];
        while let Some((path, shown)) = stack.pop() {
            let directory = match files.list(&path) {
                Ok(directory) => directory,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            listing::name_line(&mut self.out, &shown, b":");
            let before = self.count;
            let mut below = Vec::new();
            self.directory(state, sink, directory, b"", None, Some(&mut below))?;
            self.out.extend_from_slice(b"\r\n");
            self.left = self
                .left
                .checked_sub(u64::from(self.count.wrapping_sub(before)) + 1)
                .ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "LIST -R passed max-recursion entries")
                })?;
            for name in below.iter().rev() {
                stack.push((path.join(name)?, [&shown[..], b"/", name].concat()));
            }
        }
        Ok(())
    }
}

/// Names, one behind the other in one piece of memory.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    entries: Vec<(u32, u32, Option<FileKind>)>,
}

impl Names {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn push(&mut self, name: &[u8], kind: Option<FileKind>) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.entries.push((start, self.bytes.len() as u32, kind));
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries
            .sort_unstable_by_key(|(start, end, _)| &bytes[*start as usize..*end as usize]);
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], Option<FileKind>)> {
        self.entries
            .iter()
            .map(|(start, end, kind)| (&self.bytes[*start as usize..*end as usize], *kind))
    }
}

/// What an argument of LIST names.
pub enum Target {
    Directory(VirtualPath, Box<dyn Directory>),
    File(Metadata),
    Matching(Box<dyn Directory>, Vec<u8>),
}

pub fn target(state: &Interpreter, argument: &[u8], options: &ListOptions) -> Result<Target> {
    let files = state.files()?;
    let path = state.path(argument)?;
    let metadata = match files.metadata(&path, Follow::Yes) {
        Ok(metadata) => Ok(metadata),
        // A link that leads nowhere is still there to be listed.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files.metadata(&path, Follow::No).map_err(|_| error)
        }
        Err(error) => Err(error),
    };
    match metadata {
        Ok(metadata) if metadata.is_dir() && !options.itself => {
            let directory = files.list(&path)?;
            Ok(Target::Directory(path, directory))
        }
        Ok(metadata) => Ok(Target::File(metadata)),
        Err(_) if path.name().iter().any(|byte| matches!(byte, b'*' | b'?')) => Ok(
            Target::Matching(files.list(&path.parent())?, path.name().to_vec()),
        ),
        Err(error) => Err(error),
    }
}

/// What stands before each name of NLST, so that the client can use it.
fn prefix(argument: &[u8], target: &Target) -> Vec<u8> {
    match target {
        Target::Directory(..) if argument.is_empty() || argument == b"." => Vec::new(),
        Target::Directory(..) if argument.ends_with(b"/") => argument.to_vec(),
        Target::Directory(..) => [argument, b"/"].concat(),
        _ => {
            let end = argument
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |at| at + 1);
            argument[..end].to_vec()
        }
    }
}

/// The lines of LIST, NLST and STAT.
pub fn write_listing(
    state: &mut Interpreter,
    sink: &mut Sink,
    format: Format,
    options: &ListOptions,
    argument: &[u8],
    target: Target,
) -> Result<()> {
    let path = state.path(argument)?;
    let mut lister = Lister::new(state, format, options.all, &path)?;
    let prefix = prefix(argument, &target);
    match target {
        Target::Directory(path, _) if options.recursive && format == Format::Long => {
            lister.recursive(state, sink, &path)?;
        }
        Target::Directory(path, directory) => {
            if options.all && format == Format::Long {
                let own = state.files()?.metadata(&path, Follow::Yes)?;
                let above = state
                    .files()?
                    .metadata(&path.parent(), Follow::Yes)
                    .unwrap_or(own);
                lister.line(b".", &own, None);
                lister.line(b"..", &above, None);
            }
            lister.directory(state, sink, directory, &prefix, None, None)?;
        }
        Target::File(metadata) => lister.line(argument, &metadata, None),
        Target::Matching(directory, pattern) => {
            lister.directory(state, sink, directory, &prefix, Some(&pattern), None)?;
        }
    }
    lister.send(state, sink)
}
