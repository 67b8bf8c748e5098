//! `$5$` and `$6$`: Ulrich Drepper's SHA-crypt, "Unix crypt using SHA-256 and
//! SHA-512", version 0.4 of 2008. Steps are numbered as there.

use super::base64;
use crate::error::{Error, ErrorKind, Result};

/// Rounds where the hash names none (step 13 of the specification).
const ROUNDS_DEFAULT: u32 = 5000;
/// Fewest rounds that the specification allows.
const ROUNDS_MIN: u32 = 1000;
/// Most rounds that we compute: about two seconds. The specification allows
/// 999,999,999, which would keep a thread busy for minutes at each login.
const ROUNDS_MAX: u32 = 5_000_000;
/// Longest salt.
const SALT_MAX: usize = 16;

/// What a `$5$` or `$6$` hash says.
pub(super) struct Setting<'a> {
    variant: Variant,
    rounds: u32,
    salt: &'a [u8],
    /// The encoded sum.
    sum: &'a [u8],
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Sha256,
    Sha512,
}

impl<'a> Setting<'a> {
    /// Reads a whole hash; `None` if it is of another scheme.
    pub(super) fn parse(hash: &'a str) -> Option<Result<Self>> {
        let (variant, rest) = if let Some(rest) = hash.strip_prefix("$6$") {
            (Variant::Sha512, rest)
        } else if let Some(rest) = hash.strip_prefix("$5$") {
            (Variant::Sha256, rest)
        } else {
            return None;
        };
        Some(Self::parse_rest(variant, rest))
    }

    fn parse_rest(variant: Variant, rest: &'a str) -> Result<Self> {
        let invalid = |what: &'static str| Err(Error::new(ErrorKind::Invalid, what));
        let (rounds, rest) = match rest.strip_prefix("rounds=") {
            None => (ROUNDS_DEFAULT, rest),
            Some(rest) => match rest.split_once('$') {
                // crypt(3) writes the number plainly: no sign, no leading zero.
                Some((number, rest)) if number.starts_with(|digit: char| digit != '0') => {
                    if number.bytes().all(|byte| byte.is_ascii_digit()) {
                        (number.parse().unwrap_or(u32::MAX), rest)
                    } else {
                        return invalid("rounds= of the hash wants a number");
                    }
                }
                _ => return invalid("rounds= of the hash wants a number and a '$'"),
            },
        };
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return invalid("rounds= of the hash must be 1000 to 5000000");
        }
        let Some((salt, sum)) = rest.split_once('$') else {
            return invalid("the hash ends before its sum");
        };
        if salt.len() > SALT_MAX {
            return invalid("the salt of the hash is longer than 16 characters");
        }
        let length = match variant {
            Variant::Sha256 => 43,
            Variant::Sha512 => 86,
        };
        if sum.len() != length || !sum.bytes().all(|byte| base64::value(byte).is_some()) {
            return invalid("the hash is cut or has a wrong character");
        }
        Ok(Setting {
            variant,
            rounds,
            salt: salt.as_bytes(),
            sum: sum.as_bytes(),
        })
    }

    /// Whether `password` gives the sum.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let sum = match self.variant {
            Variant::Sha256 => sum_256(self.salt, self.rounds, password),
            Variant::Sha512 => sum_512(self.salt, self.rounds, password),
        };
        super::equal(sum.as_bytes(), self.sum)
    }
}

/// The `$6$` hash of a password. The salt must be characters of the base-64
/// alphabet, at most 16, and the rounds within the bounds.
pub(super) fn hash_512(salt: &str, rounds: u32, password: &[u8]) -> String {
    let rounds = rounds.clamp(ROUNDS_MIN, ROUNDS_MAX);
    let sum = sum_512(salt.as_bytes(), rounds, password);
    format!("$6$rounds={rounds}${salt}${sum}")
}

fn sum_256(salt: &[u8], rounds: u32, password: &[u8]) -> String {
    let sum = sum::<hmac_sha256::Hash, 32>(salt, rounds, password);
    let mut text = String::with_capacity(43);
    let (mut a, mut b, mut c) = (0, 10, 20);
    for _ in 0..10 {
        base64::push(&mut text, join(sum[a], sum[b], sum[c]), 4);
        (a, b, c) = (c + 1, a + 1, b + 1);
    }
    base64::push(&mut text, join(0, sum[31], sum[30]), 3);
    text
}

fn sum_512(salt: &[u8], rounds: u32, password: &[u8]) -> String {
    let sum = sum::<hmac_sha512::Hash, 64>(salt, rounds, password);
    let mut text = String::with_capacity(86);
    let (mut a, mut b, mut c) = (0, 21, 42);
    for _ in 0..21 {
        base64::push(&mut text, join(sum[a], sum[b], sum[c]), 4);
        (a, b, c) = (b + 1, c + 1, a + 1);
    }
    base64::push(&mut text, u32::from(sum[63]), 2);
    text
}

fn join(high: u8, middle: u8, low: u8) -> u32 {
    u32::from(high) << 16 | u32::from(middle) << 8 | u32::from(low)
}

/// The two hash functions, as the steps use them.
trait Digest<const N: usize> {
    fn start() -> Self;
    fn add(&mut self, bytes: &[u8]);
    fn finish(self) -> [u8; N];
}

impl Digest<32> for hmac_sha256::Hash {
    fn start() -> Self {
        Self::new()
    }
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
    fn finish(self) -> [u8; 32] {
        self.finalize()
    }
}

impl Digest<64> for hmac_sha512::Hash {
    fn start() -> Self {
        Self::new()
    }
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
    fn finish(self) -> [u8; 64] {
        self.finalize()
    }
}

/// The raw sum.
fn sum<D: Digest<N>, const N: usize>(salt: &[u8], rounds: u32, password: &[u8]) -> [u8; N] {
    // Steps 4 to 8: sum B.
    let mut b = D::start();
    b.add(password);
    b.add(salt);
    b.add(password);
    let b = b.finish();
    // Steps 1 to 3 and 9 to 12: sum A.
    let mut a = D::start();
    a.add(password);
    a.add(salt);
    a.add(&stretched(&b, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => a.add(&b),
            _ => a.add(password),
        }
        bits >>= 1;
    }
    let mut a = a.finish();
    // Steps 13 to 16: P, as long as the password.
    let mut p = D::start();
    for _ in 0..password.len() {
        p.add(password);
    }
    let p = stretched(&p.finish(), password.len());
    // Steps 17 to 20: S, as long as the salt.
    let mut s = D::start();
    for _ in 0..16 + usize::from(a[0]) {
        s.add(salt);
    }
    let s = stretched(&s.finish(), salt.len());
    // Step 21: the rounds.
    for round in 0..rounds {
        let mut c = D::start();
        let odd = round % 2 == 1;
        c.add(if odd { &p } else { &a });
        if round % 3 != 0 {
            c.add(&s);
        }
        if round % 7 != 0 {
            c.add(&p);
        }
        c.add(if odd { &a } else { &p });
        a = c.finish();
    }
    a
}

/// `sum` again and again up to `length` bytes.
fn stretched(sum: &[u8], length: usize) -> Vec<u8> {
    sum.iter().copied().cycle().take(length).collect()
}
