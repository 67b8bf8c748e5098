//! getdents64(2) into a buffer that is read in place.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Result;

/// Bytes that the first call may fill: about a hundred entries.
const FIRST_BYTES: usize = 4 * 1024;
/// Bytes that a later call may fill.
const MOST_BYTES: usize = 16 * 1024;

/// Before the name: the numbers of the inode and of the place, of eight bytes
/// each, the record's length, two, and the kind.
const HEAD: usize = 19;

/// Records of an open directory, as the kernel wrote them (`struct
/// linux_dirent64`): words, so that they are aligned.
pub(crate) struct Records {
    words: Vec<u64>,
    /// The bytes that are filled, and where the next record begins.
    filled: usize,
    at: usize,
}

impl Records {
    pub(crate) fn new() -> Self {
        Records {
            words: Vec::new(),
            filled: 0,
            at: 0,
        }
    }

    /// Takes the next ones of `directory`; there are none at its end.
    pub(crate) fn read(&mut self, directory: impl AsFd) -> Result<()> {
        (self.filled, self.at) = (0, 0);
        // SECURITY: directories that are only opened hold no buffer.
        let bytes = if self.words.is_empty() {
            FIRST_BYTES
        } else {
            MOST_BYTES
        };
        self.words.resize(bytes / size_of::<u64>(), 0);
        // SAFETY: the kernel writes into the buffer, which is ours alone, and no
        // more than the bytes that it is told.
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                directory.as_fd().as_raw_fd(),
                self.words.as_mut_ptr(),
                size_of_val(&self.words[..]),
            )
        };
        match usize::try_from(outcome) {
            Ok(filled) => self.filled = filled.min(bytes),
            Err(_) => return Err(super::last_errno()),
        }
        Ok(())
    }

    /// Whether all have been seen.
    pub(crate) fn are_done(&self) -> bool {
        self.at >= self.filled
    }

    /// Kind (`d_type`) and name of the next one; `None` if it does not hold
    /// together.
    pub(crate) fn next(&mut self) -> Option<(u8, &[u8])> {
        // SAFETY: there are more bytes than `filled`, initialised (which the kernel
        // alone would not do between two records), and borrowed as the words are.
        let all = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.filled) };
        let record: &[u8] = all.get(self.at..)?;
        // Past what is there, unless it holds together.
        self.at = self.filled;
        let length = u16::from_ne_bytes(*record.get(16..)?.first_chunk()?);
        let (head, name) = record.get(..length.into())?.split_at_checked(HEAD)?;
        self.at = self.filled - record.len() + usize::from(length);
        // A record ends at most eight bytes behind its name, with a zero first.
        let last = name.len().saturating_sub(size_of::<u64>());
        let end = name[last..].iter().position(|byte| *byte == 0)?;
        Some((head[HEAD - 1], &name[..last + end]))
    }
}
