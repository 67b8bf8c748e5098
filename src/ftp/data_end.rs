//! The end of a data connection: the client gets all that was sent, whatever
//! it sends itself meanwhile.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::line::Line;
use super::state::Interpreter;
use crate::error::{ErrorKind, Result};
use crate::net::closing::Closing;
use crate::net::socket::{Interest, wait};
use crate::net::stream::Stream;

/// For so long after a transfer only the next command is waited for. Clients
/// that transfer one file after the other never cost a wait for two sockets.
const COMMAND_ALONE: Duration = Duration::from_millis(1100);

/// How long a session that ends waits for its client to close the last data
/// connection.
const LAST_WAIT: Duration = Duration::from_secs(2);

impl Interpreter {
    /// Ends the data connection after all has been sent, and holds it until
    /// the client has closed it or begins the next transfer: a close with the
    /// client's bytes unread or on their way would reset it, and the client
    /// would lose what it has not read yet. The reply need not wait for that.
    pub fn close_data(&mut self, mut stream: Stream) -> Result<()> {
        // Without close_notify the client takes the data for cut off, and
        // GnuTLS clients lose their session (FileZilla's error -110).
        self.until_sent(&mut stream, Stream::finish)?;
        self.closing = Some(Closing::new(stream.socket().clone()));
        Ok(())
    }

    /// The next line from the client. A data connection that is held is closed
    /// when the client has closed it.
    pub fn next_line(&mut self, until: Option<Instant>) -> Result<Option<Line>> {
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
