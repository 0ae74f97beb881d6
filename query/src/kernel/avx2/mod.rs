//! AVX2 with FMA and F16C: two 256-bit registers are one step of the order.

mod direct;
mod panels;
mod reduce;
mod signs;

use std::arch::x86_64::*;

use half::f16;

use super::job::Job;
use super::panels::{Scratch, run};
use super::{Element, LANES};

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
        // Each half is loaded by itself: a shift would take the unit that extends signs.
        // SAFETY: as above.
        let (low, high) = unsafe { (_mm_loadl_epi64(p.cast()), _mm_loadl_epi64(p.add(8).cast())) };
        let widen = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
        [widen(low), widen(high)]
    }
}

/// Loads fewer than 16 values; the others are zeros.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn load_part<T: Element>(values: &[T]) -> [__m256; 2] {
    let mut part = [T::default(); LANES];
    part[..values.len()].copy_from_slice(values);
    // SAFETY: 16 values.
    unsafe { T::halves(part.as_ptr()) }
}

pub(super) use signs::signs;

/// # Safety
/// The processor has AVX2, FMA and F16C, and `Job::check` passed.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn products<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    // As many rows as their sums fit the 16 registers together with one row's values.
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match job.queries.len() {
            0 => {}
            1 => direct::rows::<T, 4, 1>(job, out),
            2 => direct::rows::<T, 3, 2>(job, out),
            3 => direct::rows::<T, 2, 3>(job, out),
            _ => run::<panels::Avx2, T>(job, scratch, out),
        }
    }
}
