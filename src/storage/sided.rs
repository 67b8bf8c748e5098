//! [`Sided`]: another file system whose errors are those of storage.
//!
//! A back-end meets the same error numbers as a connection does: a FUSE daemon
//! that has died is `ENOTCONN`, an NFS server that is silent `ETIMEDOUT`, an
//! object store behind a socket `ECONNRESET`. Above, these kinds mean the
//! client's connection, and end a session. So they are told apart here, for
//! every back-end alike.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{
    Attributes, Directory, Entry, Existing, Extended, File, FileSystem, Follow, Metadata,
    OpenOptions, Resolved, Space, VirtualPath,
};
use crate::error::{Error, ErrorKind, Result};

/// A file system none of whose errors is taken for the client's.
pub(crate) struct Sided {
    files: Arc<dyn FileSystem>,
}

impl Sided {
    /// Takes the errors of `files` for what they are.
    pub(crate) fn new(files: Arc<dyn FileSystem>) -> Self {
        Sided { files }
    }
}

/// An error of storage, of a kind that says so.
fn sided(error: Error) -> Error {
    match error.kind() {
        // EAGAIN, ETIMEDOUT: another try may work.
        ErrorKind::Timeout | ErrorKind::TooMany => error.with_kind(ErrorKind::Busy),
        ErrorKind::Disconnected
        | ErrorKind::Aborted
        | ErrorKind::Protocol
        | ErrorKind::LoginRefused => error.with_kind(ErrorKind::Internal),
        _ => error,
    }
}

struct SidedFile(Box<dyn File>);

struct SidedDirectory(Box<dyn Directory>);

impl FileSystem for Sided {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.files.metadata(path, follow).map_err(sided)
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let file = self.files.open(path, options).map_err(sided)?;
        Ok(Box::new(SidedFile(file)))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let directory = self.files.read_dir(path).map_err(sided)?;
        Ok(Box::new(SidedDirectory(directory)))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.files.make_dir(path, mode).map_err(sided)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.files.remove_file(path).map_err(sided)
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.files.remove_dir(path).map_err(sided)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.files.rename(from, to, existing).map_err(sided)
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let outcome = self.files.set_attributes(path, attributes, follow);
        outcome.map_err(sided)
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        self.files.read_link(path).map_err(sided)
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        self.files.symlink(target, path).map_err(sided)
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        self.files.hard_link(path, new).map_err(sided)
    }

    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        self.files.resolve(path, follow).map_err(sided)
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(Sided::new(self.files.without_links()?)))
    }

    fn sync_dir(&self, path: &VirtualPath) -> Result<()> {
        self.files.sync_dir(path).map_err(sided)
    }

    fn extended(&self, path: &VirtualPath) -> Result<Extended> {
        self.files.extended(path).map_err(sided)
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        self.files.space(path).map_err(sided)
    }
}

impl File for SidedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset).map_err(sided)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.0.write_all_at(data, offset).map_err(sided)
    }

    fn metadata(&self) -> Result<Metadata> {
        self.0.metadata().map_err(sided)
    }

    fn metadata_at_open(&self) -> Result<Metadata> {
        self.0.metadata_at_open().map_err(sided)
    }

    fn is_new(&self) -> bool {
        self.0.is_new()
    }

    fn current_path(&self) -> Option<VirtualPath> {
        self.0.current_path()
    }

    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        self.0.set_attributes(attributes).map_err(sided)
    }

    fn take_over(&self, old: &Metadata, extended: &Extended) -> Result<()> {
        self.0.take_over(old, extended).map_err(sided)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync().map_err(sided)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.close().map_err(sided)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.descriptor()
    }
}

impl Directory for SidedDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        self.0.next(name).map_err(sided)
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.0.metadata(name, follow).map_err(sided)
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.0.read_link(name).map_err(sided)
    }
}
