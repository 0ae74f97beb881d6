//! Rows whose score is one value at one checkpoint, as it mostly is: many at a time, in plain loops that are compiled for what the processor has.
//!
//! Invariants
//! - estimates and bounds have the bits that one row at a time would give

use gstore_store::RowFlags;

use super::bound::Found;
use super::value::{Factors, Measure, Row, Value};
use crate::influence::spec::Order;
use crate::sketch::{ByteFactors, Factor, Query, RowRecord};

/// Estimates and bounds of the rows of a window, by their place among those that are wanted.
#[derive(Default)]
pub(super) struct Singles {
    estimates: Vec<f32>,
    bounds: Vec<f32>,
    /// Rows of which there is nothing to know but their value.
    plain: usize,
    picked: Picked,
}

/// What belongs to vectors that are not neighbours, side by side.
#[derive(Default)]
struct Picked {
    records: Vec<RowRecord>,
    plain: Vec<Factor>,
    bytes: Vec<ByteFactors>,
    estimates: Vec<f32>,
    bounds: Vec<f32>,
}

/// Vectors of a block, and for each the place of its row; both ascend.
#[derive(Clone, Copy)]
pub(super) struct Vectors<'a> {
    pub(super) numbers: &'a [u32],
    pub(super) places: &'a [u32],
}

/// What values are made with.
pub(super) struct Single<'a> {
    pub(super) measure: Measure,
    pub(super) query: &'a Query,
    pub(super) order: Order,
    pub(super) z: f64,
}

impl Singles {
    /// Starts over with some rows, whose values are zero.
    pub(super) fn start(&mut self, rows: usize, of_zero: f32) {
        self.estimates.clear();
        self.estimates.resize(rows, 0.0);
        self.bounds.clear();
        self.bounds.resize(rows, of_zero);
        self.plain = 0;
    }

    /// Takes what a block says of some of them.
    pub(super) fn add(
        &mut self,
        of: &Single<'_>,
        chosen: Vectors<'_>,
        records: &[RowRecord],
        factors: Factors<'_>,
        dots: &[i32],
    ) {
        let (vectors, places) = (stretch(chosen.numbers), stretch(chosen.places));
        let picked = &mut self.picked;
        let (records, factors) = match vectors {
            Some(span) => (&records[span.clone()], factors.of(span)),
            None => {
                pick(records, chosen.numbers, &mut picked.records);
                let factors = match factors {
                    Factors::Plain(all) => Factors::Plain(pick(all, chosen.numbers, &mut picked.plain)),
                    Factors::Bytes(all) => Factors::Bytes(pick(all, chosen.numbers, &mut picked.bytes)),
                    Factors::Certified(all) => {
                        Factors::Certified(pick(all, chosen.numbers, &mut picked.bytes))
                    }
                };
                (&picked.records[..], factors)
            }
        };
        if pulp::Arch::new().dispatch(|| are_plain(records)) {
            self.plain += records.len();
        }
        match places {
            Some(span) => {
                of.fill(records, factors, dots, (&mut self.estimates[span.clone()], &mut self.bounds[span]));
            }
            None => {
                picked.estimates.resize(records.len(), 0.0);
                picked.bounds.resize(records.len(), 0.0);
                of.fill(records, factors, dots, (&mut picked.estimates, &mut picked.bounds));
                let values = picked.estimates.iter().zip(&picked.bounds);
                for (at, (estimate, bound)) in chosen.places.iter().zip(values) {
                    (self.estimates[*at as usize], self.bounds[*at as usize]) = (*estimate, *bound);
                }
            }
        }
    }

    /// Whether every row has a value and a bound that are numbers, and nothing else is to be known of any.
    pub(super) fn are_plain(&self) -> bool {
        self.plain == self.estimates.len()
            && pulp::Arch::new().dispatch(|| are_finite(&self.estimates) & are_finite(&self.bounds))
    }

    /// Estimate and bound of a row.
    pub(super) fn get(&self, at: usize) -> (f32, f32) {
        (self.estimates[at], self.bounds[at])
    }

    pub(super) fn put(&mut self, at: usize, estimate: f32, bound: f32) {
        (self.estimates[at], self.bounds[at]) = (estimate, bound);
    }

    /// Hands out all rows.
    pub(super) fn hand_out(&self, offsets: &[u32], found: &mut Found) {
        found.bounded += offsets.len() as u64;
        found.offsets.extend_from_slice(offsets);
        found.estimates.extend_from_slice(&self.estimates);
        found.bounds.extend_from_slice(&self.bounds);
        found.totals.scanned += offsets.len() as u64;
        found.totals.eligible += offsets.len() as u64;
    }
}

impl Single<'_> {
    fn fill(&self, records: &[RowRecord], factors: Factors<'_>, dots: &[i32], to: (&mut [f32], &mut [f32])) {
        let arch = pulp::Arch::new();
        let (of, query, (estimates, bounds)) = (self, self.query, to);
        match factors {
            Factors::Plain(factors) => {
                let add = |row: &Row, factor: &Factor, [dot]: [i32; 1], value: &mut Value| {
                    row.estimate(factor, query, dot, value);
                };
                let dots = dots.as_chunks().0;
                arch.dispatch(Fill { of, records, factors, dots, estimates, bounds, add });
            }
            Factors::Bytes(factors) => {
                let add = |row: &Row, factors: &ByteFactors, [dot]: [i32; 1], value: &mut Value| {
                    row.estimate(&factors.factor, query, dot, value);
                };
                let dots = dots.as_chunks().0;
                arch.dispatch(Fill { of, records, factors, dots, estimates, bounds, add });
            }
            Factors::Certified(factors) => {
                let add = |row: &Row, factors: &ByteFactors, dots: [i32; 2], value: &mut Value| {
                    row.certify(factors, query, dots, value);
                };
                let dots = dots.as_chunks().0;
                arch.dispatch(Fill { of, records, factors, dots, estimates, bounds, add });
            }
        }
    }
}

