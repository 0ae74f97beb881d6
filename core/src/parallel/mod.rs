//! Work-sharing loops with cancellation, unordered and ordered, and pipelines of workers.
//!
//! Invariants
//! - every unit runs once, and inside a thread units ascend
//! - results of ordered loops reach the caller's thread in the order of their units, a bounded number of them
//!   ahead of it; the first error in that order ends the loop
//! - a panic of any thread ends the loop and is handed on to the caller
//! - a loop inside a unit waits for no worker of the loop around it

mod gate;
mod panics;
#[cfg(test)]
mod tests;
mod workers;

use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::gate::{Give, each, map, ordered, pipeline};
pub(crate) use self::panics::{OnPanic, join};
pub(crate) use self::workers::given_by;
pub use self::workers::{stages, unordered, with_workers};

/// Number of threads for a request of `threads` (0: one per core), never more than there are units.
pub fn threads_for(threads: usize, units: usize) -> usize {
    let wanted = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    wanted.clamp(1, units.max(1))
}

/// Gives threads that ask one after the other a number below `places`: each number to as many threads as the
/// others, or to one more.
pub fn in_turn(places: usize) -> impl Fn() -> usize + Sync {
    let next = AtomicUsize::new(0);
    move || next.fetch_add(1, Ordering::Relaxed) % places.max(1)
}
