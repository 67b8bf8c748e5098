//! A fixed number of threads for sessions. A thread is started when no idle
//! one is left, never more than the limit, and idle ones stay for a while:
//! a router that serves one client holds one thread, not two hundred.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::unpoisoned;

/// Enough for a session with TLS or SSH (measured: 20 KiB are touched), and
/// little enough for thousands of them in 32 bits of address space.
const STACK: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    192 * 1024
};
/// How long an idle thread waits for work.
const LINGER: Duration = Duration::from_secs(30);
/// How long a job waits for a thread: who has a place among the sessions has
/// it a moment before the thread of the last one is done.
const PATIENCE: Duration = Duration::from_millis(100);

/// A job: one session.
pub type Job = Box<dyn FnOnce() + Send>;

/// The threads. A clone is the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    most: u32,
    state: Mutex<PoolState>,
    work: Condvar,
    free: Condvar,
    end: Condvar,
}

#[derive(Default)]
struct PoolState {
    threads: u32,
    idle: u32,
    queue: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// A pool of at most `most` threads.
    pub fn new(most: u32) -> Self {
        Pool(Arc::new(Inner {
            most: most.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
            free: Condvar::new(),
            end: Condvar::new(),
        }))
    }

    /// Runs `job` on a thread of its own, now.
    ///
    /// # Errors
    /// The job comes back when all threads are busy or none can be started.
    pub fn try_run(&self, job: Job) -> Result<(), Job> {
        let all_busy = |state: &mut PoolState| {
            state.queue.len() >= state.idle as usize
                && state.threads >= self.0.most
                && !state.closed
        };
        let waited = self
            .0
            .free
            .wait_timeout_while(self.0.lock(), PATIENCE, all_busy);
        let mut state = unpoisoned(waited).0;
        if state.queue.len() < state.idle as usize {
            state.queue.push_back(job);
            self.0.work.notify_one();
            return Ok(());
        }
        if state.threads >= self.0.most || state.closed {
            return Err(job);
        }
        state.queue.push_back(job);
        state.threads += 1;
        state.idle += 1;
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new()
            .name("session".into())
            .stack_size(STACK)
            .spawn(move || shared.work());
        match started {
            Ok(_) => Ok(()),
            Err(error) => {
                state.threads -= 1;
                state.idle -= 1;
                let Some(job) = state.queue.pop_back() else {
                    return Ok(());
                };
                // One of a session that has just ended may be free in a moment.
                let none_idle = |state: &mut PoolState| state.queue.len() >= state.idle as usize;
                let waited = self.0.free.wait_timeout_while(state, PATIENCE, none_idle);
                let mut state = unpoisoned(waited).0;
                if none_idle(&mut state) {
                    log::error!(
                        "no thread can be started: {error}; is a limit of processes too low?"
                    );
                    return Err(job);
                }
                state.queue.push_back(job);
                self.0.work.notify_one();
                Ok(())
            }
        }
    }

    /// Takes no more jobs and waits until the running ones have ended, or
    /// until `deadline`; says whether they have.
    pub fn join(&self, deadline: Instant) -> bool {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.work.notify_all();
        while state.threads > 0 {
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            state = unpoisoned(self.0.end.wait_timeout(state, left)).0;
        }
        true
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        unpoisoned(self.state.lock())
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.idle -= 1;
                drop(state);
                // A bug ends one session, never the server.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    log::error!("a session has ended with a panic; please report it");
                }
                state = self.lock();
                state.idle += 1;
                self.free.notify_one();
                continue;
            }
            if state.closed {
                break;
            }
            let waited = unpoisoned(self.work.wait_timeout(state, LINGER));
            state = waited.0;
            if waited.1.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        // The C library keeps stacks for the threads to come.
        crate::sys::release_stack();
        state.threads -= 1;
        state.idle -= 1;
        self.free.notify_one();
        self.end.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_until_the_threads_are_used_up_and_a_panic_ends_only_itself() {
        let pool = Pool::new(2);
        let (release, wait) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        assert!(
            pool.try_run(Box::new(|| panic!("a bug (expected in this test)")))
                .is_ok()
        );
        let second = done.clone();
        assert!(
            pool.try_run(Box::new(move || {
                let _ = wait.recv();
                let _ = second.send(1);
            }))
            .is_ok()
        );
        // The panic's thread comes back; then one of two is free.
        let mut job: Job = Box::new(move || {
            let _ = done.send(2);
        });
        // Long, because the panic's words take their time under a sanitizer.
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(back) = pool.try_run(job) {
            assert!(Instant::now() < until);
            job = back;
            thread::yield_now();
        }
        assert_eq!(finished.recv_timeout(Duration::from_secs(10)), Ok(2));
        drop(release);
        assert!(pool.join(Instant::now() + Duration::from_secs(10)));
        assert!(pool.try_run(Box::new(|| ())).is_err());
    }
}
