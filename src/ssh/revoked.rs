//! Users' keys that do not count any more, from a file: public keys as in
//! `authorized_keys`, and SHA-256 fingerprints as `ssh-keygen -l` shows them.

use std::path::Path;

use super::host_key::fingerprint;
use crate::auth::{AuthorizedKeys, Certificate, PublicKey};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys::{open_setting, read_at_most};

/// Largest file.
const LARGEST: u64 = 1 << 20;
/// Of a fingerprint: `SHA256:` and 32 bytes in base64.
const LENGTH: usize = 7 + 43;

/// The keys of a file.
pub struct RevokedKeys(Vec<String>);

impl RevokedKeys {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read, or a line can't be understood: a key that is
    /// overlooked would go on to count.
    pub fn read(path: &Path) -> Result<RevokedKeys> {
        let doing = || format!("reading the revoked keys in {}", path.display());
        let broken = |what: String| Error::new(ErrorKind::Invalid, format!("{}: {what}", doing()));
        let text = open_setting(path).and_then(|file| read_at_most(file, LARGEST + 1));
        let text = text.doing(doing())?;
        if text.starts_with(b"SSHKRL\n\0") {
            let what = "a KRL is not read here: give a list of public keys or SHA256: fingerprints";
            return Err(broken(what.into()));
        }
        if text.len() as u64 > LARGEST {
            return Err(broken("it is larger than 1 MiB".into()));
        }
        let mut fingerprints = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let found = of_line(line, &format!("{}", path.display()));
            let what = || {
                broken(format!(
                    "line {number} is no public key and no SHA256: fingerprint"
                ))
            };
            fingerprints.push(found.ok_or_else(what)?);
        }
        Ok(RevokedKeys(fingerprints))
    }

    /// Whether the key is one of them; of a certificate, its key or authority.
    pub fn has(&self, key: &PublicKey) -> bool {
        let has = |blob: &[u8]| self.0.contains(&fingerprint(blob));
        match Certificate::read(&key.blob) {
            Some(certificate) => has(&certificate.key.blob) || has(certificate.authority),
            None => has(&key.blob),
        }
    }
}

/// The fingerprint that a line is or has.
fn of_line(line: &[u8], origin: &str) -> Option<String> {
    let mut words = line.split(u8::is_ascii_whitespace);
    // `ssh-keygen -l` writes the bits first.
    let mark = words
        .clone()
        .take(2)
        .find(|word| word.starts_with(b"SHA256:"));
    if let Some(mark) = mark {
        let mark = String::from_utf8_lossy(mark);
        let mark = mark.trim_end_matches('=');
        return (mark.len() == LENGTH).then(|| mark.to_owned());
    }
    // A certificate stands for its key.
    let blob = words.nth(1).and_then(crate::base64::decode);
    if let Some(certificate) = blob.as_deref().and_then(Certificate::read) {
        return Some(fingerprint(&certificate.key.blob));
    }
    let keys = AuthorizedKeys::parse(line, origin);
    keys.keys().next().map(|key| fingerprint(&key.blob))
}
