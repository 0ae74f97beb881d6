//! AVX-512 with VNNI: a step of 64 coordinates is one register of unsigned codes.
//!
//! It is multiplied with signed queries by `vpdpbusd`.
//!
//! The sums of the unsigned codes may wrap; what `finish` makes of them does not, since the true result fits.

use std::arch::x86_64::*;

use super::queries::LANES_FROM;
use super::{CODE_STEP, CodeKind, CodeQueries, CodeRows, finish};

/// Most queries that are multiplied one by one; more are side by side.
const DIRECT: usize = LANES_FROM - 1;

/// Bytes ahead of the scan that are fetched.
const AHEAD: usize = 12 << 10;

/// The same, where vectors are not neighbours.
const SCATTERED_AHEAD: usize = 6 << 10;

/// Unpacks 64 codes into unsigned bytes.
pub(super) trait Unpack {
    /// Bytes of 64 codes.
    const BYTES: usize;

    /// # Safety
    /// `BYTES` bytes are readable at `p`; the processor has AVX-512F and BW.
    unsafe fn load(p: *const u8) -> __m512i;
}

pub(super) struct Nibble;
pub(super) struct Int8;

impl Unpack for Nibble {
    const BYTES: usize = 32;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let pairs = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(p.cast()) });
        // (pairs | pairs << 4) & 0x0f0f: the low nibble stays in the low byte, the high one
        // moves to the high byte.
        _mm512_ternarylogic_epi64::<0xe0>(_mm512_set1_epi8(15), pairs, _mm512_slli_epi16::<4>(pairs))
    }
}

impl Unpack for Int8 {
    const BYTES: usize = 64;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_xor_si512(unsafe { _mm512_loadu_si512(p.cast()) }, _mm512_set1_epi8(i8::MIN))
    }
}

/// # Safety
/// The processor has AVX-512F, BW and VNNI; the codes are no signs; `out` has a value per row and query.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn rows(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match rows.codes.kind {
            CodeKind::Sign => unreachable!("signs are looked up"),
            CodeKind::Nibble => of_kind::<Nibble>(rows, queries, out),
            CodeKind::Int8 => of_kind::<Int8>(rows, queries, out),
        }
    }
}

/// # Safety
/// As `rows`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn of_kind<U: Unpack>(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    // SAFETY: the caller's promise, passed on; the widths are those of the tiles.
    unsafe {
        match queries.len() {
            0 => {}
            1 => direct::<U, 4, 1>(rows, queries, out),
            2 => direct::<U, 4, 2>(rows, queries, out),
            3 => direct::<U, 4, 3>(rows, queries, out),
            4 => direct::<U, 4, 4>(rows, queries, out),
            5 => direct::<U, 2, 5>(rows, queries, out),
            6 => direct::<U, 2, 6>(rows, queries, out),
            7 => direct::<U, 2, 7>(rows, queries, out),
            DIRECT => direct::<U, 2, DIRECT>(rows, queries, out),
            more => unreachable!("{more} queries are multiplied side by side"),
        }
    }
}

/// One row at a time: the stream of bytes stays linear, and `C` chains of sums hide the
/// latency of the products.
///
/// # Safety
/// As `rows`; there are `Q` queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn direct<U: Unpack, const C: usize, const Q: usize>(
    rows: CodeRows<'_>,
    queries: &CodeQueries,
    out: &mut [i32],
) {
    let packed = queries.tile(0);
    let steps = queries.dim() / CODE_STEP;
    assert!(packed.len() == steps * Q && rows.row_bytes == steps * U::BYTES);
    let q0 = packed.as_ptr().cast::<u8>();
    // More lines of rows here and there can be under way to the second-level cache than to the first.
    let scattered = rows.chosen.is_some();
    let ahead = if scattered { SCATTERED_AHEAD } else { AHEAD }.div_ceil(rows.row_bytes);
    for i in 0..rows.len() {
        let x0 = rows.row(i).as_ptr();
        let next = rows.address(i + ahead);
        let mut acc = [[_mm512_setzero_si512(); Q]; C];
        let mut step = 0;
        while step + C <= steps {
            for line in (0..C * U::BYTES).step_by(64) {
                let at = next.wrapping_add(step * U::BYTES + line).cast();
                match scattered {
                    true => _mm_prefetch::<_MM_HINT_T1>(at),
                    false => _mm_prefetch::<_MM_HINT_T0>(at),
                }
            }
            for c in 0..C {
                // SAFETY: step + c < steps, and the row and each query have that many steps.
                unsafe {
                    let x = U::load(x0.add((step + c) * U::BYTES));
                    for q in 0..Q {
                        let query = _mm512_load_si512(q0.add(((step + c) * Q + q) * CODE_STEP).cast());
                        acc[c][q] = _mm512_dpbusd_epi32(acc[c][q], x, query);
                    }
                }
            }
            step += C;
        }
        while step < steps {
            // SAFETY: as above.
            unsafe {
                let x = U::load(x0.add(step * U::BYTES));
                for q in 0..Q {
                    let query = _mm512_load_si512(q0.add((step * Q + q) * CODE_STEP).cast());
                    acc[0][q] = _mm512_dpbusd_epi32(acc[0][q], x, query);
                }
            }
            step += 1;
        }
        for q in 0..Q {
            let mut sum = acc[0][q];
            for c in 1..C {
                sum = _mm512_add_epi32(sum, acc[c][q]);
            }
            out[i * Q + q] = finish(rows.codes.kind, _mm512_reduce_add_epi32(sum), queries.sum(q));
        }
    }
}
