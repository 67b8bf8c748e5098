//! The room in a build without the feature `ftps`: the same names, so that
//! callers need no `cfg`, and no value of them.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use super::{CertificateFacts, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;

/// What there is none of. Within this file only: elsewhere the compiler would
/// complain of code that can't be reached.
#[derive(Debug, Clone)]
enum Never {}

fn unsupported<T>() -> Result<T> {
    let text = "this build has no TLS (feature ftps)";
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Answers that this build has no TLS.
pub fn make_self_signed(_certificate: &Path, _key: &Path, _names: &[String]) -> Result<()> {
    unsupported()
}

/// Answers that nobody can ask for TLS.
pub fn offered(_bytes: &[u8]) -> super::Offered {
    super::Offered::NoTls
}

/// The server's certificates; there is none in this build.
#[derive(Debug, Clone)]
pub struct Tls(Never);

impl Tls {
    /// Answers that this build has no TLS.
    pub fn new(_settings: &TlsSettings) -> Result<Tls> {
        unsupported()
    }

    /// Reads the files again.
    pub fn reload(&self) -> Result<()> {
        match self.0 {}
    }

    /// What a new control connection needs.
    pub fn session(&self) -> SessionTls {
        match self.0 {}
    }

    /// The certificates in force.
    pub fn certificates(&self) -> Result<Vec<CertificateFacts>> {
        match self.0 {}
    }
}

/// TLS for one control connection; there is none in this build.
#[derive(Debug)]
pub struct SessionTls(Never);

impl SessionTls {
    /// A handshake on a control connection.
    pub fn accept(&self, _socket: Socket, _deadline: Instant) -> Result<TlsStream> {
        match self.0 {}
    }

    /// Begins a handshake on a data connection.
    pub fn begin_data(
        &self,
        _socket: Socket,
        _direction: super::Direction,
    ) -> Result<DataHandshake> {
        match self.0 {}
    }

    /// What its session is known by.
    pub fn marks(&self) -> Vec<super::Mark> {
        match self.0 {}
    }

    /// Whether a data connection can be asked to resume.
    pub fn can_resume(&self) -> bool {
        match self.0 {}
    }
}

/// A handshake that has begun; there is none in this build.
#[derive(Debug)]
pub struct DataHandshake(Never);

/// What came of a step of it.
#[derive(Debug)]
pub enum Step {
    /// The handshake is done.
    Done(TlsStream),
    /// The client must send more first.
    Wait(DataHandshake),
}

impl DataHandshake {
    /// The connection.
    pub fn socket(&self) -> &Socket {
        match self.0 {}
    }

    /// When the handshake must be over.
    pub fn deadline(&self) -> Instant {
        match self.0 {}
    }

    /// Goes on with what has come.
    pub fn step(self, _session: &SessionTls) -> Result<Step> {
        match self.0 {}
    }
}

/// A TLS connection; there is none in this build.
#[derive(Debug)]
pub struct TlsStream(Never);

impl TlsStream {
    /// Whether the handshake resumed a session.
    pub fn resumed(&self) -> bool {
        match self.0 {}
    }

    /// Protocol and cipher.
    pub fn version_and_cipher(&self) -> String {
        match self.0 {}
    }

    /// The subject of the client's certificate.
    pub fn peer_subject(&self) -> Option<String> {
        match self.0 {}
    }

    /// The common name in that subject.
    pub fn peer_common_name(&self) -> Option<String> {
        match self.0 {}
    }

    /// The socket underneath.
    pub fn socket(&self) -> &Socket {
        match self.0 {}
    }

    /// Whether a read gives something although `poll` may not say so.
    pub fn buffered(&self) -> bool {
        match self.0 {}
    }

    /// Sends close_notify.
    pub fn shutdown(&mut self) -> io::Result<()> {
        match self.0 {}
    }

    /// Goes back to plain text.
    pub fn into_socket(self, _deadline: Instant) -> Result<(Socket, Vec<u8>)> {
        match self.0 {}
    }
}

impl Read for TlsStream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for TlsStream {
    fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
