//! AVX-512: one 512-bit register is one step of the order.

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
    /// 16 values are readable at `p`; the processor has AVX-512F.
    unsafe fn load(p: *const Self) -> __m512;
}

impl Load for f16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m512 {
        // With the current rounding, of which there is none, the load is part of the instruction; to suppress
        // exceptions it could not be. SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(unsafe { _mm256_loadu_si256(p.cast()) })
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

/// Loads fewer than 16 values; the others are zeros.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load_part<T: Element>(values: &[T]) -> __m512 {
    let mut part = [T::default(); LANES];
    part[..values.len()].copy_from_slice(values);
    // SAFETY: 16 values.
    unsafe { T::load(part.as_ptr()) }
}

pub(super) use direct::picked;
pub(super) use signs::signs;

/// # Safety
/// The processor has AVX-512F and `Job::check` passed.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn products<T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match job.queries.len() {
            0 => {}
            // Sums of eight rows are reduced together, which pays where groups are small.
            1 if job.groups.len() >= direct::FEW => direct::rows::<T, 8, 1>(job, out),
            1 if size_of::<T>() == 1 => direct::rows::<T, 4, 1>(job, out),
            // One stream of memory is faster than two, where the rows are long enough to hide
            // the sum of their lanes.
            1 if job.queries.dim() >= 2048 => direct::stream(job, out),
            1 => direct::rows::<T, 2, 1>(job, out),
            2 => direct::rows::<T, 6, 2>(job, out),
            3 => direct::rows::<T, 6, 3>(job, out),
            4 => direct::rows::<T, 6, 4>(job, out),
            _ => run::<panels::Avx512, T>(job, scratch, out),
        }
    }
}
