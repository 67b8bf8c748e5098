//! The socket as the TLS library sees it: gathered sends, buffered reads, a
//! deadline over the whole handshake, and an eye on the records' headers.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::net::{SendFlags, send};

use super::hello::{self, ClientHello, FirstBytes};
use super::timed::{receive_before, receive_now, send_before};
use super::{Purpose, ResumptionId};
use crate::net::socket::Socket;

/// Bytes read at once at first, and always on a control connection, where a
/// command is one short record. The buffer is given back there as soon as it
/// is empty, so an idle session has none.
const FIRST_READ: usize = 4 * 1024;
/// Bytes read at once at first on a data connection: the end of a client's handshake, a file of
/// 4 KiB and its close_notify, which arrive together.
const FIRST_DATA_READ: usize = 8 * 1024;
/// What data connections come to when they bring much: one system call for
/// four records and more.
const DATA_READ: usize = 64 * 1024;

/// Of the server's part of a handshake: as much as certificates ever need.
const FLIGHT_MAX: usize = 32 * 1024;
/// Of a handshake whose session nobody else will resume.
const HELLO_START: usize = 128;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// A socket under TLS.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    purpose: Purpose,
    /// Every wait ends at this instant, however slowly bytes trickle in;
    /// without it the caller's socket timeouts rule.
    deadline: Option<Instant>,
    reads: Reads,
    /// A flight was sent to which no answer can have come yet.
    spoken: bool,
    /// The handshake is over.
    established: bool,
    /// What was read and not yet taken: `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes asked of the next read.
    step: usize,
    /// The socket's end was read. Whether that is the end of the data, only a
    /// close_notify can tell.
    ended: bool,
    /// What the library wrote and the kernel has not taken yet.
    output: Vec<u8>,
    sent: usize,
    incoming: Records,
    outgoing: Records,
    resumption: Resumption,
    /// The server's part of the handshake, which names the cipher and, on a
    /// control connection, the session.
    server_flight: Vec<u8>,
}

/// Who waits for the peer's part of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// A read waits until the deadline.
    Blocking,
    /// A read answers `WouldBlock`, and the caller waits: it has more to look
    /// at than this socket.
    NonBlocking,
}

/// Which side's ChangeCipherSpec came first. In TLS 1.2 the server's is first
/// in a resumed handshake and second in a full one (RFC 5246, section 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumption {
    Unknown,
    Full,
    Resumed,
}

impl Wire {
    pub(super) fn new(socket: Socket, purpose: Purpose, deadline: Instant, reads: Reads) -> Wire {
        Wire {
            socket,
            purpose,
            deadline: Some(deadline),
            reads,
            established: false,
            input: Vec::new(),
            start: 0,
            end: 0,
            step: match purpose {
                Purpose::Control => FIRST_READ,
                Purpose::Data(_) => FIRST_DATA_READ,
            },
            spoken: false,
            ended: false,
            output: Vec::new(),
            sent: 0,
            incoming: Records::default(),
            outgoing: Records::default(),
            resumption: Resumption::Unknown,
            server_flight: Vec::new(),
        }
    }

    /// Reads the ClientHello and leaves it in place for the library.
    pub(super) fn client_hello(&mut self) -> io::Result<ClientHello> {
        loop {
            match hello::inspect(&self.input[self.start..self.end]) {
                FirstBytes::ClientHello(found) => return Ok(found),
                FirstBytes::NotTls => return Err(invalid("plain text where TLS must begin")),
                FirstBytes::Malformed => return Err(invalid("malformed ClientHello")),
                FirstBytes::Incomplete => {}
            }
            if self.end - self.start > hello::LONGEST {
                return Err(invalid("ClientHello too long"));
            }
            if self.fill()? == 0 {
                return Err(self.truncated());
            }
        }
    }

    /// Sends a fatal alert in the clear: for what is refused before the
    /// library has seen anything.
    pub(super) fn alert(&mut self, description: u8) {
        self.output
            .extend_from_slice(&[ALERT, 3, 3, 0, 2, 2, description]);
        // The session ends either way; the alert is a courtesy.
        let _ = self.send_pending();
    }

