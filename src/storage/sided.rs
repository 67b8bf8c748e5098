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

struct SidedFile {
    file: Box<dyn File>,
}

struct SidedDirectory(Box<dyn Directory>);

impl FileSystem for Sided {
    pass_on! { self.files, sided:
        metadata(path: &VirtualPath, follow: Follow) -> Result<Metadata>;
        make_dir(path: &VirtualPath, mode: u32) -> Result<()>;
        remove_file(path: &VirtualPath) -> Result<()>;
        remove_dir(path: &VirtualPath) -> Result<()>;
        rename(from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()>;
        set_attributes(path: &VirtualPath, attributes: &Attributes, follow: Follow) -> Result<()>;
        read_link(path: &VirtualPath) -> Result<Vec<u8>>;
        symlink(target: &[u8], path: &VirtualPath) -> Result<()>;
        hard_link(path: &VirtualPath, new: &VirtualPath) -> Result<()>;
        resolve(path: &VirtualPath, follow: Follow) -> Result<Resolved>;
        sync_dir(path: &VirtualPath) -> Result<()>;
        extended(path: &VirtualPath) -> Result<Extended>;
        space(path: &VirtualPath) -> Result<Space>;
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let file = self.files.open(path, options).map_err(sided)?;
        Ok(Box::new(SidedFile { file }))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let directory = self.files.read_dir(path).map_err(sided)?;
        Ok(Box::new(SidedDirectory(directory)))
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(Sided::new(self.files.without_links()?)))
    }
}

impl File for SidedFile {
    pass_on! { self.file, sided:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        write_all_at(data: &[u8], offset: u64) -> Result<()>;
        metadata() -> Result<Metadata>;
        metadata_at_open() -> Result<Metadata>;
        set_attributes(attributes: &Attributes) -> Result<()>;
        take_over(old: &Metadata, extended: &Extended) -> Result<()>;
        sync() -> Result<()>;
    }

    pass_on! { self.file:
        is_new() -> bool;
        current_path() -> Option<VirtualPath>;
        descriptor() -> Option<BorrowedFd<'_>>;
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.file.close().map_err(sided)
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
