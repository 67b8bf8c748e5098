//! [`LocalFs`]: a directory of the operating system as a jail.
//!
//! Every path goes through the jail in `jail.rs`; everything that changes a
//! name opens the parent directory there and acts on the last component with
//! an `*at` call that does not follow links. So links may lead anywhere
//! inside and never outside, also while somebody else swaps them, and no
//! privilege is needed.

mod attributes;
mod directory;
mod extended;
mod file;
mod jail;
mod place;
mod walk;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::{
    Attributes, Create, Directory, Existing, Extended, File, FileSystem, Follow, Metadata,
    OpenOptions, Resolved, Space, VirtualPath, Write,
};
use crate::error::{Doing, Error, ErrorKind, Result};
use attributes::{OFLAGS_SAFE, metadata};
use jail::Jail;
use place::{Base, NameAt, file_type, link_text, retry};

pub(super) use file::OpenFile;
pub use jail::Resolver;

/// A directory of the operating system, with everything outside out of reach.
///
/// Cloning is cheap and shares the open root. The root is looked up once: a
/// directory that is renamed later is still the same jail.
///
/// ```no_run
/// use wharf::storage::{FileSystem, Follow, LocalFs, VirtualPath};
/// let files = LocalFs::open("/srv/ftp")?;
/// let readme = VirtualPath::root().join(b"README")?;
/// println!("{} bytes", files.metadata(&readme, Follow::Yes)?.size);
/// # Ok::<(), wharf::Error>(())
/// ```
#[derive(Clone)]
pub struct LocalFs {
    jail: Arc<Jail>,
}

impl LocalFs {
    /// Opens `root`, links in it followed by the rules of the host, and finds
    /// out which resolver the kernel has.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotDirectory`] or
    /// [`ErrorKind::Denied`] when there is no such directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        Self::with(root, None)
    }

    /// Opens `root` with a given resolver, for tests and measurements.
    ///
    /// # Errors
    /// As [`LocalFs::open`].
    pub fn with_resolver(root: impl AsRef<Path>, resolver: Resolver) -> Result<Self> {
        let root = root.as_ref();
        Self::with(root, Some(resolver))
    }

    /// A directory that is open already, with O_PATH or for reading.
    pub(crate) fn from_descriptor(root: OwnedFd) -> Self {
        LocalFs {
            jail: Arc::new(Jail::at(root, None)),
        }
    }

    /// The root's descriptor.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.jail.root_descriptor()
    }

    /// The same files, in which no path leads through a link.
    pub(super) fn strict(&self) -> Self {
        LocalFs {
            jail: Arc::new(self.jail.without_links()),
        }
    }

    /// A file that was opened here as `path`, whoever has its descriptor now.
    pub(super) fn adopt(
        &self,
        fd: OwnedFd,
        path: &VirtualPath,
        options: &OpenOptions,
    ) -> Result<Box<dyn File>> {
        let stat = retry(|| fs::fstat(&fd)).doing("looking at an open file")?;
        let open = OpenFile::new(fd, (metadata(&stat), false), *options);
        let (jail, path) = (self.jail.clone(), path.clone());
        Ok(Box::new(file::LocalFile::new(open, jail, path)))
    }

    /// How paths are resolved.
    pub fn resolver(&self) -> Resolver {
        self.jail.resolver()
    }

    fn with(root: &Path, resolver: Option<Resolver>) -> Result<Self> {
        let jail = Jail::open(root, resolver).doing("opening a root directory")?;
        Ok(LocalFs {
            jail: Arc::new(jail),
        })
    }
}

impl fmt::Debug for LocalFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFs")
            .field("resolver", &self.resolver())
            .finish_non_exhaustive()
    }
}

