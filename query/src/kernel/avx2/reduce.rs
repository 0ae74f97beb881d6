//! The fixed tree over the lanes of eight sums at once.

use std::arch::x86_64::*;

use super::super::packing::CacheLine;
use super::super::reduce as reduce_lanes;

/// The tree of `kernel::reduce` for each of `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn reduce(sums: &[CacheLine], out: &mut [f32]) {
    let (eights, rest) = sums.as_chunks::<8>();
    let (to, of_rest) = out.split_at_mut(8 * eights.len());
    for (sums, to) in eights.iter().zip(to.chunks_exact_mut(8)) {
        // SAFETY: 8 values.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), reduce8(sums)) };
    }
    for (sum, to) in rest.iter().zip(of_rest) {
        *to = reduce_lanes(bytemuck::cast_ref(&sum.0));
    }
}

/// Lanes 8 apart.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn eights(sum: &CacheLine) -> __m256 {
    let at = sum.0.as_ptr().cast::<f32>();
    // SAFETY: a line has two registers and is aligned to both.
    unsafe { _mm256_add_ps(_mm256_load_ps(at), _mm256_load_ps(at.add(8))) }
}

/// Lanes 4 apart of two sums: `[a | b]`, 4 values each.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn fours(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
}

/// Lanes 2 apart, inside each half: two values of the one, two of the other.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn twos(a: __m256, b: __m256) -> __m256 {
    let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
    _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)))
}

/// Neighbouring lanes, inside each half.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn ones(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b))
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn reduce8(x: &[CacheLine; 8]) -> __m256 {
    // Half l of vector v ends as value v of half l, so it is that of sum 4 * l + v.
    let halves = |v: usize| fours(eights(&x[v]), eights(&x[4 + v]));
    ones(twos(halves(0), halves(1)), twos(halves(2), halves(3)))
}
