//! Registers of 16 lanes, for the panels of many queries.

use std::arch::x86_64::*;

use super::super::Element;
use super::super::packing::CacheLine;
use super::super::panels::{Panels, Shape, instructions};
use super::reduce::reduce_lines;

/// AVX-512F.
pub(super) struct Avx512;

impl Panels for Avx512 {
    const WIDTH: usize = 16;
    const SUMS: usize = 24;

    /// For few tiles all of a cut (rows, queries and sums) stays in the first-level cache; for many the tile
    /// of queries does, and the rows stay in the second.
    fn shape(tiles: usize) -> Shape {
        match tiles {
            0 | 1 => Shape { rows: 12, cut: 16, tiles: 32 },
            2 | 3 => Shape { rows: 12, cut: 32, tiles: 32 },
            _ => Shape { rows: 48, cut: 64, tiles: 32 },
        }
    }

    instructions! {
        "avx512f", __m512: _mm512_setzero_ps(), _mm512_load_ps, _mm512_store_ps,
        |sum, x, query| _mm512_fmadd_ps(x, query, sum)
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_store_ps(to, T::load(from)) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        reduce_lines(sums, products);
    }
}
