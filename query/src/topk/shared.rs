//! Selections that threads fill together: each is held once, however many threads there are.
//!
//! A thread gathers some candidates of a selection, hands them over under its lock, and learns the threshold
//! that the selection has by then.
//!
//! Invariants
//! - memory in addition to the selections: [`WAITING`] candidates for each selection and thread
//! - what is selected does not depend on threads nor on which hands over first: the order of candidates is
//!   total

use std::sync::Mutex;

use gstore_core::locked;

use super::{Entry, TieBreakers, TopK, ordered};

/// Candidates of a selection that a thread gathers before it hands them over.
pub(crate) const WAITING: usize = 16;
const _: () = assert!(WAITING <= u8::MAX as usize);

/// Selections of one direction.
pub(crate) struct Shared<'a>(Vec<Mutex<&'a mut TopK>>);

/// What a thread has found for each of them.
pub(crate) struct PendingCandidates<'s, 'a> {
    all: &'s Shared<'a>,
    flip: u32,
    /// As the thread knows them; later ones are lower.
    limits: Vec<u32>,
    counts: Vec<u8>,
    /// [`WAITING`] of each selection.
    entries: Vec<Entry>,
}

impl<'a> Shared<'a> {
    /// Selections that go on from what they have.
    pub(crate) fn new(tops: impl Iterator<Item = &'a mut TopK>) -> Self {
        Self(tops.map(Mutex::new).collect())
    }

    /// What a thread that begins has found.
    pub(crate) fn waiting(&self) -> PendingCandidates<'_, 'a> {
        let count = self.0.len();
        PendingCandidates {
            all: self,
            flip: self.0.first().map_or(0, |top| locked(top).flip),
            limits: self.0.iter().map(|top| locked(top).limit()).collect(),
            counts: vec![0; count],
            entries: vec![Entry::default(); count * WAITING],
        }
    }

    /// Puts a selection in order, which it stays in until it gets other candidates.
    pub(crate) fn sort(&self, selection: usize) {
        locked(&self.0[selection]).sort();
    }
}

impl PendingCandidates<'_, '_> {
    /// Offers a candidate of a selection, as [`TopK::push`] does.
    #[inline]
    pub(crate) fn push(&mut self, selection: usize, score: f32, place: TieBreakers, payload: u32) {
        let score_key = ordered(score) ^ self.flip;
        if score_key > self.limits[selection] || !score.is_finite() {
            return;
        }
        self.keep(selection, Entry::new(score_key, place, payload));
    }

    #[inline(never)]
    fn keep(&mut self, selection: usize, entry: Entry) {
        let count = usize::from(self.counts[selection]);
        self.entries[selection * WAITING + count] = entry;
        self.counts[selection] += 1;
        if count + 1 == WAITING {
            self.hand_over(selection);
        }
    }

    fn hand_over(&mut self, selection: usize) {
        let count = usize::from(std::mem::take(&mut self.counts[selection]));
        let mut top = locked(&self.all.0[selection]);
        for entry in &self.entries[selection * WAITING..][..count] {
            top.keep(*entry);
        }
        self.limits[selection] = top.limit();
    }

    /// Hands over what is left.
    pub(crate) fn finish(mut self) {
        for selection in 0..self.counts.len() {
            if self.counts[selection] > 0 {
                self.hand_over(selection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{naive, score};
    use super::*;

    proptest! {
        #[test]
        fn every_selection_equals_a_full_sort_for_any_number_of_threads(
            rows in proptest::collection::vec((score(), score(), score()), 0..1500), k in 0usize..200,
            threads in 1usize..5, highest: bool,
        ) {
            let new = |k| if highest { TopK::highest(k) } else { TopK::lowest(k) };
            let lengths = [k, 0, k / 3 + 1];
            let mut tops = lengths.map(|k| new(k).with_room(8).with_memory(rows.len()));
            {
                let all = Shared::new(tops.iter_mut());
                std::thread::scope(|scope| {
                    for first in 0..threads {
                        let (all, rows) = (&all, &rows);
                        scope.spawn(move || {
                            let mut own = all.waiting();
                            for (i, (a, b, c)) in rows.iter().enumerate().skip(first).step_by(threads) {
                                for (selection, score) in [a, b, c].into_iter().enumerate() {
                                    own.push(selection, *score, (7, i as u64, 1), i as u32);
                                }
                            }
                            own.finish();
                        });
                    }
                });
                (0..lengths.len()).for_each(|selection| all.sort(selection));
            }
            let columns: [Vec<f32>; 3] = [
                rows.iter().map(|row| row.0).collect(),
                rows.iter().map(|row| row.1).collect(),
                rows.iter().map(|row| row.2).collect(),
            ];
            for ((top, k), scores) in tops.into_iter().zip(lengths).zip(columns) {
                let got: Vec<_> =
                    top.into_sorted().into_iter().map(|s| (s.score.to_bits(), s.payload as usize)).collect();
                prop_assert_eq!(got, naive(&scores, k, highest));
            }
        }
    }

    #[test]
    fn selections_go_on_from_what_they_have_in_the_memory_that_they_have() {
        let mut tops = [TopK::highest(1000).with_room(64).with_memory(30_000)];
        let memory = tops[0].entries.capacity();
        (0..10_000u64).for_each(|i| tops[0].push((i % 97) as f32, (0, i, 0), 0));
        {
            let all = Shared::new(tops.iter_mut());
            let mut own = [all.waiting(), all.waiting()];
            (10_000..30_000u64).for_each(|i| own[i as usize % 2].push(0, (i % 97) as f32, (0, i, 0), 0));
            own.into_iter().for_each(PendingCandidates::finish);
        }
        let [top] = tops;
        assert_eq!(top.entries.capacity(), memory);
        let mut want: Vec<(u64, u64)> = (0..30_000).map(|i| (96 - i % 97, i)).collect();
        want.sort_unstable();
        let got: Vec<_> = top.into_sorted().iter().map(|s| (96 - s.score as u64, s.place.1)).collect();
        assert_eq!(got, want[..1000]);
    }
}
