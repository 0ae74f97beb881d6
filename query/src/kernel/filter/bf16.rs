//! `vdpbf16ps`: pairs of values of a row, multiplied with those of 16 queries at once.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::ahead::RowPrefetch;
use super::super::avx512::load_part;
use super::super::lanes::avx512::multiply;
use super::super::lanes::{GroupValues, Lanes, Operands, run};
use super::super::packing::CacheLine;
use super::super::panels::Scratch;
use super::super::{Element, LANES};
use super::bound::{RowSquares, squares_above};
use super::{Job, PAIR, RowNorms};

struct Narrow<'a, T> {
    job: Job<'a>,
    values: &'a [T],
    out: &'a mut [f32],
    sums: Vec<RowSquares>,
}

/// # Safety
/// The processor has AVX-512F, BW, DQ and BF16; the lengths agree as `Filter::scaled_dots` asks.
pub(super) unsafe fn products<T: Element>(
    job: Job<'_>,
    values: &[T],
    scratch: &mut Scratch,
    out: &mut [f32],
    norms: &mut [RowNorms],
) {
    let mut lanes = Narrow { job, values, out, sums: vec![RowSquares::default(); norms.len()] };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut lanes, norms.len(), &job.queries.packing, job.groups, scratch) };
    norms.iter_mut().zip(&lanes.sums).for_each(|(norms, sums)| *norms = sums.norms());
}

/// Sums of squares of what bf16 makes of values, and of what it takes from them.
#[derive(Clone, Copy)]
struct Squares {
    kept: __m512,
    taken: __m512,
}

impl Squares {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn plus(self, other: Self) -> Self {
        Self { kept: _mm512_add_ps(self.kept, other.kept), taken: _mm512_add_ps(self.taken, other.taken) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn add(&mut self, value: __m512, bits: __m256i) {
        let kept = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)));
        // Exact: the two are equal to within a factor of two, or one is zero.
        let taken = _mm512_sub_ps(value, kept);
        self.kept = _mm512_fmadd_ps(kept, kept, self.kept);
        self.taken = _mm512_fmadd_ps(taken, taken, self.taken);
    }
}

impl<T: Element> Narrow<'_, T> {
    /// Notes the squares of `count` values of a row.
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn note(&mut self, row: usize, group: usize, squares: Squares, count: usize) {
        let total = |lanes: __m512| {
            let (low, high) = (_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
            squares_above(
                _mm512_reduce_add_pd(_mm512_add_pd(_mm512_cvtps_pd(low), _mm512_cvtps_pd(high))),
                count,
            )
        };
        let factor = self.job.factors[row * self.job.queries.groups() + group];
        self.sums[row].add([total(squares.kept), total(squares.taken)], count, factor);
    }
}

impl<T: Element> Lanes for Narrow<'_, T> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn pack(&mut self, row: usize, cut: &GroupValues, mut to: *mut CacheLine) {
        // Chains of sums, so that one need not wait for the other.
        let mut squares = [Squares { kept: _mm512_setzero_ps(), taken: _mm512_setzero_ps() }; 4];
        let values = &self.values[row * self.job.queries.dim()..][cut.values.clone()];
        let whole = values.chunks_exact(PAIR * LANES);
        let part = whole.remainder();
        let mut store = |low: __m512, high: __m512, squares: &mut [Squares]| {
            // SAFETY: a plain change of type; both are 64 bytes.
            let bits: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) };
            // SAFETY: the caller's promise of room.
            unsafe { _mm512_store_si512(to.cast(), bits) };
            to = to.wrapping_add(1);
            squares[0].add(low, _mm512_castsi512_si256(bits));
            squares[1].add(high, _mm512_extracti64x4_epi64::<1>(bits));
        };
        // SAFETY: 32 values.
        let load = |step: &[T]| unsafe { (T::load(step.as_ptr()), T::load(step.as_ptr().add(LANES))) };
        let mut pairs = whole;
        while let Some(step) = pairs.next() {
            let (low, high) = load(step);
            store(low, high, &mut squares[..2]);
            if let Some(step) = pairs.next() {
                let (low, high) = load(step);
                store(low, high, &mut squares[2..]);
            }
        }
        if !part.is_empty() {
            let (low, high) = part.split_at(part.len().min(LANES));
            store(load_part(low), load_part(high), &mut squares[..2]);
        }
        let [a, b, c, d] = squares;
        let squares = a.plus(b).plus(c.plus(d));
        self.note(row, cut.group, squares, values.len());
    }

    #[inline]
    fn ahead(&self, rows: Range<usize>, cut: &GroupValues) -> RowPrefetch {
        self.job.ahead(self.values, rows, cut)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        let (single, bits) = (|bits| _mm512_castsi512_ps(bits), |values| _mm512_castps_si512(values));
        // SAFETY: plain changes of type.
        let step = |sum, x, query| bits(unsafe { _mm512_dpbf16_ps(single(sum), as_bf16(x), as_bf16(query)) });
        // SAFETY: the caller's promise, passed on.
        unsafe { multiply::<R, Q>(at, step, |a, b| bits(_mm512_add_ps(single(a), single(b)))) };
    }

    #[inline]
    fn put(&mut self, row: usize, group: usize, sums: &[CacheLine]) {
        let queries = self.job.queries;
        let factor = self.job.factors[row * queries.groups() + group];
        let out = &mut self.out[row * queries.len()..][..queries.len()];
        let sums: &[f32] = bytemuck::cast_slice(sums);
        // SAFETY: `products` is for a processor that has the instructions.
        unsafe { add_scaled(out, sums, factor) };
    }
}

#[target_feature(enable = "avx512f")]
fn add_scaled(out: &mut [f32], products: &[f32], factor: f32) {
    out.iter_mut().zip(products).for_each(|(out, product)| *out += product * factor);
}

/// There is no load of bf16: it is a type, not another layout.
///
/// # Safety
/// None; both are 64 bytes without invalid values.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: as above.
    unsafe { std::mem::transmute(bits) }
}
