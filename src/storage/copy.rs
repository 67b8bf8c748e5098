//! Copying from one open file to another: by the kernel where both are files
//! of the kernel, which then shares or moves the data by itself (a reflink on
//! btrfs and XFS, a copy on the server of NFS 4.2), and past the holes of
//! sparse files.

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;

use super::File;

/// What lies at an offset of a file, and how many bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that must be read.
    Data(u64),
    /// Zeros that take no room on the disk.
    Hole(u64),
}

/// What lies at `offset` of a file, at most `most` bytes of it. A back-end
/// that does not know its holes has none.
pub fn extent(file: &dyn File, offset: u64, most: u64) -> Extent {
    let Some(descriptor) = file.descriptor() else {
        return Extent::Data(most);
    };
    // The position of a descriptor is of no use to anybody else: reading and
    // writing name their offset, and appending ignores it.
    let hole = match fs::seek(descriptor, SeekFrom::Data(offset)) {
        Ok(data) => data.saturating_sub(offset),
        // Nothing but a hole up to the end of the file.
        Err(Errno::NXIO) => most,
        Err(_) => return Extent::Data(most),
    };
    if hole > 0 {
        return Extent::Hole(hole.min(most));
    }
    match fs::seek(descriptor, SeekFrom::Hole(offset)) {
        Ok(hole) if hole > offset => Extent::Data((hole - offset).min(most)),
        _ => Extent::Data(most),
    }
}

/// Has the kernel copy up to `length` bytes; `None` where it can't, where only
/// reading shows whether there is something to copy (`/proc`), and after an
/// error, since reading and writing tell which of the files it is about.
pub fn copy_in_kernel(
    (from, mut from_offset): (&dyn File, u64),
    (to, mut to_offset): (&dyn File, u64),
    length: usize,
) -> Option<u64> {
    let (source, target) = (from.descriptor()?, to.descriptor()?);
    let (from, to) = (Some(&mut from_offset), Some(&mut to_offset));
    let copied = fs::copy_file_range(source, from, target, to, length);
    copied
        .ok()
        .filter(|copied| *copied > 0)
        .map(|copied| copied as u64)
}
