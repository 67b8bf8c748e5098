//! What words with wildcards stand for. It is found piece by piece: directories
//! may be large, and the other channels of the connection want their turn.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::handles::Counted;
use super::super::room::ConnectionUse;
use super::Io;
use super::command::{Part, Word};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::pattern::Pattern;
use crate::storage::{Directory, Follow, VirtualPath};

/// Entries that are looked at in one piece.
const AT_ONCE: usize = 256;
/// Names that wildcards may stand for, and bytes of their paths.
const MOST_NAMES: usize = 10_000;
const MOST_BYTES: usize = 1 << 20;
/// What a name takes beside its path.
const NAME_BYTES: usize = 64;

/// A search that goes from level to level: what has been found on one is what
/// the next one is looked for in.
pub(super) struct Expansion {
    levels: VecDeque<Level>,
    /// In reverse.
    found: Vec<VirtualPath>,
    next: Vec<VirtualPath>,
    /// Of the paths in `next`.
    bytes: usize,
    /// What all paths that were found count for, and what counts them.
    held: Option<Counted>,
    shared: Arc<ConnectionUse>,
    listing: Option<(Box<dyn Directory>, VirtualPath, Counted)>,
}

enum Level {
    Name(Vec<u8>),
    Pattern(Pattern),
    /// Whether it is there.
    End,
}

impl Expansion {
    pub(super) fn new(word: &Word, io: &Io<'_>) -> Expansion {
        let level = |part: Part<'_>| match part {
            Part::Name(name) => Level::Name(name.to_vec()),
            Part::Pattern(text) => Level::Pattern(Pattern::new(&text)),
        };
        Expansion {
            levels: word.parts().map(level).chain([Level::End]).collect(),
            found: vec![match word.bytes.first() {
                Some(b'/') => VirtualPath::root(),
                _ => io.start.clone(),
            }],
            next: Vec::new(),
            bytes: 0,
            held: None,
            shared: Arc::clone(&io.shared),
            listing: None,
        }
    }

    /// Goes on for a while; at the end yields what there is, in reverse, and what
    /// counts it.
    ///
    /// # Errors
    /// More names than are kept, or a listing that failed.
    pub(super) fn step(
        &mut self,
        io: &Io<'_>,
    ) -> Result<Option<(Vec<VirtualPath>, Option<Counted>)>> {
        for _ in 0..AT_ONCE {
            if self.listing.is_some() {
                self.entry()?;
            } else if let Some(path) = self.found.pop() {
                self.go_into(path, io)?;
            } else {
                self.levels.pop_front();
                self.next.sort();
                self.next.reverse();
                self.found = std::mem::take(&mut self.next);
                self.bytes = 0;
                if self.levels.is_empty() {
                    return Ok(Some((std::mem::take(&mut self.found), self.held.take())));
                }
            }
        }
        Ok(None)
    }

    fn go_into(&mut self, path: VirtualPath, io: &Io<'_>) -> Result<()> {
        match self.levels.front() {
            Some(Level::Name(name)) => {
                let path = path.join(name)?;
                self.keep(path)
            }
            Some(Level::Pattern(_)) => {
                let counted = Counted::new(&io.shared)?;
                // Where nothing can be seen nothing fits.
                if let Ok(directory) = io.files.list(&path) {
                    self.listing = Some((directory, path, counted));
                }
                Ok(())
            }
            Some(Level::End) if io.files.metadata(&path, Follow::No).is_ok() => self.keep(path),
            _ => Ok(()),
        }
    }

    /// Looks at the next entry of the directory that is being listed.
    fn entry(&mut self) -> Result<()> {
        let (Some((directory, path, _)), Some(Level::Pattern(pattern))) =
            (&mut self.listing, self.levels.front())
        else {
            return Ok(());
        };
        let mut name = Vec::new();
        if directory.next(&mut name)?.is_none() {
            self.listing = None;
            return Ok(());
        }
        if name.first() == Some(&b'.') && !pattern.begins_with_dot() || !pattern.fits(&name) {
            return Ok(());
        }
        let path = path.join(&name)?;
        self.keep(path)
    }

    /// SECURITY: a client makes us keep no more than this.
    fn keep(&mut self, path: VirtualPath) -> Result<()> {
        self.bytes += path.as_bytes().len();
        if self.next.len() >= MOST_NAMES || self.bytes > MOST_BYTES {
            let error = Error::new(ErrorKind::TooMany, "names that wildcards stand for");
            return Err(error.telling("too many names"));
        }
        // SECURITY: and nor do many, on channels that cost them nothing.
        let held = match &mut self.held {
            Some(held) => held,
            None => self.held.insert(Counted::new(&self.shared)?),
        };
        let room = held.grow(path.as_bytes().len() + NAME_BYTES);
        room.map_err(|error| error.telling("too many names"))?;
        self.next.push(path);
        Ok(())
    }
}
