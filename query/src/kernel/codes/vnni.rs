//! AVX-VNNI: half a step of 32 coordinates is one register of unsigned codes, multiplied by `vpdpbusd`.
//!
//! One instruction does what AVX2 takes three or four for. The sums of unsigned codes may wrap; what `finish`
//! makes of them does not, since the true result fits.

use std::arch::x86_64::*;

use super::avx2::{load, total};
use super::tiles::{Tile, kind};
use super::{CODE_STEP, CodeKind};

/// The instructions, where they were found.
pub(super) struct Vnni;

impl Tile for Vnni {
    const SIGNED_BYTES: bool = false;

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    unsafe fn row<const KIND: u8, const Q: usize>(codes: &[u8], packed: &[[i8; CODE_STEP]], out: &mut [i32]) {
        let kind = kind::<KIND>();
        let half = kind.row_bytes(CODE_STEP) / 2;
        // A sum waits for the one before: where there are registers, each query has two.
        let mut acc = [[_mm256_setzero_si256(); Q]; 2];
        for (step, packed) in codes.chunks_exact(2 * half).zip(packed.chunks_exact(Q)) {
            for side in 0..2 {
                // SAFETY: a step has two halves of codes and of each query.
                unsafe {
                    let mut x = load(kind, step.as_ptr().add(side * half));
                    if kind == CodeKind::Int8 {
                        x = _mm256_xor_si256(x, _mm256_set1_epi8(i8::MIN));
                    }
                    for q in 0..Q {
                        let query = _mm256_loadu_si256(packed[q].as_ptr().add(side * CODE_STEP / 2).cast());
                        let chain = if Q < 7 { side } else { 0 };
                        acc[chain][q] = _mm256_dpbusd_avx_epi32(acc[chain][q], x, query);
                    }
                }
            }
        }
        for q in 0..Q {
            out[q] = total(_mm256_add_epi32(acc[0][q], acc[1][q]));
        }
    }
}
