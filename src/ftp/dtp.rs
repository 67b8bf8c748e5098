//! The data transfer process: bytes between a data connection and a file,
//! with an eye on the control connection.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::ascii::ToNet;
use super::state::{Interpreter, Mode, Type};
use crate::error::{Error, ErrorKind, Result};
use crate::net::patience::Progress;
use crate::net::socket::Interest;
use crate::net::stream::Stream;
use crate::session::Transfer;
use crate::session::log_context::tell_once;

/// Bytes asked of one `sendfile`; between two the control connection is
/// looked at, should the client be so fast that the socket never fills.
const SENDFILE_PIECE: usize = 1 << 20;
/// Bytes of one read and write.
pub(super) const BUFFER: usize = 256 * 1024;

impl Interpreter {
    pub fn progress(&self) -> Progress {
        Progress::new(self.session.config().stall_timeout)
    }

    /// Waits until the data connection is ready again. What comes from a
    /// client that is only sent to is discarded.
    pub(super) fn wait_for_data(
        &mut self,
        stream: &mut Stream,
        interest: Interest,
        moved: u64,
        progress: &mut Progress,
    ) -> Result<()> {
        progress.note(moved);
        if interest == Interest::Write {
            stream.discard_incoming().map_err(data_error)?;
        }
        while !self.wait_for(stream, interest, Some(Instant::now() + progress.step()))? {
            if progress.has_stalled(stream.socket(), moved) {
                return Err(stalled(stream));
            }
            if progress.moves() {
                self.session.info().touch();
            }
        }
        Ok(())
    }

    /// Whether line ends are converted.
    pub fn converts(&self) -> bool {
        self.parameters.transfer_type == Type::Ascii && self.session.config().ascii
    }

    /// Clients that say no TYPE mean ASCII by the RFC, and most of them don't
    /// know it.
    pub(super) fn warn_of_binary(&mut self, transfer: &Transfer, data: &[u8]) {
        if data.contains(&0) {
            let reason = "TYPE A changes what looks like a binary file (see ascii)";
            tell_once(log::Level::Warn, reason, transfer.path());
        }
    }

    /// Waits as long as the rates ask for.
    pub(super) fn pace(&mut self, transfer: &Transfer, bytes: u64) -> Result<()> {
        if !transfer.is_paced() {
            return Ok(());
        }
        self.pause_until(Instant::now() + transfer.pace(bytes))
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
        let as_it_is = self.parameters.mode == Mode::Stream && !self.converts();
        if plain && length != Transfer::UNKNOWN && as_it_is {
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
        let mut progress = self.progress();
        let mut waited = None;
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
                        self.wait_for_data(stream, Interest::Write, offset, &mut progress)?;
                    } else if offset < end {
                        self.poll_if_due()?;
                    }
                }
                Err(Errno::INTR) => {}
                // The socket is full. If it was ready just now, it is the file
                // that has nothing yet.
                Err(Errno::AGAIN) if waited != Some(offset) => {
                    waited = Some(offset);
                    self.wait_for_data(stream, Interest::Write, offset, &mut progress)?
                }
                // The error may be that of the file, that of the connection, or
                // a file system (FUSE, old overlays) that can't do this: reading
                // and writing tell which.
                Err(_) => return self.send_through_buffer(stream, transfer, offset, end - offset),
            }
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
        let ascii = self.converts();
        if ascii {
            transfer.set_ascii();
        }
        let end = offset.saturating_add(length);
        let mut buffer = vec![0; BUFFER.min(length.max(1) as usize)];
        let mut to_net = ToNet::default();
        let mut converted = Vec::new();
        while offset < end {
            let wanted = (end - offset).min(buffer.len() as u64) as usize;
            let got = transfer.read_at(&mut buffer[..wanted], offset)?;
            if got == 0 && length == Transfer::UNKNOWN {
                break;
            }
            if got == 0 {
                return Err(shorter());
            }
            offset += got as u64;
            let data = if ascii {
                converted.clear();
                to_net.convert(&buffer[..got], &mut converted);
                &converted[..]
            } else {
                &buffer[..got]
            };
            self.send_bytes(stream, data)?;
            if transfer.is_paced() {
                self.flush_data(stream)?;
            }
            self.pace(transfer, got as u64)?;
            if offset < end {
                stream.discard_incoming().map_err(data_error)?;
            }
            self.poll_if_due()?;
        }
        Ok(())
    }

    /// Sends all of `data`; under TLS and in MODE Z the end of it may wait for
    /// more, or for the end of the connection.
    pub fn send_bytes(&mut self, stream: &mut Stream, data: &[u8]) -> Result<()> {
        let Some(mut deflater) = self.deflater.take() else {
            return self.send_as_it_is(stream, data);
        };
        let sent = match deflater.deflate(data) {
            Ok(deflated) => self.send_as_it_is(stream, deflated),
            Err(error) => Err(error),
        };
        self.deflater = Some(deflater);
        sent
    }

    /// Sends the end of a MODE Z stream.
    pub fn finish_deflating(&mut self, stream: &mut Stream) -> Result<()> {
        match self.deflater.take() {
            Some(mut deflater) => self.send_as_it_is(stream, deflater.finish()?),
            None => Ok(()),
        }
    }

    /// Sends all of `data`; under TLS the end of it may wait for
    /// [`Interpreter::flush_data`] or for the end of the connection.
    fn send_as_it_is(&mut self, stream: &mut Stream, data: &[u8]) -> Result<()> {
        let mut progress = self.progress();
        let mut sent = 0;
        while sent < data.len() {
            match stream.write(&data[sent..]) {
                Ok(0) => return Err(Error::new(ErrorKind::Disconnected, "sending data")),
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for_data(stream, Interest::Write, sent as u64, &mut progress)?;
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
        let mut progress = self.progress();
        let mut waits = 0;
        loop {
            match send(stream) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    waits += 1;
                    // It was ready since the last wait, so it does not stand
                    // still, however little it has taken.
                    self.wait_for_data(stream, Interest::Write, waits, &mut progress)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(data_error(error)),
            }
        }
    }
}

/// A transfer is given up. The peer is told by a reset: its kernel may have
/// lost sight of us, and ours would go on sending for a quarter of an hour.
pub fn stalled(stream: &Stream) -> Error {
    stream.socket().reset_on_close();
    Error::new(ErrorKind::Timeout, "the data connection stands still")
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

/// A file that somebody has cut while it was read: its size is known, and the
/// client must not take what it got for all of it.
pub fn shorter() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the file became shorter while it was read",
    )
}

/// Whatever is wrong with the data connection, the answer is 426.
pub fn data_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::with_source(ErrorKind::Timeout, "the data connection", error)
        }
        _ => Error::with_source(ErrorKind::Disconnected, "the data connection", error),
    }
}
