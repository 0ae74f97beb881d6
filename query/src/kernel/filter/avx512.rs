//! `vdpbf16ps`: 32 values of a row and of a query are one register each.

use std::arch::x86_64::*;

use super::super::avx512::{load_part, reduce_lines};
use super::super::packing::Line;
use super::super::panels::{Operands, Panels, Place, Scratch, run};
use super::super::{Element, LANES};
use super::bound::above;
use super::{HUGE, Job, RowNorms, STEP};

struct Narrow<'a, T> {
    job: Job<'a>,
    out: &'a mut [f32],
    norms: &'a mut [RowNorms],
    /// Of each row: squares of the norm and of the residual, times those of the factors, and the floor.
    sums: Vec<[f64; 3]>,
    values: std::marker::PhantomData<T>,
}

/// # Safety
/// The processor has AVX-512F, BW and BF16; the lengths agree as `Filter::scaled_dots` asks.
pub(super) unsafe fn products<T: Element>(
    job: Job<'_>,
    values: &[T],
    scratch: &mut Scratch,
    out: &mut [f32],
    norms: &mut [RowNorms],
) {
    let sums = vec![[0.0; 3]; norms.len()];
    let mut panels = Narrow { job, out, norms, sums, values: std::marker::PhantomData };
    // SAFETY: the caller's promise, passed on.
    unsafe { run(&mut panels, values, &job.queries.packing, job.groups, scratch) };
    for (norms, [norm, residual, floor]) in panels.norms.iter_mut().zip(&panels.sums) {
        let up = |value: f64| (above(value) as f32).next_up();
        *norms = RowNorms { norm: up(norm.sqrt()), residual: up(residual.sqrt()), floor: up(*floor) };
    }
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
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn note(&mut self, place: Place, squares: Squares, count: usize) {
        let total = |lanes: __m512| {
            let mut values = [0.0f32; LANES];
            // SAFETY: 16 values.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), lanes) };
            let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
            // At most 2^16 additions a lane, each off by 2^-24 of the sum or, where squares underflow, by 2^-149.
            sum * (1.0 + count as f64 * f64::exp2(-24.0)) + count as f64 * f64::exp2(-148.0)
        };
        let (kept, taken) = (total(squares.kept), total(squares.taken));
        let factor = f64::from(self.job.factors[place.row * self.job.queries.groups() + place.group]);
        let sums = &mut self.sums[place.row];
        // False for NaN too.
        if kept < HUGE * HUGE && factor.is_finite() {
            sums[0] += kept * factor * factor;
            sums[1] += taken * factor * factor;
            sums[2] += count as f64 * f64::exp2(-124.0) * factor.abs() + f64::exp2(-146.0);
        } else {
            sums[1] = f64::INFINITY;
        }
    }
}

impl<T: Element> Panels for Narrow<'_, T> {
    type Value = T;
    const STEP: usize = STEP;

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn unpack(&mut self, place: Place, values: &[T], mut to: *mut Line, stride: usize) {
        let mut squares = Squares { kept: _mm512_setzero_ps(), taken: _mm512_setzero_ps() };
        let whole = values.chunks_exact(STEP);
        let part = whole.remainder();
        let mut store = |low: __m512, high: __m512| {
            // SAFETY: a plain change of type; both are 64 bytes.
            let bits: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) };
            // SAFETY: the caller's promise of room.
            unsafe { _mm512_store_si512(to.cast(), bits) };
            to = to.wrapping_add(stride);
            squares.add(low, _mm512_castsi512_si256(bits));
            squares.add(high, _mm512_extracti64x4_epi64::<1>(bits));
        };
        for step in whole {
            // SAFETY: 32 values.
            unsafe { store(T::load(step.as_ptr()), T::load(step.as_ptr().add(LANES))) };
        }
        if !part.is_empty() {
            let (low, high) = part.split_at(part.len().min(LANES));
            store(load_part(low), load_part(high));
        }
        if place.first {
            self.note(place, squares, values.len());
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands<'_>, sums: *mut Line, fresh: bool) {
        let (x0, q0, sums) = (at.rows.cast::<u8>(), at.queries.cast::<u8>(), sums.cast::<f32>());
        let mut acc = [[_mm512_setzero_ps(); Q]; R];
        if !fresh {
            for r in 0..R {
                for q in 0..Q {
                    // SAFETY: R x Q lines.
                    acc[r][q] = unsafe { _mm512_load_ps(sums.add((r * Q + q) * LANES)) };
                }
            }
        }
        for step in 0..at.steps {
            for row in at.ahead {
                let from = row.wrapping_add(step * at.bytes);
                _mm_prefetch::<_MM_HINT_T1>(from.cast());
                if at.bytes > 64 {
                    _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(64).cast());
                }
            }
            let mut x = [_mm512_setzero_si512(); R];
            for r in 0..R {
                // SAFETY: steps x R lines.
                x[r] = unsafe { _mm512_load_si512(x0.add((step * R + r) * 64).cast()) };
            }
            for q in 0..Q {
                // SAFETY: steps x Q lines; the change of type is plain.
                let query = unsafe { as_bf16(_mm512_load_si512(q0.add((step * Q + q) * 64).cast())) };
                for r in 0..R {
                    // SAFETY: a plain change of type.
                    acc[r][q] = _mm512_dpbf16_ps(acc[r][q], unsafe { as_bf16(x[r]) }, query);
                }
            }
        }
        for r in 0..R {
            for q in 0..Q {
                // SAFETY: as above.
                unsafe { _mm512_store_ps(sums.add((r * Q + q) * LANES), acc[r][q]) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn reduce(sums: &[Line], products: &mut [f32]) {
        reduce_lines(sums, products);
    }

    #[inline]
    fn put(&mut self, row: usize, group: usize, from: usize, products: &[f32]) {
        let queries = self.job.queries;
        let factor = self.job.factors[row * queries.groups() + group];
        let out = &mut self.out[row * queries.len() + from..][..products.len()];
        out.iter_mut().zip(products).for_each(|(out, product)| *out += product * factor);
    }
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
