//! Kernels for AVX-512 in f32 and on pairs of bf16: 14 rows of two vectors, 28 accumulators.

use std::arch::x86_64::*;

use super::super::level::Level;
use super::tile::{self, Run, Tile, Vector, WIDEST, rows, run};
use super::{Kernel, LeftReads, PairedKernel, Shape};

#[derive(Clone, Copy)]
struct Single(__m512);

impl Vector for Single {
    const LANES: usize = 16;

    // SAFETY (all): the caller has AVX-512 and passes pointers to whole vectors, or to one element for
    // `splat`.
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Single(_mm512_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Single(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        unsafe { Single(_mm512_set1_ps(*from)) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        unsafe { Single(_mm512_fmadd_ps(a.0, b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        unsafe { Single(_mm512_add_ps(self.0, a.0)) }
    }
}

/// Sums of f32; as a factor, 16 pairs of bf16.
#[derive(Clone, Copy)]
struct Paired(__m512);

impl Vector for Paired {
    const LANES: usize = 16;

    // SAFETY (all): the caller has AVX-512 with bf16 and passes pointers to whole vectors, or
    // to one pair for `splat`.
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Paired(_mm512_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Paired(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        unsafe { Paired(_mm512_castsi512_ps(_mm512_set1_epi32(*from.cast::<i32>()))) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        // The bits of a factor are read as bf16.
        unsafe {
            let a: __m512bh = std::mem::transmute(a.0);
            let b: __m512bh = std::mem::transmute(b.0);
            Paired(_mm512_dpbf16_ps(self.0, a, b))
        }
    }
    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        unsafe { Paired(_mm512_add_ps(self.0, a.0)) }
    }
}

/// # Safety
/// As of [`run`].
#[target_feature(enable = "avx512f")]
unsafe fn single<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { run::<Single, M, N, BY_COLUMN>(t) }
}

/// # Safety
/// As of [`run`]; elements of `a` and `b` are pairs.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn paired<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { run::<Paired, M, N, BY_COLUMN>(t) }
}

const ROWS: usize = 14;
const SHAPE: Shape = Shape { rows: ROWS, cols: 32, half: true, left: LeftReads::EXACT };

static SINGLE: [[&[Run; ROWS]; 2]; 2] = [
    [
        rows!(single, 2, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        rows!(single, 2, true, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    ],
    [
        rows!(single, 1, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        rows!(single, 1, true, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    ],
];

static PAIRED: [&[Run; ROWS]; 2] = [
    rows!(paired, 2, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    rows!(paired, 1, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
];

/// The kernel in f32.
pub(super) fn f32_kernel() -> Kernel {
    Kernel { shape: SHAPE, wide: [SINGLE[0][0], SINGLE[0][1]], narrow: [SINGLE[1][0], SINGLE[1][1]] }
}

/// The kernel on pairs of bf16, if the CPU has it. Takes `a` by row only.
pub(super) fn bf16_kernel() -> Option<PairedKernel> {
    let kernel = Kernel { shape: SHAPE, wide: [PAIRED[0], &[]], narrow: [PAIRED[1], &[]] };
    let found = Level::Avx512.is_available() && is_x86_feature_detected!("avx512bf16");
    found.then_some(PairedKernel { kernel, begin: || (), end: || () })
}

/// Writes the rows of a tile whose sums are in memory.
///
/// # Safety
/// As of [`tile::write`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn write(t: &Tile, rows: &[[f32; WIDEST]]) {
    // SAFETY: the caller's promise.
    unsafe { tile::write::<Single>(t, rows) }
}

/// Rounds values to bf16, to nearest even; denormals become zero.
///
/// # Safety
/// The CPU has AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn narrow(from: &[f32], to: &mut [u16]) {
    let (chunks, tail) = from.as_chunks::<16>();
    let (to_chunks, to_tail) = to.as_chunks_mut::<16>();
    for (from, to) in chunks.iter().zip(to_chunks) {
        // SAFETY: each chunk is 16 values of 4 and 2 bytes.
        unsafe {
            let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr())));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), rounded);
        }
    }
    let mut rest = [0f32; 16];
    rest[..tail.len()].copy_from_slice(tail);
    // SAFETY: `rest` is 16 values; the result is 16 values of 2 bytes.
    let rounded: [u16; 16] =
        unsafe { std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(rest.as_ptr()))) };
    for (to, from) in to_tail.iter_mut().zip(rounded) {
        *to = from;
    }
}

/// Rounds as many values as both slices have to bf16.
pub(super) fn to_bf16(_: &PairedKernel, from: &[f32], to: &mut [u16]) {
    // SAFETY: `bf16_kernel` alone makes a `PairedKernel`, and has found the instructions.
    unsafe { narrow(from, to) }
}
