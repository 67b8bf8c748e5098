//! SSH 2 with one purpose: to carry SFTP (RFC 4251 to 4254, 8308, 8332, 8709,
//! 8731; OpenSSH's PROTOCOL files for what ends in `@openssh.com`).
//!
//! [`serve`] does a whole connection on the calling thread: versions, key
//! exchange, login, session channels with the subsystem `sftp` or a command.
//! Who may log in, what the subsystem does and which commands there are, is the
//! [`Handler`]'s business: none is run. There is no shell, no forwarding, no
//! agent and no X11.
//!
//! From the bottom up: `wire` (data types), `cipher` (packet protection),
//! `timed_socket`, `packet_reader`, `packet_writer` and `packet_stream` (packets
//! on a socket), `algorithms`, `mlkem` and `kex` (key exchange), `host_key`,
//! `openssh_key`, `signature` and `revoked` (keys), `rotation` (of host keys), `transport` (packets with rekeying),
//! `userauth` (login), `window`, `channel`, `channel_io` and `sessions` (channels).

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
mod revoked;
mod rotation;
mod sessions;
mod signature;
#[cfg(test)]
mod tests;
mod timed_socket;
mod transport;
mod userauth;
mod window;
#[cfg(test)]
pub(crate) use tests::{floods::messages, peer};
mod wire;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use algorithms::Algorithms;
pub use host_key::{HostKeys, fingerprint};
pub use revoked::RevokedKeys;
pub use timed_socket::Socket;

use crate::auth::PublicKey;
use crate::error::Result;
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
    /// Bytes a client may send on a channel before they are used: bandwidth
    /// times round trip. Where a window ends that grows with its use; 16 MiB.
    pub window: u32,
    /// What the windows of all connections of the process may hold beyond their
    /// beginnings of 256 KiB each. 12 MiB.
    pub window_budget: u64,
    /// Session channels of a connection at the same time. 10.
    pub max_channels: u32,
    /// Most channel data in a packet, both ways: 1 KiB to 256 KiB. 64 KiB.
    pub max_packet: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            algorithms: Arc::default(),
            methods: Method::ALL.to_vec(),
            rekey_bytes: 32 << 30,
            rekey_time: Duration::from_secs(3600),
            login_deadline: Duration::from_secs(120),
            max_tries: 6,
            banner: String::new(),
            keepalive: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            window: 16 << 20,
            window_budget: 12 << 20,
            max_channels: 10,
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
    /// RFC 4256: the password as the answer to a question.
    KeyboardInteractive,
}

impl Method {
    /// All, in the order in which clients are told of them by default.
    pub const ALL: [Method; 3] = [
        Method::PublicKey,
        Method::Password,
        Method::KeyboardInteractive,
    ];

    /// The method that RFC 4252 or 4256 calls so.
    pub fn find(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Method::PublicKey => "publickey",
            Method::Password => "password",
            Method::KeyboardInteractive => "keyboard-interactive",
        }
    }
}

/// What a server does for the transport: it decides about logins and serves
/// the subsystem.
pub trait Handler {
    /// Decides whether this user may log in. Only an accepted
    /// [`Proof::Password`] or [`Proof::KeyVerified`] logs anybody in.
    fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome;

    /// Whether a code goes with the user's password: it is asked for on its own
    /// then, and appended to the password.
    fn wants_code(&self, _name: &str) -> bool {
        false
    }

    /// More keys have been offered in vain than any agent holds: this and each
    /// further one is a failed login.
    fn too_many_keys(&mut self, _name: &str) -> AuthOutcome {
        AuthOutcome::Refused
    }

    /// Begins SFTP for the user who was accepted, on a channel of its own.
    fn sftp<'h>(&'h self, channel: Box<dyn Channel + 'h>) -> Box<dyn Subsystem + 'h>;

    /// Begins what a command line asks for.
    ///
    /// # Errors
    /// A line of text for the person who sent it: there is no such command.
    fn command<'h>(
        &'h self,
        _line: &[u8],
        _channel: Box<dyn Channel + 'h>,
    ) -> Result<Box<dyn Subsystem + 'h>, &'static str> {
        Err("this server speaks SFTP only; commands are not run\n")
    }
}

/// What runs on a session channel. The channels of a connection share a thread,
/// so none may wait for its client.
pub trait Subsystem {
    /// Does what can be done now: called again when the channel has more data,
    /// has ended, or has room for more output.
    fn step(&mut self) -> Progress;

    /// Whether anything is open, so that the session is not idle.
    fn is_busy(&self) -> bool {
        false
    }

    /// Whether it has something to do that needs nothing of its channel.
    fn has_work(&self) -> bool {
        false
    }

    /// Whether it waits for another subsystem of the connection, not for its
    /// own channel.
    fn is_stalled(&self) -> bool {
        false
    }
}

/// How far a [`Subsystem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It needs data or room for output.
    Waiting,
    /// It has ended, with the exit status that the client is told.
    Ended(u32),
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
    /// Right, and one of these must be shown, too (RFC 4252, section 5.1).
    More(&'static [Method]),
    /// Refused; the client may try again.
    Refused,
    /// Refused, and the connection ends with this text, such as "too many
    /// sessions".
    Disconnect(&'static str),
}

/// A session channel with the subsystem on it.
///
/// Reading returns 0 after the client's EOF and `WouldBlock` when there is no
/// data now; writing returns `WouldBlock` when there is no room. What was written
/// is sent when all subsystems wait, so nothing need be flushed between answers
/// and questions. Writes are gathered into large packets. Flushing sends what can
/// be sent at once; during long work it should be done a few times a second, to
/// notice what the client does. All end with an error once the connection is lost
/// or a deadline passed.
pub trait Channel: Read + Write {
    /// The client's identification (RFC 4253, section 4.2), for what one
    /// client alone needs.
    fn client(&self) -> Vec<u8>;
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
    transport.announce_host_keys()?;
    // Key exchange and login are as deep as most sessions ever get.
    crate::sys::release_stack();
    sessions::run(transport, handler)
}