impl FileSystem for LocalFs {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let stat = retry(|| self.jail.stat(path, follow)).doing("looking at a path")?;
        Ok(metadata(&stat))
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let doing = "opening a file";
        if path.is_root() {
            return Err(match options.create {
                Create::New => Error::new(ErrorKind::Exists, doing),
                _ => Error::new(ErrorKind::IsDirectory, doing),
            });
        }
        let flags = open_flags(options)?;
        let mode = attributes::mode(options.mode);
        let (fd, created) = retry(|| self.jail.open_file(path, flags, options.create, mode))
            .map_err(open_error)
            .doing(doing)?;
        let stat = retry(|| fs::fstat(&fd)).doing(doing)?;
        match file_type(&stat) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Error::new(ErrorKind::IsDirectory, doing)),
            _ => return Err(not_regular()),
        }
        let mut opened = metadata(&stat);
        let wanted = options.mode & 0o7777;
        if created && opened.mode != wanted {
            // The umask took bits away, or an access control list, which has
            // the last word. A file system without modes (FAT) refuses; the
            // upload goes on with what it has.
            let place = self.jail.home_of(path);
            let by_list = place.is_ok_and(|place| extended::has_list(&place));
            if !by_list && fs::fchmod(&fd, mode).is_ok() {
                opened.mode = wanted;
            }
        }
        let (jail, path) = (self.jail.clone(), path.clone());
        let open = OpenFile::new(fd, (opened, created), *options);
        Ok(Box::new(file::LocalFile::new(open, jail, path)))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFLAGS_SAFE;
        let fd = retry(|| self.jail.open_at(path, flags)).doing("opening a directory")?;
        let (jail, path) = (self.jail.clone(), path.clone());
        Ok(Box::new(directory::LocalDirectory::new(fd, jail, path)))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        let doing = "making a directory";
        if path.is_root() {
            return Err(Error::new(ErrorKind::Exists, doing));
        }
        retry(|| {
            let place = self.jail.place(path)?;
            fs::mkdirat(
                &place.directory,
                place.name.as_ref(),
                attributes::mode(mode),
            )?;
            // As for files: the umask has no say, an access control list has. A
            // setgid bit that came from the parent stays. What fails here leaves the directory usable.
            if let Ok(stat) = place.stat() {
                let wanted = (mode & 0o7777) | (metadata(&stat).mode & 0o2000);
                let is_directory = file_type(&stat) == FileType::Directory;
                let differs = metadata(&stat).mode != wanted;
                if is_directory && differs && !extended::has_list(&place) {
                    let _ = attributes::change_mode(&place, attributes::mode(wanted));
                }
            }
            Ok(())
        })
        .doing(doing)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        let doing = "removing a file";
        if path.is_root() {
            return Err(Error::new(ErrorKind::IsDirectory, doing));
        }
        retry(|| {
            let place = self.jail.place(path)?;
            fs::unlinkat(&place.directory, place.name.as_ref(), AtFlags::empty())
        })
        .doing(doing)
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        not_the_root(path)?;
        retry(|| {
            let place = self.jail.place(path)?;
            fs::unlinkat(&place.directory, place.name.as_ref(), AtFlags::REMOVEDIR)
        })
        .doing("removing a directory")
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        not_the_root(from)?;
        if to.is_root() && existing == Existing::Keep {
            return Err(Error::new(ErrorKind::Exists, "renaming"));
        }
        not_the_root(to)?;
        retry(|| {
            let source = self.jail.place(from)?;
            let target = self.jail.place_beside(to, from, &source)?;
            match existing {
                Existing::Replace => rename(&source, &target),
                Existing::Keep => rename_keeping(&source, &target),
            }
        })
        .doing("renaming")
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        wanted: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let doing = "changing attributes";
        if let Some(size) = wanted.size {
            retry(|| attributes::resize(&self.jail.place_of(path, follow)?, size))
                .map_err(|errno| match errno {
                    Errno::INVAL => attributes::size_error(errno),
                    errno => open_error(errno),
                })
                .doing(doing)?;
        }
        retry(|| attributes::apply(&self.jail.place_of(path, follow)?, wanted)).doing(doing)
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        retry(|| {
            let place = self.jail.place(path)?;
            match place.name.as_ref() {
                b"." => Err(Errno::INVAL),
                name => link_text(place.directory.as_fd(), name),
            }
        })
        .doing("reading a link")
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let doing = "making a link";
        if path.is_root() {
            return Err(Error::new(ErrorKind::Exists, doing));
        }
        retry(|| {
            let place = self.jail.place(path)?;
            fs::symlinkat(target, &place.directory, place.name.as_ref())
        })
        .doing(doing)
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        not_the_root(path)?;
        if new.is_root() {
            return Err(Error::new(ErrorKind::Exists, "making a hard link"));
        }
        retry(|| {
            let old = self.jail.place(path)?;
            let new = self.jail.place(new)?;
            link(&old, &new)
        })
        .doing("making a hard link")
    }

    fn sync_dir(&self, path: &VirtualPath) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFLAGS_SAFE;
        retry(|| match self.jail.open_at(path, flags) {
            Ok(directory) => match fs::fsync(&directory) {
                // File systems that can't sync a directory have nothing to sync.
                Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
                outcome => outcome,
            },
            // One may write there, not read. Everything then.
            Err(Errno::ACCESS) => {
                fs::sync();
                Ok(())
            }
            Err(error) => Err(error),
        })
        .doing("writing a directory to the disk")
    }

    fn extended(&self, path: &VirtualPath) -> Result<Extended> {
        retry(|| {
            let place = self.jail.place(path)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let name = place.name.as_ref();
            extended::read(fs::openat(&place.directory, name, flags, Mode::empty())?.as_fd())
        })
        .doing("reading extended attributes")
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let space = retry(|| fs::fstatvfs(self.jail.open_at(path, OFlags::PATH)?))
            .doing("asking for room on a device")?;
        Ok(Space {
            block_size: if space.f_frsize == 0 {
                space.f_bsize
            } else {
                space.f_frsize
            },
            blocks: space.f_blocks,
            blocks_free: space.f_bfree,
            blocks_available: space.f_bavail,
            files: space.f_files,
            files_free: space.f_ffree,
            name_max: space.f_namemax,
            read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        let trace = retry(|| self.jail.trace(path, follow)).doing("following links")?;
        let path = |text: &Vec<u8>| VirtualPath::root().join_deep(text);
        Ok(Resolved {
            path: path(&trace.path)?,
            ids: trace.ids,
            links: trace.links.iter().map(path).collect::<Result<_>>()?,
        })
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(self.strict()))
    }
}

