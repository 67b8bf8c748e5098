//! The entries of fuzzers, by the names of `fuzz/fuzz_targets`. They are not
//! in ordinary builds; tests replay with them what fuzzers have found.

use crate::auth::{AuthorizedKeys, Credentials, PublicKey, Secret, user_file};
use crate::config::settings::Settings;
use crate::config::source::Source;
use crate::session;
use crate::storage::VirtualPath;

/// An entry: bytes that must do no harm.
pub type Entry = fn(&[u8]);

/// Every entry and its name.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("ftp_session", crate::ftp::fuzz::session),
    #[cfg(feature = "ftps")]
    ("ftps_session", crate::ftp::fuzz::session_under_tls),
    ("ftp_lines", crate::ftp::fuzz::lines),
    ("listing", crate::ftp::fuzz::listed),
    ("paths", paths),
    ("patterns", patterns),
    ("users_file", users_file),
    ("configuration", configuration),
    ("authorized_keys", authorized_keys),
    ("proxy_header", proxy_header),
    ("sftp_session", crate::sftp::fuzz::session),
    #[cfg(feature = "sftp")]
    ("ssh_before_keys", crate::ssh::fuzz::before_keys),
    #[cfg(feature = "sftp")]
    ("ssh_after_keys", crate::ssh::fuzz::after_keys),
];

/// Runs the entry called `name`.
///
/// # Panics
/// When there is none, or when it has found something.
pub fn run(name: &str, data: &[u8]) {
    let entry = ENTRIES.iter().find(|(known, _)| *known == name);
    entry.expect("a name of the table").1(data);
}

/// Paths are normal however they are made, and never above the root.
fn paths(data: &[u8]) {
    let cut = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (first, second) = (&data[..cut], data.get(cut + 1..).unwrap_or(b""));
    let Ok(base) = VirtualPath::root().join(first) else {
        return;
    };
    for path in [Ok(base.clone()), base.join(second)].into_iter().flatten() {
        let bytes = path.as_bytes();
        assert!(bytes.starts_with(b"/") && bytes.len() < 4096);
        assert!(path.components().all(|name| {
            !name.is_empty()
                && name.len() <= 255
                && name != b"."
                && name != b".."
                && !name.contains(&b'/')
                && !name.contains(&0)
        }));
        assert_eq!(VirtualPath::root().join(bytes).ok(), Some(path.clone()));
        assert_eq!(base.join(bytes).ok(), Some(path.clone()));
        assert!(path.starts_with(&path.parent()));
        if !path.is_root() {
            assert_eq!(path.parent().join(path.name()).ok(), Some(path));
        }
    }
}

/// The matcher says what the meaning of patterns says.
fn patterns(data: &[u8]) {
    let cut = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (pattern, name) = (&data[..cut], data.get(cut + 1..).unwrap_or(b""));
    if pattern.len() > 64 || name.len() > 64 {
        // Only the time counts.
        session::matches(pattern, name);
        return;
    }
    // Row by row: which beginnings of the name the pattern so far fits.
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for letter in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match letter {
                b'*' => fits[at] || at > 0 && next[at - 1],
                letter => at > 0 && fits[at - 1] && (*letter == b'?' || *letter == name[at - 1]),
            };
        }
        fits = next;
    }
    assert_eq!(session::matches(pattern, name), fits[name.len()]);
}

/// A users file is read or refused, with places of mistakes that exist.
fn users_file(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    match user_file::parse(data) {
        Ok(entries) => {
            assert!(entries.len() <= lines);
            for entry in entries {
                assert!(!entry.name.is_empty());
                assert!(!entry.name.contains(|letter: char| letter.is_control()));
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            assert!(mistakes.iter().all(|mistake| mistake.line <= lines));
            for mistake in mistakes {
                assert!(!mistake.message.contains(['\n', '\r', '\x1b']));
            }
        }
    }
}

/// Settings are taken or refused; what is taken can be shown and read again.
fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut settings = Settings::default();
    let mut mistakes = Vec::new();
    Source::from_lines(text, "fuzz").apply(&mut settings, &mut mistakes);
    for key in crate::config::keys::KEYS {
        for value in key.shown(&settings) {
            let mut other = Settings::default();
            key.clear(&mut other);
            // What is shown of a password, say, need not be the password.
            let _ = key.set(&mut other, &value);
        }
    }
}

/// A file of keys is read; whatever is wrong with a line is no key.
fn authorized_keys(data: &[u8]) {
    let keys = AuthorizedKeys::parse(data, "fuzz");
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(keys.len() <= lines);
    // The bytes themselves as a certificate, too.
    let certificate = PublicKey::new("ssh-ed25519-cert-v01@openssh.com", data);
    for key in keys.keys().chain([&certificate]) {
        let with = Credentials::new("ann", Secret::PublicKey(key), [192, 0, 2, 7].into());
        keys.allows(key, &with, std::time::SystemTime::UNIX_EPOCH);
    }
}

/// A header names a client or is refused; nothing behind it is taken.
fn proxy_header(data: &[u8]) {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let data = &data[..data.len().min(8192)];
    let Ok((mut balancer, server)) = UnixStream::pair() else {
        return;
    };
    let sent = balancer.write_all(data);
    let shut = balancer.shutdown(std::net::Shutdown::Write);
    if sent.and(shut).is_ok() {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let socket = crate::net::socket::Socket::from(server);
        // Whatever it says is an answer.
        let _ = crate::net::proxy_protocol::read(&socket, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Everything in tests/corpus, which fuzzers have found worth keeping: a
    /// file for each entry, packed by fuzz/corpus.py.
    #[test]
    fn the_corpora_do_no_harm() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        for (name, entry) in ENTRIES {
            let packed = std::fs::read(top.join(name)).unwrap();
            let mut rest = &packed[..];
            assert!(!rest.is_empty(), "{name} has no corpus");
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (data, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                entry(data);
                rest = after;
            }
            assert!(rest.is_empty(), "{name}: the last input is cut off");
        }
    }

    /// A little of what fuzzers do, everywhere and without their tools.
    #[test]
    fn noise_does_no_harm() {
        let mut state = 0x5eed_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for (name, entry) in ENTRIES {
            // A handshake costs a thousand times what a line does.
            let rounds = if name.starts_with("ssh") || *name == "ftps_session" {
                50
            } else {
                500
            };
            for _ in 0..rounds {
                let length = next() % 300;
                // Half of the bytes from those that mean something.
                let data: Vec<u8> = (0..length)
                    .map(|_| match next() % 2 {
                        0 => next() as u8,
                        _ => b"*?/.:=,-# \r\n\0aA09\"\\\xff"[next() as usize % 20],
                    })
                    .collect();
                entry(&data);
            }
        }
    }
}
