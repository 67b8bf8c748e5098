//! Key exchange: KEXINIT, the shared secret, the exchange hash and the keys
//! made from it (RFC 4253, sections 7 and 8; RFC 5656; RFC 8731;
//! draft-ietf-sshm-mlkem-hybrid-kex).

use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sha::{self, Sha256};

use super::algorithms::{self, Algorithms, Chosen, KexKind, Protection, choose};
use super::cipher::{Keys, key_lengths};
use super::fault::{Fault, Reason};
use super::host_key::HostKeys;
use super::mlkem;
use super::wire::{Put, message};
use crate::auth::{CERTIFICATE, plain_algorithm};
use crate::ssh_data::Reader;
use crate::text::Escaped;

/// The marks of strict key exchange, against CVE-2023-48795 (Terrapin).
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
/// The client wants EXT_INFO (RFC 8308).
const EXT_INFO_CLIENT: &str = "ext-info-c";

/// Our KEXINIT message.
pub(super) fn our_init(allowed: &Algorithms, keys: &HostKeys) -> Result<Vec<u8>, Fault> {
    let mut cookie = [0; 16];
    random(&mut cookie)?;
    let names = |list: &'_ [String]| -> Vec<String> { list.to_vec() };
    let mut payload = vec![message::KEXINIT];
    payload.put_bytes(&cookie);
    let mut kex = names(&allowed.kex);
    kex.push(STRICT_SERVER.into());
    payload.put_names(kex.iter().map(String::as_str));
    let host_keys = our_host_keys(allowed, keys);
    payload.put_names(host_keys.iter().map(String::as_str));
    for list in [&allowed.ciphers, &allowed.macs] {
        for _direction in 0..2 {
            payload.put_names(list.iter().map(String::as_str));
        }
    }
    for _direction in 0..2 {
        payload.put_string(b"none"); // compression
    }
    for _direction in 0..2 {
        payload.put_string(b""); // languages
    }
    payload.put_boolean(false); // no guess
    payload.put_u32(0);
    Ok(payload)
}

/// The host key algorithms for which there is a certificate or a key, in the
/// allow-list's order.
fn our_host_keys(allowed: &Algorithms, keys: &HostKeys) -> Vec<String> {
    let key = |name: &str| {
        let row = algorithms::HOST_KEYS.iter();
        let (_, kind) = row.copied().find(|(known, _)| *known == name)?;
        keys.find(kind.key_type())
    };
    let has = |name: &&String| key(name).is_some();
    let is_certified = |name: &&String| key(name).is_some_and(|key| key.certificate().is_some());
    let certified = allowed.host_keys.iter().filter(is_certified);
    certified
        .map(|name| format!("{name}{CERTIFICATE}"))
        .chain(allowed.host_keys.iter().filter(has).cloned())
        .collect()
}

/// What a client's KEXINIT says.
#[derive(Debug)]
pub(super) struct ClientInit {
    pub(super) chosen: Chosen,
    pub(super) strict: bool,
    pub(super) wants_ext_info: bool,
    /// A packet follows that was made on a wrong guess and must be dropped.
    pub(super) drop_next: bool,
}

