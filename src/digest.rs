//! Checksums of files, for HASH and its elders and for SFTP's check-file.
//!
//! SHA-256, SHA-512 and CRC32 are always there; with OpenSSL in the build
//! they are computed by it, and SHA-1 and MD5, which old clients still ask
//! for, join. None of them guards anything here.

#[cfg(any(feature = "ftps", feature = "sftp"))]
use openssl::hash::{Hasher, MessageDigest};

/// A way to compute a checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC-32 of IEEE 802.3, as zip and XCRC use it.
    Crc32,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All that this build can compute, the best first.
    pub const ALL: &'static [Algorithm] = &[
        Algorithm::Sha256,
        Algorithm::Sha512,
        #[cfg(any(feature = "ftps", feature = "sftp"))]
        Algorithm::Sha1,
        #[cfg(any(feature = "ftps", feature = "sftp"))]
        Algorithm::Md5,
        Algorithm::Crc32,
    ];

    /// The name in draft-bryan-ftpext-hash and in FEAT.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Md5 => "MD5",
            Algorithm::Sha1 => "SHA-1",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
        }
    }

    /// The algorithm of that name, without regard to case and hyphens, if
    /// this build has it.
    pub fn find(name: &str) -> Option<Algorithm> {
        let plain = |name: &str| name.replace('-', "").to_ascii_uppercase();
        Algorithm::ALL
            .iter()
            .copied()
            .find(|algorithm| plain(algorithm.name()) == plain(name))
    }
}

/// A checksum in the making.
pub struct Digest(DigestState);

enum DigestState {
    Crc32(u32),
    #[cfg(not(any(feature = "ftps", feature = "sftp")))]
    Sha256(Box<hmac_sha256::Hash>),
    #[cfg(not(any(feature = "ftps", feature = "sftp")))]
    Sha512(Box<hmac_sha512::Hash>),
    #[cfg(any(feature = "ftps", feature = "sftp"))]
    OpenSsl(Box<Hasher>),
}

impl Digest {
    /// Begins; `None` if this build, or the policy of its OpenSSL, can't.
    pub fn new(algorithm: Algorithm) -> Option<Digest> {
        if algorithm == Algorithm::Crc32 {
            return Some(Digest(DigestState::Crc32(!0)));
        }
        #[cfg(any(feature = "ftps", feature = "sftp"))]
        {
            let kind = match algorithm {
                Algorithm::Md5 => MessageDigest::md5(),
                Algorithm::Sha1 => MessageDigest::sha1(),
                Algorithm::Sha256 => MessageDigest::sha256(),
                Algorithm::Sha512 | Algorithm::Crc32 => MessageDigest::sha512(),
            };
            Hasher::new(kind)
                .ok()
                .map(|hasher| Digest(DigestState::OpenSsl(Box::new(hasher))))
        }
        #[cfg(not(any(feature = "ftps", feature = "sftp")))]
        match algorithm {
            Algorithm::Sha256 => Some(Digest(DigestState::Sha256(Box::new(
                hmac_sha256::Hash::new(),
            )))),
            Algorithm::Sha512 => Some(Digest(DigestState::Sha512(Box::new(
                hmac_sha512::Hash::new(),
            )))),
            _ => None,
        }
    }

    /// Takes more bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            DigestState::Crc32(crc) => *crc = crc32(*crc, data),
            #[cfg(not(any(feature = "ftps", feature = "sftp")))]
            DigestState::Sha256(hash) => hash.update(data),
            #[cfg(not(any(feature = "ftps", feature = "sftp")))]
            DigestState::Sha512(hash) => hash.update(data),
            #[cfg(any(feature = "ftps", feature = "sftp"))]
            DigestState::OpenSsl(hasher) => {
                // Memory alone can fail here; finish then gives another sum
                // than any file has.
                let _ = hasher.update(data);
            }
        }
    }

    /// The checksum's bytes.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            DigestState::Crc32(crc) => (!crc).to_be_bytes().to_vec(),
            #[cfg(not(any(feature = "ftps", feature = "sftp")))]
            DigestState::Sha256(hash) => hash.finalize().to_vec(),
            #[cfg(not(any(feature = "ftps", feature = "sftp")))]
            DigestState::Sha512(hash) => hash.finalize().to_vec(),
            #[cfg(any(feature = "ftps", feature = "sftp"))]
            DigestState::OpenSsl(mut hasher) => {
                hasher.finish().map(|sum| sum.to_vec()).unwrap_or_default()
            }
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text
        })
}

/// CRC-32 by four bits at a time: a table of 64 bytes, not of 1 KiB.
fn crc32(crc: u32, data: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut at = 0;
        while at < 16 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 != 0 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    data.iter().fold(crc, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = TABLE[(crc & 15) as usize] ^ (crc >> 4);
        TABLE[(crc & 15) as usize] ^ (crc >> 4)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let sum = |algorithm, text: &str| {
            let mut digest = Digest::new(algorithm).unwrap();
            digest.update(text.as_bytes());
            hex(&digest.finish())
        };
        assert_eq!(sum(Algorithm::Crc32, "123456789"), "cbf43926");
        assert_eq!(
            sum(Algorithm::Sha256, "abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(sum(Algorithm::Sha512, "abc").starts_with("ddaf35a193617abacc417349ae204131"));
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::find(algorithm.name()), Some(*algorithm));
            assert!(Digest::new(*algorithm).is_some());
        }
        assert_eq!(Algorithm::find("sha256"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::find("MD4"), None);
    }
}
