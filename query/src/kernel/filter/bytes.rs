//! Rows as bytes, four of which are multiplied with those of many queries at once.
//!
//! A vector's values of a module group are rounded to multiples of a step: the largest magnitude over that of
//! a byte. Sums of products of bytes are integers. Those of a row are made positive, as the instructions want
//! it, by adding the same to each; so often the sum of a query's bytes is taken off again.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::super::ahead::RowPrefetch;
use super::super::avx2::peak;
use super::super::lanes::{self, GroupValues, Lanes, Operands, run};
use super::super::packing::CacheLine;
use super::super::panels::Scratch;
use super::super::{Element, LANES};
use super::bound::{RowSquares, squares_above};
use super::queries::unit;
use super::{Job, NARROW_BYTE, NARROW_WORDS, RowNorms};

/// Values in a line.
const LINE: usize = 64;

pub(super) trait ByteProducts {
    /// The largest magnitude of a row's.
    const LARGEST: i8;

    /// As [`Lanes::multiply`].
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands);
}

/// `vpmaddubsw`: the sums of two words fit 16 bits and are then widened.
pub(super) struct Avx2;

impl ByteProducts for Avx2 {
    const LARGEST: i8 = NARROW_BYTE;

    #[target_feature(enable = "avx2")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        let step = |sum, x: [__m256i; NARROW_WORDS], query: [__m256i; NARROW_WORDS]| {
            let [a, b] = [0, 1].map(|w| _mm256_maddubs_epi16(x[w], query[w]));
            _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1)))
        };
        // SAFETY: the caller's promise, passed on.
        unsafe { lanes::avx2::multiply::<R, Q, NARROW_WORDS>(at, step) };
    }
}

/// `vpdpbusd` in registers of AVX2.
pub(super) struct AvxVnni;

impl ByteProducts for AvxVnni {
    const LARGEST: i8 = i8::MAX;

    #[target_feature(enable = "avx2,avxvnni")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        let step = |sum, [x]: [__m256i; 1], [query]: [__m256i; 1]| _mm256_dpbusd_avx_epi32(sum, x, query);
        // SAFETY: the caller's promise, passed on.
        unsafe { lanes::avx2::multiply::<R, Q, 1>(at, step) };
    }
}

/// `vpdpbusd` in registers of AVX-512.
pub(super) struct Avx512Vnni;

impl ByteProducts for Avx512Vnni {
    const LARGEST: i8 = i8::MAX;

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        let step = |sum, x, query| _mm512_dpbusd_epi32(sum, x, query);
        // SAFETY: the caller's promise, passed on.
        unsafe { lanes::avx512::multiply::<R, Q>(at, step, |a, b| _mm512_add_epi32(a, b)) };
    }
}

struct RoundedRows<'a, P, T> {
    job: Job<'a>,
    values: &'a [T],
    out: &'a mut [f32],
    /// Rows x groups: the value of one unit of the bytes.
    steps: Vec<f32>,
    sums: Vec<RowSquares>,
    products: PhantomData<P>,
}

/// # Safety
/// The processor has AVX2, FMA, F16C and the instructions of `P`; the lengths agree as `Filter::scaled_dots`
/// asks.
pub(super) unsafe fn products<P: ByteProducts, T: Element>(
    job: Job<'_>,
    values: &[T],
    scratch: &mut Scratch,
    out: &mut [f32],
    norms: &mut [RowNorms],
) {
    let (count, groups) = (norms.len(), job.queries.groups());
    let sums = vec![RowSquares::default(); count];
    let steps = vec![0.0; count * groups];
    let mut lanes = RoundedRows::<P, T> { job, values, out, steps, sums, products: PhantomData };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut lanes, count, &job.queries.packing, job.groups, scratch) };
    norms.iter_mut().zip(&lanes.sums).for_each(|(norms, sums)| *norms = sums.norms());
}

impl<P: ByteProducts, T: Element> Lanes for RoundedRows<'_, P, T> {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn pack(&mut self, row: usize, cut: &GroupValues, mut to: *mut CacheLine) {
        let queries = self.job.queries;
        let of_row = &self.values[row * queries.dim()..(row + 1) * queries.dim()];
        let step = &mut self.steps[row * queries.groups() + cut.group];
        if cut.first {
            *step = unit(peak(&of_row[queries.groups[cut.group].clone()]), P::LARGEST);
        }
        let step = *step;
        let mut bytes = Rounded::of(step, P::LARGEST);
        let values = &of_row[cut.values.clone()];
        let (whole, part) = values.as_chunks::<LINE>();
        for line in whole {
            // SAFETY: 64 values; the caller's promise of room.
            unsafe { store_line(to, bytes.line(line)) };
            to = to.wrapping_add(1);
        }
        if !part.is_empty() {
            let mut line = [T::default(); LINE];
            line[..part.len()].copy_from_slice(part);
            // SAFETY: as above.
            unsafe { store_line(to, bytes.line(&line)) };
        }
        let factor = self.job.factors[row * queries.groups() + cut.group];
        self.sums[row].add(bytes.squares(values.len()), values.len(), factor);
    }

    #[inline]
    fn ahead(&self, rows: Range<usize>, cut: &GroupValues) -> RowPrefetch {
        self.job.ahead(self.values, rows, cut)
    }

    #[inline]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands) {
        // SAFETY: the caller's promise, passed on.
        unsafe { P::multiply::<R, Q>(at) };
    }

    #[inline]
    fn put(&mut self, row: usize, group: usize, sums: &[CacheLine]) {
        let queries = self.job.queries;
        let at = row * queries.groups() + group;
        let of_group = group * queries.len()..(group + 1) * queries.len();
        let scaled = ScaledSums {
            sums: &bytemuck::cast_slice(sums)[..queries.len()],
            positive: i32::from(P::LARGEST) + 1,
            of_queries: &queries.sums[of_group.clone()],
            steps: &queries.steps[of_group],
            step: self.steps[at],
            factor: self.job.factors[at],
        };
        // SAFETY: `products` is for a processor that has the instructions.
        unsafe { scaled.add_to(&mut self.out[row * queries.len()..(row + 1) * queries.len()]) };
    }
}

