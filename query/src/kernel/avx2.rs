//! AVX2 with FMA and F16C: two 256-bit registers are one step of the order.

use std::arch::x86_64::*;

use half::f16;

use super::{Element, LANES, Tile, padded, reduce};

/// Distance of the prefetch in a linear stream.
const AHEAD: usize = 4096;

/// Loads 16 stored values as f32.
pub(super) trait Load: Copy {
    /// # Safety
    /// 16 values are readable at `p`; the processor has AVX2 and F16C.
    unsafe fn halves(p: *const Self) -> [__m256; 2];
}

impl Load for f16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn halves(p: *const Self) -> [__m256; 2] {
        // SAFETY: the caller's promise; the loads need no alignment.
        unsafe {
            [_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast()))]
        }
    }
}

impl Load for f32 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn halves(p: *const Self) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
}

impl Load for i8 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn halves(p: *const Self) -> [__m256; 2] {
        // SAFETY: as above.
        let bytes = unsafe { _mm_loadu_si128(p.cast()) };
        let widen = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
        [widen(bytes), widen(_mm_srli_si128::<8>(bytes))]
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C, and `Tile::check` passed.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile<T: Element>(job: Tile<'_, T>, out: &mut [f32]) {
    for row in 0..job.rows() {
        // SAFETY: the caller's promise; the row exists.
        unsafe {
            match job.width {
                1 => block::<T, 1>(&job, row, out),
                2 => block::<T, 2>(&job, row, out),
                3 => block::<T, 3>(&job, row, out),
                4 => block::<T, 4>(&job, row, out),
                5 => block::<T, 5>(&job, row, out),
                _ => block::<T, 6>(&job, row, out),
            }
        }
    }
}

/// # Safety
/// As `tile`; `Q` is the width of the job and row `row` exists.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn block<T: Element, const Q: usize>(job: &Tile<'_, T>, row: usize, out: &mut [f32]) {
    let len = job.span.len();
    let base = row * job.dim + job.span.start;
    let (mut low, mut high) = ([_mm256_setzero_ps(); Q], [_mm256_setzero_ps(); Q]);
    let x0 = job.values.as_ptr();
    let q0 = job.queries.as_ptr().cast::<f32>();
    for step in 0..len / LANES {
        // SAFETY: base + span.len() <= values.len() and step * 16 + 16 <= span.len(), by `check` and the caller. The prefetch may point
        // anywhere.
        let x = unsafe {
            let p = x0.add(base + step * LANES);
            _mm_prefetch::<_MM_HINT_T0>(p.wrapping_byte_add(AHEAD).cast());
            T::halves(p)
        };
        for q in 0..Q {
            // SAFETY: queries holds steps * Q vectors of 16, by `check`.
            unsafe {
                let query = q0.add((step * Q + q) * LANES);
                low[q] = _mm256_fmadd_ps(x[0], _mm256_loadu_ps(query), low[q]);
                high[q] = _mm256_fmadd_ps(x[1], _mm256_loadu_ps(query.add(8)), high[q]);
            }
        }
    }
    if !len.is_multiple_of(LANES) {
        let step = len / LANES;
        let rest = padded(&job.values[base + step * LANES..base + len]);
        // SAFETY: `rest` holds 16 values.
        let x = unsafe { T::halves(rest.as_ptr()) };
        for q in 0..Q {
            let query = job.queries[step * Q + q].as_ptr();
            // SAFETY: the query's step holds 16 values.
            unsafe {
                low[q] = _mm256_fmadd_ps(x[0], _mm256_loadu_ps(query), low[q]);
                high[q] = _mm256_fmadd_ps(x[1], _mm256_loadu_ps(query.add(8)), high[q]);
            }
        }
    }
    for q in 0..Q {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: `lanes` holds 16 values.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), low[q]);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(8), high[q]);
        }
        out[row * job.out_stride + q] = reduce(&lanes);
    }
}
