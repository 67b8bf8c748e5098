//! The algorithms: one table a class, the allow-lists that narrow them, and
//! the choice between what both sides offer (RFC 4253, section 7.1).
//!
//! Nothing here signs or authenticates with SHA-1, MD5 or CBC. `mlkem768x25519-sha256` is there where
//! OpenSSL has ML-KEM, from 3.5 on.

use super::mlkem;
use super::wire::Put;
use crate::error::{Error, ErrorKind, Result};

/// Bits of the least RSA keys that are accepted, of any purpose (SP 800-131A).
pub(super) const LEAST_RSA_BITS: u32 = 2048;

/// How a shared secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KexKind {
    /// draft-ietf-sshm-mlkem-hybrid-kex.
    MlKem768X25519,
    /// RFC 8731.
    X25519,
    /// RFC 5656, section 4.
    Nistp256,
    Nistp384,
    Nistp521,
    /// RFC 8268: the groups of RFC 3526 with 2048 and 4096 bits.
    Group14,
    Group16,
}

/// How a cipher protects a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CipherKind {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Ctr,
    Aes256Ctr,
}

impl CipherKind {
    /// Whether the cipher authenticates too, so that no MAC is chosen.
    pub(super) fn is_aead(self) -> bool {
        !matches!(self, CipherKind::Aes128Ctr | CipherKind::Aes256Ctr)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashKind {
    Sha256,
    Sha512,
}

/// What a MAC covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacOrder {
    /// The encrypted packet (`-etm@openssh.com`).
    EncryptThenMac,
    /// The packet before encryption (RFC 4253, section 6.4).
    EncryptAndMac,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MacKind {
    pub(super) hash: HashKind,
    pub(super) order: MacOrder,
}

/// How a signature is made over what kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureKind {
    Ed25519,
    EcdsaNistp256,
    EcdsaNistp384,
    EcdsaNistp521,
    RsaSha256,
    RsaSha512,
    /// Security keys (OpenSSH, PROTOCOL.u2f).
    SkEd25519,
    SkEcdsaNistp256,
}

impl SignatureKind {
    /// The type of key that makes such signatures, as its blob begins.
    pub(super) fn key_type(self) -> &'static str {
        match self {
            SignatureKind::RsaSha256 | SignatureKind::RsaSha512 => "ssh-rsa",
            other => name_of(SIGNATURES, other),
        }
    }
}

type AlgorithmTable<T> = &'static [(&'static str, T)];

/// In our order of preference, which only counts where a client has none: the
/// first of the *client's* names that we have is taken.
const KEX: AlgorithmTable<KexKind> = &[
    ("mlkem768x25519-sha256", KexKind::MlKem768X25519),
    ("curve25519-sha256", KexKind::X25519),
    ("curve25519-sha256@libssh.org", KexKind::X25519),
    ("ecdh-sha2-nistp256", KexKind::Nistp256),
    ("ecdh-sha2-nistp384", KexKind::Nistp384),
    ("ecdh-sha2-nistp521", KexKind::Nistp521),
    ("diffie-hellman-group16-sha512", KexKind::Group16),
    ("diffie-hellman-group14-sha256", KexKind::Group14),
];

/// The key exchanges that this OpenSSL can do.
pub(super) fn kex() -> AlgorithmTable<KexKind> {
    if mlkem::is_there() { KEX } else { &KEX[1..] }
}

pub(super) const CIPHERS: AlgorithmTable<CipherKind> = &[
    ("aes128-gcm@openssh.com", CipherKind::Aes128Gcm),
    ("aes256-gcm@openssh.com", CipherKind::Aes256Gcm),
    (
        "chacha20-poly1305@openssh.com",
        CipherKind::ChaCha20Poly1305,
    ),
    ("aes128-ctr", CipherKind::Aes128Ctr),
    ("aes256-ctr", CipherKind::Aes256Ctr),
];

/// The last two are for clients of the age of libssh2 1.8 and paramiko 2.
pub(super) const MACS: AlgorithmTable<MacKind> = &[
    (
        "hmac-sha2-256-etm@openssh.com",
        MacKind {
            hash: HashKind::Sha256,
            order: MacOrder::EncryptThenMac,
        },
    ),
    (
        "hmac-sha2-512-etm@openssh.com",
        MacKind {
            hash: HashKind::Sha512,
            order: MacOrder::EncryptThenMac,
        },
    ),
    (
        "hmac-sha2-256",
        MacKind {
            hash: HashKind::Sha256,
            order: MacOrder::EncryptAndMac,
        },
    ),
    (
        "hmac-sha2-512",
        MacKind {
            hash: HashKind::Sha512,
            order: MacOrder::EncryptAndMac,
        },
    ),
];

