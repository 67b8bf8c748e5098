//! The connection protocol (RFC 4254) as far as SFTP needs it: session channels
//! with the subsystem "sftp"; everything else is refused. `channel_io` moves
//! the data.

use std::ops::Range;

use super::fault::Fault;
use super::packet_stream::Need;
use super::transport::Transport;
use super::window::Window;
use super::wire::{Put, message};
use crate::session::log_context::tell_once;
use crate::ssh_data::Reader;
use crate::text::Escaped;

/// A client that takes smaller packets than this can't use SFTP.
const LEAST_PACKET: u32 = 256;
/// Channels that we have closed and the client has not, beside those in use.
/// They hold no data.
const MOST_CLOSING: usize = 64;

/// Reasons of SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4250, section 4.3).
const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
const UNKNOWN_CHANNEL_TYPE: u32 = 3;
const RESOURCE_SHORTAGE: u32 = 4;

/// What a channel has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Open; nothing runs in it.
    Fresh,
    /// The subsystem or a command was asked for.
    Granted,
    /// It runs.
    Running,
    /// Our CLOSE is sent, the client's is awaited.
    Closing,
}

/// A session channel.
pub(super) struct SessionChannel {
    pub(super) stage: Stage,
    /// Our number for it.
    pub(super) number: u32,
    /// The client's number for it.
    pub(super) recipient: u32,
    /// What the client still takes, and the most in a packet.
    pub(super) send_window: u64,
    pub(super) send_packet: usize,
    /// What the client may still send.
    pub(super) window: Window,
    /// Data not read yet: first `queue` from `read` on, then the part of the
    /// last packet that [`Connection::fresh`] names.
    pub(super) queue: Vec<u8>,
    pub(super) read: usize,
    /// The command line that was asked for, instead of the subsystem.
    command: Option<Vec<u8>>,
    /// The subsystem found no room for output.
    pub(super) wants_room: bool,
    /// No more data will come.
    pub(super) ended: bool,
    /// The client's CLOSE has come.
    pub(super) closed: bool,
}

/// The connection after login.
pub(super) struct Connection<'l, 'a> {
    pub(super) transport: &'l mut Transport<'a>,
    pub(super) channels: Vec<SessionChannel>,
    /// Data of the last packet that have not been copied out of the packet
    /// reader's buffer: of which channel, and where.
    pub(super) fresh: Option<(u32, Range<usize>)>,
    /// What went wrong while a subsystem ran; it only sees an `io::Error`.
    pub(super) fault: Option<Fault>,
}

impl Connection<'_, '_> {
    /// Waits for one packet, or for room for output that a subsystem waits
    /// for, and acts on it.
    pub(super) fn pump(&mut self) -> Result<(), Fault> {
        self.keep_fresh();
        let need = if self.channels.iter().any(|channel| channel.wants_room) {
            Need::PacketOrRoom
        } else {
            Need::Packet
        };
        if let Some(payload) = self.transport.next(need)? {
            self.act(payload)?;
        }
        Ok(())
    }

    /// Handles a message that is here already; waits for none.
    pub(super) fn look(&mut self) -> Result<(), Fault> {
        self.keep_fresh();
        self.transport.packets.push()?;
        match self.transport.next(Need::Ready)? {
            Some(payload) => self.act(payload),
            None => Ok(()),
        }
    }

    /// A channel whose subsystem or command must be started.
    pub(super) fn start_granted(&mut self) -> Option<(u32, Option<Vec<u8>>)> {
        let mut channels = self.channels.iter_mut();
        let granted = channels.find(|channel| channel.stage == Stage::Granted)?;
        granted.stage = Stage::Running;
        let command = granted.command.take();
        // A command may have the first word.
        granted.wants_room = command.is_some();
        Some((granted.number, command))
    }

    /// Whether the subsystem of a channel can do something now. If it finds no
    /// room then, it says so again.
    pub(super) fn is_ready(&mut self, number: u32) -> bool {
        let has_room = self.transport.has_room();
        let is_fresh = self.fresh.as_ref().is_some_and(|fresh| fresh.0 == number);
        self.channel_mut(number).is_some_and(|channel| {
            if channel.closed {
                true
            } else if channel.wants_room {
                channel.wants_room = !(channel.send_window > 0 && has_room);
                !channel.wants_room
            } else {
                channel.ended || channel.read < channel.queue.len() || is_fresh
            }
        })
    }

    /// Whether the client has closed a channel.
    pub(super) fn is_closed(&self, number: u32) -> bool {
        self.channel(number).is_none_or(|channel| channel.closed)
    }

    pub(super) fn channel(&self, number: u32) -> Option<&SessionChannel> {
        self.channels
            .iter()
            .find(|channel| channel.number == number)
    }

    pub(super) fn channel_mut(&mut self, number: u32) -> Option<&mut SessionChannel> {
        let mut channels = self.channels.iter_mut();
        channels.find(|channel| channel.number == number)
    }

