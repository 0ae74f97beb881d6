//! The scores of a plan in the order of the rows, and what was left out.

use gstore_core::parallel;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use crate::error::QueryError;
use crate::influence::plan::InfluencePlan;
use crate::influence::prepare::Ready;
use crate::influence::result::{Excluded, ScanSummary, Scored};
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::windows::windows;
use crate::influence::scan::{Totals, Worker};

impl InfluencePlan {
    /// Hands out every eligible row in (pool, row) order, tokens in (pool, row, pos) order, in slices; `Break` ends the scan early. Memory
    /// is bounded: a slice is at most one cell, or the tokens of few blocks, and few wait at a time.
    pub fn scores(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let ready = self.ready(cancel)?;
        self.check_missing(&ready, filter)?;
        let mut summary = self.stream(&ready, filter, threads, cancel, |scored, _| {
            if scored.is_empty() { ControlFlow::Continue(()) } else { emit(scored) }
        })?;
        summary.notes.extend(self.every_row("a sketch serves rankings of the first k rows"));
        Ok(summary)
    }

    /// Hands out every row without a score and the reason, in the same order. Rows that lack a checkpoint are among them also where
    /// `missing` says that they are an error.
    pub fn excluded(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Excluded]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let ready = self.ready(cancel)?;
        self.stream(&ready, filter, threads, cancel, |_, excluded| {
            if excluded.is_empty() { ControlFlow::Continue(()) } else { emit(excluded) }
        })
    }

    fn stream(
        &self,
        ready: &Ready,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&[Scored], &[Excluded]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        let scan = self.scan(ready, filter, cancel);
        let windows = windows(&ready.pools, ready.queries());
        let mut totals = Totals::default();
        parallel::ordered::<_, _, QueryError>(
            windows.len(),
            threads,
            cancel,
            Worker::default,
            |worker, unit| scan.window(&windows[unit], worker),
            |found| {
                totals.merge(&found.totals);
                Ok(emit(&found.scored, &found.excluded))
            },
        )?;
        Ok(self.summary(ready, &totals))
    }
}
