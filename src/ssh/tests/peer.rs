//! A client for tests that can break any rule, on a socket pair with a server
//! behind it. Every read has a deadline.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use openssl::derive::Deriver;
use openssl::pkey::{Id, PKey, Private};

use crate::error::{Error, ErrorKind, Result};
use crate::ssh::algorithms::KexKind;
use crate::ssh::cipher::{Direction, Protector};
use crate::ssh::kex::{
    CLIENT_TO_SERVER, Hash, SERVER_TO_CLIENT, SharedSecret, Transcript, read_init,
};
use crate::ssh::wire::{Put, message};
use crate::ssh::{AuthOutcome, Channel, Handler, HostKeys, Method, Progress, Proof};
use crate::ssh::{Settings, Subsystem, serve};
use crate::ssh_data::Reader;

const VERSION: &str = "SSH-2.0-test";
/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets everybody in whose password is not `wrong`; gives data back, and ends
/// with status 7.
struct Echo;

impl Handler for Echo {
    fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome {
        match proof {
            Proof::None if name == "free" => AuthOutcome::Accepted,
            Proof::Password(b"right") => AuthOutcome::Accepted,
            Proof::KeyOffered(_) if name == "both" => AuthOutcome::Accepted,
            Proof::KeyVerified(_) if name == "both" => AuthOutcome::More(&[Method::Password]),
            Proof::Password(b"late") => AuthOutcome::Disconnect("too many sessions"),
            _ => AuthOutcome::Refused,
        }
    }

    fn sftp<'h>(&'h self, channel: Box<dyn Channel + 'h>) -> Box<dyn Subsystem + 'h> {
        Box::new(crate::ssh::fuzz::Echo::new(channel, 7))
    }

    fn command<'h>(
        &'h self,
        line: &[u8],
        _: Box<dyn Channel + 'h>,
    ) -> std::result::Result<Box<dyn Subsystem + 'h>, &'static str> {
        match line {
            b"work" => Ok(Box::new(Busy)),
            _ => Err("no such command\n"),
        }
    }
}

/// Has work without end, and nothing to say.
struct Busy;

impl Subsystem for Busy {
    fn step(&mut self) -> Progress {
        Progress::Waiting
    }

    fn has_work(&self) -> bool {
        true
    }
}

pub fn host_keys() -> Arc<HostKeys> {
    static KEYS: OnceLock<Arc<HostKeys>> = OnceLock::new();
    let make = || {
        let name = format!("wharf-ssh-{}-{:p}", std::process::id(), &KEYS);
        let path: PathBuf = std::env::temp_dir().join(name);
        let keys = HostKeys::load_or_create(std::slice::from_ref(&path)).unwrap();
        std::fs::remove_file(path).unwrap();
        Arc::new(keys)
    };
    KEYS.get_or_init(make).clone()
}

pub struct Peer {
    pub stream: UnixStream,
    settings: Settings,
    seal: Protector,
    seal_sequence: u32,
    open: Protector,
    open_sequence: u32,
    pub session: Option<Vec<u8>>,
    strict: bool,
    /// The client's number of the next channel.
    pub next_channel: u32,
    end: mpsc::Receiver<Result<()>>,
}

impl Peer {
    /// A server and a client that has said nothing.
    pub fn start(settings: Settings) -> Peer {
        let (stream, mut server) = UnixStream::pair().unwrap();
        let (tell, end) = mpsc::channel();
        let served = settings.clone();
        thread::spawn(move || {
            let result = serve(&mut server, &host_keys(), &served, &mut Echo);
            tell.send(result)
        });
        Peer::new(stream, settings, end)
    }

    /// A client that is logged in to a server at the other end of a socket.
    pub fn over(stream: UnixStream) -> Peer {
        let (_, end) = mpsc::channel();
        Peer::new(stream, Settings::default(), end).log_in()
    }

