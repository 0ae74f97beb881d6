//! Ordered reduction: pieces that several threads compute are added up in the order of their numbers.

use std::sync::{Condvar, Mutex, PoisonError};

/// For each of some sums, whose turn it is.
///
/// A thread that waits is woken by the piece before its own, or by [`Turns::stop`]; pieces have to be begun
/// in the order of their numbers.
pub(crate) struct Turns {
    /// The piece that may add to each sum; none once a piece has failed.
    next: Mutex<Option<Vec<usize>>>,
    moved: Condvar,
}

impl Turns {
    pub fn new(sums: usize) -> Turns {
        Turns { next: Mutex::new(Some(vec![0; sums])), moved: Condvar::new() }
    }

    /// Waits until it is `piece`'s turn to add to `sum`; false when told to stop.
    pub fn wait(&self, sum: usize, piece: usize) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match next.as_ref().and_then(|next| next.get(sum)) {
                None => return false,
                Some(turn) if *turn == piece => return true,
                Some(_) => next = self.moved.wait(next).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The piece whose turn it was has added to `sum`.
    pub fn done(&self, sum: usize) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = next.as_mut().and_then(|next| next.get_mut(sum)) {
            *turn += 1;
        }
        self.moved.notify_all();
    }

    /// No thread waits any more.
    pub fn stop(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.moved.notify_all();
    }
}

/// Stops the turns if a thread ends before its piece is done, by a panic too: others would wait forever.
pub(crate) struct StopOnDrop<'a> {
    pub turns: &'a Turns,
    pub done: bool,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.turns.stop();
        }
    }
}
