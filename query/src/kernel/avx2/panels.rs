//! Registers of 8 lanes, for the panels of many queries.

use std::arch::x86_64::*;

use super::super::Element;
use super::super::packing::CacheLine;
use super::super::panels::{self, Operands, Panels, Shape};
use super::reduce::reduce;

/// AVX2 with FMA and F16C.
pub(super) struct Avx2;

impl Panels for Avx2 {
    type Register = __m256;
    const WIDTH: usize = 8;
    const SUMS: usize = 12;

    /// A tile of queries and a panel of rows share a first-level cache of 32 KiB with their sums, and the
    /// sums of many tiles a second-level cache of 512 KiB with the rows.
    fn shape(tiles: usize) -> Shape {
        match tiles {
            0 | 1 => Shape { rows: 12, cut: 24, tiles: 12 },
            2 | 3 => Shape { rows: 12, cut: 32, tiles: 12 },
            _ => Shape { rows: 48, cut: 24, tiles: 12 },
        }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller's promise; so below.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_load_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, values: __m256) {
        unsafe { _mm256_store_ps(to, values) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m256, x: __m256, query: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(x, query, sum) }
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        unsafe {
            let [low, high] = T::halves(from);
            _mm256_store_ps(to, low);
            _mm256_store_ps(to.add(8), high);
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<T: Element>(values: &[T], to: *mut CacheLine, stride: usize) {
        // SAFETY: the caller's promise, passed on; so below.
        unsafe { panels::unpack::<Self, T>(values, to, stride) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply<const R: usize, const Q: usize>(
        at: &mut Operands<'_>,
        sums: *mut CacheLine,
        fresh: bool,
    ) {
        unsafe { panels::multiply::<Self, R, Q>(at, sums, fresh) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        reduce(sums, products);
    }
}
