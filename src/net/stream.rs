//! A connection in the clear or under TLS: an enum, not a type parameter, so
//! that sessions are compiled once.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::socket::Socket;

/// A connection that a protocol reads and writes.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(Socket),
}

impl Stream {
    /// The socket underneath, for addresses, timeouts and readiness.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
        }
    }

    /// Whether bytes wait above the socket, where `poll` can't see them.
    pub fn has_buffered(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
        }
    }

    /// Says to the peer that nothing more comes: close_notify under TLS, then
    /// the end of the sending direction.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.shutdown(std::net::Shutdown::Write),
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

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
        }
    }
}
