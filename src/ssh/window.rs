//! How much a client may send on a channel before it is used (RFC 4254, section
//! 5.2): bandwidth times round trip, and the memory that the client can take.
//!
//! A window begins small and doubles whenever as much as it holds has been sent
//! and used, so that a client far away comes to the rate of its line. What
//! windows hold beyond their beginning comes from one budget of all sessions.
//! A client that sends and reads no answers never makes its window grow:
//! what it sent is not used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Settings;

/// Where the window of a connection's only channel begins.
const FIRST: u32 = 256 << 10;
/// Where those of further channels begin, of which a client may have many.
const FURTHER: u32 = 16 << 10;
/// A pause after which a window shrinks to its beginning.
const PAUSE: Duration = Duration::from_secs(5);

/// What all windows of the process have beyond their beginnings.
static EXTRA: AtomicU64 = AtomicU64::new(0);

pub(super) struct Window {
    /// What the client may still send.
    left: u32,
    /// What has come and has not been used.
    waiting: u32,
    /// What the window should be.
    size: u32,
    first: u32,
    most: u32,
    budget: u64,
    /// What it took from the budget.
    extra: u32,
    /// Used since the window has grown.
    used: u64,
    last_used: Instant,
}

impl Window {
    /// The window of a channel beside `others`.
    pub(super) fn new(settings: &Settings, others: usize) -> Self {
        let first = match others {
            0 => settings.window.min(FIRST),
            _ => settings.window.min(FURTHER),
        };
        Window {
            left: first,
            waiting: 0,
            size: first,
            first,
            most: settings.window,
            budget: settings.window_budget,
            extra: 0,
            used: 0,
            last_used: Instant::now(),
        }
    }

    /// What the client may still send.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// Counts data that came; `false`: more than the window allows.
    pub(super) fn take(&mut self, count: usize) -> bool {
        let Ok(count) = u32::try_from(count) else {
            return false;
        };
        let fits = count <= self.left;
        if fits {
            self.left -= count;
            self.waiting += count;
        }
        fits
    }

    /// Data were used; returns what the client is to be granted now. Granting
    /// only what was used is the back pressure against a flood of requests.
    pub(super) fn used(&mut self, count: usize) -> Option<u32> {
        let now = Instant::now();
        if now - self.last_used >= PAUSE {
            self.size = self.first;
            self.used = 0;
        }
        self.last_used = now;
        self.waiting = self.waiting.saturating_sub(count as u32);
        self.used += count as u64;
        if self.used >= u64::from(self.size) {
            self.used = 0;
            self.grow();
        }
        // What the client may send, and what it sent and waits to be used: as
        // much as the window was promised. After a pause the promise is not
        // renewed until it has run down to the first size.
        let promised = self.left + self.waiting;
        if self.size == self.first {
            self.release(promised.saturating_sub(self.first));
        }
        let grant = self.size.saturating_sub(promised);
        if grant == 0 || grant < self.size / 8 {
            return None;
        }
        self.left += grant;
        Some(grant)
    }

    fn grow(&mut self) {
        let more = self.size.min(self.most - self.size);
        if more == 0 {
            return;
        }
        // No session takes more than half of what is left.
        let taken = EXTRA.fetch_update(Relaxed, Relaxed, |extra| {
            let free = self.budget.saturating_sub(extra);
            (u64::from(more) <= free / 2).then_some(extra + u64::from(more))
        });
        if taken.is_ok() {
            self.extra += more;
            self.size += more;
        }
    }

    /// Gives back to the budget what is above `keep`.
    fn release(&mut self, keep: u32) {
        let back = self.extra.saturating_sub(keep);
        self.extra -= back;
        EXTRA.fetch_sub(back.into(), Relaxed);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.release(0);
    }
}
