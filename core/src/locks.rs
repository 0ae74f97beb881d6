//! Locks of values that are whole at every instant.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a lock holds. Each change of it is whole at every instant, so one that a panic poisoned is still good.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
