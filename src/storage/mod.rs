//! File systems that a session works on.
//!
//! [`FileSystem`] is the one door to files: [`LocalFs`] is a jail on the
//! operating system's files, [`MemoryFs`] lives in memory, and an embedding
//! program may bring its own. [`Mounts`] puts several together, [`ReadOnly`]
//! takes the changes away. Every path that reaches a file system is a
//! [`VirtualPath`]: absolute, normal, bytes. Rights, logging and counting are
//! not here but in `session::Files`; listing formats are not here either.

#[macro_use]
mod pass_on;

mod clock;
mod copy;
pub(crate) mod local;
mod memory;
pub(crate) mod metered;
mod mount;
pub(crate) mod oldest;
mod path;
pub(crate) mod pattern;
mod read_only;
pub(crate) mod remote;
mod resolve;
mod sided;
mod take_over;
mod trail;
mod tree;
pub(crate) mod usage;
mod used;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use clock::note as note_clock;
pub(crate) use copy::{Extent, copy_in_kernel, extent};
pub use local::LocalFs;
pub use memory::MemoryFs;
pub(crate) use metered::Metered;
pub use mount::Mounts;
pub(crate) use oldest::{Retire, Retired};
pub use path::VirtualPath;
pub use read_only::ReadOnly;
#[doc(hidden)]
pub use resolve::Resolved;
pub(crate) use sided::Sided;
#[doc(hidden)]
pub use take_over::Extended;
pub(crate) use tree::{Seen, Visitor, walk};
pub(crate) use usage::Usage;

/// A user's file system.
///
/// Implementations are shared between threads and keep no notion of a
/// session. Every method takes paths that are already normal; an
/// implementation must make sure by itself that nothing outside its root is
/// reached, also while somebody else changes links in it. The provided
/// methods answer [`ErrorKind::Unsupported`], so a back-end brings only what
/// it can do.
pub trait FileSystem: Send + Sync {
    /// What is known about a path; `follow` says what a link in the last
    /// component means.
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata>;

    /// Opens a regular file. Anything else (directory, FIFO, device) is an
    /// error and never blocks.
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>>;

    /// Opens a directory for listing.
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>>;

    /// Makes one directory.
    fn make_dir(&self, _path: &VirtualPath, _mode: u32) -> Result<()> {
        unsupported()
    }

    /// Removes a file or a link (never what the link points to).
    fn remove_file(&self, _path: &VirtualPath) -> Result<()> {
        unsupported()
    }

    /// Removes an empty directory.
    fn remove_dir(&self, _path: &VirtualPath) -> Result<()> {
        unsupported()
    }

    /// Renames a file, link or directory in one step.
    fn rename(&self, _from: &VirtualPath, _to: &VirtualPath, _existing: Existing) -> Result<()> {
        unsupported()
    }

    /// Changes mode, times, owner or size; fields that are `None` stay.
    fn set_attributes(
        &self,
        _path: &VirtualPath,
        _attributes: &Attributes,
        _follow: Follow,
    ) -> Result<()> {
        unsupported()
    }

    /// The text of a symbolic link.
    fn read_link(&self, _path: &VirtualPath) -> Result<Vec<u8>> {
        unsupported()
    }

    /// Makes a symbolic link at `path` that says `target`.
    fn symlink(&self, _target: &[u8], _path: &VirtualPath) -> Result<()> {
        unsupported()
    }

    /// Makes `new` another name of the file `path`.
    fn hard_link(&self, _path: &VirtualPath, _new: &VirtualPath) -> Result<()> {
        unsupported()
    }

    /// Makes the names in a directory survive a power cut.
    fn sync_dir(&self, _path: &VirtualPath) -> Result<()> {
        Ok(())
    }

    /// What a file has besides its metadata, for one that will take its place.
    /// A link in the last component is not followed.
    #[doc(hidden)]
    fn extended(&self, _path: &VirtualPath) -> Result<Extended> {
        Ok(Extended::default())
    }

