//! Backoff after out-of-memory errors of a device: limits of what is computed at once.
//!
//! Invariants
//! - concurrent calls become fewer first, which changes no bit of what they compute; then batches
//!   become smaller
//! - what was too much once is not tried again

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use gstore_core::Remedy;

/// Errors that may be of a device's memory.
pub trait OutOfMemory {
    /// Whether less at once could be computed.
    fn is_out_of_memory(&self) -> bool;
}

/// How much threads may compute at once on a device: everything, until its memory is too little for that.
#[derive(Debug, Default)]
pub struct OomBackoff {
    state: Mutex<BackoffState>,
    left: Condvar,
}

#[derive(Debug)]
struct BackoffState {
    limits: CallLimits,
    /// Those that a user was told of.
    told: CallLimits,
    /// Calls that compute now.
    running: usize,
    /// Calls that began so far.
    begun: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CallLimits {
    /// Concurrent calls.
    calls: usize,
    /// Tokens of several samples in one call.
    tokens: usize,
}

impl Default for BackoffState {
    fn default() -> Self {
        let limits = CallLimits { calls: usize::MAX, tokens: usize::MAX };
        BackoffState { limits, told: limits, running: 0, begun: 0 }
    }
}

/// One try to compute.
#[derive(Debug)]
pub struct Attempt {
    /// The most tokens of several samples at once.
    pub most: usize,
    /// Tokens of the several samples that are tried at once; none of a single one.
    pub tried: Option<usize>,
}

impl Attempt {
    /// How many of the first of some samples, given by their tokens, are to be computed at once: at least
    /// one.
    pub fn next(&mut self, lengths: &[usize]) -> usize {
        let mut sum = 0usize;
        let fits = |length: &&usize| {
            sum += **length;
            sum <= self.most
        };
        let count = lengths.iter().take_while(fits).count().max(usize::from(!lengths.is_empty()));
        // Samples without tokens cannot be what took the memory.
        let several = lengths[..count].iter().filter(|length| **length > 0).count() > 1;
        self.tried = several.then(|| lengths[..count].iter().sum());
        count
    }
}

/// A call. It is counted out when dropped, after a panic too: others wait for it.
struct RunningCall<'a> {
    backoff: &'a OomBackoff,
    /// As they were when it began.
    limits: CallLimits,
    running: usize,
    begun: u64,
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.backoff.state().running -= 1;
        self.backoff.left.notify_all();
    }
}

impl RunningCall<'_> {
    /// Makes the limits less than what was tried; false if that was the least.
    fn reduce(&self, attempt: &Attempt) -> bool {
        let mut state = self.backoff.state();
        // Of several that fail together the first says enough.
        if state.limits != self.limits {
            return true;
        }
        let later = if state.begun == self.begun { 1 } else { 2 };
        match (self.running.max(state.running).max(later), attempt.tried) {
            (beside @ 2.., _) => state.limits.calls = beside / 2,
            (_, Some(tokens)) => state.limits.tokens = tokens.min(self.limits.tokens) / 2,
            (_, None) => {}
        }
        state.limits != self.limits
    }
}

impl OomBackoff {
    fn state(&self) -> MutexGuard<'_, BackoffState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that may compute concurrently.
    pub fn calls(&self) -> usize {
        self.state().limits.calls
    }

    /// The most tokens of several samples that a call may compute at once.
    pub fn tokens(&self) -> usize {
        self.state().limits.tokens
    }

    /// So many concurrent calls were too many.
    pub fn halve_calls(&self, calls: usize) {
        let limits = &mut self.state().limits;
        limits.calls = limits.calls.min((calls / 2).max(1));
    }

