//! How fast bytes may move: of one session, of a user, of the server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::sync::unpoisoned;

/// A token bucket that allows debt: whoever takes more than there is waits
/// until it is paid. A tenth of a second of the rate may be saved up.
pub struct Bucket {
    rate: AtomicU64,
    paid_until: Mutex<Option<Instant>>,
}

impl Bucket {
    /// A bucket of `rate` bytes a second; 0 is no limit.
    pub fn new(rate: u64) -> Self {
        Bucket {
            rate: AtomicU64::new(rate),
            paid_until: Mutex::new(None),
        }
    }

    /// Sets another rate, from now on.
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Relaxed);
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.rate.load(Relaxed) != 0
    }

    /// Takes `bytes`; says how long to wait before they may be moved.
    pub fn take(&self, bytes: u64) -> Duration {
        let rate = self.rate.load(Relaxed);
        if rate == 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut paid_until = unpoisoned(self.paid_until.lock());
        let saved = now.checked_sub(Duration::from_millis(100)).unwrap_or(now);
        let begin = paid_until.unwrap_or(saved).max(saved);
        let end = begin + duration_of(bytes, rate);
        *paid_until = Some(end);
        end.saturating_duration_since(now)
    }
}

/// How long `bytes` take at `rate` a second, which is not zero.
fn duration_of(bytes: u64, rate: u64) -> Duration {
    // A rest below 2^64 times 10^9 takes more than 64 bits and fewer than 128.
    let part = u128::from(bytes % rate) * 1_000_000_000 / u128::from(rate);
    Duration::new(bytes / rate, part as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_makes_the_average_rate() {
        let bucket = Bucket::new(1000);
        assert_eq!(bucket.take(100), Duration::ZERO);
        let wait = bucket.take(1000);
        assert!(
            wait > Duration::from_millis(900) && wait <= Duration::from_millis(1000),
            "{wait:?}"
        );
        let wait = bucket.take(1000);
        assert!(
            wait > Duration::from_millis(1900) && wait <= Duration::from_millis(2000),
            "{wait:?}"
        );
        assert_eq!(Bucket::new(0).take(u64::MAX), Duration::ZERO);
    }
}
