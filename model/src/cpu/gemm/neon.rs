//! Kernel for NEON: 6 rows of four vectors, 24 accumulators in 32 registers.

use std::arch::aarch64::*;

use super::tile::{MicroKernel, Tile, Vector, rows, run};
use super::{Kernel, LeftReads, TileShape};

#[derive(Clone, Copy)]
struct Single(float32x4_t);

impl Vector for Single {
    const LANES: usize = 4;

    // SAFETY (all): every 64-bit ARM has NEON; the caller passes pointers to whole vectors, or to
    // one element for `splat`.
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Single(vdupq_n_f32(0.0)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Single(vld1q_f32(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        unsafe { Single(vld1q_dup_f32(from)) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        unsafe { Single(vfmaq_f32(self.0, a.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        unsafe { Single(vaddq_f32(self.0, a.0)) }
    }
}

/// # Safety
/// As of [`run`].
unsafe fn single<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { run::<Single, M, N, BY_COLUMN>(t) }
}

static WIDE: [&[MicroKernel; 6]; 2] =
    [rows!(single, 4, false, [1 2 3 4 5 6]), rows!(single, 4, true, [1 2 3 4 5 6])];
static NARROW: [&[MicroKernel; 6]; 2] =
    [rows!(single, 2, false, [1 2 3 4 5 6]), rows!(single, 2, true, [1 2 3 4 5 6])];

pub(super) fn f32_kernel() -> Kernel {
    let shape = TileShape { rows: 6, cols: 16, half: true, left: LeftReads::EXACT };
    Kernel { shape, wide: [WIDE[0], WIDE[1]], narrow: [NARROW[0], NARROW[1]] }
}
