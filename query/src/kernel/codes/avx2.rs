//! AVX2: half a step of 32 coordinates is one register of values.
//!
//! It is multiplied with the query's as signed 16-bit numbers, of which some are added before they are
//! widened where these hold their sum.

use std::arch::x86_64::*;

use super::queries::LARGEST;
use super::tiles::{Tile, kind};
use super::{CODE_STEP, CodeKind};

/// Unsigned codes (nibbles) or values (bytes) of 32 coordinates.
///
/// # Safety
/// 16 or 32 bytes, by the kind, are readable at `p`; the processor has AVX2.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn load(kind: CodeKind, p: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            CodeKind::Sign => unreachable!("signs are looked up"),
            CodeKind::Nibble => {
                let pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast()));
                let both = _mm256_or_si256(pairs, _mm256_slli_epi16::<4>(pairs));
                _mm256_and_si256(both, _mm256_set1_epi8(15))
            }
            CodeKind::Int8 => _mm256_loadu_si256(p.cast()),
        }
    }
}

/// Sums of pairs of neighbouring products as 16-bit numbers. For bytes the sign goes over to the query, since
/// the instruction takes unsigned times signed: pairs reach 2 x 128 x 127, which 16 bits hold.
#[target_feature(enable = "avx2")]
#[inline]
fn products(kind: CodeKind, x: __m256i, query: __m256i) -> __m256i {
    match kind {
        CodeKind::Sign | CodeKind::Nibble => _mm256_maddubs_epi16(x, query),
        CodeKind::Int8 => _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(query, x)),
    }
}

/// Steps of nibbles, of two pairs for each 16-bit number, whose sum 16 bits hold where no value of a query is
/// larger.
pub(super) const fn narrow_steps(largest: usize) -> usize {
    let of_pair = 2 * 15 * largest;
    let of_step = if of_pair == 0 { 1 } else { 2 * of_pair };
    i16::MAX as usize / of_step
}

/// A sum of 32-bit numbers with 16-bit ones added, each with its neighbour.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn widened(sum: __m256i, pairs: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// The instructions, where they were found.
pub(super) struct Avx2;

impl Tile for Avx2 {
    const SIGNED_BYTES: bool = true;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn row<const KIND: u8, const Q: usize>(codes: &[u8], packed: &[[i8; CODE_STEP]], out: &mut [i32]) {
        let kind = kind::<KIND>();
        let half = kind.row_bytes(CODE_STEP) / 2;
        let mut acc = [_mm256_setzero_si256(); Q];
        let steps = if kind == CodeKind::Nibble { narrow_steps(LARGEST) } else { 1 };
        for (codes, packed) in codes.chunks(2 * half * steps).zip(packed.chunks(Q * steps)) {
            let mut narrow = [_mm256_setzero_si256(); Q];
            for (step, packed) in codes.chunks_exact(2 * half).zip(packed.chunks_exact(Q)) {
                for side in 0..2 {
                    // SAFETY: a step has two halves of codes and of each query.
                    unsafe {
                        let x = load(kind, step.as_ptr().add(side * half));
                        for q in 0..Q {
                            let query =
                                _mm256_loadu_si256(packed[q].as_ptr().add(side * CODE_STEP / 2).cast());
                            let pairs = products(kind, x, query);
                            match kind {
                                CodeKind::Int8 => acc[q] = widened(acc[q], pairs),
                                _ => narrow[q] = _mm256_add_epi16(narrow[q], pairs),
                            }
                        }
                    }
                }
            }
            if kind != CodeKind::Int8 {
                acc.iter_mut().zip(narrow).for_each(|(sum, pairs)| *sum = widened(*sum, pairs));
            }
        }
        out.iter_mut().zip(acc).for_each(|(out, sum)| *out = total(sum));
    }
}

/// The sum of eight numbers; it may wrap.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn total(sum: __m256i) -> i32 {
    let mut lanes = [0i32; 8];
    // SAFETY: eight numbers.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}
