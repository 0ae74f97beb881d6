//! Rankings by sketch: planes of codes exclude rows, and the rows that are left are scored exactly.
//!
//! Invariants
//! - a score that is returned is that of the exact scan, and so is the order
//! - a row is left out only if its bound is worse than the k-th of the scores found so far (or no better by more than the tolerance),
//!   whatever was estimated
//! - which rows are read depends on stored bytes and the question, not on threads
//! - memory is bounded: rows go through the planes in batches

mod bound;
#[cfg(test)]
mod calibration;
mod choose;
mod score;
mod sides;

use super::collect::Collector;
use super::drive;
use super::filter::RowFilter;
use super::mode::{Plane, SketchMode};
use super::result::PlaneSummary;
use super::scan::{Scan, Totals};
use super::spec::{Across, Order, Within};
use super::terms::Terms;
use super::windows::{Window, windows};
use crate::error::QueryError;
use crate::sketch::{tail::upper_quantile, tail_excess};
use crate::topk::TopK;
use bound::{Bounded, Bounder, Found, Scratch};
pub(super) use sides::{Sides, SketchSide, sides};

/// Rows that go through the planes together: what is remembered of each is 12 bytes.
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

/// Rows of some windows: for each, its number and offsets from its first row, ascending.
type Chosen = Vec<(usize, Vec<u32>)>;

/// A ranking under way.
struct Run<'a> {
    cascade: &'a Cascade<'a>,
    windows: &'a [Window],
    bounder: Bounder<'a>,
    top: Collector,
    /// The k-th score so far.
    threshold: Option<f32>,
    totals: Totals,
    planes: Vec<PlaneSummary>,
    rows_scored: u64,
}

impl Cascade<'_> {
    /// The ranking, or why every row should be scored instead.
    pub(super) fn run(&self) -> Result<Result<Outcome, String>, QueryError> {
        let queries = self.scan.pools.first().and_then(|pool| pool.queries.first()).map_or(0, |q| q.len());
        let windows = windows(self.scan.pools, queries * VALUE_COST);
        let z = self.margin();
        let bounder = Bounder { scan: &self.scan, sides: self.sides, order: self.order, z };
        let planes = match &self.mode.planes {
            Some(planes) => planes.clone(),
            None => match choose::planes(self, &bounder, &windows)? {
                Ok(planes) => planes,
                Err(why) => return Ok(Err(why)),
            },
        };
        let mut run = Run {
            cascade: self,
            windows: &windows,
            bounder,
            top: Collector::new(self.order, self.k, false),
            threshold: None,
            totals: Totals::default(),
            planes: planes
                .iter()
                .map(|plane| PlaneSummary { plane: *plane, rows: 0, excluded: 0, bytes_read: 0 })
                .collect(),
            rows_scored: 0,
        };
        for batch in batches(&windows) {
            run.batch(batch)?;
        }
        Ok(Ok(Outcome {
            top: run.top,
            totals: run.totals,
            planes: run.planes,
            rows_scored: run.rows_scored,
            probable: planes.iter().any(|plane| *plane != Plane::Certified),
        }))
    }

    /// Standard deviations between an estimate and its bound, for the stated probability of missing any of the first k rows. A row is
    /// missed only if its own bound fails, in one of the planes; the bound of a score fails only if that of certain values does.
    fn margin(&self) -> f64 {
        let rows = (self.k as u64).min(self.rows).max(1) as f64;
        let events = rows * Plane::PROBABLE.len() as f64 * deciding(self.scan.terms, self.order) as f64;
        let smallest = self.sides.iter().flatten().map(|side| side.sketch.padded());
        let smallest = smallest.filter(|dim| *dim > 0).min().unwrap_or(64);
        upper_quantile(self.mode.miss / events / tail_excess(smallest))
    }

    fn bounds(
        &self,
        bounder: &Bounder<'_>,
        windows: &[Window],
        plane: Plane,
        rows: &[(usize, Option<Vec<u32>>)],
    ) -> Result<Vec<(usize, Found)>, QueryError> {
        // Threads keep what they found with its place, since the order in which they find it is not known.
        let parts = drive::unordered(
            rows.len(),
            self.threads,
            self.scan.cancel,
            || (Scratch::default(), Vec::new()),
            |(scratch, found), unit| {
                let (window, offsets) = &rows[unit];
                found.push((unit, bounder.window(&windows[*window], plane, offsets.as_deref(), scratch)?));
                Ok(())
            },
        )?;
        let mut all: Vec<(usize, Found)> = parts.into_iter().flat_map(|(_, found)| found).collect();
        all.sort_unstable_by_key(|(unit, _)| *unit);
        Ok(all.into_iter().map(|(unit, found)| (rows[unit].0, found)).collect())
    }
}

