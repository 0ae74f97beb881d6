//! Execution context of a job: threads, history entry, progress, cancellation.

use std::num::NonZeroUsize;

use gstore_core::{Cancel, Progress, Silent, many};

/// Execution of a job: threads, name in the history, progress reporter, cancellation.
pub struct JobContext<'a> {
    /// Threads to use.
    pub threads: usize,
    /// The command as the history and leases show it.
    pub command: &'a str,
    /// Receives the job's progress.
    pub progress: &'a mut dyn Progress,
    /// Raised to stop.
    pub cancel: &'a Cancel,
}

impl<'a> JobContext<'a> {
    /// On all cores, without progress reports, and never stopped.
    pub fn silent(command: &'a str) -> Self {
        static NEVER: Cancel = Cancel::new();
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // `Silent` has no size, so nothing is allocated.
        Self { threads, command, progress: Box::leak(Box::new(Silent)), cancel: &NEVER }
    }

    /// Notes how many threads are used, if they are fewer than there are to use, and why.
    pub(crate) fn tell_threads(&mut self, used: usize, why: &str) {
        if used < self.threads {
            let threads = many(used as u64, "thread");
            self.progress.note(&format!("{threads}: {why}"));
        }
    }
}

/// Keeps what is noted.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Notes(pub Vec<String>);

#[cfg(test)]
impl Progress for Notes {
    fn start(&mut self, _: &str, _: u64, _: gstore_core::Unit) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}