    /// When the handshake must be over: put off while this process does not run.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// From now on the socket's timeouts rule, and handshake records are
    /// refused.
    pub(super) fn established(&mut self) {
        self.established = true;
        self.deadline = None;
        self.server_flight.truncate(HELLO_START);
        self.server_flight.shrink_to_fit();
        self.release();
    }

    /// Bounds all waits from now on, as during the handshake.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        self.reads = Reads::Blocking;
    }

    /// What a client will name the session by that this handshake has made; to
    /// be asked for before [`Wire::established`].
    pub(super) fn resumption_ids(&self) -> Vec<ResumptionId> {
        hello::granted(&self.server_flight)
    }

    /// Whether the handshake was a resumed one of TLS 1.2.
    #[cfg_attr(feature = "tls13", allow(dead_code))] // OpenSSL knows itself
    pub(super) fn resumed(&self) -> bool {
        self.resumption == Resumption::Resumed
    }

    /// The cipher suite's number from the ServerHello.
    #[cfg_attr(feature = "tls13", allow(dead_code))]
    pub(super) fn cipher_suite(&self) -> Option<u16> {
        // Record header (5), message header (4), version (2), random (32).
        let session_id = usize::from(*self.server_flight.get(43)?);
        let suite = self.server_flight.get(44 + session_id..46 + session_id)?;
        Some(u16::from_be_bytes([*suite.first()?, *suite.last()?]))
    }

    /// Whether a whole record waits here, where `poll` can't see it.
    pub(super) fn has_record(&self) -> bool {
        match self.input[self.start..self.end] {
            [_, _, _, high, low, ref body @ ..] => {
                body.len() >= usize::from(u16::from_be_bytes([high, low]))
            }
            _ => false,
        }
    }

    /// The first byte that waits, read from the socket if there is none.
    pub(super) fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if self.start == self.end && self.fill()? == 0 {
            return Ok(None);
        }
        Ok(self.input.get(self.start).copied())
    }

    /// Takes what was read and not used.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        let rest = self.input[self.start..self.end].to_vec();
        self.start = self.end;
        self.release();
        rest
    }

    /// Whether the socket ended between two records, without a part of one.
    pub(super) fn ended_between_records(&self) -> bool {
        self.ended && self.start == self.end && self.incoming.is_between()
    }

    /// Makes room for records of so many bytes at once.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.output.reserve(bytes);
    }

    /// Bytes the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Hands everything gathered to the kernel. After an error the rest stays
    /// and the next call goes on with it.
    pub(super) fn send_pending(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            let rest = &self.output[self.sent..];
            let count = match &mut self.deadline {
                None => (&self.socket).write(rest),
                Some(deadline) => {
                    send_before(&self.socket, rest, deadline).map_err(handshake_error)
                }
            };
            match count {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.release();
        Ok(())
    }

    /// Forgets what was sent, and the memory too where the connection may now
    /// be idle for long.
    fn release(&mut self) {
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
            if self.purpose == Purpose::Control {
                self.output = Vec::new();
            }
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.purpose == Purpose::Control {
                self.input = Vec::new();
            }
        }
    }

    /// Reads once from the socket into the buffer; 0 is the socket's end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.input.len() < self.end + self.step {
            self.input.resize(self.end + self.step, 0);
        }
        let room = &mut self.input[self.end..];
        let count = loop {
            let count = match &mut self.deadline {
                None => (&self.socket).read(room),
                Some(deadline) => {
                    let outcome = match self.reads {
                        Reads::Blocking => receive_before(&self.socket, room, deadline),
                        Reads::NonBlocking => receive_now(&self.socket, room),
                    };
                    outcome.map_err(handshake_error)
                }
            };
            match count {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.release();
                    return Err(error);
                }
                Ok(count) => break count,
            }
        };
        self.end += count;
        self.ended = count == 0;
        if self.end == self.input.len() && self.purpose != Purpose::Control {
            self.step = (self.step * 4).min(DATA_READ);
        }
        Ok(count)
    }

    /// SECURITY: the end of the socket is never handed to the library as an
    /// end. It would pass for the end of the data, and an upload cut by
    /// anybody on the path would look whole (wharf-security(7), attack 5).
    fn truncated(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "connection cut without a TLS close_notify",
        )
    }

    /// Watches what goes to the library.
    fn watch_incoming(&mut self, bytes: &[u8]) -> io::Result<()> {
        let established = self.established;
        let mut renegotiation = false;
        let mut change = false;
        self.incoming.feed(bytes, |kind| {
            renegotiation |= established && kind == HANDSHAKE;
            change |= kind == CHANGE_CIPHER_SPEC;
        });
        if change && self.resumption == Resumption::Unknown {
            self.resumption = Resumption::Full;
        }
        // SECURITY: after the handshake such a record can only ask for a new
        // one (TLS 1.3 wraps all it has to say in records of type 23), which
        // costs the server more than the client (wharf-security(7), attack 25).
        if renegotiation {
            Err(invalid("TLS renegotiation refused"))
        } else {
            Ok(())
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Whatever the library has to say, the peer may be waiting for it.
        if self.unsent() > 0 {
            if self.established {
                self.send_some()
            } else {
                self.send_pending()?
            }
        }
        if self.start == self.end {
            if std::mem::take(&mut self.spoken) && self.waits_outside() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if self.fill()? == 0 {
                return Err(self.truncated());
            }
        }
        let count = buffer.len().min(self.end - self.start);
        buffer[..count].copy_from_slice(&self.input[self.start..self.start + count]);
        self.watch_incoming(&buffer[..count])?;
        self.start += count;
        if self.start == self.end {
            self.release();
        }
        Ok(count)
    }
}

