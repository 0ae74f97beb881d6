//! The pools cut into units of work, and the rows that they lack.
//!
//! Invariants
//! - a window lies inside one cell of one pool, unless a device keeps all its blocks; every live row is in
//!   one window, deleted rows may be in one
//! - windows come in (pool, row) order

use std::ops::Range;

use gstore_store::{BlockRef, CELL_ROWS, FeatureReader, Granularity, RowSet};

use super::filter::{RowFilter, RowMask};
use super::kept::is_kept;
use crate::error::QueryError;
use crate::influence::scan::ScanPool;
use crate::kernel::RowProducts;

/// Values that a thread keeps at a time (slots x query vectors), so that its memory is bounded for
/// any number of queries.
const MOST_VALUES: usize = 1 << 21;

/// Rows or tokens of a window at most where there are many queries: fewer would read the blocks too often.
const LEAST_SLOTS: usize = 64;

/// Samples up to which a window of any pool stays below [`MOST_VALUES`].
pub(crate) const MOST_SAMPLES: u64 = (MOST_VALUES / LEAST_SLOTS) as u64;

/// Rows or tokens that a thread keeps values for at a time.
pub(crate) fn most_slots(queries: usize) -> usize {
    (MOST_VALUES / queries.max(1)).max(LEAST_SLOTS)
}

/// Consecutive rows of a pool, a unit of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) pool: u32,
    pub(crate) rows: Range<u64>,
}

/// Rows of a window at most whose blocks a device keeps: it is busy with them for longer than it takes to ask
/// it, and there are windows for several threads.
const MOST_KEPT: usize = 1 << 15;

impl Window {
    /// A reader's blocks in the cells in which the rows lie, by first row.
    pub(crate) fn blocks(&self, reader: &FeatureReader) -> impl Iterator<Item = BlockRef> {
        let cells = self.rows.start / CELL_ROWS..self.rows.end.div_ceil(CELL_ROWS);
        cells.flat_map(move |cell| reader.blocks_in(cell))
    }
}

/// Joins windows of samples that follow one another and whose blocks a device keeps.
pub(crate) fn joined(
    windows: Vec<Window>,
    (pools, queries): (&[ScanPool], usize),
    device: Option<&dyn RowProducts>,
) -> Vec<Window> {
    if device.is_none() {
        return windows;
    }
    let most = most_slots(queries).min(MOST_KEPT) as u64;
    let mut all: Vec<Window> = Vec::new();
    // The blocks of the cell of the last window, with whether they are kept.
    let (mut cell, mut did_stay) = (None, false);
    let mut blocks: Vec<(Range<u64>, bool)> = Vec::new();
    for window in windows {
        let pool = &pools[window.pool as usize];
        let own = Some((window.pool, window.rows.start / CELL_ROWS));
        if cell != own {
            cell = own;
            blocks.clear();
            for reader in &pool.readers {
                let of_reader = window.blocks(reader);
                blocks.extend(of_reader.map(|at| (at.range(), is_kept(device, reader, at))));
            }
        }
        let overlaps = |range: &Range<u64>| range.start < window.rows.end && window.rows.start < range.end;
        let stays = pool.granularity == Granularity::Sample
            && blocks.iter().all(|(range, stays)| *stays || !overlaps(range));
        let fits = |last: &&mut Window| {
            let follows = last.pool == window.pool && window.rows.end - last.rows.start <= most;
            stays && did_stay && follows
        };
        match all.last_mut().filter(fits) {
            Some(last) => last.rows.end = window.rows.end,
            None => all.push(window),
        }
        did_stay = stays;
    }
    all
}

/// Cuts the pools into windows: at the blocks of the first checkpoint, which is where the others are usually
/// cut too, so that a block is read by one thread once. Where vectors belong to tokens, of which a cell may
/// have any number, at the blocks of every checkpoint: a window then holds the tokens of few blocks.
pub(crate) fn windows(pools: &[ScanPool], queries: usize) -> Vec<Window> {
    let most = most_slots(queries);
    let mut windows = Vec::new();
    for (p, pool) in pools.iter().enumerate() {
        for rows in spans(&pool.live) {
            for piece in pieces(pool, rows) {
                for start in piece.clone().step_by(most) {
                    let rows = start..(start + most as u64).min(piece.end);
                    windows.push(Window { pool: p as u32, rows });
                }
            }
        }
    }
    windows
}

/// Live rows with the gaps that lie inside one cell filled, so that scattered deletes do not
/// cut the work into crumbs.
fn spans(live: &RowSet) -> Vec<Range<u64>> {
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in live.ranges() {
        match spans.last_mut().filter(|last| (last.end - 1) / CELL_ROWS == range.start / CELL_ROWS) {
            Some(last) => last.end = range.end,
            None => spans.push(range.clone()),
        }
    }
    spans
}

/// A range of rows cut at cells and blocks.
fn pieces(pool: &ScanPool, rows: Range<u64>) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut start = rows.start;
    while start < rows.end {
        let cell = start / CELL_ROWS;
        let end = ((cell + 1) * CELL_ROWS).min(rows.end);
        let readers = match pool.granularity {
            Granularity::Sample => pool.readers.get(..1).unwrap_or_default(),
            Granularity::Token => &pool.readers,
        };
        let blocks = readers.iter().flat_map(|reader| reader.blocks_in(cell));
        let mut cuts: Vec<u64> = blocks.map(|block| block.range().start).collect();
        cuts.sort_unstable();
        for cut in cuts {
            if start < cut && cut < end {
                pieces.push(start..cut);
                start = cut;
            }
        }
        pieces.push(start..end);
        start = end;
    }
    pieces
}

/// The rows of each pool that lack a checkpoint, among those the filter lets through.
pub(crate) struct IncompleteRows {
    pub(crate) rows: u64,
    pub(crate) scanned: u64,
    /// (pool, checkpoint, rows).
    pub(crate) by_checkpoint: Vec<(usize, usize, u64)>,
}

/// Rows that the filter of their pool lets through.
pub(crate) fn passing(rows: &RowSet, mask: Option<&RowMask>) -> u64 {
    match mask {
        None => rows.len(),
        Some(mask) => rows.ranges().iter().map(|range| mask.rows_in(range.clone()).count() as u64).sum(),
    }
}

/// Counts them without reading vectors.
pub(crate) fn lacking(pools: &[ScanPool], filter: Option<&RowFilter>) -> Result<IncompleteRows, QueryError> {
    let mut found = IncompleteRows { rows: 0, scanned: 0, by_checkpoint: Vec::new() };
    for (p, pool) in pools.iter().enumerate() {
        let mask = filter.and_then(|filter| filter.pool(p));
        let count = |rows: &RowSet| passing(rows, mask);
        found.scanned += count(&pool.live);
        let mut any = RowSet::new();
        for (c, reader) in pool.readers.iter().enumerate() {
            let lacks = pool.live.difference(&reader.row_set()?);
            if !lacks.is_empty() {
                found.by_checkpoint.push((p, c, count(&lacks)));
                any = any.union(&lacks);
            }
        }
        found.rows += count(&any);
    }
    Ok(found)
}
