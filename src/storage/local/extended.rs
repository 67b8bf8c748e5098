//! Access control lists and extended attributes: what the mode of a file
//! does not say, and what a file that replaces another must take over.
//!
//! Names are looked at through `/proc`, because nothing else reads the
//! attributes of a file that may not be opened and follows no link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{self, Mode, OFlags, XattrFlags};
use rustix::io::{Errno, Result};

use super::super::Extended;
use super::attributes::own_descriptors;
use super::place::NameAt;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// Longest list of names and longest value: `XATTR_LIST_MAX`, `XATTR_SIZE_MAX`.
const LONGEST: usize = 64 * 1024;

// linux/posix_acl_xattr.h: a version, and entries of 8 bytes, little-endian.
const HEADER: usize = 4;
const ENTRY: usize = 8;
const GROUP_OBJ: u8 = 0x04;
const OTHER: u8 = 0x20;

/// Whether an access control list has decided the mode of a new file or
/// directory: its own, or the default one of the directory it was made in.
pub(super) fn has_list(place: &NameAt<'_>) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &[u8]| fs::openat(&place.directory, name, flags, Mode::empty());
    let has = |name: &[u8], attribute| open(name).is_ok_and(|file| is_set(file.as_fd(), attribute));
    has(&place.name, ACCESS) || has(b".", DEFAULT)
}

fn is_set(file: BorrowedFd<'_>, attribute: &str) -> bool {
    let Some(path) = path_of(file) else {
        return false;
    };
    fs::getxattr_query(path, attribute).is_ok_and(|length| length > 0)
}

/// A path that leads to what a descriptor stands for.
fn path_of(file: BorrowedFd<'_>) -> Option<String> {
    own_descriptors().ok()?;
    Some(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The list and the users' attributes of a file that was opened in any way.
pub(super) fn read(file: BorrowedFd<'_>) -> Result<Extended> {
    let Some(path) = path_of(file) else {
        return Ok(Extended::default());
    };
    let names = match grow(|buffer| fs::listxattr(&path, buffer)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Extended::default()),
        names => names?,
    };
    let mut found = Extended::default();
    for name in names.split(|byte| *byte == 0) {
        let is_list = name == ACCESS.as_bytes();
        if !is_list && !name.starts_with(b"user.") {
            continue;
        }
        match grow(|buffer| fs::getxattr(&path, name, buffer)) {
            // Gone since.
            Err(Errno::NODATA) => {}
            value if is_list => found.list = Some(value?),
            value => found.attributes.push((name.to_vec(), value?)),
        }
    }
    Ok(found)
}

/// Most files have nothing, so that one call with a small buffer says it all.
fn grow(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    let length = match call(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(LONGEST, 0);
            call(&mut buffer)?
        }
        length => length?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// Gives an open file what another has, and nothing that its directory has
/// given it beyond that.
pub(super) fn write(file: BorrowedFd<'_>, wanted: &Extended, group: Group) -> Result<()> {
    for (name, value) in &wanted.attributes {
        fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    match &wanted.list {
        Some(list) => {
            let list = match group {
                Group::Kept => list.clone(),
                Group::Another => without_group(list),
            };
            fs::fsetxattr(file, ACCESS, &list, XattrFlags::empty())
        }
        None => match fs::fremovexattr(file, ACCESS) {
            // It has none, or the file system knows none.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            outcome => outcome,
        },
    }
}

/// Whether the new file belongs to the group of the old one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Kept,
    /// SECURITY: what the old group may do is nothing for this one.
    Another,
}

/// The list with no more for the file's group than for everybody else.
fn without_group(list: &[u8]) -> Vec<u8> {
    let mut list = list.to_vec();
    let entries = |list: &[u8]| -> Vec<usize> {
        (HEADER..list.len().saturating_sub(ENTRY - 1))
            .step_by(ENTRY)
            .collect()
    };
    let others = entries(&list).into_iter().find(|at| list[*at] == OTHER);
    let others = others.map_or(0, |at| list[at + 2]);
    for at in entries(&list) {
        if list[at] == GROUP_OBJ {
            list[at + 2] &= others;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_group_gets_no_more_than_others() {
        let entry = |tag: u8, perm: u8, id: u8| [tag, 0, perm, 0, id, 0, 0, 0];
        let list = |group| {
            let entries = [
                entry(0x01, 6, 255),
                entry(0x02, 6, 7),
                entry(GROUP_OBJ, group, 255),
                entry(0x10, 6, 255),
                entry(OTHER, 4, 255),
            ];
            [&[2, 0, 0, 0][..], &entries.concat()].concat()
        };
        assert_eq!(without_group(&list(6)), list(4));
        assert_eq!(without_group(&[2, 0, 0, 0, 1]), [2, 0, 0, 0, 1]);
    }
}
