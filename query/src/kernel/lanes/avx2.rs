//! A block of rows against a panel of queries, whose sums are integers.

use std::arch::x86_64::*;

use super::super::ahead::{FETCH_STEPS, RowPrefetch};
use super::{Operands, WORD};

/// Rows whose sums are in registers together,
const ROWS: usize = 4;

/// Adds to the sums of `R` rows what `step` makes of words of theirs and of `Q` lines of queries, `W` words
/// at a time. A line is two registers. All become part of the caller, whose instructions they have.
///
/// # Safety
/// As `Lanes::multiply`, for a processor with AVX2.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply<const R: usize, const Q: usize, const W: usize>(
    at: Operands,
    step: impl Fn(__m256i, [__m256i; W], [__m256i; W]) -> __m256i,
) {
    // Registers of queries at a time: of single words there is room for three.
    let width = if W == 1 && Q == 3 { 3 } else { 2 };
    for half in (0..2 * Q).step_by(width) {
        let mut row = 0;
        while row < R {
            // Fetched with the first ones.
            let ahead = if half + row == 0 { at.ahead } else { RowPrefetch::none() };
            let part = Part { at, ahead, row, half, stride: 2 * Q };
            // SAFETY: the caller's promise, passed on.
            unsafe {
                match (R.min(ROWS), width) {
                    (1, 3) => part.multiply::<1, 3, W>(&step),
                    (1, _) => part.multiply::<1, 2, W>(&step),
                    (_, 3) => part.multiply::<ROWS, 3, W>(&step),
                    _ => part.multiply::<ROWS, 2, W>(&step),
                }
            }
            row += ROWS;
        }
    }
}

/// Some rows, and registers of queries.
struct Part {
    at: Operands,
    ahead: RowPrefetch,
    /// The first row.
    row: usize,
    /// The first half of a line of queries, of `stride` for each word.
    half: usize,
    stride: usize,
}

impl Part {
    /// # Safety
    /// As `multiply`; R rows and H registers are there, and `words` is a multiple of W.
    #[inline(always)]
    unsafe fn multiply<const R: usize, const H: usize, const W: usize>(
        self,
        step: impl Fn(__m256i, [__m256i; W], [__m256i; W]) -> __m256i,
    ) {
        let Self { at, mut ahead, row, half, stride } = self;
        // SAFETY: the pointers are good for what they are read and written for.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); H]; R];
            let queries = at.queries.cast::<__m256i>().add(half);
            let rows = at.rows.add(row * at.row_bytes);
            for word in (0..at.words).step_by(W) {
                if word % FETCH_STEPS == 0 {
                    ahead.fetch(at.at_a_time);
                }
                let mut q = [[_mm256_setzero_si256(); W]; H];
                for h in 0..H {
                    for w in 0..W {
                        q[h][w] = _mm256_load_si256(queries.add((word + w) * stride + h));
                    }
                }
                for r in 0..R {
                    let mut x = [_mm256_setzero_si256(); W];
                    for w in 0..W {
                        let word = rows.add(r * at.row_bytes + (word + w) * WORD).cast::<i32>().read();
                        x[w] = _mm256_set1_epi32(word);
                    }
                    for h in 0..H {
                        sums[r][h] = step(sums[r][h], x, q[h]);
                    }
                }
            }
            for r in 0..R {
                let line = at.sums.add((row + r) * at.width).cast::<__m256i>().add(half);
                for h in 0..H {
                    let to = line.add(h);
                    let before = if at.fresh { _mm256_setzero_si256() } else { _mm256_load_si256(to) };
                    _mm256_store_si256(to, _mm256_add_epi32(before, sums[r][h]));
                }
            }
        }
    }
}