/// How many of a row's values must keep their bounds for its score to keep its own. Of the best rows scores are bounded from above: where the
/// largest value counts, that one's bound is enough, and which it is does not depend on the rotation; where the smallest counts, each may be it. Of the worst
/// rows it is the other way round. A sum has one error, whose deviation is at most the sum of theirs.
fn deciding(terms: &Terms, order: Order) -> usize {
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
fn batches(windows: &[Window]) -> Vec<std::ops::Range<usize>> {
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

impl Run<'_> {
    /// Takes a batch of windows through the planes and scores what is left.
    fn batch(&mut self, batch: std::ops::Range<usize>) -> Result<(), QueryError> {
        let mut rows: Vec<(usize, Option<Vec<u32>>)> = batch.map(|window| (window, None)).collect();
        for at in 0..self.planes.len() {
            let plane = self.planes[at].plane;
            let found = self.cascade.bounds(&self.bounder, self.windows, plane, &rows)?;
            let mut left: Vec<(usize, Vec<Bounded>)> = Vec::new();
            let mut unbounded: Chosen = Vec::new();
            for (window, found) in found {
                let counted = found.rows.len() as u64 + found.unbounded.len() as u64;
                if at == 0 {
                    self.totals.merge(&found.totals);
                }
                self.planes[at].rows += counted;
                self.planes[at].bytes_read += found.bytes;
                self.totals.bytes_read += found.bytes;
                if !found.unbounded.is_empty() {
                    unbounded.push((window, found.unbounded));
                }
                if !found.rows.is_empty() {
                    left.push((window, found.rows));
                }
            }
            // What the first plane could bound is among the totals.
            self.score(&unbounded, at == 0)?;
            self.seed(&mut left)?;
            rows.clear();
            for (window, bounded) in left {
                let before = bounded.len();
                let kept: Vec<u32> =
                    bounded.iter().filter(|row| self.may_rank(row.bound)).map(|row| row.offset).collect();
                self.planes[at].excluded += (before - kept.len()) as u64;
                if !kept.is_empty() {
                    rows.push((window, Some(kept)));
                }
            }
        }
        let rest: Chosen = rows.into_iter().filter_map(|(window, rows)| Some((window, rows?))).collect();
        self.score(&rest, false)
    }

    /// Scores the rows with the best estimates, so that the threshold is near the one that the answer will have, and takes them out.
    fn seed(&mut self, left: &mut [(usize, Vec<Bounded>)]) -> Result<(), QueryError> {
        let most = self.cascade.k.saturating_add((self.cascade.k / 4).max(156));
        let mut best = match self.cascade.order {
            Order::Best => TopK::highest(most),
            Order::Worst => TopK::lowest(most),
        };
        for (i, (_, rows)) in left.iter().enumerate() {
            for row in rows.iter().filter(|row| self.improves(row.estimate)) {
                best.push(row.estimate, (i as u32, u64::from(row.offset), 0), 0);
            }
        }
        let mut chosen: Vec<(u32, u32)> =
            best.into_sorted().iter().map(|s| (s.place.0, s.place.1 as u32)).collect();
        chosen.sort_unstable();
        let mut seeds: Chosen = Vec::new();
        for group in chosen.chunk_by(|a, b| a.0 == b.0) {
            let (window, rows) = &mut left[group[0].0 as usize];
            let offsets: Vec<u32> = group.iter().map(|(_, offset)| *offset).collect();
            let mut taken = offsets.iter().peekable();
            rows.retain(|row| taken.next_if(|offset| **offset == row.offset).is_none());
            seeds.push((*window, offsets));
        }
        self.score(&seeds, false)
    }

    /// Whether a row whose score is at best `bound` may be among the results.
    fn may_rank(&self, bound: f32) -> bool {
        let Some(threshold) = self.threshold else { return true };
        let (bound, threshold) = (f64::from(bound), f64::from(threshold));
        match self.cascade.order {
            Order::Best => bound >= threshold + self.cascade.mode.tolerance,
            Order::Worst => bound <= threshold - self.cascade.mode.tolerance,
        }
    }

    fn improves(&self, estimate: f32) -> bool {
        self.threshold.is_none_or(|threshold| match self.cascade.order {
            Order::Best => estimate > threshold,
            Order::Worst => estimate < threshold,
        })
    }
}

/// The rows of each pool as a filter.
fn filter_of(windows: &[Window], pools: usize, chosen: &Chosen) -> RowFilter {
    let mut filter = RowFilter::new();
    for pool in 0..pools {
        let of_pool = chosen.iter().filter(|(window, _)| windows[*window].pool as usize == pool);
        let rows = of_pool.flat_map(|(window, offsets)| {
            offsets.iter().map(|offset| windows[*window].rows.start + u64::from(*offset))
        });
        filter = filter.with(pool, rows.collect());
    }
    filter
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
