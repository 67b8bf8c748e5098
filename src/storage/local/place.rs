//! A name in an open directory: what the `*at` calls want, and how they are
//! called.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::{Errno, Result};

use crate::error::retried;

/// An open directory: one that is open anyway, such as the root, or a new one.
pub(super) enum Base<'a> {
    Borrowed(BorrowedFd<'a>),
    Owned(OwnedFd),
}

/// A name in an open directory: what the `*at` calls want.
pub(super) struct NameAt<'a> {
    pub(super) directory: Base<'a>,
    pub(super) name: Cow<'a, [u8]>,
}

impl<'a> NameAt<'a> {
    pub(super) fn new(directory: Base<'a>, name: impl Into<Cow<'a, [u8]>>) -> Self {
        NameAt {
            directory,
            name: name.into(),
        }
    }

    /// What is there, links not followed.
    pub(super) fn stat(&self) -> Result<Stat> {
        fs::statat(
            &self.directory,
            self.name.as_ref(),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }
}

impl AsFd for Base<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Base::Borrowed(fd) => *fd,
            Base::Owned(fd) => fd.as_fd(),
        }
    }
}

/// Runs an operation again when a signal cut it short or an NFS server has
/// forgotten a handle: it begins at the root's descriptor each time.
pub(super) fn retry<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    retried(|| {
        loop {
            match operation() {
                Err(Errno::INTR) => {}
                result => break result,
            }
        }
    })
}

/// The text of the link `name`; EINVAL when it is no link.
pub(super) fn link_text(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    fs::readlinkat(directory, name, Vec::new()).map(|text| text.into_bytes())
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
