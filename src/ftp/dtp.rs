//! The data transfer process: bytes between a data connection and a file,
//! with an eye on the control connection.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::ascii::{FromNet, ToNet};
use super::splice::Pipe;
use super::state::{Interpreter, Type};
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Interest;
use crate::net::stream::Stream;
use crate::session::{Transfer, deadline};

/// Bytes asked of one `sendfile`; between two the control connection is
/// looked at, should the client be so fast that the socket never fills.
const SENDFILE_PIECE: usize = 1 << 20;
/// Bytes of one read and write.
const BUFFER: usize = 256 * 1024;
/// Bytes of the first reads of an upload. Most files are short, and a large
/// buffer costs two system calls and a page fault each 4 KiB.
const FIRST_BUFFER: usize = 16 * 1024;
/// Bytes after which an upload is worth a pipe of its own.
const SPLICE_AFTER: u64 = 1 << 20;

/// How far a transfer stands still.
struct Stall {
    limit: Duration,
    until: Option<Instant>,
    seen: u64,
}

impl Interpreter {
    fn stall(&self) -> Stall {
        let limit = self.session.config().stall_timeout;
        Stall {
            limit,
            until: deadline(Instant::now(), limit),
            seen: 0,
        }
    }

    /// Waits until the data connection is ready again. What comes from a
    /// client that is only sent to is discarded.
    fn wait_for_data(
        &mut self,
        stream: &mut Stream,
        interest: Interest,
        moved: u64,
        stall: &mut Stall,
    ) -> Result<()> {
        if moved != stall.seen {
            stall.seen = moved;
            stall.until = deadline(Instant::now(), stall.limit);
        }
        if interest == Interest::Write {
            stream.discard_incoming().map_err(data_error)?;
        }
        match self.wait_for(stream, interest, stall.until)? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Timeout,
                "the data connection stands still",
            )),
        }
    }

    /// Waits as long as the rates ask for.
    fn pace(&mut self, transfer: &Transfer, bytes: u64) -> Result<()> {
        if !transfer.is_paced() {
            return Ok(());
        }
        let until = Instant::now() + transfer.pace(bytes);
        while Instant::now() < until {
            if self.control.can_look() {
                use crate::net::socket::wait;
                if wait(
                    [(self.control.socket()?.as_fd(), Interest::Read)],
                    Some(until),
                )?[0]
                {
                    self.look()?;
                }
            } else {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }

    /// Sends the file's bytes from `offset` on, at most `length`.
    pub fn send_file(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        let plain = matches!(stream, Stream::Plain(_)) && transfer.file()?.descriptor().is_some();
        if plain && self.transfer_type == Type::Image {
            self.sendfile(stream, transfer, offset, length)
        } else {
            self.send_through_buffer(stream, transfer, offset, length)
        }
    }

    fn sendfile(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        mut offset: u64,
        length: u64,
    ) -> Result<()> {
        let end = offset.saturating_add(length);
        let piece = if transfer.is_paced() {
            BUFFER / 4
        } else {
            SENDFILE_PIECE
        };
        if length >= SENDFILE_PIECE as u64 {
            keep_short(stream);
        }
        let mut stall = self.stall();
        let mut looked = offset;
        while offset < end {
            let wanted = (end - offset).min(piece as u64) as usize;
            let before = offset;
            let file = transfer.file()?;
            let Some(descriptor) = file.descriptor() else {
                return Err(ErrorKind::Internal.into());
            };
            match rustix::fs::sendfile(stream.as_fd(), descriptor, Some(&mut offset), wanted) {
                Ok(0) => return Err(shorter()),
                Ok(sent) => {
                    offset = before + sent as u64;
                    transfer.sent(sent as u64);
                    self.pace(transfer, sent as u64)?;
                    if sent < wanted {
                        // The socket is full; asking it again would only say so.
                        self.wait_for_data(stream, Interest::Write, offset, &mut stall)?;
                    } else if offset < end {
                        self.look_if_due(&mut looked, offset)?;
                    }
                }
                Err(Errno::AGAIN) => {
                    self.wait_for_data(stream, Interest::Write, offset, &mut stall)?
                }
                Err(Errno::INTR) => {}
                // File systems of other kinds (FUSE, old overlays) can't.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    return self.send_through_buffer(stream, transfer, offset, end - offset);
                }
                Err(errno) => return Err(data_error(errno.into())),
            }
        }
        Ok(())
    }

    /// Looks at the control connection once a MiB: for clients so fast that
    /// we never wait for them.
    fn look_if_due(&mut self, looked: &mut u64, moved: u64) -> Result<()> {
        if moved - *looked >= SENDFILE_PIECE as u64 && self.control.can_look() {
            *looked = moved;
            self.look()?;
        }
        Ok(())
    }

    fn send_through_buffer(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        mut offset: u64,
        length: u64,
    ) -> Result<()> {
        let ascii = self.transfer_type == Type::Ascii;
        if ascii {
            transfer.set_ascii();
        }
        let end = offset.saturating_add(length);
        let mut buffer = vec![0; BUFFER.min(length.max(1) as usize)];
        let mut to_net = ToNet::default();
        let mut converted = Vec::new();
        let mut looked = offset;
        while offset < end {
            let wanted = (end - offset).min(buffer.len() as u64) as usize;
            let got = transfer.read_at(&mut buffer[..wanted], offset)?;
            if got == 0 {
                return Err(shorter());
            }
            offset += got as u64;
            let data = match ascii {
                true => {
                    converted.clear();
                    to_net.convert(&buffer[..got], &mut converted);
                    &converted[..]
                }
                false => &buffer[..got],
            };
            self.send_bytes(stream, data)?;
            if transfer.is_paced() {
                self.flush_data(stream)?;
            }
            self.pace(transfer, got as u64)?;
            if offset < end {
                stream.discard_incoming().map_err(data_error)?;
            }
            self.look_if_due(&mut looked, offset)?;
        }
        Ok(())
    }

    /// Sends all of `data`; under TLS the end of it may wait for more, for
    /// [`Interpreter::flush_data`] or for the end of the connection.
    pub fn send_bytes(&mut self, stream: &mut Stream, data: &[u8]) -> Result<()> {
        let mut stall = self.stall();
        let mut sent = 0;
        while sent < data.len() {
            match stream.write(&data[sent..]) {
                Ok(0) => return Err(Error::new(ErrorKind::Disconnected, "sending data")),
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for_data(stream, Interest::Write, sent as u64, &mut stall)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(data_error(error)),
            }
        }
        Ok(())
    }

    /// Sends what is left of earlier bytes.
    pub fn flush_data(&mut self, stream: &mut Stream) -> Result<()> {
        self.until_sent(stream, Stream::flush)
    }

    /// Repeats what sends until a slow client has taken all of it.
    pub fn until_sent(
        &mut self,
        stream: &mut Stream,
        send: impl Fn(&mut Stream) -> io::Result<()>,
    ) -> Result<()> {
        let mut stall = self.stall();
        loop {
            match send(stream) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It was ready since the last wait, so it does not stand
                    // still, however little it has taken.
                    self.wait_for_data(stream, Interest::Write, stall.seen + 1, &mut stall)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(data_error(error)),
            }
        }
    }

    /// Receives until the client closes the data connection; writes at
    /// `offset` and on.
    pub fn receive_file(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        mut offset: u64,
    ) -> Result<()> {
        let ascii = self.transfer_type == Type::Ascii;
        if ascii {
            transfer.set_ascii();
        }
        let most = if transfer.is_paced() {
            BUFFER / 4
        } else {
            BUFFER
        };
        let may_splice = !ascii && !transfer.must_be_seen() && !stream.is_secure();
        let mut buffer = vec![0; FIRST_BUFFER];
        let mut from_net = FromNet::default();
        let mut converted = Vec::new();
        let mut stall = self.stall();
        let (mut received, mut looked, mut filled) = (0, 0, 0);
        let mut tried = false;
        loop {
            let ended = match stream.read(&mut buffer[filled..]) {
                Ok(0) => true,
                Ok(length) => {
                    filled += length;
                    received += length as u64;
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What has come goes to the file before the wait.
                    if filled == 0 {
                        self.wait_for_data(stream, Interest::Read, received, &mut stall)?;
                        continue;
                    }
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(data_error(error)),
            };
            if filled > 0 {
                let data = match ascii {
                    true => {
                        converted.clear();
                        from_net.convert(&buffer[..filled], &mut converted);
                        &converted[..]
                    }
                    false => &buffer[..filled],
                };
                transfer.write_all_at(data, offset)?;
                offset += data.len() as u64;
                self.pace(transfer, filled as u64)?;
                if filled == buffer.len() && filled < most {
                    buffer = vec![0; most];
                }
                filled = 0;
                self.look_if_due(&mut looked, received)?;
            }
            if ended {
                break;
            }
            if may_splice && !tried && received >= SPLICE_AFTER {
                tried = true;
                // Not held while the pipe does the work.
                drop(std::mem::take(&mut buffer));
                if self.receive_spliced(stream, transfer, &mut offset, &mut stall)? {
                    break;
                }
                buffer = vec![0; most];
            }
        }
        if ascii {
            converted.clear();
            from_net.finish(&mut converted);
            transfer.write_all_at(&converted, offset)?;
        }
        // A client that was killed closes its data connection like one that is
        // done; but its control connection is gone, too.
        self.look()
    }

    /// Receives the rest through a pipe; `false` when that can't be done, or
    /// not any more, and reading has to go on.
    fn receive_spliced(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        offset: &mut u64,
        stall: &mut Stall,
    ) -> Result<bool> {
        let Some(mut pipe) = Pipe::new().filter(|_| {
            transfer
                .file()
                .is_ok_and(|file| file.descriptor().is_some())
        }) else {
            return Ok(false);
        };
        let mut looked = *offset;
        while pipe.is_useful() {
            match pipe.fill(stream.as_fd()) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    pipe.drain(transfer, *offset, count)?;
                    *offset = offset.saturating_add(count as u64);
                    self.look_if_due(&mut looked, *offset)?;
                }
                Err(Errno::AGAIN) => {
                    self.wait_for_data(stream, Interest::Read, *offset, stall)?;
                }
                Err(Errno::INTR) => {}
                Err(Errno::INVAL | Errno::NOSYS) => return Ok(false),
                Err(errno) => return Err(data_error(errno.into())),
            }
        }
        Ok(false)
    }
}

/// Bounds what waits in the socket when the client is so near that this fills
/// any line to it. What the kernel would let pile up instead, some MiB, leaves
/// the processor's cache before the client reads it: three times the CPU time
/// a byte, on both sides together (measured over loopback). Clients far away
/// need all that the kernel gives.
fn keep_short(stream: &Stream) {
    /// 10 Gbit/s times this is what the socket holds, which the kernel makes
    /// twice what is asked for.
    const NEAR: Duration = Duration::from_micros(400);
    const SEND_BUFFER: usize = 256 * 1024;
    if crate::sys::round_trip(stream.as_fd()).is_some_and(|time| time < NEAR) {
        // One that can't be set is no harm.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(stream.as_fd(), SEND_BUFFER);
    }
}

/// A file that somebody has cut while it was sent: 150 has named its size, and
/// the client must not take what it got for all of it.
fn shorter() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the file became shorter while it was sent",
    )
}

/// Whatever is wrong with the data connection, the answer is 426.
fn data_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::with_source(ErrorKind::Timeout, "the data connection", error)
        }
        _ => Error::with_source(ErrorKind::Disconnected, "the data connection", error),
    }
}
