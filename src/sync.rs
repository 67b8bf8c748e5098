//! What threads share: a value that is replaced whole while others read it,
//! and locks whose holder has panicked.

use std::sync::{Arc, LockResult, PoisonError, RwLock, TryLockError, TryLockResult};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

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
