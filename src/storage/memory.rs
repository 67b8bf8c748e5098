//! [`MemoryFs`]: files in memory, with the meaning of POSIX.
//!
//! It serves as the back-end of tests, and of programs that take uploads
//! without a disk. It is not meant to be fast: one lock guards the names.

mod content;
mod open;
mod tree;

use std::fmt;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use super::{
    Attributes, Create, Directory, Existing, File, FileKind, FileSystem, Follow, Metadata,
    OpenOptions, Space, VirtualPath, Write,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Swap, unpoisoned};
use content::{Content, Room};
use open::{MemoryDirectory, MemoryFile};
use tree::{FileNode, Node, Spot, Traits, Tree};

/// Largest target of a link, as in Linux.
const TARGET_MAX: usize = 4095;

/// A file system in memory. Cloning shares the files.
///
/// Nothing limits its size until [`MemoryFs::with_capacity_limit`] does.
/// Modes and owners are kept and shown, but not enforced.
///
/// ```
/// use wharf::storage::{Create, FileSystem, MemoryFs, OpenOptions, VirtualPath, Write};
/// let files = MemoryFs::new().with_capacity_limit(1 << 20);
/// let path = VirtualPath::root().join(b"hello")?;
/// let options = OpenOptions::write(Write::At, Create::New, 0o644);
/// files.open(&path, &options)?.write_all_at(b"hello", 0)?;
/// # Ok::<(), wharf::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryFs {
    shared: Arc<Inner>,
}

type Clock = dyn Fn() -> SystemTime + Send + Sync;

/// What a file system shares with its open files.
struct Inner {
    tree: Arc<RwLock<Tree>>,
    room: Arc<Room>,
    clock: Arc<Swap<Clock>>,
    /// Whether links are followed at all.
    links: Follow,
}

impl MemoryFs {
    /// An empty file system.
    pub fn new() -> Self {
        MemoryFs {
            shared: Arc::new(Inner {
                tree: Arc::new(RwLock::new(Tree::new(SystemTime::now()))),
                room: Arc::new(Room::new()),
                clock: Arc::new(Swap::from(Arc::new(SystemTime::now) as Arc<Clock>)),
                links: Follow::Yes,
            }),
        }
    }

    /// Lets contents take `bytes` in all; a write past that is
    /// [`ErrorKind::NoSpace`]. What is there already stays. It may be called
    /// again at any time, also on a clone.
    pub fn with_capacity_limit(self, bytes: u64) -> Self {
        self.shared.room.set_limit(bytes);
        self
    }

    /// Takes the time of changes from `clock`, so that tests know it.
    pub fn with_clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let now = clock();
        self.shared.clock.store(Arc::new(clock));
        let times = Attributes {
            modified: Some(now),
            accessed: Some(now),
            ..Attributes::default()
        };
        // The root is always there.
        let _ = self
            .shared
            .tree_mut()
            .set_attributes(tree::ROOT, &times, now);
        self
    }
}

