//! Packet protection: seals and opens one packet at a time, in place.
//!
//! A packet is `length(4) padding-length(1) payload padding tag`
//! (RFC 4253, section 6). Contexts are made once a key; nothing is allocated
//! for a packet by this code.

use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::md_ctx::MdCtx;
use openssl::memcmp;
use openssl::pkey::{Id, PKey};
use openssl::sha::{Sha256, Sha512};

use super::algorithms::{CipherKind, HashKind, MacKind, MacOrder, Protection};
use super::fault::{Fault, Reason};

/// Key material of one direction, cut from the exchange hash.
pub(super) struct Keys {
    pub(super) iv: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) mac: Vec<u8>,
}

/// How many bytes of key material a direction needs: IV, key, MAC key.
pub(super) fn key_lengths(protection: Protection) -> (usize, usize, usize) {
    let (iv, key) = match protection.cipher.1 {
        CipherKind::Aes128Gcm => (12, 16),
        CipherKind::Aes256Gcm => (12, 32),
        // Two keys of 256 bits; the nonce is the sequence number.
        CipherKind::ChaCha20Poly1305 => (0, 64),
        CipherKind::Aes128Ctr => (16, 16),
        CipherKind::Aes256Ctr => (16, 32),
    };
    let mac = match protection.mac {
        Some((_, mac)) => hash_length(mac.hash),
        None => 0,
    };
    (iv, key, mac)
}

fn hash_length(hash: HashKind) -> usize {
    match hash {
        HashKind::Sha256 => 32,
        HashKind::Sha512 => 64,
    }
}

/// One direction's packets since its keys were taken into use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// Whether sequence numbers go on or, with strict key exchange, begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    GoesOn,
    FromZero,
}

/// Which way the packets of a [`Protector`] go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// The protection of one direction.
pub(super) enum Protector {
    /// Before the first key exchange.
    Clear,
    /// RFC 5647 as OpenSSH does it: the length is clear but authenticated.
    Gcm { context: CipherCtx, iv: [u8; 12] },
    /// OpenSSH, PROTOCOL.chacha20poly1305.
    ChaCha(Box<ChaCha>),
    /// RFC 4344 with a MAC. OpenSSL's counter is all 128 bits wide; a carry
    /// beyond the low 64 bits happens to one connection in a few billion.
    Ctr { context: CipherCtx, mac: Mac },
}

const TAG: usize = 16;
const BROKEN: &str = "the message authentication code is wrong";

fn broken() -> Fault {
    Fault::Disconnect(Reason::MacError, BROKEN.into())
}

/// Compares in constant time.
fn authentic(got: &[u8], want: &[u8]) -> bool {
    got.len() == want.len() && memcmp::eq(got, want)
}

impl Protector {
    /// Protection for packets that go in `direction`.
    pub(super) fn new(
        protection: Protection,
        keys: &Keys,
        direction: Direction,
    ) -> Result<Self, Fault> {
        let start = |cipher: &CipherRef, iv: &[u8]| -> Result<CipherCtx, Fault> {
            let mut context = CipherCtx::new()?;
            match direction {
                Direction::Seal => context.encrypt_init(Some(cipher), Some(&keys.key), Some(iv))?,
                Direction::Open => context.decrypt_init(Some(cipher), Some(&keys.key), Some(iv))?,
            }
            Ok(context)
        };
        let gcm = |cipher| -> Result<Self, Fault> {
            let mut iv = [0; 12];
            iv.copy_from_slice(&keys.iv);
            Ok(Protector::Gcm {
                context: start(cipher, &iv)?,
                iv,
            })
        };
        let ctr = |cipher| -> Result<Self, Fault> {
            let kind = protection.mac.map(|(_, kind)| kind).ok_or_else(broken)?;
            Ok(Protector::Ctr {
                context: start(cipher, &keys.iv)?,
                mac: Mac::new(kind, &keys.mac),
            })
        };
        match protection.cipher.1 {
            CipherKind::Aes128Gcm => gcm(Cipher::aes_128_gcm()),
            CipherKind::Aes256Gcm => gcm(Cipher::aes_256_gcm()),
            CipherKind::Aes128Ctr => ctr(Cipher::aes_128_ctr()),
            CipherKind::Aes256Ctr => ctr(Cipher::aes_256_ctr()),
            CipherKind::ChaCha20Poly1305 => {
                Ok(Protector::ChaCha(Box::new(ChaCha::new(&keys.key)?)))
            }
        }
    }

    /// What the length of a packet must be a multiple of.
    pub(super) fn block(&self) -> usize {
        match self {
            Protector::Clear | Protector::ChaCha(_) => 8,
            Protector::Gcm { .. } | Protector::Ctr { .. } => 16,
        }
    }

