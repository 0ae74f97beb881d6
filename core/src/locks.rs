//! Locks of values that are whole at every instant.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value of a lock, also of one that a panic poisoned: its changes are whole at every instant, or the panic
/// ends all threads that would read it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
