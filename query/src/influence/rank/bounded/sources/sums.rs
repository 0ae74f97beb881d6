//! Estimates and bounds of rows' values, added up: in a loop over rows for one query, and over queries for
//! many.
//!
//! Invariants
//! - sums are kept in single precision, and what that rounds is added to what is certain
//! - values are in units in which the longest query has a length between 1 and 2, so that squares neither
//!   overflow nor vanish

use super::bounds::{CodeFactors, Coefficients, Measure, ROUNDED, up};
use super::found::FoundVectors;
use crate::sketch::{Query, RowRecord};

/// At least the variance of any value: what underflow takes from one is far below.
pub(super) const LEAST_VARIANCE: f32 = 1.0 / (1u128 << 116) as f32;

/// More than underflow takes from a value.
const LEAST: f32 = 1.0 / (1u128 << 116) as f32;

/// What bounds are made with, by query, in single precision and rounded up.
#[derive(Default)]
pub(super) struct QueryParts {
    steps: Vec<f32>,
    norms: Vec<f32>,
    norm_squares: Vec<f32>,
    /// A quarter of the squares of the steps.
    rounding: Vec<f32>,
    /// How far the fine values are off.
    fine_errors: Vec<f32>,
}

impl QueryParts {
    /// Of queries in a unit, with the step of their values; `fine`: of two products each.
    pub(super) fn set(&mut self, (queries, step): (&[Query], fn(&Query) -> f64), unit: f64, fine: bool) {
        let step = |query: &Query| unit * step(query);
        self.steps.clear();
        self.steps.extend(queries.iter().map(|query| step(query) as f32));
        let set = |all: &mut Vec<f32>, of: &dyn Fn(&Query) -> f64| {
            all.clear();
            all.extend(queries.iter().map(|query| (of(query) as f32).next_up()));
        };
        set(&mut self.norms, &|query| unit * query.norm);
        if fine {
            return set(&mut self.fine_errors, &|query| unit * query.fine_error);
        }
        set(&mut self.norm_squares, &|query| (unit * query.norm).powi(2));
        set(&mut self.rounding, &|query| 0.25 * step(query).powi(2));
    }
}

/// Sums over the checkpoints so far, rows x queries.
pub(super) struct EstimateSums<'a> {
    pub(super) values: &'a mut [f32],
    /// What is certain of the errors.
    pub(super) errors: &'a mut [f32],
    /// With many queries none of certain bounds.
    pub(super) variances: &'a mut [f32],
    /// Of an estimate: what its own rounding and that of sums over checkpoints take.
    pub(super) share: f32,
}

/// What rounding takes from an estimate that is one of `checkpoints` of a sum.
pub(super) fn share(checkpoints: usize) -> f32 {
    ROUNDED * (1.0 + checkpoints as f32 / 8.0)
}

/// What bounds are made with for one query.
#[derive(Clone, Copy)]
pub(super) struct OneQuery {
    step: f64,
    norm: f64,
    fine_error: f64,
    share: f64,
}

impl OneQuery {
    /// Of a query and the step of its values in a unit; see [`share`].
    pub(super) fn new((query, step): (&Query, f64), unit: f64, share: f32) -> Self {
        let (norm, fine_error) = (unit * query.norm, unit * query.fine_error);
        Self { step: unit * step, norm, fine_error, share: f64::from(share) }
    }

    /// Value, certain error and variance.
    #[inline(always)]
    fn of<const N: usize>(&self, row: &Coefficients<f64>, dots: [i32; N]) -> [f32; 3] {
        let scale = row.of_dot * self.step;
        let (high, low) = (f64::from(dots[0]), if N == 2 { f64::from(dots[N - 1]) / 254.0 } else { 0.0 });
        let rounded = self.share * scale.abs() * (high.abs() + low.abs());
        let error = row.certain * self.norm + row.fine * self.fine_error + rounded;
        let variance = row.across * self.norm * self.norm + row.rounded * 0.25 * self.step * self.step;
        [(scale * (high + low)) as f32, up(error), up(variance)]
    }
}

/// Adds what vectors of a block say of one query. No closure: that would be compiled apart from the dispatch,
/// for the least of processors.
pub(super) struct AddOne<'a, F, const N: usize> {
    pub(super) measure: &'a Measure,
    pub(super) query: OneQuery,
    /// Of the block.
    pub(super) records: &'a [RowRecord],
    pub(super) factors: &'a [F],
    pub(super) found: &'a FoundVectors,
    /// Of the vectors that were found.
    pub(super) dots: &'a [[i32; N]],
    pub(super) sums: EstimateSums<'a>,
}

