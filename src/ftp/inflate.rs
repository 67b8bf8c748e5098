//! MODE Z (draft-preston-ftpext-deflate): uploads that come as a zlib stream.
//! Offsets, quotas, rates and counts are those of the file, so a stream that
//! grows a thousandfold stops where the file itself would; it is inflated in
//! pieces, between which ABOR and the deadline act.

use std::io::{self, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::ascii::FromNet;
use super::dtp::data_error;
use super::state::Interpreter;
use crate::error::Result;
use crate::net::stream::Stream;
use crate::session::Transfer;

/// Bytes read at once, and inflated at once.
const READ: usize = 16 * 1024;
const PIECE: usize = 64 * 1024;

impl Interpreter {
    /// Receives until the client closes the data connection; writes what was
    /// deflated at `offset` and on.
    pub(super) fn receive_deflated(
        &mut self,
        stream: &mut Stream,
        transfer: &mut Transfer,
        mut offset: u64,
    ) -> Result<()> {
        let ascii = self.converts();
        if ascii {
            transfer.set_ascii();
        }
        let mut state = InflateState::new_boxed(DataFormat::Zlib);
        let (mut buffer, mut piece) = (vec![0; READ], vec![0; PIECE]);
        let (mut from_net, mut converted) = (FromNet::default(), Vec::new());
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
                let mut data = &piece[..done.bytes_written];
                if ascii {
                    converted.clear();
                    self.warn_of_binary(transfer, data);
                    from_net.convert(data, &mut converted);
                    data = &converted;
                }
                transfer.write_all_at(data, offset)?;
                offset += data.len() as u64;
                let paced = self.pace(transfer, done.bytes_written as u64);
                self.unless_hung_up(stream, paced)?;
                let polled = self.poll_if_due();
                self.unless_hung_up(stream, polled)?;
            }
            if !rest.is_empty() {
                return Err(broken("bytes behind the end of the zlib stream"));
            }
        }
        if !ended && received > 0 {
            return Err(broken("the zlib stream is cut"));
        }
        if ascii {
            converted.clear();
            from_net.finish(&mut converted);
            transfer.write_all_at(&converted, offset)?;
        }
        let polled = self.poll_control();
        match received {
            0 => polled,
            _ => self.unless_hung_up(stream, polled),
        }
    }
}

fn broken(what: &'static str) -> crate::error::Error {
    data_error(io::Error::new(io::ErrorKind::InvalidData, what))
}
