//! The secured connection: the packet layer with its key exchanges, so that
//! what lies above sees only service requests, logins and channels.
//!
//! Whoever waits for a packet here may thereby do a whole key exchange: a
//! client may begin one at any time, also while data flow, and so do we.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::Settings;
use super::algorithms::{self, Chosen, SignatureKind};
use super::cipher::{Direction, Protector, Sequence};
use super::fault::{Fault, Reason};
use super::host_key::HostKeys;
use super::kex::{self, ClientInit, SharedSecret};
use super::packet_stream::{Need, PacketStream};
use super::rotation;
use super::wire::{Put, message};
use crate::session::log_context::tell_once;
use crate::ssh_data::Reader;
use crate::text::Escaped;

/// Our identification (RFC 4253, section 4.2).
const VERSION: &str = concat!("SSH-2.0-wharf_", env!("CARGO_PKG_VERSION"));

/// Packets under one key, far below the 2^32 after which sequence numbers
/// repeat (RFC 4344, section 3.1).
const REKEY_PACKETS: u64 = 1 << 30;

/// Messages, and bytes beside a window of data, that a client may send in the
/// middle of a key exchange.
const EARLY_LIMIT: usize = 4 << 10;

pub(super) struct Transport<'a> {
    pub(super) packets: PacketStream<'a>,
    pub(super) settings: &'a Settings,
    keys: &'a HostKeys,
    client_version: Vec<u8>,
    /// The first exchange hash.
    session_id: Option<Vec<u8>>,
    strict: bool,
    /// Our KEXINIT that the client has not answered yet.
    our_init: Option<Vec<u8>>,
    keyed_at: Instant,
    /// Messages that came in the middle of a key exchange.
    early: VecDeque<Vec<u8>>,
    /// How the last key exchange was signed.
    signed_with: Option<(&'static str, SignatureKind)>,
    /// The host keys have been proved, which is done once.
    proved: bool,
    answers_are_activity: bool,
    /// What all windows let the client send.
    pub(super) promised: usize,
    /// After login: rekeying, global requests and channels are allowed.
    pub(super) logged_in: bool,
}

impl<'a> Transport<'a> {
    pub(super) fn new(
        packets: PacketStream<'a>,
        keys: &'a HostKeys,
        settings: &'a Settings,
    ) -> Self {
        Transport {
            packets,
            settings,
            keys,
            client_version: Vec::new(),
            session_id: None,
            strict: false,
            our_init: None,
            keyed_at: Instant::now(),
            early: VecDeque::new(),
            signed_with: None,
            proved: false,
            answers_are_activity: false,
            promised: 0,
            logged_in: false,
        }
    }

    /// As if a first key exchange had been done that chose no protection.
    #[cfg(any(test, fuzzing))]
    pub(super) fn skip_key_exchange(&mut self) {
        self.session_id = Some(vec![0; 32]);
        self.strict = true;
    }

    /// The client's identification.
    pub(super) fn client_version(&self) -> &[u8] {
        &self.client_version
    }

    /// Whether the client has said that it speaks SSH.
    pub(super) fn versions_exchanged(&self) -> bool {
        !self.client_version.is_empty()
    }

    /// From here a user is logged in: larger packets, other timers.
    pub(super) fn logged_in(&mut self) {
        let settings = self.settings;
        // A data packet has its number, recipient and length beside the data.
        self.packets
            .incoming
            .allow_payload(settings.max_packet as usize + 64);
        self.packets.socket.deadline = None;
        self.packets.socket.idle = settings.idle_timeout;
        self.packets.socket.keepalive = settings.keepalive;
        self.packets.socket.active();
        self.logged_in = true;
    }

    /// The session identifier that users sign.
    pub(super) fn session_id(&self) -> &[u8] {
        self.session_id.as_ref().map_or(&[], |id| id)
    }

    /// Identifications and the first key exchange.
    pub(super) fn open(&mut self) -> Result<(), Fault> {
        self.client_version = self.packets.exchange_versions(VERSION)?;
        log::debug!("SSH client {}", Escaped(&self.client_version));
        self.send_init()?;
        let mut alone = true;
        loop {
            let payload = self.packet()?;
            match self.packets.incoming.payload(payload.clone()).first() {
                Some(&message::KEXINIT) => {
                    let init = self.packets.incoming.payload(payload).to_vec();
                    return self.exchange(&init, alone);
                }
                Some(&(message::IGNORE | message::DEBUG)) => alone = false,
                _ => self.disconnect_or(payload, "a key exchange must come first")?,
            }
        }
    }

