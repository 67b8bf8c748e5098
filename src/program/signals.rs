//! Signals, taken by a thread that waits for them.

use std::io;
use std::time::Duration;

use wharf::daemon::os::SignalSet;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read users and settings again.
    Reload,
    /// SIGINT: end now.
    Interrupt,
    /// SIGTERM: end when transfers have finished.
    Terminate,
}

/// The signals of the daemon, blocked for all threads that start later.
pub struct Signals(SignalSet);

impl Signals {
    /// Takes the signals; call before any thread is started.
    pub fn take() -> io::Result<Signals> {
        SignalSet::block(&[libc::SIGHUP, libc::SIGINT, libc::SIGTERM]).map(Signals)
    }

    /// Waits for the next one, no longer than `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Signal> {
        loop {
            return match self.0.wait_for(timeout) {
                Ok(None) => None,
                Ok(Some(libc::SIGHUP)) => Some(Signal::Reload),
                Ok(Some(libc::SIGINT)) => Some(Signal::Interrupt),
                Ok(Some(_)) => Some(Signal::Terminate),
                Err(error) => {
                    log::error!("waiting for a signal: {error}");
                    continue;
                }
            };
        }
    }

    /// From now on SIGTERM and SIGINT end the process as they do by default.
    pub fn second_ends_at_once(&self) {
        if let Err(error) = self.0.unblock(&[libc::SIGINT, libc::SIGTERM]) {
            log::warn!("unblocking signals: {error}");
        }
    }
}