/// SECURITY: the last line of defence for "everything below `/`": the root
/// itself is never renamed, removed or linked.
fn not_the_root(path: &VirtualPath) -> Result<()> {
    if path.is_root() {
        return Err(Error::new(ErrorKind::Denied, "changing the root"));
    }
    Ok(())
}

fn open_flags(options: &OpenOptions) -> Result<OFlags> {
    let access = match (options.read, options.write) {
        (true, Write::No) => OFlags::RDONLY,
        (false, Write::No) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                "opening a file neither for reading nor for writing",
            ));
        }
        (true, _) => OFlags::RDWR,
        (false, _) => OFlags::WRONLY,
    };
    let write = match options.write {
        Write::No | Write::At => OFlags::empty(),
        Write::Truncate => OFlags::TRUNC,
        Write::Append => OFlags::APPEND,
    };
    Ok(access | write | OFLAGS_SAFE)
}

fn open_error(errno: Errno) -> Error {
    match errno {
        // A FIFO without a reader, a socket, a device without a driver.
        Errno::NXIO | Errno::NODEV => not_regular(),
        // Another process holds a lease on the file (O_NONBLOCK).
        Errno::AGAIN => Error::with_source(ErrorKind::Busy, "", std::io::Error::from(errno)),
        errno => errno.into(),
    }
}

fn not_regular() -> Error {
    Error::new(
        ErrorKind::Denied,
        "opening something that is no regular file",
    )
}

fn rename(from: &NameAt<'_>, to: &NameAt<'_>) -> rustix::io::Result<()> {
    fs::renameat(
        &from.directory,
        from.name.as_ref(),
        &to.directory,
        to.name.as_ref(),
    )
}

/// Renames without replacing anything.
fn rename_keeping(from: &NameAt<'_>, to: &NameAt<'_>) -> rustix::io::Result<()> {
    match fs::renameat_with(
        &from.directory,
        from.name.as_ref(),
        &to.directory,
        to.name.as_ref(),
        RenameFlags::NOREPLACE,
    ) {
        // ENOSYS before Linux 3.15, EINVAL from file systems without the flag
        // (NFS) and for a directory into itself.
        Err(Errno::NOSYS | Errno::INVAL) => rename_keeping_old(from, to),
        result => result,
    }
}

/// Renames in two steps, of which the first one fails if the name is taken.
fn rename_keeping_old(from: &NameAt<'_>, to: &NameAt<'_>) -> rustix::io::Result<()> {
    if file_type(&from.stat()?) == FileType::Directory {
        // A directory may replace an empty one: ours.
        fs::mkdirat(&to.directory, to.name.as_ref(), attributes::mode(0o700))?;
        return rename(from, to).inspect_err(|_| {
            let _ = fs::unlinkat(&to.directory, to.name.as_ref(), AtFlags::REMOVEDIR);
        });
    }
    match link(from, to) {
        Ok(()) => fs::unlinkat(&from.directory, from.name.as_ref(), AtFlags::empty()),
        // No hard links here (FAT, or a kernel that protects them): a check
        // and a rename, with the gap between them that such systems have.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => match to.stat() {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rename(from, to),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Another name for what is at `old`, links not followed.
fn link(old: &NameAt<'_>, new: &NameAt<'_>) -> rustix::io::Result<()> {
    let (from, to): (&Base<'_>, &Base<'_>) = (&old.directory, &new.directory);
    fs::linkat(
        from,
        old.name.as_ref(),
        to,
        new.name.as_ref(),
        AtFlags::empty(),
    )
}

#[cfg(test)]
mod tests;
