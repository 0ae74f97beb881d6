//! Many queries side by side: four codes of a row, multiplied by `vpdpbusd` with those of 16 queries at once.
//!
//! Sums of the unsigned codes may wrap; what `finish` makes of them does not, since the true result fits.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::avx512::{Int8, Nibble, Unpack};
use super::{CODE_STEP, CodeKind, CodeQueries, CodeRows, finish};
use crate::kernel::ahead::RowPrefetch;
use crate::kernel::lanes::avx512::multiply;
use crate::kernel::lanes::{GroupValues, LanePacking, Lanes, Operands, WORD, run};
use crate::kernel::packing::CacheLine;
use crate::kernel::panels::Scratch;

struct Bytes<'a, U> {
    rows: CodeRows<'a>,
    queries: &'a CodeQueries,
    out: &'a mut [i32],
    unpack: PhantomData<U>,
}

/// # Safety
/// The processor has AVX-512F, BW and VNNI; the codes are no signs; `out` has a value per row and query.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn rows(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    let lanes = queries.lanes();
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match rows.codes.kind {
            CodeKind::Sign => unreachable!("signs are looked up"),
            CodeKind::Nibble => of_kind::<Nibble>(rows, queries, lanes, out),
            CodeKind::Int8 => {
                let done = straight(rows, queries, lanes, out);
                let out = &mut out[done * queries.len()..];
                of_kind::<Int8>(rows.from(done), queries, lanes, out);
            }
        }
    }
}

/// # Safety
/// As `rows`; `lanes` are those of `queries`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn of_kind<U: Unpack>(
    rows: CodeRows<'_>,
    queries: &CodeQueries,
    lanes: &LanePacking,
    out: &mut [i32],
) {
    let mut bytes = Bytes::<U> { rows, queries, out, unpack: PhantomData };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut bytes, rows.len(), lanes, &[0], &mut Scratch::default()) };
}

impl<U: Unpack> Lanes for Bytes<'_, U> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn pack(&mut self, row: usize, cut: &GroupValues, to: *mut CacheLine) {
        let steps = cut.values.start / CODE_STEP..cut.values.end.div_ceil(CODE_STEP);
        let codes = &self.rows.row(row)[steps.start * U::BYTES..steps.end * U::BYTES];
        for step in 0..steps.len() {
            // SAFETY: as many bytes as are loaded, and the caller's promise of room.
            unsafe { _mm512_store_si512(to.add(step).cast(), U::load(codes.as_ptr().add(step * U::BYTES))) };
        }
    }

    #[inline]
    fn ahead(&self, rows: Range<usize>, cut: &GroupValues) -> RowPrefetch {
        let steps = cut.values.start / CODE_STEP..cut.values.end.div_ceil(CODE_STEP);
        let at = self.rows.address(rows.start).wrapping_add(steps.start * U::BYTES);
        RowPrefetch::new(at, steps.len() * U::BYTES, self.rows.row_bytes, rows.len())
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        let step = |sum, x, query| _mm512_dpbusd_epi32(sum, x, query);
        // SAFETY: the caller's promise, passed on.
        unsafe { multiply::<R, Q>(at, step, |a, b| _mm512_add_epi32(a, b)) };
    }

    #[inline]
    fn put(&mut self, row: usize, _: usize, sums: &[CacheLine]) {
        let out = &mut self.out[row * self.queries.len()..][..self.queries.len()];
        let sums: &[i32] = bytemuck::cast_slice(sums);
        // SAFETY: `rows` is for a processor that has the instructions.
        unsafe { finish_all(self.rows.codes.kind, sums, self.queries.sums(), out) };
    }
}

/// [`finish`] for a row's sums with all queries.
#[target_feature(enable = "avx2")]
fn finish_all(kind: CodeKind, sums: &[i32], of_queries: &[i32], out: &mut [i32]) {
    for ((out, sum), of_query) in out.iter_mut().zip(sums).zip(of_queries) {
        *out = finish(kind, *sum, *of_query);
    }
}

/// Rows that [`straight`] takes at a time.
const STRAIGHT: usize = 8;

/// Bytes of rows that lie one after the other and at most 16 queries: nothing is packed, and the sums of
/// eight rows stay in registers. Returns how many rows were multiplied.
///
/// # Safety
/// The processor has AVX-512F, BW and VNNI; `out` has a value per row and query; `lanes`
/// are those of `queries`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn straight(rows: CodeRows<'_>, queries: &CodeQueries, lanes: &LanePacking, out: &mut [i32]) -> usize {
    let (count, bytes) = (queries.len(), rows.row_bytes);
    let Some(packed) = lanes.line().filter(|_| rows.chosen.is_none()) else { return 0 };
    assert!(packed.len() * WORD == bytes && bytes.is_multiple_of(CODE_STEP));
    let whole = rows.len() / STRAIGHT * STRAIGHT;
    let sign = _mm512_set1_epi8(i8::MIN);
    let mask = (1u32 << count).wrapping_sub(1) as u16;
    let sums: [i32; 16] = std::array::from_fn(|query| if query < count { queries.sum(query) } else { 0 });
    // SAFETY: 16 values.
    let extra = _mm512_slli_epi32::<7>(unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) });
    for first in (0..whole).step_by(STRAIGHT) {
        let block = &rows.codes.bytes[first * bytes..(first + STRAIGHT) * bytes];
        let (x0, next) = (block.as_ptr(), rows.address(first + STRAIGHT));
        // Two chains a row: a sum waits for the one before.
        let mut acc = [[_mm512_setzero_si512(); 2]; STRAIGHT];
        for (step, packed) in packed.chunks_exact(CODE_STEP / WORD).enumerate() {
            for r in 0..STRAIGHT {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(r * bytes + step * CODE_STEP).cast());
            }
            for words in (0..CODE_STEP / WORD).step_by(2) {
                for chain in 0..2 {
                    let word = words + chain;
                    // SAFETY: a line for each word, and the words of a step of each of the rows.
                    let query = unsafe { _mm512_load_si512((&raw const packed[word]).cast()) };
                    for r in 0..STRAIGHT {
                        let at = r * bytes + step * CODE_STEP + word * WORD;
                        let x = unsafe { x0.add(at).cast::<i32>().read_unaligned() };
                        let x = _mm512_xor_si512(_mm512_set1_epi32(x), sign);
                        acc[r][chain] = _mm512_dpbusd_epi32(acc[r][chain], x, query);
                    }
                }
            }
        }
        for r in 0..STRAIGHT {
            let sum = _mm512_sub_epi32(_mm512_add_epi32(acc[r][0], acc[r][1]), extra);
            // SAFETY: `count` values.
            unsafe { _mm512_mask_storeu_epi32(out[(first + r) * count..].as_mut_ptr(), mask, sum) };
        }
    }
    whole
}
