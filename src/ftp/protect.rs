//! TLS on the data connection, as PROT has agreed (RFC 4217, sections 9 and
//! 10): its handshake, and whose it must be.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::data_port::{DataPort, Proof};
use super::state::{Interpreter, Protection};
use crate::config::TlsReuse;
use crate::error::{Error, ErrorKind, Result};
use crate::net::congestion;
use crate::net::patience::{STEP, late};
use crate::net::socket::{Interest, Socket, wait};
use crate::net::stream::Stream;
use crate::net::tls::{DataHandshake, Direction, HandshakeStep, TlsStream};
use crate::session::log_context::tell_once;
use crate::session::registry::DataTls;

/// For so long only the command is waited for: nearly all clients connect and
/// say it at once, and waking up for each of the two costs a small transfer
/// more than all of its other waits.
const COMMAND_FIRST: Duration = Duration::from_millis(20);

impl Interpreter {
    /// Puts the data connection under the protection that PROT asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it can't be protected as agreed, for a reply
    /// of 522; what the control connection said meanwhile.
    pub fn protect(
        &mut self,
        socket: Socket,
        until: Option<Instant>,
        direction: Direction,
    ) -> Result<Stream> {
        let (Protection::Private, Some(tls)) = (self.protection, &self.tls) else {
            if self.parameters.data_proof == Proof::OwesTlsSession {
                let doing = "only its TLS session could show whose it is, and it has no TLS";
                return Err(self.not_protected(Error::new(ErrorKind::Denied, doing)));
            }
            self.session.info().activity().tls.data = DataTls::Clear;
            return Ok(Stream::Plain(socket));
        };
        let handshake = tls.begin_data(socket, direction)?;
        self.shake_hands(handshake, until)
    }

    /// Makes the rest of a handshake; the control connection is served
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Interpreter::protect`].
    pub fn shake_hands(
        &mut self,
        mut handshake: DataHandshake,
        until: Option<Instant>,
    ) -> Result<Stream> {
        let deadline = handshake.deadline();
        let mut until = until.map_or(deadline, |until| until.min(deadline));
        loop {
            let begin = Instant::now();
            let step = until.saturating_duration_since(begin).min(STEP);
            // First of all: most clients begin when they have read the 150,
            // which has left just now.
            let socket = handshake.socket().clone();
            let ready = self.wait_for(&socket, Interest::Read, Some(begin + step))?;
            until += late(begin, step);
            if !ready && Instant::now() < until {
                continue;
            }
            if !ready {
                // It may have vanished: nobody takes our FIN.
                socket.reset_on_close();
                let error = Error::new(ErrorKind::Timeout, "the client took too long");
                return Err(self.not_protected(error));
            }
            match self.step(handshake)? {
                HandshakeStep::Done(stream) => return Ok(stream.into()),
                HandshakeStep::Wait(next) => handshake = next,
            }
        }
    }

    fn step(&self, handshake: DataHandshake) -> Result<HandshakeStep<TlsStream, DataHandshake>> {
        let Some(tls) = &self.tls else {
            return Err(ErrorKind::Internal.into());
        };
        let step = handshake
            .step(tls)
            .map_err(|error| self.not_protected(error))?;
        let HandshakeStep::Done(stream) = &step else {
            return Ok(step);
        };
        if !stream.resumed() && self.parameters.data_proof == Proof::OwesTlsSession {
            let doing = "only its TLS session could show whose it is, and that is not the control connection's";
            return Err(self.not_protected(Error::new(ErrorKind::Denied, doing)));
        }
        if !stream.resumed() {
            match self.session.config().tls_reuse {
                // SECURITY: without it, whoever guesses the port is served.
                TlsReuse::Require => {
                    let doing = "its TLS session is not that of the control connection";
                    return Err(self.not_protected(Error::new(ErrorKind::Denied, doing)));
                }
                TlsReuse::Prefer => log::debug!("a data connection without a resumed TLS session"),
                TlsReuse::Off => {}
            }
        }
        self.session.info().activity().tls.data = if stream.resumed() {
            DataTls::Resumed
        } else {
            DataTls::Full
        };
        Ok(step)
    }

    fn not_protected(&self, error: Error) -> Error {
        tell_once(log::Level::Warn, "refused a data connection", &error);
        Error::with_source(ErrorKind::Denied, "protecting the data connection", error)
    }

    /// Some clients (aioftp) begin TLS on the passive port before they say
    /// RETR or STOR and wait for its end: whatever comes first, the command
    /// or a part of their handshake, is served; the handshake of a client that
    /// has not done so before a moment later.
    ///
    /// # Errors
    /// What the control connection said.
    pub fn await_command_or_handshake(&mut self, until: Option<Instant>) -> Result<()> {
        if self.protection != Protection::Private {
            return Ok(());
        }
        while !self.control.has_input() {
            let command_alone =
                !self.early_handshake && matches!(self.parameters.data, DataPort::Passive(_));
            let coming = match &self.parameters.data {
                DataPort::Passive(listener) => listener.as_fd(),
                DataPort::Connected(socket) => socket.as_fd(),
                DataPort::Handshake(handshake) => handshake.socket().as_fd(),
                _ => return Ok(()),
            };
            self.control.flush()?;
            let control = self.control.socket()?.as_fd();
            if command_alone {
                let moment = Instant::now() + COMMAND_FIRST;
                let moment = until.map_or(moment, |until| until.min(moment));
                if wait([(control, Interest::Read)], Some(moment))? == [true] {
                    return Ok(());
                }
            }
            let both = [(control, Interest::Read), (coming, Interest::Read)];
            let [asks, comes] = wait(both, until)?;
            if asks || !comes {
                return Ok(());
            }
            let data = std::mem::replace(&mut self.parameters.data, DataPort::None);
            self.parameters.data = self.go_on_early(data).unwrap_or_else(DataPort::Refused);
        }
        Ok(())
    }

    fn go_on_early(&mut self, data: DataPort) -> Result<DataPort> {
        if let DataPort::Passive(listener) = data {
            return match self.accept_peer(&listener) {
                Ok(Some(socket)) => {
                    congestion::set(&socket, self.congestion.as_deref());
                    Ok(DataPort::Connected(socket))
                }
                Ok(None) => Ok(DataPort::Passive(listener)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(DataPort::Passive(listener))
                }
                Err(error) => Err(error.into()),
            };
        }
        let handshake = match (data, &self.tls) {
            (DataPort::Connected(socket), Some(tls)) => {
                self.early_handshake = true;
                // What will be done is not known: an upload must not meet
                // tickets.
                tls.begin_data(socket, Direction::Receive)?
            }
            (DataPort::Handshake(handshake), _) => *handshake,
            (data, _) => return Ok(data),
        };
        Ok(match self.step(handshake)? {
            HandshakeStep::Done(stream) => DataPort::Ready(Box::new(stream.into())),
            HandshakeStep::Wait(next) => DataPort::Handshake(Box::new(next)),
        })
    }
}
