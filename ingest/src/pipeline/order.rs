//! Bounded, ordered hand-over between the threads of an ingest.
//!
//! Workers finish batches in any order; the writer needs them in row order. [`Gate`] keeps whoever prepares batches at most
//! `ahead` batches in front of the writer, so what waits for its turn stays bounded however uneven the batches are.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets a producer run at most `ahead` items in front of a consumer.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    moved: Condvar,
    ahead: u64,
}

#[derive(Debug, Default)]
struct State {
    done: u64,
    closed: bool,
}

impl Gate {
    /// A gate that lets `ahead` items through before the first is done.
    pub fn new(ahead: u64) -> Self {
        Self { state: Mutex::default(), moved: Condvar::new(), ahead }
    }

    /// Waits for the turn of item `sequence`; false if the gate was closed.
    pub fn enter(&self, sequence: u64) -> bool {
        let mut state = self.lock();
        while !state.closed && sequence >= state.done + self.ahead {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    /// Says that every item below `done` is finished.
    pub fn advance(&self, done: u64) {
        self.lock().done = done;
        self.moved.notify_all();
    }

    /// Sends every waiting producer away.
    pub fn close(&self) {
        self.lock().closed = true;
        self.moved.notify_all();
    }

    // A panicking holder leaves two plain numbers behind, which stay valid.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts numbered items back into order.
#[derive(Debug)]
pub struct Reorder<T> {
    waiting: BTreeMap<u64, T>,
    next: u64,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }
}

impl<T> Reorder<T> {
    /// Takes an item in.
    pub fn put(&mut self, sequence: u64, item: T) {
        self.waiting.insert(sequence, item);
    }

    /// The next item in order, once it is there.
    pub fn take(&mut self) -> Option<T> {
        let item = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(item)
    }

    /// Items taken out so far.
    pub fn done(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order() {
        let mut reorder = Reorder::default();
        reorder.put(1, 'b');
        assert_eq!(reorder.take(), None);
        reorder.put(0, 'a');
        assert_eq!((reorder.take(), reorder.take(), reorder.take()), (Some('a'), Some('b'), None));
        assert_eq!(reorder.done(), 2);
    }

    #[test]
    fn a_gate_holds_the_producer_back() {
        let gate = Gate::new(2);
        assert!(gate.enter(0) && gate.enter(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(2));
            gate.advance(1);
            assert!(waiting.join().expect("no panic"));
            let waiting = scope.spawn(|| gate.enter(9));
            gate.close();
            assert!(!waiting.join().expect("no panic"));
        });
    }
}
