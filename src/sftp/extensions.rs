//! Handlers of the extensions: OpenSSH's (its PROTOCOL file, section 4) and
//! those of draft-ietf-secsh-filexfer-extensions-00.

use super::handles::Open;
use super::interpreter::{Answer, Interpreter};
use super::requests::{self, move_to};
use super::wire::{DATA_MAX, PACKET_MAX};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};
use crate::ssh_data::Reader;
use crate::storage::{Existing, File, Follow, VirtualPath};

/// SSH_FXP_EXTENDED_REPLY.
const EXTENDED_REPLY: u8 = 201;
/// Bytes that a copy or a checksum moves at once.
const PIECE: usize = 128 * 1024;
/// Bytes after which long work the transport polls its peer: a fraction of a
/// second on any disk that is not failing.
const POLL_BYTES: u64 = 16 * 1024 * 1024;
/// Least size of the blocks of a checksum by blocks, as the draft says.
const BLOCK_MIN: u32 = 256;

type Interpreted = Result<Answer>;

pub(super) fn posix_rename(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    move_to(it, arguments, Existing::Replace)
}

pub(super) fn statvfs(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    space(it, &path)
}

pub(super) fn fstatvfs(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = match it.handles.find(arguments)? {
        // The name may not be there before an atomic upload is whole.
        Open::File(file) => file.transfer.path().parent(),
        Open::Directory(directory) => directory.path.clone(),
    };
    space(it, &path)
}

fn space(it: &mut Interpreter<'_>, path: &VirtualPath) -> Interpreted {
    let space = it.files.space(path)?;
    it.reply(EXTENDED_REPLY);
    for number in [
        space.block_size,
        space.block_size,
        space.blocks,
        space.blocks_free,
        space.blocks_available,
        space.files,
        space.files_free,
        space.files_free,
        // The device's number is nobody's business.
        0,
        u64::from(space.read_only),
        space.name_max,
    ] {
        it.replies.u64(number);
    }
    Ok(Answer::Made)
}

pub(super) fn hardlink(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let old = it.entry(arguments)?;
    let new = it.new_name(&old, arguments)?;
    it.handles.settle(&old)?;
    it.files.hard_link(&old, &new)?;
    Ok(Answer::Done)
}

pub(super) fn fsync(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let file = it.handles.file(arguments)?;
    file.transfer
        .sync()
        .inspect_err(|error| file.failed = Some(error.kind()))?;
    Ok(Answer::Done)
}

pub(super) fn lsetstat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    requests::set(it, arguments, Follow::No)
}

pub(super) fn limits(it: &mut Interpreter<'_>, _: &mut Reader<'_>) -> Interpreted {
    it.reply(EXTENDED_REPLY);
    for number in [PACKET_MAX, DATA_MAX, DATA_MAX, it.handles.max()] {
        it.replies.u64(number as u64);
    }
    Ok(Answer::Made)
}

/// `~` and `~/x` are the user's home, `~ann/x` is ann's; everything else is
/// as REALPATH has it.
pub(super) fn expand_path(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let text = arguments.string()?;
    let path = match text.strip_prefix(b"~") {
        None => it.options.start.join(text)?,
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'/');
            let (user, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            home(it, user)?.join(rest)?
        }
    };
    let path = it.files.real_path(&path)?;
    requests::name(it, path.as_bytes())
}

pub(super) fn home_directory(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let home = home(it, arguments.string()?)?;
    requests::name(it, home.as_bytes())
}

fn home(it: &Interpreter<'_>, user: &[u8]) -> Result<VirtualPath> {
    if user.is_empty() || user == it.files.user().name.as_bytes() {
        return Ok(it.options.start.clone());
    }
    let home = std::str::from_utf8(user)
        .ok()
        .and_then(|name| it.options.owners.as_ref()?.home(name))
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such user"))?;
    VirtualPath::root().join(home.as_bytes())
}

/// Two lists of numbers become two lists of names; what has no name becomes
/// an empty string.
pub(super) fn users_groups_by_id(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
) -> Interpreted {
    if !it.room.has_permit() {
        return Ok(Answer::Later);
    }
    let mut users = Reader::new(arguments.string()?);
    let mut groups = Reader::new(arguments.string()?);
    it.reply(EXTENDED_REPLY);
    let owners = it.options.owners.as_deref();
    let mut outcome = Ok(());
    it.replies.string_with(|names| {
        while !users.is_empty() && outcome.is_ok() {
            outcome = users.u32().map(|uid| {
                let name = owners.and_then(|owners| owners.user(uid)).unwrap_or("");
                names.string(name.as_bytes());
            });
        }
    });
    it.replies.string_with(|names| {
        while !groups.is_empty() && outcome.is_ok() {
            outcome = groups.u32().map(|gid| {
                let name = owners.and_then(|owners| owners.group(gid)).unwrap_or("");
                names.string(name.as_bytes());
            });
        }
    });
    if it.replies.length() > PACKET_MAX {
        let what = "more names than a packet holds";
        return Err(Error::new(ErrorKind::Invalid, what));
    }
    outcome?;
    Ok(Answer::Made)
}