/// The sums of a row's bytes, made positive, with those of queries.
struct ScaledSums<'a> {
    sums: &'a [i32],
    /// What was added to each of the row's bytes.
    positive: i32,
    /// The sums of the queries' bytes, and the value of one unit of them.
    of_queries: &'a [i32],
    steps: &'a [f32],
    /// The same of the row's.
    step: f32,
    factor: f32,
}

impl ScaledSums<'_> {
    /// Wraps where the sum did, so the difference is exact. Steps are multiplied before the factor: what
    /// underflows then is no more than of a product that is multiplied in single precision.
    #[target_feature(enable = "avx2,fma")]
    fn add_to(&self, out: &mut [f32]) {
        for (((out, sum), of_query), step) in
            out.iter_mut().zip(self.sums).zip(self.of_queries).zip(self.steps)
        {
            let product = sum.wrapping_sub(of_query.wrapping_mul(self.positive));
            *out += product as f32 * (step * self.step) * self.factor;
        }
    }
}

/// # Safety
/// There is room for a line.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_line(to: *mut CacheLine, halves: [__m256i; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        _mm256_store_si256(to.cast(), halves[0]);
        _mm256_store_si256(to.cast::<__m256i>().add(1), halves[1]);
    }
}

/// Sums of squares that are made at a time.
const CHAINS: usize = 4;

/// Values that become bytes, with the sums of the squares of both.
struct Rounded {
    step: __m256,
    over_step: __m256,
    positive: __m256i,
    /// Sums of squares of the bytes.
    kept: __m256i,
    /// Sums of squares of what rounding took from the values, in sums that need not wait for each other.
    taken: [__m256; CHAINS],
    step_square: f64,
}

impl Rounded {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn of(step: f32, largest: i8) -> Self {
        let over_step = if step > 0.0 { 1.0 / step } else { 0.0 };
        Self {
            step: _mm256_set1_ps(step),
            over_step: _mm256_set1_ps(over_step),
            positive: _mm256_set1_epi8(largest.wrapping_add(1)),
            kept: _mm256_setzero_si256(),
            taken: [_mm256_setzero_ps(); CHAINS],
            step_square: f64::from(step) * f64::from(step),
        }
    }

    /// The bytes of a line, made positive.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn line<T: Element>(&mut self, values: &[T; LINE]) -> [__m256i; 2] {
        // Packing takes the halves of two registers in turns.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let mut bytes = [_mm256_setzero_si256(); 2];
        for (of_half, bytes) in values.as_chunks::<{ LINE / 2 }>().0.iter().zip(&mut bytes) {
            let (steps, _) = of_half.as_chunks::<LANES>();
            let [low, high] = [0, 1].map(|at| self.words(&steps[at], 2 * at));
            let packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            *bytes = _mm256_add_epi8(packed, self.positive);
        }
        bytes
    }

    /// 16 values as whole numbers of 16 bits, in the order in which they are packed; what they lose goes to
    /// two chains of sums.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn words<T: Element>(&mut self, values: &[T; LANES], chain: usize) -> __m256i {
        // SAFETY: 16 values.
        let halves = unsafe { T::halves(values.as_ptr()) };
        let mut whole = [_mm256_setzero_si256(); 2];
        for i in 0..2 {
            whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(halves[i], self.over_step));
            let taken = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(whole[i]), self.step, halves[i]);
            self.taken[chain + i] = _mm256_fmadd_ps(taken, taken, self.taken[chain + i]);
        }
        let words = _mm256_packs_epi32(whole[0], whole[1]);
        self.kept = _mm256_add_epi32(self.kept, _mm256_madd_epi16(words, words));
        words
    }

    /// Upper bounds of the squares of `count` values as bytes, and of what these take from them.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn squares(&self, count: usize) -> [f64; 2] {
        let (mut kept, mut taken) = ([0u32; 8], [0.0f32; 8]);
        // SAFETY: 8 values each.
        unsafe {
            _mm256_storeu_si256(kept.as_mut_ptr().cast(), self.kept);
            let [a, b, c, d] = self.taken;
            let sums = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
            _mm256_storeu_ps(taken.as_mut_ptr(), sums);
        }
        let kept: f64 = kept.into_iter().map(f64::from).sum();
        let taken = taken.into_iter().map(f64::from).sum();
        [kept * self.step_square, squares_above(taken, count)]
    }
}
