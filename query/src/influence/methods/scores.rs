//! All scores in the order of the rows, and the rows that have none.

use gstore_core::{Cancel, parallel};
use std::ops::ControlFlow;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::rank::{check_missing, summary};
use crate::influence::result::{ExcludedRow, ScanSummary, Scored};
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::{Totals, Worker};

impl Prepared {
    /// Hands out every eligible row in (pool, row) order, tokens in (pool, row, pos) order, in slices;
    /// `Break` ends the scan early. Memory is bounded: a slice is at most one cell, or the tokens of few
    /// blocks, and few wait at a time.
    pub fn scores(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        mut emit: impl FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        if self.plan().models().is_some() {
            return self.stream_covariances(filter, threads, cancel, &mut |scored, _| {
                if scored.is_empty() { ControlFlow::Continue(()) } else { emit(scored) }
            });
        }
        let operands = self.operands(cancel)?;
        check_missing(self, operands, filter)?;
        let mut summary = stream(self, operands, filter, threads, cancel, &mut |scored, _| {
            if scored.is_empty() { ControlFlow::Continue(()) } else { emit(scored) }
        })?;
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
        if self.plan().models().is_some() {
            return self.stream_covariances(filter, threads, cancel, &mut |_, excluded| {
                if excluded.is_empty() { ControlFlow::Continue(()) } else { emit(excluded) }
            });
        }
        let operands = self.operands(cancel)?;
        stream(self, operands, filter, threads, cancel, &mut |_, excluded| {
            if excluded.is_empty() { ControlFlow::Continue(()) } else { emit(excluded) }
        })
    }
}

/// Takes what some rows in turn have; a `Break` ends the scan. Scans are compiled once, not for
/// each that takes.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(&[Scored], &[ExcludedRow]) -> ControlFlow<()>;

fn stream(
    prepared: &Prepared,
    operands: &Operands,
    filter: Option<&RowFilter>,
    threads: usize,
    cancel: &Cancel,
    emit: Emit<'_>,
) -> Result<ScanSummary, QueryError> {
    let scan = operands.scan(prepared.spec(), filter, cancel);
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
    Ok(summary::exact(prepared, operands, &totals))
}
