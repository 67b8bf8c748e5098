//! Standard input and output as one channel, without the buffers and locks
//! that `std::io::stdin` and `stdout` have.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};

/// Room in a pipe, in bytes; everybody may ask for 1 MiB (pipe(7)).
const PIPE_SIZE: usize = 256 * 1024;

/// A pair of pipes, or of sockets.
pub(super) struct Pipes {
    input: File,
    output: File,
}

impl Pipes {
    /// Descriptors 0 and 1.
    pub(super) fn standard() -> io::Result<Self> {
        let own = |fd: BorrowedFd<'_>| {
            // More room is fewer changes between the processes. What is no
            // pipe, or a pipe of a user who has too many, stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_SIZE);
            fd.try_clone_to_owned().map(File::from)
        };
        Ok(Pipes {
            input: own(io::stdin().as_fd())?,
            output: own(io::stdout().as_fd())?,
        })
    }
}

/// Whoever started us may share the descriptor's settings and have made it
/// non-blocking (a terminal, `ssh` itself): wait then.
fn ready(file: &File, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, flags)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Read for Pipes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready(&self.input, PollFlags::IN)?;
                }
                result => return result,
            }
        }
    }
}

impl Write for Pipes {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.output.write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready(&self.output, PollFlags::OUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
