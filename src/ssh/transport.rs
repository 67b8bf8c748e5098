//! The binary packet protocol (RFC 4253, sections 4 and 6) on a non-blocking
//! socket: buffers in and out, packets cut and made in place, deadlines.
//!
//! One thread does both directions. While it waits to write it goes on
//! reading, so that a peer which sends without reading can't lock both up;
//! [`OUTPUT_LIMIT`] says where that generosity ends.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cipher::Protector;
use super::fault::{Fault, Reason};
use super::wire::{Put, message};

/// What SSH runs on: a TCP or Unix stream. It is made non-blocking.
pub trait Socket: Read + Write + AsFd {}
impl<T: Read + Write + AsFd> Socket for T {}

/// Largest payload before login: what RFC 4253, section 6.1 demands.
const STRANGER_PAYLOAD: usize = 32_768;
/// Where the buffer for input begins, and what an idle session keeps.
const INPUT_SMALL: usize = 4 << 10;
/// As large as the buffer for input grows when data flow.
const INPUT_LARGE: usize = 256 << 10;
/// Output is sent when so much has been gathered.
pub(super) const BATCH: usize = 128 << 10;
/// With so much output unsent nothing more is read: a peer that asks and asks
/// but reads no answer meets back pressure.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Messages held back during a key exchange; a peer that causes more of them
/// is flooding.
const HELD_LIMIT: usize = 64 << 10;
/// A session that has been silent for so long gives its buffers back.
const REST: Duration = Duration::from_secs(2);
/// How long the last words may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Keepalive questions without any sign of life, after which the peer is gone.
const UNANSWERED: u32 = 3;

/// What [`Transport::turn`] is to achieve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The next packet; output is sent before waiting for it.
    Packet,
    /// All output sent; packets that arrive meanwhile are handed out too.
    Drained,
    /// What can be had without waiting.
    Ready,
    /// A packet that has been read from the socket already.
    Buffered,
}

/// One direction's packets since its keys were taken into use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

pub(super) struct Transport<'a> {
    socket: &'a mut dyn Socket,

    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Length with tag of the packet at `start`, once its head was opened.
    total: Option<usize>,
    receive: Protector,
    receive_sequence: u32,
    pub(super) received: Used,
    largest_payload: usize,

    output: Vec<u8>,
    sent: usize,
    /// Where in `output` a CHANNEL_DATA packet is being gathered.
    open: Option<usize>,
    send: Protector,
    send_sequence: u32,
    pub(super) made: Used,
    /// Messages that wait for the end of a key exchange.
    held: Option<Vec<Vec<u8>>>,

    /// When the present phase must have ended, and what it is.
    pub(super) deadline: Option<(Instant, &'static str)>,
    /// Longest time without [`Transport::active`]; zero is for ever.
    pub(super) idle: Duration,
    last_active: Instant,
    /// Silence after which the peer is asked for a sign of life; zero is never.
    pub(super) keepalive: Duration,
    last_heard: Instant,
    looked: Instant,
    unanswered: u32,
}

/// Where the packet gathered in `output` has its payload: behind the packet's
/// length and padding length.
const FRONT: usize = 5;
/// CHANNEL_DATA before its bytes: message number, recipient, length.
const DATA_FRONT: usize = 9;

impl<'a> Transport<'a> {
    pub(super) fn new(socket: &'a mut dyn Socket) -> Result<Self, Fault> {
        rustix::io::ioctl_fionbio(socket.as_fd(), true).map_err(io::Error::from)?;
        let now = Instant::now();
        Ok(Transport {
            socket,
            input: Vec::new(),
            start: 0,
            end: 0,
            total: None,
            receive: Protector::Clear,
            receive_sequence: 0,
            received: Used::default(),
            largest_payload: STRANGER_PAYLOAD,
            output: Vec::new(),
            sent: 0,
            open: None,
            send: Protector::Clear,
            send_sequence: 0,
            made: Used::default(),
            held: None,
            deadline: None,
            idle: Duration::ZERO,
            last_active: now,
            keepalive: Duration::ZERO,
            last_heard: now,
            looked: now,
            unanswered: 0,
        })
    }