/// Copies from one open file to another without the bytes going over the
/// wire (draft, section 7); a length of 0 is "up to the end".
pub(super) fn copy_data(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let from = arguments.string()?;
    let mut from_offset = arguments.u64()?;
    let length = arguments.u64()?;
    let to = arguments.string()?;
    let mut to_offset = arguments.u64()?;
    let [source, target] = it.handles.two_files(from, to)?;
    let refuse = |kind, why| Err(Error::new(kind, why));
    if !it.handles.at(source)?.reads {
        return refuse(ErrorKind::Denied, "copying from a file that is written");
    }
    let into = it.handles.at(target)?;
    if !into.writes {
        return refuse(ErrorKind::Denied, "copying to a file that is read");
    }
    let mut left = match length {
        0 => u64::MAX,
        length => length,
    };
    // A file may be copied within itself unless the copy would feed itself
    // for ever; two handles of one file are the same thing.
    let overlap = from_offset.abs_diff(to_offset) < left;
    let same = into.transfer.metadata()?.id == it.handles.at(source)?.transfer.metadata()?.id;
    if source == target || (same && overlap) {
        return refuse(ErrorKind::Invalid, "copying a file onto itself");
    }
    let mut buffer = Vec::new();
    let mut since = 0;
    while left > 0 {
        let [from, into] = it.handles.both([source, target])?;
        let copied = into
            .transfer
            .copy_from(
                (from.transfer.file()?, from_offset),
                to_offset,
                left.min(POLL_BYTES),
                &mut buffer,
            )
            .inspect_err(|error| into.failed = Some(error.kind()))?;
        if copied == 0 && length != 0 {
            // The source has fewer bytes than the client has asked for.
            return Ok(Answer::End);
        }
        if copied == 0 {
            break;
        }
        from_offset = from_offset.saturating_add(copied);
        to_offset = to_offset.saturating_add(copied);
        left -= copied;
        since += copied;
        if since >= POLL_BYTES {
            since = 0;
            it.poll_peer()?;
        }
    }
    Ok(Answer::Done)
}

/// As paramiko asks: by handle; the reply names the extension first.
pub(super) fn check_file(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    check_open(it, arguments, Some(b"check-file"))
}

pub(super) fn check_file_handle(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
) -> Interpreted {
    check_open(it, arguments, None)
}

fn check_open(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
    title: Option<&[u8]>,
) -> Interpreted {
    let handle = arguments.string()?;
    let [slot, _] = it.handles.two_files(handle, handle)?;
    if !it.handles.at(slot)?.reads {
        return Err(Error::new(
            ErrorKind::Denied,
            "a checksum of a file that is written",
        ));
    }
    check(it, arguments, title, &mut |it, buffer, offset| {
        it.handles
            .at(slot)?
            .transfer
            .file()?
            .read_at(buffer, offset)
    })
}

pub(super) fn check_file_name(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    let file: Box<dyn File> = it.files.inspect(&path)?;
    check(it, arguments, None, &mut |_, buffer, offset| {
        file.read_at(buffer, offset)
    })
}

type ReadAt<'r> = dyn FnMut(&mut Interpreter<'_>, &mut [u8], u64) -> Result<usize> + 'r;

/// The first algorithm of the client's list that there is; one checksum, or
/// one a block. A length of 0 is "up to the end".
fn check(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
    title: Option<&[u8]>,
    read_at: &mut ReadAt<'_>,
) -> Interpreted {
    if !it.room.has_permit() {
        return Ok(Answer::Later);
    }
    let wished = arguments.string()?;
    let offset = arguments.u64()?;
    let length = match arguments.u64()? {
        0 => u64::MAX,
        length => length,
    };
    let block = arguments.u32()?;
    if block != 0 && block < BLOCK_MIN {
        return Err(Error::new(ErrorKind::Invalid, "a block below 256 bytes"));
    }
    let (name, algorithm) = choose(wished)
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "no algorithm that is known"))?;
    let sums = checksums(it, algorithm, (offset, length, block), read_at)?;
    it.reply(EXTENDED_REPLY);
    if let Some(title) = title {
        it.replies.string(title);
    }
    it.replies.string(name);
    it.replies.raw(&sums);
    Ok(Answer::Made)
}

/// The checksums of so many bytes from `offset` on: one, or one a block.
fn checksums(
    it: &mut Interpreter<'_>,
    algorithm: Algorithm,
    (mut offset, mut left, block): (u64, u64, u32),
    read_at: &mut ReadAt<'_>,
) -> Result<Vec<u8>> {
    let begin = || {
        Digest::new(algorithm)
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "an algorithm that is switched off"))
    };
    let mut sums = Vec::new();
    let mut digest = begin()?;
    let mut buffer = vec![0; PIECE];
    let (mut in_block, mut since) = (0u64, 0);
    loop {
        let mut most = left.min(PIECE as u64);
        if block != 0 {
            most = most.min(u64::from(block) - in_block);
        }
        let read = match most {
            0 => 0,
            most => read_at(it, &mut buffer[..most as usize], offset)?,
        };
        digest.update(&buffer[..read]);
        let read = read as u64;
        offset = offset.saturating_add(read);
        left -= read;
        in_block += read;
        since += read;
        let ended = read == 0 || left == 0;
        let full = block != 0 && in_block == u64::from(block);
        // An empty file has one checksum, but no empty block at its end.
        if full || (ended && (in_block != 0 || sums.is_empty())) {
            sums.extend_from_slice(&std::mem::replace(&mut digest, begin()?).finish());
            in_block = 0;
            if sums.len() > DATA_MAX {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "more checksums than a packet holds",
                ));
            }
        }
        if ended {
            return Ok(sums);
        }
        if since >= POLL_BYTES {
            since = 0;
            it.poll_peer()?;
        }
    }
}

fn choose(list: &[u8]) -> Option<(&[u8], Algorithm)> {
    list.split(|byte| *byte == b',').find_map(|name| {
        let algorithm = Algorithm::find(std::str::from_utf8(name).ok()?)?;
        Some((name, algorithm))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_algorithm_is_chosen() {
        let name = |list: &'static [u8]| choose(list).map(|(name, _)| name);
        assert_eq!(name(b"sha3,sha512,sha256"), Some(&b"sha512"[..]));
        assert_eq!(name(b"crc32"), Some(&b"crc32"[..]));
        assert_eq!(name(b"\xff,"), None);
    }
}