    fn forget(&mut self, number: u32) {
        self.channels.retain(|channel| channel.number != number);
    }

    /// Copies data out of the packet reader's buffer, where they are lost when
    /// more is read.
    pub(super) fn keep_fresh(&mut self) {
        let Some((number, fresh)) = self.fresh.take() else {
            return;
        };
        let transport = &self.transport;
        let mut channels = self.channels.iter_mut();
        if let Some(channel) = channels.find(|channel| channel.number == number) {
            if channel.read == channel.queue.len() {
                channel.queue.clear();
                channel.read = 0;
            }
            let bytes = transport.packets.incoming.payload(fresh);
            channel.queue.put_bytes(bytes);
        }
    }

    // ---- what the client sends ----

    pub(super) fn act(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let transport = &mut *self.transport;
        let mut reader = Reader::new(transport.packets.incoming.payload(payload.clone()));
        let number = reader.byte()?;
        match number {
            message::CHANNEL_OPEN => return self.open(payload),
            // RFC 4252, section 5.1: logins after login are ignored.
            message::USERAUTH_REQUEST => return Ok(()),
            message::SERVICE_REQUEST => {
                return Err(Fault::protocol("a service request after login"));
            }
            _ => {}
        }
        let ours = reader.u32()?;
        let mut channels = self.channels.iter_mut();
        let Some(channel) = channels.find(|channel| channel.number == ours) else {
            return Err(Fault::protocol("a message for a channel that is not open"));
        };
        match number {
            message::CHANNEL_DATA => {
                let data = reader.string()?;
                let end = payload.end - reader.rest().len();
                let start = end - data.len();
                channel.arrived(data.len())?;
                if channel.stage != Stage::Closing && start < end {
                    self.fresh = Some((ours, start..end));
                }
                Ok(())
            }
            message::CHANNEL_EXTENDED_DATA => {
                reader.u32()?;
                let count = reader.string()?.len();
                channel.arrived(count)?;
                self.used(ours, count)
            }
            message::CHANNEL_WINDOW_ADJUST => {
                channel.send_window += u64::from(reader.u32()?);
                if channel.send_window > u64::from(u32::MAX) {
                    return Err(Fault::protocol("a window of more than 2^32-1 bytes"));
                }
                Ok(())
            }
            message::CHANNEL_EOF => {
                channel.ended = true;
                Ok(())
            }
            message::CHANNEL_CLOSE => {
                channel.ended = true;
                channel.closed = true;
                match channel.stage {
                    // The subsystem will notice and return.
                    Stage::Running => Ok(()),
                    Stage::Closing => {
                        self.forget(ours);
                        Ok(())
                    }
                    Stage::Fresh | Stage::Granted => self.close(ours),
                }
            }
            message::CHANNEL_REQUEST => self.request(ours, payload),
            // Answers to requests; we make none that wants one.
            message::CHANNEL_SUCCESS | message::CHANNEL_FAILURE => Ok(()),
            _ => Err(Fault::protocol("a channel message out of order")),
        }
    }

    fn open(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let mut reader = Reader::new(self.transport.packets.incoming.payload(payload));
        reader.byte()?;
        let kind = reader.string()?;
        let recipient = reader.u32()?;
        let window = reader.u32()?;
        let packet = reader.u32()?;
        let settings = self.transport.settings;
        let closing = |channel: &&SessionChannel| channel.stage == Stage::Closing;
        let closing = self.channels.iter().filter(closing).count();
        let others = self.channels.len() - closing;
        let full = others >= settings.max_channels as usize || closing >= MOST_CLOSING;
        let refusal = match kind {
            b"session" if full => Some((
                RESOURCE_SHORTAGE,
                "too many channels; open another connection",
            )),
            b"session" if packet < LEAST_PACKET => {
                Some((RESOURCE_SHORTAGE, "the maximum packet size is too small"))
            }
            b"session" => None,
            b"direct-tcpip"
            | b"forwarded-tcpip"
            | b"direct-streamlocal@openssh.com"
            | b"forwarded-streamlocal@openssh.com"
            | b"tun@openssh.com"
            | b"x11"
            | b"auth-agent@openssh.com" => {
                Some((ADMINISTRATIVELY_PROHIBITED, "this server only speaks SFTP"))
            }
            _ => Some((UNKNOWN_CHANNEL_TYPE, "no such type of channel")),
        };
        let mut answer = Vec::new();
        if let Some((reason, text)) = refusal {
            tell_once(log::Level::Info, "SSH channel refused", &Escaped(kind));
            answer.put_byte(message::CHANNEL_OPEN_FAILURE);
            answer.put_u32(recipient);
            answer.put_u32(reason);
            answer.put_string(text.as_bytes());
            answer.put_string(b"");
        } else {
            // The lowest free number.
            let number = (0..)
                .find(|number| self.channel(*number).is_none())
                .unwrap_or_default();
            let receive = Window::new(settings, others);
            answer.put_byte(message::CHANNEL_OPEN_CONFIRMATION);
            answer.put_u32(recipient);
            answer.put_u32(number);
            answer.put_u32(receive.left());
            answer.put_u32(settings.max_packet);
            self.channels.push(SessionChannel {
                stage: Stage::Fresh,
                number,
                recipient,
                send_window: window.into(),
                send_packet: (packet as usize).min(settings.max_packet as usize),
                window: receive,
                queue: Vec::new(),
                read: 0,
                command: None,
                wants_room: false,
                ended: false,
                closed: false,
            });
            self.note_promises();
        }
        self.transport.send(&answer)
    }

