//! Stored vectors of some rows, a cell at a time.

use std::ops::Range;

use gstore_store::{BlockBuffer, CELL_ROWS, FeatureReader, RowFlags};

use crate::error::LearnError;

/// Ascending rows by cell: the place of the first, the range that they lie in, their number.
pub(super) fn cells(rows: &[u64]) -> Vec<(usize, (Range<u64>, usize))> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = rows.get(at) {
        let len = rows[at..].iter().take_while(|row| *row / CELL_ROWS == first / CELL_ROWS).count();
        let last = rows[at + len - 1];
        found.push((at, (*first..last + 1, len)));
        at += len;
    }
    found
}

/// Hands on the vectors of those of the rows that have a finite one.
pub(super) fn read_vectors(
    reader: &FeatureReader,
    rows: &[u64],
    mut take: impl FnMut(usize, &[f32]),
) -> Result<(), LearnError> {
    let dim = reader.part().desc.dim() as usize;
    let groups: Vec<Range<usize>> = reader
        .part()
        .attrs
        .groups
        .iter()
        .map(|group| group.start as usize..(group.start + group.len) as usize)
        .collect();
    let mut buffer = BlockBuffer::new();
    let mut vector = vec![0.0f32; dim];
    for (first, (_, len)) in cells(rows) {
        let part = &rows[first..first + len];
        for place in reader.blocks_in(part[0] / CELL_ROWS) {
            let inside: Vec<u64> = part.iter().copied().filter(|row| place.range().contains(row)).collect();
            if inside.is_empty() {
                continue;
            }
            let block = reader.read_rows(place, &inside, &mut buffer)?;
            for (at, row) in block.rows.iter().enumerate() {
                let Ok(i) = part.binary_search(row) else { continue };
                // Zeros stand there instead of what was not finite.
                let flags = block.flags.get(at).copied().unwrap_or_default();
                if !reader.live().contains(*row)
                    || RowFlags::from_bits(flags).intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING))
                {
                    continue;
                }
                block.vector(at, &groups, &mut vector);
                take(first + i, &vector);
            }
        }
    }
    Ok(())
}
