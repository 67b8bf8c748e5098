//! Bytes in and out: packets, their fields, and the two buffers they lie in.
//!
//! A request is never copied: its fields are slices of the input buffer, and
//! what is written to a file goes from there. A reply is made in place in the
//! output buffer, and what is read from a file lands there.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Longest packet that is made or promised, without its length field.
pub(super) const PACKET_MAX: usize = 256 * 1024;
/// Longest packet that is taken: clients that count 256 KiB of data without
/// the fields around them are served too.
const PACKET_TAKEN: usize = PACKET_MAX + 1024;
/// Most data in one READ or WRITE that is promised, as OpenSSH does.
pub(super) const DATA_MAX: usize = PACKET_MAX - 1024;
/// What an idle session keeps of each buffer.
const BUFFER_IDLE: usize = 4 * 1024;
/// Replies up to this need no permit. A buffer above it is given back as soon
/// as no handle is open. Below, it stays, so that many small files do not cost
/// many allocations.
pub(super) const BUFFER_KEPT: usize = 64 * 1024;
/// By how much the buffer of replies grows.
const STEP: usize = 8 * 1024;
/// Requests that are read ahead; only one that is longer takes more room.
const READ_AHEAD: usize = 32 * 1024;
/// The longest packet that waits until all of it is here. It has room for a
/// WRITE of 32 KiB, which is what most clients send.
const BUFFER_MAX: usize = 48 * 1024;
/// Enough of a long packet to see what it is: a WRITE up to its data.
const HEAD: usize = 64;

/// Where requests arrive.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of a long packet behind its head that have not been taken.
    left: usize,
}

/// What is here of the next packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// All of it.
    Whole(Range<usize>),
    /// The head of one that is too long for the buffer.
    Head(Range<usize>),
}

impl Input {
    pub(super) fn new() -> Self {
        Input {
            bytes: vec![0; BUFFER_IDLE],
            start: 0,
            end: 0,
            left: 0,
        }
    }

    /// The length field of the next packet, if it is here.
    fn length(&self) -> Option<usize> {
        if self.left > 0 {
            return None;
        }
        let field = self.bytes.get(self.start..self.end)?.first_chunk()?;
        Some(u32::from_be_bytes(*field) as usize)
    }

    /// Takes the next packet, if it is here as a whole. One that is too long for
    /// the buffer is not taken: its head is shown.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] for a length that no packet has: where the next
    /// one begins is unknown then, and the session must end.
    pub(super) fn packet(&mut self) -> Result<Option<Arrived>> {
        let Some(length) = self.length() else {
            return Ok(None);
        };
        if length == 0 || length > PACKET_TAKEN {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("an SFTP packet of {length} bytes"),
            ));
        }
        let begin = self.start + 4;
        let here = self.end - begin;
        if 4 + length > BUFFER_MAX {
            return Ok((here >= HEAD).then_some(Arrived::Head(begin..begin + HEAD)));
        }
        if here < length {
            return Ok(None);
        }
        self.start = begin + length;
        Ok(Some(Arrived::Whole(begin..begin + length)))
    }

    /// Gives back a packet that was the last to be taken.
    pub(super) fn put_back(&mut self, packet: &Range<usize>) {
        self.start = packet.start - 4;
    }

    /// Takes so much of a long packet's head; yields the length of the rest.
    pub(super) fn begin_long(&mut self, head: usize) -> usize {
        self.left = self.length().unwrap_or(0).saturating_sub(head);
        self.start += 4 + head;
        self.left
    }

    /// What is left of the long packet.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes what is here of the rest of a long packet.
    pub(super) fn piece(&mut self) -> Range<usize> {
        let begin = self.start;
        let length = self.left.min(self.end - begin);
        self.left -= length;
        self.start += length;
        begin..begin + length
    }

    /// The bytes of a packet.
    pub(super) fn bytes(&self, packet: Range<usize>) -> &[u8] {
        self.bytes.get(packet).unwrap_or_default()
    }

    /// The memory that requests take, for tests.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether a part of a packet is here.
    pub(super) fn is_cut(&self) -> bool {
        self.start != self.end || self.left > 0
    }

    /// Reads what the channel has; 0 is its end.
    pub(super) fn fill(&mut self, channel: &mut dyn Read, idle: bool) -> io::Result<usize> {
        // Only bytes that have come make the buffer grow, never a length that
        // was merely announced.
        let full = self.end == self.bytes.len();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if idle && self.bytes.len() > READ_AHEAD {
                self.bytes = vec![0; BUFFER_IDLE];
            }
        }
        let needed = match self.left {
            0 => 4 + self.length().unwrap_or(0),
            left => left,
        };
        if self.start > 0 && (full || self.start + needed > self.bytes.len()) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let most = if needed > READ_AHEAD {
            BUFFER_MAX
        } else {
            READ_AHEAD
        };
        if full && self.bytes.len() < most && !(idle && self.end == 0) {
            let length = (self.bytes.len() * 2).min(most);
            self.bytes.reserve_exact(length - self.bytes.len());
            self.bytes.resize(length, 0);
        }
        loop {
            match channel.read(&mut self.bytes[self.end..]) {
                Ok(length) => {
                    self.end += length;
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Where replies are made until they are sent together.
pub(super) struct Replies {
    bytes: Vec<u8>,
    /// How much has been sent.
    sent: usize,
    end: usize,
    /// Begin of the reply that is being made.
    begin: usize,
}

impl Replies {
    pub(super) fn new() -> Self {
        Replies {
            bytes: Vec::new(),
            sent: 0,
            end: 0,
            begin: 0,
        }
    }

    /// Begins a reply to request `id`.
    pub(super) fn begin(&mut self, kind: u8, id: u32) {
        self.begin = self.end;
        self.u32(0);
        self.u8(kind);
        self.u32(id);
    }

    /// Ends the reply: its length is known now.
    pub(super) fn finish(&mut self) {
        let length = (self.end - self.begin).saturating_sub(4) as u32;
        self.set_u32(self.begin, length);
        self.begin = self.end;
    }

    /// Takes back what was made of the reply.
    pub(super) fn cancel(&mut self) {
        self.end = self.begin;
    }

    /// Length of the reply so far.
    pub(super) fn length(&self) -> usize {
        self.end - self.begin
    }

    /// Everything that is to be sent.
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.sent..self.end).unwrap_or_default()
    }

    /// The memory that replies take, for tests.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes off what was sent. Only between replies.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.end);
        // SECURITY: replies of which some always wait must not grow for ever.
        if self.sent * 2 >= self.end {
            self.bytes.copy_within(self.sent..self.end, 0);
            self.end -= self.sent;
            (self.begin, self.sent) = (self.end, 0);
        }
    }

    /// Gives the room of long replies back, if nothing waits; whether there is
    /// none now.
    pub(super) fn shrink(&mut self) -> bool {
        if self.end == 0 && self.bytes.len() > BUFFER_KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.len() <= BUFFER_KEPT
    }

    /// Room for `length` bytes at the end; they count when [`Self::advance`]
    /// says so.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        let needed = self.end + length;
        if needed > self.bytes.len() {
            // By steps, so that this happens seldom.
            self.bytes
                .reserve_exact(needed.next_multiple_of(STEP) - self.bytes.len());
            self.bytes.resize(needed.next_multiple_of(STEP), 0);
        }
        &mut self.bytes[self.end..needed]
    }

    pub(super) fn advance(&mut self, length: usize) {
        self.end = (self.end + length).min(self.bytes.len());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.end += bytes.len();
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn string(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.raw(value);
    }

    /// A string that `make` writes piece by piece.
    pub(super) fn string_with(&mut self, make: impl FnOnce(&mut Self)) {
        let at = self.mark();
        make(self);
        self.set_length_since(at);
    }

    /// Leaves room for a number that is known later.
    pub(super) fn mark(&mut self) -> usize {
        let at = self.end;
        self.u32(0);
        at
    }

    /// Fills the number at a mark.
    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(field) = self.bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }

    fn set_length_since(&mut self, at: usize) {
        self.set_u32(at, (self.end - at - 4) as u32);
    }
}

