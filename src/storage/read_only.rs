//! [`ReadOnly`]: another file system of which nothing changes.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{
    Attributes, Create, Directory, Existing, Extended, File, FileSystem, Follow, Metadata,
    OpenOptions, Resolved, Space, VirtualPath, Write,
};
use crate::error::{Error, ErrorKind, Result};

/// A file system that refuses every change with [`ErrorKind::ReadOnly`],
/// whatever rights the session has.
#[derive(Clone)]
pub struct ReadOnly {
    files: Arc<dyn FileSystem>,
}

impl ReadOnly {
    /// Shows `files` without a way to change them.
    pub fn new(files: Arc<dyn FileSystem>) -> Self {
        ReadOnly { files }
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::new(
        ErrorKind::ReadOnly,
        "changing a read-only folder",
    ))
}

impl FileSystem for ReadOnly {
    pass_on! { self.files:
        metadata(path: &VirtualPath, follow: Follow) -> Result<Metadata>;
        read_dir(path: &VirtualPath) -> Result<Box<dyn Directory>>;
        read_link(path: &VirtualPath) -> Result<Vec<u8>>;
        sync_dir(path: &VirtualPath) -> Result<()>;
        extended(path: &VirtualPath) -> Result<Extended>;
        resolve(path: &VirtualPath, follow: Follow) -> Result<Resolved>;
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        if options.write != Write::No || options.create != Create::Never {
            return refused();
        }
        let file = self.files.open(path, options)?;
        Ok(Box::new(ReadOnlyFile { file }))
    }

    fn make_dir(&self, _path: &VirtualPath, _mode: u32) -> Result<()> {
        refused()
    }

    fn remove_file(&self, _path: &VirtualPath) -> Result<()> {
        refused()
    }

    fn remove_dir(&self, _path: &VirtualPath) -> Result<()> {
        refused()
    }

    fn rename(&self, _from: &VirtualPath, _to: &VirtualPath, _existing: Existing) -> Result<()> {
        refused()
    }

    fn set_attributes(
        &self,
        _path: &VirtualPath,
        _attributes: &Attributes,
        _follow: Follow,
    ) -> Result<()> {
        refused()
    }

    fn symlink(&self, _target: &[u8], _path: &VirtualPath) -> Result<()> {
        refused()
    }

    fn hard_link(&self, _path: &VirtualPath, _new: &VirtualPath) -> Result<()> {
        refused()
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let mut space = self.files.space(path)?;
        space.read_only = true;
        Ok(space)
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(ReadOnly::new(self.files.without_links()?)))
    }
}

/// SECURITY: a mode or a time can be changed through a descriptor opened for
/// reading (SFTP's FSETSTAT), so the open file refuses as well.
struct ReadOnlyFile {
    file: Box<dyn File>,
}

impl File for ReadOnlyFile {
    pass_on! { self.file:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        metadata() -> Result<Metadata>;
        metadata_at_open() -> Result<Metadata>;
        sync() -> Result<()>;
        descriptor() -> Option<BorrowedFd<'_>>;
    }

    fn write_all_at(&self, _data: &[u8], _offset: u64) -> Result<()> {
        refused()
    }

    fn set_attributes(&self, _attributes: &Attributes) -> Result<()> {
        refused()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.file.close()
    }
}
