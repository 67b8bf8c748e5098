//! A connection under TLS, as sessions and transfers use it.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::CloseNotify;
use super::backend::Connection;
use crate::error::{Doing, ErrorKind, Result};
use crate::net::closing::{Incoming, discard};
use crate::net::socket::Socket;
use crate::sync::unpoisoned;

/// Bytes gathered for one send, and the most plaintext taken by one write: 3.2
/// instead of 2.4 GiB/s where each record was a send of its own.
const GATHER: usize = 256 * 1024;
/// The most plaintext in a record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;
/// What header, nonce and tag add to a record; CBC suites add most.
const OVERHEAD: usize = 96;

/// Records discarded before the caller looks at something else.
const DISCARD_READS: usize = 64;

/// Clients whose log line named `tls-relaxed-close`, the latest last.
static TOLD: Mutex<Vec<IpAddr>> = Mutex::new(Vec::new());
const TOLD_MAX: usize = 64;

/// What is known of the certificate that a client showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// `CN=alice,O=Example`, in the order of the certificate.
    pub subject: String,
    /// The common name alone.
    pub common_name: Option<String>,
    /// SHA-256 of the certificate.
    pub digest: Vec<u8>,
}

/// An established TLS connection.
///
/// Reads give `Ok(0)` only after the peer's close_notify (see
/// [`CloseNotify`]). Writes seal their data into records and send 256 KiB at
/// once; what is less waits for more, for a flush, or for
/// [`TlsStream::shutdown`], so that a small file and the close_notify behind
/// it leave in one segment. With a socket that does not block, or has
/// timeouts, `WouldBlock` means what it means for the socket: nothing is lost
/// and the call can be made again.
#[derive(Debug)]
pub struct TlsStream {
    connection: Connection,
    /// The same socket as in the connection's wire.
    socket: Socket,
    close_notify: CloseNotify,
    /// An error met after some bytes were read already.
    held: Option<io::Error>,
    /// close_notify was sent; a second call would wait for the peer's.
    closed: bool,
    /// The end of the peer's data was read.
    ended: bool,
    /// The peer has said close_notify while it was sent to.
    closed_early: bool,
    /// On a control connection: whether a ticket goes before the next reply.
    ticket_owed: Option<Arc<AtomicBool>>,
}

impl TlsStream {
    pub(super) fn new(mut connection: Connection, socket: Socket, end: CloseNotify) -> Self {
        connection.wire_mut().established();
        TlsStream {
            connection,
            socket,
            close_notify: end,
            held: None,
            closed: false,
            ended: false,
            closed_early: false,
            ticket_owed: None,
        }
    }

    /// Makes this the control connection, which gives a ticket for each data
    /// connection. These give none: clients that only write leave it unread,
    /// which turns their close into a reset, and others keep the tickets of
    /// the control connection alone.
    pub(super) fn watch_ticket_owed(&mut self, owed: Arc<AtomicBool>) {
        self.ticket_owed = Some(owed);
    }

    fn send_owed_ticket(&mut self) {
        if let Some(owed) = &self.ticket_owed
            && owed.swap(false, Ordering::Relaxed)
        {
            self.connection.offer_ticket();
        }
    }

    /// Whether the handshake resumed an earlier session of the same
    /// [`SessionTls`](super::SessionTls).
    pub fn resumed(&self) -> bool {
        self.connection.resumed()
    }

    /// Protocol and cipher in OpenSSL's words, for the log: `TLSv1.2` and
    /// `ECDHE-RSA-AES128-GCM-SHA256`.
    pub fn version_and_cipher(&self) -> (&'static str, &'static str) {
        self.connection.version_and_cipher()
    }

    /// The subject of the certificate the client showed, if any, as
    /// `CN=alice,O=Example`. Only certificates of the configured authorities
    /// get this far.
    pub fn peer_subject(&self) -> Option<String> {
        Some(self.connection.peer()?.subject)
    }

    /// The common name in that subject.
    pub fn peer_common_name(&self) -> Option<String> {
        self.connection.peer()?.common_name
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        self.connection.peer()
    }

    /// The socket underneath, for addresses, timeouts and readiness.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a read gives something although `poll` on the socket may not
    /// say so: ask before every wait.
    pub fn buffered(&self) -> bool {
        self.held.is_some() || self.connection.pending() > 0 || self.connection.wire().has_record()
    }

    /// Sends what writes have left, then close_notify. Does not wait for the
    /// peer's: RFC 5246, section 7.2.1, does not ask for it, and clients that
    /// close at once are many.
    ///
    /// Called at the end of every transfer that succeeded; without it clients
    /// see a cut (FileZilla: "GnuTLS error -110") and session-ID clients lose
    /// their session.
    ///
    /// # Errors
    /// As a write. After `WouldBlock` the call can be made again. A peer that
    /// has said close_notify itself and is gone is no error: that is how most
    /// clients end an upload.
    pub fn shutdown(&mut self) -> io::Result<()> {
        match self.send_close_notify() {
            Err(error) if self.ended && is_gone(&error) => Ok(()),
            result => result,
        }
    }

