//! AVX2 with FMA and F16C: two 256-bit registers are one step of the order.

use std::arch::x86_64::*;

use half::f16;

use super::{Element, LANES, Tile, reduce};

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
    // As many rows as their accumulators fit the 16 registers beside one row's values; the widest tile goes in two halves.
    // SAFETY: the caller's promise, passed on; `check` has held the width to 1..=MAX_TILE.
    unsafe {
        match job.width {
            1 => rows::<T, 6, 1>(&job, 0, out),
            2 => rows::<T, 3, 2>(&job, 0, out),
            3 => rows::<T, 2, 3>(&job, 0, out),
            _ => {
                rows::<T, 3, 2>(&job, 0, out);
                rows::<T, 3, 2>(&job, 2, out);
            }
        }
    }
}

/// # Safety
/// As `tile`; the job has queries `from..from + Q`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn rows<T: Element, const R: usize, const Q: usize>(job: &Tile<'_, T>, from: usize, out: &mut [f32]) {
    let count = job.rows();
    let mut row = 0;
    while row + R <= count {
        // SAFETY: rows row..row + R exist.
        unsafe { block::<T, R, Q>(job, row, from, out) };
        row += R;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { block::<T, 1, Q>(job, row, from, out) };
        row += 1;
    }
}

/// # Safety
/// As `rows`; rows `first..first + R` exist.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn block<T: Element, const R: usize, const Q: usize>(
    job: &Tile<'_, T>,
    first: usize,
    from: usize,
    out: &mut [f32],
) {
    let len = job.span.len();
    let base = first * job.dim + job.span.start;
    // Into the second-level cache: the first is full of queries.
    let ahead = R * job.dim * size_of::<T>();
    let (mut low, mut high) = ([[_mm256_setzero_ps(); Q]; R], [[_mm256_setzero_ps(); Q]; R]);
    let x0 = job.values.as_ptr();
    let q0 = job.queries.as_ptr().cast::<f32>();
    for step in 0..len / LANES {
        for r in 0..R {
            // SAFETY: base + r * dim + span.len() <= values.len(), by `check` and the caller, and step * 16 + 16 <= span.len(). The
            // prefetch may point anywhere.
            let x = unsafe {
                let p = x0.add(base + r * job.dim + step * LANES);
                _mm_prefetch::<_MM_HINT_T1>(p.wrapping_byte_add(ahead).cast());
                T::halves(p)
            };
            for q in 0..Q {
                // SAFETY: queries holds steps * width vectors of 16, by `check`.
                unsafe {
                    let query = q0.add((step * job.width + from + q) * LANES);
                    low[r][q] = _mm256_fmadd_ps(x[0], _mm256_loadu_ps(query), low[r][q]);
                    high[r][q] = _mm256_fmadd_ps(x[1], _mm256_loadu_ps(query.add(8)), high[r][q]);
                }
            }
        }
    }
    // The accumulators leave the registers once, here: indexed anywhere else they would live in memory during the loop above.
    let mut lanes = [[[0.0f32; LANES]; Q]; R];
    for r in 0..R {
        for q in 0..Q {
            // SAFETY: each holds 16 values.
            unsafe {
                _mm256_storeu_ps(lanes[r][q].as_mut_ptr(), low[r][q]);
                _mm256_storeu_ps(lanes[r][q].as_mut_ptr().add(8), high[r][q]);
            }
        }
    }
    for (r, lanes) in lanes.iter_mut().enumerate() {
        let row = &job.values[base + r * job.dim..base + r * job.dim + len];
        job.last_step(row, from, lanes);
        for (q, lanes) in lanes.iter().enumerate() {
            out[(first + r) * job.out_stride + from + q] = reduce(lanes);
        }
    }
}
