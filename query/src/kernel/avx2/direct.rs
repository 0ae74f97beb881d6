//! Few queries: straight from the rows' bytes.

use std::arch::x86_64::*;

use super::super::job::Job;
use super::super::{Element, LANES, reduce};
use super::load_part;

/// Some rows at a time and of these group by group, so that rows come from memory once however
/// many groups they have.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, `Job::check` passed and there are `Q` queries.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn rows<T: Element, const R: usize, const Q: usize>(job: &Job<'_, T>, out: &mut [f32]) {
    let count = job.rows();
    let mut row = 0;
    while row + R <= count {
        // SAFETY: rows row..row + R exist.
        unsafe { strip::<T, R, Q>(job, row, out) };
        row += R;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { strip::<T, 1, Q>(job, row, out) };
        row += 1;
    }
}

/// # Safety
/// As `rows`; rows `first..first + R` exist.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn strip<T: Element, const R: usize, const Q: usize>(job: &Job<'_, T>, first: usize, out: &mut [f32]) {
    let dim = job.queries.dim();
    // Into the second-level cache: the first is full of queries.
    let ahead = R * dim * size_of::<T>();
    for &group in job.groups {
        let span = job.queries.span(group);
        let packed = job.queries.tile(group, 0);
        let (base, steps) = (first * dim + span.start, span.len() / LANES);
        let (mut low, mut high) = ([[_mm256_setzero_ps(); Q]; R], [[_mm256_setzero_ps(); Q]; R]);
        let x0 = job.values.as_ptr();
        let q0 = packed.as_ptr().cast::<f32>();
        for step in 0..steps {
            for r in 0..R {
                // SAFETY: base + r * dim + span.len() <= values.len(), by `check` and the caller, and
                // step * 16 + 16 <= span.len(). The prefetch may point anywhere.
                let x = unsafe {
                    let p = x0.add(base + r * dim + step * LANES);
                    _mm_prefetch::<_MM_HINT_T1>(p.wrapping_byte_add(ahead).cast());
                    T::halves(p)
                };
                for q in 0..Q {
                    // SAFETY: the packed queries hold at least steps * Q lines.
                    unsafe {
                        let query = q0.add((step * Q + q) * LANES);
                        low[r][q] = _mm256_fmadd_ps(x[0], _mm256_load_ps(query), low[r][q]);
                        high[r][q] = _mm256_fmadd_ps(x[1], _mm256_load_ps(query.add(8)), high[r][q]);
                    }
                }
            }
        }
        if steps * LANES < span.len() {
            for r in 0..R {
                let x = load_part(&job.values[base + r * dim + steps * LANES..base + r * dim + span.len()]);
                for q in 0..Q {
                    // SAFETY: the padded step is there too.
                    unsafe {
                        let query = q0.add((steps * Q + q) * LANES);
                        low[r][q] = _mm256_fmadd_ps(x[0], _mm256_load_ps(query), low[r][q]);
                        high[r][q] = _mm256_fmadd_ps(x[1], _mm256_load_ps(query.add(8)), high[r][q]);
                    }
                }
            }
        }
        // The sums leave the registers once, here: indexed anywhere else they would live in
        // memory during the loop above.
        let mut products = [[0.0f32; Q]; R];
        for r in 0..R {
            for q in 0..Q {
                let mut lanes = [0.0f32; LANES];
                // SAFETY: 16 values.
                unsafe {
                    _mm256_storeu_ps(lanes.as_mut_ptr(), low[r][q]);
                    _mm256_storeu_ps(lanes.as_mut_ptr().add(8), high[r][q]);
                }
                products[r][q] = reduce(&lanes);
            }
        }
        for (r, products) in products.iter().enumerate() {
            job.put(out, first + r, group, 0, products);
        }
    }
}