impl std::fmt::Write for Replies {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.raw(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_however_the_bytes_are_cut() {
        // Miri would take an hour for the large ones.
        let lengths: &[usize] = if cfg!(miri) {
            &[1, 5, 300, 2, 9]
        } else {
            &[1, 5, 300, 70_000, 2, PACKET_MAX, 9]
        };
        let mut stream = Vec::new();
        for &length in lengths {
            stream.extend_from_slice(&(length as u32).to_be_bytes());
            stream.extend(std::iter::repeat_n(length as u8, length));
        }
        for step in [1, 3, 4, 1000, 65536, usize::MAX] {
            let (mut input, mut taken, mut long) = (Input::new(), Vec::new(), Vec::new());
            for mut piece in stream.chunks(step) {
                while !piece.is_empty() {
                    input.fill(&mut piece, false).unwrap();
                    loop {
                        if input.left() > 0 {
                            let piece = input.piece();
                            long.extend_from_slice(input.bytes(piece));
                            if input.left() > 0 {
                                break;
                            }
                        } else {
                            match input.packet().unwrap() {
                                None => break,
                                Some(Arrived::Whole(packet)) => {
                                    long.extend_from_slice(input.bytes(packet));
                                }
                                Some(Arrived::Head(head)) => {
                                    long.extend_from_slice(&input.bytes(head)[..9]);
                                    input.begin_long(9);
                                    continue;
                                }
                            }
                        }
                        let bytes = std::mem::take(&mut long);
                        assert!(bytes.iter().all(|byte| *byte == bytes.len() as u8));
                        taken.push(bytes.len());
                    }
                }
            }
            assert_eq!(taken, lengths, "pieces of {step} bytes");
            assert!(!input.is_cut() && input.bytes.len() <= BUFFER_MAX);
        }
    }

    #[test]
    fn lengths_that_no_packet_has_end_the_session() {
        for length in [0, PACKET_TAKEN as u32 + 1, 1 << 31, u32::MAX] {
            let mut input = Input::new();
            input.fill(&mut &length.to_be_bytes()[..], false).unwrap();
            assert_eq!(input.packet().unwrap_err().kind(), ErrorKind::Protocol);
            assert_eq!(input.bytes.len(), BUFFER_IDLE);
        }
    }
}
