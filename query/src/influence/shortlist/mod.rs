//! Rankings by many values: each value is estimated with a bound of its error, and what may rank is computed exactly.
//!
//! A row is a candidate of a ranking unless its upper bound is below a cut, the k-th of the lower bounds so far. Candidates are scored exactly
//! in the end, or when there are many.
//!
//! Invariants
//! - a score that is returned is that of the exact scan, bit by bit, and so is the order
//! - a row is left out of a ranking only if k rows score above the best that its score can be: where bounds hold with a probability only,
//!   no lower bound decides, since a batch whose cut turns out to be above the k-th score is scanned
//! - memory is bounded: at most [`BATCH_PAIRS`] candidates wait while as many pairs of a row and a ranking are looked at, some 100 MB where
//!   every pair may rank; usually some hundred for each ranking do

mod candidates;
mod codes;
mod estimates;
mod narrow;
mod pairs;
mod part;
mod question;
mod run;

use std::ops::Range;

use super::cascade::SketchSide;
use super::collect::Collector;
use super::drive;
use super::each::Lists;
use super::mode::Plane;
use super::result::{PlaneSummary, Scored};
use super::scan::{Scan, Totals, Worker};
use super::spec::Order;
use super::windows::{Window, windows};
use crate::error::QueryError;
use crate::kernel::Filter;
use candidates::Candidate;
use narrow::{NarrowSides, narrow_sides};
use pairs::{Singles, singles};
pub(super) use question::{Parts, Wanted};
use run::Run;

/// Queries from which on it pays to estimate first, by codes and in bf16.
pub(super) const MANY: usize = 12;
const MANY_NARROW: usize = 32;

/// Pairs of a row and a ranking that are looked at together; each may be a candidate of 16 bytes.
const BATCH_PAIRS: usize = 1 << 21;

/// Values that are estimated at a time: what is kept of them then stays in a core's cache.
const CACHED: usize = 1 << 16;

/// Where more than one in this many pairs has to be computed exactly, it is cheaper to compute all of them at once.
const DENSE: u64 = 8;

/// Where estimates come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// The rows in bf16: bounds are certain.
    Narrow(Filter, &'a NarrowSides),
    /// The int8 codes of sketches, and the standard deviations between an estimate and its bound.
    Codes(&'a [Vec<SketchSide>], f64),
}

/// Rankings that are wanted.
pub(super) struct Shortlist<'a> {
    pub(super) scan: Scan<'a>,
    pub(super) source: Source<'a>,
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
    pub(super) plane: Option<PlaneSummary>,
}

