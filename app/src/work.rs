//! What long work is given.

use std::sync::atomic::AtomicBool;

use gstore_core::Progress;

/// How a job is done: on how many threads, under which name in the history, who hears of it, and what stops it.
pub struct Work<'a> {
    /// Threads to use.
    pub threads: usize,
    /// The command as the history and leases show it.
    pub command: &'a str,
    /// Hears of the job's progress.
    pub progress: &'a mut dyn Progress,
    /// Raised to stop.
    pub cancel: &'a AtomicBool,
}
