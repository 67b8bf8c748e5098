//! Both back-ends pass the same tests: `cargo test net::tls`, and the same with
//! `--no-default-features --features ftps`.

mod certificates;
mod client;
#[cfg(feature = "tls13")]
mod client_certificates;
mod ends;
mod handshake;
mod made;
mod measure;
mod renewal;
mod resumption;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{
    CertificatePair, Direction, HandshakeStep, SessionTls, Tls, TlsSettings, TlsStream,
    make_self_signed, retire_self_signed,
};
use crate::error::{ErrorKind, Result};
use crate::net::socket::{Interest, Socket, wait};
use crate::temp::TempDir;
use client::Client;

/// Nothing in these tests takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A directory that goes with the test.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new("tls"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A self-signed pair for `host`.
    fn pair(&self, host: &str) -> CertificatePair {
        let pair = CertificatePair {
            certificate: self.path(&format!("{host}.crt")),
            key: self.path(&format!("{host}.key")),
        };
        make_self_signed(&pair.certificate, &pair.key, &[host.to_owned()]).unwrap();
        pair
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificates: vec![self.pair("ftp.test")],
            ..TlsSettings::default()
        }
    }

    fn tls(&self) -> Tls {
        Tls::new(&self.settings()).unwrap()
    }
}

/// Two ends with deadlines on every read and write.
fn ends() -> (Socket, UnixStream) {
    let (server, client) = UnixStream::pair().unwrap();
    for end in [&server, &client] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (Socket::from(server), client)
}

/// What the server's end of a connection does.
#[derive(Clone, Copy)]
enum Side {
    Control,
    Data(Direction),
}

fn accept(session: &SessionTls, side: Side, socket: Socket) -> Result<TlsStream> {
    match side {
        Side::Control => session.accept(socket, &mut soon()),
        Side::Data(direction) => accept_data(session, socket, direction),
    }
}

/// A whole handshake on a data connection.
fn accept_data(session: &SessionTls, socket: Socket, direction: Direction) -> Result<TlsStream> {
    let mut handshake = session.begin_data(socket, direction)?;
    let until = handshake.deadline();
    loop {
        match handshake.step(session)? {
            HandshakeStep::Done(stream) => return Ok(stream),
            HandshakeStep::Wait(next) => handshake = next,
        }
        let socket = handshake.socket().as_fd();
        if !wait([(socket, Interest::Read)], Some(until))?[0] {
            return Err(ErrorKind::Timeout.into());
        }
    }
}

/// Runs both ends at once: `server` after its handshake, `client` on the raw
/// socket.
fn together<S: Send, C>(
    session: &SessionTls,
    side: Side,
    server: impl FnOnce(Result<TlsStream>) -> S + Send,
    client: impl FnOnce(UnixStream) -> C,
) -> (S, C) {
    let (ours, theirs) = ends();
    thread::scope(|scope| {
        let server = scope.spawn(move || server(accept(session, side, ours)));
        let client = client(theirs);
        (server.join().unwrap(), client)
    })
}

/// Writes and sends, as control connections do.
fn say(stream: &mut TlsStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
}

/// A control connection that stays: the server's stream and the client's.
fn control(session: &SessionTls, client: &Client) -> (TlsStream, client::Connection) {
    together(
        session,
        Side::Control,
        |accepted| {
            let mut stream = accepted.unwrap();
            say(&mut stream, "220 ready\r\n");
            stream
        },
        |socket| {
            let mut connection = client.connect(socket, None).unwrap();
            assert_eq!(connection.line(), "220 ready\r\n");
            client.keep(&connection);
            connection
        },
    )
}
