//! Portable kernel: 4 rows of 8 values, which the compiler puts into the registers at hand.

use super::tile::{MicroKernel, Tile, Vector, rows, run};
use super::{Kernel, TileShape};

/// Four values that the compiler may hold in one register.
#[derive(Clone, Copy)]
struct Single([f32; 4]);

impl Vector for Single {
    const LANES: usize = 4;

    // SAFETY (all): the caller passes pointers to whole vectors, or to one element for `splat`.
    #[inline(always)]
    unsafe fn zero() -> Self {
        Single([0.0; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Single(*from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { *to.cast() = self.0 }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        unsafe { Single([*from; 4]) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        Single(std::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        Single(std::array::from_fn(|i| self.0[i] + a.0[i]))
    }
}

/// # Safety
/// As of [`run`].
unsafe fn single<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { run::<Single, M, N, BY_COLUMN>(t) }
}

static BY_ROW: &[MicroKernel; 4] = rows!(single, 2, false, [1 2 3 4]);
static BY_COLUMN: &[MicroKernel; 4] = rows!(single, 2, true, [1 2 3 4]);

pub(super) fn f32_kernel() -> Kernel {
    Kernel { shape: TileShape::of_vectors(4, 8, false), wide: [BY_ROW, BY_COLUMN], narrow: [&[], &[]] }
}
