//! Kernel for AVX2 with FMA: 6 rows of two vectors, 12 accumulators in 16 registers; of one vector where no
//! more columns are left, as of LoRA factors of rank 8.

use std::arch::x86_64::*;

use super::tile::{MicroKernel, Tile, Vector, rows, run, vector};
use super::{Kernel, TileShape};

vector! {
    Single(__m256), lanes: 8, zero: _mm256_setzero_ps(), load: _mm256_loadu_ps, store: _mm256_storeu_ps,
    splat: |from| _mm256_set1_ps(*from),
    multiply_add: |sum, a, b| _mm256_fmadd_ps(a, b, sum),
    add: _mm256_add_ps
}

/// # Safety
/// As of [`run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn single<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { run::<Single, M, N, BY_COLUMN>(t) }
}

static WIDE: [&[MicroKernel; 6]; 2] =
    [rows!(single, 2, false, [1 2 3 4 5 6]), rows!(single, 2, true, [1 2 3 4 5 6])];
static NARROW: [&[MicroKernel; 6]; 2] =
    [rows!(single, 1, false, [1 2 3 4 5 6]), rows!(single, 1, true, [1 2 3 4 5 6])];

pub(super) fn f32_kernel() -> Kernel {
    let shape = TileShape::of_vectors(6, 16, true);
    Kernel { shape, wide: [WIDE[0], WIDE[1]], narrow: [NARROW[0], NARROW[1]] }
}