    /// Whether reading has come to the peer's end of the data.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads and discards what the peer has sent, without waiting; the library
    /// acts on what it means for the connection.
    pub fn discard_incoming(&mut self) -> io::Result<Incoming> {
        for _ in 0..DISCARD_READS {
            if self.ended || self.closed_early {
                return discard(&self.socket);
            }
            match self.connection.read(&mut [0; 1024]) {
                Ok(0) => self.closed_early = true,
                Ok(_) => {}
                Err(error) if is_wait(&error) => return Ok(Incoming::Open),
                // It has only ended its direction; what is sent it may read.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Incoming::Ended);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Incoming::Open)
    }

    fn read_to_the_end(&mut self) -> Result<Vec<u8>> {
        self.shutdown()?;
        match self.connection.wire_mut().first_byte()? {
            None => return Err(ErrorKind::Disconnected.into()),
            Some(20..=23) if self.connection.read(&mut [0; 64])? > 0 => {
                return Err(ErrorKind::Protocol.into());
            }
            // The close_notify; or no record at all: a client may do without
            // one and go on in the clear.
            Some(_) => {}
        }
        Ok(self.connection.wire_mut().take_input())
    }

    fn send_close_notify(&mut self) -> io::Result<()> {
        if !self.closed {
            self.closed = true;
            self.connection.close_notify()?;
        }
        self.connection.wire_mut().send_pending()
    }

    /// Goes back to plain text (CCC, RFC 4217, section 12.3): sends
    /// close_notify, waits until `deadline` for the peer's, and returns the
    /// socket with what the client has already sent in the clear after it.
    ///
    /// # Errors
    /// `Timeout`, `Disconnected`, or `Protocol` when the client sent data
    /// under TLS after CCC.
    pub fn into_socket(mut self, deadline: Instant) -> Result<(Socket, Vec<u8>)> {
        let doing = "leaving TLS";
        self.connection.wire_mut().end_by(deadline);
        let rest = self.read_to_the_end().doing(doing)?;
        Ok((self.socket.clone(), rest))
    }
}

impl Drop for TlsStream {
    /// The library forgets the session of a connection that ends without
    /// close_notify, and clients without tickets could not resume it any more
    /// after an aborted transfer. So it is told that one was sent; none is:
    /// the record stays in the wire, and the client sees a cut.
    fn drop(&mut self) {
        if !self.closed {
            let _ = self.connection.close_notify();
        }
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl Read for TlsStream {
    /// Fills the buffer from as many records as have arrived.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.held.take() {
            return Err(error);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            if filled > 0 && !self.buffered() {
                break;
            }
            match self.connection.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if filled > 0 && is_wait(&error) => break,
                Err(error) if self.is_accepted_end(&error) => break,
                Err(error) if self.ended_without_close_notify(&error) => {
                    self.name_relaxed_close();
                    return self.hold(filled, error);
                }
                Err(error) => return self.hold(filled, error),
            }
        }
        Ok(filled)
    }
}

impl TlsStream {
    fn is_accepted_end(&self, error: &io::Error) -> bool {
        self.close_notify == CloseNotify::Optional && self.ended_without_close_notify(error)
    }

    fn ended_without_close_notify(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::UnexpectedEof
            && self.connection.wire().ended_between_records()
    }

    /// What was read comes first, the error with the next call.
    fn hold(&mut self, filled: usize, error: io::Error) -> io::Result<usize> {
        if filled == 0 {
            return Err(error);
        }
        self.held = Some(error);
        Ok(filled)
    }

    /// Tells the log of the option for clients that never send a close_notify,
    /// once for each address.
    fn name_relaxed_close(&self) {
        let Some(peer) = self.socket.peer_addr().map(|peer| peer.ip().to_canonical()) else {
            return;
        };
        if self.ticket_owed.is_some() {
            return;
        }
        let mut told = unpoisoned(TOLD.lock());
        if told.contains(&peer) {
            return;
        }
        if told.len() == TOLD_MAX {
            told.remove(0);
        }
        told.push(peer);
        log::warn!(
            "{peer} ended an upload without a TLS close_notify, which is also how one ends that \
             was cut: it is not taken. Where a client never sends one, tls-relaxed-close takes \
             its uploads"
        );
    }
}

impl Write for TlsStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(GATHER)];
        if self.connection.wire().unsent() + data.len() > GATHER {
            self.connection.wire_mut().send_pending()?;
        }
        self.send_owed_ticket();
        let records = data.len().div_ceil(RECORD);
        self.connection
            .wire_mut()
            .reserve(data.len() + records * OVERHEAD);
        let mut sealed = 0;
        while sealed < data.len() {
            sealed += self.connection.write(&data[sealed..])?;
        }
        if self.connection.wire().unsent() < GATHER {
            return Ok(sealed);
        }
        match self.connection.wire_mut().send_pending() {
            // The records are made and can't be taken back: the next call
            // goes on sending them, or says that it would block.
            Err(error) if is_wait(&error) => Ok(sealed),
            Err(error) => Err(error),
            Ok(()) => Ok(sealed),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.wire_mut().send_pending()
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
