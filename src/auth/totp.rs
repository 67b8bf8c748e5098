//! Codes of six digits that change every 30 seconds (RFC 6238, with HMAC-SHA-1
//! as every authenticator app has it). Nothing here knows about users.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::digest::{Algorithm, Digest};
use crate::sync::unpoisoned;

/// Digits of a code.
const DIGITS: usize = 6;
/// Seconds of a step.
const STEP: u64 = 30;
/// Shortest secret (RFC 4226, section 4, asks for 16 bytes, and apps make 10).
const SECRET_MIN: usize = 10;

/// The last step whose code was used, by secret: no code counts twice.
static USED: Mutex<BTreeMap<Vec<u8>, u64>> = Mutex::new(BTreeMap::new());

/// Reads a secret in base 32 (RFC 4648), as apps show it.
pub(crate) fn secret(text: &[u8]) -> Result<Vec<u8>, String> {
    if cfg!(not(any(feature = "ftps", feature = "sftp"))) {
        return Err("this build has no SHA-1, and so no codes".into());
    }
    let wrong = || "expected at least 16 characters of base 32 (A to Z, 2 to 7)".to_owned();
    let (mut secret, mut bits, mut count) = (Vec::new(), 0_u16, 0);
    for byte in text.iter().filter(|byte| **byte != b'=') {
        let value = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return Err(wrong()),
        };
        bits = bits << 5 | u16::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            secret.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if secret.len() >= SECRET_MIN {
        Ok(secret)
    } else {
        Err(wrong())
    }
}

/// Splits the code off the end of a password.
pub(crate) fn split(given: &[u8]) -> (&[u8], Option<u32>) {
    let at = given.len().saturating_sub(DIGITS);
    let (password, code) = given.split_at(at);
    let is_code = code.len() == DIGITS && code.iter().all(u8::is_ascii_digit);
    let code = std::str::from_utf8(code).ok().filter(|_| is_code);
    (password, code.and_then(|code| code.parse().ok()))
}

/// Whether the code is that of now, or of one step before or after, and has not
/// been used. From here on it has.
pub(crate) fn accepts(secret: &[u8], code: u32, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / STEP;
    let mut used = unpoisoned(USED.lock());
    used.retain(|_, step| *step + 2 >= now);
    let fresh = used.get(secret).map_or(0, |step| step + 1);
    let steps = now.saturating_sub(1)..=now + 1;
    let fits = |step: &u64| *step >= fresh && code_at(secret, *step) == Some(code);
    let Some(step) = steps.into_iter().find(fits) else {
        return false;
    };
    used.insert(secret.to_vec(), step);
    true
}

/// RFC 4226, section 5.3.
fn code_at(secret: &[u8], step: u64) -> Option<u32> {
    let mut key = [0; 64];
    let hashed;
    let short = if secret.len() > key.len() {
        hashed = sha1(&[secret])?;
        &hashed[..]
    } else {
        secret
    };
    key.get_mut(..short.len())?.copy_from_slice(short);
    let inner = sha1(&[&key.map(|byte| byte ^ 0x36), &step.to_be_bytes()])?;
    let mac = sha1(&[&key.map(|byte| byte ^ 0x5c), &inner])?;
    let at = usize::from(mac.last()? & 15);
    let number = u32::from_be_bytes(mac.get(at..at + 4)?.try_into().ok()?);
    Some((number & 0x7fff_ffff) % 1_000_000)
}

fn sha1(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut digest = Digest::new(Algorithm::Sha1)?;
    parts.iter().for_each(|part| digest.update(part));
    Some(digest.finish())
}

#[cfg(test)]
#[cfg(any(feature = "ftps", feature = "sftp"))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The examples of RFC 6238, appendix B, cut to six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (seconds, want) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(code_at(secret, seconds / STEP), Some(want));
        }
    }

    #[test]
    fn a_code_counts_once_and_near_its_time() {
        let secret = b"a secret of this test";
        let code = |step| code_at(secret, step).unwrap();
        assert!(!accepts(secret, code(998), at(1000 * STEP)));
        assert!(accepts(secret, code(999), at(1000 * STEP)));
        assert!(!accepts(secret, code(999), at(1000 * STEP)), "twice");
        assert!(accepts(secret, code(1001), at(1000 * STEP)));
        // An older one than the last that was used.
        assert!(!accepts(secret, code(1000), at(1000 * STEP)));
        assert!(!accepts(secret, code(1001), at(1002 * STEP)), "twice");
        assert!(!accepts(secret, code(1005), at(1003 * STEP)));
        assert!(accepts(secret, code(1003), at(1003 * STEP)));
    }

    #[test]
    fn secrets_and_passwords_are_read() {
        assert_eq!(secret(b"MZXW6YTBOJ2XE4TB").unwrap(), b"foobarurra");
        assert_eq!(secret(b"mzxw6ytboj2xe4tb==").unwrap(), b"foobarurra");
        for wrong in [
            &b""[..],
            b"MZXW6YTB",
            b"MZXW6YTBOJ2XE4T1",
            b"MZXW 6YTBOJ2XE4TB",
        ] {
            assert!(secret(wrong).is_err());
        }
        assert_eq!(split(b"open123456"), (&b"open"[..], Some(123_456)));
        assert_eq!(split(b"012345"), (&b""[..], Some(12_345)));
        for wrong in [&b""[..], b"12345", b"open12345x", b"open+12345"] {
            assert_eq!(split(wrong).1, None);
        }
    }
}
