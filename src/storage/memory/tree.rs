//! The tree of a [`MemoryFs`](super::MemoryFs): nodes by number, and how a
//! path finds them. It knows nothing of open files beyond sharing theirs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::super::trail::{Trail, TrailStep};
use super::super::{Attributes, FileKind, Follow, Metadata, VirtualPath};
use super::content::Content;
use crate::error::ErrorKind;
use crate::sync::unpoisoned;

/// The number of the root.
pub(super) const ROOT: u64 = 1;
/// Size that directories show, as on most disks.
const DIRECTORY_SIZE: u64 = 4096;

/// Everything but the contents of files.
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

pub(super) enum Node {
    File(Arc<FileNode>),
    Directory(Entries, Traits),
    Link(Vec<u8>, Traits),
}

pub(super) type Entries = BTreeMap<Vec<u8>, u64>;

/// A file, shared between its names and those who have it open.
pub(super) struct FileNode {
    number: u64,
    state: Mutex<FileState>,
}

pub(super) struct FileState {
    pub(super) content: Content,
    pub(super) traits: Traits,
}

/// What nodes of every kind have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    modified: SystemTime,
    changed: SystemTime,
    accessed: SystemTime,
}

/// Where a path ends.
pub(super) struct Spot {
    /// Numbers of the directories from the root to the one that holds `name`.
    pub(super) above: Vec<u64>,
    /// The name there; `None`: that directory itself is meant.
    pub(super) name: Option<Vec<u8>>,
}

impl Tree {
    pub(super) fn new(now: SystemTime) -> Self {
        let root = Node::Directory(Entries::new(), Traits::new(0o755, now));
        Tree {
            nodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }

    /// Finds where `path` ends, links on the way followed inside the tree if
    /// `links` says so.
    pub(super) fn find(
        &self,
        path: &VirtualPath,
        follow: Follow,
        links: Follow,
    ) -> Result<Spot, ErrorKind> {
        let mut trail = Trail::new(path.as_bytes());
        let mut above = vec![ROOT];
        loop {
            let (range, last) = match trail.step() {
                TrailStep::End => return Ok(Spot { above, name: None }),
                TrailStep::Up => {
                    above.truncate(above.len().saturating_sub(1).max(1));
                    continue;
                }
                TrailStep::Through(range) => (range, false),
                TrailStep::Last(range) => (range, true),
            };
            let name = trail.bytes(&range);
            let here = above.last().copied().unwrap_or(ROOT);
            let number = self.entries(here)?.get(name).copied();
            match number.and_then(|number| self.nodes.get(&number)) {
                Some(Node::Link(target, _))
                    if links == Follow::Yes && (!last || follow == Follow::Yes) =>
                {
                    if target.first() == Some(&b'/') {
                        above.truncate(1);
                    }
                    // As ELOOP.
                    trail.follow(target).map_err(|_| ErrorKind::Denied)?;
                }
                _ if last => {
                    let name = Some(name.to_vec());
                    return Ok(Spot { above, name });
                }
                Some(Node::Directory(..)) => above.extend(number),
                Some(_) => return Err(ErrorKind::NotDirectory),
                None => return Err(ErrorKind::NotFound),
            }
        }
    }

    /// The number of what is at a spot, if anything is.
    pub(super) fn number(&self, spot: &Spot) -> Result<Option<u64>, ErrorKind> {
        match &spot.name {
            None => Ok(Some(spot.directory())),
            Some(name) => Ok(self.entries(spot.directory())?.get(name).copied()),
        }
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, ErrorKind> {
        self.nodes.get(&number).ok_or(ErrorKind::NotFound)
    }

    pub(super) fn entries(&self, number: u64) -> Result<&Entries, ErrorKind> {
        match self.node(number)? {
            Node::Directory(entries, _) => Ok(entries),
            _ => Err(ErrorKind::NotDirectory),
        }
    }

    /// Adds a new node under a name that is free.
    pub(super) fn add(
        &mut self,
        spot: &Spot,
        node: Node,
        now: SystemTime,
    ) -> Result<u64, ErrorKind> {
        let number = self.next;
        self.put(spot, number, now)?;
        self.next += 1;
        self.nodes.insert(number, node);
        Ok(number)
    }

    /// The number that the next node will have.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Enters `number` at a spot, in place of what is there.
    pub(super) fn put(
        &mut self,
        spot: &Spot,
        number: u64,
        now: SystemTime,
    ) -> Result<(), ErrorKind> {
        let name = spot.name.clone().ok_or(ErrorKind::Exists)?;
        self.change(spot.directory(), now)?.insert(name, number);
        Ok(())
    }

    /// Takes the name at a spot away; the node stays until [`Tree::release`].
    pub(super) fn take(&mut self, spot: &Spot, now: SystemTime) -> Result<u64, ErrorKind> {
        let name = spot.name.as_ref().ok_or(ErrorKind::Denied)?;
        let entries = self.change(spot.directory(), now)?;
        entries.remove(name).ok_or(ErrorKind::NotFound)
    }

    /// Counts one name less, and forgets a node that has none left. Whoever
    /// has the file open keeps it.
    pub(super) fn release(&mut self, number: u64) {
        let left = match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => file.state().traits.one_less(),
            Some(Node::Link(_, traits)) => traits.one_less(),
            Some(Node::Directory(..)) | None => 0,
        };
        if left == 0 {
            self.nodes.remove(&number);
        }
    }

    /// Counts one name more.
    pub(super) fn keep(&mut self, number: u64) {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => file.state().traits.links += 1,
            Some(Node::Link(_, traits)) => traits.links += 1,
            Some(Node::Directory(..)) | None => {}
        }
    }