    fn new(stream: UnixStream, settings: Settings, end: mpsc::Receiver<Result<()>>) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer {
            stream,
            settings,
            seal: Protector::Clear,
            seal_sequence: 0,
            open: Protector::Clear,
            open_sequence: 0,
            session: None,
            strict: false,
            next_channel: 42,
            end,
        }
    }

    /// A client as far as the end of the first key exchange.
    pub fn keyed(settings: Settings) -> Peer {
        let mut peer = Peer::start(settings);
        peer.exchange_keys();
        peer
    }

    fn exchange_keys(&mut self) {
        self.versions();
        let server_init = self.receive();
        self.exchange(&server_init, "aes128-ctr", Kex::STRICT);
    }

    /// A client that is logged in.
    pub fn logged_in(settings: Settings) -> Peer {
        Peer::start(settings).log_in()
    }

    fn log_in(mut self) -> Peer {
        self.exchange_keys();
        self.ask_service("ssh-userauth");
        loop {
            match self.receive()[0] {
                message::SERVICE_ACCEPT => break,
                7 => {} // EXT_INFO
                other => panic!("message {other}"),
            }
        }
        self.ask_login("tester", "right");
        assert_eq!(self.receive()[0], message::USERAUTH_SUCCESS);
        self
    }

    /// A client whose subsystem runs.
    pub fn running(settings: Settings) -> Peer {
        let mut peer = Peer::logged_in(settings);
        peer.open_channel("session", 1 << 20, 1 << 15);
        assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
        peer.request("subsystem", Some("sftp"));
        assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
        peer
    }

    // ---- bytes and packets ----

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Our version out, theirs in.
    pub fn versions(&mut self) {
        self.raw(format!("{VERSION}\r\n").as_bytes());
        assert!(self.line().starts_with("SSH-2.0-wharf_"));
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") {
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// A packet with the padding and the length a test wants.
    pub fn packet(&mut self, payload: &[u8], padding: Option<u8>) -> Vec<u8> {
        let block = self.seal.block();
        let front = if self.seal.aligned_with_length() {
            5
        } else {
            1
        };
        let mut room = block - (front + payload.len()) % block;
        if room < 4 {
            room += block;
        }
        let mut packet = Vec::new();
        packet.put_u32((1 + payload.len() + room) as u32);
        packet.put_byte(padding.unwrap_or(room as u8));
        packet.put_bytes(payload);
        packet.resize(packet.len() + room + self.seal.tag(), 0);
        self.seal.seal(self.seal_sequence, &mut packet).unwrap();
        self.seal_sequence = self.seal_sequence.wrapping_add(1);
        packet
    }

    pub fn send(&mut self, payload: &[u8]) {
        let packet = self.packet(payload, None);
        self.raw(&packet);
    }

    /// The next packet, whatever it is.
    pub fn receive(&mut self) -> Vec<u8> {
        self.try_receive().expect("a packet before the deadline")
    }

    pub fn try_receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut packet = vec![0; self.open.head()];
        self.stream.read_exact(&mut packet)?;
        let length = self.open.length(self.open_sequence, &mut packet).unwrap() as usize;
        let head = packet.len();
        packet.resize(4 + length + self.open.tag(), 0);
        self.stream.read_exact(&mut packet[head..])?;
        self.open.open(self.open_sequence, &mut packet).unwrap();
        self.open_sequence = self.open_sequence.wrapping_add(1);
        let padding = packet[4] as usize;
        Ok(packet[5..4 + length - padding].to_vec())
    }

    /// The server must say good-bye with this reason, close, and return an
    /// error of this kind.
    #[track_caller]
    pub fn must_disconnect(&mut self, reason: u32, kind: ErrorKind) {
        loop {
            let payload = self.receive();
            if payload[0] == message::DISCONNECT {
                let mut reader = Reader::new(&payload[1..]);
                let got = reader.u32().unwrap();
                let text = reader.text().unwrap();
                assert_eq!(got, reason, "{text}");
                break;
            }
        }
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "nothing follows a disconnect");
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(self.ended().unwrap_err().kind(), kind);
    }

    /// What the server's call came back with.
    #[track_caller]
    pub fn ended(&self) -> Result<(), Error> {
        self.end.recv_timeout(PATIENCE).expect("the server returns")
    }

    // ---- key exchange ----

    /// A KEXINIT that asks for these.
    pub fn init(&self, cipher: &str, kex: Kex) -> Vec<u8> {
        let mut init = vec![message::KEXINIT];
        init.put_bytes(&[7; 16]);
        init.put_string(kex.names.as_bytes());
        init.put_string(b"ssh-ed25519");
        for list in [cipher, "hmac-sha2-256", "none"] {
            init.put_string(list.as_bytes());
            init.put_string(list.as_bytes());
        }
        init.put_string(b"");
        init.put_string(b"");
        init.put_boolean(kex.guess);
        init.put_u32(0);
        init
    }

    /// The client's part of a key exchange, from its KEXINIT on.
    pub fn exchange(&mut self, server_init: &[u8], cipher: &str, kex: Kex) {
        assert_eq!(server_init[0], message::KEXINIT);
        let init = self.init(cipher, kex);
        self.send(&init);
        if kex.guess {
            self.send(&[message::KEX_ECDH_INIT, 1, 2, 3]);
        }
        self.finish_exchange(&init, server_init);
    }

    /// From the client's ephemeral key on.
    pub fn finish_exchange(&mut self, init: &[u8], server_init: &[u8]) {
        let read = read_init(init, &self.settings.algorithms, &host_keys()).unwrap();
        let key = Ephemeral::new(read.chosen.kex.1);
        let public = key.public();
        let mut payload = vec![message::KEX_ECDH_INIT];
        payload.put_string(&public);
        self.send(&payload);

        let reply = self.receive();
        let mut reader = Reader::new(&reply);
        assert_eq!(reader.byte().unwrap(), message::KEX_ECDH_REPLY);
        let host_key = reader.string().unwrap();
        let theirs = reader.string().unwrap();
        let signature = reader.string().unwrap();
        let shared = key.shared(theirs);
        let server_version = concat!("SSH-2.0-wharf_", env!("CARGO_PKG_VERSION"));
        let hash = shared.exchange_hash(&Transcript {
            client_version: VERSION.as_bytes(),
            server_version: server_version.as_bytes(),
            client_init: init,
            server_init,
            host_key,
            client_public: &public,
        });
        let algorithm = crate::ssh::algorithms::HOST_KEYS[0];
        assert!(crate::ssh::signature::verify(
            algorithm, host_key, signature, &hash
        ));
        let session = self.session.get_or_insert_with(|| hash.clone()).clone();
        self.strict |= read.strict;
        assert_eq!(self.receive(), [message::NEWKEYS]);
        self.send(&[message::NEWKEYS]);
        let keys = shared.keys(&hash, &session, read.chosen.receive, CLIENT_TO_SERVER);
        self.seal = Protector::new(read.chosen.receive, &keys, Direction::Seal).unwrap();
        let keys = shared.keys(&hash, &session, read.chosen.send, SERVER_TO_CLIENT);
        self.open = Protector::new(read.chosen.send, &keys, Direction::Open).unwrap();
        if self.strict {
            self.seal_sequence = 0;
            self.open_sequence = 0;
        }
    }

    // ---- messages ----

    pub fn ask_service(&mut self, name: &str) {
        let mut request = vec![message::SERVICE_REQUEST];
        request.put_string(name.as_bytes());
        self.send(&request);
    }

    pub fn ask_login(&mut self, name: &str, password: &str) {
        let mut request = vec![message::USERAUTH_REQUEST];
        request.put_string(name.as_bytes());
        request.put_string(b"ssh-connection");
        if password.is_empty() {
            request.put_string(b"none");
        } else {
            request.put_string(b"password");
            request.put_boolean(false);
            request.put_string(password.as_bytes());
        }
        self.send(&request);
    }

    pub fn open_channel(&mut self, kind: &str, window: u32, packet: u32) {
        let mut open = vec![message::CHANNEL_OPEN];
        open.put_string(kind.as_bytes());
        open.put_u32(self.next_channel);
        open.put_u32(window);
        open.put_u32(packet);
        self.send(&open);
    }

    pub fn request(&mut self, kind: &str, argument: Option<&str>) {
        self.request_on(0, kind, argument);
    }

    pub fn request_on(&mut self, channel: u32, kind: &str, argument: Option<&str>) {
        let mut request = vec![message::CHANNEL_REQUEST];
        request.put_u32(channel);
        request.put_string(kind.as_bytes());
        request.put_boolean(true);
        if let Some(argument) = argument {
            request.put_string(argument.as_bytes());
        }
        self.send(&request);
    }

    pub fn data(&mut self, bytes: &[u8]) {
        self.data_on(0, bytes);
    }

    pub fn data_on(&mut self, channel: u32, bytes: &[u8]) {
        let mut data = vec![message::CHANNEL_DATA];
        data.put_u32(channel);
        data.put_string(bytes);
        self.send(&data);
    }

    pub fn adjust(&mut self, bytes: u32) {
        let mut adjust = vec![message::CHANNEL_WINDOW_ADJUST];
        adjust.put_u32(0);
        adjust.put_u32(bytes);
        self.send(&adjust);
    }

    pub fn channel_message(&mut self, number: u8) {
        self.send(&[number, 0, 0, 0, 0]);
    }

    /// Opens a session channel, with another number of the client's than the
    /// last; returns the server's number for it.
    pub fn open_session(&mut self) -> u32 {
        self.next_channel += 1;
        self.open_channel("session", 1 << 20, 1 << 15);
        let answer = self.receive();
        assert_eq!(answer[0], message::CHANNEL_OPEN_CONFIRMATION);
        Reader::new(&answer[5..]).u32().unwrap()
    }

    /// Offers a key that nobody has.
    pub fn offer_key(&mut self, name: &str) {
        let mut request = vec![message::USERAUTH_REQUEST];
        for word in [name, "ssh-connection", "publickey"] {
            request.put_string(word.as_bytes());
        }
        request.put_boolean(false);
        request.put_string(b"ssh-ed25519");
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(&[7; 32]);
        request.put_string(&blob);
        self.send(&request);
    }
}

