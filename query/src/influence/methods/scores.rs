//! All scores in the order of the rows, and the rows that have none.

use gstore_core::{Cancel, parallel};
use std::ops::ControlFlow;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::rank::{check_missing, summary};
use crate::influence::result::{ExcludedRow, ScanSummary, Scored};
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::{Totals, Worker};

impl Prepared {
    /// Hands out every eligible row in (pool, row) order, tokens in (pool, row, pos) order, in slices;
    /// `Break` ends the scan early. Memory is bounded: a slice has the rows of a window or the tokens of few
    /// blocks, and few wait at a time.
    pub fn scores(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        mut emit: impl FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        if self.plan().models().is_none() {
            check_missing(self, self.operands_on(threads, cancel)?, filter)?;
        }
        let mut summary = self.stream(filter, threads, cancel, &mut |scored, _| {
            if scored.is_empty() { ControlFlow::Continue(()) } else { emit(scored) }
        })?;
        // Questions about losses have no other mode than the exact one.
        summary.notes.extend(summary::every_row(self, "a sketch serves rankings of the first k rows"));
        Ok(summary)
    }

    /// Hands out every row without a score and the reason, in the same order. Rows that lack a checkpoint are
    /// among them also where `missing` says that they are an error.
    pub fn excluded(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        mut emit: impl FnMut(&[ExcludedRow]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        self.stream(filter, threads, cancel, &mut |_, excluded| {
            if excluded.is_empty() { ControlFlow::Continue(()) } else { emit(excluded) }
        })
    }

    fn stream(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        emit: Emit<'_>,
    ) -> Result<ScanSummary, QueryError> {
        if self.plan().models().is_some() {
            return self.stream_covariances(filter, threads, cancel, emit);
        }
        let operands = self.operands_on(threads, cancel)?;
        let scan = operands.scan(self.spec(), filter, cancel);
        let windows = operands.scan_windows();
        let mut totals = Totals::default();
        parallel::ordered(
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
        Ok(summary::exact(self, operands, &totals))
    }
}

/// Takes what some rows in turn have; a `Break` ends the scan. Scans are compiled once, not for
/// each that takes.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(&[Scored], &[ExcludedRow]) -> ControlFlow<()>;
