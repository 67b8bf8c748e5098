//! Files of public keys in OpenSSH's `authorized_keys` format (sshd(8)).
//!
//! No crypto here: a file says which keys may log in from where and until
//! when; that a client has a key is for the SSH transport to prove.
//!
//! Safety decides what options mean. One that limits a key in a way this
//! server can't enforce, or does not know, makes its line count for nothing,
//! as OpenSSH does with unknown options. `command=` is such a limit, except
//! for `internal-sftp` alone. Options about shells, terminals and forwarding,
//! `restrict` among them, are accepted: there is nothing of that to limit.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::certificate::{Certificate, fields};
use super::{Credentials, PublicKey};
use crate::address::{Network, canonical};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::ssh_data::Reader;
use crate::sys::read_at_most;
use crate::text::{self, Escaped, Quoted};
use crate::time::Utc;

/// Largest file.
pub(super) const LARGEST: usize = 1 << 20;

/// The keys of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    entries: Vec<KeyEntry>,
}

/// What this process may not open is opened by whoever may.
fn through_others(path: &Path, error: io::Error) -> io::Result<File> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => crate::sys::open_setting(path),
        _ => Err(error),
    }
}

/// Opens the very file that `place` has looked at.
fn open_again(place: &File, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    match options.open(format!("/proc/self/fd/{}", place.as_raw_fd())) {
        // Without /proc, as in some containers: no link, and the same file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
            let file = options.custom_flags(flags).open(path)?;
            let (seen, opened) = (place.metadata()?, file.metadata()?);
            if (seen.dev(), seen.ino()) == (opened.dev(), opened.ino()) {
                Ok(file)
            } else {
                Err(error)
            }
        }
        outcome => outcome,
    }
}

/// One line: a key and its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyEntry {
    key: PublicKey,
    /// Whether it is an authority's (`cert-authority`): certificates log in by
    /// it, and not the key.
    is_authority: bool,
    /// Whom such certificates may name, instead of the user (`principals=`).
    principals: Option<Vec<String>>,
    from: Option<Vec<From>>,
    expires: Option<SystemTime>,
    verify_required: bool,
}

/// One pattern of `from=`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct From {
    /// Whether a match refuses (`!pattern`).
    refuses: bool,
    peers: Peers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Peers {
    Network(Network),
    /// `*` and `?` against the address as text. A host name never matches:
    /// no name is looked up, as sshd with `UseDNS no`.
    Pattern(String),
}

impl AuthorizedKeys {
    /// Reads the text of a file. Lines that can't be used are left out, each
    /// with a warning in the log that names `origin` and the line.
    pub fn parse(text: &[u8], origin: &str) -> Self {
        let mut entries = Vec::new();
        // Windows' editors begin a file with a mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let joined = rfc4716(text);
        let text = joined.as_deref().unwrap_or(text);
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match entry(line) {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    let origin = Escaped(origin.as_bytes());
                    log::warn!("{origin}, line {number} is ignored: {why}");
                }
            }
        }
        AuthorizedKeys { entries }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the file can't be read, is larger than 1 MiB, or when others than
    /// its owner may write it: they could let themselves in.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let doing = || format!("reading the public keys in {}", path.display());
        // SECURITY: there may be a device that does something when it is opened,
        // or a FIFO that holds the login up. So the place is looked at first,
        // without opening what is there, and only what was looked at is opened.
        let place = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .or_else(|error| through_others(path, error))
            .doing(doing())?;
        let metadata = place.metadata().doing(doing())?;
        let trouble = if !metadata.is_file() {
            "it is no file"
        } else if metadata.mode() & 0o022 != 0 {
            "others may write it"
        } else if metadata.len() > LARGEST as u64 {
            "it is larger than 1 MiB"
        } else {
            let file = open_again(&place, path)
                .or_else(|error| through_others(path, error))
                .doing(doing())?;
            let text = read_at_most(file, LARGEST as u64).doing(doing())?;
            return Ok(Self::parse(&text, &path.to_string_lossy()));
        };
        Err(Error::new(
            ErrorKind::Denied,
            format!("{}: {trouble}", doing()),
        ))
    }

    /// Whether `key`, or the certificate that it is, may log in as these
    /// credentials say, at the time `now`.
    pub fn allows(&self, key: &PublicKey, with: &Credentials<'_>, now: SystemTime) -> bool {
        let certificate = Certificate::read(&key.blob);
        self.entries.iter().any(|entry| {
            let fits = match &certificate {
                None => !entry.is_authority && entry.key.blob == key.blob,
                Some(certificate) => {
                    let by = entry.is_authority && entry.key.blob == certificate.authority;
                    by && entry.trusts(certificate, key, with, now)
                }
            };
            fits && !(entry.verify_required && key.user_verified == Some(false))
                && entry.expires.is_none_or(|end| now < end)
                && entry
                    .from
                    .as_deref()
                    .is_none_or(|from| from_here(from, with.peer))
        })
    }

    /// Makes all keys authorities of certificates.
    pub(super) fn into_authorities(mut self) -> Self {
        for entry in &mut self.entries {
            entry.is_authority = true;
        }
        self
    }

    /// The usable keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.entries.iter().map(|entry| &entry.key)
    }

    /// How many usable keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no usable key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl KeyEntry {
    /// Whether a certificate by this authority is for the user.
    fn trusts(
        &self,
        certificate: &Certificate<'_>,
        key: &PublicKey,
        with: &Credentials<'_>,
        now: SystemTime,
    ) -> bool {
        let names = |principal: &[u8]| match &self.principals {
            None => principal == with.name.as_bytes(),
            Some(list) => list.iter().any(|name| name.as_bytes() == principal),
        };
        let outcome = certificate.admits(with.peer, key.user_verified, now, names);
        if let Err(why) = outcome {
            log::info!(
                "certificate {} does not let {} in: {why}",
                Quoted(certificate.id),
                Escaped(with.name.as_bytes())
            );
        }
        outcome.is_ok()
    }
}

