//! Locks whose values a panic of their holder leaves whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value of a lock, also of one that a panic poisoned: no change leaves it half done, or the panic ends
/// all threads that would read it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
