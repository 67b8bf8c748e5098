//! The loop: take a request, check it, run its handler, answer once.

use std::io;
use std::ops::Range;

use super::interpreter::{Answer, Interpreter, LongRequest, Sent};
use super::requests;
use super::status::{self, Code};
use super::table::{self, INIT, REQUESTS, Request, VERSION, Wire};
use super::wire::{Arrived, Input};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::session::log_context::tell_error;
use crate::ssh_data::Reader;
use crate::text::Escaped;

/// The version of the protocol.
const PROTOCOL: u32 = 3;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The channel has no data now, or no room.
    Waiting,
    /// The client has ended the channel.
    Ended,
}

impl Interpreter<'_> {
    /// Answers requests until the channel ends, or has no more data or room now.
    pub(super) fn step(&mut self) -> Result<Step> {
        self.stalled = false;
        loop {
            while self.take_one()? {
                if !self.owed.is_zero() {
                    self.send()?;
                    let wait = std::mem::take(&mut self.owed);
                    self.wait(wait)?;
                }
            }
            let sent = self.send()?;
            if self.stalled || self.is_full() {
                return Ok(Step::Waiting);
            }
            let idle = self.handles.is_empty();
            if idle && self.replies.shrink() {
                self.room.return_permit();
            }
            match self.input.fill(&mut *self.channel, idle) {
                Ok(0) if self.input.is_cut() => {
                    return Err(Error::new(
                        ErrorKind::Disconnected,
                        "the channel ended within a packet",
                    ));
                }
                Ok(0) if sent == Sent::All => return Ok(Step::Ended),
                Ok(0) => return Ok(Step::Waiting),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Step::Waiting);
                }
                Err(error) => return Err(error).doing("reading requests"),
            }
        }
    }

    fn is_full(&mut self) -> bool {
        self.room.is_full(self.replies.pending().len())
    }

    /// Answers the next request, or takes a part of a long one. `false`: nothing
    /// is here, or the client must read replies first.
    fn take_one(&mut self) -> Result<bool> {
        if self.is_full() {
            self.send()?;
            if self.is_full() {
                return Ok(false);
            }
        }
        let arrived = match self.long {
            Some(_) => Arrived::Head(0..0),
            None => match self.input.packet()? {
                Some(arrived) => arrived,
                None => return Ok(false),
            },
        };
        // The buffer is put back, whatever becomes of the request.
        let mut input = std::mem::take(&mut self.input);
        let outcome = match &arrived {
            Arrived::Whole(packet) => self.packet(input.bytes(packet.clone())),
            Arrived::Head(_) if self.long.is_some() => self.piece(&mut input),
            Arrived::Head(head) => self.begin_long(&mut input, head.clone()),
        };
        if let (Ok(false), Arrived::Whole(packet)) = (&outcome, &arrived) {
            input.put_back(packet);
            self.stalled = true;
        }
        self.input = input;
        outcome
    }

    /// Begins a request that is too long to wait in memory: only a WRITE may be
    /// so long.
    fn begin_long(&mut self, input: &mut Input, head: Range<usize>) -> Result<bool> {
        let bytes = input.bytes(head);
        let mut arguments = Reader::new(bytes);
        let kind = arguments.byte()?;
        self.id = arguments.u32()?;
        let too_long = || Error::new(ErrorKind::Protocol, "a request that is too long");
        if !self.initialized {
            return Err(too_long());
        }
        let (mut request, mut taken) = ((vec![], 0, 0, Err(too_long())), 5);
        if table::find(kind, b"").is_some_and(|(_, row)| row.name == "write") {
            let handle = arguments.string()?.to_vec();
            let (offset, data) = (arguments.u64()?, arguments.u32()? as usize);
            let allowed = self.allowed(kind, b"").map(drop);
            taken += 4 + handle.len() + 8 + 4;
            request = (handle, offset, data, allowed);
        }
        let left = input.begin_long(taken);
        let (handle, offset, data, mut outcome) = request;
        if outcome.is_ok() && data > left {
            outcome = Err(Error::new(ErrorKind::Protocol, "data cut short"));
        }
        self.long = Some(LongRequest {
            handle,
            offset,
            data,
            outcome,
            kind,
        });
        Ok(true)
    }

    /// Takes a part of the long request, and answers it after the last.
    fn piece(&mut self, input: &mut Input) -> Result<bool> {
        let piece = input.piece();
        let Some(mut long) = self.long.take_if(|_| !piece.is_empty()) else {
            return Ok(false);
        };
        let bytes = input.bytes(piece);
        let data = &bytes[..bytes.len().min(long.data)];
        if long.outcome.is_ok() && !data.is_empty() {
            long.outcome = requests::write_at(self, &long.handle, long.offset, data);
        }
        long.offset = long.offset.saturating_add(data.len() as u64);
        long.data -= data.len();
        if input.left() > 0 {
            self.long = Some(long);
            return Ok(true);
        }
        self.answer(long.kind, long.outcome.map(|()| Answer::Done))
    }

    /// Answers a request; `false`: there is no room for the reply now.
    fn packet(&mut self, packet: &[u8]) -> Result<bool> {
        let mut arguments = Reader::new(packet);
        let kind = arguments.byte()?;
        if kind == INIT {
            self.init(&mut arguments)?;
            return Ok(true);
        }
        if !self.initialized {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("request {kind} before INIT"),
            ));
        }
        self.id = arguments.u32()?;
        let outcome = self.request(kind, &mut arguments);
        self.answer(kind, outcome)
    }

    fn answer(&mut self, kind: u8, outcome: Result<Answer>) -> Result<bool> {
        match outcome {
            Ok(Answer::Later) => return Ok(false),
            Ok(Answer::Made) => self.replies.finish(),
            Ok(Answer::Done) => status::reply(&mut self.replies, self.id, Code::Ok, "Success"),
            Ok(Answer::End) => status::reply(&mut self.replies, self.id, Code::Eof, "End of file"),
            // Nobody is there to be told.
            Err(error) if error.kind() == ErrorKind::Disconnected => return Err(error),
            Err(error) => {
                self.replies.cancel();
                let row = table::find(kind, b"");
                tell_error(row.map_or("SFTP request", |(_, row)| row.name), &error);
                status::refuse(&mut self.replies, self.id, &error);
            }
        }
        Ok(true)
    }

    fn request(&mut self, kind: u8, arguments: &mut Reader<'_>) -> Result<Answer> {
        let extension = match kind {
            table::EXTENDED => arguments.string()?,
            _ => b"",
        };
        let row = self.allowed(kind, extension)?;
        (row.run)(self, arguments)
    }

    /// The row of a request that may be made.
    fn allowed(&self, kind: u8, extension: &[u8]) -> Result<&'static Request> {
        let Some((at, row)) = table::find(kind, extension) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("unknown request {kind} {}", Escaped(extension)),
            ));
        };
        log::debug!("sftp {} {}", row.name, self.id);
        if self.options.deny.has(at) || !self.options.allow.has(at) {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("{} is not allowed", row.name),
            ));
        }
        Ok(row)
    }

    /// Whatever version the client names, the answer is 3: OpenSSH does so,
    /// and clients of higher versions come down to it.
    fn init(&mut self, arguments: &mut Reader<'_>) -> Result<()> {
        let version = arguments.u32()?;
        log::debug!("sftp init, client's version {version}");
        self.initialized = true;
        // VERSION has the version where replies have the request's number.
        self.replies.begin(VERSION, PROTOCOL);
        for (at, row) in REQUESTS.iter().enumerate() {
            if let Wire::Name(name, data) = row.wire
                && self.options.allow.has(at)
                && !self.options.deny.has(at)
            {
                self.replies.string(name.as_bytes());
                self.replies.string(data.as_bytes());
            }
        }
        self.replies.finish();
        Ok(())
    }
}
