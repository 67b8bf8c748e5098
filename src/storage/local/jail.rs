//! The jail: a directory descriptor, and how paths below it are resolved.
//!
//! Nothing here ever hands a path of more than one component to a call that
//! would follow links by the rules of the host: it is either `openat2` with
//! `RESOLVE_IN_ROOT`, or the component walk. Absolute links and `..` mean the
//! jail's root, as they would after chroot(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

use super::super::{Create, Follow, VirtualPath};
use super::place::{Base, NameAt, file_type, retry};
use super::walk::{Trace, Walk};

/// How paths below the root of a [`LocalFs`](super::LocalFs) are resolved.
///
/// [`LocalFs::open`](super::LocalFs::open) finds out which one the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2` with `RESOLVE_IN_ROOT`: one call a path, Linux 5.6 and later.
    OpenAt2,
    /// One `openat` a component, on every kernel.
    Walk,
}

/// As in the kernel, with the NUL at the end.
const PATH_MAX: usize = 4096;
/// Attempts of `openat2` before the walk takes over. The kernel says EAGAIN
/// when any rename or mount on the machine raced with a `..`.
const AGAIN_MAX: usize = 16;

/// A directory that nothing leads out of.
pub(super) struct Jail {
    root: Arc<OwnedFd>,
    resolver: Resolver,
    /// Whether links are followed at all.
    links: Follow,
}