/// Signatures of host keys.
pub(super) const HOST_KEYS: AlgorithmTable<SignatureKind> = &[
    ("ssh-ed25519", SignatureKind::Ed25519),
    ("ecdsa-sha2-nistp256", SignatureKind::EcdsaNistp256),
    ("ecdsa-sha2-nistp384", SignatureKind::EcdsaNistp384),
    ("ecdsa-sha2-nistp521", SignatureKind::EcdsaNistp521),
    ("rsa-sha2-512", SignatureKind::RsaSha512),
    ("rsa-sha2-256", SignatureKind::RsaSha256),
];

/// Signatures of users' keys.
pub(super) const SIGNATURES: AlgorithmTable<SignatureKind> = &[
    ("ssh-ed25519", SignatureKind::Ed25519),
    ("sk-ssh-ed25519@openssh.com", SignatureKind::SkEd25519),
    ("ecdsa-sha2-nistp256", SignatureKind::EcdsaNistp256),
    ("ecdsa-sha2-nistp384", SignatureKind::EcdsaNistp384),
    ("ecdsa-sha2-nistp521", SignatureKind::EcdsaNistp521),
    (
        "sk-ecdsa-sha2-nistp256@openssh.com",
        SignatureKind::SkEcdsaNistp256,
    ),
    ("rsa-sha2-512", SignatureKind::RsaSha512),
    ("rsa-sha2-256", SignatureKind::RsaSha256),
];

/// The name of a row.
pub(super) fn name_of<T: PartialEq>(table: AlgorithmTable<T>, value: T) -> &'static str {
    table
        .iter()
        .find(|(_, row)| *row == value)
        .map_or("", |(name, _)| name)
}

/// The allow-lists: which algorithms of each class are offered.
///
/// A client's order decides which of the common ones is used. The default is
/// everything that this server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange: `mlkem768x25519-sha256` where OpenSSL has ML-KEM (3.5),
    /// `curve25519-sha256`, `curve25519-sha256@libssh.org`,
    /// `ecdh-sha2-nistp256`, `-nistp384`, `-nistp521`,
    /// `diffie-hellman-group16-sha512`, `diffie-hellman-group14-sha256`.
    pub kex: Vec<String>,
    /// Host key signatures: `ssh-ed25519`, `ecdsa-sha2-nistp256`, `-nistp384`,
    /// `-nistp521`, `rsa-sha2-512`, `rsa-sha2-256`; offered where there is such a host key.
    pub host_keys: Vec<String>,
    /// Ciphers, both directions.
    pub ciphers: Vec<String>,
    /// MACs, both directions; for `aes*-ctr` only.
    pub macs: Vec<String>,
    /// Signatures of users' keys, told to clients as `server-sig-algs`.
    pub signatures: Vec<String>,
}

impl Default for Algorithms {
    fn default() -> Self {
        fn all<T>(table: AlgorithmTable<T>) -> Vec<String> {
            table.iter().map(|(name, _)| name.to_string()).collect()
        }
        Algorithms {
            kex: all(kex()),
            host_keys: all(HOST_KEYS),
            ciphers: all(CIPHERS),
            macs: all(MACS),
            signatures: all(SIGNATURES),
        }
    }
}

impl Algorithms {
    /// Checks the lists, so that a wrong word stops the start and not the
    /// first client.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name this server does not have, and for an
    /// empty list.
    pub fn check(&self) -> Result<()> {
        fn check<T>(class: &str, list: &[String], table: AlgorithmTable<T>) -> Result<()> {
            if list.is_empty() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("no SSH {class} is allowed"),
                ));
            }
            for name in list {
                if !table.iter().any(|(known, _)| known == name) {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!(
                            "there is no SSH {class} {name:?}; there are {}",
                            table
                                .iter()
                                .map(|(known, _)| *known)
                                .collect::<Vec<_>>()
                                .join(", ")
                        ),
                    ));
                }
            }
            Ok(())
        }
        check("key exchange", &self.kex, kex())?;
        check("host key algorithm", &self.host_keys, HOST_KEYS)?;
        check("cipher", &self.ciphers, CIPHERS)?;
        check("MAC", &self.macs, MACS)?;
        check("signature algorithm", &self.signatures, SIGNATURES)
    }

    /// A user's signature algorithm, if it is allowed.
    pub(super) fn signature(&self, name: &str) -> Option<SignatureKind> {
        choose(name, &self.signatures, SIGNATURES).map(|(_, kind)| kind)
    }
}