    fn request(&mut self, ours: u32, payload: Range<usize>) -> Result<(), Fault> {
        let transport = &mut *self.transport;
        let mut channels = self.channels.iter_mut();
        let Some(channel) = channels.find(|channel| channel.number == ours) else {
            return Ok(());
        };
        let mut reader = Reader::new(transport.packets.incoming.payload(payload));
        reader.take(5)?;
        let kind = reader.string()?;
        let wants_reply = reader.boolean()?;
        let fresh = channel.stage == Stage::Fresh;
        let mut refusal = None;
        let granted = match kind {
            b"subsystem" if fresh && reader.string()? == b"sftp" => {
                channel.stage = Stage::Granted;
                true
            }
            b"exec" if fresh => {
                let command = reader.string()?;
                log::debug!("SSH command {}", Escaped(command));
                channel.command = Some(command.to_vec());
                channel.stage = Stage::Granted;
                true
            }
            b"shell" if fresh => {
                refusal = Some("this server speaks SFTP only; there is no shell\n");
                true
            }
            // pty-req, env, x11-req, auth-agent-req@openssh.com, signal, ...
            _ => {
                log::debug!("SSH channel request {} refused", Escaped(kind));
                false
            }
        };
        // Nothing may follow our CLOSE.
        if wants_reply && channel.stage != Stage::Closing {
            let mut answer = vec![if granted {
                message::CHANNEL_SUCCESS
            } else {
                message::CHANNEL_FAILURE
            }];
            answer.put_u32(channel.recipient);
            transport.send(&answer)?;
        }
        match refusal {
            Some(text) => self.refuse(ours, text),
            None => Ok(()),
        }
    }

    /// Tells a person on standard error why nothing runs, with exit status 1.
    pub(super) fn refuse(&mut self, number: u32, text: &str) -> Result<(), Fault> {
        let transport = &mut *self.transport;
        let mut channels = self.channels.iter_mut();
        if let Some(channel) = channels.find(|channel| channel.number == number)
            && channel.send_window >= text.len() as u64
        {
            channel.send_window -= text.len() as u64;
            let mut words = vec![message::CHANNEL_EXTENDED_DATA];
            words.put_u32(channel.recipient);
            words.put_u32(1); // SSH_EXTENDED_DATA_STDERR
            words.put_string(text.as_bytes());
            transport.send(&words)?;
        }
        self.end(number, 1)
    }

    /// Tells the transport what may come in the middle of a key exchange.
    pub(super) fn note_promises(&mut self) {
        let windows = self.channels.iter().map(|channel| channel.window.left());
        self.transport.promised = windows.map(|left| left as usize).sum();
    }

    // ---- the end of a channel ----

    /// Exit status, EOF and CLOSE, behind all data: scp, pscp and psftp exit
    /// with 1 when one of them is missing.
    pub(super) fn end(&mut self, number: u32, status: u32) -> Result<(), Fault> {
        if let Some(channel) = self.channel(number)
            && !channel.closed
        {
            let recipient = channel.recipient;
            let mut request = vec![message::CHANNEL_REQUEST];
            request.put_u32(recipient);
            request.put_string(b"exit-status");
            request.put_boolean(false);
            request.put_u32(status);
            self.transport.send(&request)?;
            let mut eof = vec![message::CHANNEL_EOF];
            eof.put_u32(recipient);
            self.transport.send(&eof)?;
        }
        self.close(number)
    }

    /// Sends CLOSE. From here on the channel takes nobody's place.
    fn close(&mut self, number: u32) -> Result<(), Fault> {
        let Some(channel) = self.channel_mut(number) else {
            return Ok(());
        };
        let mut close = vec![message::CHANNEL_CLOSE];
        close.put_u32(channel.recipient);
        if channel.closed {
            self.forget(number);
        } else {
            channel.stage = Stage::Closing;
            channel.queue = Vec::new();
            channel.read = 0;
            channel.wants_room = false;
        }
        if self.fresh.as_ref().is_some_and(|fresh| fresh.0 == number) {
            self.fresh = None;
        }
        self.transport.send(&close)
    }
}
