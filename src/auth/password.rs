//! Password hashes in the formats of crypt(3): `$6$` and `$5$` (SHA-crypt),
//! `$2a$`, `$2b$`, `$2y$` (bcrypt) and `$y$` (yescrypt).
//!
//! Written here from the specifications, because it must work in a static
//! binary and on musl, where libcrypt knows less or can't be linked, and
//! because the crates of RustCrypto for the four formats bring more crates
//! than the whole small build has. Nothing here knows about users.

mod base64;
mod bcrypt;
mod pi;
mod sha_crypt;
mod yescrypt;

use crate::error::{Error, ErrorKind, Result};
use crate::sync::Turns;

/// Rounds of a new `$6$` hash: ten times those of crypt(3) from 2008, about
/// 20 to 40 ms on a server and under a second on a router of 500 MHz. An
/// attacker who has the file pays ten times more; the login of a user who
/// fetches one file is not slowed noticeably.
pub(crate) const ROUNDS: u32 = 50_000;

/// Longest password in bytes, as crypt(3) has it. SHA-crypt takes time that
/// grows with the square of the length, so a bound is needed anyway.
pub(crate) const PASSWORD_MAX: usize = 511;

/// A parsed hash.
enum Scheme<'a> {
    Sha(sha_crypt::Setting<'a>),
    Bcrypt(bcrypt::Setting<'a>),
    Yescrypt(yescrypt::Setting<'a>),
}

impl<'a> Scheme<'a> {
    /// `None` for a field that says that no password fits.
    fn parse(hash: &'a str) -> Result<Option<Self>> {
        if never_matches(hash) {
            return Ok(None);
        }
        if let Some(setting) = sha_crypt::Setting::parse(hash) {
            return setting.map(|setting| Some(Scheme::Sha(setting)));
        }
        if let Some(setting) = bcrypt::Setting::parse(hash) {
            return setting.map(|setting| Some(Scheme::Bcrypt(setting)));
        }
        if let Some(setting) = yescrypt::Setting::parse(hash) {
            return setting.map(|setting| Some(Scheme::Yescrypt(setting)));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "not a known password hash: expected $6$, $5$, $2b$, $y$, or * for no password",
        ))
    }

    fn verify(&self, password: &[u8]) -> Result<bool> {
        match self {
            Scheme::Sha(setting) => Ok(setting.verify(password)),
            Scheme::Bcrypt(setting) => Ok(setting.verify(password)),
            Scheme::Yescrypt(setting) => setting.verify(password),
        }
    }
}

/// Whether `hash` says that no password fits: empty, `x`, or beginning with
/// `*` or `!`, as in /etc/shadow. An empty field there lets everybody in; here never.
pub(crate) fn never_matches(hash: &str) -> bool {
    hash.is_empty() || hash == "x" || hash.starts_with(['*', '!'])
}

/// Whether [`verify`] can work with `hash`.
///
/// # Errors
/// [`ErrorKind::Invalid`], with what was expected, for an unknown format, a
/// hash that is cut short, or one whose cost is past our bounds. The text
/// never contains anything of the hash.
pub(crate) fn check(hash: &str) -> Result<()> {
    Scheme::parse(hash).map(drop)
}

/// Whether `password` fits `hash`. The comparison takes the same time
/// wherever the difference is.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an unknown format, a hash that is cut short, or
/// one whose cost is past our bounds; [`ErrorKind::Busy`] if there is no memory
/// for the work.
pub fn verify(hash: &str, password: &[u8]) -> Result<bool> {
    let scheme = Scheme::parse(hash)?;
    // crypt(3) never made a hash of such a password. The answer comes at once
    // for every name, so that it tells nothing about names.
    if password.len() > PASSWORD_MAX || password.contains(&0) {
        return Ok(false);
    }
    match scheme {
        Some(scheme) => {
            #[cfg(test)]
            tests::WORK.with_borrow_mut(|work| work.push(cost_class(hash).to_owned()));
            // More at once than there are cores would only take more memory, and
            // the time of those who are logged in.
            static TURNS: Turns = Turns::new();
            let _turn = TURNS.take(cores());
            on_a_stack_of_its_own(|| scheme.verify(password))
        }
        None => Ok(false),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Enough for every scheme, in unoptimised builds, too.
const STACK: usize = 256 * 1024;

/// Runs `work` on a thread that ends with it. Hashing touches 12 KiB of stack
/// that an idle session would hold until its end; starting the thread takes a
/// hundredth of the time of the quickest hash.
fn on_a_stack_of_its_own(work: impl Fn() -> Result<bool> + Sync) -> Result<bool> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("password".into())
            .stack_size(STACK)
            .spawn_scoped(scope, || {
                let outcome = work();
                overwrite_stack();
                outcome
            });
        match thread {
            Ok(thread) => match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            // At a limit of threads a login costs memory, but does not fail.
            Err(_) => work(),
        }
    })
}

