//! Findings of a pass: the rows that may rank, and those that nothing is known of.

use super::candidates::{Candidates, ScoreCut};
use super::sources::PickedRows;
use crate::influence::scan::Totals;

/// Rankings at least that tell how many candidates are left, where there are as many.
const JUDGED_LISTS: usize = 16;

#[derive(Default)]
pub(super) struct Findings {
    /// For each ranking.
    pub(super) lists: Vec<Candidates>,
    /// Rows that nothing is known of: number of the window and row, from its first.
    pub(super) unbounded: Vec<(u32, u32)>,
    /// Of the rows that are bounded or have no score.
    pub(super) totals: Totals,
}

impl Findings {
    pub(super) fn new(k: usize, cuts: &[ScoreCut]) -> Self {
        let lists = cuts.iter().map(|cut| Candidates::new(k, cut.clone())).collect();
        Self { lists, unbounded: Vec::new(), totals: Totals::default() }
    }

    /// Takes over what was found of other rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.lists.iter_mut().zip(other.lists).for_each(|(list, other)| list.merge(other));
        self.unbounded.extend(other.unbounded);
        self.totals.merge(&other.totals);
    }

    /// Takes the rows out that nothing is known of.
    pub(super) fn take_unbounded(&mut self) -> Vec<PickedRows> {
        let mut rows = std::mem::take(&mut self.unbounded);
        rows.sort_unstable();
        let of_window = |rows: &[(u32, u32)]| (rows[0].0, rows.iter().map(|row| row.1).collect());
        rows.chunk_by(|a, b| a.0 == b.0).map(of_window).collect()
    }

    /// Number of candidates of all rankings.
    pub(super) fn candidates(&self) -> usize {
        self.lists.iter().map(Candidates::len).sum()
    }

    /// How many of them are likely to be left in the end, where so many rows of each ranking are among them;
    /// by some of the rankings.
    pub(super) fn likely(&self, ranking: usize) -> usize {
        let every = (self.lists.len() / JUDGED_LISTS).max(1);
        let judged = self.lists.len().div_ceil(every).max(1);
        let sum: usize = self.lists.iter().step_by(every).map(|list| list.likely(ranking)).sum();
        sum * self.lists.len() / judged
    }
}
