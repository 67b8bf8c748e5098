//! Requests without end from a client that takes no replies, or one byte now
//! and then: every row of the table is tried, and none makes the session hold
//! more than the replies that may wait and the one being made.

use std::io::{self, Read, Write};

use super::Options;
use super::dispatch::Step;
use super::fuzz::with_files;
use super::handles::{BYTES_OF_ALL, DIRECTORY_BYTES, HANDLES_OWN};
use super::interpreter::Interpreter;
use super::table::{EXTENDED, REQUESTS, Request, Wire};
use super::wire::PACKET_MAX;
use crate::config::Config;
use crate::error::Result;

/// Replies that may wait, and one more of the largest kind.
const MOST_HELD: usize = 64 * 1024 + PACKET_MAX + 9 * 1024;
/// As much may be read before the client must take replies.
const MOST_TAKEN: usize = 1 << 20;
/// What requests may take while they wait.
const MOST_WAITING: usize = 48 * 1024;

/// The same requests for ever, after a prelude that opens a file and a
/// directory.
#[derive(Default)]
struct Flood {
    prelude: Vec<u8>,
    request: Vec<u8>,
    given: usize,
    /// Bytes of replies that the client still takes.
    room: usize,
}

impl Read for Flood {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = match self.given.checked_sub(self.prelude.len()) {
                None => self.prelude[self.given],
                Some(at) => self.request[at % self.request.len()],
            };
            self.given += 1;
        }
        Ok(buffer.len())
    }
}

