//! NEON: a step of 64 coordinates is four registers, multiplied with the query's as signed bytes.

use std::arch::aarch64::*;

use super::tiles::{Tile, kind};
use super::{CODE_STEP, CodeKind};

/// Coordinates of a register.
const WIDTH: usize = 16;

/// Unsigned codes (bits, nibbles) or values (bytes) of 16 coordinates.
///
/// # Safety
/// 2, 8 or 16 bytes, by the kind, are readable at `p`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn load(kind: CodeKind, p: *const u8) -> int8x16_t {
    const BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: the caller's promise; eight bits of eight bytes.
    unsafe {
        match kind {
            CodeKind::Sign => {
                let bytes = vcombine_u8(vdup_n_u8(*p), vdup_n_u8(*p.add(1)));
                let bits = vld1_u8(BITS.as_ptr());
                let set = vtstq_u8(bytes, vcombine_u8(bits, bits));
                vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(1)))
            }
            CodeKind::Nibble => {
                let pairs = vld1_u8(p);
                let (low, high) = (vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8::<4>(pairs));
                vreinterpretq_s8_u8(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)))
            }
            CodeKind::Int8 => vld1q_s8(p.cast()),
        }
    }
}

/// Adds the products of 16 pairs. Two of them reach 2 x 128 x 127, which 16 bits hold.
#[target_feature(enable = "neon")]
#[inline]
fn add(sum: int32x4_t, x: int8x16_t, query: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(x), vget_low_s8(query));
    vpadalq_s16(sum, vmlal_high_s8(low, x, query))
}

/// The instructions, where they were found.
pub(super) struct Neon;

impl Tile for Neon {
    const SIGNED_BYTES: bool = true;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn row<const KIND: u8, const Q: usize>(codes: &[u8], packed: &[[i8; CODE_STEP]], out: &mut [i32]) {
        let kind = kind::<KIND>();
        let bytes = kind.row_bytes(CODE_STEP) / (CODE_STEP / WIDTH);
        let mut sums = [vdupq_n_s32(0); Q];
        for (step, packed) in codes.chunks_exact(bytes * CODE_STEP / WIDTH).zip(packed.chunks_exact(Q)) {
            for part in 0..CODE_STEP / WIDTH {
                // SAFETY: a step has four parts of codes and of each query.
                unsafe {
                    let x = load(kind, step.as_ptr().add(part * bytes));
                    for q in 0..Q {
                        sums[q] = add(sums[q], x, vld1q_s8(packed[q].as_ptr().add(part * WIDTH)));
                    }
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = vaddvq_s32(sum);
        }
    }
}