/// The first name of the client's comma separated list that is allowed and
/// known.
pub(super) fn choose<T: Copy>(
    client: &str,
    allowed: &[String],
    table: AlgorithmTable<T>,
) -> Option<(&'static str, T)> {
    client.split(',').find_map(|name| {
        let row = table.iter().find(|(known, _)| *known == name)?;
        allowed.iter().any(|allow| allow == name).then_some(*row)
    })
}

/// What both sides of a KEXINIT agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) kex: (&'static str, KexKind),
    pub(super) host_key: (&'static str, SignatureKind),
    /// The client is shown the host key's certificate.
    pub(super) certified: bool,
    /// From the client to us.
    pub(super) receive: Protection,
    /// From us to the client.
    pub(super) send: Protection,
}

/// Cipher and, unless it is an AEAD, MAC of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protection {
    pub(super) cipher: (&'static str, CipherKind),
    pub(super) mac: Option<(&'static str, MacKind)>,
}

/// The EXT_INFO message (RFC 8308) with `server-sig-algs`: without it clients
/// fall back to SHA-1 signatures of RSA keys, which we refuse.
pub(super) fn ext_info(allowed: &Algorithms) -> Vec<u8> {
    let mut message = vec![super::wire::message::EXT_INFO];
    message.put_u32(1);
    message.put_string(b"server-sig-algs");
    message.put_names(allowed.signatures.iter().map(String::as_str));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenSSH signs with SHA-1 for servers that do not tell it otherwise.
    #[test]
    fn clients_are_told_which_signatures_count() {
        use crate::ssh::wire::message;
        use crate::ssh_data::Reader;
        let message = ext_info(&Algorithms::default());
        assert_eq!(message[0], message::EXT_INFO);
        let mut reader = Reader::new(&message[1..]);
        assert_eq!(reader.u32().unwrap(), 1);
        assert_eq!(reader.text().unwrap(), "server-sig-algs");
        let names: Vec<_> = reader.text().unwrap().split(',').collect();
        assert!(names.contains(&"rsa-sha2-256") && names.contains(&"ssh-ed25519"));
        assert!(!names.contains(&"ssh-rsa"), "{names:?}");
    }

    #[test]
    fn the_clients_order_decides_within_what_is_allowed() {
        let mut allowed = Algorithms::default();
        let list = "aes256-cbc,aes256-ctr,aes128-gcm@openssh.com";
        assert_eq!(
            choose(list, &allowed.ciphers, CIPHERS),
            Some(("aes256-ctr", CipherKind::Aes256Ctr))
        );
        allowed.ciphers.retain(|name| name.contains("gcm"));
        assert_eq!(
            choose(list, &allowed.ciphers, CIPHERS),
            Some(("aes128-gcm@openssh.com", CipherKind::Aes128Gcm))
        );
        assert_eq!(choose("", &allowed.ciphers, CIPHERS), None);
        assert_eq!(choose("none,3des-cbc", &allowed.ciphers, CIPHERS), None);
    }

    #[test]
    fn wrong_lists_are_found_at_start() {
        assert!(Algorithms::default().check().is_ok());
        for spoil in [
            |a: &mut Algorithms| a.ciphers.push("aes128-cbc".into()),
            |a: &mut Algorithms| a.kex.clear(),
            |a: &mut Algorithms| a.host_keys.push("ssh-rsa".into()),
            |a: &mut Algorithms| a.macs.push("hmac-sha1".into()),
            |a: &mut Algorithms| a.signatures.push("ssh-dss".into()),
        ] {
            let mut algorithms = Algorithms::default();
            spoil(&mut algorithms);
            assert!(algorithms.check().is_err());
        }
    }

    #[test]
    fn key_types_of_signatures() {
        assert_eq!(SignatureKind::RsaSha512.key_type(), "ssh-rsa");
        assert_eq!(SignatureKind::Ed25519.key_type(), "ssh-ed25519");
    }
}