impl Jail {
    /// Opens the root, by the rules of the host: it is the administrator's path.
    pub(super) fn open(root: &Path, resolver: Option<Resolver>) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry(|| fs::open(root, flags, Mode::empty()))?;
        Ok(Self::at(root, resolver))
    }

    /// A jail whose root is open already.
    pub(super) fn at(root: OwnedFd, resolver: Option<Resolver>) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // ENOSYS before Linux 5.6; EPERM, EACCES or EINVAL from sandboxes
        // that don't know the call. The root is open, so nothing else fails.
        let resolver = resolver.unwrap_or_else(|| {
            match openat2(&root, b".", flags, Mode::empty(), Follow::Yes) {
                Ok(_) => Resolver::OpenAt2,
                Err(_) => Resolver::Walk,
            }
        });
        Jail {
            root: Arc::new(root),
            resolver,
            links: Follow::Yes,
        }
    }

    pub(super) fn root_descriptor(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The same jail, in which no path leads through a link.
    pub(super) fn without_links(&self) -> Self {
        Jail {
            root: Arc::clone(&self.root),
            resolver: self.resolver,
            links: Follow::No,
        }
    }

    fn walk(&self, path: &[u8]) -> Walk<'_> {
        Walk::new(self.root.as_fd(), path, self.links)
    }

    /// Where a path leads.
    pub(super) fn trace(&self, path: &VirtualPath, follow: Follow) -> Result<Trace> {
        self.walk(relative(path)).trace(follow)
    }

    pub(super) fn resolver(&self) -> Resolver {
        self.resolver
    }

    /// Opens `path` (relative to the root, `.` for the root), following links
    /// inside the jail. `flags` must not have `CREATE` without `EXCL`.
    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        // The kernel takes paths up to PATH_MAX; the walk takes any.
        if self.resolver == Resolver::OpenAt2 && path.len() < PATH_MAX {
            for _ in 0..AGAIN_MAX {
                match openat2(&self.root, path, flags, mode, self.links) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    result => return result,
                }
            }
        }
        self.walk(path).open(flags, mode)
    }

    /// Opens an existing path.
    pub(super) fn open_at(&self, path: &VirtualPath, flags: OFlags) -> Result<OwnedFd> {
        self.resolve(relative(path), flags, Mode::empty())
    }

    /// Opens a file and says whether this call made it.
    pub(super) fn open_file(
        &self,
        path: &VirtualPath,
        flags: OFlags,
        create: Create,
        mode: Mode,
    ) -> Result<(OwnedFd, bool)> {
        let path = relative(path);
        let existing = |fd| (fd, false);
        let new = flags | OFlags::CREATE | OFlags::EXCL;
        match create {
            Create::Never => self.resolve(path, flags, Mode::empty()).map(existing),
            Create::New => self.resolve(path, new, mode).map(|fd| (fd, true)),
            Create::IfMissing if self.resolver == Resolver::OpenAt2 => {
                // New first: most uploads are new files, and only O_EXCL
                // tells for certain who made the file.
                match self.resolve(path, new, mode) {
                    Err(Errno::EXIST) => {}
                    result => return result.map(|fd| (fd, true)),
                }
                match self.resolve(path, flags, Mode::empty()) {
                    // A dangling link, or removed just now.
                    Err(Errno::NOENT) => self.create_by_walk(path, flags, mode),
                    result => result.map(existing),
                }
            }
            Create::IfMissing => self.create_by_walk(path, flags, mode),
        }
    }

    fn create_by_walk(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<(OwnedFd, bool)> {
        self.walk(path).create(flags | OFlags::CLOEXEC, mode)
    }

    /// The directory that holds `path`, open, and the last component, whose
    /// links are not followed. The root is `.` in itself.
    pub(super) fn place<'a>(&'a self, path: &'a VirtualPath) -> Result<NameAt<'a>> {
        let name = path.name();
        if name.is_empty() {
            return Ok(NameAt::new(self.root(), b"."));
        }
        let parent = parent(path);
        if parent.is_empty() {
            return Ok(NameAt::new(self.root(), name));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = self.resolve(parent, flags, Mode::empty())?;
        Ok(NameAt::new(Base::Owned(directory), name))
    }

    /// The place of `path`, given that of `other`. In one directory it is
    /// opened once: an atomic upload renames within its own.
    pub(super) fn place_beside<'a>(
        &'a self,
        path: &'a VirtualPath,
        other: &'a VirtualPath,
        place: &'a NameAt<'_>,
    ) -> Result<NameAt<'a>> {
        if path.is_root() || parent(path) != parent(other) {
            return self.place(path);
        }
        let directory = Base::Borrowed(place.directory.as_fd());
        Ok(NameAt::new(directory, path.name()))
    }

    /// The place of `path`, with a link in its last component followed if `follow`
    /// says so.
    pub(super) fn place_of<'a>(
        &'a self,
        path: &'a VirtualPath,
        follow: Follow,
    ) -> Result<NameAt<'a>> {
        let place = self.place(path)?;
        if self.follows(follow) && file_type(&place.stat()?) == FileType::Symlink {
            return self.locate(path).map(|(place, _)| place);
        }
        Ok(place)
    }

    /// The place of a file that was opened as `path`, which may have another
    /// name by now; the directory is the one meant if that was not moved.
    pub(super) fn home_of<'a>(&'a self, path: &'a VirtualPath) -> Result<NameAt<'a>> {
        match self.place_of(path, Follow::Yes) {
            Err(Errno::NOENT) => self.place(path),
            result => result,
        }
    }

    fn locate<'a>(&'a self, path: &'a VirtualPath) -> Result<(NameAt<'a>, Option<Stat>)> {
        self.walk(relative(path)).locate()
    }

    /// What is there.
    pub(super) fn stat(&self, path: &VirtualPath, follow: Follow) -> Result<Stat> {
        // Below a directory a call of the kernel's resolver is as good as
        // opening the parent first; in the root one fstatat is all it takes.
        let follows = self.follows(follow);
        let direct = follows && self.resolver == Resolver::OpenAt2;
        if !direct || parent(path).is_empty() {
            let stat = self.place(path)?.stat()?;
            if !follows || file_type(&stat) != FileType::Symlink {
                return Ok(stat);
            }
        }
        match self.resolver {
            Resolver::OpenAt2 => fs::fstat(self.open_at(path, OFlags::PATH)?),
            Resolver::Walk => self.locate(path)?.1.ok_or(Errno::NOENT),
        }
    }

    fn follows(&self, follow: Follow) -> bool {
        self.links == Follow::Yes && follow == Follow::Yes
    }

    pub(super) fn root(&self) -> Base<'_> {
        Base::Borrowed(self.root.as_fd())
    }
}

fn openat2(
    root: &OwnedFd,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    links: Follow,
) -> Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::NO_SYMLINKS, links == Follow::No);
    fs::openat2(root, path, flags, mode, resolve)
}

/// The path as seen from the root's descriptor.
fn relative(path: &VirtualPath) -> &[u8] {
    match path.as_bytes().get(1..) {
        None | Some([]) => b".",
        Some(relative) => relative,
    }
}

/// The parent as seen from the root's descriptor; empty for the root.
fn parent(path: &VirtualPath) -> &[u8] {
    let path = path.as_bytes();
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(1..slash).unwrap_or_default()
}
