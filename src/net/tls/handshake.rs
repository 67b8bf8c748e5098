//! The handshake of a data connection, step by step: between two steps the
//! session looks at its control connection, so that ABOR and STAT are served
//! while a peer keeps its next message back.

use std::io;
use std::time::Instant;

use super::backend::Middle;
use super::channel::Progress;
use super::server::{SessionTls, refused};
use super::stream::TlsStream;
use super::wire::{Reads, Wire};
use super::{Direction, Purpose};
use crate::error::Result;
use crate::net::socket::Socket;

/// A handshake that has begun.
pub struct DataHandshake {
    socket: Socket,
    direction: Direction,
    deadline: Instant,
    state: State,
}

enum State {
    /// The ClientHello has not come whole.
    Hello(Wire),
    /// The library has begun.
    Middle(Middle),
}

/// What came of a step.
pub enum Step {
    /// The handshake is done; [`TlsStream::resumed`] tells whether the client
    /// proved that it is the one of the control connection.
    Done(TlsStream),
    /// The client must send more first: wait until
    /// [`DataHandshake::socket`] can be read.
    Wait(DataHandshake),
}

impl DataHandshake {
    pub(super) fn new(socket: Socket, direction: Direction, deadline: Instant) -> Self {
        let purpose = Purpose::Data(direction);
        DataHandshake {
            state: State::Hello(Wire::new(socket.clone(), purpose, deadline, Reads::Return)),
            socket,
            direction,
            deadline,
        }
    }

    /// The connection, to wait for the client's next bytes.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// When the handshake must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on with what has come, without waiting for more.
    ///
    /// # Errors
    /// `Disconnected`, `Protocol` with the reason for the log, or `Denied`
    /// when another certificate is shown than on the control connection. The
    /// connection is closed.
    pub fn step(self, session: &SessionTls) -> Result<Step> {
        let DataHandshake {
            socket, direction, ..
        } = self;
        let progress = match self.state {
            State::Middle(middle) => middle.go_on(),
            State::Hello(mut wire) => match wire.client_hello() {
                Ok(hello) => session.negotiate_after(&hello, wire, Purpose::Data(direction)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Step::Wait(DataHandshake {
                        state: State::Hello(wire),
                        socket,
                        ..self
                    }));
                }
                Err(error) => Err(error),
            },
        };
        match progress {
            Ok(Progress::Done(channel)) => session
                .take_data(channel, socket, direction)
                .map(Step::Done),
            Ok(Progress::Wait(middle)) => Ok(Step::Wait(DataHandshake {
                state: State::Middle(middle),
                socket,
                ..self
            })),
            Err(error) => Err(refused(&socket, error)),
        }
    }
}

impl std::fmt::Debug for DataHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataHandshake").finish_non_exhaustive()
    }
}
