//! AVX-512: one 512-bit register is one step of the order.

use std::arch::x86_64::*;

use half::f16;

use super::{Element, LANES, MAX_TILE, Tile, reduce};

/// Rows that a tile takes at a time: each load of a query feeds them all, and with the widest tile they are the most whose accumulators,
/// values and query fit the 32 registers.
const ROWS: usize = 6;

/// Loads 16 stored values as f32.
pub(super) trait Load: Copy {
    /// # Safety
    /// 16 values are readable at `p`; the processor has AVX-512F.
    unsafe fn load(p: *const Self) -> __m512;
}

impl Load for f16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
    }
}

impl Load for f32 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(p) }
    }
}

impl Load for i8 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m512 {
        // SAFETY: as above.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(p.cast()) }))
    }
}

/// # Safety
/// The processor has AVX-512F and `Tile::check` passed.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile<T: Element>(job: Tile<'_, T>, out: &mut [f32]) {
    // SAFETY: the caller's promise, passed on; `check` has held the width to 1..=MAX_TILE.
    unsafe {
        match job.width {
            1 => rows::<T, 1>(&job, out),
            2 => rows::<T, 2>(&job, out),
            3 => rows::<T, 3>(&job, out),
            _ => rows::<T, MAX_TILE>(&job, out),
        }
    }
}

/// # Safety
/// As `tile`; `Q` is the width of the job.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn rows<T: Element, const Q: usize>(job: &Tile<'_, T>, out: &mut [f32]) {
    let count = job.rows();
    let mut row = 0;
    while row + ROWS <= count {
        // SAFETY: rows row..row + ROWS exist.
        unsafe { block::<T, ROWS, Q>(job, row, out) };
        row += ROWS;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { block::<T, 1, Q>(job, row, out) };
        row += 1;
    }
}

/// # Safety
/// As `rows`; rows `first..first + R` exist.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn block<T: Element, const R: usize, const Q: usize>(
    job: &Tile<'_, T>,
    first: usize,
    out: &mut [f32],
) {
    let len = job.span.len();
    let base = first * job.dim + job.span.start;
    // Into the second-level cache: the first is full of queries.
    let ahead = R * job.dim * size_of::<T>();
    let mut acc = [[_mm512_setzero_ps(); Q]; R];
    let x0 = job.values.as_ptr();
    let q0 = job.queries.as_ptr().cast::<f32>();
    for step in 0..len / LANES {
        let mut x = [_mm512_setzero_ps(); R];
        for r in 0..R {
            // SAFETY: base + r * dim + span.len() <= values.len(), by `check` and the caller, and step * 16 + 16 <= span.len(). The
            // prefetch may point anywhere.
            unsafe {
                let p = x0.add(base + r * job.dim + step * LANES);
                _mm_prefetch::<_MM_HINT_T1>(p.wrapping_byte_add(ahead).cast());
                x[r] = T::load(p);
            }
        }
        for q in 0..Q {
            // SAFETY: queries holds steps * Q vectors of 16, by `check`.
            let query = unsafe { _mm512_loadu_ps(q0.add((step * Q + q) * LANES)) };
            for r in 0..R {
                acc[r][q] = _mm512_fmadd_ps(x[r], query, acc[r][q]);
            }
        }
    }
    // The accumulators leave the registers once, here: indexed anywhere else they would live in memory during the loop above.
    let mut lanes = [[[0.0f32; LANES]; Q]; R];
    for r in 0..R {
        for q in 0..Q {
            // SAFETY: each holds 16 values.
            unsafe { _mm512_storeu_ps(lanes[r][q].as_mut_ptr(), acc[r][q]) };
        }
    }
    for (r, lanes) in lanes.iter_mut().enumerate() {
        let row = &job.values[base + r * job.dim..base + r * job.dim + len];
        job.last_step(row, 0, lanes);
        for (q, lanes) in lanes.iter().enumerate() {
            out[(first + r) * job.out_stride + q] = reduce(lanes);
        }
    }
}
