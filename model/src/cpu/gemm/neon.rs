//! Kernel for NEON: 6 rows of four vectors, 24 accumulators in 32 registers.

use std::arch::aarch64::*;

use super::tile::{MicroKernel, Tile, Vector, rows, run, vector};
use super::{Kernel, TileShape};

vector! {
    Single(float32x4_t), lanes: 4, zero: vdupq_n_f32(0.0), load: vld1q_f32, store: vst1q_f32,
    splat: |from| vld1q_dup_f32(from),
    multiply_add: |sum, a, b| vfmaq_f32(sum, a, b),
    add: vaddq_f32
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
    let shape = TileShape::of_vectors(6, 16, true);
    Kernel { shape, wide: [WIDE[0], WIDE[1]], narrow: [NARROW[0], NARROW[1]] }
}
