//! What the kernel knows about files, in our words, and how it is changed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::{Errno, Result};

use super::super::{Attributes, FileKind, Metadata, VirtualPath};
use super::place::{NameAt, file_type, link_text, retry};
use crate::error::{Error, ErrorKind};
use crate::sys;
use crate::time::{after_1970, since_1970};

/// Bits of a mode that a client may see and set.
const MODE_BITS: u32 = 0o7777;

/// What a `struct stat` says. Its fields have other widths on other
/// architectures; all of them are 64 bits wide where it matters.
#[allow(clippy::unnecessary_cast)]
pub(super) fn metadata(stat: &Stat) -> Metadata {
    Metadata {
        kind: kind(file_type(stat)).unwrap_or(FileKind::Other),
        size: stat.st_size as u64,
        mode: stat.st_mode as u32 & MODE_BITS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink as u64,
        modified: after_1970(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        changed: after_1970(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        accessed: after_1970(stat.st_atime as i64, stat.st_atime_nsec as u32),
        id: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

/// The kind of an entry, if the file system says it.
pub(super) fn kind(file_type: FileType) -> Option<FileKind> {
    match file_type {
        FileType::RegularFile => Some(FileKind::File),
        FileType::Directory => Some(FileKind::Directory),
        FileType::Symlink => Some(FileKind::Link),
        FileType::Unknown => None,
        _ => Some(FileKind::Other),
    }
}

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & MODE_BITS) as fs::RawMode)
}

/// Changes the size of a regular file at a place, links not followed.
pub(super) fn resize(place: &NameAt<'_>, size: u64) -> Result<()> {
    let flags = OFlags::WRONLY | OFLAGS_SAFE | OFlags::NOFOLLOW;
    let file = fs::openat(&place.directory, place.name.as_ref(), flags, Mode::empty())?;
    match file_type(&fs::fstat(&file)?) {
        FileType::RegularFile => retry(|| fs::ftruncate(&file, size)),
        _ => Err(Errno::ACCESS),
    }
}

/// Flags that keep open(2) from blocking on a FIFO, a device or a terminal.
pub(super) const OFLAGS_SAFE: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Changes everything but the size at a place, links not followed. The owner
/// goes before the mode, because chown(2) clears setuid and setgid bits.
pub(super) fn apply(place: &NameAt<'_>, wanted: &Attributes) -> Result<()> {
    let name = place.name.as_ref();
    if let Some((uid, gid)) = owner(wanted) {
        retry(|| fs::chownat(&place.directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    }
    if let Some(bits) = wanted.mode {
        match bits & 0o6000 {
            0 => {
                let bits = retry(|| keep_setgid(place, bits))?;
                retry(|| change_mode(place, mode(bits)))?;
            }
            _ => retry(|| change_mode_of_directory(place, bits))?,
        }
    }
    if let Some(times) = times(wanted)? {
        retry(|| fs::utimensat(&place.directory, name, &times, AtFlags::SYMLINK_NOFOLLOW))?;
    }
    Ok(())
}

/// Changes everything but the size of an open file.
pub(super) fn apply_open(fd: BorrowedFd<'_>, wanted: &Attributes) -> Result<()> {
    if let Some((uid, gid)) = owner(wanted) {
        retry(|| fs::fchown(fd, uid, gid))?;
    }
    if let Some(bits) = wanted.mode {
        retry(|| fs::fchmod(fd, mode(bits & 0o1777)))?;
    }
    if let Some(times) = times(wanted)? {
        retry(|| fs::futimens(fd, &times))?;
    }
    Ok(())
}

/// The set-group-ID bit is for directories, whose new files get their group.
///
/// SECURITY: it is set through the open directory, so that no program comes in
/// between; a file is changed without it.
fn change_mode_of_directory(place: &NameAt<'_>, bits: u32) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(&place.directory, place.name.as_ref(), flags, Mode::empty()) {
        Ok(directory) => fs::fchmod(directory, mode(bits & 0o3777)),
        Err(_) => change_mode(place, mode(bits & 0o1777)),
    }
}

/// The setgid bit of a directory, which says whose what is made in it will be,
/// is the administrator's: clients change modes without knowing of it.
fn keep_setgid(place: &NameAt<'_>, bits: u32) -> Result<u32> {
    let there = metadata(&place.stat()?);
    match there.kind {
        FileKind::Directory => Ok(bits | there.mode & 0o2000),
        _ => Ok(bits),
    }
}

/// Changes a mode without following a link. fchmodat(2) can't do that before
/// Linux 6.6, and a check before it would be a race.
pub(super) fn change_mode(place: &NameAt<'_>, mode: Mode) -> Result<()> {
    match sys::change_mode_no_follow(&place.directory, place.name.as_ref(), mode) {
        // EPERM: not the owner, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => change_mode_old(place, mode),
        result => result,
    }
}

pub(super) fn change_mode_old(place: &NameAt<'_>, mode: Mode) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = fs::openat(&place.directory, place.name.as_ref(), flags, Mode::empty())?;
    if file_type(&fs::fstat(&target)?) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    match own_descriptors() {
        // The name in there is a number of ours and stands for that very file.
        Ok(descriptors) => {
            let number = target.as_raw_fd().to_string();
            match fs::chmodat(&descriptors, number, mode, AtFlags::empty()) {
                // A process that was another user's before may not look there.
                Err(Errno::ACCESS | Errno::PERM) => change_mode_by_opening(place, mode),
                result => result,
            }
        }
        // No /proc: a file that one may open for reading or writing still works.
        Err(_) => change_mode_by_opening(place, mode),
    }
}

/// Where an open file is now below an open root, as far as /proc knows. Only
/// a hint: what is there is to be looked at, and by the way through the jail.
pub(super) fn path_of(root: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Option<VirtualPath> {
    let descriptors = own_descriptors().ok()?;
    let path = |fd: BorrowedFd<'_>| {
        let number = fd.as_raw_fd().to_string();
        link_text(descriptors.as_fd(), number.as_bytes()).ok()
    };
    let (root, file) = (path(root)?, path(file)?);
    let below = match root.as_slice() {
        b"/" => &file[..],
        root => file.strip_prefix(root)?,
    };
    VirtualPath::root().join(below.strip_prefix(b"/")?).ok()
}

/// The directory of this process's descriptors, if /proc is what it should be.
pub(super) fn own_descriptors() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = fs::open("/proc/self/fd", flags, Mode::empty())?;
    match fs::fstatfs(&descriptors)?.f_type {
        fs::PROC_SUPER_MAGIC => Ok(descriptors),
        _ => Err(Errno::NOENT),
    }
}

pub(super) fn change_mode_by_opening(place: &NameAt<'_>, mode: Mode) -> Result<()> {
    let open = |access| {
        let flags = access | OFLAGS_SAFE | OFlags::NOFOLLOW;
        fs::openat(&place.directory, place.name.as_ref(), flags, Mode::empty())
    };
    let file = match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => open(OFlags::WRONLY)?,
        result => result?,
    };
    fs::fchmod(&file, mode)
}