/// SECURITY: the C library keeps stacks of threads for others, and the password
/// with them. What lies deeper than this it gives back.
#[inline(never)]
fn overwrite_stack() {
    std::hint::black_box(&mut [0u8; 32 << 10]);
}

/// Does the work of [`verify`] with a hash like `like` and forgets the
/// result: for names that do not exist and users without a password, so that
/// the time taken does not tell them from others.
pub(crate) fn dummy_verify(password: &[u8], like: &str) {
    let like = if never_matches(like) || check(like).is_err() {
        DUMMY
    } else {
        like
    };
    let _ = std::hint::black_box(verify(like, password));
}

/// A hash with the cost of a new one and a sum that no known password has.
const DUMMY: &str = "$6$rounds=50000$................$\
    ......................................................................................";

/// A new `$6$` hash of `password`, with a random salt and 50,000 rounds.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an empty password, one past 511 bytes or one
/// with a NUL byte; otherwise what the source of random numbers said.
pub fn hash(password: &[u8]) -> Result<String> {
    hash_with_rounds(password, ROUNDS)
}

/// A new `$6$` hash with a cost chosen by the caller; rounds outside of 1000 to
/// 5,000,000 are moved to the nearer bound.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an empty password, one past 511 bytes or one
/// with a NUL byte; otherwise what the source of random numbers said.
pub(crate) fn hash_with_rounds(password: &[u8], rounds: u32) -> Result<String> {
    if password.is_empty() || password.len() > PASSWORD_MAX || password.contains(&0) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "a password has 1 to 511 bytes and no NUL byte",
        ));
    }
    let mut random = [0; 16];
    fill_random(&mut random)?;
    // 6 of 8 bits of each byte: 96 bits of salt.
    let salt: String = random
        .iter()
        .map(|byte| char::from(base64::ALPHABET[usize::from(byte & 0x3f)]))
        .collect();
    Ok(sha_crypt::hash_512(&salt, rounds, password))
}

/// The part of a hash that sets its cost: all before the salt. Hashes of the
/// same class take the same time.
pub(crate) fn cost_class(hash: &str) -> &str {
    let mut ends = hash.match_indices('$').map(|(at, _)| at + 1);
    let fields = match hash {
        _ if hash.starts_with("$2") || hash.starts_with("$y$") => 3,
        _ if hash.starts_with("$6$rounds=") || hash.starts_with("$5$rounds=") => 3,
        _ => 2,
    };
    ends.nth(fields - 1).map_or("", |end| &hash[..end])
}

fn fill_random(mut buffer: &mut [u8]) -> Result<()> {
    while !buffer.is_empty() {
        let count =
            match rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(Error::from(error).doing("getting random numbers")),
            };
        buffer = &mut buffer[count..];
    }
    Ok(())
}

/// Compares without telling by time where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    // black_box: else the compiler may leave the loop at the first difference.
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
pub(super) mod tests;
