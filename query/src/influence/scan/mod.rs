//! The exact scan: windows of rows, all checkpoints in step.
//!
//! Invariants
//! - tokens of a sample are scored by themselves, and found again at another checkpoint by row and position
//! - what a window yields depends on its rows' bytes and the question, not on where blocks or windows are cut
//! - a block in which no wanted row lies is not read

pub(super) mod disk;
pub(super) mod filter;
pub(super) mod lengths;
mod products;
pub(super) mod pruning;
pub(super) mod slots;
pub(super) mod terms;
mod wants;
pub(super) mod windows;

use std::sync::Arc;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{Block, BlockBuffer, CELL_ROWS, FeatureReader, Granularity, ReadAhead, RowFlags, RowSet};

use self::disk::Disk;
use self::filter::RowFilter;
use self::lengths::Measure;
use self::slots::{NO_TOKEN, Selection, Slots};
use self::terms::Terms;
use self::windows::{Window, most_slots};
use crate::error::QueryError;
use crate::influence::result::{Excluded, ExcludedCounts, Reason, Scored};
use crate::influence::spec::{Missing, Sim};
use crate::kernel::{Kernel, Queries, Scratch};

/// A pool as the scan sees it: its live rows, and for each checkpoint the feature and the queries packed
/// for its module groups.
pub(super) struct ScanPool {
    /// What is scored: samples, or their tokens one by one.
    pub(super) granularity: Granularity,
    pub(super) live: Arc<RowSet>,
    pub(super) readers: Vec<FeatureReader>,
    pub(super) queries: Vec<Arc<Queries>>,
    /// For each checkpoint the weights of the feature's module groups; the queries have them folded in.
    pub(super) modules: Vec<Vec<f64>>,
    /// For each checkpoint the preconditioner under which a row of a cosine is as long as it is; none where
    /// the stored lengths count.
    pub(super) metrics: Vec<Option<Preconditioner>>,
    /// For each checkpoint the lengths of the queries by module group, where dot products are
    /// bounded by them; else empty.
    pub(super) lengths: Vec<Vec<f64>>,
}

impl ScanPool {
    /// Number of query vectors per checkpoint, the same for every pool of a scan.
    pub(super) fn query_count(&self) -> usize {
        self.queries.first().map_or(0, |queries| queries.len())
    }

    /// What the lengths of rows are taken by at a checkpoint.
    pub(super) fn measure(&self, c: usize) -> Measure<'_> {
        (&self.modules[c], self.metrics[c].as_ref())
    }
}

/// Whether rows are divided by other lengths than those that are stored, and that sketches know.
pub(super) fn has_metrics(pools: &[ScanPool]) -> bool {
    pools.iter().any(|pool| pool.metrics.iter().any(Option::is_some))
}

/// Number of query vectors per checkpoint.
pub(super) fn query_count(pools: &[ScanPool]) -> usize {
    pools.first().map_or(0, ScanPool::query_count)
}

/// What every row of a scan is measured by.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) pools: &'a [ScanPool],
    pub(super) kernel: Kernel,
    pub(super) sim: Sim,
    pub(super) missing: Missing,
    /// Weights of the checkpoints, in step with `ScanPool::readers`; the queries have them folded in.
    pub(super) weights: &'a [f64],
    pub(super) terms: &'a Terms,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) cancel: &'a Cancel,
    /// What is read ahead of it.
    pub(super) disk: &'a Disk,
}

/// What one window yields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Yield {
    pub(super) scored: Vec<Scored>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) totals: Totals,
}

impl Yield {
    /// With the counts of what was taken.
    fn counted(mut self) -> Self {
        self.totals.eligible = self.scored.len() as u64;
        self.totals.scored = self.totals.eligible;
        self.totals.scanned = self.totals.eligible + self.excluded.len() as u64;
        self
    }
}

/// Counts that add up over windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) scanned: u64,
    pub(super) eligible: u64,
    /// Those whose vectors were read for it.
    pub(super) scored: u64,
    pub(super) excluded: ExcludedCounts,
    pub(super) whole_rows: u64,
    pub(super) bytes_read: u64,
}

impl Totals {
    pub(super) fn merge(&mut self, other: &Self) {
        self.scanned += other.scanned;
        self.eligible += other.eligible;
        self.scored += other.scored;
        self.excluded.merge(&other.excluded);
        self.whole_rows += other.whole_rows;
        self.bytes_read += other.bytes_read;
    }
}

/// A thread's memory, used again for every window.
#[derive(Default)]
pub(super) struct Worker {
    scratch: BlockBuffer,
    selection: Selection,
    slate: Slate,
}

impl Worker {
    /// What blocks are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.scratch.see(ahead);
    }
}