impl Default for MemoryFs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFs")
            .field("room", &self.shared.room)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn now(&self) -> SystemTime {
        (self.clock.load())()
    }

    fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        unpoisoned(self.tree.read())
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        unpoisoned(self.tree.write())
    }

    fn find(&self, tree: &Tree, path: &VirtualPath, follow: Follow) -> Result<Spot, ErrorKind> {
        tree.find(path, follow, self.links)
    }

    /// The number of what `path` means.
    fn look_up(&self, tree: &Tree, path: &VirtualPath, follow: Follow) -> Result<u64, ErrorKind> {
        let spot = self.find(tree, path, follow)?;
        tree.number(&spot)?.ok_or(ErrorKind::NotFound)
    }

    /// The file, and whether this call made it.
    fn open(
        &self,
        path: &VirtualPath,
        options: &OpenOptions,
    ) -> Result<(Arc<FileNode>, bool), ErrorKind> {
        if !options.read && options.write == Write::No {
            return Err(ErrorKind::Invalid);
        }
        let now = self.now();
        let mut tree = self.tree_mut();
        let follow = match options.create {
            Create::New => Follow::No,
            Create::Never | Create::IfMissing => Follow::Yes,
        };
        let spot = self.find(&tree, path, follow)?;
        let Some(number) = tree.number(&spot)? else {
            if options.create == Create::Never {
                return Err(ErrorKind::NotFound);
            }
            let content = Content::new(self.room.clone());
            let traits = Traits::new(options.mode, now);
            let file = Arc::new(FileNode::new(tree.next_number(), content, traits));
            tree.add(&spot, Node::File(file.clone()), now)?;
            return Ok((file, true));
        };
        if options.create == Create::New {
            return Err(ErrorKind::Exists);
        }
        match tree.node(number)? {
            Node::File(file) => {
                if options.write == Write::Truncate {
                    let mut state = file.state();
                    state.content.resize(0).map_err(|error| error.kind())?;
                    state.traits.changed(now);
                }
                Ok((file.clone(), false))
            }
            Node::Directory(..) => Err(ErrorKind::IsDirectory),
            Node::Link(..) => Err(ErrorKind::Denied),
        }
    }

    fn add(&self, path: &VirtualPath, node: Node) -> Result<(), ErrorKind> {
        let now = self.now();
        let mut tree = self.tree_mut();
        let spot = self.find(&tree, path, Follow::No)?;
        match tree.number(&spot)? {
            Some(_) => Err(ErrorKind::Exists),
            None => tree.add(&spot, node, now).map(|_| ()),
        }
    }

    fn remove(&self, path: &VirtualPath, what: FileKind) -> Result<(), ErrorKind> {
        let now = self.now();
        let mut tree = self.tree_mut();
        let spot = self.find(&tree, path, Follow::No)?;
        let number = tree.number(&spot)?.ok_or(ErrorKind::NotFound)?;
        match (tree.node(number)?, what) {
            (Node::Directory(entries, _), FileKind::Directory) if entries.is_empty() => {}
            (Node::Directory(..), FileKind::Directory) => return Err(ErrorKind::NotEmpty),
            (_, FileKind::Directory) => return Err(ErrorKind::NotDirectory),
            (Node::Directory(..), _) => return Err(ErrorKind::IsDirectory),
            _ => {}
        }
        tree.take(&spot, now)?;
        tree.release(number);
        Ok(())
    }

    fn rename(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        existing: Existing,
    ) -> Result<(), ErrorKind> {
        let now = self.now();
        let mut tree = self.tree_mut();
        let from = self.find(&tree, from, Follow::No)?;
        let to = self.find(&tree, to, Follow::No)?;
        let number = tree.number(&from)?.ok_or(ErrorKind::NotFound)?;
        let replaced = tree.number(&to)?;
        if replaced.is_some() && existing == Existing::Keep {
            return Err(ErrorKind::Exists);
        }
        if to.above.contains(&number) {
            return Err(ErrorKind::Invalid);
        }
        if let Some(replaced) = replaced {
            if replaced == number {
                return Ok(());
            }
            may_replace(&tree, number, replaced, &from)?;
        }
        tree.take(&from, now)?;
        tree.put(&to, number, now)?;
        if let Some(replaced) = replaced {
            tree.release(replaced);
        }
        Ok(())
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<(), ErrorKind> {
        let now = self.now();
        let mut tree = self.tree_mut();
        let old = self.find(&tree, path, Follow::No)?;
        let spot = self.find(&tree, new, Follow::No)?;
        let number = tree.number(&old)?.ok_or(ErrorKind::NotFound)?;
        if tree.number(&spot)?.is_some() {
            return Err(ErrorKind::Exists);
        }
        if let Node::Directory(..) = tree.node(number)? {
            return Err(ErrorKind::Denied);
        }
        tree.put(&spot, number, now)?;
        tree.keep(number);
        Ok(())
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        wanted: &Attributes,
        follow: Follow,
    ) -> Result<(), ErrorKind> {
        let now = self.now();
        let mut tree = self.tree_mut();
        let number = self.look_up(&tree, path, follow)?;
        if let Some(size) = wanted.size {
            match tree.node(number)? {
                Node::File(file) => {
                    let mut state = file.state();
                    state.content.resize(size).map_err(|error| error.kind())?;
                    state.traits.changed(now);
                }
                Node::Directory(..) => return Err(ErrorKind::IsDirectory),
                Node::Link(..) => return Err(ErrorKind::Denied),
            }
        }
        tree.set_attributes(number, wanted, now)
    }
}

