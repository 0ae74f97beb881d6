//! Many queries: rows widened once to f32.
//!
//! The two halves of each line are multiplied one after the other, so that the sums of several rows and
//! queries fit the 16 registers.

use std::arch::x86_64::*;

use super::super::job::Job;
use super::super::packing::Line;
use super::super::panels::{Operands, Panels, Scratch, run};
use super::super::{Element, LANES, reduce};
use super::load_part;

struct Wide<'a, 'j, T> {
    job: &'a Job<'j, T>,
    out: &'a mut [f32],
}

/// # Safety
/// The processor has AVX2, FMA and F16C, and `Job::check` passed.
pub(super) unsafe fn rows<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    let mut panels = Wide { job, out };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut panels, job.values, job.queries.packing(), job.groups, scratch) };
}

impl<T: Element> Panels for Wide<'_, '_, T> {
    type Value = T;
    const STEP: usize = LANES;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(&mut self, values: &[T], mut to: *mut Line, stride: usize) {
        let whole = values.chunks_exact(LANES);
        let part = whole.remainder();
        for step in whole {
            // SAFETY: 16 values; the caller's promise.
            unsafe {
                store(to, T::halves(step.as_ptr()));
                to = to.wrapping_add(stride);
            }
        }
        if !part.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { store(to, load_part(part)) };
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands<'_>, sums: *mut Line, fresh: bool) {
        for half in 0..2 {
            let mut from = 0;
            // SAFETY: the caller's promise; queries from..from + width exist.
            unsafe {
                while from < Q {
                    // R x width sums, R rows' values and a query are at most 16 registers.
                    let width = (Q - from).min(if R == 3 { 4 } else { 3 });
                    match width {
                        1 => part::<R, 1>(at, Q, from, half, sums, fresh),
                        2 => part::<R, 2>(at, Q, from, half, sums, fresh),
                        3 => part::<R, 3>(at, Q, from, half, sums, fresh),
                        _ => part::<R, 4>(at, Q, from, half, sums, fresh),
                    }
                    from += width;
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn reduce(sums: &[Line], products: &mut [f32]) {
        for (sum, product) in sums.iter().zip(products) {
            *product = reduce(bytemuck::cast_ref(&sum.0));
        }
    }

    #[inline]
    fn put(&mut self, row: usize, group: usize, from: usize, products: &[f32]) {
        self.job.put(self.out, row, group, from, products);
    }
}

/// # Safety
/// As `Panels::unpack`, of one line.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn store(to: *mut Line, halves: [__m256; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        _mm256_store_ps(to.cast(), halves[0]);
        _mm256_store_ps(to.cast::<f32>().add(8), halves[1]);
    }
}

/// One half of the lanes of queries `from..from + Q` of `width`.
///
/// # Safety
/// As `Panels::multiply` with `width` queries.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn part<const R: usize, const Q: usize>(
    at: Operands<'_>,
    width: usize,
    from: usize,
    half: usize,
    sums: *mut Line,
    fresh: bool,
) {
    let lane = half * (LANES / 2);
    let (x0, q0, sums) = (at.rows.cast::<f32>(), at.queries.cast::<f32>(), sums.cast::<f32>());
    let mut acc = [[_mm256_setzero_ps(); Q]; R];
    if !fresh {
        for r in 0..R {
            for q in 0..Q {
                // SAFETY: R x width lines.
                acc[r][q] = unsafe { _mm256_load_ps(sums.add((r * width + from + q) * LANES + lane)) };
            }
        }
    }
    for step in 0..at.steps {
        if half == 0 && from == 0 {
            for row in at.ahead {
                _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(step * at.bytes).cast());
            }
        }
        let mut x = [_mm256_setzero_ps(); R];
        for r in 0..R {
            // SAFETY: steps x R lines.
            x[r] = unsafe { _mm256_load_ps(x0.add((step * R + r) * LANES + lane)) };
        }
        for q in 0..Q {
            // SAFETY: steps x width lines.
            let query = unsafe { _mm256_load_ps(q0.add((step * width + from + q) * LANES + lane)) };
            for r in 0..R {
                acc[r][q] = _mm256_fmadd_ps(x[r], query, acc[r][q]);
            }
        }
    }
    for r in 0..R {
        for q in 0..Q {
            // SAFETY: as above.
            unsafe { _mm256_store_ps(sums.add((r * width + from + q) * LANES + lane), acc[r][q]) };
        }
    }
}
