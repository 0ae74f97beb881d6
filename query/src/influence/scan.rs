//! The exact scan: windows of rows, all checkpoints in step.
//!
//! Invariants
//! - what a window yields depends on its rows' bytes and the question, not on where blocks or windows are cut
//! - a block in which no wanted row lies is not read

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstore_store::{Block, BlockBuffer, BlockRef, CELL_ROWS, FeatureReader, RowFlags, RowSet};

use super::filter::RowFilter;
use super::result::{Excluded, ExcludedCounts, Reason, Scored};
use super::spec::{Missing, Sim};
use super::terms::Terms;
use super::values::{MIN_NORM, norm, rows_of};
use super::windows::Window;
use crate::error::QueryError;
use crate::kernel::{Kernel, Queries};

/// A pool as the scan sees it: its live rows, and for each checkpoint the feature and the queries packed for its module groups.
pub(super) struct ScanPool {
    pub(super) live: Arc<RowSet>,
    pub(super) readers: Vec<FeatureReader>,
    pub(super) queries: Vec<Arc<Queries>>,
    /// For each checkpoint the weights of the feature's module groups; the queries have them folded in.
    pub(super) modules: Vec<Vec<f64>>,
}

/// What every row of a scan is measured by.
pub(super) struct Scan<'a> {
    pub(super) pools: &'a [ScanPool],
    pub(super) kernel: Kernel,
    pub(super) sim: Sim,
    pub(super) missing: Missing,
    /// Weights of the checkpoints, in step with `ScanPool::readers`; the queries have them folded in.
    pub(super) weights: &'a [f64],
    pub(super) terms: &'a Terms,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) cancel: &'a AtomicBool,
}

/// What one window yields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Yield {
    pub(super) scored: Vec<Scored>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) totals: Totals,
}

/// Counts that add up over windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) scanned: u64,
    pub(super) eligible: u64,
    pub(super) excluded: ExcludedCounts,
    pub(super) bytes_read: u64,
}

impl Totals {
    pub(super) fn merge(&mut self, other: &Self) {
        self.scanned += other.scanned;
        self.eligible += other.eligible;
        self.excluded.merge(&other.excluded);
        self.bytes_read += other.bytes_read;
    }
}

/// A thread's memory, used again for every window.
#[derive(Default)]
pub(super) struct Worker {
    scratch: BlockBuffer,
    /// Per row of the window: its state.
    rows: Vec<RowState>,
    /// Rows x queries: the weighted sum over the checkpoints so far.
    values: Vec<f32>,
    /// Products of one run of rows with one module group of the queries.
    dots: Vec<f32>,
    /// The same, summed over the module groups.
    sums: Vec<f32>,
    /// Per row of the run: its length, where that matters.
    lengths: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct RowState {
    wanted: bool,
    checkpoints: u32,
    weight: f64,
    flags: RowFlags,
}

impl Scan<'_> {
    /// Marks the rows of the window that the filter lets through, and counts them.
    fn select(&self, window: &Window, worker: &mut Worker) -> u64 {
        worker.rows.clear();
        worker.rows.resize((window.rows.end - window.rows.start) as usize, RowState::default());
        match self.filter.and_then(|filter| filter.pool(window.pool as usize)) {
            None => {
                let live = &self.pools[window.pool as usize].live;
                let mut wanted = 0;
                for range in live.within(window.rows.clone()) {
                    wanted += range.end - range.start;
                    let at =
                        (range.start - window.rows.start) as usize..(range.end - window.rows.start) as usize;
                    worker.rows[at].iter_mut().for_each(|row| row.wanted = true);
                }
                wanted
            }
            Some(mask) => {
                let mut wanted = 0;
                for row in mask.rows_in(window.rows.clone()) {
                    worker.rows[(row - window.rows.start) as usize].wanted = true;
                    wanted += 1;
                }
                wanted
            }
        }
    }

    /// Scores the rows of a window.
    pub(super) fn window(&self, window: &Window, worker: &mut Worker) -> Result<Yield, QueryError> {
        let mut found = Yield::default();
        found.totals.scanned = self.select(window, worker);
        if found.totals.scanned == 0 {
            return Ok(found);
        }
        found.totals.bytes_read = self.accumulate(window, worker)?;
        let queries = worker.values.len() / worker.rows.len();
        for (i, values) in worker.values.chunks_exact_mut(queries).enumerate() {
            let (pool, row) = (window.pool, window.rows.start + i as u64);
            let state = worker.rows[i];
            if !state.wanted {
                continue;
            }
            match self.judge(&state, values) {
                Ok((score, subtask)) => found.scored.push(Scored { pool, row, score, subtask }),
                Err(reason) => {
                    found.totals.excluded.add(reason);
                    found.excluded.push(Excluded { pool, row, reason });
                }
            }
        }
        found.totals.eligible = found.scored.len() as u64;
        Ok(found)
    }

