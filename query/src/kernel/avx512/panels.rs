//! Many queries: rows widened once to f32.

use std::arch::x86_64::*;

use super::super::job::Job;
use super::super::packing::Line;
use super::super::panels::{Operands, Panels, Scratch, run};
use super::super::{Element, LANES};
use super::load_part;
use super::reduce::reduce_lines;

struct Wide<'a, 'j, T> {
    job: &'a Job<'j, T>,
    out: &'a mut [f32],
}

/// # Safety
/// The processor has AVX-512F and `Job::check` passed.
pub(super) unsafe fn rows<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    let mut panels = Wide { job, out };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut panels, job.values, job.queries.packing(), job.groups, scratch) };
}

impl<T: Element> Panels for Wide<'_, '_, T> {
    type Value = T;
    const STEP: usize = LANES;

    #[target_feature(enable = "avx512f")]
    unsafe fn unpack(&mut self, values: &[T], mut to: *mut Line, stride: usize) {
        let whole = values.chunks_exact(LANES);
        let part = whole.remainder();
        for step in whole {
            // SAFETY: 16 values; the caller's promise.
            unsafe {
                _mm512_store_ps(to.cast(), T::load(step.as_ptr()));
                to = to.wrapping_add(stride);
            }
        }
        if !part.is_empty() {
            // SAFETY: as above.
            unsafe { _mm512_store_ps(to.cast(), load_part(part)) };
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands<'_>, sums: *mut Line, fresh: bool) {
        let (x0, q0, sums) = (at.rows.cast::<f32>(), at.queries.cast::<f32>(), sums.cast::<f32>());
        let mut acc = [[_mm512_setzero_ps(); Q]; R];
        if !fresh {
            for r in 0..R {
                for q in 0..Q {
                    // SAFETY: R x Q lines.
                    acc[r][q] = unsafe { _mm512_load_ps(sums.add((r * Q + q) * LANES)) };
                }
            }
        }
        for step in 0..at.steps {
            for row in at.ahead {
                _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(step * at.bytes).cast());
            }
            let mut x = [_mm512_setzero_ps(); R];
            for r in 0..R {
                // SAFETY: steps x R lines.
                x[r] = unsafe { _mm512_load_ps(x0.add((step * R + r) * LANES)) };
            }
            for q in 0..Q {
                // SAFETY: steps x Q lines.
                let query = unsafe { _mm512_load_ps(q0.add((step * Q + q) * LANES)) };
                for r in 0..R {
                    acc[r][q] = _mm512_fmadd_ps(x[r], query, acc[r][q]);
                }
            }
        }
        for r in 0..R {
            for q in 0..Q {
                // SAFETY: as above.
                unsafe { _mm512_store_ps(sums.add((r * Q + q) * LANES), acc[r][q]) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn reduce(sums: &[Line], products: &mut [f32]) {
        reduce_lines(sums, products);
    }

    #[inline]
    fn put(&mut self, row: usize, group: usize, from: usize, products: &[f32]) {
        self.job.put(self.out, row, group, from, products);
    }
}
