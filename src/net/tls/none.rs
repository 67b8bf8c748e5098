//! The room in a build without the feature `ftps`: one type without a value
//! stands for all of its types, so that callers need no `cfg`.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use super::{CertificateFacts, Direction, HandshakeStep, ResumptionId, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::net::closing::Incoming;
use crate::net::socket::Socket;

/// What this build has none of.
#[derive(Debug, Clone)]
pub struct Unavailable(Never);

/// Private: where the compiler can see that there is no value, it complains of
/// code that can't be reached.
#[derive(Debug, Clone)]
enum Never {}

pub type Tls = Unavailable;
pub type SessionTls = Unavailable;
pub type DataHandshake = Unavailable;
pub type TlsStream = Unavailable;

fn unsupported<T>() -> Result<T> {
    let text = "this build has no TLS (feature ftps)";
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Answers that this build has no TLS.
pub fn make_self_signed(_certificate: &Path, _key: &Path, _names: &[String]) -> Result<()> {
    unsupported()
}

/// Answers that this build has no TLS.
pub fn retire_self_signed(_certificate: &Path, _key: &Path, _names: &[String]) -> Result<()> {
    unsupported()
}

/// Answers that this build has no TLS.
pub fn client_view(_path: &Path) -> Result<Vec<String>> {
    unsupported()
}

macro_rules! methods {
    ($($name:ident($this:ident: $own:ty $(, $argument:ty)*) -> $output:ty;)+) => {
        impl Unavailable {
            /// Answers that this build has no TLS.
            pub fn new(_settings: &TlsSettings) -> Result<Tls> {
                unsupported()
            }

            $(#[doc(hidden)]
            pub fn $name($this: $own $(, _: $argument)*) -> $output {
                match $this.0 {}
            })+
        }
    };
}

methods! {
    session(self: &Self) -> SessionTls;
    usable(self: &Self) -> Result<()>;
    watch(self: &Self) -> ();
    certificates(self: &Self) -> Result<Vec<CertificateFacts>>;
    for_client(self: Self, IpAddr) -> Self;
    for_host(self: Self, Option<&str>) -> Self;
    accept(self: &Self, Socket, &mut Instant) -> Result<TlsStream>;
    begin_data(self: &Self, Socket, Direction) -> Result<DataHandshake>;
    resumption_ids(self: &Self) -> Vec<ResumptionId>;
    socket(self: &Self) -> &Socket;
    deadline(self: &Self) -> Instant;
    step(self: Self, &SessionTls) -> Result<HandshakeStep<TlsStream, DataHandshake>>;
    resumed(self: &Self) -> bool;
    version_and_cipher(self: &Self) -> (&'static str, &'static str);
    peer_subject(self: &Self) -> Option<String>;
    peer_common_name(self: &Self) -> Option<String>;
    buffered(self: &Self) -> bool;
    shutdown(self: &mut Self) -> io::Result<()>;
    has_ended(self: &Self) -> bool;
    discard_incoming(self: &mut Self) -> io::Result<Incoming>;
    into_socket(self: Self, Instant) -> Result<(Socket, Vec<u8>)>;
}

impl Read for Unavailable {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Unavailable {
    fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl AsFd for Unavailable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}