    /// Something of use happened: the idle time begins anew.
    pub(super) fn active(&mut self) {
        self.last_active = Instant::now();
    }

    /// After login packets may be as large as the channel allows.
    pub(super) fn allow_payload(&mut self, bytes: usize) {
        self.largest_payload = bytes.max(STRANGER_PAYLOAD);
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Whether so much output is gathered that it should be sent.
    pub(super) fn batch_is_full(&self) -> bool {
        self.output.len() - self.sent >= BATCH
    }

    /// The sequence number of the packet handed out last.
    pub(super) fn last_received_sequence(&self) -> u32 {
        self.receive_sequence.wrapping_sub(1)
    }

    /// The bytes of a payload handed out by [`Transport::turn`]; good until
    /// the next turn.
    pub(super) fn payload(&self, payload: Range<usize>) -> &[u8] {
        self.input.get(payload).unwrap_or_default()
    }

    /// Overwrites a payload that held a password.
    pub(super) fn wipe(&mut self, payload: Range<usize>) {
        if let Some(bytes) = self.input.get_mut(payload) {
            bytes.fill(0);
        }
    }

    // ---- version exchange ----

    /// Sends our identification and reads the peer's (RFC 4253, section 4.2),
    /// returned without the line's end.
    pub(super) fn exchange_versions(&mut self, ours: &str) -> Result<Vec<u8>, Fault> {
        /// RFC 4253: 255 with CR LF.
        const LONGEST: usize = 255;
        self.output.put_bytes(ours.as_bytes());
        self.output.put_bytes(b"\r\n");
        loop {
            let line = &self.input[self.start..self.end];
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
                self.start += length + 1;
                return Ok(line);
            }
            // What can't become an identification any more is not waited for.
            if line.len() > LONGEST || !b"SSH-".starts_with(&line[..line.len().min(4)]) {
                return Err(not_ssh());
            }
            self.send_some()?;
            if !self.read_some()? {
                self.wait(PollFlags::IN)?;
            }
        }
    }

    // ---- packets out ----

    /// Sends a message, unless a key exchange holds it back (RFC 4253,
    /// section 7.1).
    pub(super) fn message(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(held) = &mut self.held else {
            return self.packet(payload);
        };
        let size: usize = held.iter().map(Vec::len).sum();
        if size + payload.len() > HELD_LIMIT {
            return Err(Fault::protocol("too much asked during a key exchange"));
        }
        held.push(payload.to_vec());
        Ok(())
    }

    /// From here messages are held back.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether messages are held back; channel data must not be made then.
    pub(super) fn holding(&self) -> bool {
        self.held.is_some()
    }

    /// Sends what was held back.
    pub(super) fn release(&mut self) -> Result<(), Fault> {
        for payload in self.held.take().unwrap_or_default() {
            self.packet(&payload)?;
        }
        Ok(())
    }

    /// Makes a packet at once.
    pub(super) fn packet(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.seal_open()?;
        let at = self.output.len();
        self.output.put_bytes(&[0; FRONT]);
        self.output.put_bytes(payload);
        self.seal(at)
    }

    /// Appends channel data to the CHANNEL_DATA packet that is being gathered,
    /// or begins one. Returns how many bytes were taken: never more than `most`
    /// in one packet.
    pub(super) fn data(
        &mut self,
        recipient: u32,
        bytes: &[u8],
        most: usize,
    ) -> Result<usize, Fault> {
        let at = match self.open {
            Some(at) => at,
            None => {
                let at = self.output.len();
                self.output.put_bytes(&[0; FRONT]);
                self.output.put_byte(message::CHANNEL_DATA);
                self.output.put_u32(recipient);
                self.output.put_u32(0);
                self.open = Some(at);
                at
            }
        };
        let gathered = self.output.len() - at - FRONT - DATA_FRONT;
        let count = bytes.len().min(most.saturating_sub(gathered));
        self.output.put_bytes(&bytes[..count]);
        if gathered + count >= most {
            self.seal_open()?;
        }
        Ok(count)
    }

