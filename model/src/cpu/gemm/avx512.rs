//! Kernels for AVX-512 in f32 and on pairs of bf16: 14 rows of two vectors, 28 accumulators.

use std::arch::x86_64::*;

use super::super::level::{Simd, SimdLevel};
use super::tile::{self, MicroKernel, Tile, Vector, WIDEST, rows, run, vector};
use super::{Kernel, PairedKernel, TileShape, fits};

vector! {
    Single(__m512), lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, store: _mm512_storeu_ps,
    splat: |from| _mm512_set1_ps(*from),
    multiply_add: |sum, a, b| _mm512_fmadd_ps(a, b, sum),
    add: _mm512_add_ps
}

vector! {
    /// Sums of f32; as a factor, 16 pairs of bf16.
    Paired(__m512), lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, store: _mm512_storeu_ps,
    splat: |from| _mm512_castsi512_ps(_mm512_set1_epi32(*from.cast::<i32>())),
    // The bits of a factor are read as bf16.
    multiply_add: |sum, a, b| {
        let a: __m512bh = std::mem::transmute(a);
        let b: __m512bh = std::mem::transmute(b);
        _mm512_dpbf16_ps(sum, a, b)
    },
    add: _mm512_add_ps
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
const SHAPE: TileShape = TileShape::of_vectors(ROWS, 32, true);

static SINGLE: [[&[MicroKernel; ROWS]; 2]; 2] = [
    [
        rows!(single, 2, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        rows!(single, 2, true, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    ],
    [
        rows!(single, 1, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
        rows!(single, 1, true, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    ],
];

static PAIRED: [&[MicroKernel; ROWS]; 2] = [
    rows!(paired, 2, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
    rows!(paired, 1, false, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
];

pub(super) fn f32_kernel() -> Kernel {
    Kernel { shape: SHAPE, wide: [SINGLE[0][0], SINGLE[0][1]], narrow: [SINGLE[1][0], SINGLE[1][1]] }
}

/// The kernel on pairs of bf16, if the CPU has it. Takes `a` by row only.
pub(super) fn bf16_kernel() -> Option<PairedKernel> {
    let kernel = Kernel { shape: SHAPE, wide: [PAIRED[0], &[]], narrow: [PAIRED[1], &[]] };
    let found = SimdLevel::Avx512.is_available() && is_x86_feature_detected!("avx512bf16");
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

/// Rounds 16 values to bf16, and what that leaves of each: [`super::weights::split`], but that denormals
/// become zero.
///
/// # Safety
/// The CPU has AVX-512 with bf16; 16 values are readable and writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn split_block(from: *const f32, high: *mut u16, low: *mut u16) {
    // SAFETY: the caller's promise.
    unsafe {
        let values = _mm512_loadu_ps(from);
        let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(values));
        let nearest = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(rounded)));
        let rest = _mm512_castps_si512(_mm512_sub_ps(values, nearest));
        // Infinities and NaNs leave nothing.
        let size = _mm512_and_si512(rest, _mm512_set1_epi32(0x7fff_ffff));
        let finite = _mm512_cmplt_epi32_mask(size, _mm512_set1_epi32(0x7f80_0000));
        let rest = _mm512_castsi512_ps(_mm512_maskz_mov_epi32(finite, rest));
        let rest: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(rest));
        _mm256_storeu_si256(high.cast(), rounded);
        _mm256_storeu_si256(low.cast(), rest);
    }
}

/// As [`narrow`], in two parts.
///
/// # Safety
/// The CPU has AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn split(from: &[f32], high: &mut [u16], low: &mut [u16]) {
    let (chunks, tail) = from.as_chunks::<16>();
    let (high, high_tail) = high.as_chunks_mut::<16>();
    let (low, low_tail) = low.as_chunks_mut::<16>();
    for ((from, high), low) in chunks.iter().zip(high).zip(low) {
        // SAFETY: each chunk has 16 values.
        unsafe { split_block(from.as_ptr(), high.as_mut_ptr(), low.as_mut_ptr()) }
    }
    if tail.is_empty() {
        return;
    }
    let (mut rest, [mut high, mut low]) = ([0f32; 16], [[0u16; 16]; 2]);
    rest[..tail.len()].copy_from_slice(tail);
    // SAFETY: each has 16 values.
    unsafe { split_block(rest.as_ptr(), high.as_mut_ptr(), low.as_mut_ptr()) }
    high_tail.iter_mut().zip(high).for_each(|(to, from)| *to = from);
    low_tail.iter_mut().zip(low).for_each(|(to, from)| *to = from);
}

/// Splits as many values as all slices have into two parts of bf16.
pub(super) fn to_parts(_: &PairedKernel, from: &[f32], high: &mut [u16], low: &mut [u16]) {
    // SAFETY: a `PairedKernel` is made after `bf16_kernel` has found the instructions only.
    unsafe { split(from, high, low) }
}

/// Rounds as many values as both slices have to bf16.
pub(super) fn to_bf16(_: &PairedKernel, from: &[f32], to: &mut [u16]) {
    // SAFETY: a `PairedKernel` is made after `bf16_kernel` has found the instructions only.
    unsafe { narrow(from, to) }
}

/// Transposes 16 rows of 16 values.
///
/// # Safety
/// The CPU has AVX-512; 16 values are readable from the start of each of 16 rows of `from`, and writable of
/// `to`.
#[target_feature(enable = "avx512f")]
unsafe fn transposed(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    let pairs = |low: __m512, high: __m512| {
        let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
        [_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)), _mm512_castpd_ps(_mm512_unpackhi_pd(low, high))]
    };
    let mut fours = [[_mm512_setzero_ps(); 4]; 4];
    // Of four rows each lane of 128 bits gets one of its four columns.
    for (four, columns) in fours.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let rows = [0, 1, 2, 3].map(|row| unsafe { _mm512_loadu_ps(from.add((4 * four + row) * stride)) });
        let [a, b, c, d] = rows;
        let [first, second] = pairs(_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let [third, fourth] = pairs(_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        *columns = [first, second, third, fourth];
    }
    for column in 0..4 {
        let [a, b, c, d] = fours.map(|columns| columns[column]);
        let (low, high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d));
        let (low_end, high_end) = (_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d));
        let rows = [
            _mm512_shuffle_f32x4::<0x88>(low, high),
            _mm512_shuffle_f32x4::<0xdd>(low, high),
            _mm512_shuffle_f32x4::<0x88>(low_end, high_end),
            _mm512_shuffle_f32x4::<0xdd>(low_end, high_end),
        ];
        for (lane, row) in rows.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((4 * lane + column) * to_stride), row) };
        }
    }
}

/// Transposes 16 rows of 16 values, which start `stride` and `to_stride` values apart.
///
/// Panics if a block does not fit its slice, or `simd` is of another level.
pub(super) fn transpose_block(simd: Simd, from: &[f32], stride: usize, to: &mut [f32], to_stride: usize) {
    assert!(simd.level() == SimdLevel::Avx512, "level of a transpose");
    assert!(fits(from.len(), 16, 16, stride) && fits(to.len(), 16, 16, to_stride), "block of a transpose");
    // SAFETY: a `Simd` of the level exists, and both blocks lie in their slices.
    unsafe { transposed(from.as_ptr(), stride, to.as_mut_ptr(), to_stride) }
}
