//! Registers of 4 lanes, for the panels of many queries.

use std::arch::aarch64::*;

use super::super::packing::CacheLine;
use super::super::panels::{self, Operands, Panels, Shape};
use super::super::{Element, reduce};
use super::WIDTH;

/// NEON, which leaves it to the processor to fetch what comes next.
pub(super) struct Neon;

impl Panels for Neon {
    type Register = float32x4_t;
    const WIDTH: usize = WIDTH;
    const SUMS: usize = 24;

    fn shape(tiles: usize) -> Shape {
        match tiles {
            0 | 1 => Shape { rows: 12, cut: 16, tiles: 32 },
            2 | 3 => Shape { rows: 12, cut: 32, tiles: 32 },
            _ => Shape { rows: 48, cut: 64, tiles: 32 },
        }
    }

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: the caller's promise; so below.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, values: float32x4_t) {
        unsafe { vst1q_f32(to, values) }
    }

    #[inline(always)]
    unsafe fn add(sum: float32x4_t, x: float32x4_t, query: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(sum, x, query) }
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        unsafe {
            for (i, values) in T::step(from).into_iter().enumerate() {
                vst1q_f32(to.add(i * WIDTH), values);
            }
        }
    }

    #[target_feature(enable = "neon")]
    unsafe fn unpack<T: Element>(values: &[T], to: *mut CacheLine, stride: usize) {
        // SAFETY: the caller's promise, passed on; so below.
        unsafe { panels::unpack::<Self, T>(values, to, stride) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn multiply<const R: usize, const Q: usize>(
        at: &mut Operands<'_>,
        sums: *mut CacheLine,
        fresh: bool,
    ) {
        unsafe { panels::multiply::<Self, R, Q>(at, sums, fresh) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        for (sum, product) in sums.iter().zip(products) {
            *product = reduce(bytemuck::cast_ref(&sum.0));
        }
    }
}