    /// Ends the gathering of channel data.
    fn seal_open(&mut self) -> Result<(), Fault> {
        let Some(at) = self.open.take() else {
            return Ok(());
        };
        let count = self.output.len() - at - FRONT - DATA_FRONT;
        let field = at + FRONT + DATA_FRONT - 4;
        self.output[field..field + 4].copy_from_slice(&(count as u32).to_be_bytes());
        self.seal(at)
    }

    /// Pads and encrypts the packet at `at`, the last in the buffer.
    fn seal(&mut self, at: usize) -> Result<(), Fault> {
        let block = self.send.block();
        let unpadded = self.output.len()
            - at
            - if self.send.aligned_with_length() {
                0
            } else {
                4
            };
        let mut padding = block - unpadded % block;
        if padding < 4 {
            padding += block;
        }
        // Zeroes: in counter modes random padding would hide nothing more.
        self.output.resize(self.output.len() + padding, 0);
        let length = self.output.len() - at - 4;
        self.output[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        self.output[at + 4] = padding as u8;
        self.output.resize(self.output.len() + self.send.tag(), 0);
        self.send.seal(self.send_sequence, &mut self.output[at..])?;
        self.send_sequence = self.send_sequence.wrapping_add(1);
        self.made.packets += 1;
        self.made.bytes += length as u64;
        Ok(())
    }

    // ---- keys ----

    /// New keys for packets to the peer.
    pub(super) fn new_send_keys(
        &mut self,
        protector: Protector,
        sequence: Sequence,
    ) -> Result<(), Fault> {
        self.seal_open()?;
        self.send = protector;
        self.made = Used::default();
        if sequence == Sequence::FromZero {
            self.send_sequence = 0;
        }
        Ok(())
    }

    /// New keys for packets from the peer.
    pub(super) fn new_receive_keys(&mut self, protector: Protector, sequence: Sequence) {
        self.receive = protector;
        self.received = Used::default();
        if sequence == Sequence::FromZero {
            self.receive_sequence = 0;
        }
    }

    // ---- in and out ----

    /// Reads and writes until there is what is needed. `None`: with
    /// [`Need::Drained`], all is sent; with [`Need::Ready`] and
    /// [`Need::Buffered`], nothing is there.
    pub(super) fn turn(&mut self, need: Need) -> Result<Option<Range<usize>>, Fault> {
        if need == Need::Buffered {
            return self.cut();
        }
        if need == Need::Drained {
            self.seal_open()?;
        }
        loop {
            let unsent = self.output.len() - self.sent;
            let may_read = unsent < OUTPUT_LIMIT;
            let mut progress = false;
            match need {
                Need::Packet | Need::Ready => {
                    if may_read && let Some(payload) = self.cut()? {
                        return Ok(Some(payload));
                    }
                    // Answers go out before more is read: the peer goes on
                    // asking while we work.
                    self.seal_open()?;
                    progress |= self.send_some()?;
                    if may_read {
                        progress |= self.read_some()?;
                    }
                }
                Need::Drained | Need::Buffered => {
                    if unsent == 0 {
                        return Ok(None);
                    }
                    progress = self.send_some()?;
                    if !progress && may_read {
                        if let Some(payload) = self.cut()? {
                            return Ok(Some(payload));
                        }
                        progress = self.read_some()?;
                    }
                }
            }
            if !progress && need == Need::Ready {
                return Ok(None);
            }
            if !progress {
                let mut interest = PollFlags::empty();
                interest.set(PollFlags::IN, may_read);
                interest.set(PollFlags::OUT, self.has_unsent());
                self.wait(interest)?;
            }
        }
    }

    /// Sends what the socket takes without waiting.
    pub(super) fn push(&mut self) -> Result<(), Fault> {
        self.seal_open()?;
        while self.send_some()? {}
        Ok(())
    }

    /// How long ago the socket was last asked for input.
    pub(super) fn last_look(&self) -> Duration {
        self.looked.elapsed()
    }

    /// Cuts the next packet off the input, if it is there as a whole, and
    /// opens it in place.
    fn cut(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let available = self.end - self.start;
        let total = match self.total {
            Some(total) => total,
            None => {
                let head = self.receive.head();
                if available < head {
                    return Ok(None);
                }
                let head = &mut self.input[self.start..self.start + head];
                let length = self.receive.length(self.receive_sequence, head)?;
                let total = self.check_length(length)?;
                *self.total.insert(total)
            }
        };
        if available < total {
            return Ok(None);
        }
        let packet = &mut self.input[self.start..self.start + total];
        self.receive.open(self.receive_sequence, packet)?;
        let length = total - 4 - self.receive.tag();
        let padding = packet[4] as usize;
        if padding < 4 || padding + 2 > length {
            return Err(Fault::protocol("bad packet padding"));
        }
        let payload = self.start + FRONT..self.start + 4 + length - padding;
        self.start += total;
        self.total = None;
        self.receive_sequence = self.receive_sequence.wrapping_add(1);
        self.received.packets += 1;
        self.received.bytes += length as u64;
        self.unanswered = 0;
        Ok(Some(payload))
    }

    /// The whole packet's length with tag; nothing is set aside for a length
    /// that can't be right.
    fn check_length(&self, length: u32) -> Result<usize, Fault> {
        let length = length as usize;
        // Padding length, the least payload, the least padding.
        let least = 1 + 1 + 4;
        let most = self.largest_payload + 1 + 255;
        let aligned = if self.receive.aligned_with_length() {
            length.wrapping_add(4)
        } else {
            length
        };
        if length < least || length > most || !aligned.is_multiple_of(self.receive.block()) {
            return Err(Fault::protocol("bad packet length"));
        }
        let total = 4 + length + self.receive.tag();
        if total < self.receive.head() {
            return Err(Fault::protocol("bad packet length"));
        }
        Ok(total)
    }

    /// Reads once. False: nothing is there now.
    fn read_some(&mut self) -> Result<bool, Fault> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let needed = self.total.unwrap_or(INPUT_SMALL).max(INPUT_SMALL);
        if self.input.len() - self.start < needed || self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.input.len() < needed {
                self.input.resize(needed, 0);
            }
        }
        self.looked = Instant::now();
        loop {
            match self.socket.read(&mut self.input[self.end..]) {
                Ok(0) => return Err(Fault::Left("the connection was closed".into())),
                Ok(count) => {
                    self.end += count;
                    self.last_heard = self.looked;
                    // Here too: a peer that never pauses never lets us wait.
                    if let Some((deadline, phase)) = self.deadline
                        && self.looked >= deadline
                    {
                        return Err(Fault::Timeout(phase));
                    }
                    // More than fits is waiting: data flow.
                    if self.end == self.input.len()
                        && self.largest_payload > STRANGER_PAYLOAD
                        && self.input.len() < INPUT_LARGE
                    {
                        self.input.resize(INPUT_LARGE, 0);
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Writes once, if there is something. False: nothing could be sent.
    fn send_some(&mut self) -> Result<bool, Fault> {
        let end = self.open.unwrap_or(self.output.len());
        if self.sent >= end {
            return Ok(false);
        }
        loop {
            match self.socket.write(&self.output[self.sent..end]) {
                Ok(0) => return Err(Fault::Left("the connection was closed".into())),
                Ok(count) => {
                    self.sent += count;
                    if !self.has_unsent() {
                        self.output.clear();
                        self.sent = 0;
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Waits until the socket is ready or a timer wants something.
    fn wait(&mut self, interest: PollFlags) -> Result<(), Fault> {
        loop {
            let now = Instant::now();
            let mut until: Option<Instant> = None;
            let mut earlier = |instant: Instant| {
                until = Some(until.map_or(instant, |until| until.min(instant)));
            };
            if let Some((deadline, phase)) = self.deadline {
                if now >= deadline {
                    return Err(Fault::Timeout(phase));
                }
                earlier(deadline);
            }
            if !self.idle.is_zero() {
                let end = self.last_active + self.idle;
                if now >= end {
                    return Err(Fault::Timeout("the session was idle"));
                }
                earlier(end);
            }
            if !self.keepalive.is_zero() {
                let due = self.last_heard + self.keepalive * (self.unanswered + 1);
                if now >= due {
                    self.ask_for_life()?;
                    return Ok(());
                }
                earlier(due);
            }
            let can_rest = self.input.len() > INPUT_SMALL || self.output.capacity() > INPUT_SMALL;
            if can_rest {
                earlier(now + REST);
            }
            let timeout = until.map(|until| {
                let left = until.saturating_duration_since(now);
                Timespec {
                    tv_sec: left.as_secs() as _,
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            let mut ready = [PollFd::new(&self.socket, interest)];
            match poll(&mut ready, timeout.as_ref()) {
                Ok(0) if can_rest => self.rest(),
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Fault::Io(errno.into())),
            }
        }
    }

    /// `keepalive@openssh.com`: no server knows the request, so each must
    /// answer it with a failure, and an answer is what is wanted.
    fn ask_for_life(&mut self) -> Result<(), Fault> {
        if self.unanswered >= UNANSWERED {
            return Err(Fault::Disconnect(
                Reason::ConnectionLost,
                "no answer to keepalive requests".into(),
            ));
        }
        self.unanswered += 1;
        // While the output does not move, another question adds nothing.
        if self.holding() || self.has_unsent() {
            return Ok(());
        }
        let mut request = vec![message::GLOBAL_REQUEST];
        request.put_string(b"keepalive@openssh.com");
        request.put_boolean(true);
        self.packet(&request)
    }

    /// Gives the large buffers of a busy time back.
    fn rest(&mut self) {
        if self.start == self.end && self.input.len() > INPUT_SMALL {
            self.input = Vec::new();
            self.start = 0;
            self.end = 0;
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }

    /// The last words: SSH_MSG_DISCONNECT and what is unsent, as far as the
    /// socket takes it now. A peer that does not read is not waited for long.
    pub(super) fn farewell(&mut self, reason: Reason, text: &str) {
        let mut payload = vec![message::DISCONNECT];
        payload.put_u32(reason as u32);
        payload.put_string(text.as_bytes());
        payload.put_string(b"");
        self.deadline = Some((Instant::now() + PATIENCE, "saying good-bye"));
        self.idle = Duration::ZERO;
        self.keepalive = Duration::ZERO;
        if self.packet(&payload).is_err() {
            return;
        }
        while self.has_unsent() {
            match self.send_some() {
                Ok(true) => {}
                Ok(false) => {
                    if self.wait(PollFlags::OUT).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        self.hang_up();
    }

    /// Closes our side and reads what the peer still sends: closing a socket
    /// with unread bytes resets it, and the peer would lose our last words.
    fn hang_up(&mut self) {
        const MOST: usize = 1 << 20;
        let _ = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Write);
        let mut scratch = [0; 4096];
        let mut count = 0;
        while count < MOST {
            match self.socket.read(&mut scratch) {
                Ok(0) => return,
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::IN).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Words for somebody who does not speak SSH.
    pub(super) fn plain_words(&mut self, text: &str) {
        self.output.put_bytes(text.as_bytes());
        self.output.put_bytes(b"\r\n");
        while matches!(self.send_some(), Ok(true)) {}
        self.deadline = Some((Instant::now() + PATIENCE, "saying good-bye"));
        self.hang_up();
    }
}

/// Whether sequence numbers go on or, with strict key exchange, begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    GoesOn,
    FromZero,
}

fn not_ssh() -> Fault {
    Fault::Disconnect(
        Reason::ProtocolVersionNotSupported,
        "the peer does not speak SSH".into(),
    )
}

fn lost(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Fault::Left("the connection was reset".into())
        }
        _ => Fault::Io(error),
    }
}
