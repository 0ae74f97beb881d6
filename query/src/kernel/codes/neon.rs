//! NEON: a step of 64 coordinates is four registers, multiplied with the query's as signed bytes.

use std::arch::aarch64::*;

use super::super::packing::MAX_TILE;
use super::{CODE_STEP, CodeKind, CodeQueries, Rows, finish};

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

/// # Safety
/// `out` has a value per row and query.
#[target_feature(enable = "neon")]
pub(super) unsafe fn rows(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    // The kind is a constant in each, so that the choices above are made at compile time.
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match rows.codes.kind {
            CodeKind::Sign => of_kind::<0>(rows, queries, out),
            CodeKind::Nibble => of_kind::<1>(rows, queries, out),
            CodeKind::Int8 => of_kind::<2>(rows, queries, out),
        }
    }
}

/// # Safety
/// As `rows`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn of_kind<const KIND: u8>(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    for i in 0..rows.len() {
        for tile in 0..queries.tiles() {
            let range = queries.tile_queries(tile);
            let out = &mut out[i * queries.len()..][range.clone()];
            let packed = queries.tile(tile);
            // SAFETY: the width is the tile's.
            unsafe {
                match range.len() {
                    1 => row::<KIND, 1>(rows.row(i), packed, out),
                    2 => row::<KIND, 2>(rows.row(i), packed, out),
                    3 => row::<KIND, 3>(rows.row(i), packed, out),
                    4 => row::<KIND, 4>(rows.row(i), packed, out),
                    5 => row::<KIND, 5>(rows.row(i), packed, out),
                    6 => row::<KIND, 6>(rows.row(i), packed, out),
                    7 => row::<KIND, 7>(rows.row(i), packed, out),
                    _ => row::<KIND, MAX_TILE>(rows.row(i), packed, out),
                }
            }
            for (out, query) in out.iter_mut().zip(range) {
                *out = match rows.codes.kind {
                    CodeKind::Int8 => *out,
                    kind => finish(kind, *out, queries.sum(query)),
                };
            }
        }
    }
}

/// # Safety
/// `packed` is a tile of `Q` queries.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn row<const KIND: u8, const Q: usize>(codes: &[u8], packed: &[[i8; CODE_STEP]], out: &mut [i32]) {
    let kind = match KIND {
        0 => CodeKind::Sign,
        1 => CodeKind::Nibble,
        _ => CodeKind::Int8,
    };
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
