//! Windows and batches: how the rows of a dataset are cut for the engine.
//!
//! Invariants
//! - a window is one whole cell of the dataset, whatever part of it is asked for: batches are cut
//!   over all its live rows
//! - so a row's batch depends on the rows of its cell, on `batch_tokens` and on the model alone, never on
//!   `--limit`, on what was stored before, on threads or on where an earlier run stopped; on the CPU backend
//!   its bits do not even depend on the batch
//! - where a request chooses rows (`rows`), batches are cut over these alone: rows that were not asked for
//!   cost nothing, and on other backends the last bits of a row may follow from the choice

use std::ops::Range;

/// Limits that decide where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Tokens in a batch; a longer row is a separate batch.
    pub tokens: usize,
    /// Rows in a batch: bounds the per-sample gradients held at once.
    pub rows: usize,
}

/// Bytes of per-sample gradients that one batch may hold.
pub(super) const GRADIENT_BYTES: usize = 512 << 20;

/// Tokens that a row counts at least when rows are counted.
const LEAST_TOKENS: usize = 8;

impl BatchLimits {
    /// Limits where `values` of a row's gradient and of its forms are held at once.
    pub fn new(tokens: usize, values: usize) -> Self {
        let per_row = values.saturating_mul(size_of::<f32>()).max(1);
        // Rows of fewer tokens than this do not make a batch larger.
        let most = (tokens / LEAST_TOKENS).clamp(1, 4096);
        Self { tokens: tokens.max(1), rows: (GRADIENT_BYTES / per_row).clamp(1, most) }
    }
}

/// Cuts consecutive rows into batches, by their token counts in row order. Returns ranges of
/// positions, without gaps.
pub(crate) fn cut_batches(tokens: impl IntoIterator<Item = usize>, limits: BatchLimits) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut sum, mut end) = (0, 0, 0);
    for count in tokens {
        let full = end > start && (sum + count > limits.tokens || end - start >= limits.rows);
        if full {
            batches.push(start..end);
            (start, sum) = (end, 0);
        }
        sum += count;
        end += 1;
    }
    if end > start {
        batches.push(start..end);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(tokens: usize, rows: usize) -> BatchLimits {
        BatchLimits { tokens, rows }
    }

    #[test]
    fn rows_are_never_split_and_none_is_lost() {
        assert_eq!(cut_batches([5, 5, 5], limits(10, 100)), [0..2, 2..3]);
        assert_eq!(cut_batches([50, 1, 1], limits(10, 100)), [0..1, 1..3]);
        assert_eq!(cut_batches([1, 50, 1], limits(10, 100)), [0..1, 1..2, 2..3]);
        assert_eq!(cut_batches([1; 5], limits(100, 2)), [0..2, 2..4, 4..5]);
        assert!(cut_batches([], limits(10, 10)).is_empty());
    }

    #[test]
    fn later_rows_do_not_move_earlier_cuts() {
        let all = cut_batches([3, 4, 9, 2, 2, 8, 1], limits(10, 3));
        let some = cut_batches([3, 4, 9, 2], limits(10, 3));
        assert_eq!(all[..some.len() - 1], some[..some.len() - 1]);
    }

    #[test]
    fn huge_gradients_make_small_batches() {
        assert_eq!(BatchLimits::new(1024, 134_217_728).rows, 1);
        assert_eq!(BatchLimits::new(1024, 0).rows, 128);
        assert_eq!(BatchLimits::new(65_536, 40_960).rows, 3276);
    }
}
