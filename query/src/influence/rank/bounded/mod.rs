//! Rankings by bounds: values are estimated up to a bound of the error, and what may rank is computed
//! exactly.
//!
//! An [`EstimateSource`] estimates the values of rows: the rows themselves in bf16 or bytes, or a plane of
//! the codes of a sketch. A way to an answer is one source, or several that are asked one after the other
//! about the rows that the ones before leave. A row is a candidate of a ranking unless its upper bound is
//! below a cut: the k-th score so far, the k-th of the lower bounds, or what a sample lets expect. Of the
//! candidates those with the best estimates are scored first, since their k-th score is a better cut for the
//! others.
//!
//! Invariants
//! - a score that is returned is that of the exact scan, bit by bit, and so is the order
//! - a row is left out of a ranking only if its own bound is below the k-th score (or above it by no more
//!   than the tolerance): a cut that turns out to lie above that score is not trusted, and the rows are asked
//!   about again
//! - which rows are read depends on stored bytes, the question and what the processor multiplies, and with
//!   large questions on the costs of this machine; not on threads
//! - memory is bounded: at most [`BATCH_PAIRS`] candidates of 16 bytes wait while [`PROVEN_PAIRS`] pairs of a
//!   row and a ranking are looked at, some 170 MB where every pair may rank; usually some hundred for each
//!   ranking do. A single ranking by codes looks at a quarter of [`BATCH_PAIRS`] at a time

mod calibrate;
mod candidates;
mod choice;
mod cost;
mod exact;
mod findings;
mod pairs;
mod part;
mod pass;
pub(super) mod question;
mod run;
mod sources;

pub(super) use choice::LEAST_SAMPLED;

use super::collect::Collector;
use super::lists::Lists;
use crate::error::QueryError;
use crate::influence::result::PlaneSummary;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, Totals, query_count};
use crate::influence::sides::Singles;
use crate::influence::spec::Order;
use run::Run;
use sources::EstimateSource;

/// Pairs of a row and a ranking that are looked at together; each may be a candidate of 16 bytes.
const BATCH_PAIRS: usize = 1 << 21;

/// The same once a way has left little of a batch: threads wait for each other at the end of each.
const PROVEN_PAIRS: usize = 4 * BATCH_PAIRS;

/// Rows that a way is tried on at least.
const TRIAL_ROWS: usize = 2048;
/// Rows that a way is tried on for each row of a ranking, if that is more than [`TRIAL_ROWS`].
const TRIAL_ROWS_EACH: usize = 32;
/// A way is tried on one in so many of all rows at most.
const TRIAL_SHARE: usize = 8;

/// With fewer rows for each row of a ranking, nothing is said of a way.
const JUDGED_ROWS: usize = 16;

/// Values that are estimated at a time: what is kept of them then stays in a core's cache.
const CACHED: usize = 1 << 16;

/// The share of pairs from which on it is cheaper to compute all of them at once.
const MOST_LEFT: f64 = 1.0 / 8.0;

struct Search<'a> {
    scan: Scan<'a>,
    lists: &'a Lists,
    /// Where every query is a ranking.
    singles: Option<&'a Singles>,
    /// Where there is one, of subtasks with a value each: all values as one subtask, since its value is the
    /// score and is found in one pass over them.
    flat: Option<Terms>,
    order: Order,
    /// Rows of each ranking.
    k: usize,
    threads: usize,
    /// Rows may be missing that score at most this much better than the last.
    tolerance: f64,
    /// The share of the rows that the filter lets through.
    counted: f64,
}

/// Sources that are asked one after the other.
struct Way<'a> {
    sources: Vec<EstimateSource<'a>>,
    /// Of the pairs of a row and a ranking, the share that it may leave: where more have to be computed
    /// exactly, what comes after it costs less.
    most_left: f64,
}

impl<'a> Way<'a> {
    /// One that is given up where computing everything costs less.
    fn new(sources: Vec<EstimateSource<'a>>) -> Self {
        Self { sources, most_left: MOST_LEFT }
    }
}

/// How a search goes.
struct Plan<'a> {
    /// Where there are several, each takes over where the one before says too little, and in the end every
    /// row is scored.
    ways: Vec<Way<'a>>,
    /// Whether a way is known to pay.
    chosen: bool,
    /// What the k-th score of the only ranking may be expected to reach.
    expected: Option<f32>,
}

pub(super) struct SearchOutcome {
    pub(super) tops: Vec<Collector>,
    pub(super) totals: Totals,
    /// What codes did, where they left rows out.
    pub(super) planes: Vec<PlaneSummary>,
    /// What was made use of.
    pub(super) tolerance: f64,
}

impl Search<'_> {
    fn run(&self, plan: &Plan<'_>, windows: &[Window]) -> Result<SearchOutcome, QueryError> {
        let mut run = Run::new(self, plan, windows);
        let mut start = 0;
        while start < windows.len() {
            let batch = start..start + self.batch(&windows[start..], run.most_pairs());
            if run.take(batch.clone())? {
                start = batch.end;
                continue;
            }
            // Where few rows can be left out of a batch, so it is of the next ones.
            run.finish()?;
            if !run.next_way() {
                run.score_all(batch.start..windows.len())?;
                break;
            }
        }
        run.finish()?;
        Ok(run.into_outcome())
    }

    fn queries(&self) -> usize {
        query_count(self.scan.pools)
    }

    fn collectors(&self) -> Vec<Collector> {
        let collector = || Collector::new(self.order, self.k, false);
        match self.lists.len() {
            1 => vec![collector()],
            count => (0..count).map(|_| collector().small()).collect(),
        }
    }

    /// How many of the windows make a batch.
    fn batch(&self, windows: &[Window], most: usize) -> usize {
        let mut pairs = 0;
        let fits = windows.iter().take_while(|window| {
            let rows = (window.rows.end - window.rows.start) as f64 * self.counted;
            pairs += rows.ceil() as usize * self.lists.len();
            pairs <= most
        });
        fits.count().max(1)
    }

    /// What the upper bound of another row has to reach besides those of a ranking, as candidates have it.
    /// Below all where there are fewer than k.
    fn limit(&self, top: &mut Collector) -> f32 {
        top.kth().map_or(f32::NEG_INFINITY, |score| self.limit_of(self.order.sign() * score))
    }

    /// The same where the k-th scores this: the smallest single precision number that is not below it and the
    /// tolerance.
    fn limit_of(&self, score: f32) -> f32 {
        let limit = f64::from(score) + self.tolerance;
        let near = limit as f32;
        if f64::from(near) < limit { near.next_up() } else { near }
    }
}
