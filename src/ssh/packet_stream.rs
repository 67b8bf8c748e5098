//! The binary packet protocol (RFC 4253, sections 4 and 6): the socket, the
//! inbox and the outbox in one loop.
//!
//! One thread does both directions. While it waits to write it goes on
//! reading, so that a peer which sends without reading can't lock both up;
//! [`OUTPUT_LIMIT`] says where that generosity ends.

use std::ops::Range;
use std::time::Duration;

use rustix::event::PollFlags;

use super::fault::{Fault, Reason};
use super::packet_reader::PacketReader;
use super::packet_writer::PacketWriter;
use super::timed_socket::{Buffers, Socket, TimedSocket, Wake};
use super::wire::{Put, message};

/// With so much output unsent nothing more is read: a peer that asks and asks
/// but reads no answer meets back pressure.
const OUTPUT_LIMIT: usize = 64 << 10;
/// How long the last words may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What [`PacketStream::turn`] is to achieve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The next packet; output is sent before waiting for it.
    Packet,
    /// The next packet, or room for more output.
    PacketOrRoom,
    /// What can be had without waiting.
    Ready,
    /// A packet that has been read from the socket already.
    Buffered,
}

pub(super) struct PacketStream<'a> {
    pub(super) socket: TimedSocket<'a>,
    pub(super) incoming: PacketReader,
    pub(super) outgoing: PacketWriter,
}

impl<'a> PacketStream<'a> {
    pub(super) fn new(socket: &'a mut dyn Socket) -> Result<Self, Fault> {
        Ok(PacketStream {
            socket: TimedSocket::new(socket)?,
            incoming: PacketReader::new(),
            outgoing: PacketWriter::new(),
        })
    }

    /// Sends our identification and reads the peer's (RFC 4253, section 4.2),
    /// returned without the line's end.
    pub(super) fn exchange_versions(&mut self, ours: &str) -> Result<Vec<u8>, Fault> {
        /// RFC 4253: 255 with CR LF.
        const LONGEST: usize = 255;
        self.outgoing.raw(ours);
        loop {
            let line = self.incoming.unread();
            if let Some(length) = line.iter().position(|byte| *byte == b'\n') {
                let line = &line[..length];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.len() > LONGEST || line.contains(&0) || !line.starts_with(b"SSH-") {
                    return Err(not_ssh());
                }
                // 1.99 is how servers of old said "both"; some clients do too.
                if !line.starts_with(b"SSH-2.0-") && !line.starts_with(b"SSH-1.99-") {
                    return Err(Fault::Disconnect(
                        Reason::ProtocolVersionNotSupported,
                        "only SSH 2.0 is spoken here".into(),
                    ));
                }
                let line = line.to_vec();
                self.incoming.skip(length + 1);
                return Ok(line);
            }
            // What can't become an identification any more is not waited for.
            if line.len() > LONGEST || !b"SSH-".starts_with(&line[..line.len().min(4)]) {
                return Err(not_ssh());
            }
            self.outgoing.send_some(&mut self.socket)?;
            if !self.incoming.read_some(&mut self.socket)? {
                self.wait(PollFlags::IN)?;
            }
        }
    }

    /// Reads and writes until there is what is needed. `None`: with
    /// [`Need::PacketOrRoom`], there is room; with [`Need::Ready`] and
    /// [`Need::Buffered`], nothing is there.
    pub(super) fn turn(&mut self, need: Need) -> Result<Option<Range<usize>>, Fault> {
        if need == Need::Buffered {
            return if self.outgoing.unsent() < OUTPUT_LIMIT {
                self.cut()
            } else {
                Ok(None)
            };
        }
        loop {
            let may_read = self.outgoing.unsent() < OUTPUT_LIMIT;
            if may_read && let Some(payload) = self.cut()? {
                return Ok(Some(payload));
            }
            // Answers go out before more is read: the peer goes on asking
            // while we work.
            self.outgoing.seal_open()?;
            let sent = self.outgoing.send_some(&mut self.socket)?;
            if need == Need::PacketOrRoom && sent && !self.outgoing.batch_is_full() {
                return Ok(None);
            }
            let read = may_read && self.incoming.read_some(&mut self.socket)?;
            let progress = sent || read;
            if !progress && need == Need::Ready {
                return Ok(None);
            }
            if !progress {
                let mut interest = PollFlags::empty();
                interest.set(PollFlags::IN, may_read);
                interest.set(PollFlags::OUT, self.outgoing.has_unsent());
                self.wait(interest)?;
            }
        }
    }

    /// Sends what the socket takes without waiting.
    pub(super) fn push(&mut self) -> Result<(), Fault> {
        self.outgoing.seal_open()?;
        while self.outgoing.send_some(&mut self.socket)? {}
        Ok(())
    }

    /// Waits for the socket; buffers of a busy time are given back meanwhile,
    /// and not made again before there is something to put into them.
    fn wait(&mut self, interest: PollFlags) -> Result<(), Fault> {
        loop {
            let buffers = if self.incoming.has_idle_buffer() || self.outgoing.has_idle_buffer() {
                Buffers::InUse
            } else {
                Buffers::Released
            };
            match self.socket.wait(interest, buffers)? {
                Wake::Ready => return Ok(()),
                Wake::Keepalive => return self.send_keepalive(),
                Wake::Idle => {
                    self.incoming.release_buffer();
                    self.outgoing.release_buffer();
                    crate::sys::release_stack();
                }
            }
        }
    }

    /// `keepalive@openssh.com`: no server knows the request, so each must
    /// answer it with a failure, and an answer is what is wanted.
    fn send_keepalive(&mut self) -> Result<(), Fault> {
        // While the output does not move, another question adds nothing.
        if self.outgoing.holding() || self.outgoing.has_unsent() {
            return Ok(());
        }
        let mut request = vec![message::GLOBAL_REQUEST];
        request.put_string(b"keepalive@openssh.com");
        request.put_boolean(true);
        self.outgoing.packet(&request)
    }

    /// The last words: SSH_MSG_DISCONNECT and what is unsent, as far as the
    /// socket takes it now. A peer that does not read is not waited for long.
    pub(super) fn disconnect(&mut self, reason: Reason, text: &str) {
        let mut payload = vec![message::DISCONNECT];
        payload.put_u32(reason as u32);
        payload.put_string(text.as_bytes());
        payload.put_string(b"");
        self.socket.limit_shutdown(PATIENCE);
        if self.outgoing.packet(&payload).is_err() {
            return;
        }
        while self.outgoing.has_unsent() {
            match self.outgoing.send_some(&mut self.socket) {
                Ok(true) => {}
                Ok(false) => {
                    if self.wait(PollFlags::OUT).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        self.socket.drain_and_close();
    }

    /// Words for somebody who does not speak SSH.
    pub(super) fn send_plain_text(&mut self, text: &str) {
        self.outgoing.raw(text);
        while matches!(self.outgoing.send_some(&mut self.socket), Ok(true)) {}
        self.socket.limit_shutdown(PATIENCE);
        self.socket.drain_and_close();
    }

    fn cut(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let payload = self.incoming.cut()?;
        if payload.is_some() {
            self.socket.alive();
        }
        Ok(payload)
    }
}

fn not_ssh() -> Fault {
    Fault::Disconnect(
        Reason::ProtocolVersionNotSupported,
        "the peer does not speak SSH".into(),
    )
}
