//! NEON, which every 64-bit ARM has: four 128-bit registers are one step of the order.

mod direct;
mod panels;

use std::arch::aarch64::*;

use half::f16;

use super::job::Job;
use super::panels::{Scratch, run};
use super::{Element, LANES, reduce};

/// Values of a register.
const WIDTH: usize = 4;

/// One step of a row or of a sum.
pub(super) type Step = [float32x4_t; LANES / WIDTH];

/// Loads 16 stored values as f32.
pub(super) trait Load: Copy {
    /// # Safety
    /// 16 values are readable at `p`.
    unsafe fn step(p: *const Self) -> Step;
}

impl Load for f16 {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn step(p: *const Self) -> Step {
        // SAFETY: the caller's promise; the loads need no alignment.
        std::array::from_fn(|i| unsafe {
            vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.cast::<u16>().add(i * WIDTH))))
        })
    }
}

impl Load for f32 {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn step(p: *const Self) -> Step {
        // SAFETY: as above.
        std::array::from_fn(|i| unsafe { vld1q_f32(p.add(i * WIDTH)) })
    }
}

impl Load for i8 {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn step(p: *const Self) -> Step {
        // SAFETY: as above.
        let bytes = unsafe { vld1q_s8(p) };
        let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
        [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_high_s16(low)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_high_s16(high)),
        ]
    }
}

/// Loads fewer than 16 values; the others are zeros.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_part<T: Element>(values: &[T]) -> Step {
    let mut part = [T::default(); LANES];
    part[..values.len()].copy_from_slice(values);
    // SAFETY: 16 values.
    unsafe { T::step(part.as_ptr()) }
}

/// Adds the products of a step of two vectors to a sum.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn add(sum: &mut Step, x: &Step, y: &Step) {
    for i in 0..sum.len() {
        sum[i] = vfmaq_f32(sum[i], x[i], y[i]);
    }
}

/// A sum of nothing.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn zero() -> Step {
    [vdupq_n_f32(0.0); LANES / WIDTH]
}

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn over_lanes(sum: &Step) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (lanes, sum) in lanes.chunks_exact_mut(WIDTH).zip(sum) {
        // SAFETY: four values.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), *sum) };
    }
    reduce(&lanes)
}

/// # Safety
/// `Job::check` passed.
#[target_feature(enable = "neon")]
pub(super) unsafe fn products<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    // As many rows as their sums fit the 32 registers together with one row's values.
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match job.queries.len() {
            0 => {}
            1 => direct::rows::<T, 4, 1>(job, out),
            2 => direct::rows::<T, 2, 2>(job, out),
            3 => direct::rows::<T, 2, 3>(job, out),
            _ => run::<panels::Neon, T>(job, scratch, out),
        }
    }
}