impl<F: CodeFactors<N>, const N: usize> pulp::WithSimd for AddOne<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { measure, query, records, factors, found, dots, sums } = self;
        let EstimateSums { values, errors, variances, .. } = sums;
        let Some((vectors, places)) = found.stretches() else {
            for ((vector, place), dots) in found.vectors.iter().zip(&found.places).zip(dots) {
                let (vector, place) = (*vector as usize, *place as usize);
                let [value, error, variance] =
                    query.of(&factors[vector].of(measure, &records[vector]), *dots);
                values[place] += value;
                errors[place] += error;
                variances[place] += variance;
            }
            return;
        };
        let vectors = records[vectors.clone()].iter().zip(&factors[vectors]).zip(dots);
        let sums = values[places.clone()].iter_mut().zip(&mut errors[places.clone()]);
        let sums = sums.zip(&mut variances[places]);
        for (((record, factors), dots), ((value, error), variance)) in vectors.zip(sums) {
            let [a, b, c] = query.of(&factors.of(measure, record), *dots);
            *value += a;
            *error += b;
            *variance += c;
        }
    }
}

/// Adds what vectors say of many queries.
pub(super) struct AddMany<'a, const N: usize> {
    pub(super) parts: &'a QueryParts,
    pub(super) rows: &'a [Coefficients<f32>],
    /// Of each vector, by query.
    pub(super) dots: &'a [i32],
    pub(super) places: &'a [u32],
    pub(super) sums: EstimateSums<'a>,
}

impl<const N: usize> pulp::WithSimd for AddMany<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let EstimateSums { values, errors, variances, share } = self.sums;
        let count = self.parts.steps.len();
        let QueryParts { steps, norms, norm_squares, rounding, fine_errors } = self.parts;
        let vectors = self.rows.iter().zip(self.places).zip(self.dots.chunks_exact((N * count).max(1)));
        for ((row, place), dots) in vectors {
            let span = *place as usize * count..(*place as usize + 1) * count;
            let sums = values[span.clone()].iter_mut().zip(&mut errors[span.clone()]);
            let (dots, _) = dots.as_chunks::<N>();
            if N == 2 {
                let queries = steps.iter().zip(norms).zip(fine_errors);
                for (((step, norm), fine), ((value, error), dots)) in queries.zip(sums.zip(dots)) {
                    let scale = row.of_dot * step;
                    let (high, low) = (scale * dots[0] as f32, scale * (1.0 / 254.0) * dots[N - 1] as f32);
                    *value += high + low;
                    let bound = norm * row.certain + fine * row.fine;
                    *error += bound + share * (high.abs() + low.abs()) + LEAST;
                }
                continue;
            }
            let queries = steps.iter().zip(norms).zip(norm_squares).zip(rounding);
            let sums = sums.zip(&mut variances[span]).zip(dots);
            for ((((step, norm), square), rounding), (((value, error), variance), dots)) in queries.zip(sums)
            {
                let estimate = row.of_dot * step * dots[0] as f32;
                *value += estimate;
                *error += norm * row.certain + share * estimate.abs();
                *variance += square * row.across + rounding * row.rounded;
            }
        }
    }
}

/// Makes errors of the sums, with `z` standard deviations of those that have variances, and takes them out of
/// the unit.
pub(super) struct Finish<'a> {
    pub(super) sums: EstimateSums<'a>,
    pub(super) z: f64,
    pub(super) unit: f64,
    pub(super) checkpoints: usize,
}

impl pulp::WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let EstimateSums { values, errors, variances, .. } = self.sums;
        let z = (self.z as f32).next_up();
        errors.iter_mut().zip(variances).for_each(|(error, variance)| *error += z * variance.sqrt());
        // What is added up over checkpoints is rounded as often.
        let above = ROUNDED * (1.0 + self.checkpoints as f32);
        // A power of two, by which nothing is rounded.
        let unit = (1.0 / self.unit) as f32;
        for (value, error) in values.iter_mut().zip(errors) {
            *error = unit * (*error * (1.0 + above) + above * value.abs()) + f32::MIN_POSITIVE;
            *value *= unit;
        }
    }
}