    /// Room on the device that holds `path`.
    fn space(&self, _path: &VirtualPath) -> Result<Space> {
        unsupported()
    }

    /// Where `path` leads: rights are judged there. A link in the last
    /// component is followed if `follow` says so, also one that leads to
    /// nothing. What can't be reached stays as it is named and is no error.
    #[doc(hidden)]
    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        resolve::by_looking(self, path, follow)
    }

    /// The same files through paths that have no links: one on the way is an
    /// error, one at the end is meant itself. What was judged at a resolved path
    /// then happens there and nowhere else, whatever others do meanwhile. A
    /// back-end without this is used as it is, and somebody who
    /// swaps a directory for a link at the right moment is not noticed.
    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        None
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "the file system can't do this",
    ))
}

/// An open regular file. Offsets are explicit, so that one handle serves
/// pipelined requests; dropping it closes it without a word, [`File::close`]
/// reports what the last write-back said.
pub trait File: Send {
    /// Reads into `buffer` from `offset`; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `data` at `offset`. A file opened with
    /// [`Write::Append`] ignores the offset and writes at the end.
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()>;

    /// What is known about the open file.
    fn metadata(&self) -> Result<Metadata>;

    /// What was known when the file was opened. Back-ends that looked then
    /// answer without another look, which saves a download a system call.
    fn metadata_at_open(&self) -> Result<Metadata> {
        self.metadata()
    }

    /// Whether opening it has made it. Back-ends that can't tell say no.
    fn is_new(&self) -> bool {
        false
    }

    /// The path by which the file is found now, whoever has renamed it or a
    /// directory above it, where the back-end can tell. To be looked at, for
    /// it may be another file's already.
    fn current_path(&self) -> Option<VirtualPath> {
        None
    }

    /// Changes mode, times, owner or size of the open file.
    fn set_attributes(&self, attributes: &Attributes) -> Result<()>;

    /// Makes this new file as accessible as `old`, whose place it will take,
    /// and never more. An error refuses the upload.
    #[doc(hidden)]
    fn take_over(&self, old: &Metadata, _extended: &Extended) -> Result<()> {
        take_over::take_over(self, old)
    }

    /// Makes the data, and the names in the directory that the file was
    /// opened in, survive a power cut. An upload that is renamed to its final
    /// name in the same directory calls this before (data) and after (name).
    fn sync(&self) -> Result<()>;

    /// Closes the file and reports a late write error.
    fn close(self: Box<Self>) -> Result<()>;

    /// The descriptor, where there is one: lets a transfer use `sendfile`.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// An open directory. Entries come in the order of the back-end, without
/// `.` and `..`, and nothing is collected: a listing of any length takes
/// constant memory.
pub trait Directory: Send {
    /// Puts the next name into `name` (which is cleared first); `None` at the
    /// end.
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>>;

    /// What is known about an entry of this directory.
    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata>;

    /// The text of a link in this directory.
    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>>;
}

/// What [`Directory::next`] knows of an entry besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What it is, if that is known without another look.
    pub kind: Option<FileKind>,
}

impl<T: Into<Option<FileKind>>> From<T> for Entry {
    fn from(kind: T) -> Self {
        Entry { kind: kind.into() }
    }
}

/// What a symbolic link in the last component of a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The link stands for what it points to.
    Yes,
    /// The link itself is meant.
    No,
}

/// What a rename does to an existing target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced in one step, as POSIX does.
    Replace,
    /// It stays, and the rename fails with [`ErrorKind::Exists`].
    Keep,
}

/// How [`FileSystem::open`] opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Whether the file will be read.
    pub read: bool,
    /// Whether and how it will be written.
    pub write: Write,
    /// What happens when the file exists, or does not.
    pub create: Create,
    /// Permission bits of a new file, exactly (no umask on top).
    pub mode: u32,
}

