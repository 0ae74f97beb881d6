//! Rate-limited notes of the log: clients that fail again and again do not fill it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gstore_core::locked;

/// Notes of one kind, of which `MOST` are told in a second, and of the rest how many there were.
#[derive(Debug, Default)]
pub(crate) struct RareNotes<const MOST: u32>(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    second: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Counts {
    fn is_over(&self, now: Instant) -> bool {
        self.second.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1))
    }
}

impl<const MOST: u32> RareNotes<MOST> {
    /// Counts one. How many were left out since the last that was told, if this one is to be.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        let mut counts = locked(&self.0);
        if counts.is_over(now) {
            (counts.second, counts.told) = (Some(now), 0);
        }
        if counts.told == MOST {
            counts.left_out += 1;
            return None;
        }
        counts.told += 1;
        Some(std::mem::take(&mut counts.left_out))
    }

    /// How many were left out in a second that is over.
    pub(crate) fn over(&self, now: Instant) -> u64 {
        let mut counts = locked(&self.0);
        if counts.is_over(now) { std::mem::take(&mut counts.left_out) } else { 0 }
    }

    /// How many were left out, though more may come.
    pub(crate) fn rest(&self) -> u64 {
        std::mem::take(&mut locked(&self.0).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_some_notes_and_a_count() {
        let (notes, now) = (RareNotes::<10>::default(), Instant::now());
        let later = |ms| now + Duration::from_millis(ms);
        let told: Vec<_> = (0..100).filter_map(|i| notes.due(later(i))).collect();
        assert_eq!(told, [0; 10]);
        assert_eq!(notes.over(later(999)), 0, "more may come");
        assert_eq!(notes.due(later(1000)), Some(90));
        assert_eq!((notes.due(later(1001)), notes.over(later(3000))), (Some(0), 0));
    }

    #[test]
    fn what_happens_often_is_told_once_in_a_second() {
        let (notes, now) = (RareNotes::<1>::default(), Instant::now());
        let due = |milliseconds| notes.due(now + Duration::from_millis(milliseconds));
        assert_eq!([0, 1, 999].map(due), [Some(0), None, None]);
        assert_eq!([1000, 1001, 9000].map(due), [Some(2), None, Some(1)]);
        assert_eq!((due(9001), notes.rest(), due(10_000)), (None, 1, Some(0)));
    }
}
