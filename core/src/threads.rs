//! Threads that the system may refuse to start: by `RLIMIT_NPROC`, or the limit of a container.

use std::io;
use std::sync::Mutex;
use std::thread::{self, Builder};

use crate::locks::locked;

/// What is said of a thread that cannot be started.
pub fn no_thread(error: &io::Error) -> String {
    format!("no thread can be started: {error}; allow this user or container more processes")
}

/// Starts `count` threads at once, and ends them. An async runtime panics where its own threads cannot be
/// started, or waits for them forever, so this comes before it. Others may take the last threads in between.
///
/// # Errors
/// The first thread that cannot be started, in the words of [`no_thread`].
pub fn try_threads(count: usize, stack: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // Opens at the end, also after an error; the threads wait for that.
        let _closed = locked(&gate);
        for _ in 0..count {
            let trial = Builder::new().stack_size(stack).spawn_scoped(scope, || drop(locked(&gate)));
            trial.map_err(|error| io::Error::new(error.kind(), no_thread(&error)))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_can_be_started_end() {
        try_threads(8, 1 << 20).expect("started");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_thread_that_cannot_be_started_is_told() {
        // More than there are addresses.
        let error = try_threads(3, 1 << 60).expect_err("refused");
        let text = error.to_string();
        assert!(text.starts_with("no thread can be started: ") && text.ends_with("more processes"), "{text}");
    }
}
