//! Registers of 8 lanes, for the panels of many queries.

use std::arch::x86_64::*;

use super::super::Element;
use super::super::packing::CacheLine;
use super::super::panels::{Panels, Shape, instructions};
use super::reduce::reduce;

/// AVX2 with FMA and F16C.
pub(super) struct Avx2;

impl Panels for Avx2 {
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

    instructions! {
        "avx2,fma,f16c", __m256: _mm256_setzero_ps(), _mm256_load_ps, _mm256_store_ps,
        |sum, x, query| _mm256_fmadd_ps(x, query, sum)
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = T::halves(from);
            _mm256_store_ps(to, low);
            _mm256_store_ps(to.add(8), high);
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        reduce(sums, products);
    }
}