    /// The next packet for those above: a service request, a login, or a
    /// message of the connection protocol. `None` as [`PacketStream::turn`] says,
    /// and after a key exchange.
    pub(super) fn next(&mut self, need: Need) -> Result<Option<Range<usize>>, Fault> {
        loop {
            self.rekey_if_due()?;
            let payload = match self.early.pop_front() {
                Some(early) => self.packets.incoming.put_back(early),
                None => match self.packets.turn(need)? {
                    Some(payload) => payload,
                    None => return Ok(None),
                },
            };
            let bytes = self.packets.incoming.payload(payload.clone());
            match bytes.first().copied().unwrap_or_default() {
                message::IGNORE | message::DEBUG | message::UNIMPLEMENTED | message::EXT_INFO => {}
                // Answers to our keepalive requests.
                message::REQUEST_SUCCESS | message::REQUEST_FAILURE if self.logged_in => {
                    if self.answers_are_activity {
                        self.packets.socket.active();
                    }
                }
                // SECURITY: a key exchange is work; as sshd, we do only one for
                // somebody who has not logged in.
                message::KEXINIT if !self.logged_in => {
                    return Err(Fault::protocol("a second key exchange before the login"));
                }
                message::KEXINIT => {
                    let init = bytes.to_vec();
                    self.exchange(&init, true)?;
                    // Whoever waited for the end of this may go on now; the
                    // client may have nothing more to say.
                    return Ok(None);
                }
                message::GLOBAL_REQUEST if self.logged_in => self.global_request(payload)?,
                message::SERVICE_REQUEST | message::USERAUTH_REQUEST => return Ok(Some(payload)),
                message::USERAUTH_INFO_RESPONSE if !self.logged_in => return Ok(Some(payload)),
                message::CHANNEL_OPEN..=message::CHANNEL_FAILURE if self.logged_in => {
                    return Ok(Some(payload));
                }
                8..=19 | 54..=79 | 83..=89 | 101.. if self.logged_in => self.unimplemented()?,
                _ => self.disconnect_or(payload, "a message came out of order")?,
            }
        }
    }

    /// Whether channel data may be written: no key exchange is open, and not
    /// too much waits to be sent.
    pub(super) fn has_room(&self) -> bool {
        let outgoing = &self.packets.outgoing;
        !outgoing.holding() && !outgoing.batch_is_full()
    }

    /// What counts as activity: while a subsystem runs, answered keepalive
    /// requests do; while it is `busy`, with files open, the session is never
    /// idle.
    pub(super) fn set_activity(&mut self, running: bool, busy: bool) {
        self.answers_are_activity = running;
        let socket = &mut self.packets.socket;
        if busy {
            socket.active();
        }
        socket.idle = if busy {
            Duration::ZERO
        } else {
            self.settings.idle_timeout
        };
    }

    /// Sends a message of the layers above.
    pub(super) fn send(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.packets.outgoing.message(payload)
    }

    /// A message number nobody has defined (RFC 4253, section 11.4).
    fn unimplemented(&mut self) -> Result<(), Fault> {
        let mut answer = vec![message::UNIMPLEMENTED];
        answer.put_u32(self.packets.incoming.last_sequence());
        self.send(&answer)
    }

    /// Keepalive, port forwarding and whatever else: there is none that we
    /// grant (RFC 4254, section 4).
    fn global_request(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let mut reader = Reader::new(self.packets.incoming.payload(payload));
        reader.byte()?;
        let name = reader.string()?;
        let name = name.to_vec();
        let wants_reply = reader.boolean()?;
        // SECURITY: signatures are work, so once is enough.
        if name == rotation::PROVE && !std::mem::replace(&mut self.proved, true) {
            let id = self.session_id.as_deref().unwrap_or_default();
            if let Some(proof) = rotation::proof(self.keys, id, self.signed_with, reader)? {
                return self.send(&proof);
            }
        }
        // Every OpenSSH sends some with an @ in it; others are for forwarding.
        let level = if name.contains(&b'@') {
            log::Level::Debug
        } else {
            log::Level::Info
        };
        tell_once(level, "SSH request refused", &Escaped(&name));
        if wants_reply {
            self.send(&[message::REQUEST_FAILURE])?;
        }
        Ok(())
    }