    /// Whether the length field counts in that multiple: only where it is
    /// encrypted together with the rest (RFC 4253, section 6).
    pub(super) fn aligned_with_length(&self) -> bool {
        match self {
            Protector::Clear => true,
            Protector::Ctr { mac, .. } => mac.kind.order == MacOrder::EncryptAndMac,
            _ => false,
        }
    }

    /// Bytes of tag behind a packet.
    pub(super) fn tag(&self) -> usize {
        match self {
            Protector::Clear => 0,
            Protector::Gcm { .. } | Protector::ChaCha(_) => TAG,
            Protector::Ctr { mac, .. } => hash_length(mac.kind.hash),
        }
    }

    /// How many bytes [`Protector::length`] needs.
    pub(super) fn head(&self) -> usize {
        if matches!(self, Protector::Ctr { .. }) && self.aligned_with_length() {
            16
        } else {
            4
        }
    }

    /// Encrypts `packet`, tag room at its end included, and writes the tag.
    pub(super) fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Fault> {
        let body = packet.len() - self.tag();
        let (packet, tag) = packet.split_at_mut(body);
        match self {
            Protector::Clear => {}
            Protector::Gcm { context, iv } => {
                context.encrypt_init(None, None, Some(iv))?;
                count_up(iv);
                let (length, body) = packet.split_at_mut(4);
                context.cipher_update(length, None)?;
                let count = body.len();
                context.cipher_update_inplace(body, count)?;
                context.cipher_final(&mut [])?;
                context.tag(tag)?;
            }
            Protector::ChaCha(chacha) => {
                let (length, body) = packet.split_at_mut(4);
                chacha.length(sequence, length)?;
                let key = chacha.start(sequence)?;
                let count = body.len();
                chacha.body.cipher_update_inplace(body, count)?;
                tag.copy_from_slice(&chacha.poly1305(&key, packet)?);
            }
            Protector::Ctr { context, mac } => {
                let skip = match mac.kind.order {
                    MacOrder::EncryptThenMac => 4,
                    MacOrder::EncryptAndMac => {
                        mac.compute(sequence, packet, tag);
                        0
                    }
                };
                let count = body - skip;
                context.cipher_update_inplace(&mut packet[skip..], count)?;
                if mac.kind.order == MacOrder::EncryptThenMac {
                    mac.compute(sequence, packet, tag);
                }
            }
        }
        Ok(())
    }

    /// The length field of the packet that begins with `head`, which has
    /// [`Protector::head`] bytes. Must be called once a packet: AES-CTR with a
    /// MAC over the plain packet decrypts the first block in place.
    pub(super) fn length(&mut self, sequence: u32, head: &mut [u8]) -> Result<u32, Fault> {
        let mut length = [0; 4];
        match self {
            Protector::ChaCha(chacha) => {
                length.copy_from_slice(&head[..4]);
                chacha.length(sequence, &mut length)?;
            }
            Protector::Ctr { context, mac } if mac.kind.order == MacOrder::EncryptAndMac => {
                let count = head.len();
                context.cipher_update_inplace(head, count)?;
                length.copy_from_slice(&head[..4]);
            }
            _ => length.copy_from_slice(&head[..4]),
        }
        Ok(u32::from_be_bytes(length))
    }

