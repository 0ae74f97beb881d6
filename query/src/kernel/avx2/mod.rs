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

    /// The larger of each of some magnitudes and those of values, whose order is that of their bits.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn larger(magnitudes: __m256i, values: __m256i) -> __m256i;
}

/// The largest magnitude of values; not a number where one of them is none.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn peak<T: Element>(values: &[T]) -> f32 {
    const CHAINS: usize = 4;
    let register = size_of::<__m256i>() / size_of::<T>();
    let mut peaks = [_mm256_setzero_si256(); CHAINS];
    let mut steps = values.chunks_exact(CHAINS * register);
    for step in &mut steps {
        for (i, peak) in peaks.iter_mut().enumerate() {
            // SAFETY: a register of values; the instructions are there.
            unsafe {
                let values = _mm256_loadu_si256(step.as_ptr().add(i * register).cast());
                *peak = T::larger(*peak, values);
            }
        }
    }
    let mut largest = [T::default(); size_of::<__m256i>()];
    // SAFETY: as above; there is room for a register.
    unsafe {
        let [a, b, c, d] = peaks;
        let all = T::larger(T::larger(a, b), T::larger(c, d));
        _mm256_storeu_si256(largest.as_mut_ptr().cast(), all);
    }
    let all = largest[..register].iter().chain(steps.remainder()).map(|value| value.widen().abs());
    all.fold(0.0, |peak, value| if value > peak || value.is_nan() { value } else { peak })
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

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn larger(magnitudes: __m256i, values: __m256i) -> __m256i {
        _mm256_max_epu16(magnitudes, _mm256_and_si256(values, _mm256_set1_epi16(i16::MAX)))
    }
}

impl Load for f32 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn halves(p: *const Self) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn larger(magnitudes: __m256i, values: __m256i) -> __m256i {
        _mm256_max_epu32(magnitudes, _mm256_and_si256(values, _mm256_set1_epi32(i32::MAX)))
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

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn larger(magnitudes: __m256i, values: __m256i) -> __m256i {
        _mm256_max_epu8(magnitudes, _mm256_abs_epi8(values))
    }
}

/// Loads fewer than 16 values; the others are zeros.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn load_part<T: Element>(values: &[T]) -> [__m256; 2] {
    let mut part = [T::default(); LANES];
    part[..values.len()].copy_from_slice(values);
    // SAFETY: 16 values.
    unsafe { T::halves(part.as_ptr()) }
}

pub(super) use direct::picked;
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