    /// Tells the client of all host keys.
    pub(super) fn announce_host_keys(&mut self) -> Result<(), Fault> {
        match rotation::announcement(self.keys) {
            Some(request) => self.send(&request),
            None => Ok(()),
        }
    }

    /// SSH_MSG_DISCONNECT ends the connection; anything else is a fault.
    fn disconnect_or(&self, payload: Range<usize>, fault: &'static str) -> Result<(), Fault> {
        let mut reader = Reader::new(self.packets.incoming.payload(payload));
        if reader.byte()? != message::DISCONNECT {
            return Err(Fault::protocol(fault));
        }
        let reason = reader.u32()?;
        let text = reader.string().unwrap_or_default();
        let text = Escaped(&text[..text.len().min(200)]);
        Err(Fault::Left(
            format!("the client disconnected, reason {reason}: {text}").into(),
        ))
    }

    fn packet(&mut self) -> Result<Range<usize>, Fault> {
        loop {
            if let Some(payload) = self.packets.turn(Need::Packet)? {
                return Ok(payload);
            }
        }
    }

    // ---- key exchange ----

    fn send_init(&mut self) -> Result<(), Fault> {
        let init = kex::our_init(&self.settings.algorithms, self.keys)?;
        self.packets.outgoing.packet(&init)?;
        self.packets.outgoing.hold();
        self.our_init = Some(init);
        Ok(())
    }

    /// Begins a key exchange when keys have been used long enough. A session
    /// in which nothing moves is left alone.
    pub(super) fn rekey_if_due(&mut self) -> Result<(), Fault> {
        if !self.logged_in || self.our_init.is_some() {
            return Ok(());
        }
        let (made, received) = (self.packets.outgoing.used, self.packets.incoming.used);
        let limit = self.settings.rekey_bytes;
        let by_bytes = limit != 0 && made.bytes.max(received.bytes) >= limit;
        let by_packets = made.packets.max(received.packets) >= REKEY_PACKETS;
        let time = self.settings.rekey_time;
        let by_time = !time.is_zero()
            && made.packets + received.packets > 16
            && self.keyed_at.elapsed() >= time;
        if by_bytes || by_packets || by_time {
            log::debug!("SSH rekey begins");
            self.begin_rekey_deadline();
            self.send_init()?;
        }
        Ok(())
    }

    /// A peer that begins a key exchange must end it.
    fn begin_rekey_deadline(&mut self) {
        if self.logged_in {
            let end = Instant::now() + self.settings.login_deadline;
            self.packets.socket.deadline = Some((end, "exchanging keys"));
        }
    }

    /// One key exchange, from the client's KEXINIT to its NEWKEYS.
    fn exchange(&mut self, client_init: &[u8], alone: bool) -> Result<(), Fault> {
        if self.session_id.is_some() {
            self.begin_rekey_deadline();
        }
        if self.our_init.is_none() {
            self.send_init()?;
        }
        let server_init = self.our_init.take().unwrap_or_default();
        let init = self.negotiate(client_init, alone)?;
        let (shared, hash) = self.agree(&init.chosen, client_init, &server_init)?;
        self.take_keys(&init, &shared, &hash)?;

        self.keyed_at = Instant::now();
        if self.logged_in {
            self.packets.socket.deadline = None;
        }
        self.packets.outgoing.release()
    }

    /// Chooses algorithms by the client's KEXINIT, and drops what it has guessed.
    fn negotiate(&mut self, client_init: &[u8], alone: bool) -> Result<ClientInit, Fault> {
        let init = kex::read_init(client_init, &self.settings.algorithms, self.keys)?;
        let chosen = &init.chosen;
        self.signed_with = Some(chosen.host_key);
        if self.session_id.is_none() {
            self.strict = init.strict;
            if self.strict && !alone {
                return Err(Fault::protocol(
                    "strict key exchange: KEXINIT was not first",
                ));
            }
        }
        log::debug!(
            "SSH key exchange {} {}, in {} {}, out {} {}",
            chosen.kex.0,
            chosen.host_key.0,
            chosen.receive.cipher.0,
            chosen.receive.mac.map_or("", |mac| mac.0),
            chosen.send.cipher.0,
            chosen.send.mac.map_or("", |mac| mac.0),
        );
        if init.drop_next {
            let guess = self.packet()?;
            let number = self
                .packets
                .incoming
                .payload(guess.clone())
                .first()
                .copied();
            if !matches!(number, Some(30..=49)) {
                self.disconnect_or(guess, "a guessed key exchange message is missing")?;
            }
        }
        Ok(init)
    }

