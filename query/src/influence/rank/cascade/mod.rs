//! Rankings by sketch: planes of codes exclude rows, and the rows that are left are scored exactly.
//!
//! Invariants
//! - a score that is returned is that of the exact scan, and so is the order
//! - a row is left out only if its bound is worse than the k-th of the scores found so far (or no better by more than the tolerance),
//!   whatever was estimated
//! - which rows are read depends on stored bytes and the question, not on threads
//! - memory is bounded: rows go through the planes in batches
//! - of a batch those rows are remembered that reach what a sample lets expect of the k-th score; what turns out to matter after all is read again

mod bound;
#[cfg(test)]
mod calibration;
mod choose;
mod chosen;
mod find;
mod pass;
mod reach;
mod run;
mod score;
mod sides;
mod singles;
mod value;

use std::ops::Range;

use super::collect::Collector;
use crate::error::QueryError;
use crate::influence::result::PlaneSummary;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::{Window, windows};
use crate::influence::scan::{Scan, Totals};
use crate::influence::spec::mode::{Plane, SketchMode};
use crate::influence::spec::{Across, Order, Within};
use crate::sketch::{tail::upper_quantile, tail_excess};
use bound::Bounder;
use choose::Choice;
pub(super) use find::{code_dots, find};
use gstore_core::parallel;
use run::Run;
pub(crate) use sides::{Sides, SketchSide, sides};

/// Rows that go through the planes together: what is remembered of each is 8 bytes at most, twice while a plane is read again.
const BATCH_ROWS: u64 = 1 << 20;

/// Queries count this many times when windows are cut, since what a bound needs of memory is that of six values of a score.
const VALUE_COST: usize = 8;

/// A ranking by sketch.
pub(super) struct Cascade<'a> {
    pub(super) scan: Scan<'a>,
    pub(super) sides: &'a [Vec<SketchSide>],
    pub(super) mode: &'a SketchMode,
    pub(super) order: Order,
    pub(super) k: usize,
    pub(super) threads: usize,
    /// Rows that the filter lets through.
    pub(super) rows: u64,
}

/// What a ranking by sketch found.
pub(super) struct Outcome {
    pub(super) top: Collector,
    pub(super) totals: Totals,
    pub(super) planes: Vec<PlaneSummary>,
    pub(super) rows_scored: u64,
    /// Whether the bounds hold with a probability only.
    pub(super) probable: bool,
}

impl Cascade<'_> {
    /// The ranking, or why every row should be scored instead.
    pub(super) fn run(&self) -> Result<Result<Outcome, String>, QueryError> {
        parallel::stages(|| self.through_planes())
    }

    fn through_planes(&self) -> Result<Result<Outcome, String>, QueryError> {
        let queries = crate::influence::scan::query_count(self.scan.pools);
        let windows = windows(self.scan.pools, queries * VALUE_COST);
        let z = self.margin();
        let bounder = Bounder { scan: &self.scan, sides: self.sides, order: self.order, z };
        let choice = match &self.mode.planes {
            Some(planes) => Choice { planes: planes.clone(), expected: None },
            None => match choose::planes(self, &bounder, &windows)? {
                Ok(choice) => choice,
                Err(why) => return Ok(Err(why)),
            },
        };
        let mut run = Run::new(self, bounder, &windows, &choice);
        for batch in batches(&windows) {
            run.batch(batch)?;
        }
        Ok(Ok(run.into_outcome()))
    }

    /// Standard deviations between an estimate and its bound, for the stated probability of missing any of the first k rows. A row is
    /// missed only if its own bound fails, in one of the planes; the bound of a score fails only if that of certain values does.
    fn margin(&self) -> f64 {
        let rows = (self.k as u64).min(self.rows).max(1) as f64;
        let events = rows * Plane::PROBABLE.len() as f64 * deciding(self.scan.terms, self.order) as f64;
        margin(self.mode.miss, events, self.sides)
    }
}

/// Standard deviations between an estimate and its bound, so that the probability that any of some bounds fails is at most `miss`.
pub(super) fn margin(miss: f64, bounds: f64, sides: &[Vec<SketchSide>]) -> f64 {
    let smallest = sides.iter().flatten().map(|side| side.sketch.padded());
    let smallest = smallest.filter(|dim| *dim > 0).min().unwrap_or(64);
    upper_quantile(miss / bounds.max(1.0) / tail_excess(smallest))
}

/// How many of a row's values must keep their bounds for its score to keep its own. Of the best rows scores are bounded from above: where the
/// largest value counts, that one's bound is enough, and which it is does not depend on the rotation; where the smallest counts, each may be it. Of the worst
/// rows it is the other way round. A sum has one error, whose deviation is at most the sum of theirs.
pub(super) fn deciding(terms: &Terms, order: Order) -> usize {
    let values = || terms.subtasks.iter().map(|subtask| subtask.len()).sum::<usize>().max(1);
    let (within, across) = match order {
        Order::Best => (Within::Min, Across::Min),
        Order::Worst => (Within::Max, Across::Max),
    };
    if terms.within == within && terms.subtasks.iter().any(|subtask| subtask.len() > 1) {
        values()
    } else if terms.across == across {
        terms.subtasks.len().max(1)
    } else {
        1
    }
}

/// Runs of windows with at most [`BATCH_ROWS`] rows, or one window.
fn batches(windows: &[Window]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (i, window) in windows.iter().enumerate() {
        let more = window.rows.end - window.rows.start;
        if rows + more > BATCH_ROWS && i > start {
            batches.push(start..i);
            (start, rows) = (i, 0);
        }
        rows += more;
    }
    if start < windows.len() {
        batches.push(start..windows.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_must_hold_are_counted_for_either_end_of_the_ranking() {
        let terms = |within, across| Terms { within, across, subtasks: vec![0..2, 2..3, 3..6] };
        for (within, across, best, worst) in [
            (Within::Mean, Across::Mean, 1, 1),
            (Within::Mean, Across::Max, 1, 3),
            (Within::Mean, Across::Min, 3, 1),
            (Within::Max, Across::Max, 1, 6),
            (Within::Max, Across::Min, 3, 6),
            (Within::Min, Across::Max, 6, 3),
        ] {
            let terms = terms(within, across);
            assert_eq!(deciding(&terms, Order::Best), best, "{within} {across}");
            assert_eq!(deciding(&terms, Order::Worst), worst, "{within} {across}");
        }
        let single = Terms { within: Within::Max, across: Across::Max, subtasks: vec![0..1] };
        assert_eq!(deciding(&single, Order::Worst), 1);
    }
}
