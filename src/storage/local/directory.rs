//! Listing a directory of a [`LocalFs`](super::LocalFs).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;

use super::super::{Directory, Entry, Follow, Metadata, VirtualPath};
use super::attributes::{kind, metadata};
use super::jail::Jail;
use super::place::{file_type, link_text, retry};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys::directory::Records;

/// An open directory. Names are taken from the kernel in batches and served
/// one by one, without an allocation for each.
pub(super) struct LocalDirectory {
    fd: OwnedFd,
    records: Records,
    jail: Arc<Jail>,
    path: VirtualPath,
}

impl LocalDirectory {
    pub(super) fn new(fd: OwnedFd, jail: Arc<Jail>, path: VirtualPath) -> Self {
        LocalDirectory {
            fd,
            records: Records::new(),
            jail,
            path,
        }
    }

    /// Takes the next batch; it is empty at the end.
    fn refill(&mut self) -> Result<()> {
        match retry(|| self.records.read(&self.fd)) {
            // Linux says this in a directory that was removed meanwhile.
            Err(Errno::NOENT) => Ok(()),
            outcome => outcome.doing("reading a directory"),
        }
    }
}

impl Directory for LocalDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        loop {
            if self.records.are_done() {
                self.refill()?;
                if self.records.are_done() {
                    return Ok(None);
                }
            }
            // Never an end that is none.
            let Some((entry, bytes)) = self.records.next() else {
                let broken = "a record of a directory does not hold together";
                return Err(Error::new(ErrorKind::Internal, broken));
            };
            if !matches!(bytes, b"." | b"..") {
                name.extend_from_slice(bytes);
                // The same four bits as in a mode (readdir(3), IFTODT).
                let entry = FileType::from_raw_mode(fs::RawMode::from(entry) << 12);
                return Ok(Some(kind(entry).into()));
            }
        }
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        one_name(name)?;
        let look = || fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut stat = retry(look).doing("looking at an entry")?;
        if follow == Follow::Yes && file_type(&stat) == FileType::Symlink {
            // SECURITY: never a following fstatat, which would leave the jail.
            let path = self.path.below(name)?;
            stat = retry(|| self.jail.stat(&path, Follow::Yes)).doing("following a link")?;
        }
        Ok(metadata(&stat))
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        one_name(name)?;
        retry(|| link_text(self.fd.as_fd(), name)).doing("reading a link")
    }
}

/// SECURITY: `..` or a slash would let a listing look outside.
fn one_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name == b".." || name.contains(&b'/') {
        return Err(Error::new(ErrorKind::NameInvalid, "not one name"));
    }
    Ok(())
}