impl Shortlist<'_> {
    /// The rankings.
    pub(super) fn run(&self) -> Result<Outcome, QueryError> {
        drive::stages(|| self.through_batches())
    }

    fn through_batches(&self) -> Result<Outcome, QueryError> {
        let windows = windows(self.scan.pools, self.queries());
        let plane = PlaneSummary { plane: Plane::Int8, rows: 0, excluded: 0, bytes_read: 0 };
        let found = Outcome {
            tops: self.collectors(),
            totals: Totals::default(),
            plane: matches!(self.source, Source::Codes(..)).then_some(plane),
        };
        let mut run = Run::new(self, &windows, found);
        let mut start = 0;
        while start < windows.len() {
            let batch = start..start + self.batch(&windows[start..]);
            start = batch.end;
            if !run.take(batch.clone())? {
                // Where few rows can be left out of a batch, so it is of the next ones.
                run.finish()?;
                run.scan(batch.start..windows.len())?;
                run.start(windows.len());
                break;
            }
        }
        run.finish()?;
        let mut found = run.into_found();
        // Codes that left nothing out decided nothing.
        found.plane = found.plane.filter(|plane| plane.rows > 0);
        Ok(found)
    }

    fn queries(&self) -> usize {
        self.scan.pools.first().and_then(|pool| pool.queries.first()).map_or(0, |queries| queries.len())
    }

    fn collectors(&self) -> Vec<Collector> {
        (0..self.lists.len()).map(|_| Collector::new(self.order, self.k, false).small()).collect()
    }

    /// How many of the windows make a batch.
    fn batch(&self, windows: &[Window]) -> usize {
        let mut pairs = 0;
        let fits = windows.iter().take_while(|window| {
            pairs += (window.rows.end - window.rows.start) as usize * self.lists.len();
            pairs <= BATCH_PAIRS
        });
        fits.count().max(1)
    }

    /// A score as candidates have it.
    fn signed(&self, score: f32) -> f32 {
        if self.order == Order::Best { score } else { -score }
    }

    /// Scores pairs of a row and a query.
    fn score_pairs(
        &self,
        (windows, waiting): (&[Window], Range<usize>),
        candidates: Vec<Vec<Candidate>>,
        singles: &Singles,
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let mut of_windows: Vec<Vec<(u32, u32)>> = vec![Vec::new(); waiting.len()];
        for (list, candidates) in candidates.into_iter().enumerate() {
            for candidate in candidates {
                of_windows[candidate.unit as usize - waiting.start].push((candidate.slot, list as u32));
            }
        }
        let states = drive::unordered(
            waiting.len(),
            self.threads,
            self.scan.cancel,
            || (pairs::Memory::default(), Vec::new(), Vec::new(), Totals::default()),
            |(memory, values, scored, totals), unit| {
                let mut pairs = of_windows[unit].clone();
                if pairs.is_empty() {
                    return Ok(());
                }
                pairs.sort_unstable();
                let window = &windows[waiting.start + unit];
                totals.bytes_read += pairs::values((&self.scan, singles), window, &pairs, values, memory)?;
                totals.scored += pairs.chunk_by(|a, b| a.0 == b.0).count() as u64;
                scored.extend(pairs.iter().zip(values.iter()).map(|(pair, value)| {
                    (window.pool, window.rows.start + u64::from(pair.0), pair.1, *value)
                }));
                Ok(())
            },
        )?;
        let mut totals = Totals::default();
        let Lists::Samples(subtasks) = self.lists else { return Ok(totals) };
        for (_, _, scored, counts) in states {
            totals.merge(&counts);
            for (pool, row, query, score) in scored {
                let subtask = subtasks[query as usize];
                tops[query as usize].push(&Scored { pool, row, pos: None, score, subtask });
            }
        }
        Ok(totals)
    }

    /// Scores the rows that are candidates of any ranking, for all of them.
    fn score_rows(
        &self,
        windows: &[Window],
        candidates: &[Vec<Candidate>],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let mut rows: Vec<(u32, u32)> =
            candidates.iter().flatten().map(|candidate| (candidate.unit, candidate.slot)).collect();
        rows.sort_unstable();
        rows.dedup();
        let of_windows: Vec<(u32, Vec<u64>)> = rows
            .chunk_by(|a, b| a.0 == b.0)
            .map(|rows| {
                let first = windows[rows[0].0 as usize].rows.start;
                (rows[0].0, rows.iter().map(|row| first + u64::from(row.1)).collect())
            })
            .collect();
        let mut totals = self.score_all(windows, &of_windows, tops)?;
        totals.scored = rows.len() as u64;
        Ok(totals)
    }

    /// Scores rows of windows for every ranking.
    fn score_all(
        &self,
        windows: &[Window],
        rows: &[(u32, Vec<u64>)],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let states = drive::unordered(
            rows.len(),
            self.threads,
            self.scan.cancel,
            || (Worker::default(), self.collectors(), Totals::default()),
            |(worker, tops, totals), unit| {
                let (window, rows) = &rows[unit];
                let window = &windows[*window as usize];
                let counted = self.scan.judged_rows(window, rows, worker, |row, values, whole| {
                    self.push(window.pool, row, values, whole, tops);
                })?;
                totals.merge(&counted);
                Ok(())
            },
        )?;
        Ok(merge(states, tops))
    }

    fn push(&self, pool: u32, row: u64, values: &[f32], whole: (f32, u32), tops: &mut [Collector]) {
        self.lists.each(self.scan.terms, values, whole, |list, score, subtask| {
            tops[list].push(&Scored { pool, row, pos: None, score, subtask });
        });
    }
}

fn merge(states: Vec<(Worker, Vec<Collector>, Totals)>, tops: &mut [Collector]) -> Totals {
    let mut totals = Totals::default();
    for (_, others, counts) in states {
        totals.merge(&counts);
        tops.iter_mut().zip(others).for_each(|(top, other)| top.merge(other));
    }
    totals
}