    pub(super) fn metadata(&self, number: u64) -> Result<Metadata, ErrorKind> {
        Ok(match self.node(number)? {
            Node::File(file) => file.metadata(),
            Node::Link(target, traits) => {
                traits.metadata(FileKind::Link, target.len() as u64, number)
            }
            Node::Directory(entries, traits) => {
                let mut metadata = traits.metadata(FileKind::Directory, DIRECTORY_SIZE, number);
                let is_directory = |number| matches!(self.node(number), Ok(Node::Directory(..)));
                let below = entries.values().filter(|&&number| is_directory(number));
                metadata.links = 2 + below.count() as u64;
                metadata
            }
        })
    }

    /// Changes everything but the size.
    pub(super) fn set_attributes(
        &mut self,
        number: u64,
        wanted: &Attributes,
        now: SystemTime,
    ) -> Result<(), ErrorKind> {
        match self.nodes.get_mut(&number).ok_or(ErrorKind::NotFound)? {
            Node::File(file) => file.state().traits.apply(wanted, now),
            Node::Directory(_, traits) => traits.apply(wanted, now),
            // As on Linux: a link has an owner and times, but no mode.
            Node::Link(..) if wanted.mode.is_some() => return Err(ErrorKind::Unsupported),
            Node::Link(_, traits) => traits.apply(wanted, now),
        }
        Ok(())
    }

    fn change(&mut self, number: u64, now: SystemTime) -> Result<&mut Entries, ErrorKind> {
        match self.nodes.get_mut(&number).ok_or(ErrorKind::NotFound)? {
            Node::Directory(entries, traits) => {
                traits.changed(now);
                Ok(entries)
            }
            _ => Err(ErrorKind::NotDirectory),
        }
    }
}

impl Spot {
    /// The directory that holds the name.
    pub(super) fn directory(&self) -> u64 {
        self.above.last().copied().unwrap_or(ROOT)
    }
}

impl FileNode {
    pub(super) fn new(number: u64, content: Content, traits: Traits) -> Self {
        FileNode {
            number,
            state: Mutex::new(FileState { content, traits }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, FileState> {
        unpoisoned(self.state.lock())
    }

    pub(super) fn metadata(&self) -> Metadata {
        let state = self.state();
        let size = state.content.size();
        state.traits.metadata(FileKind::File, size, self.number)
    }
}

impl Traits {
    pub(super) fn new(mode: u32, now: SystemTime) -> Self {
        Traits {
            mode: mode & 0o7777,
            uid: 0,
            gid: 0,
            links: 1,
            modified: now,
            changed: now,
            accessed: now,
        }
    }

    pub(super) fn changed(&mut self, now: SystemTime) {
        self.modified = now;
        self.changed = now;
    }

    pub(super) fn apply(&mut self, wanted: &Attributes, now: SystemTime) {
        self.changed = now;
        self.mode = wanted.mode.map_or(self.mode, |mode| mode & 0o7777);
        self.uid = wanted.uid.unwrap_or(self.uid);
        self.gid = wanted.gid.unwrap_or(self.gid);
        self.modified = wanted.modified.unwrap_or(self.modified);
        self.accessed = wanted.accessed.unwrap_or(self.accessed);
    }

    fn one_less(&mut self) -> u64 {
        self.links = self.links.saturating_sub(1);
        self.links
    }

    fn metadata(&self, kind: FileKind, size: u64, number: u64) -> Metadata {
        Metadata {
            kind,
            size,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            modified: self.modified,
            changed: self.changed,
            accessed: self.accessed,
            id: (0, number),
        }
    }
}
