//! Names that a listing holds: to sort them, or to go into them later.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::FileKind;

/// Bytes of names that wait to be sorted, or to be walked into. A listing
/// whose order was asked for and that needs more is refused.
pub(super) const NAMES_MAX: usize = 6 << 20;
/// Such bytes of all sessions together, and of each one in any case.
const NAMES_OF_ALL: usize = 16 << 20;
const NAMES_OWN: usize = 128 << 10;
/// What all sessions hold.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Names, one behind the other in one piece of memory, each with what it is
/// sorted by.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    entries: Vec<(i64, u32, u32, Option<FileKind>)>,
    /// What of this is counted in [`HELD`].
    counted: usize,
}

impl Drop for Names {
    fn drop(&mut self) {
        HELD.fetch_sub(self.counted, Relaxed);
    }
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<(i64, u32, u32, Option<FileKind>)>()
    }

    /// SECURITY: many sessions could hold as much at the same time.
    pub(super) fn is_full(&self) -> bool {
        let size = self.size();
        size >= NAMES_MAX || (size >= NAMES_OWN && HELD.load(Relaxed) >= NAMES_OF_ALL)
    }

    /// Takes the name of a directory that is still to be listed.
    pub(super) fn keep(&mut self, name: &[u8]) -> Result<()> {
        self.push(0, name, None);
        if self.is_full() {
            return Err(too_many());
        }
        Ok(())
    }

    pub(super) fn push(&mut self, key: i64, name: &[u8], kind: Option<FileKind>) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.entries
            .push((key, start, self.bytes.len() as u32, kind));
        let capacity =
            self.bytes.capacity() + self.entries.capacity() * size_of_val(&self.entries[0]);
        HELD.fetch_add(capacity - self.counted, Relaxed);
        self.counted = capacity;
    }

    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by_key(|(key, start, end, _)| {
            (*key, &bytes[*start as usize..*end as usize])
        });
    }

    pub(super) fn get(&self, at: usize) -> Option<(&[u8], Option<FileKind>)> {
        let (_, start, end, kind) = *self.entries.get(at)?;
        Some((&self.bytes[start as usize..end as usize], kind))
    }
}

pub(super) fn too_many() -> Error {
    Error::new(ErrorKind::TooMany, "names that a listing must hold")
}
