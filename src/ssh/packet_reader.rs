//! Packets on their way in: read in large pieces, cut and opened in place.

use std::ops::Range;

use super::cipher::{Protector, Sequence, Used};
use super::fault::Fault;
use super::timed_socket::TimedSocket;

/// Largest payload before login: what RFC 4253, section 6.1 demands.
const PREAUTH_PAYLOAD: usize = 32_768;
/// Where the buffer begins.
const SMALL: usize = 4 << 10;
/// As large as the buffer grows when data flow.
const LARGE: usize = 256 << 10;
/// Where a packet has its payload: behind its length and padding length.
const FRONT: usize = 5;

pub(super) struct PacketReader {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Length with tag of the packet at `start`, once its head was opened.
    total: Option<usize>,
    protector: Protector,
    sequence: u32,
    pub(super) used: Used,
    largest_payload: usize,
}

impl PacketReader {
    pub(super) fn new() -> Self {
        PacketReader {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            total: None,
            protector: Protector::Clear,
            sequence: 0,
            used: Used::default(),
            largest_payload: PREAUTH_PAYLOAD,
        }
    }

    /// Whether there is memory to give back.
    pub(super) fn has_idle_buffer(&self) -> bool {
        self.start == self.end && self.bytes.capacity() > 0
    }

    /// Gives the memory of a busy time back.
    pub(super) fn release_buffer(&mut self) {
        if self.start == self.end {
            self.bytes = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    /// What has been read and not been cut off, before there are packets.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes bytes that are no packet off.
    pub(super) fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// After login packets may be as large as the channel allows.
    pub(super) fn allow_payload(&mut self, bytes: usize) {
        self.largest_payload = bytes.max(PREAUTH_PAYLOAD);
    }

    /// The sequence number of the packet handed out last.
    pub(super) fn last_sequence(&self) -> u32 {
        self.sequence.wrapping_sub(1)
    }

    /// The bytes of a payload handed out by [`PacketReader::cut`]; good until
    /// more is read.
    pub(super) fn payload(&self, payload: Range<usize>) -> &[u8] {
        self.bytes.get(payload).unwrap_or_default()
    }

    /// Lets a payload that was taken out be the one handed out last.
    pub(super) fn put_back(&mut self, payload: Vec<u8>) -> Range<usize> {
        let range = self.start..self.start + payload.len();
        self.bytes.splice(self.start..self.start, payload);
        self.start = range.end;
        self.end += range.len();
        range
    }

    /// Overwrites a payload that held a password.
    pub(super) fn wipe(&mut self, payload: Range<usize>) {
        if let Some(bytes) = self.bytes.get_mut(payload) {
            bytes.fill(0);
        }
    }

    /// Cuts the next packet off the input, if it is there as a whole, and
    /// opens it in place.
    pub(super) fn cut(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let available = self.end - self.start;
        let total = match self.total {
            Some(total) => total,
            None => {
                let head = self.protector.head();
                if available < head {
                    return Ok(None);
                }
                let head = &mut self.bytes[self.start..self.start + head];
                let length = self.protector.length(self.sequence, head)?;
                let total = self.check_length(length)?;
                *self.total.insert(total)
            }
        };
        if available < total {
            return Ok(None);
        }
        let packet = &mut self.bytes[self.start..self.start + total];
        self.protector.open(self.sequence, packet)?;
        let length = total - 4 - self.protector.tag();
        let padding = packet[4] as usize;
        if padding < 4 || padding + 2 > length {
            return Err(Fault::protocol("bad packet padding"));
        }
        let payload = self.start + FRONT..self.start + 4 + length - padding;
        self.start += total;
        self.total = None;
        self.sequence = self.sequence.wrapping_add(1);
        self.used.packets += 1;
        self.used.bytes += length as u64;
        Ok(Some(payload))
    }

    /// The whole packet's length with tag; nothing is set aside for a length
    /// that can't be right.
    fn check_length(&self, length: u32) -> Result<usize, Fault> {
        let length = length as usize;
        // Padding length, the least payload, the least padding.
        let least = 1 + 1 + 4;
        let most = self.largest_payload + 1 + 255;
        let aligned = if self.protector.aligned_with_length() {
            length.wrapping_add(4)
        } else {
            length
        };
        if length < least || length > most || !aligned.is_multiple_of(self.protector.block()) {
            return Err(Fault::protocol("bad packet length"));
        }
        let total = 4 + length + self.protector.tag();
        if total < self.protector.head() {
            return Err(Fault::protocol("bad packet length"));
        }
        Ok(total)
    }

    /// New keys for packets from the peer.
    pub(super) fn new_keys(&mut self, protector: Protector, sequence: Sequence) {
        self.protector = protector;
        self.used = Used::default();
        if sequence == Sequence::FromZero {
            self.sequence = 0;
        }
    }

    /// Reads once. False: nothing is there now.
    pub(super) fn read_some(&mut self, socket: &mut TimedSocket<'_>) -> Result<bool, Fault> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let needed = self.total.unwrap_or(SMALL).max(SMALL);
        if self.bytes.len() - self.start < needed || self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            // Never an empty slice: reading nothing looks like the end.
            let needed = needed.max(self.end + 1);
            if self.bytes.len() < needed {
                self.bytes.resize(needed, 0);
            }
        }
        let count = socket.read(&mut self.bytes[self.end..])?;
        self.end += count;
        // More than fits is waiting: data flow.
        if self.end == self.bytes.len()
            && self.largest_payload > PREAUTH_PAYLOAD
            && self.bytes.len() < LARGE
        {
            self.bytes.resize(LARGE, 0);
        }
        Ok(count > 0)
    }
}
