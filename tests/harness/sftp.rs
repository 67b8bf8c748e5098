//! The entry of fuzzers: bytes become a session on a small file system in
//! memory. Whatever they are, nothing panics, every request has one answer,
//! and memory stays bounded.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::{Options, serve};
use crate::auth::{Authenticator, Credentials, Secret, User};
use crate::config::Config;
use crate::error::Result;
use crate::session::{Encrypted, Files, Services, Session};
use crate::storage::{FileSystem, MemoryFs, VirtualPath};

/// Serves what `data` says. The first byte chooses: an even one makes the
/// rest the raw stream; an odd one makes it a list of packets, each after a
/// byte for its length, so that a fuzzer gets past the framing at once.
pub fn session(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut channel = Recorded::default();
    match first & 1 {
        0 => channel.input = rest.to_vec(),
        _ => channel.frame(rest),
    }
    // An error is as good as an end.
    let _ = serve_recorded(&mut channel);
}

fn serve_recorded(channel: &mut Recorded) -> Result<()> {
    let config = Config {
        atomic_uploads: channel.input.len() & 1 == 0,
        ..Config::default()
    };
    with_files(config, |files| serve(channel, files, &Options::default()))
}

/// Runs something on the files of a user who has just logged in.
pub(super) fn with_files<T>(config: Config, run: impl FnOnce(&Files) -> Result<T>) -> Result<T> {
    let files = MemoryFs::new().with_capacity_limit(1 << 20);
    for (name, target) in [(&b"link"[..], &b"d/../f"[..]), (b"loop", b"loop")] {
        files.symlink(target, &VirtualPath::root().join(name)?)?;
    }
    files.make_dir(&VirtualPath::root().join(b"d")?, 0o755)?;
    let user = User::new("ann", Arc::new(files));
    let services = Arc::new(Services::new(config, Arc::new(LetIn(user)), Vec::new()));
    let peer = std::net::SocketAddr::from(([192, 0, 2, 7], 5));
    let ticket = services.limits.admit(peer.ip(), &services.config())?;
    let mut session = Session::new(&services, ticket, peer, peer, "sftp");
    session.login("ann", Secret::Password(b""), Encrypted::Yes)?;
    run(session.files()?)
}

struct LetIn(User);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
        Ok(self.0.clone())
    }
}

/// A channel that has everything already, and takes everything.
#[derive(Default)]
struct Recorded {
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

impl Recorded {
    fn frame(&mut self, mut rest: &[u8]) {
        self.input.extend_from_slice(b"\0\0\0\x05\x01\0\0\0\x03");
        while let Some((length, more)) = rest.split_first() {
            let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
            self.input
                .extend_from_slice(&(packet.len() as u32).to_be_bytes());
            self.input.extend_from_slice(packet);
            rest = more;
        }
    }
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.input.get(self.at..).unwrap_or_default();
        let length = rest.read(buffer)?;
        self.at += length;
        Ok(length)
    }
}

impl Write for Recorded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers without an end, the same every time (xorshift64), for the tests of
/// these entries and those of SSH.
#[cfg(test)]
pub(crate) struct Noise(pub(crate) u64);

#[cfg(test)]
impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    #[cfg(feature = "sftp")]
    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.next() as usize % list.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_does_no_harm() {
        let mut noise = Noise(0x5eed);
        for _ in 0..2000 {
            let length = noise.next() % 300;
            session(&noise.bytes(length));
        }
    }

    /// Requests that are nearly right get further than noise does: every
    /// number and string is one that means something somewhere.
    #[test]
    fn requests_that_are_nearly_right_get_one_answer_each() {
        const STRINGS: [&[u8]; 12] = [
            b"f",
            b"d/g",
            b"link",
            b"loop",
            b"..",
            b"",
            b"/",
            b"\0\0\x01\0",
            b"\0\0\x01\x01",
            b"copy-data",
            b"check-file-name",
            b"sha256",
        ];
        const NUMBERS: [u32; 8] = [0, 1, 2, 0x1b, 0x8000_000f, 300, u32::MAX, 1 << 31];
        let mut noise = Noise(0xfeed);
        for _ in 0..1000 {
            let mut channel = Recorded::default();
            let mut body = Vec::new();
            for _ in 0..20 {
                let kind =
                    [3, 3, 6, 5, 200, (noise.next() % 22 + 2) as u8][noise.next() as usize % 6];
                let mut packet = vec![kind.max(3), 0, 0, 0, 7];
                for _ in 0..noise.next() % 6 {
                    if noise.next() & 1 == 0 {
                        let text = STRINGS[noise.next() as usize % STRINGS.len()];
                        packet.extend_from_slice(&(text.len() as u32).to_be_bytes());
                        packet.extend_from_slice(text);
                    } else {
                        let number = NUMBERS[noise.next() as usize % NUMBERS.len()];
                        packet.extend_from_slice(&number.to_be_bytes());
                    }
                }
                body.push(packet.len() as u8);
                body.extend_from_slice(&packet);
            }
            channel.frame(&body);
            serve_recorded(&mut channel).unwrap();
            let (mut rest, mut answers) = (&channel.output[..], 0);
            while let Some((length, more)) = rest.split_first_chunk::<4>() {
                rest = &more[u32::from_be_bytes(*length) as usize..];
                answers += 1;
            }
            assert_eq!((answers, rest.len()), (21, 0));
        }
    }
}
