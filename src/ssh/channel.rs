//! The connection protocol (RFC 4254) as far as SFTP needs it: one session
//! channel at a time with the subsystem "sftp"; everything else is refused.
//! `channel_io` moves the data.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Handler;
use super::channel_io::SubsystemStream;
use super::fault::Fault;
use super::packet_stream::Need;
use super::transport::Transport;
use super::wire::{Put, Reader, message};
use crate::text::Escaped;

/// The number by which clients call our only channel.
const OUR_NUMBER: u32 = 0;
/// A client that takes smaller packets than this can't use SFTP.
const LEAST_PACKET: u32 = 256;
/// How long a client may take to close a channel that is done.
const CLOSING: Duration = Duration::from_secs(30);

/// Reasons of SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4250, section 4.3).
const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
const UNKNOWN_CHANNEL_TYPE: u32 = 3;
const RESOURCE_SHORTAGE: u32 = 4;

/// What a channel has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Open; nothing runs in it.
    Fresh,
    /// The subsystem was asked for and granted.
    Granted,
    /// The subsystem runs.
    Running,
    /// Our CLOSE is sent, the client's is awaited.
    Closing,
}

/// The session channel.
pub(super) struct SessionChannel {
    pub(super) stage: Stage,
    /// The client's number for it.
    pub(super) recipient: u32,
    /// What the client still takes, and the most in a packet.
    pub(super) send_window: u64,
    pub(super) send_packet: usize,
    /// What the client may still send, and what it has sent that was used but
    /// not yet granted again. Granting only what was used is the back pressure
    /// against a flood of requests.
    pub(super) receive_window: u32,
    pub(super) owed: u32,
    /// Data not read yet: first `queue` from `read` on, then the part of the
    /// transport's last packet that `fresh` names.
    pub(super) queue: Vec<u8>,
    pub(super) read: usize,
    pub(super) fresh: Range<usize>,
    /// No more data will come.
    pub(super) ended: bool,
    /// The client's CLOSE has come.
    pub(super) closed: bool,
}

/// The connection after login.
pub(super) struct Connection<'l, 'a> {
    pub(super) transport: &'l mut Transport<'a>,
    pub(super) session: Option<SessionChannel>,
    /// What went wrong while the subsystem ran; it only sees an `io::Error`.
    pub(super) fault: Option<Fault>,
}

impl<'l, 'a> Connection<'l, 'a> {
    pub(super) fn new(transport: &'l mut Transport<'a>) -> Self {
        Connection {
            transport,
            session: None,
            fault: None,
        }
    }

    /// Serves channels until the client leaves.
    pub(super) fn run(&mut self, handler: &mut dyn Handler) -> Result<(), Fault> {
        loop {
            self.pump()?;
            if let Some(session) = &mut self.session
                && session.stage == Stage::Granted
            {
                session.stage = Stage::Running;
                let status = handler.sftp(&mut SubsystemStream { connection: self });
                if let Some(fault) = self.fault.take() {
                    return Err(fault);
                }
                self.end(status)?;
            }
        }
    }

    /// Waits for one packet and acts on it.
    pub(super) fn pump(&mut self) -> Result<(), Fault> {
        self.keep_fresh();
        if let Some(payload) = self.transport.next(Need::Packet)? {
            self.act(payload)?;
        }
        Ok(())
    }

    /// Data that lie in the transport's buffer are lost at its next turn.
    pub(super) fn keep_fresh(&mut self) {
        if let Some(session) = &mut self.session
            && !session.fresh.is_empty()
        {
            let fresh = std::mem::take(&mut session.fresh);
            if session.read == session.queue.len() {
                session.queue.clear();
                session.read = 0;
            }
            session
                .queue
                .put_bytes(self.transport.packets.incoming.payload(fresh));
        }
    }

    // ---- what the client sends ----

