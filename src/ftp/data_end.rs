//! The end of a data connection: the client gets all that was sent, whatever
//! it sends itself meanwhile.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::dtp::{data_error, stalled};
use super::line::ControlLine;
use super::state::Interpreter;
use crate::error::{ErrorKind, Result};
use crate::net::closing::{Closing, Incoming, discard};
use crate::net::socket::{Interest, wait};
use crate::net::stream::Stream;
use crate::sys::unacknowledged;

/// For so long after a transfer only the next command is waited for. Clients
/// that transfer one file after the other never cost a wait for two sockets.
const COMMAND_ALONE: Duration = Duration::from_millis(1100);

/// Bytes that may still be on their way when a transfer is called complete.
const IN_FLIGHT: u64 = 64 * 1024;
/// First and longest wait for an acknowledgement, which wakes nobody up.
const ARRIVAL_FIRST: Duration = Duration::from_millis(1);
const ARRIVAL_MOST: Duration = Duration::from_millis(100);

/// How long a session that ends waits for its client to close the last data
/// connection.
const LAST_WAIT: Duration = Duration::from_secs(2);

impl Interpreter {
    /// Ends the data connection of an upload, and holds it as
    /// [`Interpreter::close_sent`] does.
    pub fn close_data(&mut self, mut stream: Stream) -> Result<()> {
        // Without close_notify the client takes the connection for cut off, and
        // GnuTLS clients lose their session (FileZilla's error -110).
        self.until_sent(&mut stream, Stream::finish)?;
        self.closing = Some(Closing::new(stream.socket().clone()));
        Ok(())
    }

    /// Ends the data connection after all has been sent, and holds it until
    /// the client has closed it or begins the next transfer: a close with the
    /// client's bytes unread or on their way would reset it, and the client
    /// would lose what it has not read yet. The reply need not wait for that.
    ///
    /// Only what the client has acknowledged is sent; but for the last
    /// [`IN_FLIGHT`] bytes nobody waits, so that small files take no round trip
    /// more.
    ///
    /// # Errors
    /// What sending said, and a client that resets or takes nothing any more.
    pub fn close_sent(&mut self, stream: &mut Stream) -> Result<()> {
        self.finish_deflating(stream)?;
        self.until_sent(stream, Stream::finish)?;
        let mut progress = self.progress();
        let mut pause = ARRIVAL_FIRST;
        while unacknowledged(&*stream).unwrap_or(0) > IN_FLIGHT {
            let incoming = discard(stream.socket()).map_err(data_error)?;
            if let Ok(Err(errno)) = rustix::net::sockopt::socket_error(stream.as_fd()) {
                return Err(data_error(errno.into()));
            }
            let until = Instant::now() + pause;
            if incoming == Incoming::Open {
                self.wait_for(stream, Interest::Read, Some(until))?;
            } else {
                self.pause_until(until)?;
            }
            pause = (pause * 2).min(progress.step()).min(ARRIVAL_MOST);
            if progress.has_stalled(stream.socket(), 0) {
                return Err(stalled(stream));
            }
        }
        self.closing = Some(Closing::new(stream.socket().clone()));
        Ok(())
    }

    /// The next line from the client. A data connection that is held is closed
    /// when the client has closed it.
    pub fn next_line(&mut self, until: Option<Instant>) -> Result<Option<ControlLine>> {
        if self.closing.is_some() {
            let first = earlier(until, Instant::now() + COMMAND_ALONE);
            match self.control.next_line(Some(first)) {
                Err(error)
                    if error.kind() == ErrorKind::Timeout
                        && until.is_none_or(|until| Instant::now() < until) => {}
                outcome => return outcome,
            }
            self.await_data_close(until)?;
        }
        self.control.next_line(until)
    }

    /// Waits until the data connection need not be held any longer or the
    /// client says something.
    fn await_data_close(&mut self, until: Option<Instant>) -> Result<()> {
        while let Some(closing) = &self.closing
            && !closing.is_over()
        {
            let control = self.control.socket()?.as_fd();
            let both = [(control, Interest::Read), (closing.as_fd(), Interest::Read)];
            let [asks, ends] = wait(both, Some(earlier(until, closing.until())))?;
            let over = until.is_some_and(|until| Instant::now() >= until);
            if asks || (over && !ends) {
                return Ok(());
            }
        }
        self.closing = None;
        Ok(())
    }
}

/// Waits for the client of a session that has ended to close its last data
/// connection.
pub fn await_last_close(closing: Option<Closing>) {
    if let Some(closing) = closing {
        closing.wait(Instant::now() + LAST_WAIT);
    }
}

fn earlier(until: Option<Instant>, other: Instant) -> Instant {
    until.map_or(other, |until| until.min(other))
}