impl Wire {
    /// Whether it is the caller who waits for the peer.
    fn waits_outside(&self) -> bool {
        !self.established && self.reads == Reads::NonBlocking
    }

    /// Sends what the kernel takes without a wait: a reader must not block in
    /// a write.
    fn send_some(&mut self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while let Ok(count) = send(self.socket.as_fd(), &self.output[self.sent..], flags) {
            self.sent += count;
            if self.unsent() == 0 {
                self.release();
                return;
            }
        }
    }
}

impl Write for Wire {
    /// Gathers: the library writes record by record, the kernel gets many at
    /// once. `TlsStream` bounds how many.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.established {
            let most = match self.purpose {
                Purpose::Control => FLIGHT_MAX,
                Purpose::Data(_) => HELLO_START,
            };
            let room = most.saturating_sub(self.server_flight.len());
            self.server_flight.extend(data.iter().take(room));
            let mut change = false;
            self.outgoing
                .feed(data, |kind| change |= kind == CHANGE_CIPHER_SPEC);
            if change && self.resumption == Resumption::Unknown {
                self.resumption = Resumption::Resumed;
            }
        }
        self.output.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.established {
            // `TlsStream` sends, where a short write can be told to the caller.
            Ok(())
        } else {
            // The end of a flight.

            if self.unsent() == 0 {
                return Ok(());
            }
            self.spoken = true;
            self.send_pending()?;
            // The peer's Finished, and behind it data or a command, are
            // two writes at least.
            self.socket.acknowledge_at_once();
            Ok(())
        }
    }
}

/// Follows the headers of TLS records in a stream of bytes.
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    have: usize,
    left: usize,
}

impl Records {
    /// Calls `seen` with the type of each record whose header ends here.
    fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            self.header[self.have] = *byte;
            self.have += 1;
            bytes = rest;
            if self.have == self.header.len() {
                let [kind, _, _, high, low] = self.header;
                self.have = 0;
                self.left = usize::from(u16::from_be_bytes([high, low]));
                seen(kind);
            }
        }
    }

    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// `NotConnected` would make the library wait for a retry.
fn handshake_error(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotConnected => io::ErrorKind::ConnectionReset.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_however_they_are_cut() {
        let mut bytes = Vec::new();
        for (kind, length) in [(22u8, 300u16), (20, 1), (23, 0), (21, 2)] {
            bytes.extend_from_slice(&[kind, 3, 3]);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend(vec![0; usize::from(length)]);
        }
        for piece in [1, 2, 5, 7, 1000] {
            let mut records = Records::default();
            let mut kinds = Vec::new();
            for part in bytes.chunks(piece) {
                records.feed(part, |kind| kinds.push(kind));
            }
            assert_eq!(kinds, [22, 20, 23, 21]);
            assert!(records.is_between());
        }
    }
}
