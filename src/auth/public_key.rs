//! A public key as SSH names it.

/// A public key: algorithm name and key blob of RFC 4253, section 6.6.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub algorithm: String,
    /// The blob, beginning with the algorithm's name as an SSH string.
    pub blob: Vec<u8>,
}

impl PublicKey {
    /// A key from its two parts.
    pub fn new(algorithm: impl Into<String>, blob: impl Into<Vec<u8>>) -> Self {
        PublicKey {
            algorithm: algorithm.into(),
            blob: blob.into(),
        }
    }
}
