//! SSH 2 with one purpose: to carry SFTP (RFC 4251 to 4254, 8308, 8332, 8709,
//! 8731; OpenSSH's PROTOCOL files for what ends in `@openssh.com`).
//!
//! [`serve`] does a whole connection on the calling thread: versions, key
//! exchange, login, one session channel at a time with the subsystem `sftp`.
//! Who may log in, and what the subsystem does, is the [`Handler`]'s business.
//! There is no shell, no command, no forwarding, no agent and no X11.
//!
//! From the bottom up: `wire` (data types), `cipher` (packet protection),
//! `timed_socket`, `packet_reader`, `packet_writer` and `packet_stream` (packets
//! on a socket), `algorithms`, `mlkem` and `kex` (key exchange), `host_key`,
//! `openssh_key` and `signature` (keys), `transport` (packets with rekeying),
//! `userauth` (login), `channel` and `channel_io` (the session).

mod algorithms;
mod channel;
mod channel_io;
mod cipher;
mod fault;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/harness/ssh.rs"]
pub mod fuzz;
mod host_key;
mod kex;
mod mlkem;
mod openssh_key;
mod packet_reader;
mod packet_stream;
mod packet_writer;
mod signature;
#[cfg(test)]
mod tests;
mod timed_socket;
mod transport;
mod userauth;
mod wire;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use algorithms::Algorithms;
pub use host_key::{HostKeys, fingerprint};
pub use timed_socket::Socket;

use crate::auth::PublicKey;
use crate::error::Result;
use channel::Connection;
use fault::Fault;
use packet_stream::PacketStream;
use transport::Transport;

/// How a connection is served. Each field has a safe default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Which algorithms are allowed.
    pub algorithms: Arc<Algorithms>,
    /// Login methods, in the order in which clients are told of them.
    pub methods: Vec<Method>,
    /// New keys after so many bytes in one direction; 0 is never. The default
    /// of 32 GiB is half of what RFC 4344, section 3.2 allows for AES.
    pub rekey_bytes: u64,
    /// New keys after so long, unless nothing moves; zero is never. One hour
    /// (RFC 4253, section 9).
    pub rekey_time: Duration,
    /// How long a client may take from the first byte to its login, and for
    /// each later key exchange. 120 s.
    pub login_deadline: Duration,
    /// Refused passwords and keys before the connection is ended. 6.
    pub max_tries: u32,
    /// Text that clients show before a login; empty is none.
    pub banner: String,
    /// Silence after which a client is asked for a sign of life; it is given
    /// up after three questions. Zero is never. 60 s.
    pub keepalive: Duration,
    /// How long a session may do nothing; zero is for ever. 300 s.
    pub idle_timeout: Duration,
    /// Bytes a client may send before they are used: bandwidth times round
    /// trip, and the memory a flooding client can take. 2 MiB.
    pub window: u32,
    /// Most channel data in a packet, both ways: 1 KiB to 256 KiB. 64 KiB.
    pub max_packet: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            algorithms: Arc::default(),
            methods: vec![Method::PublicKey, Method::Password],
            rekey_bytes: 32 << 30,
            rekey_time: Duration::from_secs(3600),
            login_deadline: Duration::from_secs(120),
            max_tries: 6,
            banner: String::new(),
            keepalive: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            window: 2 << 20,
            max_packet: 64 << 10,
        }
    }
}

/// A login method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// RFC 4252, section 7.
    PublicKey,
    /// RFC 4252, section 8.
    Password,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::PublicKey => "publickey",
            Method::Password => "password",
        }
    }
}

/// What a server does for the transport: it decides about logins and serves
/// the subsystem.
pub trait Handler {
    /// Decides whether this user may log in. Only an accepted
    /// [`Proof::Password`] or [`Proof::KeyVerified`] logs anybody in.
    fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome;

    /// Serves SFTP to the user who was accepted; returns the exit status that
    /// the client is told. Called again if the client opens another session
    /// after this one.
    fn sftp(&mut self, channel: &mut dyn Channel) -> u32;
}

/// What a client shows to be let in.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Proof<'a> {
    /// Nothing: the client asks for the methods (or hopes that none is needed).
    None,
    /// A password.
    Password(&'a [u8]),
    /// A key, without a proof that the client has it: would it do? Every key
    /// that comes with a signature is asked about like this first; accepting
    /// it logs nobody in.
    KeyOffered(&'a PublicKey),
    /// A key whose signature over this session was right.
    KeyVerified(&'a PublicKey),
}

/// The answer to a [`Proof`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOutcome {
    /// The user is logged in; of an offered key: a signature by it would do.
    Accepted,
    /// Refused; the client may try again.
    Refused,
    /// Refused, and the connection ends with this text, such as "too many
    /// sessions".
    Disconnect(&'static str),
}

/// A session channel with the subsystem on it.
///
/// Reading blocks until there is data and returns 0 after the client's EOF;
/// before it blocks it sends what was written, so nothing need be flushed
/// between answers and questions. Writes are gathered into large packets.
/// Flushing sends what can be sent at once and does not wait; during long work
/// it should be done a few times a second, to notice what the client does.
/// Both end with an error once the connection is lost or a deadline passed.
pub trait Channel: Read + Write {
    /// The client's identification (RFC 4253, section 4.2), for what one
    /// client alone needs.
    fn client(&self) -> &[u8];
}

/// Serves one connection, from the version line to the end.
///
/// The socket becomes non-blocking. A client that leaves after its login is
/// the usual end; what a client may not do ends with SSH_MSG_DISCONNECT.
///
/// # Errors
/// Why the connection ended, where it was not the client's wish; one log line
/// is all the caller need make of it. `LoginRefused` after too many tries,
/// `Protocol` for a client that breaks the rules, `Timeout`, `Disconnected`
/// for one that left without a login.
pub fn serve(
    socket: &mut dyn Socket,
    keys: &HostKeys,
    settings: &Settings,
    handler: &mut dyn Handler,
) -> Result<()> {
    let mut packets = PacketStream::new(socket)?;
    packets.socket.deadline = Some((Instant::now() + settings.login_deadline, "logging in"));
    let mut transport = Transport::new(packets, keys, settings);
    let Err(fault) = run(&mut transport, handler) else {
        return Ok(());
    };
    if let Some((reason, text)) = fault.disconnect_message() {
        if transport.versions_exchanged() {
            transport.packets.disconnect(reason, text);
        } else {
            transport.packets.send_plain_text(text);
        }
    }
    match fault {
        Fault::Left(text) if transport.logged_in => {
            log::debug!("SSH: {text}");
            Ok(())
        }
        fault => Err(fault.into()),
    }
}

fn run(transport: &mut Transport<'_>, handler: &mut dyn Handler) -> Result<(), Fault> {
    transport.open()?;
    userauth::login(transport, handler)?;
    transport.logged_in();
    // Key exchange and login are as deep as most sessions ever get.
    crate::sys::release_stack();
    Connection::new(transport).run(handler)
}
