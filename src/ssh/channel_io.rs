//! Data on the session channel, both ways, as the subsystem reads and writes
//! them: windows, packets, and the packet loop behind each call that waits.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::channel::{Connection, SessionChannel, Stage};
use super::fault::Fault;
use super::packet_stream::Need;
use super::wire::{Put, message};

impl Connection<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // What has been read from the socket already is all taken, so that the
        // subsystem answers many requests at once.
        let mut count = 0;
        loop {
            let Some(session) = &mut self.session else {
                return Ok(count);
            };
            let fresh = self
                .transport
                .packets
                .incoming
                .payload(session.fresh.clone());
            let taken = session.take(&mut buffer[count..], fresh);
            count += taken;
            if taken > 0 {
                self.used(taken)?;
                continue;
            }
            if count > 0 {
                self.transport.packets.socket.active();
                if count == buffer.len() {
                    return Ok(count);
                }
                match self.transport.next(Need::Buffered)? {
                    Some(payload) => self.act(payload)?,
                    None => return Ok(count),
                }
            } else if session.ended {
                return Ok(0);
            } else {
                self.pump()?;
            }
        }
    }

    /// Takes bytes into the packet being gathered; waits for the client's
    /// window and for the end of a key exchange. `None`: the client has closed.
    fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        if bytes.is_empty() {
            return Ok(Some(0));
        }
        loop {
            self.transport.rekey_if_due()?;
            let Some(session) = self.session.as_mut().filter(|session| !session.closed) else {
                return Ok(None);
            };
            if session.send_window == 0 || self.transport.packets.outgoing.holding() {
                self.pump()?;
                continue;
            }
            let most = bytes.len().min(session.send_window as usize);
            let count = self.transport.packets.outgoing.data(
                session.recipient,
                &bytes[..most],
                session.send_packet,
            )?;
            session.send_window -= count as u64;
            self.transport.packets.socket.active();
            if self.transport.packets.outgoing.batch_is_full() {
                self.drain()?;
            }
            return Ok(Some(count));
        }
    }

    /// Sends what can be sent now. Called during long work too, so it looks at
    /// the client now and then: a question is answered, a key exchange done,
    /// an end noticed.
    fn flush(&mut self) -> Result<(), Fault> {
        const LOOK: Duration = Duration::from_millis(100);
        self.transport.packets.push()?;
        if self.transport.packets.socket.last_look() < LOOK {
            return Ok(());
        }
        self.keep_fresh();
        while let Some(payload) = self.transport.next(Need::Ready)? {
            self.act(payload)?;
            self.keep_fresh();
        }
        Ok(())
    }

    /// Sends all output.
    fn drain(&mut self) -> Result<(), Fault> {
        self.keep_fresh();
        while self.transport.packets.outgoing.has_unsent() {
            if let Some(payload) = self.transport.next(Need::Drained)? {
                self.act(payload)?;
                self.keep_fresh();
            }
        }
        Ok(())
    }

    /// Data were used: the window opens again, an eighth at a time.
    pub(super) fn used(&mut self, count: usize) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.owed += count as u32;
        if session.owed < self.transport.settings.window / 8 || session.ended {
            return Ok(());
        }
        let mut adjust = vec![message::CHANNEL_WINDOW_ADJUST];
        adjust.put_u32(session.recipient);
        adjust.put_u32(session.owed);
        session.receive_window += session.owed;
        session.owed = 0;
        self.transport.send(&adjust)
    }

    /// Runs a step for the subsystem, which sees faults as `io::Error`; the
    /// fault itself is kept for [`Connection::run`].
    fn run_step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Fault>) -> io::Result<T> {
        if self.fault.is_some() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        step(self).map_err(|fault| {
            let kind = match &fault {
                Fault::Timeout(_) => io::ErrorKind::TimedOut,
                Fault::Left(_) => io::ErrorKind::ConnectionReset,
                Fault::Io(error) => error.kind(),
                Fault::Disconnect(..) | Fault::Crypto(_) => io::ErrorKind::ConnectionAborted,
            };
            self.fault = Some(fault);
            kind.into()
        })
    }
}

impl SessionChannel {
    /// Counts data against the window.
    pub(super) fn arrived(&mut self, count: usize) -> Result<(), Fault> {
        if self.ended && self.stage != Stage::Closing {
            return Err(Fault::protocol("channel data after EOF"));
        }
        match u32::try_from(count)
            .ok()
            .and_then(|count| self.receive_window.checked_sub(count))
        {
            Some(left) => {
                self.receive_window = left;
                Ok(())
            }
            None => Err(Fault::protocol("more channel data than the window allows")),
        }
    }

    /// Moves bytes out of the queue, or out of the last packet.
    fn take(&mut self, buffer: &mut [u8], fresh: &[u8]) -> usize {
        let queued = &self.queue[self.read..];
        if queued.is_empty() {
            if self.read > 0 {
                // Given back rather than kept for the next burst.
                self.queue = Vec::new();
                self.read = 0;
            }
            let count = fresh.len().min(buffer.len());
            buffer[..count].copy_from_slice(&fresh[..count]);
            self.fresh.start += count;
            return count;
        }
        let count = queued.len().min(buffer.len());
        buffer[..count].copy_from_slice(&queued[..count]);
        self.read += count;
        count
    }
}

/// The channel as the subsystem sees it.
pub(super) struct SubsystemStream<'c, 'l, 'a> {
    pub(super) connection: &'c mut Connection<'l, 'a>,
}

impl super::Channel for SubsystemStream<'_, '_, '_> {
    fn client(&self) -> &[u8] {
        self.connection.transport.client_version()
    }
}

impl Read for SubsystemStream<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection
            .run_step(|connection| connection.read(buffer))
    }
}

impl Write for SubsystemStream<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection
            .run_step(|connection| connection.write(bytes))?
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.run_step(Connection::flush)
    }
}
