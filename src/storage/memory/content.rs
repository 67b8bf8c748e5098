//! Contents of files in memory, and the room they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Contents come in pieces of this size, so that a file can have holes: a
/// write at 4 GiB takes the room of the write.
const PIECE: u64 = 64 * 1024;

/// Bytes in use by all files of one file system, and how many there may be.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Room {
    pub(super) fn new() -> Self {
        Room {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn free(&self) -> u64 {
        self.limit()
            .saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Takes up to `bytes` and says how many there were.
    fn take(&self, bytes: u64) -> u64 {
        let mut taken = 0;
        let limit = self.limit();
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                taken = bytes.min(limit.saturating_sub(used));
                used.checked_add(taken)
            });
        taken
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The bytes of one file. Dropping them gives their room back.
pub(super) struct Content {
    pieces: BTreeMap<u64, Vec<u8>>,
    size: u64,
    room: Arc<Room>,
}

impl Content {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Content {
            pieces: BTreeMap::new(),
            size: 0,
            room,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let there = self.size.saturating_sub(offset);
        let length = usize::try_from(there)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut rest = &mut buffer[..length];
        let mut at = offset;
        while !rest.is_empty() {
            let within = (at % PIECE) as usize;
            let length = rest.len().min(PIECE as usize - within);
            let (part, after) = rest.split_at_mut(length);
            let piece = self.pieces.get(&(at / PIECE));
            let bytes = piece
                .and_then(|piece| piece.get(within..))
                .unwrap_or_default();
            let known = bytes.len().min(length);
            part[..known].copy_from_slice(&bytes[..known]);
            part[known..].fill(0);
            rest = after;
            at += length as u64;
        }
        length
    }

    /// Writes; when room ends, what fits is written, as on a disk.
    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::new(
                ErrorKind::Quota,
                "writing past the largest size",
            ));
        }
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let within = (at % PIECE) as usize;
            let length = rest.len().min(PIECE as usize - within);
            let written = self.write_piece(at / PIECE, within, &rest[..length]);
            at += written as u64;
            self.size = self.size.max(if written > 0 { at } else { 0 });
            if written < length {
                return Err(Error::new(ErrorKind::NoSpace, "writing to a file"));
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn write_piece(&mut self, number: u64, within: usize, data: &[u8]) -> usize {
        let piece = self.pieces.entry(number).or_default();
        let wanted = (within + data.len()).saturating_sub(piece.len());
        let taken = self.room.take(wanted as u64) as usize;
        let end = (piece.len() + taken).min(within + data.len());
        let Some(length) = end.checked_sub(within).filter(|&length| length > 0) else {
            self.room.give(taken as u64);
            return 0;
        };
        if end > piece.len() {
            piece.resize(end, 0);
        }
        piece[within..end].copy_from_slice(&data[..length]);
        length
    }

    /// Cuts, or lengthens by a hole.
    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        if size > i64::MAX as u64 {
            return Err(Error::new(
                ErrorKind::BadOffset,
                "changing the size of a file",
            ));
        }
        if size < self.size {
            let cut = self.pieces.split_off(&size.div_ceil(PIECE));
            let mut given: u64 = cut.values().map(|piece| piece.len() as u64).sum();
            let within = (size % PIECE) as usize;
            if let Some(piece) = self.pieces.get_mut(&(size / PIECE)) {
                given += piece.len().saturating_sub(within) as u64;
                piece.truncate(within);
            }
            self.room.give(given);
        }
        self.size = size;
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let bytes = self.pieces.values().map(|piece| piece.len() as u64).sum();
        self.room.give(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zeros_and_cost_nothing() {
        let room = Arc::new(Room::new());
        room.set_limit(100);
        let mut content = Content::new(room.clone());
        let far = 5 << 32;
        content.write(b"end", far).unwrap();
        assert_eq!(content.size(), far + 3);
        let mut buffer = [9; 8];
        assert_eq!(content.read(&mut buffer, far - 2), 5);
        assert_eq!(buffer, *b"\0\0end\x09\x09\x09");
        assert_eq!(content.read(&mut buffer, far + 3), 0);
        assert_eq!(content.read(&mut buffer, u64::MAX), 0);
        content.resize(1).unwrap();
        assert_eq!(room.free(), 100);
    }

    #[test]
    fn what_fits_is_written_and_room_comes_back() {
        let room = Arc::new(Room::new());
        room.set_limit(PIECE + 5);
        let mut content = Content::new(room.clone());
        let data = vec![7; PIECE as usize + 10];
        assert_eq!(
            content.write(&data, 0).unwrap_err().kind(),
            ErrorKind::NoSpace
        );
        assert_eq!(content.size(), PIECE + 5);
        assert_eq!(room.free(), 0);
        // Writing over what is there needs no room.
        content.write(&data[..100], 10).unwrap();
        content.resize(PIECE).unwrap();
        assert_eq!(room.free(), 5);
        content.resize(10).unwrap();
        assert_eq!(room.free(), PIECE - 5);
        drop(content);
        assert_eq!(room.free(), PIECE + 5);
    }

    #[test]
    fn cut_bytes_do_not_come_back() {
        let mut content = Content::new(Arc::new(Room::new()));
        content.write(b"secret", 0).unwrap();
        content.resize(2).unwrap();
        content.resize(6).unwrap();
        let mut buffer = [9; 6];
        content.read(&mut buffer, 0);
        assert_eq!(buffer, *b"se\0\0\0\0");
        assert_eq!(
            content.write(b"x", u64::MAX).unwrap_err().kind(),
            ErrorKind::Quota
        );
        assert_eq!(
            content.resize(u64::MAX).unwrap_err().kind(),
            ErrorKind::BadOffset
        );
    }
}
