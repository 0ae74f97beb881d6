//! Columns of the blocks that wide sides are cut into.

use std::ops::Range;

use gstore_model::ColumnMap;

/// The columns of a block, of rows of `width` values; the constant 1 of a bias stands behind them.
pub(super) fn block_columns(width: usize, block: &Range<usize>) -> ColumnMap {
    let inside = block.start..block.end.min(width);
    let mut entries: Vec<(u32, u32, f32)> =
        inside.map(|column| ((column - block.start) as u32, column as u32, 1.0)).collect();
    if entries.is_empty() {
        // Of a block of the constant alone: backends map at least one column.
        entries.push((0, 0, 0.0));
    }
    let constant = (block.end > width).then(|| ((width - block.start) as u32, 1.0));
    ColumnMap { input: width, out: block.len(), entries, constant }
}

/// The columns of a block at their places among `size`; the rest is 0.
pub(super) fn block_positions(size: usize, block: &Range<usize>) -> ColumnMap {
    let entries = (0..block.len() as u32).map(|column| (block.start as u32 + column, column, 1.0)).collect();
    ColumnMap { input: block.len(), out: size, entries, constant: None }
}
