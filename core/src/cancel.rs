//! Cancellation of long work.
//!
//! Invariant: a stop is a source of every error that it causes, which [`is_of_cancel`] finds in errors of other
//! crates.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::causes::causes;

/// A flag that is raised to stop long work, which looks at it between steps.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

/// Work was told to stop before it was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Cancelled;

/// Whether the cause of an error is that work was told to stop.
pub fn is_of_cancel(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<Cancelled>())
}

impl Cancel {
    /// A flag that is not raised.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// A flag that is raised already.
    pub const fn raised() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Asks to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes the request back, for the next piece of work.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless it is raised.
    ///
    /// # Errors
    /// [`Cancelled`] once it is raised.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_raised() { Err(Cancelled) } else { Ok(()) }
    }
}

/// Raises a flag when what waits for the work goes away.
#[derive(Debug)]
pub struct CancelOnDrop(pub Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_raised_until_it_is_lowered() {
        let cancel = Cancel::new();
        assert_eq!(cancel.check(), Ok(()));
        cancel.raise();
        assert_eq!(cancel.check(), Err(Cancelled));
        cancel.lower();
        assert!(!cancel.is_raised() && Cancel::raised().is_raised());
    }
}
