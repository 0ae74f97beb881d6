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