    /// Computes, and begins again with less at once where memory was too little.
    ///
    /// # Errors
    /// Those of `compute`; one of memory where it tried a single sample and nothing else was computed beside
    /// it.
    pub fn retry<T, E: OutOfMemory>(
        &self,
        mut compute: impl FnMut(&mut Attempt) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let running = self.enter();
            let mut attempt = Attempt { most: running.limits.tokens, tried: None };
            match compute(&mut attempt) {
                Err(error) if error.is_out_of_memory() && running.reduce(&attempt) => {}
                done => return done,
            }
        }
    }

    /// Hands on the samples of a batch, given by their tokens, in parts that fit. A part that did not is
    /// handed on again, as smaller ones.
    ///
    /// # Errors
    /// As [`OomBackoff::retry`].
    pub fn in_parts<E: OutOfMemory>(
        &self,
        lengths: &[usize],
        mut compute: impl FnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut first = 0;
        while first < lengths.len() {
            first = self.retry(|attempt| {
                let end = first + attempt.next(&lengths[first..]);
                compute(first..end).map(|()| end)
            })?;
        }
        Ok(())
    }

    /// Values of the samples of a batch, computed as by [`OomBackoff::in_parts`], in their order.
    ///
    /// # Errors
    /// As [`OomBackoff::retry`].
    pub fn values_in_parts<T, E: OutOfMemory>(
        &self,
        lengths: &[usize],
        mut compute: impl FnMut(Range<usize>) -> Result<Vec<T>, E>,
    ) -> Result<Vec<T>, E> {
        let mut all = Vec::with_capacity(lengths.len());
        self.in_parts(lengths, |part| {
            all.extend(compute(part)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// What a user should know of it, if it became less since the last time; `option` sets the tokens of a
    /// batch, if there is one.
    pub fn note(&self, option: Option<&str>) -> Option<String> {
        self.note_of(option, 1)
    }

    /// The same of one of so many devices, which the threads of a job are divided among.
    pub fn note_of(&self, option: Option<&str>, devices: usize) -> Option<String> {
        let mut state = self.state();
        let limits = state.limits;
        let told = std::mem::replace(&mut state.told, limits);
        drop(state);
        match limits {
            _ if told == limits => None,
            CallLimits { calls, tokens: usize::MAX } => {
                let done = format!("batches were computed {calls} at a time");
                Some(cut_note(&done, Some(("threads", calls.saturating_mul(devices)))))
            }
            CallLimits { calls, tokens } => {
                let tokens = tokens.max(1);
                let mut done = format!("batches were cut to {tokens} tokens");
                if calls < usize::MAX {
                    done.push_str(&format!(" and computed {calls} at a time"));
                }
                Some(cut_note(&done, option.map(|option| (option, tokens))))
            }
        }
    }

    /// Waits until a call may begin.
    fn enter(&self) -> RunningCall<'_> {
        let mut state = self.state();
        while state.running >= state.limits.calls {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running += 1;
        state.begun += 1;
        RunningCall { backoff: self, limits: state.limits, running: state.running, begun: state.begun }
    }
}

/// What is to be said of work that a device had too little memory for: what was `done` instead, and the
/// option that asks for no more.
pub fn cut_note(done: &str, option: Option<(&str, usize)>) -> String {
    let saved = option.map_or(String::new(), |(option, value)| {
        format!("; {} avoids the failed attempts", Remedy::Option(option, &value.to_string()))
    });
    format!("the device had too little memory: {done}{saved}")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::BackendError;

    fn full() -> BackendError {
        BackendError::out_of_memory("full")
    }

    #[test]
    fn a_batch_is_handed_on_in_parts_that_fit() {
        let lengths = [9, 3, 14, 2, 2];
        let backoff = OomBackoff::default();
        let (mut tried, mut done) = (Vec::new(), Vec::new());
        let compute = |part: Range<usize>| {
            tried.push(part.clone());
            if lengths[part.clone()].iter().sum::<usize>() > 14 {
                return Err(full());
            }
            done.push(part);
            Ok(())
        };
        backoff.in_parts(&lengths, compute).unwrap();
        assert_eq!(tried, [0..5, 0..2, 2..3, 3..5]);
        assert_eq!(done, [0..2, 2..3, 3..5]);
        assert_eq!((backoff.tokens(), backoff.calls()), (15, usize::MAX));
        let note = backoff.note(Some("batch_tokens")).unwrap();
        assert!(note.contains("cut to 15 tokens") && note.contains("batch_tokens"), "{note}");
        assert_eq!(backoff.note(Some("batch_tokens")), None, "it was said");
        // What was too much is not tried again.
        let mut parts = Vec::new();
        backoff
            .in_parts(&lengths, |part| {
                parts.push(part);
                Ok::<_, BackendError>(())
            })
            .unwrap();
        assert_eq!(parts, done);
    }

    #[test]
    fn a_sample_that_does_not_fit_is_an_error() {
        let backoff = OomBackoff::default();
        let mut tries = 0;
        let compute = |_| {
            tries += 1;
            Err::<(), _>(full())
        };
        assert!(backoff.in_parts(&[5, 5, 5], compute).unwrap_err().is_out_of_memory());
        assert!(tries < 5, "{tries}");
        let other = OomBackoff::default();
        assert!(other.in_parts(&[5, 5], |_| Err::<(), _>(BackendError::new("lost"))).is_err());
        assert_eq!(other.note(Some("batch_tokens")), None);
    }

    #[test]
    fn calls_become_fewer_before_batches_become_smaller() {
        const SLOTS: usize = 2;
        let (backoff, held, whole) = (OomBackoff::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let all = Barrier::new(8);
        let batch = || {
            let mut is_first = true;
            let compute = |part: Range<usize>| {
                let fits = held.fetch_add(1, Ordering::SeqCst) < SLOTS;
                if std::mem::take(&mut is_first) {
                    all.wait();
                }
                held.fetch_sub(1, Ordering::SeqCst);
                if !fits {
                    return Err(full());
                }
                assert_eq!(part, 0..2);
                whole.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            backoff.in_parts(&[7, 7], compute).unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(batch);
            }
        });
        assert_eq!(whole.load(Ordering::SeqCst), 8, "every batch was computed, whole");
        assert_eq!(backoff.tokens(), usize::MAX);
        let calls = backoff.calls();
        assert!((1..8).contains(&calls), "{calls}");
        let note = backoff.note(Some("batch_tokens")).unwrap();
        assert!(note.contains(&format!("{calls} at a time")) && note.contains("threads"), "{note}");

        let one_of_three = OomBackoff::default();
        one_of_three.halve_calls(8);
        let note = one_of_three.note_of(Some("batch_tokens"), 3).unwrap();
        assert!(note.contains("computed 4 at a time") && note.contains("12"), "{note}");
    }
}
