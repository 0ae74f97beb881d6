//! Packed causal attention.
//!
//! For each sequence and key head, keys and values are packed into panels once; then blocks of query rows are
//! multiplied with the keys they see, turned into probabilities and multiplied with the values. Scores exist
//! for one block of rows at a time, so memory is linear in the length; the backward computes them again from
//! the log-sum-exp that the forward returns.
//!
//! Invariants
//! - blocks are cut by a query's place within its sequence, so a sequence's results do not depend on what
//!   else is in the batch
//! - all of this is in f32 at every precision of the backend

mod backward;
mod cache;
mod forward;
mod scores;
mod tangent;

use std::ops::Range;

pub use self::cache::CpuCache;

use super::gemm::PANEL;
use crate::backend::{AttentionDropout, AttentionForm};

/// Query rows of a block at most: the more, the fewer times the keys and values, and the
/// gradients of them, are read.
const MOST_ROWS: usize = 56;

/// Query rows of a block whose scores would not stay in the second-level cache.
const LEAST_ROWS: usize = 14;

/// Scores that stay in the second-level cache.
const CACHED: usize = 64 * 1024;

/// Query rows of a block of a sequence of `length` keys, if `kept` values are kept per score.
fn block_rows(length: usize, form: &AttentionForm, kept: usize) -> usize {
    let keys = form.window.map_or(length, |window| length.min(window.saturating_add(MOST_ROWS)));
    (CACHED / kept / keys / LEAST_ROWS * LEAST_ROWS).clamp(LEAST_ROWS, MOST_ROWS)
}

/// The keys that a block of queries multiplies: those that any of them sees, begun on a panel.
#[derive(Clone)]
struct QueryBlock {
    /// Query rows, counted from the sequence's first.
    rows: Range<usize>,
    /// Keys, counted from the sequence's first; the start is a multiple of [`PANEL`].
    keys: Range<usize>,
}

impl QueryBlock {
    fn new(rows: Range<usize>, positions: &[u32], form: &AttentionForm) -> QueryBlock {
        let first = form.visible_keys(positions[rows.start]).start;
        let end = positions[rows.end - 1] as usize + 1;
        QueryBlock { rows, keys: first / PANEL * PANEL..end }
    }

    /// Keys that some row of a tile sees end here. Positions ascend, so the last row sees the furthest.
    fn end(&self, tile: &Range<usize>, positions: &[u32]) -> usize {
        positions[self.rows.start + tile.end - 1] as usize + 1
    }

    /// Panels of keys.
    fn panels(&self) -> Range<usize> {
        self.keys.start / PANEL..self.keys.end.div_ceil(PANEL)
    }

    /// Values from row to row of the block's scores: whole panels, and not a multiple of what would make
    /// rows share cache sets.
    fn stride(&self) -> usize {
        let width = self.panels().len() * PANEL;
        if width.is_multiple_of(512) { width + 16 } else { width }
    }
}

/// Dropout of a block's weights in one head.
#[derive(Clone, Copy)]
struct BlockDropout<'a> {
    of: AttentionDropout<'a>,
    /// Row of the block's first query.
    first: usize,
    head: usize,
}

impl BlockDropout<'_> {
    /// Drops values that belong to the block's weights of the keys that its queries see.
    fn apply(&self, values: &mut [f32], block: &QueryBlock, positions: &[u32], form: &AttentionForm) {
        for (i, row) in values.chunks_exact_mut(block.stride()).take(block.rows.len()).enumerate() {
            let keys = form.visible_keys(positions[block.rows.start + i]);
            let row = &mut row[keys.start - block.keys.start..keys.end - block.keys.start];
            self.of.apply(row, self.first + i, self.head, keys.start);
        }
    }
}
