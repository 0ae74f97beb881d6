//! Products of sign bits with the bits of few queries.
//!
//! `sum over set signs of q_k` is the sum over the bits b of a value, weighed by what they count, of the
//! number of coordinates where both bits are set. About half the work of unpacking the signs.

use std::arch::x86_64::*;

use super::queries::{BIT_STEP, VALUE_BITS};
use super::{CodeKind, CodeQueries, CodeRows, finish};

/// Bytes ahead of the scan that are fetched.
const AHEAD: usize = 4096;

/// # Safety
/// The processor has AVX-512F, BW and VPOPCNTDQ; the codes are signs; there are `Q` queries, of values up to
/// 15; `out` has a value per row and query.
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
pub(super) unsafe fn rows<const Q: usize>(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let planes = queries.bits();
    let chunks = queries.dim().div_ceil(BIT_STEP);
    assert!(planes.len() == chunks * VALUE_BITS * Q && rows.row_bytes == queries.dim() / 8);
    let ahead = AHEAD.div_ceil(rows.row_bytes);
    // The last chunk may be a part of one.
    let tail = rows.row_bytes - (chunks - 1) * 64;
    let mask = u64::MAX >> (64 - tail);
    for (i, out) in out.chunks_exact_mut(Q).enumerate() {
        let signs = rows.row(i);
        let next = rows.address(i + ahead);
        let mut counts = [[_mm512_setzero_si512(); VALUE_BITS]; Q];
        for (chunk, planes) in planes.chunks_exact(VALUE_BITS * Q).enumerate() {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(chunk * 64).cast());
            let mask = if chunk + 1 == chunks { mask } else { u64::MAX };
            // SAFETY: the mask leaves out what is beyond the row.
            let signs = unsafe { _mm512_maskz_loadu_epi8(mask, signs.as_ptr().add(chunk * 64).cast()) };
            let planes = planes.as_ptr().cast::<u8>();
            for b in 0..VALUE_BITS {
                for q in 0..Q {
                    // SAFETY: 64 aligned bytes for each of the chunk's planes.
                    let plane = unsafe { _mm512_load_si512(planes.add((b * Q + q) * 64).cast()) };
                    let both = _mm512_popcnt_epi64(_mm512_and_si512(signs, plane));
                    counts[q][b] = _mm512_add_epi64(counts[q][b], both);
                }
            }
        }
        for (q, (out, counts)) in out.iter_mut().zip(&counts).enumerate() {
            let mut sum = counts[0];
            sum = _mm512_add_epi64(sum, _mm512_slli_epi64::<1>(counts[1]));
            sum = _mm512_add_epi64(sum, _mm512_slli_epi64::<2>(counts[2]));
            sum = _mm512_add_epi64(sum, _mm512_slli_epi64::<3>(counts[3]));
            sum = _mm512_sub_epi64(sum, _mm512_slli_epi64::<4>(counts[4]));
            *out = finish(CodeKind::Sign, _mm512_reduce_add_epi64(sum) as i32, queries.sum(q));
        }
    }
}