    pub(super) fn act(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let bytes = self.transport.packets.incoming.payload(payload.clone());
        let mut reader = Reader::new(bytes);
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
        let recipient = reader.u32()?;
        let Some(session) = &mut self.session else {
            return Err(Fault::protocol("a message for a channel that is not open"));
        };
        if recipient != OUR_NUMBER {
            return Err(Fault::protocol("a message for a channel that is not open"));
        }
        match number {
            message::CHANNEL_DATA => {
                let data = reader.string()?;
                let end = payload.end - reader.rest().len();
                let start = end - data.len();
                session.arrived(data.len())?;
                if session.stage == Stage::Closing {
                    return Ok(());
                }
                session.fresh = start..end;
                Ok(())
            }
            message::CHANNEL_EXTENDED_DATA => {
                reader.u32()?;
                let count = reader.string()?.len();
                session.arrived(count)?;
                self.used(count)
            }
            message::CHANNEL_WINDOW_ADJUST => {
                session.send_window += u64::from(reader.u32()?);
                if session.send_window > u64::from(u32::MAX) {
                    return Err(Fault::protocol("a window of more than 2^32-1 bytes"));
                }
                Ok(())
            }
            message::CHANNEL_EOF => {
                session.ended = true;
                Ok(())
            }
            message::CHANNEL_CLOSE => {
                session.ended = true;
                session.closed = true;
                match session.stage {
                    // The subsystem will notice and return.
                    Stage::Running => Ok(()),
                    Stage::Closing => {
                        self.session = None;
                        self.transport.packets.socket.deadline = None;
                        Ok(())
                    }
                    Stage::Fresh | Stage::Granted => {
                        self.close()?;
                        self.session = None;
                        Ok(())
                    }
                }
            }
            message::CHANNEL_REQUEST => self.request(payload),
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
        let refusal = match kind {
            b"session" if self.session.is_some() => Some((
                RESOURCE_SHORTAGE,
                "one session at a time; open another connection",
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
            log::debug!("SSH channel {} refused", Escaped(kind));
            answer.put_byte(message::CHANNEL_OPEN_FAILURE);
            answer.put_u32(recipient);
            answer.put_u32(reason);
            answer.put_string(text.as_bytes());
            answer.put_string(b"");
        } else {
            let receive_window = settings.window;
            self.session = Some(SessionChannel {
                stage: Stage::Fresh,
                recipient,
                send_window: window.into(),
                send_packet: (packet as usize).min(settings.max_packet as usize),
                receive_window,
                owed: 0,
                queue: Vec::new(),
                read: 0,
                fresh: 0..0,
                ended: false,
                closed: false,
            });
            answer.put_byte(message::CHANNEL_OPEN_CONFIRMATION);
            answer.put_u32(recipient);
            answer.put_u32(OUR_NUMBER);
            answer.put_u32(receive_window);
            answer.put_u32(settings.max_packet);
        }
        self.transport.send(&answer)
    }

    fn request(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut reader = Reader::new(self.transport.packets.incoming.payload(payload));
        reader.take(5)?;
        let kind = reader.string()?;
        let wants_reply = reader.boolean()?;
        let fresh = session.stage == Stage::Fresh;
        let mut refusal = None;
        let granted = match kind {
            b"subsystem" if fresh && reader.string()? == b"sftp" => {
                session.stage = Stage::Granted;
                true
            }
            b"exec" if fresh => {
                let command = reader.string()?;
                log::debug!("SSH command {} refused", Escaped(command));
                refusal = Some(if is_scp(command) {
                    "this server speaks SFTP only; use scp without -O\n"
                } else {
                    "this server speaks SFTP only; commands are not run\n"
                });
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
        let recipient = session.recipient;
        // Nothing may follow our CLOSE.
        if wants_reply && session.stage != Stage::Closing {
            let mut answer = vec![if granted {
                message::CHANNEL_SUCCESS
            } else {
                message::CHANNEL_FAILURE
            }];
            answer.put_u32(recipient);
            self.transport.send(&answer)?;
        }
        match refusal {
            Some(text) => self.refuse(text),
            None => Ok(()),
        }
    }

    /// Tells a person on standard error why nothing runs, with exit status 1.
    fn refuse(&mut self, text: &str) -> Result<(), Fault> {
        if let Some(session) = &mut self.session
            && session.send_window >= text.len() as u64
        {
            session.send_window -= text.len() as u64;
            let mut words = vec![message::CHANNEL_EXTENDED_DATA];
            words.put_u32(session.recipient);
            words.put_u32(1); // SSH_EXTENDED_DATA_STDERR
            words.put_string(text.as_bytes());
            self.transport.send(&words)?;
        }
        self.end(1)
    }

    // ---- the end of a channel ----

    /// Exit status, EOF and CLOSE, behind all data: scp, pscp and psftp exit
    /// with 1 when one of them is missing.
    fn end(&mut self, status: u32) -> Result<(), Fault> {
        if let Some(session) = &self.session {
            let recipient = session.recipient;
            if !session.closed {
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
        }
        self.close()
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut close = vec![message::CHANNEL_CLOSE];
        close.put_u32(session.recipient);
        if session.closed {
            self.session = None;
        } else {
            session.stage = Stage::Closing;
            session.queue = Vec::new();
            session.read = 0;
            session.fresh = 0..0;
            let end = Instant::now() + CLOSING;
            self.transport.packets.socket.deadline = Some((end, "waiting for the channel's CLOSE"));
        }
        self.transport.send(&close)
    }
}

/// `scp -t` and `scp -f` are how the old protocol of scp starts its other end.
fn is_scp(command: &[u8]) -> bool {
    let mut words = command.split(|byte| *byte == b' ');
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next();
    name == Some(b"scp")
}
