//! ATTRS, the attributes of draft-ietf-secsh-filexfer-02, section 5, and the
//! `ls -l` line that goes with a name in a listing.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::owners::Owners;
use super::wire::Replies;
use crate::error::Result;
use crate::ssh_data::Reader;
use crate::storage::{Attributes, FileKind, Metadata};
use crate::time::{Utc, seconds_of};

const SIZE: u32 = 1;
const UIDGID: u32 = 2;
const PERMISSIONS: u32 = 4;
const ACMODTIME: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// Half a year, after which a listing shows the year instead of the time.
const RECENT: i64 = 182 * 86400;

/// Reads the attributes that a client wishes. Times come with whole seconds,
/// the type bits of a mode are ignored, extended attributes are skipped.
pub(super) fn read(arguments: &mut Reader<'_>) -> Result<Attributes> {
    let flags = arguments.u32()?;
    let mut attributes = Attributes::default();
    if flags & SIZE != 0 {
        attributes.size = Some(arguments.u64()?);
    }
    if flags & UIDGID != 0 {
        attributes.uid = Some(arguments.u32()?);
        attributes.gid = Some(arguments.u32()?);
    }
    if flags & PERMISSIONS != 0 {
        attributes.mode = Some(arguments.u32()? & 0o7777);
    }
    if flags & ACMODTIME != 0 {
        attributes.accessed = Some(moment(arguments.u32()?));
        attributes.modified = Some(moment(arguments.u32()?));
    }
    if flags & EXTENDED != 0 {
        // SECURITY: the count is not believed. Each pair takes eight bytes of
        // the packet at least, so the packet's end ends the loop.
        for _ in 0..arguments.u32()? {
            arguments.string()?;
            arguments.string()?;
        }
    }
    Ok(attributes)
}

fn moment(seconds: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::from(seconds))
}

/// Writes what is known about a file.
pub(super) fn write(replies: &mut Replies, metadata: &Metadata) {
    let time = |time| seconds_of(time).clamp(0, i64::from(u32::MAX)) as u32;
    replies.u32(SIZE | UIDGID | PERMISSIONS | ACMODTIME);
    replies.u64(metadata.size);
    replies.u32(metadata.uid);
    replies.u32(metadata.gid);
    replies.u32(type_bits(metadata.kind) | metadata.mode & 0o7777);
    replies.u32(time(metadata.accessed));
    replies.u32(time(metadata.modified));
}

/// Writes attributes that say nothing.
pub(super) fn write_none(replies: &mut Replies) {
    replies.u32(0);
}

/// The bits of `S_IFMT`, which all clients go by. What is never opened is
/// shown as a socket: sshfs refuses an entry without a type, and nobody
/// waits on a socket as on a FIFO.
fn type_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => 0o100_000,
        FileKind::Directory => 0o040_000,
        FileKind::Link => 0o120_000,
        FileKind::Other => 0o140_000,
    }
}

/// Writes the line of a listing, as `ls -l` does. Clients show it as it is
/// (psftp, old sftp), so no control character gets into it.
pub(super) fn write_long_name(
    replies: &mut Replies,
    name: &[u8],
    metadata: &Metadata,
    owners: Option<&Owners>,
    now: i64,
) {
    replies.string_with(|line| {
        line.raw(&mode_letters(metadata));
        let _ = write!(line, " {:3} ", metadata.links);
        owner(
            line,
            owners.and_then(|names| names.user(metadata.uid)),
            metadata.uid,
        );
        owner(
            line,
            owners.and_then(|names| names.group(metadata.gid)),
            metadata.gid,
        );
        let modified = seconds_of(metadata.modified);
        let when = Utc::from_seconds(modified);
        let _ = write!(
            line,
            "{:8} {} {:2} ",
            metadata.size,
            when.month_name(),
            when.day
        );
        let _ = if (now - RECENT..=now + 86400).contains(&modified) {
            write!(line, "{:02}:{:02} ", when.hour, when.minute)
        } else {
            write!(line, "{:5} ", when.year)
        };
        let room = line.room(name.len());
        for (shown, byte) in room.iter_mut().zip(name) {
            *shown = if byte.is_ascii_control() { b'?' } else { *byte };
        }
        line.advance(name.len());
    });
}

fn owner(line: &mut Replies, name: Option<&str>, number: u32) {
    let _ = match name {
        Some(name) => write!(line, "{name:8} "),
        None => write!(line, "{number:<8} "),
    };
}

fn mode_letters(metadata: &Metadata) -> [u8; 10] {
    let mode = metadata.mode;
    let mut letters = *b"-rwxrwxrwx";
    letters[0] = match metadata.kind {
        FileKind::File => b'-',
        FileKind::Directory => b'd',
        FileKind::Link => b'l',
        FileKind::Other => b's',
    };
    for (bit, letter) in letters[1..].iter_mut().rev().enumerate() {
        if mode & 1 << bit == 0 {
            *letter = b'-';
        }
    }
    for (bit, at, letter) in [(0o4000, 3, b's'), (0o2000, 6, b's'), (0o1000, 9, b't')] {
        if mode & bit != 0 {
            letters[at] = match letters[at] {
                b'-' => letter.to_ascii_uppercase(),
                _ => letter,
            };
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::time::after_1970;

    #[test]
    fn a_count_that_lies_is_a_bad_message() {
        let mut bytes = EXTENDED.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(1u32 << 31).to_be_bytes());
        bytes.extend_from_slice(&[0; 64]);
        let error = read(&mut Reader::new(&bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn all_attributes_are_read() {
        let mut bytes = Vec::new();
        for number in [0x8000_000fu32, 0, 5, 1, 2, 0o100_644, 3, 4, 1, 1] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(b"a\0\0\0\x01b");
        let attributes = read(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(
            attributes,
            Attributes {
                size: Some(5),
                uid: Some(1),
                gid: Some(2),
                mode: Some(0o644),
                accessed: Some(moment(3)),
                modified: Some(moment(4)),
            }
        );
    }

    #[test]
    fn the_line_of_a_listing_is_like_ls() {
        let now = 1_000_000_000;
        for (kind, mode, modified, name, want) in [
            (
                FileKind::File,
                0o644,
                now,
                &b"a b"[..],
                "-rw-r--r--   1 0        0              42 Sep  9 01:46 a b",
            ),
            (
                FileKind::Directory,
                0o1777,
                0,
                b"x\n\x1b[2J",
                "drwxrwxrwt   1 0        0              42 Jan  1  1970 x??[2J",
            ),
            (
                FileKind::Link,
                0o6644,
                now + 90_000,
                b"l",
                "lrwSr-Sr--   1 0        0              42 Sep 10  2001 l",
            ),
        ] {
            let mut metadata = Metadata::new(kind, 42);
            metadata.mode = mode;
            metadata.modified = after_1970(modified, 0);
            let mut replies = Replies::new();
            write_long_name(&mut replies, name, &metadata, None, now);
            let line = String::from_utf8_lossy(&replies.pending()[4..]).into_owned();
            assert_eq!(line, want);
        }
    }
}
