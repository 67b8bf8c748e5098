//! A pipe between a socket and a file, through which the kernel moves the
//! pages of a large upload: one copy instead of two, a third less CPU time a
//! byte than read and write (measured). Not for short files, which would only
//! pay for making the pipe, and not for data that is looked at on its way.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::error::{Doing, Result};
use crate::session::Transfer;

/// Bytes in the pipe: what an unprivileged process may ask for by default.
/// 256 KiB are not faster than read and write, 1 MiB is.
const SIZE: usize = 1 << 20;
/// Bytes taken out at once where the file can't be spliced to.
const PIECE: usize = 64 * 1024;

/// The pipe; empty between two calls of [`Pipe::fill`].
pub struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    spliceable: bool,
}

impl Pipe {
    /// A pipe of useful size; `None` when the user has used up the pages for
    /// pipes (`/proc/sys/fs/pipe-user-pages-soft`) or the descriptors.
    pub fn new() -> Option<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        let size = fcntl_setpipe_size(&input, SIZE).ok()?;
        (size >= SIZE).then_some(Pipe {
            output,
            input,
            spliceable: true,
        })
    }

    /// Takes what the socket has, as far as it fits; 0 is the end of the
    /// stream, `EAGAIN` a socket that has nothing now.
    pub fn fill(&self, socket: impl AsFd) -> rustix::io::Result<usize> {
        splice(socket, None, &self.input, None, SIZE, SpliceFlags::MOVE)
    }

    /// Moves `count` bytes, all that the pipe holds, to `offset` of the file.
    ///
    /// # Errors
    /// What writing to the file said. The rest is lost then, as the transfer is.
    pub fn drain(&mut self, transfer: &mut Transfer, offset: u64, count: usize) -> Result<()> {
        let mut offset = offset;
        let mut left = count;
        while left > 0 && self.spliceable {
            let mut moved_to = offset;
            let outcome = match transfer.file()?.descriptor() {
                Some(file) => splice(
                    &self.output,
                    None,
                    file,
                    Some(&mut moved_to),
                    left,
                    SpliceFlags::MOVE,
                ),
                None => Err(Errno::INVAL),
            };
            match outcome {
                Ok(moved @ 1..) => {
                    transfer.received(moved as u64);
                    offset = offset.saturating_add(moved as u64);
                    left = left.saturating_sub(moved);
                }
                Err(Errno::INTR) => {}
                // Opened for appending, a file system that can't do this, or an
                // error, which writing then tells.
                Ok(0) | Err(_) => self.spliceable = false,
            }
        }
        let mut buffer = vec![0; PIECE.min(left)];
        while left > 0 {
            let room = left.min(buffer.len());
            let got = match rustix::io::read(&self.output, &mut buffer[..room]) {
                Err(Errno::INTR) => continue,
                outcome => outcome.doing("taking bytes from a pipe")?,
            };
            transfer.write_all_at(&buffer[..got], offset)?;
            offset = offset.saturating_add(got as u64);
            left = left.saturating_sub(got.max(1));
        }
        Ok(())
    }

    /// Whether going on with the pipe is of use.
    pub fn is_useful(&self) -> bool {
        self.spliceable
    }
}