/// The keys of a file of RFC 4716, as SSH Tectia, PuTTY and WinSCP write it, a
/// line each; `None`: it is another one.
fn rfc4716(text: &[u8]) -> Option<Vec<u8>> {
    if !text
        .trim_ascii_start()
        .starts_with(b"---- BEGIN SSH2 PUBLIC KEY ----")
    {
        return None;
    }
    let mut keys = Vec::new();
    let mut encoded = Vec::new();
    let mut in_header = false;
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        // A header goes on where its line ends with a backslash.
        let is_header = in_header || line.contains(&b':');
        in_header = is_header && line.ends_with(b"\\");
        if line.starts_with(b"---- END") {
            let blob = crate::base64::decode(&encoded).unwrap_or_default();
            keys.extend_from_slice(Reader::new(&blob).string().unwrap_or(b"broken"));
            keys.push(b' ');
            keys.append(&mut encoded);
            keys.push(b'\n');
        } else if !is_header && !line.starts_with(b"----") {
            encoded.extend_from_slice(line);
        }
    }
    Some(keys)
}

/// One match of a negated pattern refuses, whatever else matches.
fn from_here(from: &[From], peer: IpAddr) -> bool {
    let peer = canonical(peer);
    let text = peer.to_string();
    let matches = |from: &&From| match &from.peers {
        Peers::Network(network) => network.contains(peer),
        Peers::Pattern(pattern) => like(pattern.as_bytes(), text.as_bytes()),
    };
    let mut hits = from.iter().filter(matches).peekable();
    hits.peek().is_some() && hits.all(|hit| !hit.refuses)
}

/// `*` is any run of bytes, `?` any one.
fn like(pattern: &[u8], address: &[u8]) -> bool {
    let takes = |part: &u8, byte| *part == b'?' || part.eq_ignore_ascii_case(&byte);
    text::fits(pattern, address, |part| *part == b'*', takes)
}

/// `[options] type base64 [comment]`.
fn entry(line: &[u8]) -> Result<KeyEntry, String> {
    let (first, rest) = word(line);
    let (options, key_type, rest) = if is_key_type(first) {
        (&b""[..], first, rest)
    } else {
        let (options, rest) = options_word(line)?;
        let (key_type, rest) = word(rest);
        (options, key_type, rest)
    };
    if !is_key_type(key_type) {
        return Err("there is no key of a known type".into());
    }
    let (encoded, _comment) = word(rest);
    let blob = crate::base64::decode(encoded).ok_or("the key is not base64")?;
    if !Reader::new(&blob)
        .string()
        .is_ok_and(|name| name == key_type)
    {
        return Err("the key is not of the type it says".into());
    }
    let key_type = String::from_utf8_lossy(key_type).into_owned();
    let mut entry = KeyEntry {
        key: PublicKey::new(key_type, blob),
        is_authority: false,
        principals: None,
        from: None,
        expires: None,
        verify_required: false,
    };
    for option in split_options(options) {
        apply(&mut entry, option)?;
    }
    if entry.principals.is_some() && !entry.is_authority {
        return Err("principals= goes with cert-authority only".into());
    }
    Ok(entry)
}

