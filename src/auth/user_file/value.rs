//! The values of options in the users' file: each from its bytes, or what
//! was expected instead.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::address::Network;
use crate::auth::Perms;
use crate::storage::VirtualPath;
use crate::text::Escaped;
use crate::time::Utc;

/// Plain decimal digits: `str::parse` would take a sign as well.
pub(super) fn number<T: std::str::FromStr>(value: &[u8]) -> Result<T, String> {
    value
        .first()
        .filter(|first| first.is_ascii_digit())
        .and_then(|_| std::str::from_utf8(value).ok()?.parse().ok())
        .ok_or_else(|| expected("a number", value))
}

/// A user or group number; the highest one means "no change" to the kernel.
pub(super) fn id(value: &[u8]) -> Result<u32, String> {
    number(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| expected("a user or group number", value))
}

/// SECURITY: a user of the file that acts as root could change the file itself.
pub(super) fn uid(value: &[u8]) -> Result<u32, String> {
    match id(value)? {
        0 => Err("expected a user number other than that of root".into()),
        uid => Ok(uid),
    }
}

/// Bytes, with a suffix that stands for a power of 1024.
pub(super) fn size(value: &[u8]) -> Result<u64, String> {
    let (digits, shift) = match value.split_last() {
        Some((b'K' | b'k', digits)) => (digits, 10),
        Some((b'M' | b'm', digits)) => (digits, 20),
        Some((b'G' | b'g', digits)) => (digits, 30),
        Some((b'T' | b't', digits)) => (digits, 40),
        _ => (value, 0),
    };
    number::<u64>(digits)
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| expected("a number of bytes such as 500M", value))
}

/// Seconds, minutes, hours or days, up to a hundred years.
pub(super) fn time(value: &[u8]) -> Result<Duration, String> {
    let (digits, factor) = match value.split_last() {
        Some((b'm', digits)) => (digits, 60),
        Some((b'h', digits)) => (digits, 3600),
        Some((b'd', digits)) => (digits, 86_400),
        _ => (value, 1),
    };
    number::<u64>(digits)
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|seconds| *seconds <= 36_525 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| expected("a time such as 3600 or 30d", value))
}

pub(super) fn text(value: &[u8], what: &str) -> Result<String, String> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text.into()),
        _ => Err(expected(what, value)),
    }
}

pub(super) fn file(value: &[u8]) -> Result<PathBuf, String> {
    if value.is_empty() || value.contains(&0) {
        return Err(expected("the name of a file", value));
    }
    Ok(PathBuf::from(OsString::from_vec(value.to_vec())))
}

pub(super) fn network(value: &[u8]) -> Result<Network, String> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| Network::read(text).ok())
        .ok_or_else(|| expected("a network such as 192.168.0.0/16", value))
}

pub(super) fn mode(value: &[u8]) -> Result<u32, String> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| expected("octal permission bits such as 0640", value))
}

pub(super) fn directory(value: &[u8]) -> Result<(VirtualPath, Perms), String> {
    let wanted = "a directory and rights such as /incoming=drop";
    // The last '=': rights have none, a path may.
    let at = value
        .iter()
        .rposition(|&byte| byte == b'=')
        .filter(|_| value.first() == Some(&b'/'))
        .ok_or_else(|| expected(wanted, value))?;
    let path = VirtualPath::root()
        .join(&value[..at])
        .map_err(|error| error.to_string())?;
    let rights = std::str::from_utf8(&value[at + 1..]).map_err(|_| expected(wanted, value))?;
    Ok((path, Perms::read(rights)?))
}

/// A directory of the machine that is a folder of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the user sees it.
    pub at: VirtualPath,
    /// The directory.
    pub directory: PathBuf,
    /// The rights there; `None`: the user's own.
    pub perms: Option<Perms>,
}

/// A shared folder: where the user sees it, the directory, and the rights there.
pub(super) fn mount(value: &[u8]) -> Result<Mount, String> {
    let wrong = || expected("a folder such as /shared=/srv/shared:read-only", value);
    let at = value.iter().position(|&byte| byte == b'=');
    let (name, place) = value.split_at(at.ok_or_else(wrong)?);
    let place = &place[1..];
    let (directory, perms) = match place.iter().rposition(|&byte| byte == b':') {
        Some(colon) => {
            let rights = std::str::from_utf8(&place[colon + 1..]).map_err(|_| wrong())?;
            (&place[..colon], Some(Perms::read(rights)?))
        }
        None => (place, None),
    };
    if name.first() != Some(&b'/') {
        return Err(wrong());
    }
    let at = VirtualPath::root()
        .join(name)
        .map_err(|error| error.to_string())?;
    if at.is_root() {
        return Err("expected a folder below the home, not the home itself".into());
    }
    let directory = checked_home(directory).map_err(|_| wrong())?;
    Ok(Mount {
        at,
        directory,
        perms,
    })
}

/// A date of the Gregorian calendar as days since 1970-01-01.
pub(super) fn date(value: &[u8]) -> Result<i64, String> {
    let wrong = || expected("a date such as 2030-12-31", value);
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = value else {
        return Err(wrong());
    };
    if year.len() != 4 {
        return Err(wrong());
    }
    let year: u32 = number(year).map_err(|_| wrong())?;
    let month: u32 = number(&[*m1, *m2]).map_err(|_| wrong())?;
    let day: u32 = number(&[*d1, *d2]).map_err(|_| wrong())?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(wrong()),
    };
    if !(1970..=9999).contains(&year) || !(1..=days).contains(&day) {
        return Err(wrong());
    }
    let midnight = Utc {
        year,
        month,
        day,
        ..Utc::from_seconds(0)
    };
    Ok(midnight.seconds() / 86_400)
}

pub(super) fn expected(what: &str, value: &[u8]) -> String {
    // A value that was pasted wrongly must not fill the screen.
    let shown = &value[..value.len().min(64)];
    format!("expected {what}, found '{}'", Escaped(shown))
}

pub(super) fn checked_home(bytes: &[u8]) -> Result<PathBuf, String> {
    let home = Path::new(OsStr::from_bytes(bytes));
    if !home.is_absolute() || bytes.contains(&0) {
        // Not shown: with a colon too few this may be the hash.
        return Err("expected a home that begins with '/'".into());
    }
    if home.components().any(|part| part == Component::ParentDir) {
        return Err("expected a home without '..'".into());
    }
    Ok(home.to_path_buf())
}

/// `%` and two hexadecimal digits as the byte they stand for.
pub(super) fn decoded(field: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !field.contains(&b'%') {
        return Ok(Cow::Borrowed(field));
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(digits[0])? << 4 | digit(digits[1])?) as u8)
        });
        let Some(digits) = digits else {
            return Err(
                "expected two hexadecimal digits after '%' (%25 is the sign itself)".into(),
            );
        };
        bytes.push(digits);
        rest = &after[2..];
    }
    Ok(Cow::Owned(bytes))
}

/// Bytes as a field of the file: what would end a field, a list or a line is
/// written as `%` and two hexadecimal digits.
pub fn encoded(bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b':' | b',' | b'%' | 0..=0x20 | 0x7f => {
                field.extend_from_slice(format!("%{byte:02x}").as_bytes());
            }
            byte => field.push(byte),
        }
    }
    field
}