/// What is known of the slots so far.
#[derive(Default)]
struct Slate {
    /// Per slot.
    states: Vec<State>,
    /// Slots x queries: the weighted sum over the checkpoints so far.
    values: Vec<f32>,
    /// Rows of one block that are to be scored, where those are few.
    wanted: Vec<u64>,
    /// Vectors of one block, with their slots.
    found: Vec<(usize, usize)>,
    /// The same without their slots.
    chosen: Vec<usize>,
    /// The module groups that count.
    groups: Vec<usize>,
    /// Of the vectors found, by module group: what turns a product of stored values into its
    /// share of the similarity.
    factors: Vec<f32>,
    /// Of the vectors found, by query: the similarities.
    sums: Vec<f32>,
    scratch: Scratch,
}

impl Slate {
    fn reset(&mut self, slots: usize, queries: usize) {
        self.states.clear();
        self.states.resize(slots, State::default());
        self.values.clear();
        self.values.resize(slots * queries, 0.0);
    }

    /// Row, position, state and values of every slot that is wanted.
    fn hand_out(&mut self, slots: Slots<'_>, mut take: impl FnMut(u64, Option<u32>, &State, &mut [f32])) {
        let queries = self.values.len() / self.states.len().max(1);
        for (slot, values) in self.values.chunks_exact_mut(queries.max(1)).enumerate() {
            if let Some((row, pos)) = slots.key(slot) {
                take(row, pos, &self.states[slot], values);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    checkpoints: u32,
    weight: f64,
    flags: RowFlags,
}

impl Scan<'_> {
    /// Scores the rows of a window, or their tokens.
    pub(super) fn window(&self, window: &Window, worker: &mut Worker) -> Result<Yield, QueryError> {
        let mut found = Yield::default();
        found.scored.reserve_exact((window.rows.end - window.rows.start) as usize);
        found.totals.bytes_read = self.each(window, worker, |row, pos, state, values| {
            self.take(window.pool, (row, pos), state, values, &mut found);
        })?;
        Ok(found.counted())
    }

    /// Adds the score of a row or token, or why it has none.
    #[inline]
    fn take(
        &self,
        pool: u32,
        (row, pos): (u64, Option<u32>),
        state: &State,
        values: &mut [f32],
        found: &mut Yield,
    ) {
        match self.judge(state, values) {
            Ok((score, subtask)) => found.scored.push(Scored { pool, row, pos, score, subtask }),
            Err(reason) => {
                found.totals.excluded.add(reason);
                found.totals.whole_rows += u64::from(pos == Some(NO_TOKEN));
                let pos = pos.filter(|pos| *pos != NO_TOKEN);
                found.excluded.push(Excluded { pool, row, pos, reason });
            }
        }
    }

    /// Number of rows of a window that the filter lets through.
    pub(super) fn wanted(&self, window: &Window, worker: &mut Worker) -> u64 {
        let filter = self.filter.and_then(|filter| filter.pool(window.pool as usize));
        let live = &self.pools[window.pool as usize].live;
        worker.selection.choose(window.rows.clone(), live, filter);
        worker.selection.count()
    }

    /// Hands out row, position, values, score and deciding subtask of every row of a window that has a
    /// score, or of its tokens.
    pub(super) fn judged(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Option<u32>, &[f32], (f32, u32)),
    ) -> Result<Totals, QueryError> {
        let mut totals = Totals::default();
        totals.bytes_read = self.each(window, worker, |row, pos, state, values| {
            totals.scanned += 1;
            match self.judge(state, values) {
                Ok(judged) => {
                    totals.eligible += 1;
                    take(row, pos, values, judged);
                }
                Err(reason) => {
                    totals.excluded.add(reason);
                    totals.whole_rows += u64::from(pos == Some(NO_TOKEN));
                }
            }
        })?;
        totals.scored = totals.eligible;
        Ok(totals)
    }

    /// As `judged`, of some live rows of a window, which ascend.
    pub(super) fn judged_rows(
        &self,
        window: &Window,
        rows: &[u64],
        worker: &mut Worker,
        mut take: impl FnMut(u64, &[f32], (f32, u32)),
    ) -> Result<Totals, QueryError> {
        let mut totals = Totals::default();
        let pool = &self.pools[window.pool as usize];
        let Worker { scratch, slate, .. } = worker;
        let slots = Slots::Picked(rows);
        totals.bytes_read = self.accumulate(pool, window, slots, scratch, slate)?;
        slate.hand_out(slots, |row, _, state, values| {
            totals.scanned += 1;
            match self.judge(state, values) {
                Ok(judged) => {
                    totals.eligible += 1;
                    take(row, values, judged);
                }
                Err(reason) => totals.excluded.add(reason),
            }
        });
        Ok(totals)
    }

    /// The values of a window's rows without judging them: (wanted and usable, values) by row.
    pub(super) fn raw(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Result<&[f32], Reason>),
    ) -> Result<(), QueryError> {
        self.each(window, worker, |row, _, state, values| {
            let usable = self.usable(state, values).map(|()| &*values);
            take(row, usable);
        })?;
        Ok(())
    }

