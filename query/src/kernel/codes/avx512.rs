//! AVX-512 with VNNI: a step of 64 coordinates is one register of unsigned codes, multiplied with signed queries by `vpdpbusd`.
//!
//! The sums of the unsigned codes may wrap; what `finish` makes of them does not, since the true result fits.

use std::arch::x86_64::*;

use super::super::packing::MAX_TILE;
use super::{CODE_STEP, CodeKind, CodeQueries, Rows, finish};

/// Most queries that are multiplied straight from the rows' bytes; for more the codes of some rows are unpacked once.
const DIRECT: usize = 8;

/// Bytes ahead of the scan that are fetched.
const AHEAD: usize = 12 << 10;

/// Bytes of unpacked rows that stay in a core's own cache beside a tile of queries.
const CHUNK_BYTES: usize = 192 << 10;

/// Unpacks 64 codes into unsigned bytes.
pub(super) trait Unpack {
    /// Bytes of 64 codes.
    const BYTES: usize;

    /// # Safety
    /// `BYTES` bytes are readable at `p`; the processor has AVX-512F and BW.
    unsafe fn load(p: *const u8) -> __m512i;
}

pub(super) struct Sign;
pub(super) struct Nibble;
pub(super) struct Int8;

impl Unpack for Sign {
    const BYTES: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_maskz_set1_epi8(unsafe { p.cast::<u64>().read_unaligned() }, 1)
    }
}

impl Unpack for Nibble {
    const BYTES: usize = 32;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let pairs = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(p.cast()) });
        // (pairs | pairs << 4) & 0x0f0f: the low nibble stays in the low byte, the high one moves to the high byte.
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
/// The processor has AVX-512F, BW and VNNI; `out` has a value per row and query.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn rows(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match rows.codes.kind {
            CodeKind::Sign => of_kind::<Sign>(rows, queries, out),
            CodeKind::Nibble => of_kind::<Nibble>(rows, queries, out),
            CodeKind::Int8 => of_kind::<Int8>(rows, queries, out),
        }
    }
}

/// # Safety
/// As `rows`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn of_kind<U: Unpack>(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
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
            DIRECT => direct::<U, 2, 8>(rows, queries, out),
            // As many rows as their sums fit the 32 registers beside the rows' codes and a query.
            _ if queries.tile_width() <= 6 => tiles::<U, 4>(rows, queries, out),
            _ => tiles::<U, 3>(rows, queries, out),
        }
    }
}

