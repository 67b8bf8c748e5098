//! Why data connections were not made, counted by reason: the commonest
//! question about firewalls and NATs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a data connection was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFailure {
    /// Active mode: the client's port answered with a reset.
    Refused,
    /// Active mode: the client's port did not answer, or can't be reached.
    TimedOut,
    /// Passive mode: nobody connected to the port.
    NeverCame,
    /// It came from, or would have gone to, somebody else than the client.
    WrongAddress,
    /// No port of the range was free.
    NoPort,
}

impl DataFailure {
    /// All of them.
    pub const ALL: [DataFailure; 5] = [
        DataFailure::Refused,
        DataFailure::TimedOut,
        DataFailure::NeverCame,
        DataFailure::WrongAddress,
        DataFailure::NoPort,
    ];

    /// Its name for logs and status.
    pub fn name(self) -> &'static str {
        match self {
            DataFailure::Refused => "refused",
            DataFailure::TimedOut => "timed out",
            DataFailure::NeverCame => "never came",
            DataFailure::WrongAddress => "wrong address",
            DataFailure::NoPort => "no free port",
        }
    }
}

/// How many data connections were not made, since the start.
#[derive(Debug, Default)]
pub struct DataFailures([AtomicU64; DataFailure::ALL.len()]);

impl DataFailures {
    /// Counts one.
    pub fn count(&self, reason: DataFailure) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// How often each reason has occurred.
    pub fn counts(&self) -> [(DataFailure, u64); DataFailure::ALL.len()] {
        DataFailure::ALL.map(|reason| (reason, self.0[reason as usize].load(Relaxed)))
    }
}
