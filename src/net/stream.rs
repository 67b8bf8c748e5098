//! A connection in the clear or under TLS: an enum, not a type parameter, so
//! that sessions are compiled once.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use super::closing::{Incoming, discard};
use super::socket::Socket;
use super::tls::TlsStream;

/// A connection that a protocol reads and writes.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(Socket),
    /// Under TLS.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket underneath, for addresses, timeouts and readiness.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.socket(),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether bytes wait above the socket, where `poll` can't see them.
    pub fn has_buffered(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.buffered(),
        }
    }

    /// Sends what writes have left and says that nothing more comes: under TLS
    /// by close_notify, then by the end of the sending direction. After
    /// `WouldBlock` the call can be made again.
    ///
    /// # Errors
    /// As a write; `NotConnected` or `ConnectionReset` when the peer is gone
    /// and what was sent last may be lost. A peer that has itself said that all
    /// is read is no error.
    pub fn finish(&mut self) -> io::Result<()> {
        let ended = match self {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => {
                stream.shutdown()?;
                stream.has_ended()
            }
        };
        match self.socket().shutdown(Shutdown::Write) {
            Err(error) if ended && error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Reads and discards what a peer has sent that is only sent to, without
    /// waiting. Under TLS the library acts on it: on a KeyUpdate, on an early
    /// close_notify.
    ///
    /// The socket must not block.
    ///
    /// # Errors
    /// The connection is broken, or what came is no TLS.
    pub fn discard_incoming(&mut self) -> io::Result<Incoming> {
        match self {
            Stream::Plain(socket) => discard(socket),
            Stream::Tls(stream) => stream.discard_incoming(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<S: Into<Socket>> From<S> for Stream {
    fn from(socket: S) -> Self {
        Stream::Plain(socket.into())
    }
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Self {
        Stream::Tls(Box::new(stream))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(data),
            Stream::Tls(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
