//! Long work looks at the control connection: STAT is answered, ABOR and a
//! client that is gone end the work, every other command waits for its end.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::control::Urgent;
use super::reply::Reply;
use super::state::Interpreter;
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::{Interest, wait};

/// How often work that never waits looks at the control connection.
const POLL_EVERY: Duration = Duration::from_millis(20);

impl Interpreter {
    /// Looks at the control connection, without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::Aborted`] for ABOR, [`ErrorKind::Disconnected`] when the
    /// client is gone.
    pub fn poll_control(&mut self) -> Result<()> {
        self.polled = Instant::now();
        loop {
            match self.control.poll()? {
                None => return Ok(()),
                Some(Urgent::Abort) => {
                    self.parameters.aborted = true;
                    return Err(Error::new(ErrorKind::Aborted, "ABOR"));
                }
                Some(Urgent::Status) => {
                    self.control.take_line();
                    let status = self.transfer_status();
                    self.control.send(&status)?;
                }
            }
        }
    }

    /// Looks at the control connection now and then: for work that goes on
    /// without waiting, which calls this between any two of its pieces.
    ///
    /// # Errors
    /// As [`Interpreter::poll_control`].
    pub fn poll_if_due(&mut self) -> Result<()> {
        if self.polled.elapsed() >= POLL_EVERY {
            self.poll_control()?;
        }
        Ok(())
    }

    /// Waits until `until`.
    ///
    /// # Errors
    /// As [`Interpreter::poll_control`].
    pub fn pause_until(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            let control = (self.control.socket()?.as_fd(), self.control.interest());
            if wait([control], Some(until))? == [true] {
                self.poll_control()?;
            }
        }
        Ok(())
    }

    /// Waits for a descriptor and watches the control connection meanwhile.
    /// `false`: the time is over.
    ///
    /// # Errors
    /// [`ErrorKind::Aborted`] for ABOR, [`ErrorKind::Disconnected`] when the
    /// client is gone.
    pub fn wait_for(
        &mut self,
        descriptor: &impl AsFd,
        interest: Interest,
        until: Option<Instant>,
    ) -> Result<bool> {
        // An ABOR in one segment with the command is here already.
        if self.control.has_lines() {
            self.poll_control()?;
        }
        loop {
            let control = (self.control.socket()?.as_fd(), self.control.interest());
            let [data, asks] = wait([(descriptor.as_fd(), interest), control], until)?;
            if asks {
                self.poll_control()?;
            }
            if data || !asks {
                return Ok(data);
            }
        }
    }

    /// The reply to STAT in the middle of a transfer.
    fn transfer_status(&self) -> Reply {
        let live = self.session.info();
        let (bytes, size) = (live.bytes.load(Relaxed), live.size.load(Relaxed));
        let of = if size == 0 {
            String::new()
        } else {
            format!(" of {size}")
        };
        let lines = vec![
            b"Status of the transfer:".to_vec(),
            format!("{bytes}{of} bytes so far").into_bytes(),
            b"End of status".to_vec(),
        ];
        Reply::many(213, lines)
    }
}
