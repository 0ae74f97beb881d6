//! A block of rows against a panel of queries.

use std::arch::x86_64::*;

use super::super::ahead::FETCH_STEPS;
use super::{Operands, WORD};

/// Adds to the sums of `R` rows what `step` makes of words of theirs and of `Q` lines of queries, with `add`.
/// Both become part of the caller, whose instructions they have.
///
/// # Safety
/// As `Lanes::multiply`, for a processor with AVX-512F.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply<const R: usize, const Q: usize>(
    at: Operands,
    step: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    add: impl Fn(__m512i, __m512i) -> __m512i,
) {
    // SAFETY: the pointers are good for what they are read and written for: words x Q lines of queries,
    // `words` words of R rows, Q lines of sums of each.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); Q]; R];
        let queries = at.queries.cast::<__m512i>();
        let mut ahead = at.ahead;
        for word in 0..at.words {
            if word % FETCH_STEPS == 0 {
                ahead.fetch(at.at_a_time);
            }
            let mut q = [_mm512_setzero_si512(); Q];
            for i in 0..Q {
                q[i] = _mm512_load_si512(queries.add(word * Q + i));
            }
            for r in 0..R {
                let x = at.rows.add(r * at.row_bytes + word * WORD).cast::<i32>().read();
                let x = _mm512_set1_epi32(x);
                for i in 0..Q {
                    sums[r][i] = step(sums[r][i], x, q[i]);
                }
            }
        }
        for r in 0..R {
            for i in 0..Q {
                let to = at.sums.add(r * at.width + i).cast::<__m512i>();
                let before = if at.fresh { _mm512_setzero_si512() } else { _mm512_load_si512(to) };
                _mm512_store_si512(to, add(before, sums[r][i]));
            }
        }
    }
}
