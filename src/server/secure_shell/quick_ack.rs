//! Quick acknowledgements until the login is over.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::net::socket::Socket;
use crate::session::registry::SessionInfo;

/// Reads of a login: versions, key exchange, service, a few tries.
const READS: u32 = 16;

/// A socket that acknowledges its first reads at once. OpenSSH's client
/// turns off Nagle's algorithm only after the login: twice before it has
/// sent one message and holds back the next until the first is
/// acknowledged, which the kernel delays by 40 ms.
pub(super) struct QuickAckSocket {
    socket: Socket,
    live: Arc<SessionInfo>,
    left: u32,
}

impl QuickAckSocket {
    pub(super) fn new(socket: Socket, live: Arc<SessionInfo>) -> Self {
        QuickAckSocket {
            socket,
            live,
            left: READS,
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Read for QuickAckSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.socket.read(buffer);
        if outcome.as_ref().is_ok_and(|count| *count > 0) {
            self.live.touch();
        }
        if self.left > 0 {
            self.left -= 1;
            if let Socket::Tcp(socket) = &self.socket {
                // The kernel forgets it with the next answer. Without it
                // a login is slower, not wrong.
                let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
            }
        }
        outcome
    }
}

impl Write for QuickAckSocket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl AsFd for QuickAckSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
