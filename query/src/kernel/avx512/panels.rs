//! Registers of 16 lanes, for the panels of many queries.

use std::arch::x86_64::*;

use super::super::Element;
use super::super::packing::CacheLine;
use super::super::panels::{self, Operands, Panels, Shape};
use super::reduce::reduce_lines;

/// AVX-512F.
pub(super) struct Avx512;

impl Panels for Avx512 {
    type Register = __m512;
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

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise; so below.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_load_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, values: __m512) {
        unsafe { _mm512_store_ps(to, values) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, x: __m512, query: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(x, query, sum) }
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        unsafe { _mm512_store_ps(to, T::load(from)) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn unpack<T: Element>(values: &[T], to: *mut CacheLine, stride: usize) {
        // SAFETY: the caller's promise, passed on; so below.
        unsafe { panels::unpack::<Self, T>(values, to, stride) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<const R: usize, const Q: usize>(
        at: &mut Operands<'_>,
        sums: *mut CacheLine,
        fresh: bool,
    ) {
        unsafe { panels::multiply::<Self, R, Q>(at, sums, fresh) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        reduce_lines(sums, products);
    }
}
