//! `$y$`: yescrypt 1.1 by Alexander Peslyak, the password hash of Debian's
//! /etc/shadow, in the form that crypt(3) makes: default flavour (`j`), one
//! lane, no ROM. Written from its specification, the reference
//! implementation; steps are named as there.
//!
//! A block of 64 bytes is held as eight words of 64 bits, as pwxform wants
//! it; Salsa20 sees its 32-bit words in the order that the specification
//! calls the SIMD shuffle.

use hmac_sha256::{HMAC, Hash};

use super::base64;
use crate::error::{Error, ErrorKind, Result};

/// Most memory that a hash may take; the default takes 16 MiB.
const MEMORY_MAX: u64 = 256 << 20;
/// Most bytes that the second loop may go through: some seconds.
const WORK_MAX: u64 = 1 << 30;
/// Longest salt in bytes.
const SALT_MAX: usize = 64;
/// Characters of the sum.
const SUM_CHARACTERS: usize = 43;
/// The flavour that crypt(3) makes: read-write, 6 rounds, 4 gathers of 2
/// lanes, S-boxes of 12 KiB.
const FLAVOUR: u32 = 47;

/// What a yescrypt hash says.
pub(super) struct Setting<'a> {
    /// Blocks in memory, a power of two.
    blocks: u64,
    /// Size of a block: 128 bytes times this.
    r: u32,
    /// Further time.
    t: u32,
    salt: Vec<u8>,
    sum: &'a [u8],
}

impl<'a> Setting<'a> {
    /// Reads a whole hash; `None` if it is of another scheme.
    pub(super) fn parse(hash: &'a str) -> Option<Result<Self>> {
        let rest = hash.strip_prefix("$y$")?;
        Some(Self::parse_rest(rest))
    }

    fn parse_rest(rest: &'a str) -> Result<Self> {
        let invalid = |what: &'static str| Error::new(ErrorKind::Invalid, what);
        let cut = || invalid("the hash is cut or has a wrong character");
        let mut fields = rest.split('$');
        let (Some(parameters), Some(salt), Some(sum), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(cut());
        };
        let mut parameters = parameters.bytes();
        if number(&mut parameters, 0).ok_or_else(cut)? != FLAVOUR {
            return Err(invalid(
                "the hash is of a kind of yescrypt that crypt(3) does not make: expected $y$j",
            ));
        }
        let logarithm = number(&mut parameters, 1).ok_or_else(cut)?;
        let r = number(&mut parameters, 1).ok_or_else(cut)?;
        let mut t = 0;
        if parameters.len() > 0 {
            // Which of lanes, time, generation and ROM follow.
            if number(&mut parameters, 1).ok_or_else(cut)? != 2 {
                return Err(invalid(
                    "lanes, upgrades and ROMs of yescrypt are not known here",
                ));
            }
            t = number(&mut parameters, 1).ok_or_else(cut)?;
            if parameters.len() > 0 {
                return Err(cut());
            }
        }
        let blocks = 1u64.checked_shl(logarithm).unwrap_or(0);
        let memory = blocks.saturating_mul(128 * u64::from(r));
        if blocks < 2 || memory > MEMORY_MAX {
            return Err(invalid("the hash would take more than 256 MiB of memory"));
        }
        let loops = loops(blocks, t).and_then(|loops| loops.checked_mul(128 * u64::from(r)));
        if loops.is_none_or(|work| work > WORK_MAX) {
            return Err(invalid("the hash would take far too long"));
        }
        if sum.len() != SUM_CHARACTERS || !sum.bytes().all(|byte| base64::value(byte).is_some()) {
            return Err(cut());
        }
        Ok(Setting {
            blocks,
            r,
            t,
            salt: decoded(salt.as_bytes()).ok_or_else(cut)?,
            sum: sum.as_bytes(),
        })
    }

    /// Whether `password` gives the sum.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: there is no memory.
    pub(super) fn verify(&self, password: &[u8]) -> Result<bool> {
        let first;
        let mut password = password;
        // A cheap pass before a dear one.
        if self.blocks >= 0x100 && self.blocks * u64::from(self.r) >= 0x2_0000 {
            let few = self.blocks >> 6;
            first = self.derived(b"yescrypt-prehash", password, few, 0)?;
            password = &first;
        }
        let key = self.derived(b"yescrypt", password, self.blocks, self.t)?;
        // As SCRAM (RFC 5802) makes StoredKey of SaltedPassword.
        let sum = Hash::hash(&HMAC::mac(b"Client Key", key));
        Ok(super::equal(encoded(&sum).as_bytes(), self.sum))
    }

