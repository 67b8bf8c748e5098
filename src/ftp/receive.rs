//! Uploads: what a data connection brings goes into a file.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::ascii::FromNet;
use super::dtp::{BUFFER, data_error};
use super::splice::Pipe;
use super::state::Interpreter;
#[cfg(feature = "deflate")]
use super::state::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::net::patience::Progress;
use crate::net::socket::{Interest, wait};
use crate::net::stream::Stream;
use crate::session::Transfer;

/// Bytes of the first reads of an upload. Most files are short, and a large
/// buffer costs two system calls and a page fault each 4 KiB.
const FIRST_BUFFER: usize = 16 * 1024;
/// Bytes after which an upload is worth a pipe of its own.
const SPLICE_AFTER: u64 = 1 << 20;

/// How long the rest of an upload may stand still whose client has closed the
/// control connection.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// The file's end of an upload.
pub(super) struct Store<'t> {
    transfer: &'t mut Transfer,
    /// Where the next byte goes.
    offset: u64,
    /// What turns lines into those of files, and its buffer.
    ascii: Option<(FromNet, Vec<u8>)>,
}

impl Interpreter {
    /// Receives until the client closes the data connection; writes at
    /// `offset` and on.
    pub fn receive_file(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        offset: u64,
    ) -> Result<()> {
        let store = self.store(transfer, offset);
        #[cfg(feature = "deflate")]
        if self.parameters.mode == Mode::Deflate {
            return self.receive_deflated(stream, store);
        }
        self.receive_as_it_is(stream, store)
    }

    fn store<'t>(&self, transfer: &'t mut Transfer, offset: u64) -> Store<'t> {
        let ascii = self.converts();
        if ascii {
            transfer.set_ascii();
        }
        Store {
            transfer,
            offset,
            ascii: ascii.then(Default::default),
        }
    }

    fn receive_as_it_is(&mut self, stream: &mut Stream, mut store: Store<'_>) -> Result<()> {
        let most = if store.transfer.is_paced() {
            BUFFER / 4
        } else {
            BUFFER
        };
        let mut may_splice =
            store.ascii.is_none() && !store.transfer.must_be_seen() && !stream.is_secure();
        let mut buffer = vec![0; FIRST_BUFFER];
        let mut progress = self.progress();
        let (mut received, mut filled) = (0, 0);
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
                        self.wait_for_upload(stream, received, &mut progress)?;
                        continue;
                    }
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(data_error(error)),
            };
            if filled > 0 {
                self.write_piece(stream, &mut store, &buffer[..filled])?;
                if filled == buffer.len() && filled < most {
                    buffer = vec![0; most];
                }
                filled = 0;
            }
            if ended {
                break;
            }
            if may_splice && received >= SPLICE_AFTER {
                may_splice = false;
                // Not held while the pipe does the work.
                drop(std::mem::take(&mut buffer));
                if self.receive_spliced(stream, &mut store, &mut progress)? {
                    break;
                }
                buffer = vec![0; most];
            }
        }
        self.end_upload(stream, store, received)
    }

    /// Writes what has come, keeps to the rate, and looks at the control
    /// connection.
    pub(super) fn write_piece(
        &mut self,
        stream: &Stream,
        store: &mut Store<'_>,
        piece: &[u8],
    ) -> Result<()> {
        let data = match &mut store.ascii {
            Some((from_net, converted)) => {
                converted.clear();
                self.warn_of_binary(store.transfer, piece);
                from_net.convert(piece, converted);
                converted
            }
            None => piece,
        };
        store.transfer.write_all_at(data, store.offset)?;
        store.offset += data.len() as u64;
        let paced = self.pace(store.transfer, piece.len() as u64);
        self.unless_hung_up(stream, paced)?;
        let polled = self.poll_if_due();
        self.unless_hung_up(stream, polled)
    }

    /// The client has closed the data connection after so many bytes.
    pub(super) fn end_upload(
        &mut self,
        stream: &Stream,
        store: Store<'_>,
        received: u64,
    ) -> Result<()> {
        if let Some((mut from_net, mut converted)) = store.ascii {
            converted.clear();
            from_net.finish(&mut converted);
            store.transfer.write_all_at(&converted, store.offset)?;
        }
        // A client that was killed closes its data connection like one that is
        // done; but its control connection is gone, too.
        // One that has sent nothing may have been killed before it did.
        let polled = self.poll_control();
        if received == 0 {
            return polled;
        }
        self.unless_hung_up(stream, polled)
    }

    /// Passes an outcome on, but for the end of the control connection where
    /// the end of the data alone says whether an upload is whole: under TLS,
    /// and for devices that close both connections at once.
    fn unless_hung_up(&self, stream: &Stream, outcome: Result<()>) -> Result<()> {
        let decided_by_data = stream.is_secure() || !self.session.config().strict_end;
        match outcome {
            Err(error)
                if error.kind() == ErrorKind::Disconnected
                    && self.control.has_ended()
                    && decided_by_data
                    // We have ended it ourselves.
                    && self.session.info().ends().is_none() =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Waits for more of an upload. The rest of what a client has sent may come
    /// after the end of its control connection, but not much later.
    pub(super) fn wait_for_upload(
        &mut self,
        stream: &mut Stream,
        received: u64,
        progress: &mut Progress,
    ) -> Result<()> {
        if !self.control.has_ended() {
            let outcome = self.wait_for_data(stream, Interest::Read, received, progress);
            self.unless_hung_up(stream, outcome)?;
        }
        if self.control.has_ended() {
            let until = Instant::now() + LAST_BYTES;
            if wait([(stream.as_fd(), Interest::Read)], Some(until))? == [false] {
                return Err(Error::new(
                    ErrorKind::Disconnected,
                    "the control connection ended before the upload",
                ));
            }
        }
        Ok(())
    }

    /// Receives the rest through a pipe; `false` when that can't be done, or
    /// not any more, and reading has to go on.
    fn receive_spliced(
        &mut self,
        stream: &mut Stream,
        store: &mut Store<'_>,
        progress: &mut Progress,
    ) -> Result<bool> {
        let file = store.transfer.file()?;
        let Some(mut pipe) = Pipe::new().filter(|_| file.descriptor().is_some()) else {
            return Ok(false);
        };
        let mut waited = None;
        while pipe.is_useful() {
            match pipe.fill(stream.as_fd()) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    pipe.drain(store.transfer, store.offset, count)?;
                    store.offset = store.offset.saturating_add(count as u64);
                    let polled = self.poll_if_due();
                    self.unless_hung_up(stream, polled)?;
                }
                Err(Errno::AGAIN) if waited != Some(store.offset) => {
                    waited = Some(store.offset);
                    self.wait_for_upload(stream, store.offset, progress)?;
                }
                // It was ready just now: reading tells what it has.
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                // What can't be spliced from may still be read.
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::NOMEM) => return Ok(false),
                // A socket tells its error once: reading after a reset would
                // find the end of the stream, and the upload whole.
                Err(errno) => return Err(data_error(errno.into())),
            }
        }
        Ok(false)
    }
}