/// A size past 2^63 - 1, or a file that can't be cut.
pub(super) fn size_error(errno: Errno) -> Error {
    match errno {
        Errno::INVAL => Error::with_source(ErrorKind::BadOffset, "", std::io::Error::from(errno)),
        errno => errno.into(),
    }
}

fn owner(wanted: &Attributes) -> Option<(Option<Uid>, Option<Gid>)> {
    // SECURITY: -1 means "leave it" to chown(2) and is no valid number.
    let uid = wanted.uid.filter(|&uid| uid != u32::MAX).map(Uid::from_raw);
    let gid = wanted.gid.filter(|&gid| gid != u32::MAX).map(Gid::from_raw);
    (uid.is_some() || gid.is_some()).then_some((uid, gid))
}

fn times(wanted: &Attributes) -> Result<Option<Timestamps>> {
    if wanted.modified.is_none() && wanted.accessed.is_none() {
        return Ok(None);
    }
    Ok(Some(Timestamps {
        last_access: timespec(wanted.accessed)?,
        last_modification: timespec(wanted.modified)?,
    }))
}

fn timespec(time: Option<SystemTime>) -> Result<Timespec> {
    let Some(time) = time else {
        return Ok(Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        });
    };
    let (seconds, nanos) = since_1970(time);
    Ok(Timespec {
        tv_sec: seconds,
        tv_nsec: nanos as _,
    })
}
