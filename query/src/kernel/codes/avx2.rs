//! AVX2: half a step of 32 coordinates is one register of values.
//!
//! It is multiplied with the query's as signed 16-bit numbers, of which some are added before they are widened where
//! these hold their sum.

use std::arch::x86_64::*;

use super::tiles::{Tile, kind};
use super::{CODE_STEP, CodeKind};

/// Unsigned codes (bits, nibbles) or values (bytes) of 32 coordinates.
///
/// # Safety
/// 4, 16 or 32 bytes, by the kind, are readable at `p`; the processor has AVX2.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load(kind: CodeKind, p: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            CodeKind::Sign => {
                let bits = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
                // Byte k of the register gets byte k / 8 of the bits, then its own bit of it.
                let spread =
                    _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0);
                let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
                let picked = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit);
                _mm256_and_si256(_mm256_cmpeq_epi8(picked, bit), _mm256_set1_epi8(1))
            }
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

/// Steps, of two pairs for each 16-bit number, whose sum 16 bits hold: pairs of bits reach 2 x 127 and those of
/// nibbles 2 x 15 x 127.
const fn narrow_steps(kind: CodeKind) -> usize {
    match kind {
        CodeKind::Sign | CodeKind::Nibble => 4,
        CodeKind::Int8 => 1,
    }
}

/// The instructions, where they were found.
pub(super) struct Avx2;

impl Tile for Avx2 {
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn sums<const KIND: u8, const R: usize, const Q: usize>(
        rows: [&[u8]; R],
        packed: &[[i8; CODE_STEP]],
        width: usize,
    ) -> [[i32; Q]; R] {
        let kind = kind::<KIND>();
        let bytes = kind.row_bytes(CODE_STEP);
        let steps = rows[0].len() / bytes;
        let widened = |sum, pairs| _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        let mut sums = [[_mm256_setzero_si256(); Q]; R];
        for from in (0..steps).step_by(narrow_steps(kind)) {
            let mut narrow = [[_mm256_setzero_si256(); Q]; R];
            for half in 2 * from..2 * steps.min(from + narrow_steps(kind)) {
                let (at, side) = (half * bytes / 2, half % 2 * CODE_STEP / 2);
                let queries = &packed[half / 2 * width..][..Q];
                // SAFETY: half of a step of each row and of each query.
                unsafe {
                    let mut codes = [_mm256_setzero_si256(); R];
                    for r in 0..R {
                        codes[r] = load(kind, rows[r].as_ptr().add(at));
                    }
                    for q in 0..Q {
                        let query = _mm256_loadu_si256(queries[q].as_ptr().add(side).cast());
                        for r in 0..R {
                            let pairs = products(kind, codes[r], query);
                            match kind {
                                CodeKind::Int8 => sums[r][q] = widened(sums[r][q], pairs),
                                _ => narrow[r][q] = _mm256_add_epi16(narrow[r][q], pairs),
                            }
                        }
                    }
                }
            }
            if kind != CodeKind::Int8 {
                for r in 0..R {
                    for q in 0..Q {
                        sums[r][q] = widened(sums[r][q], narrow[r][q]);
                    }
                }
            }
        }
        let mut found = [[0; Q]; R];
        for r in 0..R {
            for q in 0..Q {
                let mut lanes = [0i32; 8];
                // SAFETY: eight numbers.
                unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[r][q]) };
                found[r][q] = lanes.iter().fold(0i32, |sum, lane| sum.wrapping_add(*lane));
            }
        }
        found
    }
}