/// The rules of rename(2) for a target that exists.
fn may_replace(tree: &Tree, from: u64, to: u64, spot: &Spot) -> Result<(), ErrorKind> {
    if spot.above.contains(&to) {
        return Err(ErrorKind::NotEmpty);
    }
    let from_directory = matches!(tree.node(from)?, Node::Directory(..));
    match (from_directory, tree.node(to)?) {
        (true, Node::Directory(entries, _)) if entries.is_empty() => Ok(()),
        (true, Node::Directory(..)) => Err(ErrorKind::NotEmpty),
        (true, _) => Err(ErrorKind::NotDirectory),
        (false, Node::Directory(..)) => Err(ErrorKind::IsDirectory),
        (false, _) => Ok(()),
    }
}

impl FileSystem for MemoryFs {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let tree = self.shared.tree();
        self.shared
            .look_up(&tree, path, follow)
            .and_then(|number| tree.metadata(number))
            .map_err(|kind| Error::new(kind, "looking at a path"))
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let opened = self.shared.open(path, options);
        let (node, created) = opened.map_err(|kind| Error::new(kind, "opening a file"))?;
        Ok(Box::new(MemoryFile {
            node,
            created,
            options: *options,
            shared: self.shared.clone(),
        }))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let tree = self.shared.tree();
        let number = self
            .shared
            .look_up(&tree, path, Follow::Yes)
            .and_then(|number| tree.entries(number).map(|_| number))
            .map_err(|kind| Error::new(kind, "opening a directory"))?;
        Ok(Box::new(MemoryDirectory {
            shared: self.shared.clone(),
            number,
            path: path.clone(),
            last: None,
        }))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        let traits = Traits::new(mode, self.shared.now());
        let node = Node::Directory(tree::Entries::new(), traits);
        self.shared
            .add(path, node)
            .map_err(|kind| Error::new(kind, "making a directory"))
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.shared
            .remove(path, FileKind::File)
            .map_err(|kind| Error::new(kind, "removing a file"))
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        if path.is_root() {
            return Err(Error::new(ErrorKind::Denied, "changing the root"));
        }
        self.shared
            .remove(path, FileKind::Directory)
            .map_err(|kind| Error::new(kind, "removing a directory"))
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        if from.is_root() || (to.is_root() && existing == Existing::Replace) {
            return Err(Error::new(ErrorKind::Denied, "changing the root"));
        }
        if to.is_root() {
            return Err(Error::new(ErrorKind::Exists, "renaming"));
        }
        self.shared
            .rename(from, to, existing)
            .map_err(|kind| Error::new(kind, "renaming"))
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        wanted: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        self.shared
            .set_attributes(path, wanted, follow)
            .map_err(|kind| Error::new(kind, "changing attributes"))
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        let doing = "reading a link";
        let tree = self.shared.tree();
        let node = self
            .shared
            .look_up(&tree, path, Follow::No)
            .and_then(|number| tree.node(number));
        match node.map_err(|kind| Error::new(kind, doing))? {
            Node::Link(target, _) => Ok(target.clone()),
            _ => Err(Error::new(ErrorKind::Invalid, doing)),
        }
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let doing = "making a link";
        match target {
            [] => return Err(Error::new(ErrorKind::NotFound, doing)),
            target if target.contains(&0) => return Err(Error::new(ErrorKind::Invalid, doing)),
            target if target.len() > TARGET_MAX => {
                return Err(Error::new(ErrorKind::NameInvalid, doing));
            }
            _ => {}
        }
        let traits = Traits::new(0o777, self.shared.now());
        self.shared
            .add(path, Node::Link(target.to_vec(), traits))
            .map_err(|kind| Error::new(kind, doing))
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        if path.is_root() {
            return Err(Error::new(ErrorKind::Denied, "changing the root"));
        }
        if new.is_root() {
            return Err(Error::new(ErrorKind::Exists, "making a hard link"));
        }
        self.shared
            .hard_link(path, new)
            .map_err(|kind| Error::new(kind, "making a hard link"))
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        self.metadata(path, Follow::Yes)?;
        let room = &self.shared.room;
        Ok(Space {
            block_size: 1,
            blocks: room.limit(),
            blocks_free: room.free(),
            blocks_available: room.free(),
            files: u64::from(u32::MAX),
            files_free: u64::from(u32::MAX),
            name_max: 255,
            read_only: false,
        })
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        let shared = &self.shared;
        Some(Arc::new(MemoryFs {
            shared: Arc::new(Inner {
                tree: Arc::clone(&shared.tree),
                room: Arc::clone(&shared.room),
                clock: Arc::clone(&shared.clock),
                links: Follow::No,
            }),
        }))
    }
}
