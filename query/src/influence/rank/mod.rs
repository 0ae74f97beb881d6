//! The ranking of a plan.

pub(super) mod cascade;
pub(super) mod collect;
pub(super) mod diverse;
pub(super) mod each;
pub(super) mod shortlist;
pub(super) mod summary;
pub(super) mod top;

use gstore_core::parallel;
use std::sync::atomic::AtomicBool;

use self::cascade::Cascade;
use self::collect::{Collector, merge};
use self::each::Lists;
use crate::error::QueryError;
use crate::influence::plan::InfluencePlan;
use crate::influence::prepare::Ready;
use crate::influence::result::{Ranking, ScanSummary};
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::pruning::Skipper;
use crate::influence::scan::windows::{lacking, windows};
use crate::influence::scan::{Scan, Totals, Worker};
use crate::influence::spec::mode::Mode;
use crate::influence::spec::{Missing, Order, Sim};
use crate::kernel::Kernel;

/// One ranking that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) order: Order,
    pub(super) k: usize,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) threads: usize,
    pub(super) cancel: &'a AtomicBool,
}

impl InfluencePlan {
    /// The k best or worst rows, or tokens where those are scored. `threads` 0 means one per core; the bits of the result do not depend on it.
    ///
    /// Memory grows with k, not with the number of rows. With dot products, blocks whose vectors are too short to reach the answer are not
    /// read; how many depends on the threads, the result does not.
    pub fn top_k(
        &self,
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Ranking, QueryError> {
        let ready = self.ready(cancel)?;
        self.check_missing(&ready, filter)?;
        let ask = Ask { order, k, filter, threads, cancel };
        let (top, summary) = self.despite_sketches(&ready, || self.ranked(&ready, ask))?;
        Ok(Ranking::new(top.into_rows(), ready.target.subtasks.clone(), summary))
    }

    /// The ranking, by the way that is expected to read least.
    fn ranked(&self, ready: &Ready, ask: Ask<'_>) -> Result<(Collector, ScanSummary), QueryError> {
        if let Some(found) = self.by_many(ready, ask)? {
            return Ok(found);
        }
        match self.by_sketch(ready, ask)? {
            Ok(found) => Ok(found),
            Err(note) => {
                let (top, mut summary) = self.by_scan(ready, ask)?;
                summary.notes.extend(note);
                Ok((top, summary))
            }
        }
    }

    /// Scores rows of which an estimate of every value says that they may rank, where there are many values.
    fn by_many(&self, ready: &Ready, ask: Ask<'_>) -> Result<Option<(Collector, ScanSummary)>, QueryError> {
        // The lengths of vectors may say more of dot products, and for less.
        if self.spec().sim == Sim::Dot && self.spec().mode == Mode::Exact {
            return Ok(None);
        }
        let Some(found) = self.by_shortlist(ready, &Lists::Whole, ask)? else { return Ok(None) };
        let summary = self.summary_of_lists(ready, &found.totals, found.planes);
        Ok(found.tops.into_iter().next().map(|top| (top, summary)))
    }

    /// Scores every row.
    fn by_scan(&self, ready: &Ready, ask: Ask<'_>) -> Result<(Collector, ScanSummary), QueryError> {
        let Ask { order, k, filter, threads, cancel } = ask;
        let scan = self.scan(ready, filter, cancel);
        let mut windows = windows(&ready.pools, ready.queries());
        let skipper = Skipper::new(&scan, order, &mut windows);
        let tops = || [Collector::new(order, k, self.spec().per_token)];
        let states = parallel::unordered::<_, QueryError>(
            windows.len(),
            threads,
            cancel,
            || (Worker::default(), tops(), Totals::default()),
            |(worker, [top], totals), unit| {
                if skipper.as_ref().is_some_and(|skipper| skipper.skips(unit)) {
                    let rows = scan.wanted(&windows[unit], worker);
                    totals.merge(&Totals { scanned: rows, eligible: rows, ..Totals::default() });
                    return Ok(());
                }
                let found = scan.window(&windows[unit], worker)?;
                found.scored.iter().for_each(|s| top.push(s));
                totals.merge(&found.totals);
                if let Some(skipper) = &skipper {
                    skipper.learn(top.top());
                }
                Ok(())
            },
        )?;
        let mut tops = tops();
        let totals = merge(states, &mut tops);
        let [top] = tops;
        Ok((top, self.summary(ready, &totals)))
    }

    /// Leaves rows out that a sketch excludes; where it cannot, a note for the user, if the question asked for it.
    fn by_sketch(
        &self,
        ready: &Ready,
        ask: Ask<'_>,
    ) -> Result<Result<(Collector, ScanSummary), Option<String>>, QueryError> {
        let Mode::Sketch(mode) = &self.spec().mode else { return Ok(Err(None)) };
        let sides = match self.sides(ready) {
            Ok(sides) => sides,
            Err(why) => return Ok(Err(self.every_row(why))),
        };
        let Ask { order, k, filter, threads, cancel } = ask;
        let cascade = Cascade {
            scan: self.scan(ready, filter, cancel),
            sides,
            mode,
            order,
            k,
            threads,
            rows: ready.rows(filter),
        };
        let found = match cascade.run()? {
            Ok(found) => found,
            Err(why) => return Ok(Err(self.every_row(&why))),
        };
        let summary = ScanSummary {
            guarantee: mode.guarantee(found.probable),
            planes: found.planes,
            rows_scored: found.rows_scored,
            ..self.summary(ready, &found.totals)
        };
        Ok(Ok((found.top, summary)))
    }

    pub(super) fn scan<'a>(
        &self,
        ready: &'a Ready,
        filter: Option<&'a RowFilter>,
        cancel: &'a AtomicBool,
    ) -> Scan<'a> {
        Scan {
            pools: &ready.pools,
            kernel: Kernel::detect(),
            sim: self.spec().sim,
            missing: self.spec().missing,
            weights: &ready.weights,
            terms: &ready.target.terms,
            filter,
            cancel,
        }
    }

    /// Refuses rows that lack a checkpoint where the question wants that, before anything is scored.
    pub(super) fn check_missing(&self, ready: &Ready, filter: Option<&RowFilter>) -> Result<(), QueryError> {
        if self.spec().missing != Missing::Error {
            return Ok(());
        }
        let found = lacking(&ready.pools, filter)?;
        if found.rows == 0 {
            return Ok(());
        }
        let detail: Vec<String> = found
            .by_checkpoint
            .iter()
            .map(|&(pool, checkpoint, rows)| {
                let (pool, checkpoint) = (&self.pools()[pool], &self.checkpoints()[checkpoint]);
                format!("{rows} of `{}` at {}", pool.dataset.name, checkpoint.name)
            })
            .collect();
        Err(QueryError::Missing { rows: found.rows, scanned: found.scanned, detail: detail.join(", ") })
    }
}
