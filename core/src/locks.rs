//! Locks of values that are whole at every instant.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a lock holds. Changes of it are whole at every instant, so one that a panic poisoned is still good, or the
/// panic ends whoever would read it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
