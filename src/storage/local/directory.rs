//! Listing a directory of a [`LocalFs`](super::LocalFs).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, RawDir};
use rustix::io::{self, Errno};

use super::super::{Directory, FileKind, Follow, Metadata, VirtualPath};
use super::attributes::{kind, metadata};
use super::jail::{Jail, file_type, link_text, retry};
use crate::error::{Doing, Error, ErrorKind, Result};

/// Bytes that one getdents64 call may fill: about a thousand entries.
const BUFFER: usize = 32 * 1024;

/// An open directory. Names are taken from the kernel in batches and served
/// one by one, without an allocation for each.
pub(super) struct LocalDirectory {
    fd: OwnedFd,
    /// Where getdents64 writes.
    raw: Vec<MaybeUninit<u8>>,
    /// The batch: the names one after the other, each after a byte for its
    /// kind and two for its length.
    batch: Vec<u8>,
    at: usize,
    jail: Arc<Jail>,
    path: VirtualPath,
}

impl LocalDirectory {
    pub(super) fn new(fd: OwnedFd, jail: Arc<Jail>, path: VirtualPath) -> Self {
        LocalDirectory {
            fd,
            raw: vec![MaybeUninit::uninit(); BUFFER],
            batch: Vec::new(),
            at: 0,
            jail,
            path,
        }
    }

    /// Fills the batch with what one call gives; it stays empty at the end.
    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.batch.clear();
        let mut entries = RawDir::new(&self.fd, &mut self.raw);
        loop {
            match entries.next() {
                None => return Ok(()),
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    // Its record has a length of two bytes, too.
                    if let Ok(length) = u16::try_from(name.len())
                        && !matches!(name, b"." | b"..")
                    {
                        let [low, high] = length.to_le_bytes();
                        let head = [tag(entry.file_type()), low, high];
                        self.batch.reserve(head.len() + name.len());
                        self.batch.extend_from_slice(&head);
                        self.batch.extend_from_slice(name);
                    }
                }
                Some(Err(Errno::INTR)) => {}
                // Linux says this in a directory that was removed meanwhile.
                Some(Err(Errno::NOENT)) => return Ok(()),
                Some(Err(error)) => return Err(error),
            }
            if entries.is_buffer_empty() && !self.batch.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Directory for LocalDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Option<FileKind>>> {
        name.clear();
        if self.at >= self.batch.len() {
            self.refill().doing("reading a directory")?;
        }
        let entry = self.batch.get(self.at..).unwrap_or_default();
        let Some((&[tag, low, high], rest)) = entry.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        name.extend_from_slice(rest.get(..length).unwrap_or(rest));
        self.at += 3 + length;
        Ok(Some(untag(tag)))
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        one_name(name)?;
        let look = || fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut stat = retry(look).doing("looking at an entry")?;
        if follow == Follow::Yes && file_type(&stat) == FileType::Symlink {
            // SECURITY: never a following fstatat, which would leave the jail.
            let path = self.path.join(name)?;
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

fn tag(file_type: FileType) -> u8 {
    match kind(file_type) {
        None => 0,
        Some(FileKind::File) => 1,
        Some(FileKind::Directory) => 2,
        Some(FileKind::Link) => 3,
        Some(FileKind::Other) => 4,
    }
}

fn untag(tag: u8) -> Option<FileKind> {
    match tag {
        1 => Some(FileKind::File),
        2 => Some(FileKind::Directory),
        3 => Some(FileKind::Link),
        4 => Some(FileKind::Other),
        _ => None,
    }
}
