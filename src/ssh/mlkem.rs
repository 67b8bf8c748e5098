//! ML-KEM-768 (FIPS 203), the half of `mlkem768x25519-sha256` that a quantum
//! computer does not break (draft-ietf-sshm-mlkem-hybrid-kex).
//!
//! OpenSSL has it from 3.5 on. A program that was compiled with the headers of
//! 3.0 may be running on such a library, so the library itself is asked.

use std::sync::OnceLock;

/// Of an encapsulation key.
pub(super) const KEY_LENGTH: usize = 1184;
pub(super) const CIPHERTEXT_LENGTH: usize = 1088;
pub(super) const SECRET_LENGTH: usize = 32;

pub(super) struct Encapsulated {
    pub(super) ciphertext: [u8; CIPHERTEXT_LENGTH],
    pub(super) secret: [u8; SECRET_LENGTH],
}

/// Whether this OpenSSL has ML-KEM-768.
pub(super) fn is_there() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // All coefficients zero: of no use to anybody, but a valid key.
    *ANSWER.get_or_init(|| encapsulate(&[0; KEY_LENGTH]).is_some())
}

/// A fresh secret for the owner of the key; `None` if the key is not valid
/// (FIPS 203, section 7.2: its length, and coefficients below the modulus).
#[cfg(ossl300)]
pub(super) fn encapsulate(key: &[u8]) -> Option<Encapsulated> {
    use openssl::pkey::{KeyType, PKey};
    let (ciphertext, secret) =
        PKey::public_key_from_raw_bytes_ex(None, KeyType::ML_KEM_768, None, key)
            .and_then(|key| crate::sys::kem::encapsulate(&key))
            .ok()?;
    Some(Encapsulated { ciphertext, secret })
}

#[cfg(not(ossl300))]
pub(super) fn encapsulate(_key: &[u8]) -> Option<Encapsulated> {
    None
}