impl Write for Flood {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        self.room -= count;
        match count {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The flood, with a hand on it while the session has it.
struct FloodStream<'a>(&'a std::cell::RefCell<Flood>);

impl Read for FloodStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for FloodStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

pub(crate) fn packet(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    string(&[&[kind][..], &id.to_be_bytes(), body].concat())
}

/// A request of this kind that asks for as much as it can. Rows that are not
/// named here get two names, so that a new one is tried, too.
pub(crate) fn request(row: &Request) -> Vec<u8> {
    let file = string(&[0, 0, 0, 1, 0, 0, 0, 0]);
    let directory = string(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let zero = [0; 8];
    let body = match row.name {
        "open" => [&string(b"f")[..], &[0, 0, 0, 1], &zero[..4]].concat(),
        "read" => [&file[..], &zero, &[0, 3, 0xfc, 0]].concat(),
        "write" => [&file[..], &zero, &string(&[7; 100])].concat(),
        "readdir" => directory,
        "fstat" | "fsync" | "fstatvfs" => file,
        "fsetstat" => [&file[..], &zero[..4]].concat(),
        "copy-data" => [&file[..], &zero, &zero, &file, &zero].concat(),
        "check-file" | "check-file-handle" => {
            [&file[..], &string(b"crc32"), &zero, &zero, &[0, 0, 1, 0]].concat()
        }
        "users-groups-by-id" => [string(&[1; 20_000]), string(&[1; 20_000])].concat(),
        _ => [string(b"link"), string(b"g"), zero.to_vec()].concat(),
    };
    of_row(row, &body)
}

fn of_row(row: &Request, body: &[u8]) -> Vec<u8> {
    match row.wire {
        Wire::Number(kind) => packet(kind, 7, body),
        Wire::Name(name, _) => packet(EXTENDED, 7, &[&string(name.as_bytes())[..], body].concat()),
    }
}

/// Requests of every kind that are wrong in each way, of which each has one
/// reply.
#[cfg(feature = "sftp")]
pub(crate) fn wrong_requests() -> Vec<Vec<u8>> {
    let bodies = [
        Vec::new(),
        [string(b"x.key"), string(b"y.key"), vec![0; 20]].concat(),
        vec![0xff; 30],
    ];
    let mut requests = vec![
        packet(99, 7, b"x"),
        packet(EXTENDED, 7, &string(b"no-such")),
    ];
    for row in REQUESTS {
        requests.extend(bodies.iter().map(|body| of_row(row, body)));
    }
    requests
}

#[test]
fn no_flood_of_requests_makes_a_session_hold_much() -> Result<()> {
    let open = [&string(b"f")[..], &[0, 0, 0, 0x0b], &[0; 4]].concat();
    let fill = [
        &string(&[0, 0, 0, 1, 0, 0, 0, 0])[..],
        &[0; 8],
        &string(&[1; 200_000]),
    ]
    .concat();
    let prelude = [
        string(&[1, 0, 0, 0, 3]),
        packet(3, 1, &open),
        packet(6, 2, &fill),
        packet(11, 3, &string(b"/")),
    ]
    .concat();
    for row in REQUESTS {
        let flood = std::cell::RefCell::new(Flood {
            prelude: prelude.clone(),
            request: request(row),
            ..Flood::default()
        });
        with_files(Config::default(), |files| {
            let channel = Box::new(FloodStream(&flood));
            let mut session = Interpreter::new(channel, files, Options::default());
            for round in 0..200 {
                assert_eq!(session.step()?, Step::Waiting, "{}", row.name);
                let held = session.replies.held();
                assert!(
                    held <= MOST_HELD,
                    "{}: {held} bytes in round {round}",
                    row.name
                );
                let waiting = session.input.held();
                assert!(
                    waiting <= MOST_WAITING,
                    "{}: {waiting} bytes wait",
                    row.name
                );
                let taken = flood.borrow().given;
                // What was answered may be asked again.
                let most = MOST_TAKEN + prelude.len() + round * 1000;
                assert!(taken <= most, "{}: {taken} bytes taken", row.name);
                flood.borrow_mut().room = 1 + round % 5;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Channels cost a client nothing: what their open directories and their
/// buffers take is bounded for all of them together.
#[test]
fn no_number_of_channels_makes_open_directories_hold_much() -> Result<()> {
    const CONNECTIONS: usize = 8;
    const CHANNELS: usize = 10;
    let init = string(&[1, 0, 0, 0, 3]);
    let open = packet(11, 3, &string(b"/"));
    with_files(Config::default(), |files| {
        let mut sessions = Vec::new();
        let mut held = 0;
        let mut handles = 0;
        for _ in 0..CONNECTIONS {
            let options = Options::default();
            for _ in 0..CHANNELS {
                let flood = Flood {
                    prelude: init.clone(),
                    request: open.clone(),
                    ..Flood::default()
                };
                let mut session = Interpreter::new(Box::new(flood), files, options.clone());
                assert_eq!(session.step()?, Step::Waiting);
                held += session.input.held() + session.replies.held();
                sessions.push(session);
            }
            handles += options.shared.handles();
        }
        let most = BYTES_OF_ALL / DIRECTORY_BYTES + 1 + CONNECTIONS * HANDLES_OWN;
        assert!(handles <= most, "{handles} directories are open");
        let most = CONNECTIONS * CHANNELS * (64 << 10);
        assert!(held <= most, "{held} bytes of requests and replies");
        // What they held is free again: sshfs keeps hundreds of files open.
        drop(sessions);
        let flood = Flood {
            prelude: [init, open.repeat(400)].concat(),
            request: packet(4, 9, &string(b"no handle")),
            ..Flood::default()
        };
        let options = Options::default();
        let mut session = Interpreter::new(Box::new(flood), files, options.clone());
        assert_eq!(session.step()?, Step::Waiting);
        let open = options.shared.handles();
        assert_eq!(open, 400);
        Ok(())
    })
}

/// Sessions of one connection whose client takes nothing: READ is answered in
/// full or later, never in part, WRITE goes to the file as it comes, and what all
/// hold stays small.
#[test]
fn long_requests_of_many_channels_share_their_room() -> Result<()> {
    const CHANNELS: usize = 40;
    let open = [&string(b"f")[..], &[0, 0, 0, 0x0b], &[0; 4]].concat();
    let file = string(&[0, 0, 0, 1, 0, 0, 0, 0]);
    let begin = [string(&[1, 0, 0, 0, 3]), packet(3, 1, &open)].concat();
    let data = [&file[..], &[0; 8], &string(&[1; 255 << 10])].concat();
    let (write, read) = (packet(6, 2, &data), request(&REQUESTS[2]));
    assert_eq!(REQUESTS[2].name, "read");
    with_files(Config::default(), |files| {
        let options = Options::default();
        let floods: Vec<_> = (0..CHANNELS)
            .map(|_| {
                let prelude = [&begin[..], &write].concat();
                std::cell::RefCell::new(Flood {
                    prelude,
                    request: read.clone(),
                    ..Flood::default()
                })
            })
            .collect();
        let mut sessions: Vec<_> = floods
            .iter()
            .map(|flood| {
                let channel = Box::new(FloodStream(flood));
                Interpreter::new(channel, files, options.clone())
            })
            .collect();
        let mut stalled = 0;
        let mut held = 0;
        for session in &mut sessions {
            assert_eq!(session.step()?, Step::Waiting);
            stalled += usize::from(session.stalled);
            assert_eq!(session.stalled, session.replies.held() <= 64 << 10);
            held += session.replies.held() + session.input.held();
        }
        assert!(stalled > CHANNELS / 2, "{stalled} sessions wait");
        assert!(held < 8 << 20, "{held} bytes");
        // Each gets its turn as soon as the others are done.
        for (at, flood) in floods.iter().enumerate() {
            flood.borrow_mut().room = 1 << 20;
            for _ in 0..3 {
                sessions[at].step()?;
            }
            assert!(flood.borrow().room == 0, "session {at} is not served");
            let idle = Box::new(Flood::default());
            sessions[at] = Interpreter::new(idle, files, Options::default());
        }
        Ok(())
    })
}
