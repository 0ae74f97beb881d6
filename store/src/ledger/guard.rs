//! Panic guard around redb: panics become errors.
//!
//! With verified pages redb meets only what it wrote itself, so none is expected; after a crash it reads
//! pages that are not verified.

use super::Unusable;

/// An index that can be rebuilt must not take the process down.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    crate::panics::caught(f).unwrap_or(Err(Unusable::Panicked))
}
