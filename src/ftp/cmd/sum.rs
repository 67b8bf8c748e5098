//! Checksums: HASH (draft-bryan-ftpext-hash), and XCRC and its kin.

use crate::digest::{Algorithm, Digest, hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ftp::arguments::{offset, quoted_names};
use crate::ftp::dtp::shorter;
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::storage::{Follow, VirtualPath};

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// The checksum of the bytes from `start` to before `end`.
fn sum(
    state: &mut Interpreter,
    path: &VirtualPath,
    algorithm: Algorithm,
    start: u64,
    end: Option<u64>,
) -> Result<(String, u64)> {
    let Some(mut digest) = Digest::new(algorithm) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this build does not support this hash",
        ));
    };
    let mut file = state.files()?.get(path)?;
    let size = file.metadata()?.size;
    // A size of 0 may be unknown (/proc): the sum is then that of what is there.
    let end = match size {
        0 => end.unwrap_or(u64::MAX),
        size => end.unwrap_or(size).min(size),
    };
    if start > end || size == 0 && start > 0 {
        return Err(Error::new(
            ErrorKind::BadOffset,
            "a range behind the end of the file",
        ));
    }
    let mut buffer = vec![0; PIECE];
    let mut at = start;
    while at < end {
        let wanted = (end - at).min(PIECE as u64) as usize;
        let length = file.read_at(&mut buffer[..wanted], at)?;
        if length == 0 && size == 0 {
            break;
        }
        if length == 0 {
            return Err(shorter());
        }
        digest.update(&buffer[..length]);
        at += length as u64;
        state.poll_if_due()?;
    }
    file.finish()?;
    Ok((hex(&digest.finish()), at))
}

pub fn hash(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (start, last) = state.parameters.take_range();
    let path = state.path(argument)?;
    let algorithm = state.parameters.hash;
    let (sum, end) = sum(
        state,
        &path,
        algorithm,
        start,
        last.map(|last| last.saturating_add(1)),
    )?;
    // draft-bryan-ftpext-hash: algorithm, range, hash, name.
    let range = format!("{} {start}-{} {sum} ", algorithm.name(), end);
    Ok(Reply::bytes(213, [range.as_bytes(), argument].concat()))
}

/// XCRC and its kin: a name, quoted if it holds blanks, and a range.
fn old_sum(state: &mut Interpreter, argument: &[u8], algorithm: Algorithm) -> Result<Reply> {
    // A name with blanks need not be quoted if nothing follows it.
    let whole = state.path(argument)?;
    let plain = state.files()?.metadata(&whole, Follow::Yes).is_ok();
    let (path, start, end) = if plain {
        (whole, 0, None)
    } else {
        let names = quoted_names(argument);
        let number = |at: usize| names.get(at).map(|text| offset(text));
        match (names.first(), number(1), number(2)) {
            (Some(name), None, None) => (state.path(name)?, 0, None),
            (Some(name), Some(Some(start)), None) => (state.path(name)?, start, None),
            (Some(name), Some(Some(start)), Some(Some(end))) => {
                (state.path(name)?, start, Some(end))
            }
            _ => {
                return Ok(Reply::new(
                    501,
                    "Expected a file, and the first and last offset.",
                ));
            }
        }
    };
    let (sum, _) = sum(state, &path, algorithm, start, end)?;
    Ok(Reply::new(250, sum.to_ascii_uppercase()))
}

pub fn xcrc(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    old_sum(state, argument, Algorithm::Crc32)
}

pub fn xmd5(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    old_sum(state, argument, Algorithm::Md5)
}

pub fn xsha1(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    old_sum(state, argument, Algorithm::Sha1)
}

pub fn xsha256(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    old_sum(state, argument, Algorithm::Sha256)
}

pub fn xsha512(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    old_sum(state, argument, Algorithm::Sha512)
}
