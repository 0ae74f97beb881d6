//! The fixed tree over the lanes of many sums at once.

use std::arch::x86_64::*;

use super::super::packing::CacheLine;
use super::super::{LANES, reduce as reduce_lanes};

/// The tree of `kernel::reduce` for each of `sums`, 16 and 8 at a time.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in super::super) fn reduce(sums: &[__m512], out: &mut [f32]) {
    let mut at = 0;
    while at + 16 <= sums.len() {
        let both = reduce16(&sums[at..at + 16]);
        // SAFETY: 16 values.
        unsafe { _mm512_storeu_ps(out[at..at + 16].as_mut_ptr(), both) };
        at += 16;
    }
    if at + 8 <= sums.len() {
        let half = reduce8(&sums[at..at + 8]);
        out[at..at + 8].copy_from_slice(&half);
        at += 8;
    }
    for (sum, out) in sums[at..].iter().zip(&mut out[at..]) {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: 16 values.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), *sum) };
        *out = reduce_lanes(&lanes);
    }
}

/// The same of sums in memory.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in super::super) fn reduce_lines(sums: &[CacheLine], out: &mut [f32]) {
    // SAFETY: a line is a register in memory: 64 bytes on a boundary of 64.
    let sums = unsafe { std::slice::from_raw_parts(sums.as_ptr().cast::<__m512>(), sums.len()) };
    reduce(sums, out);
}

/// Lanes 8 apart of two sums: `[a | b]`, 8 values each.
#[target_feature(enable = "avx512f")]
#[inline]
fn eights(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
}

/// Lanes 4 apart of `[a | b]` and `[c | d]`: `[a | b | c | d]`, 4 values each.
#[target_feature(enable = "avx512f")]
#[inline]
fn fours(ab: __m512, cd: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd))
}

/// Lanes 2 apart, inside each quarter: two values of the one, two of the other.
#[target_feature(enable = "avx512f")]
#[inline]
fn twos(a: __m512, b: __m512) -> __m512 {
    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
    _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
}

/// Neighbouring lanes, inside each quarter.
#[target_feature(enable = "avx512f")]
#[inline]
fn ones(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn reduce16(x: &[__m512]) -> __m512 {
    // Quarter l of vector v ends as value v of quarter l, so it is that of sum 4 * l + v.
    let quarter = |v: usize| fours(eights(x[v], x[4 + v]), eights(x[8 + v], x[12 + v]));
    ones(twos(quarter(0), quarter(1)), twos(quarter(2), quarter(3)))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn reduce8(x: &[__m512]) -> [f32; 8] {
    let pair = |v: usize| fours(eights(x[v], x[2 + v]), eights(x[4 + v], x[6 + v]));
    let pairs = twos(pair(0), pair(1));
    let mut all = [0.0f32; LANES];
    // SAFETY: 16 values.
    unsafe { _mm512_storeu_ps(all.as_mut_ptr(), ones(pairs, pairs)) };
    // Each quarter l holds sums 2 * l and 2 * l + 1, twice.
    std::array::from_fn(|i| all[i / 2 * 4 + i % 2])
}