/// Reads a client's KEXINIT and chooses.
pub(super) fn read_init(
    payload: &[u8],
    allowed: &Algorithms,
    keys: &HostKeys,
) -> Result<ClientInit, Fault> {
    let mut reader = Reader::new(payload);
    reader.take(17)?; // message number and cookie
    let kex = reader.text()?;
    let host_key = reader.text()?;
    let ciphers = [reader.text()?, reader.text()?];
    let macs = [reader.text()?, reader.text()?];
    let compression = [reader.text()?, reader.text()?];
    let _languages = [reader.text()?, reader.text()?];
    let guessed = reader.boolean()?;
    reader.u32()?;

    let ours = our_host_keys(allowed, keys);
    let chosen_kex = choose(kex, &allowed.kex, algorithms::kex())
        .ok_or_else(|| none("key exchange", kex, &allowed.kex))?;
    let mut theirs = host_key.split(',');
    let (certified, chosen_host_key) = theirs
        .find(|name| ours.iter().any(|our| our == name))
        .and_then(|name| {
            let plain = plain_algorithm(name);
            let name = plain.as_deref().unwrap_or(name);
            let row = choose(name, &allowed.host_keys, algorithms::HOST_KEYS)?;
            Some((plain.is_some(), row))
        })
        .ok_or_else(|| none("host key algorithm", host_key, &ours))?;
    let protection = |direction: usize| -> Result<Protection, Fault> {
        let cipher = choose(ciphers[direction], &allowed.ciphers, algorithms::CIPHERS)
            .ok_or_else(|| none("cipher", ciphers[direction], &allowed.ciphers))?;
        let mac = if cipher.1.is_aead() {
            None
        } else {
            Some(
                choose(macs[direction], &allowed.macs, algorithms::MACS)
                    .ok_or_else(|| none("MAC", macs[direction], &allowed.macs))?,
            )
        };
        if !compression[direction].split(',').any(|name| name == "none") {
            return Err(none(
                "compression",
                compression[direction],
                &["none".into()],
            ));
        }
        Ok(Protection { cipher, mac })
    };
    let first = |list: &str| list.split(',').next().unwrap_or_default().to_owned();
    let right_guess =
        allowed.kex.first() == Some(&first(kex)) && ours.first() == Some(&first(host_key));
    Ok(ClientInit {
        chosen: Chosen {
            kex: chosen_kex,
            host_key: chosen_host_key,
            certified,
            receive: protection(0)?,
            send: protection(1)?,
        },
        strict: kex.split(',').any(|name| name == STRICT_CLIENT),
        wants_ext_info: kex.split(',').any(|name| name == EXT_INFO_CLIENT),
        drop_next: guessed && !right_guess,
    })
}

/// The message an administrator needs when an old client can't connect.
fn none(class: &str, offered: &str, ours: &[String]) -> Fault {
    let offered = offered.as_bytes();
    let offered = Escaped(&offered[..offered.len().min(1000)]);
    let ours = ours.join(",");
    Fault::Disconnect(
        Reason::KeyExchangeFailed,
        format!("no common {class}; the client offers {offered}, this server {ours}").into(),
    )
}

/// The hash of a key exchange: of its exchange hash and its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(kind: KexKind) -> Self {
        match kind {
            KexKind::Nistp384 => Hash::Sha384,
            KexKind::Nistp521 | KexKind::Group16 => Hash::Sha512,
            _ => Hash::Sha256,
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => sha::sha256(bytes).to_vec(),
            Hash::Sha384 => sha::sha384(bytes).to_vec(),
            Hash::Sha512 => sha::sha512(bytes).to_vec(),
        }
    }
}

/// A key exchange as far as both public keys.
pub(super) struct SharedSecret {
    hash: Hash,
    /// Our ephemeral public key, as it goes on the wire.
    pub(super) ours: Vec<u8>,
    /// The secret K as it is hashed: an mpint or a string.
    encoded: Vec<u8>,
}

/// Our public key of one exchange, and its secret.
struct Agreed {
    ours: Vec<u8>,
    /// Big-endian.
    secret: Vec<u8>,
}

/// Makes our ephemeral key and the secret shared with the client's.
pub(super) fn agree(kind: KexKind, theirs: &[u8]) -> Result<SharedSecret, Fault> {
    let agreed = match kind {
        KexKind::X25519 => x25519(theirs)?,
        KexKind::Nistp256 => on_curve(Nid::X9_62_PRIME256V1, theirs)?,
        KexKind::Nistp384 => on_curve(Nid::SECP384R1, theirs)?,
        KexKind::Nistp521 => on_curve(Nid::SECP521R1, theirs)?,
        KexKind::Group14 => in_group(BigNum::get_rfc3526_prime_2048()?, theirs)?,
        KexKind::Group16 => in_group(BigNum::get_rfc3526_prime_4096()?, theirs)?,
        KexKind::MlKem768X25519 => {
            let (key, point) = theirs.split_at_checked(mlkem::KEY_LENGTH).ok_or_else(bad)?;
            let curve = x25519(point)?;
            let kem = mlkem::encapsulate(key).ok_or_else(bad)?;
            return Ok(SharedSecret::of_string(
                [&kem.ciphertext[..], &curve.ours].concat(),
                &hybrid_secret(&kem.secret, &curve.secret),
            ));
        }
    };
    Ok(SharedSecret::of_mpint(
        Hash::of(kind),
        agreed.ours,
        &agreed.secret,
    ))
}

