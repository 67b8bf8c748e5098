//! MODE Z (draft-preston-ftpext-deflate): uploads that come as a zlib stream.
//! Offsets, quotas, rates and counts are those of the file, so a stream that
//! grows a thousandfold stops where the file itself would; it is inflated in
//! pieces, between which ABOR and the deadline act.

use std::io::{self, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::dtp::data_error;
use super::receive::Store;
use super::state::Interpreter;
use crate::error::Result;
use crate::net::stream::Stream;

/// Bytes read at once, and inflated at once.
const READ: usize = 16 * 1024;
const PIECE: usize = 64 * 1024;

impl Interpreter {
    /// Receives until the client closes the data connection; writes what was
    /// deflated.
    pub(super) fn receive_deflated(
        &mut self,
        stream: &mut Stream,
        mut store: Store<'_>,
    ) -> Result<()> {
        let mut state = InflateState::new_boxed(DataFormat::Zlib);
        let (mut buffer, mut piece) = (vec![0; READ], vec![0; PIECE]);
        let mut progress = self.progress();
        let (mut received, mut ended) = (0, false);
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for_upload(stream, received, &mut progress)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(data_error(error)),
            };
            received += count as u64;
            let mut rest = &buffer[..count];
            // A call may give less than fits and take less than there is, when
            // what it has inflated reaches the end of its window: all is done
            // when it does nothing more.
            while !ended {
                let done = inflate(&mut state, rest, &mut piece, MZFlush::None);
                rest = &rest[done.bytes_consumed..];
                match done.status {
                    Ok(MZStatus::StreamEnd) => ended = true,
                    Ok(_) | Err(MZError::Buf) => {}
                    Err(_) => return Err(broken("what came is no zlib stream")),
                }
                if done.bytes_written == 0 && done.bytes_consumed == 0 {
                    break;
                }
                self.write_piece(stream, &mut store, &piece[..done.bytes_written])?;
            }
            if !rest.is_empty() {
                return Err(broken("bytes behind the end of the zlib stream"));
            }
        }
        if !ended && received > 0 {
            return Err(broken("the zlib stream is cut"));
        }
        self.end_upload(stream, store, received)
    }
}

fn broken(what: &'static str) -> crate::error::Error {
    data_error(io::Error::new(io::ErrorKind::InvalidData, what))
}