    /// Verifies and decrypts a whole packet with its tag, of which
    /// [`Protector::length`] has seen the head.
    pub(super) fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Fault> {
        let body = packet.len() - self.tag();
        let (packet, tag) = packet.split_at_mut(body);
        match self {
            Protector::Clear => {}
            Protector::Gcm { context, iv } => {
                context.decrypt_init(None, None, Some(iv))?;
                count_up(iv);
                context.set_tag(tag)?;
                let (length, body) = packet.split_at_mut(4);
                context.cipher_update(length, None)?;
                let count = body.len();
                context.cipher_update_inplace(body, count)?;
                if context.cipher_final(&mut []).is_err() {
                    return Err(broken());
                }
            }
            Protector::ChaCha(chacha) => {
                let key = chacha.start(sequence)?;
                if !authentic(&chacha.poly1305(&key, packet)?, tag) {
                    return Err(broken());
                }
                let body = &mut packet[4..];
                let count = body.len();
                chacha.body.cipher_update_inplace(body, count)?;
            }
            Protector::Ctr { context, mac } => {
                let mut want = [0; 64];
                let want = &mut want[..hash_length(mac.kind.hash)];
                match mac.kind.order {
                    MacOrder::EncryptThenMac => {
                        mac.compute(sequence, packet, want);
                        if !authentic(want, tag) {
                            return Err(broken());
                        }
                        let count = body - 4;
                        context.cipher_update_inplace(&mut packet[4..], count)?;
                    }
                    MacOrder::EncryptAndMac => {
                        let count = body - 16;
                        context.cipher_update_inplace(&mut packet[16..], count)?;
                        mac.compute(sequence, packet, want);
                        if !authentic(want, tag) {
                            return Err(broken());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The invocation counter: the last 8 bytes of a GCM nonce (RFC 5647,
/// section 7.1).
fn count_up(iv: &mut [u8; 12]) {
    for byte in iv[4..].iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return;
        }
    }
}

/// ChaCha20 twice, for the length and for the rest, and Poly1305.
pub(super) struct ChaCha {
    header: CipherCtx,
    body: CipherCtx,
    poly: MdCtx,
}

impl ChaCha {
    fn new(key: &[u8]) -> Result<Self, Fault> {
        let start = |key: &[u8]| -> Result<CipherCtx, Fault> {
            let mut context = CipherCtx::new()?;
            context.encrypt_init(Some(Cipher::chacha20()), Some(key), Some(&[0; 16]))?;
            Ok(context)
        };
        let (body, header) = key.split_at(32);
        Ok(ChaCha {
            header: start(header)?,
            body: start(body)?,
            poly: MdCtx::new()?,
        })
    }

    /// Encrypts or decrypts the length field.
    fn length(&mut self, sequence: u32, length: &mut [u8]) -> Result<(), Fault> {
        self.header
            .encrypt_init(None, None, Some(&chacha_iv(sequence)))?;
        let count = length.len();
        self.header.cipher_update_inplace(length, count)?;
        Ok(())
    }

    /// Block 0 gives the key of Poly1305; the body's key stream begins with
    /// block 1, which is where this leaves it.
    fn start(&mut self, sequence: u32) -> Result<[u8; 32], Fault> {
        let mut block = [0; 64];
        self.body
            .encrypt_init(None, None, Some(&chacha_iv(sequence)))?;
        self.body.cipher_update_inplace(&mut block, 64)?;
        let mut key = [0; 32];
        key.copy_from_slice(&block[..32]);
        Ok(key)
    }

    fn poly1305(&mut self, key: &[u8; 32], bytes: &[u8]) -> Result<[u8; TAG], Fault> {
        let key = PKey::private_key_from_raw_bytes(key, Id::POLY1305)?;
        let mut tag = [0; TAG];
        self.poly.reset()?;
        self.poly.digest_sign_init(None, &key)?;
        self.poly.digest_sign_update(bytes)?;
        self.poly.digest_sign_final(Some(&mut tag))?;
        Ok(tag)
    }
}

/// OpenSSL wants the 64-bit block counter (little-endian) and then the nonce.
fn chacha_iv(sequence: u32) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[12..].copy_from_slice(&sequence.to_be_bytes());
    iv
}

/// HMAC (RFC 2104) with the key's two blocks hashed once: a packet costs two
/// copies of a hash state and no allocation.
pub(super) struct Mac {
    kind: MacKind,
    state: MacState,
}

enum MacState {
    Sha256(Box<(Sha256, Sha256)>),
    Sha512(Box<(Sha512, Sha512)>),
}

impl Mac {
    pub(super) fn new(kind: MacKind, key: &[u8]) -> Self {
        fn pad<const BLOCK: usize>(key: &[u8], with: u8) -> [u8; BLOCK] {
            let mut block = [with; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            block
        }
        let state = match kind.hash {
            HashKind::Sha256 => {
                let mut states = (Sha256::new(), Sha256::new());
                states.0.update(&pad::<64>(key, 0x36));
                states.1.update(&pad::<64>(key, 0x5c));
                MacState::Sha256(Box::new(states))
            }
            HashKind::Sha512 => {
                let mut states = (Sha512::new(), Sha512::new());
                states.0.update(&pad::<128>(key, 0x36));
                states.1.update(&pad::<128>(key, 0x5c));
                MacState::Sha512(Box::new(states))
            }
        };
        Mac { kind, state }
    }

    fn compute(&self, sequence: u32, packet: &[u8], tag: &mut [u8]) {
        let sequence = sequence.to_be_bytes();
        match &self.state {
            MacState::Sha256(states) => {
                let (mut inner, mut outer) = (**states).clone();
                inner.update(&sequence);
                inner.update(packet);
                outer.update(&inner.finish());
                tag.copy_from_slice(&outer.finish());
            }
            MacState::Sha512(states) => {
                let (mut inner, mut outer) = (**states).clone();
                inner.update(&sequence);
                inner.update(packet);
                outer.update(&inner.finish());
                tag.copy_from_slice(&outer.finish());
            }
        }
    }
}
