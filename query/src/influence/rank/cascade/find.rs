//! Vectors of a block that are wanted, and the products of their codes.

use crate::kernel::{CodeQueries, Codes, Kernel};
use crate::sketch::RowRecord;

/// Products of some vectors' codes, which ascend, with queries.
pub(in super::super) fn code_dots(
    kernel: Kernel,
    codes: Codes<'_>,
    chosen: &[u32],
    queries: &CodeQueries,
    dots: &mut Vec<i32>,
) {
    dots.resize(chosen.len() * queries.len(), 0);
    let bytes = codes.kind.row_bytes(queries.dim());
    match chosen {
        // A stretch of them.
        [first, .., last] if (last - first) as usize + 1 == chosen.len() => {
            let bytes = &codes.bytes[*first as usize * bytes..(*last as usize + 1) * bytes];
            kernel.code_dots(Codes { bytes, ..codes }, queries, dots);
        }
        _ => kernel.code_dots_at(codes, chosen, queries, dots),
    }
}

/// Finds vectors of a block for rows of a window, both of which ascend: `chosen` are the vectors, `places` the rows by their place in `offsets`.
pub(in super::super) fn find(
    rows: &[RowRecord],
    block: std::ops::Range<u64>,
    start: u64,
    offsets: &[u32],
    chosen: &mut Vec<u32>,
    places: &mut Vec<u32>,
) {
    chosen.clear();
    places.clear();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let before = |row: u64| offsets.partition_point(|offset| start + u64::from(*offset) < row);
    let wanted = before(block.start)..before(block.end);
    let dense = usize::from(last.offset.wrapping_sub(first.offset)) + 1 == rows.len();
    // Mostly every row of a stretch of the block is wanted.
    if let (true, [one, .., other]) = (dense, &offsets[wanted.clone()])
        && (other - one) as usize + 1 == wanted.len()
        && let Some(at) = (start + u64::from(*one)).checked_sub(block.start + u64::from(first.offset))
        && at + wanted.len() as u64 <= rows.len() as u64
    {
        chosen.extend(at as u32..at as u32 + wanted.len() as u32);
        places.extend(wanted.start as u32..wanted.end as u32);
        return;
    }
    for (place, offset) in wanted.clone().zip(&offsets[wanted]) {
        let row = (start + u64::from(*offset) - block.start) as u16;
        let at = match dense {
            true => usize::from(row.wrapping_sub(first.offset)),
            false => rows.partition_point(|record| record.offset < row),
        };
        if rows.get(at).is_some_and(|record| record.offset == row) {
            chosen.push(at as u32);
            places.push(place as u32);
        }
    }
}
