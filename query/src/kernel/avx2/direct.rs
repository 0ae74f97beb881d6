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
    let (count, row_bytes) = (job.rows(), job.queries.dim() * size_of::<T>());
    let mut row = 0;
    while row + R <= count {
        let rows = std::array::from_fn(|r| row + r);
        // SAFETY: these rows exist.
        unsafe { strip::<T, R, Q>(job, (rows, row), R * row_bytes, out) };
        row += R;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { strip::<T, 1, Q>(job, ([row], row), row_bytes, out) };
        row += 1;
    }
}

/// Rows here and there, for one query. Four at a time: each waits for memory by itself.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, `Job::check_at` passed and there is one query.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn picked<T: Element>(job: &Job<'_, T>, chosen: &[usize], out: &mut [f32]) {
    let (fours, rest) = chosen.as_chunks();
    for (i, rows) in fours.iter().enumerate() {
        // SAFETY: the caller's promise, passed on.
        unsafe { strip::<T, 4, 1>(job, (*rows, 4 * i), NEAR, out) };
    }
    let first = 4 * fours.len();
    // SAFETY: as above.
    unsafe {
        match *rest {
            [a] => strip::<T, 1, 1>(job, ([a], first), NEAR, out),
            [a, b] => strip::<T, 2, 1>(job, ([a, b], first), NEAR, out),
            [a, b, c] => strip::<T, 3, 1>(job, ([a, b, c], first), NEAR, out),
            _ => {}
        }
    }
}

/// Bytes ahead in a row that is read by itself.
const NEAR: usize = 1 << 10;

/// Some rows, whose sums have places from the first on. What lies so many bytes ahead is fetched meanwhile
/// into the second-level cache: the first is full of queries.
///
/// # Safety
/// As `rows`; the rows exist.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn strip<T: Element, const R: usize, const Q: usize>(
    job: &Job<'_, T>,
    (rows, first): ([usize; R], usize),
    ahead: usize,
    out: &mut [f32],
) {
    let dim = job.queries.dim();
    for &group in job.groups {
        let span = job.queries.span(group);
        let packed = job.queries.tile(group, 0);
        let steps = span.len() / LANES;
        let values = rows.map(|row| &job.values[row * dim + span.start..row * dim + span.end]);
        let (mut low, mut high) = ([[_mm256_setzero_ps(); Q]; R], [[_mm256_setzero_ps(); Q]; R]);
        let q0 = packed.as_ptr().cast::<f32>();
        for step in 0..steps {
            for r in 0..R {
                // SAFETY: each row has as many steps. The prefetch may point anywhere.
                let x = unsafe {
                    let p = values[r].as_ptr().add(step * LANES);
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
                let x = load_part(&values[r][steps * LANES..]);
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
