//! A public key as SSH names it.

/// A public key: algorithm name and key blob of RFC 4253, section 6.6. It may be
/// a certificate of OpenSSH, which has another name and blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub algorithm: String,
    /// The blob, beginning with the algorithm's name as an SSH string.
    pub blob: Vec<u8>,
    /// Of a security key that has signed: whether it has verified its user, by a
    /// PIN or a finger. `None`: no security key, or it has not signed yet.
    pub user_verified: Option<bool>,
}

impl PublicKey {
    /// A key from its two parts.
    pub fn new(algorithm: impl Into<String>, blob: impl Into<Vec<u8>>) -> Self {
        PublicKey {
            algorithm: algorithm.into(),
            blob: blob.into(),
            user_verified: None,
        }
    }
}