    /// Hands out row, position, state and values of what the filter lets through, in order; returns the
    /// bytes of the blocks read.
    fn each(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Option<u32>, &State, &mut [f32]),
    ) -> Result<u64, QueryError> {
        let pool = &self.pools[window.pool as usize];
        let Worker { scratch, selection, slate } = worker;
        let filter = self.filter.and_then(|filter| filter.pool(window.pool as usize));
        selection.choose(window.rows.clone(), &pool.live, filter);
        if selection.is_empty() {
            return Ok(0);
        }
        match pool.granularity {
            Granularity::Sample => {
                let slots = selection.rows();
                let bytes = self.accumulate(pool, window, slots, scratch, slate)?;
                slate.hand_out(slots, &mut take);
                Ok(bytes)
            }
            // How many tokens the rows have is known only from the blocks, so what they need of memory is cut
            // here and not in `windows`.
            Granularity::Token => {
                let bytes = self.find_tokens(pool, window, selection, scratch)?;
                for tokens in selection.tokens().chunks(most_slots(pool.query_count())) {
                    let slots = Slots::Tokens(tokens);
                    self.accumulate(pool, window, slots, scratch, slate)?;
                    slate.hand_out(slots, &mut take);
                }
                Ok(bytes)
            }
        }
    }

    /// Collects the tokens that the wanted rows have at any checkpoint; returns the bytes of the blocks.
    fn find_tokens(
        &self,
        pool: &ScanPool,
        window: &Window,
        selection: &mut Selection,
        scratch: &mut BlockBuffer,
    ) -> Result<u64, QueryError> {
        let mut bytes = 0;
        for reader in &pool.readers {
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
                if selection.rows().touch(block.range()) {
                    self.check_cancelled()?;
                    let block = reader.read_block(block, scratch)?;
                    bytes += block_bytes(&block);
                    selection.add_tokens(&block);
                }
            }
        }
        Ok(bytes)
    }

    /// Fills the slate from the blocks of all checkpoints; returns the bytes of the blocks.
    fn accumulate(
        &self,
        pool: &ScanPool,
        window: &Window,
        slots: Slots<'_>,
        scratch: &mut BlockBuffer,
        slate: &mut Slate,
    ) -> Result<u64, QueryError> {
        slate.reset(slots.len(), pool.query_count());
        let mut bytes = 0;
        for (c, reader) in pool.readers.iter().enumerate() {
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
                if !slots.touch(block.range()) {
                    continue;
                }
                self.check_cancelled()?;
                // A filter may leave few rows of a block, which are then read alone.
                slate.wanted.clear();
                if self.filter.is_some() || matches!(slots, Slots::Picked(_)) {
                    slots.rows_in(block.range(), &mut slate.wanted);
                }
                let block = match slate.wanted.is_empty() {
                    true => reader.read_block(block, scratch)?,
                    false => reader.read_rows(block, &slate.wanted, scratch)?,
                };
                bytes += block_bytes(&block);
                let of_row = (&*pool.queries[c], pool.measure(c));
                self.add_block(&block, reader, of_row, self.weights[c], slots, slate);
            }
        }
        Ok(bytes)
    }

    /// The score of a row, or why it has none.
    fn judge(&self, state: &State, values: &mut [f32]) -> Result<(f32, u32), Reason> {
        self.usable(state, values)?;
        match self.terms.score(values) {
            (score, subtask) if score.is_finite() => Ok((score, subtask)),
            _ => Err(Reason::Overflow),
        }
    }

    pub(super) fn check_cancelled(&self) -> Result<(), QueryError> {
        Ok(self.cancel.check()?)
    }

    /// Whether a row counts; where it lacks checkpoints and that is allowed, its values are renormalised.
    fn usable(&self, state: &State, values: &mut [f32]) -> Result<(), Reason> {
        if !self.is_whole(state.flags, state.checkpoints as usize, state.weight > 0.0)? {
            let factor = 1.0 / state.weight;
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        Ok(())
    }

    /// Whether a row that counts has every checkpoint; or why it does not count. `weighty`: a checkpoint that
    /// has a weight has the row.
    pub(super) fn is_whole(
        &self,
        flags: RowFlags,
        checkpoints: usize,
        weighty: bool,
    ) -> Result<bool, Reason> {
        if flags.contains(RowFlags::NO_SCORED) {
            return Err(Reason::NoScored);
        }
        if flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
            return Err(Reason::NonFinite);
        }
        let whole = checkpoints == self.weights.len();
        if !whole && (self.missing != Missing::Renormalise || !weighty) {
            return Err(Reason::Missing);
        }
        Ok(whole)
    }
}

pub(super) fn block_bytes(block: &Block<'_>) -> u64 {
    let values = block.values.bytes().len();
    let keys = size_of_val(block.rows) + size_of_val(block.pos);
    let rest = size_of_val(block.scale) + size_of_val(block.norm);
    (values + keys + rest + size_of_val(block.flags) + size_of_val(block.check)) as u64
}
