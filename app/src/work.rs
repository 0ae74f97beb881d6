//! What long work is given.

use std::num::NonZeroUsize;

use gstore_core::{Cancel, Progress, Silent};

/// How a job is done: on how many threads, under which name in the history, who hears of it, and what stops it.
pub struct Work<'a> {
    /// Threads to use.
    pub threads: usize,
    /// The command as the history and leases show it.
    pub command: &'a str,
    /// Hears of the job's progress.
    pub progress: &'a mut dyn Progress,
    /// Raised to stop.
    pub cancel: &'a Cancel,
}

impl<'a> Work<'a> {
    /// On all cores; reported to no one, and never stopped.
    pub fn silent(command: &'a str) -> Self {
        static NEVER: Cancel = Cancel::new();
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // `Silent` has no size, so nothing is allocated.
        Self { threads, command, progress: Box::leak(Box::new(Silent)), cancel: &NEVER }
    }
}
