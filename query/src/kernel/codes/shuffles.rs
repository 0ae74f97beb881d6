//! Products of signs with many queries by byte shuffles, which look them up in tables.
//!
//! A register has a row in each byte. Signs are transposed for it, once for all queries. The entries of two
//! tables are added in 8 bits and their sums in 16, of the bytes at even and at odd places apart.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::ahead::RowPrefetch;
use super::super::packing::CacheLine;
use super::tables::{ENTRIES, PART_BYTES, TOGETHER};
use super::{CodeQueries, CodeRows};

/// Rows that are transposed at a time: tables come from far once for all of them.
const BLOCK: usize = 256;

/// Rows that are transposed together, 16 bytes of each.
const TRANSPOSED_ROWS: usize = 32;
const COLUMNS: usize = 16;

/// Most rows of a register.
const MOST_ROWS: usize = 64;

/// Signs of some rows, four in a byte: `[register of rows][byte of a row][half of it][row]`.
#[repr(align(64))]
struct Transposed([MaybeUninit<u8>; 2 * PART_BYTES * BLOCK]);

/// Sums of a register's rows.
type Sums = [[u16; MOST_ROWS]; TOGETHER];

/// An instruction set that looks up bytes.
pub(super) trait Shuffle {
    /// Rows of a register. Those of the first half have the even bytes, in order, and the others the odd
    /// ones.
    const ROWS: usize;

    /// Adds up the entries of tables by the signs of rows.
    ///
    /// # Safety
    /// The processor has the instructions; `codes` has two registers for each of `bytes`, aligned, and each
    /// query two tables.
    unsafe fn add_up<const Q: usize>(codes: *const u8, bytes: usize, tables: [*const u8; Q], sums: &mut Sums);
}

/// # Safety
/// The processor has the instructions of `S` and AVX2; the codes are signs; no value of a query is above 15;
/// `out` has a value per row and query.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn rows<S: Shuffle>(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let (count, tables) = (queries.len(), queries.tables());
    if count == 0 {
        return;
    }
    let mut codes = Transposed([MaybeUninit::uninit(); 2 * PART_BYTES * BLOCK]);
    let codes: *mut u8 = codes.0.as_mut_ptr().cast();
    let mut sums = [[0; MOST_ROWS]; TOGETHER];
    for (block, out) in out.chunks_mut(BLOCK * count).enumerate() {
        out.fill(-tables.offset());
        let here = out.len() / count;
        for (start, bytes, lines) in tables.parts() {
            let of_query = lines.len() / count.next_multiple_of(TOGETHER);
            assert!(of_query * size_of::<CacheLine>() == 2 * bytes * ENTRIES && bytes <= PART_BYTES);
            let of_register = 2 * bytes * S::ROWS;
            for first in (0..here).step_by(S::ROWS) {
                for lanes in (0..S::ROWS).step_by(TRANSPOSED_ROWS) {
                    let place = |lane: usize| {
                        let row = first + (lanes + lane) / 2 + (lane % 2) * (S::ROWS / 2);
                        block * BLOCK + row.min(here - 1)
                    };
                    // SAFETY: a block has that many registers, of two halves of each byte.
                    unsafe {
                        let to = codes.add(first / S::ROWS * of_register + lanes);
                        transpose(rows, place, start..start + bytes, to, S::ROWS);
                    }
                }
            }
            // Chosen rows are not neighbours.
            let follow = if here == BLOCK && rows.chosen.is_none() { BLOCK } else { 0 };
            let after = rows.address((block + 1) * BLOCK).wrapping_add(start);
            let mut next = RowPrefetch::new(after, bytes, rows.row_bytes, follow);
            let times = count.div_ceil(TOGETHER) * here.div_ceil(S::ROWS);
            let ahead = next.lines().div_ceil(times);
            for (quad, lines) in lines.chunks_exact(TOGETHER * of_query).enumerate() {
                let [a, b, c, d] = std::array::from_fn(|query| lines[query * of_query..].as_ptr().cast());
                for (register, out) in out.chunks_mut(S::ROWS * count).enumerate() {
                    next.fetch(ahead);
                    // SAFETY: the lengths are those that are asserted above.
                    unsafe {
                        let codes = codes.add(register * of_register);
                        match count - quad * TOGETHER {
                            1 => S::add_up(codes, bytes, [a], &mut sums),
                            2 => S::add_up(codes, bytes, [a, b], &mut sums),
                            3 => S::add_up(codes, bytes, [a, b, c], &mut sums),
                            _ => S::add_up(codes, bytes, [a, b, c, d], &mut sums),
                        }
                    }
                    add(&sums, count, quad * TOGETHER, out);
                }
            }
        }
    }
}