    fn derived(&self, name: &[u8], password: &[u8], blocks: u64, t: u32) -> Result<[u8; 32]> {
        let password = HMAC::mac(password, name);
        let mut block = vec![0; 128 * self.r as usize];
        pbkdf2(&password, &self.salt, &mut block);
        let mut words = to_words(&block);
        let mut password: [u8; 32] = std::array::from_fn(|at| block[at]);

        let mut boxes = Boxes::fill(&mut words[..16]);
        let last = words.len() - 8;
        password = HMAC::mac(password, to_bytes(&words[last..]));

        // Both fit: the memory is bounded, and so are the loops.
        let loops = loops(blocks, t).unwrap_or(0);
        mix(&mut words, blocks as usize, loops, &mut boxes)?;

        let mut key = [0; 32];
        pbkdf2(&password, &to_bytes(&words), &mut key);
        Ok(key)
    }
}

/// How often the second loop turns.
fn loops(blocks: u64, t: u32) -> Option<u64> {
    let loops = match t {
        0 => blocks.div_ceil(3),
        1 => (2 * blocks).div_ceil(3),
        _ => blocks.checked_mul(u64::from(t - 1))?,
    };
    loops.checked_next_multiple_of(2)
}

/// SMix with the flag RW: fills the memory, then walks through it.
fn mix(x: &mut [u64], blocks: usize, loops: u64, boxes: &mut Boxes) -> Result<()> {
    shuffle(x);
    let size = x.len();
    let mut memory: Vec<u64> = Vec::new();
    // An abort for want of memory would end all sessions.
    memory.try_reserve_exact(blocks * size).map_err(|error| {
        Error::with_source(ErrorKind::Busy, "getting memory to check a password", error)
    })?;
    for count in 0..blocks {
        memory.extend_from_slice(x);
        if count > 1 {
            // Wrap: one of the blocks that are there already.
            let floor = 1 << count.ilog2();
            let at = (integer(x) & (floor - 1)) + (count - floor);
            xor(x, &memory[at * size..][..size]);
        }
        boxes.mix(x);
    }
    for _ in 0..loops {
        let at = integer(x) & (blocks - 1);
        let block = &mut memory[at * size..][..size];
        xor(x, block);
        block.copy_from_slice(x);
        boxes.mix(x);
    }
    unshuffle(x);
    Ok(())
}

/// Integerify; 32 bits are enough for the number of blocks.
fn integer(x: &[u64]) -> usize {
    x[x.len() - 8] as u32 as usize
}

fn xor(x: &mut [u64], other: &[u64]) {
    for (word, other) in x.iter_mut().zip(other) {
        *word ^= other;
    }
}

/// An S-box: entries of two lanes.
type SBox = [[u64; 2]; 256];

/// The three S-boxes of pwxform, which change with use.
struct Boxes {
    boxes: [Box<SBox>; 3],
    written: u8,
}

impl Boxes {
    /// Fills the boxes by SMix with Salsa20/8 and blocks of 128 bytes.
    fn fill(x: &mut [u64]) -> Self {
        shuffle(x);
        let mut boxes = [(); 3].map(|()| Box::new([[0; 2]; 256]));
        // In memory the boxes stand in the order S2, S1, S0.
        for table in boxes.iter_mut().rev() {
            for part in table.as_flattened_mut().chunks_exact_mut(16) {
                part.copy_from_slice(x);
                let (first, second) = x.split_at_mut(8);
                xor(first, second);
                salsa20(first, 8);
                xor(second, first);
                salsa20(second, 8);
            }
        }
        unshuffle(x);
        Boxes { boxes, written: 0 }
    }

    /// BlockMix with pwxform.
    fn mix(&mut self, x: &mut [u64]) {
        let last = x.len() - 8;
        let mut block: [[u64; 2]; 4] =
            std::array::from_fn(|at| [x[last + 2 * at], x[last + 2 * at + 1]]);
        for part in x.chunks_exact_mut(8) {
            xor(block.as_flattened_mut(), part);
            self.transform(&mut block);
            part.copy_from_slice(block.as_flattened());
        }
        salsa20(&mut x[last..], 2);
    }

    /// pwxform: six rounds of multiply, add and xor with table look-ups. The
    /// four gathers are written out, so that they stay in registers also where
    /// the compiler was asked for small code.
    fn transform(&mut self, block: &mut [[u64; 2]; 4]) {
        let [s0, s1, s2] = &mut self.boxes;
        let [mut a, mut b, mut c, mut d] = *block;
        for round in 0..6 {
            a = gather(a, s0, s1);
            b = gather(b, s0, s1);
            c = gather(c, s0, s1);
            d = gather(d, s0, s1);
            if (1..5).contains(&round) {
                // Always a multiple of four.
                let at = self.written;
                s2[usize::from(at)] = a;
                s2[usize::from(at | 1)] = b;
                s2[usize::from(at | 2)] = c;
                s2[usize::from(at | 3)] = d;
                self.written = at.wrapping_add(4);
            }
        }
        *block = [a, b, c, d];
        // (S0, S1, S2) becomes (S2, S0, S1).
        std::mem::swap(s0, s2);
        std::mem::swap(s1, s2);
    }
}