/// One row at a time: the stream of bytes stays linear, and `C` chains of sums hide the latency of the products.
///
/// # Safety
/// As `rows`; there are `Q` queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn direct<U: Unpack, const C: usize, const Q: usize>(
    rows: Rows<'_>,
    queries: &CodeQueries,
    out: &mut [i32],
) {
    let packed = queries.tile(0);
    let steps = queries.dim() / CODE_STEP;
    assert!(packed.len() == steps * Q && rows.row_bytes == steps * U::BYTES);
    let q0 = packed.as_ptr().cast::<u8>();
    let ahead = AHEAD.div_ceil(rows.row_bytes);
    for i in 0..rows.len() {
        let x0 = rows.row(i).as_ptr();
        let next = rows.address(i + ahead);
        let mut acc = [[_mm512_setzero_si512(); Q]; C];
        let mut step = 0;
        while step + C <= steps {
            for line in (0..C * U::BYTES).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(step * U::BYTES + line).cast());
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

/// A row's codes of one step, unpacked.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Unpacked(#[allow(dead_code)] [u8; CODE_STEP]);

/// Unpacks some rows at a time into panels `[panel][step][R]`, over which every tile of queries passes.
///
/// # Safety
/// As `rows`; no tile has more than 8 queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn tiles<U: Unpack, const R: usize>(rows: Rows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let steps = queries.dim() / CODE_STEP;
    assert!(rows.row_bytes == steps * U::BYTES);
    let panels = (CHUNK_BYTES / (steps * CODE_STEP * R)).max(1).min(rows.len().div_ceil(R));
    let mut chunk = vec![Unpacked([0; CODE_STEP]); panels * R * steps];
    let mut start = 0;
    while start < rows.len() {
        let end = (start + panels * R).min(rows.len());
        for i in start..end {
            let row = rows.row(i);
            let (panel, r) = ((i - start) / R, (i - start) % R);
            for step in 0..steps {
                // SAFETY: the row has `steps` steps.
                let codes = unsafe { U::load(row.as_ptr().add(step * U::BYTES)) };
                let to = &mut chunk[(panel * steps + step) * R + r];
                // SAFETY: one aligned register's worth.
                unsafe { _mm512_store_si512((&raw mut *to).cast(), codes) };
            }
        }
        let used = (end - start).div_ceil(R);
        for tile in 0..queries.tiles() {
            let range = queries.tile_queries(tile);
            let packed = queries.tile(tile);
            for panel in 0..used {
                let x = &chunk[panel * steps * R..(panel + 1) * steps * R];
                let first = start + panel * R;
                // The tiles share the rows that come next between them.
                let mut next = [std::ptr::null(); R];
                let mut ahead = 0;
                for r in (tile..R).step_by(queries.tiles()) {
                    next[ahead] = rows.address(end + panel * R + r);
                    ahead += 1;
                }
                let next = (&next[..ahead], U::BYTES);
                let mut sums = [[0i32; MAX_TILE]; R];
                // SAFETY: `x` holds steps x R registers and `packed` steps x width.
                unsafe {
                    match range.len() {
                        1 => micro::<R, 1>(x, packed, next, &mut sums),
                        2 => micro::<R, 2>(x, packed, next, &mut sums),
                        3 => micro::<R, 3>(x, packed, next, &mut sums),
                        4 => micro::<R, 4>(x, packed, next, &mut sums),
                        5 => micro::<R, 5>(x, packed, next, &mut sums),
                        6 => micro::<R, 6>(x, packed, next, &mut sums),
                        7 => micro::<R, 7>(x, packed, next, &mut sums),
                        _ => micro::<R, MAX_TILE>(x, packed, next, &mut sums),
                    }
                }
                for (r, sums) in sums.iter().enumerate().take(end - first) {
                    let out = &mut out[(first + r) * queries.len()..][range.clone()];
                    for ((out, sum), query) in out.iter_mut().zip(sums).zip(range.clone()) {
                        *out = finish(rows.codes.kind, *sum, queries.sum(query));
                    }
                }
            }
        }
        start = end;
    }
}

/// Sums of `R` unpacked rows with `Q` queries; `next` are rows to fetch meanwhile and their bytes per step.
///
/// # Safety
/// The processor has AVX-512F, BW and VNNI; `x` holds `R` registers for each step of `packed`, which holds `Q`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn micro<const R: usize, const Q: usize>(
    x: &[Unpacked],
    packed: &[[i8; CODE_STEP]],
    (next, bytes): (&[*const u8], usize),
    sums: &mut [[i32; MAX_TILE]; R],
) {
    let mut acc = [[_mm512_setzero_si512(); Q]; R];
    let (x0, q0) = (x.as_ptr().cast::<u8>(), packed.as_ptr().cast::<u8>());
    for step in 0..packed.len() / Q {
        for row in next {
            _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(step * bytes).cast());
        }
        let mut codes = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // SAFETY: the caller's promise; both are aligned.
            codes[r] = unsafe { _mm512_load_si512(x0.add((step * R + r) * CODE_STEP).cast()) };
        }
        for q in 0..Q {
            // SAFETY: as above.
            let query = unsafe { _mm512_load_si512(q0.add((step * Q + q) * CODE_STEP).cast()) };
            for r in 0..R {
                acc[r][q] = _mm512_dpbusd_epi32(acc[r][q], codes[r], query);
            }
        }
    }
    for r in 0..R {
        for q in 0..Q {
            sums[r][q] = _mm512_reduce_add_epi32(acc[r][q]);
        }
    }
}
