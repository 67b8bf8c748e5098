//! Packets on their way out: made, padded and encrypted in place in one
//! buffer that goes to the socket in large pieces.

use super::cipher::{Protector, Sequence, Used};
use super::fault::Fault;
use super::timed_socket::TimedSocket;
use super::wire::{Put, message};

/// Output is sent when so much has been gathered.
const BATCH: usize = 128 << 10;
/// What has been sent leaves the buffer when it is so much and at least half
/// of what the buffer holds: each byte is moved once at the most.
const COMPACT: usize = 32 << 10;
/// Messages held back during a key exchange; a peer that causes more of them
/// is flooding.
const HELD_LIMIT: usize = 64 << 10;
/// Where a packet has its payload: behind its length and padding length.
const FRONT: usize = 5;
/// CHANNEL_DATA before its bytes: message number, recipient, length.
const DATA_FRONT: usize = 9;

pub(super) struct PacketWriter {
    bytes: Vec<u8>,
    sent: usize,
    /// Where in `bytes` a CHANNEL_DATA packet is being gathered, and for which
    /// channel.
    open: Option<(usize, u32)>,
    protector: Protector,
    sequence: u32,
    pub(super) used: Used,
    /// Messages that wait for the end of a key exchange.
    held: Option<Vec<Vec<u8>>>,
}