/// Both lanes, multiplied, plus an entry of one box, xor an entry of the other.
#[inline(always)]
fn gather([first, second]: [u64; 2], s0: &SBox, s1: &SBox) -> [u64; 2] {
    let add = s0[(first >> 4 & 0xff) as usize];
    let mask = s1[(first >> 36 & 0xff) as usize];
    [
        product(first).wrapping_add(add[0]) ^ mask[0],
        product(second).wrapping_add(add[1]) ^ mask[1],
    ]
}

/// Both halves of a word, multiplied.
#[inline(always)]
fn product(word: u64) -> u64 {
    (word >> 32) * (word & 0xffff_ffff)
}

/// The Salsa20 core on one shuffled block.
fn salsa20(block: &mut [u64], rounds: usize) {
    let input: [u32; 16] = std::array::from_fn(|at| half(block, at));
    let mut x = [0u32; 16];
    for (at, word) in input.iter().enumerate() {
        x[at * 5 % 16] = *word;
    }
    // A quarter round on columns, then on rows: where each of the four begins
    // and how far the next is.
    const COLUMNS: [[usize; 4]; 4] = [[0, 4, 8, 12], [5, 9, 13, 1], [10, 14, 2, 6], [15, 3, 7, 11]];
    const ROWS: [[usize; 4]; 4] = [[0, 1, 2, 3], [5, 6, 7, 4], [10, 11, 8, 9], [15, 12, 13, 14]];
    for _ in 0..rounds / 2 {
        for [a, b, c, d] in COLUMNS.into_iter().chain(ROWS) {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    let output: [u32; 16] = std::array::from_fn(|at| input[at].wrapping_add(x[at * 5 % 16]));
    for (at, word) in block.iter_mut().enumerate() {
        *word = u64::from(output[2 * at + 1]) << 32 | u64::from(output[2 * at]);
    }
}

/// The 32-bit word number `at`.
fn half(words: &[u64], at: usize) -> u32 {
    (words[at / 2] >> (at % 2 * 32)) as u32
}

/// The order of words that pwxform and Salsa20 above want.
fn shuffle(words: &mut [u64]) {
    reorder(words, |at| at * 5 % 16);
}

/// The order of words outside.
fn unshuffle(words: &mut [u64]) {
    // 13 * 5 = 65 = 1 (mod 16)
    reorder(words, |at| at * 13 % 16);
}

fn reorder(words: &mut [u64], from: impl Fn(usize) -> usize) {
    for block in words.chunks_exact_mut(8) {
        let old: [u64; 8] = std::array::from_fn(|at| block[at]);
        for (at, word) in block.iter_mut().enumerate() {
            let low = half(&old, from(2 * at));
            let high = half(&old, from(2 * at + 1));
            *word = u64::from(high) << 32 | u64::from(low);
        }
    }
}

fn to_words(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn to_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// PBKDF2 with HMAC-SHA-256 and one round (RFC 8018, section 5.2).
fn pbkdf2(password: &[u8], salt: &[u8], key: &mut [u8]) {
    for (part, number) in key.chunks_mut(32).zip(1u32..) {
        let mut mac = HMAC::new(password);
        mac.update(salt);
        mac.update(number.to_be_bytes());
        let sum = mac.finalize();
        part.copy_from_slice(&sum[..part.len()]);
    }
}

/// A number as yescrypt writes them: the first character says how many follow;
/// 48 numbers take one character, each further class is half as large.
fn number(characters: &mut std::str::Bytes<'_>, least: u32) -> Option<u32> {
    let first = base64::value(characters.next()?)?;
    let (mut start, mut end) = (0u32, 47u32);
    let mut bits = 0;
    let mut value = least;
    while first > end {
        value = value.checked_add((end + 1 - start).checked_shl(bits)?)?;
        start = end + 1;
        end = start + (62 - end) / 2;
        bits += 6;
    }
    value = value.checked_add((first - start).checked_shl(bits)?)?;
    while bits > 0 {
        bits -= 6;
        value = value.checked_add(base64::value(characters.next()?)? << bits)?;
    }
    Some(value)
}

/// The salt: groups of four characters for three bytes. Bits left over must be 0.
fn decoded(characters: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SALT_MAX);
    for group in characters.chunks(4) {
        let mut word = 0;
        for (at, character) in group.iter().enumerate() {
            word |= base64::value(*character)? << (6 * at);
        }
        let count = group.len() * 6 / 8;
        if count == 0 || word >> (8 * count) != 0 {
            return None;
        }
        bytes.extend_from_slice(&word.to_le_bytes()[..count]);
    }
    (bytes.len() <= SALT_MAX).then_some(bytes)
}

fn encoded(sum: &[u8; 32]) -> String {
    let mut text = String::with_capacity(SUM_CHARACTERS);
    for group in sum.chunks(3) {
        let word = group
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        base64::push(&mut text, word, group.len() + 1);
    }
    text
}