fn is_key_type(word: &[u8]) -> bool {
    fields(word).is_some()
}

/// The first word, and what follows the blanks behind it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

/// The options: up to a blank outside of quotes.
fn options_word(line: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end =
        outside_quotes(line, |byte| matches!(byte, b' ' | b'\t')).ok_or("a quote is not closed")?;
    Ok((&line[..end], line[end..].trim_ascii_start()))
}

/// Where the first such byte outside of quotes is, or the end; `None` when the
/// end comes inside quotes.
fn outside_quotes(text: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' if quoted && text.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            byte if !quoted && wanted(byte) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    (!quoted).then_some(text.len())
}

fn split_options(mut text: &[u8]) -> Vec<&[u8]> {
    let mut options = Vec::new();
    while !text.is_empty() {
        let end = outside_quotes(text, |byte| byte == b',').unwrap_or(text.len());
        options.push(&text[..end]);
        text = text.get(end + 1..).unwrap_or_default();
    }
    options
}

/// The value of `name="value"`, with `\"` for a quote.
fn unquote(value: &[u8]) -> Option<String> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let text = std::str::from_utf8(inner).ok()?;
    Some(text.replace("\\\"", "\""))
}

fn apply(entry: &mut KeyEntry, option: &[u8]) -> Result<(), String> {
    let (name, value) = match option.iter().position(|byte| *byte == b'=') {
        Some(at) => (&option[..at], Some(&option[at + 1..])),
        None => (option, None),
    };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = match value {
        None => None,
        Some(value) => Some(unquote(value).ok_or_else(|| {
            let name = Escaped(name.as_bytes());
            format!("the value of {name} is not in quotes")
        })?),
    };
    match (name.as_str(), value) {
        // Nothing of that is served, with or without the option.
        (
            "restrict"
            | "no-pty"
            | "pty"
            | "no-port-forwarding"
            | "port-forwarding"
            | "no-agent-forwarding"
            | "agent-forwarding"
            | "no-x11-forwarding"
            | "x11-forwarding"
            | "no-user-rc"
            | "user-rc",
            None,
        ) => Ok(()),
        ("environment" | "permitopen" | "permitlisten" | "tunnel", Some(_)) => Ok(()),
        // A touch stays required: less than the option allows, never more.
        ("no-touch-required", None) => Ok(()),
        ("command", Some(command)) if command == "internal-sftp" => Ok(()),
        ("command", Some(_)) => Err("a key for another command may not be used for SFTP".into()),
        ("verify-required", None) => {
            entry.verify_required = true;
            Ok(())
        }
        ("cert-authority", None) => {
            entry.is_authority = true;
            Ok(())
        }
        ("principals", Some(list)) if entry.principals.is_none() => {
            entry.principals = Some(list.split(',').map(str::to_owned).collect());
            Ok(())
        }
        ("from", Some(list)) if entry.from.is_none() => {
            entry.from = Some(patterns(&list)?);
            Ok(())
        }
        ("expiry-time", Some(time)) => {
            let time = expiry(&time).ok_or("expiry-time is no time")?;
            entry.expires = Some(entry.expires.map_or(time, |before| before.min(time)));
            Ok(())
        }
        _ => Err(format!(
            "option {} is unknown, repeated or lacks its value",
            Escaped(name.as_bytes())
        )),
    }
}

fn patterns(list: &str) -> Result<Vec<From>, String> {
    let mut patterns = Vec::new();
    for pattern in list.split(',') {
        let pattern = pattern.trim();
        let (refuses, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if pattern.is_empty() {
            return Err("from= has an empty pattern".into());
        }
        let peers = match Network::read(pattern) {
            Ok(network) => Peers::Network(network),
            // A network that is none must not become a pattern that never
            // matches: negated, it would let everybody in.
            Err(why) if pattern.contains('/') => return Err(why),
            Err(_) => Peers::Pattern(pattern.to_owned()),
        };
        patterns.push(From { refuses, peers });
    }
    Ok(patterns)
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without a `Z`:
/// always UTC, where OpenSSH takes local time without it.
fn expiry(text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let zeroes = match digits.len() {
        8 => "000000",
        12 => "00",
        14 => "",
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Utc::parse(format!("{digits}{zeroes}").as_bytes())
}

#[cfg(test)]
mod tests;
