//! Open files of a [`LocalFs`](super::LocalFs).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};

use super::super::{
    Attributes, Extended, File, Metadata, OpenOptions, VirtualPath, Write, take_over,
};
use super::attributes::{self, metadata};
use super::extended::{self, Group};
use super::jail::Jail;
use super::place::retry;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys;

/// What is open: all of a file that needs no name.
pub(in super::super) struct OpenFile {
    fd: OwnedFd,
    opened: Metadata,
    created: bool,
    options: OpenOptions,
}

impl OpenFile {
    pub(in super::super) fn new(
        fd: OwnedFd,
        (opened, created): (Metadata, bool),
        options: OpenOptions,
    ) -> Self {
        OpenFile {
            fd,
            opened,
            created,
            options,
        }
    }

    pub(in super::super) fn options(&self) -> &OpenOptions {
        &self.options
    }

    pub(in super::super) fn metadata_at_open(&self) -> Metadata {
        self.opened
    }

    pub(in super::super) fn is_new(&self) -> bool {
        self.created
    }

    pub(in super::super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.options.check_readable()?;
        retry(|| io::pread(&self.fd, &mut *buffer, offset))
            .map_err(offset_error)
            .doing("reading from a file")
    }

    pub(in super::super) fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.options.check_writable()?;
        let mut rest = data;
        let mut offset = offset;
        while !rest.is_empty() {
            let written = retry(|| match self.options.write {
                Write::Append => io::write(&self.fd, rest),
                _ => io::pwrite(&self.fd, rest, offset),
            })
            .map_err(offset_error)
            .doing("writing to a file")?;
            if written == 0 {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    "writing to a file: no byte taken",
                ));
            }
            offset = offset.saturating_add(written as u64);
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Changes the size, which a descriptor for writing is enough for.
    pub(in super::super) fn resize(&self, wanted: &Attributes) -> Result<()> {
        let Some(size) = wanted.size else {
            return Ok(());
        };
        self.options.check_writable()?;
        retry(|| fs::ftruncate(&self.fd, size))
            .map_err(attributes::size_error)
            .doing("changing the size of an open file")
    }

    pub(in super::super) fn metadata(&self) -> Result<Metadata> {
        let stat = retry(|| fs::fstat(&self.fd)).doing("looking at an open file")?;
        Ok(metadata(&stat))
    }

    pub(in super::super) fn close(self) -> Result<()> {
        sys::close(self.fd).doing("closing a file")
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An open regular file.
pub(super) struct LocalFile {
    open: OpenFile,
    /// For [`File::sync`], which is the only one to look at the directory.
    jail: Arc<Jail>,
    path: VirtualPath,
}

impl LocalFile {
    pub(super) fn new(open: OpenFile, jail: Arc<Jail>, path: VirtualPath) -> Self {
        LocalFile { open, jail, path }
    }

    /// Makes the names in the directory of the file survive a power cut.
    fn sync_directory(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = self.jail.home_of(&self.path)?;
        match fs::openat(&place.directory, ".", flags, Mode::empty()) {
            Ok(directory) => match retry(|| fs::fsync(&directory)) {
                // File systems that can't sync a directory have nothing to sync.
                Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
                result => result,
            },
            // A drop box: one may write there, not read. Sync everything then.
            Err(Errno::ACCESS) => fs::syncfs(&self.open.fd),
            Err(error) => Err(error),
        }
    }
}

impl File for LocalFile {
    pass_on! { self.open:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        write_all_at(data: &[u8], offset: u64) -> Result<()>;
        metadata() -> Result<Metadata>;
    }

    fn metadata_at_open(&self) -> Result<Metadata> {
        Ok(self.open.opened)
    }

    fn is_new(&self) -> bool {
        self.open.created
    }

    fn current_path(&self) -> Option<VirtualPath> {
        attributes::path_of(self.jail.root().as_fd(), self.open.fd.as_fd())
    }

    fn set_attributes(&self, wanted: &Attributes) -> Result<()> {
        self.open.resize(wanted)?;
        attributes::apply_open(self.open.fd.as_fd(), wanted)
            .doing("changing attributes of an open file")
    }

    fn take_over(&self, old: &Metadata, extended: &Extended) -> Result<()> {
        take_over::keep_owner(self, old)?;
        let group = if self.metadata()?.gid == old.gid {
            Group::Kept
        } else {
            Group::Another
        };
        extended::write(self.open.fd.as_fd(), extended, group)
            .doing("keeping the access control list and attributes of a file")?;
        match extended.list {
            Some(_) => Ok(()),
            None => take_over::take_over(self, old),
        }
    }

    fn sync(&self) -> Result<()> {
        retry(|| fs::fsync(&self.open.fd)).doing("writing a file to the disk")?;
        retry(|| self.sync_directory()).doing("writing a directory to the disk")
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.open.close()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.open.fd.as_fd())
    }
}

/// pread and pwrite know offsets up to 2^63 - 1; regular files give EINVAL
/// for nothing else.
fn offset_error(errno: Errno) -> Error {
    match errno {
        Errno::INVAL => Error::with_source(ErrorKind::BadOffset, "", std::io::Error::from(errno)),
        errno => errno.into(),
    }
}
