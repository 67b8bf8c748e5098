//! `$2a$`, `$2b$` and `$2y$`: bcrypt, Provos and Mazières, "A Future-Adaptable
//! Password Scheme", USENIX 1999, on Schneier's Blowfish.
//!
//! The three prefixes are computed alike. `$2x$`, made by an implementation
//! that had a mistake with bytes above 127, is not known here; nor is the
//! change that libxcrypt makes to `$2a$` for the few passwords that begin with
//! the byte 255 and would collide under that mistake.

use super::pi::PI;
use crate::error::{Error, ErrorKind, Result};

/// Lowest and highest cost, the logarithm of the rounds. 31 is allowed by the
/// format and takes days; 16 takes some seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// Bytes of a password that count, the NUL at its end among them.
const KEY_MAX: usize = 72;
/// Characters of the salt (16 bytes) and of the sum (23 bytes).
const SALT_CHARACTERS: usize = 22;
const SUM_CHARACTERS: usize = 31;
/// What is encrypted again and again.
const TEXT: &[u8; 24] = b"OrpheanBeholderScryDoubt";
/// bcrypt's own base64: another order of digits, the highest bits first.
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What a bcrypt hash says.
pub(super) struct Setting<'a> {
    cost: u32,
    salt: [u32; 4],
    sum: &'a [u8],
}

impl<'a> Setting<'a> {
    /// Reads a whole hash; `None` if it is of another scheme.
    pub(super) fn parse(hash: &'a str) -> Option<Result<Self>> {
        let rest = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|prefix| hash.strip_prefix(prefix))?;
        Some(Self::parse_rest(rest.as_bytes()))
    }

    fn parse_rest(rest: &'a [u8]) -> Result<Self> {
        let invalid = |what: &'static str| Err(Error::new(ErrorKind::Invalid, what));
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'$', rest @ ..] = rest else {
            return invalid("the hash wants a cost of two digits and a '$'");
        };
        let cost = u32::from(tens - b'0') * 10 + u32::from(ones - b'0');
        if !COSTS.contains(&cost) {
            return invalid("the cost of the hash must be 04 to 16");
        }
        let known = |byte: &u8| ALPHABET.contains(byte);
        if rest.len() != SALT_CHARACTERS + SUM_CHARACTERS || !rest.iter().all(known) {
            return invalid("the hash is cut or has a wrong character");
        }
        let (salt, sum) = rest.split_at(SALT_CHARACTERS);
        Ok(Setting {
            cost,
            salt: decoded(salt),
            sum,
        })
    }

    /// Whether `password` gives the sum.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let sum = encoded(&sum(self.cost, self.salt, password));
        super::equal(&sum, self.sum)
    }
}

/// The sum; the last byte is never shown.
fn sum(cost: u32, salt: [u32; 4], password: &[u8]) -> [u8; 24] {
    let key = key_words(password);
    // The salt as a key, repeated to the length of the P-array.
    let salt_key: [u32; 18] = std::array::from_fn(|at| salt[at % 4]);
    let mut state = Blowfish::new();
    state.expand(&key, salt);
    for _ in 0..1u64 << cost {
        state.expand(&key, [0; 4]);
        state.expand(&salt_key, [0; 4]);
    }
    let mut sum = *TEXT;
    for block in sum.chunks_exact_mut(8) {
        let word = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let mut halves = (word(0), word(4));
        for _ in 0..64 {
            halves = state.encrypt(halves);
        }
        block[..4].copy_from_slice(&halves.0.to_be_bytes());
        block[4..].copy_from_slice(&halves.1.to_be_bytes());
    }
    sum
}

/// The password and its NUL, again and again, as 18 words.
fn key_words(password: &[u8]) -> [u32; 18] {
    let key = &password[..password.len().min(KEY_MAX)];
    let mut bytes = key.iter().copied().chain([0]).cycle();
    std::array::from_fn(|_| {
        // The iterator never ends: there is always the NUL.
        (0..4).fold(0, |word, _| {
            word << 8 | u32::from(bytes.next().unwrap_or(0))
        })
    })
}

/// Blowfish with its key schedule.
struct Blowfish {
    p: [u32; 18],
    s: [[u32; 256]; 4],
}

impl Blowfish {
    fn new() -> Self {
        Blowfish {
            p: std::array::from_fn(|at| PI[at]),
            s: std::array::from_fn(|part| std::array::from_fn(|at| PI[18 + part * 256 + at])),
        }
    }

    /// Mixes a key and a salt in: both arrays are replaced by what the cipher
    /// itself makes, two words at a time, of the salt and its own output.
    fn expand(&mut self, key: &[u32; 18], salt: [u32; 4]) {
        for (word, key) in self.p.iter_mut().zip(key) {
            *word ^= key;
        }
        let mut halves = (0, 0);
        let mut pair = 0;
        let mut next = |state: &Blowfish| {
            halves = (halves.0 ^ salt[pair], halves.1 ^ salt[pair + 1]);
            pair ^= 2;
            halves = state.encrypt(halves);
            halves
        };
        for at in (0..18).step_by(2) {
            (self.p[at], self.p[at + 1]) = next(self);
        }
        for part in 0..4 {
            for at in (0..256).step_by(2) {
                (self.s[part][at], self.s[part][at + 1]) = next(self);
            }
        }
    }

    fn encrypt(&self, (mut left, mut right): (u32, u32)) -> (u32, u32) {
        // Four at a time: the release build does not unroll, and this is where
        // nearly all the time goes.
        for pair in self.p[..16].as_chunks::<4>().0 {
            left ^= pair[0];
            right ^= self.round(left) ^ pair[1];
            left ^= self.round(right) ^ pair[2];
            right ^= self.round(left) ^ pair[3];
            left ^= self.round(right);
        }
        (right ^ self.p[17], left ^ self.p[16])
    }

    #[inline(always)]
    fn round(&self, half: u32) -> u32 {
        let [a, b, c, d] = half.to_be_bytes().map(usize::from);
        (self.s[0][a].wrapping_add(self.s[1][b]) ^ self.s[2][c]).wrapping_add(self.s[3][d])
    }
}

/// 22 characters as 16 bytes in four words; the last four bits mean nothing.
fn decoded(characters: &[u8]) -> [u32; 4] {
    let mut words = [0u32; 4];
    let digits = characters.iter().flat_map(|character| {
        let value = ALPHABET.iter().position(|known| known == character);
        let value = value.unwrap_or(0) as u32;
        (0..6).rev().map(move |bit| value >> bit & 1)
    });
    for (at, bit) in digits.take(128).enumerate() {
        words[at / 32] = words[at / 32] << 1 | bit;
    }
    words
}

/// 23 of the 24 bytes as characters.
fn encoded(sum: &[u8; 24]) -> Vec<u8> {
    let mut text = Vec::with_capacity(SUM_CHARACTERS + 1);
    for (at, three) in sum.chunks_exact(3).enumerate() {
        let [a, b, c] = [three[0], three[1], three[2]].map(u32::from);
        // The 24th byte is not part of the sum.
        let c = if at == 7 { 0 } else { c };
        let word = a << 16 | b << 8 | c;
        text.extend([18, 12, 6, 0].map(|shift| ALPHABET[(word >> shift & 0x3f) as usize]));
    }
    text.truncate(SUM_CHARACTERS);
    text
}
