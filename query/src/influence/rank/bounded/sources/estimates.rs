//! Estimates of rows' values, with bounds of their errors.

use gstore_store::RowFlags;

use super::found::stretch;
use crate::influence::result::Reason;
use crate::influence::scan::Scan;

#[derive(Default)]
pub(in super::super) struct Estimates {
    queries: usize,
    states: Vec<RowState>,
    /// Rows x queries.
    values: Vec<f32>,
    /// Rows x queries: how far the exact values can be from them. What is not finite bounds nothing.
    errors: Vec<f32>,
    /// Vectors of which there is nothing to know but their values.
    plain: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct RowState {
    checkpoints: u32,
    flags: RowFlags,
    weighty: bool,
    /// Its values cannot be estimated.
    odd: bool,
}

impl RowState {
    fn note(&mut self, weighty: bool) {
        self.checkpoints += 1;
        self.weighty |= weighty;
    }
}

impl Estimates {
    /// Starts over with a number of rows, each of which has a value for every query.
    pub(in super::super) fn start(&mut self, rows: usize, queries: usize) {
        self.queries = queries;
        self.plain = 0;
        self.states.clear();
        self.states.resize(rows, RowState::default());
        for all in [&mut self.values, &mut self.errors] {
            all.clear();
            all.resize(rows * queries, 0.0);
        }
    }

    /// Notes that a checkpoint has a row; `weighty`: the checkpoint counts.
    pub(super) fn note(&mut self, place: usize, flags: RowFlags, weighty: bool) {
        self.states[place].note(weighty);
        self.states[place].flags.insert(flags);
    }

    /// The same of rows whose flags say nothing of whether they have a score.
    pub(super) fn note_plain(&mut self, places: &[u32], weighty: bool) {
        self.plain += places.len();
        match stretch(places) {
            Some(span) => self.states[span].iter_mut().for_each(|state| state.note(weighty)),
            None => places.iter().for_each(|place| self.states[*place as usize].note(weighty)),
        }
    }

    /// Notes that nothing is known of a row's values.
    pub(super) fn give_up(&mut self, place: usize) {
        self.states[place].odd = true;
    }

    /// Values and errors of a row.
    pub(in super::super) fn of(&mut self, place: usize) -> (&mut [f32], &mut [f32]) {
        let span = place * self.queries..(place + 1) * self.queries;
        (&mut self.values[span.clone()], &mut self.errors[span])
    }

    /// Values and errors of all rows.
    pub(in super::super) fn all(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.values, &mut self.errors)
    }

    /// Whether every row has a score and every checkpoint, so that [`Self::is_whole`] need not be asked.
    pub(in super::super) fn are_plain(&self, checkpoints: usize) -> bool {
        self.plain == self.states.len() * checkpoints
    }

    /// Whether a row's values may be bounded; or why it has no score.
    pub(in super::super) fn is_whole(&self, place: usize, scan: &Scan<'_>) -> Result<bool, Reason> {
        let state = &self.states[place];
        Ok(scan.is_whole(state.flags, state.checkpoints as usize, state.weighty)? && !state.odd)
    }
}
