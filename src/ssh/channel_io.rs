//! Data on a session channel, both ways, as a subsystem reads and writes them:
//! windows and packets. Nothing here waits for the client.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::time::Duration;

use super::channel::{Connection, SessionChannel, Stage};
use super::fault::Fault;
use super::packet_stream::Need;
use super::wire::{Put, message};

impl Connection<'_, '_> {
    /// Takes what has come. `None`: nothing has; 0: nothing will.
    fn read(&mut self, number: u32, buffer: &mut [u8]) -> Result<Option<usize>, Fault> {
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        // What has been read from the socket already is all taken, so that the
        // subsystem answers many requests at once.
        let mut count = 0;
        loop {
            let taken = self.take(number, &mut buffer[count..]);
            count += taken;
            if taken > 0 {
                self.used(number, taken)?;
                if count < buffer.len() {
                    continue;
                }
            }
            if count == buffer.len() {
                break;
            }
            if count == 0 && self.channel(number).is_none_or(|channel| channel.ended) {
                return Ok(Some(0));
            }
            self.keep_fresh();
            match self.transport.next(Need::Buffered)? {
                Some(payload) => self.act(payload)?,
                None => break,
            }
        }
        if count == 0 {
            return Ok(None);
        }
        self.transport.packets.socket.active();
        Ok(Some(count))
    }

    /// Moves bytes out of the queue, or out of the last packet.
    fn take(&mut self, number: u32, buffer: &mut [u8]) -> usize {
        let Connection {
            transport,
            channels,
            fresh,
            ..
        } = self;
        let mut channels = channels.iter_mut();
        let Some(channel) = channels.find(|channel| channel.number == number) else {
            return 0;
        };
        let queued = &channel.queue[channel.read..];
        if !queued.is_empty() {
            let count = queued.len().min(buffer.len());
            buffer[..count].copy_from_slice(&queued[..count]);
            channel.read += count;
            return count;
        }
        if channel.read > 0 {
            // Given back rather than kept for the next burst.
            channel.queue = Vec::new();
            channel.read = 0;
        }
        let Some((_, range)) = fresh.as_mut().filter(|(of, _)| *of == number) else {
            return 0;
        };
        let bytes = transport.packets.incoming.payload(range.clone());
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        range.start += count;
        if range.start >= range.end {
            *fresh = None;
        }
        count
    }

    /// Takes bytes into the packet being gathered. `Some(0)`: there is no room
    /// now, because of the client's window, its slowness or a key exchange.
    /// `None`: the client has closed.
    fn write(&mut self, number: u32, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        self.transport.rekey_if_due()?;
        if !self.transport.has_room() {
            self.transport.packets.push()?;
        }
        let has_room = self.transport.has_room();
        let mut channels = self.channels.iter_mut();
        let Some(channel) = channels.find(|channel| channel.number == number && !channel.closed)
        else {
            return Ok(None);
        };
        channel.wants_room = channel.send_window == 0 || !has_room;
        if channel.wants_room {
            return Ok(Some(0));
        }
        let most = bytes.len().min(channel.send_window as usize);
        let outgoing = &mut self.transport.packets.outgoing;
        let count = outgoing.data(channel.recipient, &bytes[..most], channel.send_packet)?;
        channel.send_window -= count as u64;
        self.transport.packets.socket.active();
        Ok(Some(count))
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

    /// Data were used: the window opens again.
    pub(super) fn used(&mut self, number: u32, count: usize) -> Result<(), Fault> {
        let Some(channel) = self.channel_mut(number) else {
            return Ok(());
        };
        if channel.ended {
            return Ok(());
        }
        let Some(grant) = channel.window.used(count) else {
            return Ok(());
        };
        let mut adjust = vec![message::CHANNEL_WINDOW_ADJUST];
        adjust.put_u32(channel.recipient);
        adjust.put_u32(grant);
        self.note_promises();
        self.transport.send(&adjust)
    }

    /// Runs a step for a subsystem, which sees faults as `io::Error`; the
    /// fault itself is kept for the one who ends the connection.
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
        if self.window.take(count) {
            Ok(())
        } else {
            Err(Fault::protocol("more channel data than the window allows"))
        }
    }
}

/// A channel as its subsystem sees it.
pub(super) struct SubsystemStream<'c, 'l, 'a> {
    connection: &'c RefCell<Connection<'l, 'a>>,
    number: u32,
}

impl<'c, 'l, 'a> SubsystemStream<'c, 'l, 'a> {
    pub(super) fn new(connection: &'c RefCell<Connection<'l, 'a>>, number: u32) -> Self {
        SubsystemStream { connection, number }
    }

    fn step<T>(
        &self,
        step: impl FnOnce(&mut Connection<'l, 'a>) -> Result<T, Fault>,
    ) -> io::Result<T> {
        self.connection.borrow_mut().run_step(step)
    }
}

impl super::Channel for SubsystemStream<'_, '_, '_> {
    fn client(&self) -> Vec<u8> {
        self.connection.borrow().transport.client_version().to_vec()
    }
}

impl Read for SubsystemStream<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step(|connection| connection.read(self.number, buffer))?
            .ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Write for SubsystemStream<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.step(|connection| connection.write(self.number, bytes))? {
            Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(count) => Ok(count),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step(Connection::flush)
    }
}
