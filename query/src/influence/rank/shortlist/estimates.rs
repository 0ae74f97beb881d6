//! Estimates of the values of a window's rows, with bounds of their errors.

use gstore_store::{RowFlags, RowSet};

use crate::influence::result::Reason;
use crate::influence::scan::Scan;
use crate::influence::scan::filter::RowMask;
use crate::influence::scan::slots::{Selection, Slots};
use crate::influence::scan::windows::Window;

/// A window's rows; each has a slot, also those that are not wanted.
#[derive(Default)]
pub(super) struct Estimates {
    selection: Selection,
    queries: usize,
    states: Vec<State>,
    /// Slots x queries.
    values: Vec<f32>,
    /// Slots x queries: how far the exact values can be from them. What is not finite bounds nothing.
    errors: Vec<f32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    checkpoints: usize,
    flags: RowFlags,
    weighty: bool,
    /// Its values cannot be estimated.
    odd: bool,
}

impl Estimates {
    /// Starts over with the rows of a window that are live and that a filter lets through.
    pub(super) fn start(&mut self, window: &Window, live: &RowSet, filter: Option<&RowMask>, queries: usize) {
        self.selection.choose(window.rows.clone(), live, filter);
        self.queries = queries;
        let slots = (window.rows.end - window.rows.start) as usize;
        self.states.clear();
        self.states.resize(slots, State::default());
        for all in [&mut self.values, &mut self.errors] {
            all.clear();
            all.resize(slots * queries, 0.0);
        }
    }

    /// The slots of the rows.
    pub(super) fn slots(&self) -> Slots<'_> {
        self.selection.rows()
    }

    /// The slots of the rows that are wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = usize> + '_ {
        self.selection.wanted()
    }

    /// Notes that a checkpoint has a row.
    pub(super) fn note(&mut self, slot: usize, flags: RowFlags, weighty: bool) {
        let state = &mut self.states[slot];
        state.checkpoints += 1;
        state.flags.insert(flags);
        state.weighty |= weighty;
    }

    /// Notes that nothing is known of a row's values.
    pub(super) fn give_up(&mut self, slot: usize) {
        self.states[slot].odd = true;
    }

    /// Values and errors of a row.
    pub(super) fn of(&mut self, slot: usize) -> (&mut [f32], &mut [f32]) {
        let span = slot * self.queries..(slot + 1) * self.queries;
        (&mut self.values[span.clone()], &mut self.errors[span])
    }

    /// Whether a row's values may be bounded; or why it has no score.
    pub(super) fn is_whole(&self, slot: usize, scan: &Scan<'_>) -> Result<bool, Reason> {
        let state = &self.states[slot];
        Ok(scan.is_whole(state.flags, state.checkpoints, state.weighty)? && !state.odd)
    }
}