impl PacketWriter {
    pub(super) fn new() -> Self {
        PacketWriter {
            bytes: Vec::new(),
            sent: 0,
            open: None,
            protector: Protector::Clear,
            sequence: 0,
            used: Used::default(),
            held: None,
        }
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether there is memory to give back.
    pub(super) fn has_idle_buffer(&self) -> bool {
        self.bytes.is_empty() && self.bytes.capacity() > 0
    }

    /// Gives the memory of a busy time back.
    pub(super) fn release_buffer(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Bytes that are no packet: the identification, words for strangers.
    pub(super) fn raw(&mut self, text: &str) {
        self.bytes.put_bytes(text.as_bytes());
        self.bytes.put_bytes(b"\r\n");
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.bytes.len()
    }

    /// Whether so much output is gathered that it should be sent.
    pub(super) fn batch_is_full(&self) -> bool {
        self.bytes.len() - self.sent >= BATCH
    }

    /// Sends a message, unless a key exchange holds it back (RFC 4253,
    /// section 7.1).
    pub(super) fn message(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(held) = &mut self.held else {
            return self.packet(payload);
        };
        let size: usize = held.iter().map(Vec::len).sum();
        if size + payload.len() > HELD_LIMIT {
            return Err(Fault::protocol("too much asked during a key exchange"));
        }
        held.push(payload.to_vec());
        Ok(())
    }

    /// From here messages are held back.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether messages are held back; channel data must not be made then.
    pub(super) fn holding(&self) -> bool {
        self.held.is_some()
    }

    /// Sends what was held back.
    pub(super) fn release(&mut self) -> Result<(), Fault> {
        for payload in self.held.take().unwrap_or_default() {
            self.packet(&payload)?;
        }
        Ok(())
    }

    /// Makes a packet at once.
    pub(super) fn packet(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.seal_open()?;
        let at = self.bytes.len();
        self.bytes.put_bytes(&[0; FRONT]);
        self.bytes.put_bytes(payload);
        self.seal(at)
    }

    /// Appends channel data to the CHANNEL_DATA packet that is being gathered,
    /// or begins one. Returns how many bytes were taken: never more than `most`
    /// in one packet.
    pub(super) fn data(
        &mut self,
        recipient: u32,
        bytes: &[u8],
        most: usize,
    ) -> Result<usize, Fault> {
        if self.open.is_some_and(|(_, of)| of != recipient) {
            self.seal_open()?;
        }
        let at = match self.open {
            Some((at, _)) => at,
            None => {
                let at = self.bytes.len();
                self.bytes.put_bytes(&[0; FRONT]);
                self.bytes.put_byte(message::CHANNEL_DATA);
                self.bytes.put_u32(recipient);
                self.bytes.put_u32(0);
                self.open = Some((at, recipient));
                at
            }
        };
        let gathered = self.bytes.len() - at - FRONT - DATA_FRONT;
        let count = bytes.len().min(most.saturating_sub(gathered));
        self.bytes.put_bytes(&bytes[..count]);
        if gathered + count >= most {
            self.seal_open()?;
        }
        Ok(count)
    }

    /// Ends the gathering of channel data.
    pub(super) fn seal_open(&mut self) -> Result<(), Fault> {
        let Some((at, _)) = self.open.take() else {
            return Ok(());
        };
        let count = self.bytes.len() - at - FRONT - DATA_FRONT;
        let field = at + FRONT + DATA_FRONT - 4;
        self.bytes[field..field + 4].copy_from_slice(&(count as u32).to_be_bytes());
        self.seal(at)
    }

    /// Pads and encrypts the packet at `at`, the last in the buffer.
    fn seal(&mut self, at: usize) -> Result<(), Fault> {
        let block = self.protector.block();
        let unpadded = self.bytes.len()
            - at
            - if self.protector.aligned_with_length() {
                0
            } else {
                4
            };
        let mut padding = block - unpadded % block;
        if padding < 4 {
            padding += block;
        }
        // Zeroes: in counter modes random padding would hide nothing more.
        self.bytes.resize(self.bytes.len() + padding, 0);
        let length = self.bytes.len() - at - 4;
        self.bytes[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        self.bytes[at + 4] = padding as u8;
        self.bytes
            .resize(self.bytes.len() + self.protector.tag(), 0);
        self.protector.seal(self.sequence, &mut self.bytes[at..])?;
        self.sequence = self.sequence.wrapping_add(1);
        self.used.packets += 1;
        self.used.bytes += length as u64;
        Ok(())
    }

    /// New keys for packets to the peer.
    pub(super) fn new_keys(
        &mut self,
        protector: Protector,
        sequence: Sequence,
    ) -> Result<(), Fault> {
        self.seal_open()?;
        self.protector = protector;
        self.used = Used::default();
        if sequence == Sequence::FromZero {
            self.sequence = 0;
        }
        Ok(())
    }

    /// Writes once, if there is something. False: nothing could be sent.
    pub(super) fn send_some(&mut self, socket: &mut TimedSocket<'_>) -> Result<bool, Fault> {
        let end = self.open.map_or(self.bytes.len(), |(at, _)| at);
        if self.sent >= end {
            return Ok(false);
        }
        let count = socket.write(&self.bytes[self.sent..end])?;
        self.sent += count;
        self.compact();
        Ok(count > 0)
    }

    /// SECURITY: a buffer that is never quite empty must not grow for ever: a
    /// peer that asks without end and reads slowly would take all memory.
    fn compact(&mut self) {
        if !self.has_unsent() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= COMPACT && self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            if let Some((at, _)) = &mut self.open {
                *at -= self.sent;
            }
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// A peer that reads, but never all: 20 MiB go through a buffer that stays
    /// small although it is never empty.
    #[test]
    fn what_has_been_sent_leaves_a_buffer_that_is_never_empty() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = TimedSocket::new(&mut ours).unwrap();
        let mut writer = PacketWriter::new();
        let mut taken = vec![0; 1000];
        let (mut largest, mut never_empty) = (0, 0);
        writer.packet(&[0; 64 << 10]).unwrap();
        for _ in 0..20_000 {
            writer.packet(&[7; 900]).unwrap();
            while writer.unsent() > 64 << 10 && writer.send_some(&mut socket).unwrap() {}
            if writer.unsent() > 64 << 10 {
                theirs.read_exact(&mut taken).unwrap();
            }
            never_empty = if writer.has_unsent() {
                never_empty + 1
            } else {
                0
            };
            largest = largest.max(writer.bytes.len());
        }
        assert!(never_empty > 10_000, "{never_empty}");
        assert!(largest < 1 << 20, "{largest}");
    }
}
