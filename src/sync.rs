//! What threads share: a value that is replaced whole while others read it,
//! locks whose holder has panicked, and turns.

use std::sync::{
    Arc, Condvar, LockResult, Mutex, PoisonError, RwLock, TryLockError, TryLockResult,
};
use std::time::Instant;

/// A value that is replaced as a whole: whoever has loaded it keeps what it
/// was, and nobody waits for longer than copying a pointer takes.
pub struct Swap<T: ?Sized>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Swap(RwLock::new(Arc::new(value)))
    }

    /// Replaces the value for everybody who loads it from now on.
    pub fn replace(&self, value: T) {
        self.store(Arc::new(value));
    }
}

impl<T: ?Sized> Swap<T> {
    /// The value in force.
    pub fn load(&self) -> Arc<T> {
        let value = unpoisoned(self.0.read());
        Arc::clone(&value)
    }

    /// Replaces the value by one that others may hold already.
    pub fn store(&self, value: Arc<T>) {
        *unpoisoned(self.0.write()) = value;
    }
}

impl<T: ?Sized> From<Arc<T>> for Swap<T> {
    fn from(value: Arc<T>) -> Self {
        Swap(RwLock::new(value))
    }
}

impl<T: Default> Default for Swap<T> {
    fn default() -> Self {
        Swap::new(T::default())
    }
}

/// What a lock guards, also when a thread has panicked while it held it: a
/// panic ends one session, and what our locks guard is whole between any two
/// statements.
pub fn unpoisoned<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// As [`unpoisoned`], for a lock that is not waited for; `None` when another
/// thread holds it.
pub fn try_unpoisoned<G>(locked: TryLockResult<G>) -> Option<G> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Turns at work that few may do at the same time.
pub struct Turns {
    taken: Mutex<usize>,
    free: Condvar,
}

impl Turns {
    /// None are taken.
    pub const fn new() -> Self {
        Turns {
            taken: Mutex::new(0),
            free: Condvar::new(),
        }
    }

    /// Waits until fewer than `most` are taken. Dropping the turn ends it.
    pub fn take(&self, most: usize) -> Turn<'_> {
        let taken = unpoisoned(self.taken.lock());
        let taken = self.free.wait_while(taken, |taken| *taken >= most);
        *unpoisoned(taken) += 1;
        Turn(self)
    }

    /// As [`Turns::take`], but waits until then at the longest.
    pub fn take_until(&self, most: usize, until: Instant) -> Option<Turn<'_>> {
        let taken = unpoisoned(self.taken.lock());
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .free
            .wait_timeout_while(taken, left, |taken| *taken >= most);
        let (mut taken, waited) = unpoisoned(waited);
        if waited.timed_out() {
            return None;
        }
        *taken += 1;
        Some(Turn(self))
    }
}

/// One of [`Turns`].
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *unpoisoned(self.0.taken.lock()) -= 1;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    #[test]
    fn no_more_turns_are_taken_than_are_allowed() {
        let (turns, now, most) = (Turns::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = turns.take(2);
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(*turns.taken.lock().unwrap(), 0);
        let soon = || Instant::now() + Duration::from_millis(10);
        let first = turns.take_until(1, soon());
        assert!(first.is_some() && turns.take_until(1, soon()).is_none());
        drop(first);
        assert!(turns.take_until(1, soon()).is_some());
    }

    #[test]
    fn a_loaded_value_stays_what_it_was() {
        let swap = Swap::new(1);
        let before = swap.load();
        swap.replace(2);
        assert_eq!((*before, *swap.load()), (1, 2));
    }

    #[test]
    fn a_lock_outlives_its_holders_panic() {
        let lock = Arc::new(Mutex::new(5));
        let held = Arc::clone(&lock);
        let panicked = std::thread::spawn(move || {
            let _guard = held.lock();
            panic!("while it holds the lock");
        });
        assert!(panicked.join().is_err());
        assert!(lock.is_poisoned());
        assert_eq!(*unpoisoned(lock.lock()), 5);
        assert_eq!(try_unpoisoned(lock.try_lock()).as_deref(), Some(&5));
        let _held = unpoisoned(lock.lock());
        assert!(try_unpoisoned(lock.try_lock()).is_none());
    }
}