    /// The values of a window's rows without judging them: (wanted and usable, values) by row.
    pub(super) fn raw(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Result<&[f32], Reason>),
    ) -> Result<(), QueryError> {
        if self.select(window, worker) == 0 {
            return Ok(());
        }
        self.accumulate(window, worker)?;
        let queries = worker.values.len() / worker.rows.len();
        for (i, values) in worker.values.chunks_exact_mut(queries).enumerate() {
            let state = worker.rows[i];
            if state.wanted {
                let usable = self.usable(&state, values).map(|()| &*values);
                take(window.rows.start + i as u64, usable);
            }
        }
        Ok(())
    }

    /// Fills `worker.values` from the blocks of all checkpoints; returns the bytes of the blocks.
    fn accumulate(&self, window: &Window, worker: &mut Worker) -> Result<u64, QueryError> {
        let pool = &self.pools[window.pool as usize];
        let queries = pool.queries.first().map_or(0, |q| q.len());
        worker.values.clear();
        worker.values.resize(worker.rows.len() * queries, 0.0);
        let mut bytes = 0;
        for (c, reader) in pool.readers.iter().enumerate() {
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
                if !touches(block, window, &worker.rows) {
                    continue;
                }
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(QueryError::Cancelled);
                }
                // Taken out so that the block may borrow it while the rest of the worker is written to.
                let mut scratch = std::mem::take(&mut worker.scratch);
                let block = reader.read_block(block, &mut scratch)?;
                bytes += block_bytes(&block);
                let (queries, modules) = (&pool.queries[c], &pool.modules[c]);
                self.add_block(&block, reader, (queries, modules), self.weights[c], window, worker);
                worker.scratch = scratch;
            }
        }
        Ok(bytes)
    }

    /// Adds one checkpoint's share for the rows of a block that lie in the window.
    fn add_block(
        &self,
        block: &Block<'_>,
        reader: &FeatureReader,
        (queries, modules): (&Queries, &[f64]),
        weight: f64,
        window: &Window,
        worker: &mut Worker,
    ) {
        let first = block.rows.partition_point(|row| *row < window.rows.start);
        let last = block.rows.partition_point(|row| *row < window.rows.end);
        let position = |i: usize| (block.rows[i] - window.rows.start) as usize;
        let mut i = first;
        while i < last {
            let start = i;
            while i < last && worker.rows[position(i)].wanted {
                i += 1;
            }
            if i > start {
                self.products(block, start..i, reader, (queries, modules), worker);
                for (row, sums) in (start..i).zip(worker.sums.chunks_exact(queries.len())) {
                    let at = position(row);
                    let state = &mut worker.rows[at];
                    state.checkpoints += 1;
                    state.weight += weight;
                    state.flags.insert(RowFlags::from_bits(block.flags[row]));
                    let values = &mut worker.values[at * queries.len()..(at + 1) * queries.len()];
                    values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
                }
            }
            while i < last && !worker.rows[position(i)].wanted {
                i += 1;
            }
        }
    }

    /// Similarities of rows `run` of a block with every query, into `worker.sums`.
    fn products(
        &self,
        block: &Block<'_>,
        run: Range<usize>,
        reader: &FeatureReader,
        (queries, modules): (&Queries, &[f64]),
        worker: &mut Worker,
    ) {
        let count = run.len() * queries.len();
        let values = rows_of(block.values, queries.dim(), run.clone());
        let groups = queries.groups();
        worker.sums.clear();
        worker.sums.resize(count, 0.0);
        worker.dots.resize(count, 0.0);
        worker.lengths.clear();
        if self.sim == Sim::Cosine {
            let length = |row| norm(&block.norm[row * groups..(row + 1) * groups], modules).max(MIN_NORM);
            worker.lengths.extend(run.clone().map(length));
        }
        for group in (0..groups).filter(|group| modules[*group] != 0.0) {
            self.kernel.dots(values, queries, group, &mut worker.dots[..count]);
            let dots = worker.dots[..count].chunks_exact(queries.len());
            let sums = worker.sums.chunks_exact_mut(queries.len());
            for (i, (sums, dots)) in sums.zip(dots).enumerate() {
                let scale = f64::from(block.scale[(run.start + i) * groups + group]);
                let factor = match self.sim {
                    Sim::Cosine => scale / worker.lengths[i],
                    Sim::Dot => scale * reader.part().attrs.dot_scale,
                } as f32;
                sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot * factor);
            }
        }
    }

    /// The score of a row, or why it has none.
    fn judge(&self, state: &RowState, values: &mut [f32]) -> Result<(f32, u32), Reason> {
        self.usable(state, values)?;
        match self.terms.score(values) {
            (score, subtask) if score.is_finite() => Ok((score, subtask)),
            _ => Err(Reason::Overflow),
        }
    }

    /// Whether a row counts; where it lacks checkpoints and that is allowed, its values are renormalised.
    fn usable(&self, state: &RowState, values: &mut [f32]) -> Result<(), Reason> {
        if state.flags.contains(RowFlags::NO_SCORED) {
            return Err(Reason::NoScored);
        }
        if state.flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
            return Err(Reason::NonFinite);
        }
        if (state.checkpoints as usize) < self.weights.len() {
            if self.missing != Missing::Renormalise || state.weight <= 0.0 {
                return Err(Reason::Missing);
            }
            let factor = 1.0 / state.weight;
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        Ok(())
    }
}

/// Whether a wanted row of the window lies between the first and the last row of the block.
fn touches(block: BlockRef, window: &Window, rows: &[RowState]) -> bool {
    let span = block.range().start.max(window.rows.start)..block.range().end.min(window.rows.end);
    !span.is_empty()
        && rows[(span.start - window.rows.start) as usize..(span.end - window.rows.start) as usize]
            .iter()
            .any(|row| row.wanted)
}

fn block_bytes(block: &Block<'_>) -> u64 {
    let values = match block.values {
        gstore_store::Values::F16(v) => size_of_val(v),
        gstore_store::Values::F32(v) => size_of_val(v),
        gstore_store::Values::I8(v) => size_of_val(v),
    };
    let rest = size_of_val(block.rows) + size_of_val(block.scale) + size_of_val(block.norm);
    (values + rest + size_of_val(block.flags) + size_of_val(block.check)) as u64
}
