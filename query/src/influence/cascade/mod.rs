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
mod find;
mod score;
mod sides;
mod singles;
mod value;

use super::collect::Collector;
use super::drive;
use super::mode::{Plane, SketchMode};
use super::result::PlaneSummary;
use super::scan::{Scan, Totals};
use super::spec::{Across, Order, Within};
use super::terms::Terms;
use super::windows::{Window, windows};
use crate::error::QueryError;
use crate::sketch::{tail::upper_quantile, tail_excess};
use crate::topk::TopK;
use bound::{Bounder, Found, Scratch};
pub(super) use find::{code_dots, find};
pub(super) use sides::{Sides, SketchSide, sides};

/// Rows that go through the planes together: what is remembered of each is 8 bytes.
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
        drive::stages(|| self.through_planes())
    }

    fn through_planes(&self) -> Result<Result<Outcome, String>, QueryError> {
        let queries = super::scan::query_count(self.scan.pools);
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
        margin(self.mode.miss, events, self.sides)
    }

    /// What a plane says of rows of windows, in their order, and which of them are estimated to rank first: place in `rows` and offset.
    fn bounds(
        &self,
        bounder: &Bounder<'_>,
        windows: &[Window],
        plane: Plane,
        rows: &[(usize, Option<Vec<u32>>)],
        seeds: &TopK,
    ) -> Result<(Vec<(usize, Found)>, TopK), QueryError> {
        // Threads keep what they found with its place, since the order in which they find it is not known.
        let parts = drive::unordered(
            rows.len(),
            self.threads,
            self.scan.cancel,
            || (Scratch::default(), Vec::new(), seeds.clone()),
            |(scratch, all, best), unit| {
                let (window, offsets) = &rows[unit];
                let mut found = bounder.window(&windows[*window], plane, offsets.as_deref(), scratch)?;
                // They have told what they can; what is kept of all rows should be little.
                let estimates = std::mem::take(&mut found.estimates);
                for (offset, estimate) in found.offsets.iter().zip(&estimates) {
                    best.push(*estimate, (unit as u32, u64::from(*offset), 0), 0);
                }
                scratch.singles.reuse(estimates);
                all.push((unit, found));
                Ok(())
            },
        )?;
        let (mut all, mut seeds) = (Vec::new(), seeds.clone());
        for (_, found, best) in parts {
            all.extend(found);
            seeds.merge(best);
        }
        all.sort_unstable_by_key(|(unit, _)| *unit);
        Ok((all, seeds))
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
            let (mut found, seeds) =
                self.cascade.bounds(&self.bounder, self.windows, plane, &rows, &self.seeds())?;
            let mut unbounded: Chosen = Vec::new();
            for (unit, found) in &mut found {
                if at == 0 {
                    self.totals.merge(&found.totals);
                }
                self.planes[at].rows += (found.offsets.len() + found.unbounded.len()) as u64;
                self.planes[at].bytes_read += found.bytes;
                self.totals.bytes_read += found.bytes;
                if !found.unbounded.is_empty() {
                    unbounded.push((rows[*unit].0, std::mem::take(&mut found.unbounded)));
                }
            }
            // What the first plane could bound is among the totals.
            self.score(&unbounded, at == 0)?;
            let mut seeds: Vec<(u32, u32)> =
                seeds.into_sorted().iter().map(|s| (s.place.0, s.place.1 as u32)).collect();
            seeds.sort_unstable();
            let of_windows = seeds.chunk_by(|a, b| a.0 == b.0);
            let first: Chosen = of_windows
                .map(|group| (rows[group[0].0 as usize].0, group.iter().map(|(_, offset)| *offset).collect()))
                .collect();
            self.score(&first, false)?;
            let cut = self.cut();
            let mut left = Vec::new();
            let mut seeds = &seeds[..];
            for (unit, found) in found {
                let (own, others) = seeds.split_at(seeds.partition_point(|seed| seed.0 as usize <= unit));
                seeds = others;
                let seeds_here = own.len();
                let mut kept = Vec::new();
                self.keep(&found, cut, &mut kept);
                let mut own = own.iter().peekable();
                kept.retain(|offset| {
                    while own.next_if(|seed| seed.1 < *offset).is_some() {}
                    own.next_if(|seed| seed.1 == *offset).is_none()
                });
                self.planes[at].excluded += (found.offsets.len() - seeds_here - kept.len()) as u64;
                if !kept.is_empty() {
                    left.push((rows[unit].0, Some(kept)));
                }
            }
            rows = left;
        }
        let rest: Chosen = rows.into_iter().filter_map(|(window, rows)| Some((window, rows?))).collect();
        self.score(&rest, false)
    }

    /// Of the rows whose estimates are better than the threshold those with the best: they are scored first, so that the threshold is near
    /// the one that the answer will have.
    fn seeds(&self) -> TopK {
        let most = self.cascade.k.saturating_add((self.cascade.k / 4).max(156));
        let seeds = match self.cascade.order {
            Order::Best => TopK::highest(most),
            Order::Worst => TopK::lowest(most),
        };
        match self.threshold {
            Some(threshold) => seeds.before(threshold),
            None => seeds,
        }
    }

    /// The worst bound with which a row may be among the results.
    fn cut(&self) -> f32 {
        let tolerance = self.cascade.mode.tolerance;
        match (self.cascade.order, self.threshold.map(f64::from)) {
            (Order::Best, None) => f32::NEG_INFINITY,
            (Order::Worst, None) => f32::INFINITY,
            (Order::Best, Some(threshold)) => up(threshold + tolerance),
            (Order::Worst, Some(threshold)) => -up(tolerance - threshold),
        }
    }

    /// Adds the rows that may be among the results, given the worst bound with which one is.
    fn keep(&self, found: &Found, cut: f32, kept: &mut Vec<u32>) {
        let arch = pulp::Arch::new();
        let sign = if self.cascade.order == Order::Best { 1.0 } else { -1.0 };
        for (offsets, bounds) in found.offsets.chunks(STRETCH).zip(found.bounds.chunks(STRETCH)) {
            if arch.dispatch(Reach { bounds, cut: sign * cut, sign }) {
                let of_rows = offsets.iter().zip(bounds).filter(|(_, bound)| sign * **bound >= sign * cut);
                kept.extend(of_rows.map(|(offset, _)| *offset));
            }
        }
    }
}

/// Rows whose bounds are compared together.
const STRETCH: usize = 64;

/// Whether a bound times a sign reaches a cut. Without a way out in the middle, so that many are compared at a time.
struct Reach<'a> {
    bounds: &'a [f32],
    cut: f32,
    sign: f32,
}

impl pulp::WithSimd for Reach<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        self.bounds.iter().fold(0, |any, bound| any | u32::from(self.sign * bound >= self.cut)) != 0
    }
}

/// The smallest single precision number that is not below.
fn up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
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
