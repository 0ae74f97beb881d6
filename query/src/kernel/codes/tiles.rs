//! Queries tile by tile, for instruction sets that multiply one row with up to eight of them.

use super::super::packing::MAX_TILE;
use super::{CODE_STEP, CodeKind, CodeQueries, CodeRows, finish};

/// Rows that a tile of queries is multiplied with before the next one: it comes from far once for all of
/// them, and the rows stay near.
const BLOCK: usize = 16;

/// How an instruction set multiplies a row with a tile of queries.
pub(super) trait Tile {
    /// Whether bytes are multiplied as what they stand for, and not as unsigned codes.
    const SIGNED_BYTES: bool;

    /// The sums over the unsigned codes times each query's; over the values of bytes with `SIGNED_BYTES`.
    /// They may wrap.
    ///
    /// # Safety
    /// The processor has the instructions; `packed` is a tile of `Q` queries.
    unsafe fn row<const KIND: u8, const Q: usize>(codes: &[u8], packed: &[[i8; CODE_STEP]], out: &mut [i32]);
}

/// The kind that a constant stands for, so that the choices between them are made at compile time.
#[inline(always)]
pub(super) const fn kind<const KIND: u8>() -> CodeKind {
    match KIND {
        0 => CodeKind::Sign,
        1 => CodeKind::Nibble,
        _ => CodeKind::Int8,
    }
}

/// # Safety
/// The processor has the instructions of `T`; `out` has a value per row and query.
pub(super) unsafe fn rows<T: Tile>(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match rows.codes.kind {
            CodeKind::Sign => of_kind::<T, 0>(rows, queries, out),
            CodeKind::Nibble => of_kind::<T, 1>(rows, queries, out),
            CodeKind::Int8 => of_kind::<T, 2>(rows, queries, out),
        }
    }
}

/// # Safety
/// As `rows`.
unsafe fn of_kind<T: Tile, const KIND: u8>(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let blocks = (0..rows.len()).step_by(BLOCK);
    let tiles = blocks.flat_map(|first| (0..queries.tiles()).map(move |tile| (first, tile)));
    for (first, tile) in tiles {
        let packed = queries.tile(tile);
        for i in first..rows.len().min(first + BLOCK) {
            let range = queries.tile_queries(tile);
            let out = &mut out[i * queries.len()..][range.clone()];
            // SAFETY: the width is the tile's.
            unsafe {
                match range.len() {
                    1 => T::row::<KIND, 1>(rows.row(i), packed, out),
                    2 => T::row::<KIND, 2>(rows.row(i), packed, out),
                    3 => T::row::<KIND, 3>(rows.row(i), packed, out),
                    4 => T::row::<KIND, 4>(rows.row(i), packed, out),
                    5 => T::row::<KIND, 5>(rows.row(i), packed, out),
                    6 => T::row::<KIND, 6>(rows.row(i), packed, out),
                    7 => T::row::<KIND, 7>(rows.row(i), packed, out),
                    _ => T::row::<KIND, MAX_TILE>(rows.row(i), packed, out),
                }
            }
            for (out, query) in out.iter_mut().zip(range) {
                *out = match rows.codes.kind {
                    CodeKind::Int8 if T::SIGNED_BYTES => *out,
                    kind => finish(kind, *out, queries.sum(query)),
                };
            }
        }
    }
}