impl OpenOptions {
    /// Opens an existing file for reading.
    pub fn read() -> Self {
        OpenOptions {
            read: true,
            write: Write::No,
            create: Create::Never,
            mode: 0,
        }
    }

    /// Opens for writing as `write` and `create` say, with `mode` for a new file.
    pub fn write(write: Write, create: Create, mode: u32) -> Self {
        OpenOptions {
            read: false,
            write,
            create,
            mode,
        }
    }
}

impl OpenOptions {
    /// A file opened for writing alone is not read.
    fn check_readable(&self) -> Result<()> {
        if self.read {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Denied,
                "reading from a file opened for writing",
            ))
        }
    }

    /// A file opened for reading takes no writes.
    fn check_writable(&self) -> Result<()> {
        match self.write {
            Write::No => Err(Error::new(
                ErrorKind::Denied,
                "writing to a file opened for reading",
            )),
            Write::At | Write::Truncate | Write::Append => Ok(()),
        }
    }
}

/// How a file will be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Not at all.
    No,
    /// At the offsets given.
    At,
    /// At the offsets given, after the old contents are thrown away.
    Truncate,
    /// Always at the end.
    Append,
}

/// What opening does about existence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// The file must exist.
    Never,
    /// It is made if it does not exist.
    IfMissing,
    /// It must not exist and is made, in one step.
    New,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket: shown, never opened.
    Other,
}

/// What is known about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Number of names.
    pub links: u64,
    /// Time of the last change of the contents.
    pub modified: SystemTime,
    /// Time of the last change of contents, name or attributes, which nobody
    /// can set; [`SystemTime::UNIX_EPOCH`] where it is unknown.
    pub changed: SystemTime,
    /// Time of the last access.
    pub accessed: SystemTime,
    /// Device and inode, or whatever tells two files apart; zeros are unknown.
    pub id: (u64, u64),
}

impl Metadata {
    /// Metadata of `kind` with a size, for back-ends that know little more:
    /// mode 0644 or 0755, owner 0, one name, times of 1970.
    pub fn new(kind: FileKind, size: u64) -> Self {
        Metadata {
            kind,
            size,
            mode: if kind == FileKind::Directory {
                0o755
            } else {
                0o644
            },
            uid: 0,
            gid: 0,
            links: 1,
            modified: SystemTime::UNIX_EPOCH,
            changed: SystemTime::UNIX_EPOCH,
            accessed: SystemTime::UNIX_EPOCH,
            id: (0, 0),
        }
    }

    /// Whether both are of one file, whatever names they were found by. A
    /// back-end that knows no numbers (`id` is zero) can't say so.
    pub fn is_same_file(&self, other: &Metadata) -> bool {
        self.id == other.id && self.id != (0, 0)
    }

    /// Since when the file is here as it is: clients set the time of the last
    /// change of the contents to that of their own file.
    pub(crate) fn arrived(&self) -> SystemTime {
        self.modified.max(self.changed)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Permission bits (`0o7777` at most).
    pub mode: Option<u32>,
    /// Last change of the contents.
    pub modified: Option<SystemTime>,
    /// Last access.
    pub accessed: Option<SystemTime>,
    /// Owner and group, each on its own.
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
    /// Size in bytes: cut, or filled with zeros.
    pub size: Option<u64>,
}

/// Room on a device, in bytes and files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// Size of a block that the other numbers of blocks count.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Blocks free for users without privileges.
    pub blocks_available: u64,
    /// Files (inodes) in all.
    pub files: u64,
    /// Free files.
    pub files_free: u64,
    /// Longest name.
    pub name_max: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

impl Space {
    /// Bytes that a user without privileges can still write.
    pub fn available(&self) -> u64 {
        match self.blocks {
            // A file system that does not know (FUSE, /proc) is not full.
            0 => u64::MAX,
            _ => self.blocks_available.saturating_mul(self.block_size),
        }
    }
}
