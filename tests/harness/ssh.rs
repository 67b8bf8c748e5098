//! The entries of fuzzers: bytes of a client, before and after the keys.
//! Whatever they are, nothing panics, the call comes back, and memory stays
//! bounded.
//!
//! No MAC is switched off for it. Bytes after the key exchange come as the
//! payloads of packets in the clear, which is what the code above the packets
//! sees in either case; the ciphers have their known answers.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::packet_stream::PacketStream;
use super::transport::Transport;
use super::{
    AuthOutcome, Channel, Handler, HostKeys, Progress, Proof, Settings, Subsystem, serve, sessions,
    userauth,
};

/// What fits into a socket's buffer with all that is answered to it, so that
/// one thread can be both sides.
const MOST: usize = 32 << 10;

/// The bytes of a client, from its version on.
pub fn before_keys(data: &[u8]) {
    let mut server = recorded(&data[..data.len().min(MOST)]);
    // An error is as good as an end.
    let _ = serve(&mut server.0, keys(), &settings(), &mut LetIn);
}

/// Payloads after the key exchange, each after a byte for its length. An even
/// first byte begins at the service request, an odd one after the login.
pub fn after_keys(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    let mut packets = Vec::new();
    while let Some((length, more)) = rest.split_first() {
        let (payload, more) = more.split_at(usize::from(*length).min(more.len()));
        let padding = 4 + (16 - (5 + payload.len() + 4) % 8) % 8;
        let length = 1 + payload.len() + padding;
        packets.extend_from_slice(&(length as u32).to_be_bytes());
        packets.push(padding as u8);
        packets.extend_from_slice(payload);
        packets.resize(packets.len() + padding, 0);
        rest = more;
        if packets.len() > MOST {
            break;
        }
    }
    let mut server = recorded(&packets);
    let begin = match first & 1 {
        0 => Begin::BeforeLogin,
        _ => Begin::AfterLogin,
    };
    let _ = from_keys_on(&mut server.0, begin);
}

/// Where [`after_keys`] begins.
#[derive(PartialEq, Eq)]
enum Begin {
    BeforeLogin,
    AfterLogin,
}

fn from_keys_on(server: &mut UnixStream, begin: Begin) -> Result<(), Fault> {
    let settings = settings();
    let mut packets = PacketStream::new(server)?;
    packets.socket.deadline = Some((Instant::now() + settings.login_deadline, "fuzzing"));
    let mut transport = Transport::new(packets, keys(), &settings);
    transport.skip_key_exchange();
    if begin == Begin::BeforeLogin {
        userauth::login(&mut transport, &mut LetIn)?;
    }
    transport.logged_in();
    sessions::run(&mut transport, &LetIn)
}

/// A server's socket that has everything already, and whose client listens to
/// nothing: that end must live as long, or writing would fail at once.
fn recorded(bytes: &[u8]) -> (UnixStream, UnixStream) {
    let (server, mut client) = UnixStream::pair().expect("descriptors are left");
    // What does not fit is cut off.
    let _ = client.set_nonblocking(true);
    let _ = client.write_all(bytes);
    let _ = client.shutdown(std::net::Shutdown::Write);
    (server, client)
}

fn settings() -> Settings {
    Settings {
        login_deadline: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(200),
        banner: "x".into(),
        window: 10_000,
        ..Settings::default()
    }
}

fn keys() -> &'static HostKeys {
    static KEYS: OnceLock<HostKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let name = format!("wharf-ssh-fuzz-{}", std::process::id());
        let path: PathBuf = std::env::temp_dir().join(name);
        let keys = HostKeys::load_or_create(std::slice::from_ref(&path));
        let _ = std::fs::remove_file(path);
        keys.expect("the directory for temporary files can be written")
    })
}

/// Anybody, by anything but a password of one byte; echoes.
struct LetIn;

impl Handler for LetIn {
    fn authenticate(&mut self, _: &str, proof: Proof<'_>) -> AuthOutcome {
        match proof {
            Proof::None | Proof::Password([_]) => AuthOutcome::Refused,
            Proof::Password([]) => AuthOutcome::Disconnect("enough"),
            _ => AuthOutcome::Accepted,
        }
    }

    fn sftp<'h>(&'h self, channel: Box<dyn Channel + 'h>) -> Box<dyn Subsystem + 'h> {
        Box::new(Echo::new(channel, 0))
    }
}

/// Gives data back, and ends with a status.
pub struct Echo<'h> {
    channel: Box<dyn Channel + 'h>,
    waiting: Vec<u8>,
    status: u32,
}

impl<'h> Echo<'h> {
    /// An echo on a channel.
    pub fn new(channel: Box<dyn Channel + 'h>, status: u32) -> Self {
        Echo {
            channel,
            waiting: Vec::new(),
            status,
        }
    }

    fn give_back(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 3000];
        loop {
            while !self.waiting.is_empty() {
                let count = self.channel.write(&self.waiting)?;
                self.waiting.drain(..count);
            }
            match self.channel.read(&mut buffer)? {
                0 => return self.channel.flush(),
                count => self.waiting.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

impl Subsystem for Echo<'_> {
    fn step(&mut self) -> Progress {
        match self.give_back() {
            Ok(()) => Progress::Ended(self.status),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(_) => Progress::Ended(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::fuzz::Noise;

    #[test]
    fn noise_does_no_harm() {
        let mut noise = Noise(0x5eed);
        for round in 0..600 {
            let length = noise.next() % 300;
            let mut data = match round % 2 {
                0 => b"SSH-2.0-x\r\n".to_vec(),
                _ => Vec::new(),
            };
            data.extend((0..length).map(|_| noise.next() as u8));
            before_keys(&data);
            after_keys(&data);
        }
    }

    /// Messages that are nearly right get further than noise does.
    #[test]
    fn messages_that_are_nearly_right_do_no_harm() {
        const STRINGS: [&[u8]; 14] = [
            b"ssh-userauth",
            b"ssh-connection",
            b"none",
            b"password",
            b"publickey",
            b"ssh-ed25519",
            b"rsa-sha2-512",
            b"session",
            b"subsystem",
            b"sftp",
            b"exec",
            b"scp -t x",
            b"",
            b"\0\0\0\x0bssh-ed25519\0\0\0\x01a",
        ];
        const NUMBERS: [u32; 8] = [0, 0, 0, 1, 300, 32768, u32::MAX, 1 << 31];
        const KINDS: [u8; 20] = [
            5, 5, 50, 50, 50, 90, 90, 98, 98, 93, 94, 94, 95, 96, 97, 80, 2, 20, 30, 21,
        ];
        let mut noise = Noise(0xfeed);
        for _ in 0..1500 {
            let mut data = vec![noise.next() as u8];
            for _ in 0..noise.next() % 25 {
                let mut payload = vec![noise.one_of(&KINDS)];
                for _ in 0..noise.next() % 7 {
                    match noise.next() % 4 {
                        0 => payload.push(noise.next() as u8 & 1),
                        1 => payload.extend(noise.one_of(&NUMBERS).to_be_bytes()),
                        _ => {
                            let text = noise.one_of(&STRINGS);
                            payload.extend((text.len() as u32).to_be_bytes());
                            payload.extend(text);
                        }
                    }
                }
                data.push(payload.len() as u8);
                data.extend(payload);
            }
            after_keys(&data);
        }
    }
}