    /// Agrees on a secret, and answers with the signature of a host key on the
    /// exchange hash.
    fn agree(
        &mut self,
        chosen: &Chosen,
        client_init: &[u8],
        server_init: &[u8],
    ) -> Result<(SharedSecret, Vec<u8>), Fault> {
        let first = self.session_id.is_none();
        let payload = self.kex_message(message::KEX_ECDH_INIT, first)?;
        let mut reader = Reader::new(self.packets.incoming.payload(payload));
        reader.byte()?;
        let client_public = reader.string()?.to_vec();
        let shared = kex::agree(chosen.kex.1, &client_public)?;
        let key = self
            .keys
            .find(chosen.host_key.1.key_type())
            .ok_or_else(|| {
                Fault::Disconnect(Reason::KeyExchangeFailed, "no such host key".into())
            })?;
        let shown = key.certificate().filter(|_| chosen.certified);
        let shown = shown.unwrap_or(key.blob());
        let hash = shared.exchange_hash(&kex::Transcript {
            client_version: &self.client_version,
            server_version: VERSION.as_bytes(),
            client_init,
            server_init,
            host_key: shown,
            client_public: &client_public,
        });
        let mut reply = vec![message::KEX_ECDH_REPLY];
        reply.put_string(shown);
        reply.put_string(&shared.ours);
        reply.put_string(&key.sign(chosen.host_key, &hash)?);
        self.packets.outgoing.packet(&reply)?;
        Ok((shared, hash))
    }

    /// Makes keys of the secret: each direction's are in force after its
    /// NEWKEYS.
    fn take_keys(
        &mut self,
        init: &ClientInit,
        shared: &SharedSecret,
        hash: &[u8],
    ) -> Result<(), Fault> {
        self.packets.outgoing.packet(&[message::NEWKEYS])?;
        let chosen = &init.chosen;
        let first = self.session_id.is_none();
        let session = self.session_id.get_or_insert_with(|| hash.to_vec()).clone();
        let sequence = if self.strict {
            Sequence::FromZero
        } else {
            Sequence::GoesOn
        };
        let keys = shared.keys(hash, &session, chosen.send, kex::SERVER_TO_CLIENT);
        let protector = Protector::new(chosen.send, &keys, Direction::Seal)?;
        self.packets.outgoing.new_keys(protector, sequence)?;
        if first && init.wants_ext_info {
            let info = algorithms::ext_info(&self.settings.algorithms);
            self.packets.outgoing.packet(&info)?;
        }
        self.kex_message(message::NEWKEYS, first)?;
        let keys = shared.keys(hash, &session, chosen.receive, kex::CLIENT_TO_SERVER);
        let protector = Protector::new(chosen.receive, &keys, Direction::Open)?;
        self.packets.incoming.new_keys(protector, sequence);
        Ok(())
    }

    /// Keeps a message that should have waited for the end of a key exchange
    /// (RFC 4253, section 7.1): asyncssh of Debian 12 sends on. It can't send
    /// more data than its window.
    fn keep_early(&mut self, payload: Range<usize>) -> Result<(), Fault> {
        let kept: usize = self.early.iter().map(Vec::len).sum();
        let limit = self.promised + EARLY_LIMIT;
        if kept + payload.len() > limit || self.early.len() >= EARLY_LIMIT {
            return Err(Fault::protocol("too much said during a key exchange"));
        }
        let bytes = self.packets.incoming.payload(payload).to_vec();
        self.early.push_back(bytes);
        Ok(())
    }

    /// The next message of a key exchange. Between nothing else may come, and
    /// with strict key exchange not even IGNORE in the first one; what belongs
    /// to the connection is kept for later.
    fn kex_message(&mut self, wanted: u8, first: bool) -> Result<Range<usize>, Fault> {
        loop {
            let payload = self.packet()?;
            match self.packets.incoming.payload(payload.clone()).first() {
                Some(number) if *number == wanted => return Ok(payload),
                Some(&(message::IGNORE | message::DEBUG | message::UNIMPLEMENTED))
                    if !(first && self.strict) => {}
                Some(message::GLOBAL_REQUEST..=message::CHANNEL_FAILURE) if self.logged_in => {
                    self.keep_early(payload)?;
                }
                _ => {
                    self.disconnect_or(payload, "a message came out of order in a key exchange")?
                }
            }
        }
    }
}