/// The secret that holds as long as one of the two does.
pub(super) fn hybrid_secret(kem: &[u8; mlkem::SECRET_LENGTH], curve: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(kem);
    digest.update(curve);
    digest.finish()
}

/// The client's ephemeral key is not valid.
fn bad() -> Fault {
    // What OpenSSL says about a peer's bad point is of no use to anybody.
    drop(openssl::error::ErrorStack::get());
    Fault::Disconnect(
        Reason::KeyExchangeFailed,
        "the client's ephemeral key is not valid".into(),
    )
}

fn x25519(theirs: &[u8]) -> Result<Agreed, Fault> {
    if theirs.len() != 32 {
        return Err(bad());
    }
    let peer = PKey::public_key_from_raw_bytes(theirs, Id::X25519)?;
    let key = ephemeral_x25519()?;
    // RFC 8731, section 3: an all-zero secret must end the exchange.
    let secret = derive(&key, &peer).map_err(|_| bad())?;
    if secret.iter().all(|byte| *byte == 0) {
        return Err(bad());
    }
    Ok(Agreed {
        ours: key.raw_public_key()?,
        secret,
    })
}

fn on_curve(curve: Nid, theirs: &[u8]) -> Result<Agreed, Fault> {
    let group = EcGroup::from_curve_name(curve)?;
    let mut context = BigNumContext::new()?;
    // Uncompressed points only; from_bytes refuses what is not on the
    // curve, check_key what is no proper point (RFC 5656, section 4).
    let length = (group.degree() as usize).div_ceil(8);
    if theirs.len() != 1 + 2 * length || theirs[0] != 4 {
        return Err(bad());
    }
    let point = EcPoint::from_bytes(&group, theirs, &mut context).map_err(|_| bad())?;
    let peer = EcKey::from_public_key(&group, &point)?;
    peer.check_key().map_err(|_| bad())?;
    let key = EcKey::generate(&group)?;
    let form = PointConversionForm::UNCOMPRESSED;
    let ours = key.public_key().to_bytes(&group, form, &mut context)?;
    let peer = PKey::from_ec_key(peer)?;
    let secret = derive(&PKey::from_ec_key(key)?, &peer).map_err(|_| bad())?;
    Ok(Agreed { ours, secret })
}

/// Diffie-Hellman with the generator 2 (RFC 4253, section 8).
fn in_group(prime: BigNum, theirs: &[u8]) -> Result<Agreed, Fault> {
    /// Twice the strength of the hash at least, as OpenSSH has it.
    const EXPONENT: usize = 64;
    let mut context = BigNumContext::new()?;
    // An mpint: the first bit is the sign.
    if theirs.first().is_none_or(|first| *first >= 0x80) || theirs.len() > 513 {
        return Err(bad());
    }
    let peer = BigNum::from_slice(theirs)?;
    let mut last = BigNum::new()?;
    let one = BigNum::from_u32(1)?;
    last.checked_sub(&prime, &one)?;
    if peer <= one || peer >= last {
        return Err(bad());
    }
    let mut bytes = [0; EXPONENT];
    random(&mut bytes)?;
    let mut exponent = BigNum::from_slice(&bytes)?;
    exponent.set_const_time();
    let mut result = BigNum::new()?;
    let generator = BigNum::from_u32(2)?;
    result.mod_exp(&generator, &exponent, &prime, &mut context)?;
    let ours = mpint(&result.to_vec());
    result.mod_exp(&peer, &exponent, &prime, &mut context)?;
    if result <= one {
        return Err(bad());
    }
    Ok(Agreed {
        ours,
        secret: result.to_vec(),
    })
}

