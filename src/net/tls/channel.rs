//! An established connection and the way there: what both back-ends' streams
//! have alike. What differs, each back-end says itself.

use std::io::{self, Read, Write};

use super::backend::{Middle, Raw};
use super::wire::Wire;

/// How far a handshake has come.
pub(super) enum Progress {
    /// To its end.
    Done(Channel),
    /// The wire would not wait for the peer's next bytes.
    Wait(Middle),
}

/// The library's stream after its handshake.
#[derive(Debug)]
pub(super) struct Channel(pub(super) Raw);

impl Channel {
    pub(super) fn wire(&self) -> &Wire {
        self.0.get_ref()
    }

    pub(super) fn wire_mut(&mut self) -> &mut Wire {
        self.0.get_mut()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }
}
