//! Registers of 4 lanes, for the panels of many queries.

use std::arch::aarch64::*;

use super::super::packing::CacheLine;
use super::super::panels::{Panels, Shape, instructions};
use super::super::{Element, reduce};
use super::WIDTH;

/// NEON, which leaves it to the processor to fetch what comes next.
pub(super) struct Neon;

impl Panels for Neon {
    const WIDTH: usize = WIDTH;
    const SUMS: usize = 24;

    fn shape(tiles: usize) -> Shape {
        match tiles {
            0 | 1 => Shape { rows: 12, cut: 16, tiles: 32 },
            2 | 3 => Shape { rows: 12, cut: 32, tiles: 32 },
            _ => Shape { rows: 48, cut: 64, tiles: 32 },
        }
    }

    instructions! {
        "neon", float32x4_t: vdupq_n_f32(0.0), vld1q_f32, vst1q_f32,
        |sum, x, query| vfmaq_f32(sum, x, query)
    }

    #[inline(always)]
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            for (i, values) in T::step(from).into_iter().enumerate() {
                vst1q_f32(to.add(i * WIDTH), values);
            }
        }
    }

    #[target_feature(enable = "neon")]
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]) {
        for (sum, product) in sums.iter().zip(products) {
            *product = reduce(bytemuck::cast_ref(&sum.0));
        }
    }
}