/// A client's key of one exchange.
enum Ephemeral {
    X25519(PKey<Private>),
    #[cfg(ossl350)]
    Hybrid(super::hybrid::Keys),
}

impl Ephemeral {
    fn new(kind: KexKind) -> Ephemeral {
        match kind {
            KexKind::X25519 => Ephemeral::X25519(PKey::generate_x25519().unwrap()),
            #[cfg(ossl350)]
            KexKind::MlKem768X25519 => Ephemeral::Hybrid(super::hybrid::Keys::new()),
            other => panic!("{other:?}"),
        }
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Ephemeral::X25519(key) => key.raw_public_key().unwrap(),
            #[cfg(ossl350)]
            Ephemeral::Hybrid(keys) => keys.public(),
        }
    }

    fn shared(&self, theirs: &[u8]) -> SharedSecret {
        match self {
            Ephemeral::X25519(key) => {
                SharedSecret::of_mpint(Hash::Sha256, theirs.to_vec(), &x25519(key, theirs))
            }
            #[cfg(ossl350)]
            Ephemeral::Hybrid(keys) => keys.shared(theirs),
        }
    }
}

pub fn x25519(key: &PKey<Private>, theirs: &[u8]) -> Vec<u8> {
    let peer = PKey::public_key_from_raw_bytes(theirs, Id::X25519).unwrap();
    let mut deriver = Deriver::new(key).unwrap();
    deriver.set_peer(&peer).unwrap();
    deriver.derive_to_vec().unwrap()
}

/// What a client's KEXINIT says about key exchange.
#[derive(Clone, Copy)]
pub struct Kex {
    pub names: &'static str,
    pub guess: bool,
}

impl Kex {
    pub const PLAIN: Kex = Kex {
        names: "curve25519-sha256",
        guess: false,
    };
    pub const STRICT: Kex = Kex {
        names: "curve25519-sha256,kex-strict-c-v00@openssh.com",
        guess: false,
    };
}