/// One loop over rows. No closure: that would be compiled apart from the dispatch, for the least of processors.
struct Fill<'a, F, A, const N: usize> {
    of: &'a Single<'a>,
    records: &'a [RowRecord],
    factors: &'a [F],
    dots: &'a [[i32; N]],
    estimates: &'a mut [f32],
    bounds: &'a mut [f32],
    add: A,
}

impl<F, A: Fn(&Row, &F, [i32; N], &mut Value), const N: usize> pulp::WithSimd for Fill<'_, F, A, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let of_rows = self.records.iter().zip(self.factors).zip(self.dots);
        let to = self.estimates.iter_mut().zip(self.bounds);
        for (((record, factor), dots), (estimate, bound)) in of_rows.zip(to) {
            let mut value = Value::default();
            (self.add)(&self.of.measure.row(record), factor, *dots, &mut value);
            *estimate = value.estimate as f32;
            *bound = value.bound(self.of.order, self.of.z);
        }
    }
}

/// Flags that say nothing of whether a row has a score.
const HARMLESS: u8 = RowFlags::TRUNCATED.bits();

/// Whether all are coded and have scores. Byte by byte of 16 records, whatever the bytes mean, so that many are looked at together.
#[inline(always)]
fn are_plain(records: &[RowRecord]) -> bool {
    let (groups, rest) = records.as_chunks::<16>();
    let mut any = [RowRecord::default(); 16];
    for group in groups {
        let any: &mut [u8] = bytemuck::cast_slice_mut(&mut any);
        for (any, byte) in any.iter_mut().zip(bytemuck::cast_slice::<_, u8>(group)) {
            *any |= byte;
        }
    }
    any.iter().chain(rest).fold(0, |all, record| all | record.flags & !HARMLESS | record.class) == 0
}

#[inline(always)]
fn are_finite(numbers: &[f32]) -> bool {
    numbers.iter().fold(0, |all, number| all | u32::from(!number.is_finite())) == 0
}

/// The range of numbers that follow one another.
fn stretch(numbers: &[u32]) -> Option<std::ops::Range<usize>> {
    let (first, last) = (*numbers.first()? as usize, *numbers.last()? as usize);
    (last - first + 1 == numbers.len()).then_some(first..last + 1)
}

fn pick<'a, T: Copy>(all: &[T], chosen: &[u32], picked: &'a mut Vec<T>) -> &'a [T] {
    picked.clear();
    picked.extend(chosen.iter().map(|i| all[*i as usize]));
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_have_the_values_of_one_at_a_time() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let query = Query { norm: 1.7, coarse_step: 0.003, fine_step: 0.002, fine_error: 1e-6 };
        let count = 101;
        let records: Vec<RowRecord> = (0..count)
            .map(|_| RowRecord { length: 3.0 * next(), norm: next(), ..RowRecord::default() })
            .collect();
        let mut factor = || Factor { factor: next(), spread: 0.01 * next() };
        let plain: Vec<Factor> = (0..count).map(|_| factor()).collect();
        let bytes: Vec<ByteFactors> = (0..count)
            .map(|_| {
                let (factor, other) = (factor(), factor());
                let residual = crate::sketch::Residual { scale: other.factor, residual: other.spread };
                ByteFactors { residual, factor }
            })
            .collect();
        let dots: Vec<i32> = (0..2 * count).map(|i| (i * i * 7919) % 40_001 - 20_000).collect();
        let all: Vec<u32> = (0..count as u32).collect();
        let some: Vec<u32> = all.iter().copied().filter(|i| i % 3 != 1).collect();
        for (cosine, order, vectors) in [
            (true, Order::Best, &all),
            (true, Order::Worst, &some),
            (false, Order::Best, &some),
            (false, Order::Worst, &all),
        ] {
            let measure = || Measure { cosine, dot_scale: 0.3, slack: 1e-5, freedom: 60.0 };
            let of = Single { measure: measure(), query: &query, order, z: 5.0 };
            for factors in [Factors::Plain(&plain), Factors::Bytes(&bytes), Factors::Certified(&bytes)] {
                let each = if matches!(factors, Factors::Certified(_)) { 2 } else { 1 };
                let dots = &dots[..vectors.len() * each];
                // Every other place.
                let places: Vec<u32> = (0..vectors.len() as u32).map(|i| 2 * i).collect();
                let stretch: Vec<u32> = (0..vectors.len() as u32).collect();
                for places in [&places, &stretch] {
                    let mut singles = Singles::default();
                    singles.start(2 * vectors.len(), 0.0);
                    singles.add(&of, Vectors { numbers: vectors, places }, &records, factors, dots);
                    for ((i, at), dots) in vectors.iter().zip(places).zip(dots.chunks_exact(each)) {
                        let mut value = [Value::default()];
                        let row = measure().row(&records[*i as usize]);
                        factors.add(*i as usize, &row, &[query], dots, &mut value);
                        let (estimate, bound) = singles.get(*at as usize);
                        assert_eq!(estimate.to_bits(), (value[0].estimate as f32).to_bits());
                        assert_eq!(bound.to_bits(), value[0].bound(order, 5.0).to_bits());
                    }
                }
            }
        }
    }
}
