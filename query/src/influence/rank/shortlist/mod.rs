//! Rankings by many values: each value is estimated with a bound of its error, and what may rank is computed exactly.
//!
//! A row is a candidate of a ranking unless its upper bound is below a cut, the k-th of the lower bounds so far. Candidates are scored exactly
//! in the end, or when there are many: first those with the best estimates, whose k-th score is a better cut for the others.
//!
//! Invariants
//! - a score that is returned is that of the exact scan, bit by bit, and so is the order
//! - a row is left out of a ranking only if k rows score above the best that its score can be: where bounds hold with a probability only,
//!   no lower bound decides, since a batch whose cut turns out to be above the k-th score is scanned
//! - memory is bounded: at most [`BATCH_PAIRS`] candidates wait while as many pairs of a row and a ranking are looked at, some 100 MB where
//!   every pair may rank; usually some hundred for each ranking do

mod bounds;
mod candidates;
mod codes;
mod estimates;
mod narrow;
mod pairs;
mod part;
pub(super) mod question;
mod run;
mod score;

use super::collect::Collector;
use super::each::Lists;
use crate::error::QueryError;
use crate::influence::result::PlaneSummary;
use crate::influence::scan::windows::{Window, windows};
use crate::influence::scan::{Scan, Totals, query_count};
use crate::influence::spec::Order;
use crate::influence::spec::mode::Plane;
use crate::kernel::Filter;
use codes::Reading;
use gstore_core::parallel;
use narrow::{NarrowSides, narrow_sides};
use pairs::{Singles, singles};
pub(crate) use question::Parts;
use run::Run;

/// Queries from which on it pays to estimate first, by codes and in bf16.
pub(super) const MANY: usize = 12;

/// Pairs of a row and a ranking that are looked at together; each may be a candidate of 16 bytes.
const BATCH_PAIRS: usize = 1 << 21;

/// Rows for each that is wanted that a source is tried on.
const TRIAL_ROWS: usize = 256;

/// Values that are estimated at a time: what is kept of them then stays in a core's cache.
const CACHED: usize = 1 << 16;

/// Where more than one in this many pairs has to be computed exactly, it is cheaper to compute all of them at once.
const DENSE: u64 = 8;

/// Where estimates come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The rows in bf16: bounds are certain.
    Narrow(Filter, &'a NarrowSides),
    /// Codes of sketches.
    Codes(Reading<'a>),
}

impl Source<'_> {
    fn plane(&self) -> Option<Plane> {
        match self {
            Self::Narrow(..) => None,
            Self::Codes(reading) => Some(reading.plane),
        }
    }

    /// Whether a bound holds in any case.
    fn is_certain(&self) -> bool {
        self.plane().is_none_or(|plane| plane == Plane::Certified)
    }
}

/// Rankings that are wanted.
struct Shortlist<'a> {
    pub(super) scan: Scan<'a>,
    /// The ones that read least first: each takes over where the one before says too little.
    pub(super) sources: Vec<Source<'a>>,
    pub(super) lists: &'a Lists,
    /// Where every query is a ranking.
    pub(super) singles: Option<&'a Singles>,
    pub(super) order: Order,
    /// Rows of each ranking.
    pub(super) k: usize,
    pub(super) threads: usize,
}

/// What was found.
pub(super) struct Outcome {
    pub(super) tops: Vec<Collector>,
    pub(super) totals: Totals,
    /// What codes did, where they left rows out.
    pub(super) planes: Vec<PlaneSummary>,
}

impl Shortlist<'_> {
    /// The rankings.
    pub(super) fn run(&self) -> Result<Outcome, QueryError> {
        parallel::stages(|| self.through_batches())
    }

    fn through_batches(&self) -> Result<Outcome, QueryError> {
        let windows = windows(self.scan.pools, self.queries());
        let mut run = Run::new(self, &windows);
        let mut start = 0;
        while start < windows.len() {
            let batch = start..start + self.batch(&windows[start..], run.is_trial());
            if run.take(batch.clone())? {
                start = batch.end;
                continue;
            }
            // Where few rows can be left out of a batch, so it is of the next ones.
            run.finish()?;
            if !run.next_source() {
                run.scan(batch.start..windows.len())?;
                run.start(windows.len());
                break;
            }
        }
        run.finish()?;
        Ok(run.into_found())
    }

    fn queries(&self) -> usize {
        query_count(self.scan.pools)
    }

    fn collectors(&self) -> Vec<Collector> {
        (0..self.lists.len()).map(|_| Collector::new(self.order, self.k, false).small()).collect()
    }

    /// How many of the windows make a batch. What a source is worth shows on fewer: enough that those that rank are a small part.
    fn batch(&self, windows: &[Window], is_trial: bool) -> usize {
        let first = TRIAL_ROWS.saturating_mul(self.k).saturating_mul(self.lists.len());
        let most = if is_trial { first.clamp(BATCH_PAIRS / 4, BATCH_PAIRS) } else { BATCH_PAIRS };
        let mut pairs = 0;
        let fits = windows.iter().take_while(|window| {
            pairs += (window.rows.end - window.rows.start) as usize * self.lists.len();
            pairs <= most
        });
        fits.count().max(1)
    }

    /// The score of the last of k rows, as candidates have it: what another one has to reach. Below all where there are fewer.
    fn signed_kth(&self, top: &mut Collector) -> f32 {
        top.kth().map_or(f32::NEG_INFINITY, |score| self.order.sign() * score)
    }
}