/// Adds the sums of rows to those of queries that are `count` apart from row to row.
#[target_feature(enable = "avx2")]
fn add(sums: &Sums, count: usize, first: usize, out: &mut [i32]) {
    let own = TOGETHER.min(count - first);
    for (out, eight) in out.chunks_mut(8 * count).zip((0..MOST_ROWS).step_by(8)) {
        // SAFETY: eight sums of each query.
        let [a, b, c, d] =
            sums.each_ref().map(|sums| unsafe { _mm_loadu_si128(sums[eight..].as_ptr().cast()) });
        let (ab, cd) = (_mm_unpacklo_epi16(a, b), _mm_unpacklo_epi16(c, d));
        let (of_0, of_2) = (_mm_unpacklo_epi32(ab, cd), _mm_unpackhi_epi32(ab, cd));
        let (ab, cd) = (_mm_unpackhi_epi16(a, b), _mm_unpackhi_epi16(c, d));
        let (of_4, of_6) = (_mm_unpacklo_epi32(ab, cd), _mm_unpackhi_epi32(ab, cd));
        let pairs = [of_0, of_2, of_4, of_6];
        for (row, out) in out.chunks_mut(count).enumerate() {
            let both = pairs[row / 2];
            let four = _mm_cvtepu16_epi32(if row % 2 == 0 { both } else { _mm_unpackhi_epi64(both, both) });
            match out[first..].first_chunk_mut::<TOGETHER>() {
                // SAFETY: four values.
                Some(out) if own == TOGETHER => unsafe {
                    let out = out.as_mut_ptr().cast();
                    _mm_storeu_si128(out, _mm_add_epi32(_mm_loadu_si128(out), four));
                },
                _ => {
                    let mut values = [0i32; TOGETHER];
                    // SAFETY: four values.
                    unsafe { _mm_storeu_si128(values.as_mut_ptr().cast(), four) };
                    out[first..].iter_mut().zip(&values[..own]).for_each(|(out, value)| *out += value);
                }
            }
        }
    }
}

/// Transposes a range of bytes, a multiple of eight, of the rows at 32 places of the call: column after
/// column of the low halves of bytes and of the high ones, `stride` bytes apart.
///
/// # Safety
/// The processor has AVX2; from `to` on, which is aligned to 32 bytes as `stride` is, there is room for two
/// columns of each byte.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn transpose(
    rows: CodeRows<'_>,
    place: impl Fn(usize) -> usize,
    bytes: Range<usize>,
    to: *mut u8,
    stride: usize,
) {
    let own: [&[u8]; TRANSPOSED_ROWS] = std::array::from_fn(|lane| &rows.row(place(lane))[bytes.clone()]);
    let low = _mm256_set1_epi8(15);
    for at in (0..bytes.len()).step_by(COLUMNS) {
        let here = COLUMNS.min(bytes.len() - at);
        let mut lines = [_mm256_setzero_si256(); COLUMNS];
        for (lane, line) in lines.iter_mut().enumerate() {
            let [first, second] = [lane, lane + COLUMNS].map(|lane| {
                let from = own[lane][at..at + here].as_ptr().cast();
                // SAFETY: as many bytes as are loaded.
                unsafe { if here == COLUMNS { _mm_loadu_si128(from) } else { _mm_loadl_epi64(from) } }
            });
            *line = _mm256_set_m128i(second, first);
        }
        // Each round interleaves the rows of both halves.
        for _ in 0..COLUMNS.ilog2() {
            let mut next = [_mm256_setzero_si256(); COLUMNS];
            for i in 0..COLUMNS / 2 {
                next[2 * i] = _mm256_unpacklo_epi8(lines[i], lines[i + COLUMNS / 2]);
                next[2 * i + 1] = _mm256_unpackhi_epi8(lines[i], lines[i + COLUMNS / 2]);
            }
            lines = next;
        }
        for (column, line) in lines[..here].iter().enumerate() {
            // SAFETY: the caller has room for two registers of each byte.
            unsafe {
                let to = to.add(2 * (at + column) * stride);
                _mm256_store_si256(to.cast(), _mm256_and_si256(*line, low));
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(*line), low);
                _mm256_store_si256(to.add(stride).cast(), high);
            }
        }
    }
}

