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
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn sums<const KIND: u8, const R: usize, const Q: usize>(
        rows: [&[u8]; R],
        packed: &[[i8; CODE_STEP]],
        width: usize,
    ) -> [[i32; Q]; R] {
        let kind = kind::<KIND>();
        let bytes = kind.row_bytes(CODE_STEP);
        let mut sums = [[vdupq_n_s32(0); Q]; R];
        for step in 0..rows[0].len() / bytes {
            let queries = &packed[step * width..][..Q];
            for part in 0..CODE_STEP / WIDTH {
                let at = step * bytes + part * bytes * WIDTH / CODE_STEP;
                // SAFETY: a step has four parts of each row and of each query.
                unsafe {
                    let mut codes = [vdupq_n_s8(0); R];
                    for r in 0..R {
                        codes[r] = load(kind, rows[r].as_ptr().add(at));
                    }
                    for q in 0..Q {
                        let query = vld1q_s8(queries[q].as_ptr().add(part * WIDTH));
                        for r in 0..R {
                            sums[r][q] = add(sums[r][q], codes[r], query);
                        }
                    }
                }
            }
        }
        let mut found = [[0; Q]; R];
        for r in 0..R {
            for q in 0..Q {
                found[r][q] = vaddvq_s32(sums[r][q]);
            }
        }
        found
    }
}
