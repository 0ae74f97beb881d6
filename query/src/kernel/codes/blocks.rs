//! Blocks of rows whose nibbles are unpacked once for all queries, for AVX2.
//!
//! Two rows times four queries stay in registers, so that each load of a row or query serves several
//! products.

use std::arch::x86_64::*;

use super::super::packing::CacheLine;
use super::avx2::{load, narrow_steps, widened};
use super::{CODE_STEP, CodeKind, CodeQueries, CodeRows, finish};

/// Queries from which on unpacking apart is worth its stores and loads.
pub(super) const BLOCKS_FROM: usize = 16;

/// Rows that are unpacked together.
const BLOCK: usize = 16;

/// Steps of them that are unpacked at a time, so that they stay in the second cache and those of a few
/// queries in the first.
const STEPS: usize = 32;

/// Rows and queries of a tile.
const ROWS: usize = 2;
const QUERIES: usize = 4;

/// Unsigned codes of some steps of a row, each in a byte.
type Unpacked = [CacheLine; STEPS];

/// The products of nibbles.
///
/// # Safety
/// The processor has AVX2; the codes are nibbles; `out` has a value per row and query.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn rows(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let mut unpacked = [[CacheLine([0; CODE_STEP]); STEPS]; BLOCK];
    let all = queries.dim() / CODE_STEP;
    for (block, out) in out.chunks_mut(BLOCK * queries.len()).enumerate() {
        out.fill(0);
        let rows_here = out.len() / queries.len();
        for start in (0..all).step_by(STEPS) {
            let steps = STEPS.min(all - start);
            for (i, values) in unpacked[..rows_here].iter_mut().enumerate() {
                unpack(rows, block * BLOCK + i, start, &mut values[..steps]);
            }
            for tile in 0..queries.tiles() {
                let range = queries.tile_queries(tile);
                let packed = &queries.tile(tile)[start * range.len()..(start + steps) * range.len()];
                // Halves of five to seven queries are as even as possible.
                let part = range.len().div_ceil(range.len().div_ceil(QUERIES));
                for from in (0..range.len()).step_by(part) {
                    let operands = Operands {
                        rows: &unpacked,
                        steps,
                        narrow: narrow_steps(queries.largest()),
                        queries: &packed[from..],
                        width: range.len(),
                        row_values: queries.len(),
                    };
                    let out = &mut out[range.start + from..];
                    match part.min(range.len() - from) {
                        1 => add_products::<1>(operands, out),
                        2 => add_products::<2>(operands, out),
                        3 => add_products::<3>(operands, out),
                        _ => add_products::<QUERIES>(operands, out),
                    }
                }
            }
        }
        for out in out.chunks_exact_mut(queries.len()) {
            for (query, out) in out.iter_mut().enumerate() {
                *out = finish(CodeKind::Nibble, *out, queries.sum(query));
            }
        }
    }
}

/// Unpacks some steps of the row at a place, and fetches those of the row that has its place in the next
/// block.
#[target_feature(enable = "avx2")]
fn unpack(rows: CodeRows<'_>, row: usize, start: usize, values: &mut [CacheLine]) {
    let half = CodeKind::Nibble.row_bytes(CODE_STEP) / 2;
    let codes = &rows.row(row)[2 * half * start..][..2 * half * values.len()];
    let next = rows.address(row + BLOCK).wrapping_add(2 * half * start);
    for line in (0..codes.len()).step_by(size_of::<CacheLine>()) {
        _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(line).cast());
    }
    for (codes, CacheLine(values)) in codes.chunks_exact(2 * half).zip(values) {
        for (codes, values) in codes.chunks_exact(half).zip(values.chunks_exact_mut(CODE_STEP / 2)) {
            // SAFETY: half a step of codes, and of values.
            unsafe {
                _mm256_storeu_si256(values.as_mut_ptr().cast(), load(CodeKind::Nibble, codes.as_ptr()));
            }
        }
    }
}

/// What [`add_products`] multiplies: all rows of a block with some queries of a tile.
struct Operands<'a> {
    rows: &'a [Unpacked; BLOCK],
    steps: usize,
    /// Steps whose sums 16 bits hold.
    narrow: usize,
    /// Steps x queries of the tile, from the first of some queries on.
    queries: &'a [[i8; CODE_STEP]],
    /// Queries of the tile.
    width: usize,
    /// Values of the result between those of a row and of the next.
    row_values: usize,
}

/// Adds the products with `Q` queries to `out`, which starts at the first row's value of the first query.
#[target_feature(enable = "avx2")]
fn add_products<const Q: usize>(operands: Operands<'_>, out: &mut [i32]) {
    let Operands { rows, steps, narrow: most, queries, width, row_values } = operands;
    assert!((1..=STEPS).contains(&steps) && Q <= width && (steps - 1) * width + Q <= queries.len());
    // Of an odd number of rows, the last one is taken with what was unpacked at the next place before.
    for (rows, out) in rows.as_chunks::<ROWS>().0.iter().zip(out.chunks_mut(ROWS * row_values)) {
        let mut sums = [[_mm256_setzero_si256(); QUERIES]; ROWS];
        let mut step = 0;
        while step < steps {
            let end = steps.min(step + most);
            let mut narrow = [[_mm256_setzero_si256(); Q]; ROWS];
            while step < end {
                for side in [0, CODE_STEP / 2] {
                    let mut of_rows = [_mm256_setzero_si256(); ROWS];
                    for r in 0..ROWS {
                        // SAFETY: a row has all steps, each with two halves.
                        of_rows[r] = unsafe {
                            let CacheLine(values) = rows[r].get_unchecked(step);
                            _mm256_load_si256(values.as_ptr().add(side).cast())
                        };
                    }
                    for q in 0..Q {
                        // SAFETY: the assertion above; a query has two halves for each step.
                        let query = unsafe {
                            let values = queries.get_unchecked(step * width + q);
                            _mm256_loadu_si256(values.as_ptr().add(side).cast())
                        };
                        for r in 0..ROWS {
                            let pairs = _mm256_maddubs_epi16(of_rows[r], query);
                            narrow[r][q] = _mm256_add_epi16(narrow[r][q], pairs);
                        }
                    }
                }
                step += 1;
            }
            for r in 0..ROWS {
                for q in 0..Q {
                    sums[r][q] = widened(sums[r][q], narrow[r][q]);
                }
            }
        }
        let totals = totals(sums);
        for (out, totals) in out.chunks_mut(row_values).zip(totals.chunks_exact(QUERIES)) {
            for (out, total) in out.iter_mut().zip(&totals[..Q]) {
                *out += total;
            }
        }
    }
}

/// The sum of each register, row by row.
#[target_feature(enable = "avx2")]
fn totals([a, b]: [[__m256i; QUERIES]; ROWS]) -> [i32; ROWS * QUERIES] {
    let pairs = |x, y| _mm256_hadd_epi32(x, y);
    let [a, b] = [a, b].map(|[w, x, y, z]| pairs(pairs(w, x), pairs(y, z)));
    let low = _mm256_permute2x128_si256::<0x20>(a, b);
    let high = _mm256_permute2x128_si256::<0x31>(a, b);
    let mut totals = [0; ROWS * QUERIES];
    // SAFETY: eight numbers.
    unsafe { _mm256_storeu_si256(totals.as_mut_ptr().cast(), _mm256_add_epi32(low, high)) };
    totals
}