/// Registers of 32 rows.
pub(super) struct Avx2;

impl Shuffle for Avx2 {
    const ROWS: usize = 32;

    #[target_feature(enable = "avx2")]
    unsafe fn add_up<const Q: usize>(
        codes: *const u8,
        bytes: usize,
        tables: [*const u8; Q],
        sums: &mut Sums,
    ) {
        let zero = _mm256_setzero_si256();
        let (mut all, mut odd) = ([zero; Q], [zero; Q]);
        for byte in 0..bytes {
            // SAFETY: the caller's promise.
            unsafe {
                let low = _mm256_load_si256(codes.add(2 * byte * Self::ROWS).cast());
                let high = _mm256_load_si256(codes.add((2 * byte + 1) * Self::ROWS).cast());
                for q in 0..Q {
                    let table = tables[q].add(2 * byte * ENTRIES).cast::<__m128i>();
                    let of_low = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(*table), low);
                    let of_high = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(*table.add(1)), high);
                    let both = _mm256_add_epi8(of_low, of_high);
                    all[q] = _mm256_add_epi16(all[q], both);
                    odd[q] = _mm256_add_epi16(odd[q], _mm256_srli_epi16::<8>(both));
                }
            }
        }
        for q in 0..Q {
            let even = _mm256_sub_epi16(all[q], _mm256_slli_epi16::<8>(odd[q]));
            // SAFETY: 32 of the sums.
            unsafe {
                _mm256_storeu_si256(sums[q].as_mut_ptr().cast(), even);
                _mm256_storeu_si256(sums[q][Self::ROWS / 2..].as_mut_ptr().cast(), odd[q]);
            }
        }
    }
}

/// Registers of 64 rows.
pub(super) struct Avx512;

impl Shuffle for Avx512 {
    const ROWS: usize = MOST_ROWS;

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn add_up<const Q: usize>(
        codes: *const u8,
        bytes: usize,
        tables: [*const u8; Q],
        sums: &mut Sums,
    ) {
        let zero = _mm512_setzero_si512();
        let (mut all, mut odd) = ([zero; Q], [zero; Q]);
        for byte in 0..bytes {
            // SAFETY: the caller's promise.
            unsafe {
                let low = _mm512_load_si512(codes.add(2 * byte * Self::ROWS).cast());
                let high = _mm512_load_si512(codes.add((2 * byte + 1) * Self::ROWS).cast());
                for q in 0..Q {
                    let table = tables[q].add(2 * byte * ENTRIES).cast::<__m128i>();
                    let of_low = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(*table), low);
                    let of_high = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(*table.add(1)), high);
                    let both = _mm512_add_epi8(of_low, of_high);
                    all[q] = _mm512_add_epi16(all[q], both);
                    odd[q] = _mm512_add_epi16(odd[q], _mm512_srli_epi16::<8>(both));
                }
            }
        }
        for q in 0..Q {
            let even = _mm512_sub_epi16(all[q], _mm512_slli_epi16::<8>(odd[q]));
            // SAFETY: 64 of the sums.
            unsafe {
                _mm512_storeu_si512(sums[q].as_mut_ptr().cast(), even);
                _mm512_storeu_si512(sums[q][Self::ROWS / 2..].as_mut_ptr().cast(), odd[q]);
            }
        }
    }
}
