//! Many queries: rows widened once to f32.
//!
//! The quarters of each line are multiplied one after the other, so that the sums of several rows and queries
//! fit the 32 registers.

use std::arch::aarch64::*;

use super::super::job::Job;
use super::super::packing::Line;
use super::super::panels::{Operands, Panels, Scratch, run};
use super::super::{Element, LANES, reduce};
use super::{Step, WIDTH, load_part};

struct Wide<'a, 'j, T> {
    job: &'a Job<'j, T>,
    out: &'a mut [f32],
}

/// # Safety
/// `Job::check` passed.
pub(super) unsafe fn rows<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    let mut panels = Wide { job, out };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut panels, job.values, job.queries.packing(), job.groups, scratch) };
}

impl<T: Element> Panels for Wide<'_, '_, T> {
    type Value = T;
    const STEP: usize = LANES;

    #[target_feature(enable = "neon")]
    unsafe fn unpack(&mut self, values: &[T], mut to: *mut Line, stride: usize) {
        let whole = values.chunks_exact(LANES);
        let part = whole.remainder();
        for step in whole {
            // SAFETY: 16 values; the caller's promise.
            unsafe {
                store(to, T::step(step.as_ptr()));
                to = to.wrapping_add(stride);
            }
        }
        if !part.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { store(to, load_part(part)) };
        }
    }

    /// What comes next is left to the processor to fetch.
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands<'_>, sums: *mut Line, fresh: bool) {
        let (x0, q0, sums) = (at.rows.cast::<f32>(), at.queries.cast::<f32>(), sums.cast::<f32>());
        for lane in (0..LANES).step_by(WIDTH) {
            let mut acc = [[vdupq_n_f32(0.0); Q]; R];
            if !fresh {
                for r in 0..R {
                    for q in 0..Q {
                        // SAFETY: R x Q lines.
                        acc[r][q] = unsafe { vld1q_f32(sums.add((r * Q + q) * LANES + lane)) };
                    }
                }
            }
            for step in 0..at.steps {
                let mut x = [vdupq_n_f32(0.0); R];
                for r in 0..R {
                    // SAFETY: steps x R lines.
                    x[r] = unsafe { vld1q_f32(x0.add((step * R + r) * LANES + lane)) };
                }
                for q in 0..Q {
                    // SAFETY: steps x Q lines.
                    let query = unsafe { vld1q_f32(q0.add((step * Q + q) * LANES + lane)) };
                    for r in 0..R {
                        acc[r][q] = vfmaq_f32(acc[r][q], x[r], query);
                    }
                }
            }
            for r in 0..R {
                for q in 0..Q {
                    // SAFETY: as above.
                    unsafe { vst1q_f32(sums.add((r * Q + q) * LANES + lane), acc[r][q]) };
                }
            }
        }
    }

    #[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(to: *mut Line, step: Step) {
    for (i, values) in step.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(to.cast::<f32>().add(i * WIDTH), values) };
    }
}
