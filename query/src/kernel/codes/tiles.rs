//! Queries tile by tile, for instruction sets that multiply one or two rows with up to four of them.

use super::{CODE_STEP, CodeKind, CodeQueries, Rows, finish};

/// Rows that a tile of queries is multiplied with before the next one: it comes from far once for all of them, and the
/// rows stay near.
const BLOCK: usize = 16;

/// Most queries at a time: with two rows their sums fill half of sixteen registers.
const QUERIES: usize = 4;

/// How an instruction set multiplies rows with queries.
pub(super) trait Tile {
    /// The sums over the unsigned codes (bits, nibbles) or values (bytes) of each row times each query's. `packed`
    /// begins at the first of the queries, in a tile of `width`.
    ///
    /// # Safety
    /// The processor has the instructions; the rows are of one length, and `packed` has `Q` queries for each of their
    /// steps.
    unsafe fn sums<const KIND: u8, const R: usize, const Q: usize>(
        rows: [&[u8]; R],
        packed: &[[i8; CODE_STEP]],
        width: usize,
    ) -> [[i32; Q]; R];
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
pub(super) unsafe fn rows<T: Tile>(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
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
unsafe fn of_kind<T: Tile, const KIND: u8>(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    for first in (0..rows.len()).step_by(BLOCK) {
        let last = rows.len().min(first + BLOCK);
        for tile in 0..queries.tiles() {
            let (range, packed) = (queries.tile_queries(tile), queries.tile(tile));
            for at in (0..range.len()).step_by(QUERIES) {
                let count = QUERIES.min(range.len() - at);
                let part = Part {
                    rows,
                    queries,
                    first: range.start + at,
                    packed: &packed[at..],
                    width: range.len(),
                };
                let pairs = first + (last - first) / 2 * 2;
                // SAFETY: the caller's promise; the tile has as many queries.
                unsafe {
                    (first..pairs).step_by(2).for_each(|row| part.of_width::<T, KIND, 2>(row, count, out));
                    (pairs..last).for_each(|row| part.of_width::<T, KIND, 1>(row, count, out));
                }
            }
        }
    }
}

/// Some queries of a tile, and the rows that they are multiplied with.
struct Part<'a> {
    rows: Rows<'a>,
    queries: &'a CodeQueries,
    /// The first of the queries,
    first: usize,
    /// from which on the tile's are given,
    packed: &'a [[i8; CODE_STEP]],
    /// and how many the tile has.
    width: usize,
}

impl Part<'_> {
    /// # Safety
    /// As `rows`; `count` queries are left in the tile, at most `QUERIES`, and `R` rows from `row` on.
    #[inline(always)]
    unsafe fn of_width<T: Tile, const KIND: u8, const R: usize>(
        &self,
        row: usize,
        count: usize,
        out: &mut [i32],
    ) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match count {
                1 => self.put::<T, KIND, R, 1>(row, out),
                2 => self.put::<T, KIND, R, 2>(row, out),
                3 => self.put::<T, KIND, R, 3>(row, out),
                _ => self.put::<T, KIND, R, QUERIES>(row, out),
            }
        }
    }

    /// # Safety
    /// As [`Part::of_width`], of `Q` queries.
    #[inline(always)]
    unsafe fn put<T: Tile, const KIND: u8, const R: usize, const Q: usize>(
        &self,
        row: usize,
        out: &mut [i32],
    ) {
        let codes = std::array::from_fn(|r| self.rows.row(row + r));
        // SAFETY: the caller's promise, passed on.
        let sums = unsafe { T::sums::<KIND, R, Q>(codes, self.packed, self.width) };
        for (r, sums) in sums.into_iter().enumerate() {
            let out = &mut out[(row + r) * self.queries.len() + self.first..][..Q];
            for (q, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                *out = match kind::<KIND>() {
                    CodeKind::Int8 => sum,
                    kind => finish(kind, sum, self.queries.sum(self.first + q)),
                };
            }
        }
    }
}