/// The bytes of an mpint, without their length.
fn mpint(number: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + number.len());
    bytes.put_mpint(number);
    bytes.split_off(4)
}

/// An ephemeral key of the kernel's random bytes, any 32 of which will do
/// (RFC 7748, section 5).
fn ephemeral_x25519() -> Result<PKey<Private>, Fault> {
    let mut secret = [0; 32];
    random(&mut secret)?;
    let key = PKey::private_key_from_raw_bytes(&secret, Id::X25519);
    secret.fill(0);
    // Or the compiler leaves out what nobody reads.
    std::hint::black_box(&secret);
    Ok(key?)
}

/// Random bytes, not from OpenSSL: each thread that asks it keeps generators
/// of its own.
fn random(bytes: &mut [u8]) -> Result<(), Fault> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
    Ok(())
}

fn derive(key: &PKey<Private>, peer: &PKey<Public>) -> Result<Vec<u8>, Fault> {
    let mut deriver = Deriver::new(key)?;
    deriver.set_peer(peer)?;
    Ok(deriver.derive_to_vec()?)
}

/// What goes into the exchange hash beside the secret, in this order.
pub(super) struct Transcript<'a> {
    pub(super) client_version: &'a [u8],
    pub(super) server_version: &'a [u8],
    pub(super) client_init: &'a [u8],
    pub(super) server_init: &'a [u8],
    pub(super) host_key: &'a [u8],
    pub(super) client_public: &'a [u8],
}

impl SharedSecret {
    /// With a secret that is a big-endian number.
    pub(super) fn of_mpint(hash: Hash, ours: Vec<u8>, secret: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(5 + secret.len());
        encoded.put_mpint(secret);
        SharedSecret {
            hash,
            ours,
            encoded,
        }
    }

    /// With a secret that is bytes.
    pub(super) fn of_string(ours: Vec<u8>, secret: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(4 + secret.len());
        encoded.put_string(secret);
        SharedSecret {
            hash: Hash::Sha256,
            ours,
            encoded,
        }
    }

    /// The exchange hash H.
    pub(super) fn exchange_hash(&self, transcript: &Transcript<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096);
        bytes.put_string(transcript.client_version);
        bytes.put_string(transcript.server_version);
        bytes.put_string(transcript.client_init);
        bytes.put_string(transcript.server_init);
        bytes.put_string(transcript.host_key);
        bytes.put_string(transcript.client_public);
        bytes.put_string(&self.ours);
        bytes.put_bytes(&self.encoded);
        self.hash.digest(&bytes)
    }

    /// The keys of one direction (RFC 4253, section 7.2).
    pub(super) fn keys(
        &self,
        hash: &[u8],
        session: &[u8],
        protection: Protection,
        letters: Letters,
    ) -> Keys {
        let (iv, key, mac) = key_lengths(protection);
        let [iv_letter, key_letter, mac_letter] = letters.0;
        Keys {
            iv: self.stretch(hash, session, iv_letter, iv),
            key: self.stretch(hash, session, key_letter, key),
            mac: self.stretch(hash, session, mac_letter, mac),
        }
    }

    fn stretch(&self, hash: &[u8], session: &[u8], letter: u8, length: usize) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::with_capacity(length + 64);
        while out.len() < length {
            let mut bytes = [&self.encoded, hash].concat();
            if out.is_empty() {
                bytes.put_byte(letter);
                bytes.put_bytes(session);
            } else {
                bytes.put_bytes(&out);
            }
            out.put_bytes(&self.hash.digest(&bytes));
        }
        out.truncate(length);
        out
    }
}

/// The letters of RFC 4253, section 7.2, for IV, key and MAC key.
pub(super) struct Letters([u8; 3]);
pub(super) const CLIENT_TO_SERVER: Letters = Letters(*b"ACE");
pub(super) const SERVER_TO_CLIENT: Letters = Letters(*b"BDF");
