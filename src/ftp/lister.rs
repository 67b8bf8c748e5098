//! Walks directories and writes their listings. Listings stream: the memory
//! they take does not grow with the directory.

use std::time::SystemTime;

use super::arguments::{ListOptions, Sort};
use super::listing::{self, ListedAs, Owners, Style};
use super::names::{NAMES_MAX, Names, too_many};
use super::state::Interpreter;
use crate::auth::{Perms, User};
use crate::error::{Error, ErrorKind, Result};
use crate::net::stream::Stream;
use crate::session::log_context::tell_once;
use crate::storage::pattern::Pattern;
use crate::storage::{Directory, FileKind, Follow, Metadata, VirtualPath};
use crate::text::Escaped;
use crate::time::{seconds_of, since_1970};

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
    style: Style,
    facts: listing::Facts,
    perms: Perms,
    options: ListOptions,
    out: Vec<u8>,
    count: u32,
    left: u64,
    /// An entry that could not be looked at has been logged.
    told: bool,
    /// A directory or an entry could not be looked at.
    incomplete: bool,
}

/// Where the lines go.
pub enum ListSink {
    Data(Stream),
    /// STAT: between the lines of its reply.
    Control,
}

impl Lister {
    pub fn new(
        state: &Interpreter,
        format: Format,
        options: ListOptions,
        at: &VirtualPath,
    ) -> Result<Self> {
        let files = state.files()?;
        Ok(Lister {
            format,
            style: Style {
                owners: owners(files.user()),
                now: seconds_of(SystemTime::now()),
                time: state.session.config().list_time.clone(),
                human: options.human,
                mark: options.mark,
            },
            facts: state.parameters.facts,
            perms: files.perms_at(at),
            options,
            out: Vec::new(),
            count: 0,
            left: state.session.config().max_recursion,
            told: false,
            incomplete: false,
        })
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// What sending said, or that something could not be listed: the listing
    /// must not look like a whole one.
    pub fn finish(mut self, state: &mut Interpreter, sink: &mut ListSink) -> Result<()> {
        self.send(state, sink)?;
        if self.incomplete {
            return Err(Error::new(
                ErrorKind::Internal,
                "a part could not be listed",
            ));
        }
        Ok(())
    }

    fn shows(&self, name: &[u8]) -> bool {
        // MLSD has no options; its clients filter by themselves.
        self.options.all
            || self.options.almost_all
            || self.format == Format::Facts
            || name.first() != Some(&b'.')
    }

    fn line(&mut self, name: &[u8], metadata: &Metadata, target: Option<&[u8]>) {
        match self.format {
            Format::Long => listing::long_line(&mut self.out, name, metadata, target, &self.style),
            Format::Names => self.name(b"", name, Some(metadata)),
            Format::Facts => self.facts(name, metadata, ListedAs::Entry),
        }
    }

    fn name(&mut self, prefix: &[u8], name: &[u8], metadata: Option<&Metadata>) {
        listing::name_line(&mut self.out, prefix, name);
        if self.style.mark
            && let Some(metadata) = metadata
        {
            self.out.truncate(self.out.len() - 2);
            self.out.extend_from_slice(listing::mark(metadata));
            self.out.extend_from_slice(b"\r\n");
        }
    }

    pub fn facts(&mut self, name: &[u8], metadata: &Metadata, place: ListedAs) {
        let (facts, perms, owners) = (self.facts, self.perms, self.style.owners);
        listing::facts_line(&mut self.out, facts, metadata, perms, owners, place, name);
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
        if self.format == Format::Names && !self.style.mark {
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
        if self.format == Format::Names {
            self.name(prefix, name, Some(&metadata));
            return None;
        }
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
            let what = format_args!("{}: {error}", Escaped(name));
            tell_once(log::Level::Warn, "a listing could not look at", &what);
        }
        let mut metadata = Metadata::new(known.unwrap_or(FileKind::Other), 0);
        metadata.mode = 0;
        let facts = self.facts;
        self.facts = facts.of_unknown();
        self.line(name, &metadata, None);
        self.facts = facts;
    }

    fn send(&mut self, state: &mut Interpreter, sink: &mut ListSink) -> Result<()> {
        match sink {
            ListSink::Data(stream) => state.send_bytes(stream, &self.out)?,
            ListSink::Control => state.control.list(&self.out)?,
        }
        self.out.clear();
        Ok(())
    }

    fn after_entry(&mut self, state: &mut Interpreter, sink: &mut ListSink) -> Result<()> {
        if self.out.len() >= PIECE {
            self.send(state, sink)?;
            if let ListSink::Data(stream) = sink {
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
        sink: &mut ListSink,
        mut directory: Box<dyn Directory>,
        prefix: &[u8],
        pattern: Option<&Pattern>,
        mut below: Option<&mut Names>,
    ) -> Result<()> {
        let mut name = Vec::new();
        let mut names = Names::default();
        let ordered = self.options.sort != Sort::Name || self.options.reverse;
        let sorted = self.format == Format::Long || ordered;
        let fits = |lister: &Lister, name: &[u8]| match pattern {
            Some(pattern) => {
                pattern.fits(name) && (lister.shows(name) || pattern.begins_with_dot())
            }
            None => lister.shows(name),
        };
        while sorted && (ordered || names.len() < SORTED_MAX) && !names.is_full() {
            let Some(known) = directory.next(&mut name)? else {
                break;
            };
            if fits(self, &name) {
                let key = self.key(directory.as_ref(), &name);
                names.push(key, &name, known.kind);
            }
            state.poll_if_due()?;
        }
        if ordered && names.is_full() {
            return Err(too_many());
        }
        names.sort();
        let mut show = |lister: &mut Lister,
                        state: &mut Interpreter,
                        directory: &dyn Directory,
                        entry: (&[u8], Option<FileKind>)|
         -> Result<()> {
            let kind = lister.entry(directory, prefix, entry);
            if let (Some(below), Some(FileKind::Directory)) = (&mut below, kind) {
                below.keep(entry.0)?;
            }
            lister.after_entry(state, sink)
        };
        for at in 0..names.len() {
            let at = if self.options.reverse {
                names.len() - 1 - at
            } else {
                at
            };
            if let Some(entry) = names.get(at) {
                show(self, state, directory.as_ref(), entry)?;
            }
        }
        drop(names);
        while let Some(known) = directory.next(&mut name)? {
            if fits(self, &name) {
                show(self, state, directory.as_ref(), (&name, known.kind))?;
            }
        }
        Ok(())
    }

    /// What an entry is sorted by before its name, the smallest first.
    fn key(&self, directory: &dyn Directory, name: &[u8]) -> i64 {
        if self.options.sort == Sort::Name {
            return 0;
        }
        match (directory.metadata(name, Follow::No), self.options.sort) {
            (Ok(metadata), Sort::Time) => {
                // To the nanosecond, as ls does: a camera writes many in a second.
                // Times from 2262 on count as one.
                let (seconds, nanos) = since_1970(metadata.modified);
                let whole = seconds.saturating_mul(1_000_000_000);
                -whole.saturating_add(nanos.into()).max(-i64::MAX)
            }
            (Ok(metadata), _) => -i64::try_from(metadata.size).unwrap_or(i64::MAX),
            (Err(_), _) => i64::MAX,
        }
    }

    /// LIST -R: each directory with its path above it, as ls does. What is
    /// held is one path, and for each level the names of directories on it.
    fn recursive(
        &mut self,
        state: &mut Interpreter,
        sink: &mut ListSink,
        top: &VirtualPath,
    ) -> Result<()> {
        let files = state.files()?.clone();
        let (mut path, mut shown) = (top.clone(), b".".to_vec());
        let mut levels: Vec<(Names, usize)> = Vec::new();
        loop {
            let mut below = Names::default();
            match files.list(&path) {
                Ok(directory) => {
                    listing::name_line(&mut self.out, &shown, b":");
                    let before = self.count;
                    self.directory(state, sink, directory, b"", None, Some(&mut below))?;
                    self.out.extend_from_slice(b"\r\n");
                    self.left = self
                        .left
                        .checked_sub(u64::from(self.count.wrapping_sub(before)) + 1)
                        .ok_or_else(|| {
                            Error::new(ErrorKind::Internal, "LIST -R passed max-recursion entries")
                        })?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tell_once(log::Level::Info, "a directory is not listed", &error);
                    self.incomplete = true;
                }
            }
            levels.push((below, 0));
            let held: usize = levels.iter().map(|(names, _)| names.size()).sum();
            if held > NAMES_MAX {
                return Err(too_many());
            }
            loop {
                let Some((names, next)) = levels.last_mut() else {
                    return Ok(());
                };
                if let Some((name, _)) = names.get(*next) {
                    *next += 1;
                    match path.below(name) {
                        Ok(below) => path = below,
                        Err(error) => {
                            log::info!("a directory is not listed: {error}");
                            self.incomplete = true;
                            continue;
                        }
                    }
                    shown.push(b'/');
                    shown.extend_from_slice(name);
                    break;
                }
                levels.pop();
                path = path.parent();
                let end = shown.iter().rposition(|byte| *byte == b'/');
                shown.truncate(end.unwrap_or(0));
            }
        }
    }
}

/// Whether a user sees the owners of files.
pub fn owners(user: &User) -> Owners {
    if user.anonymous {
        Owners::Hidden
    } else {
        Owners::Numbers
    }
}

/// What an argument of LIST names.
pub enum ListTarget {
    Directory(VirtualPath, Box<dyn Directory>),
    File(Metadata),
    Matching(Box<dyn Directory>, Pattern),
}

pub fn target(state: &Interpreter, argument: &[u8], options: &ListOptions) -> Result<ListTarget> {
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
            Ok(ListTarget::Directory(path, directory))
        }
        Ok(metadata) => Ok(ListTarget::File(metadata)),
        Err(_) if Pattern::is_one(path.name()) => Ok(ListTarget::Matching(
            files.list(&path.parent())?,
            Pattern::new(path.name()),
        )),
        Err(error) => Err(error),
    }
}

/// What stands before each name of NLST, so that the client can use it.
fn prefix(argument: &[u8], target: &ListTarget) -> Vec<u8> {
    match target {
        ListTarget::Directory(..) if argument.is_empty() || argument == b"." => Vec::new(),
        ListTarget::Directory(..) if argument.ends_with(b"/") => argument.to_vec(),
        ListTarget::Directory(..) => [argument, b"/"].concat(),
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
    sink: &mut ListSink,
    format: Format,
    options: ListOptions,
    argument: &[u8],
    target: ListTarget,
) -> Result<()> {
    let path = state.path(argument)?;
    let (all, recursive) = (options.all, options.recursive);
    let mut lister = Lister::new(state, format, options, &path)?;
    let prefix = prefix(argument, &target);
    match target {
        ListTarget::Directory(path, _) if recursive && format == Format::Long => {
            lister.recursive(state, sink, &path)?;
        }
        ListTarget::Directory(path, directory) => {
            if all && format == Format::Long {
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
        // LIST -d names no path.
        ListTarget::File(metadata) if argument.is_empty() => lister.line(b".", &metadata, None),
        ListTarget::File(metadata) => lister.line(argument, &metadata, None),
        ListTarget::Matching(directory, pattern) => {
            lister.directory(state, sink, directory, &prefix, Some(&pattern), None)?;
        }
    }
    lister.finish(state, sink)
}
