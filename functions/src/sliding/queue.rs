//! A queue that knows the total of what it holds without ever subtracting: two stacks, one emptied
//! into the other.
//!
//! Invariants
//! - the back holds what came since it was last emptied, and `came` is its total
//! - the front holds what is older, each with the total of itself and all that follow it there; the oldest
//!   lies on top
//! - each value is moved once, so that a window of any length costs the same for each row

use std::fmt::Debug;

/// The total of some values in a row, which that of the values behind them continues. The default is that of
/// no values.
pub(super) trait Total: Copy + Default + Debug + Send + Sync + 'static {
    /// That of these values and those that follow.
    fn and(self, later: Self) -> Self;
}

/// Values that leave in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue<T> {
    front: Vec<T>,
    back: Vec<T>,
    came: T,
}

impl<T: Total> Queue<T> {
    pub(super) fn push(&mut self, value: T) {
        self.back.push(value);
        self.came = self.came.and(value);
    }

    /// Lets the oldest value go.
    pub(super) fn pop(&mut self) {
        if self.front.is_empty() {
            let mut total = T::default();
            while let Some(value) = self.back.pop() {
                total = value.and(total);
                self.front.push(total);
            }
            self.came = T::default();
        }
        self.front.pop();
    }

    pub(super) fn total(&self) -> T {
        self.front.last().map_or(self.came, |older| older.and(self.came))
    }

    /// Bytes of the values, besides those of the queue itself.
    pub(super) fn bytes(&self) -> usize {
        (self.front.capacity() + self.back.capacity()) * size_of::<T>()
    }
}
