//! What codes say of one row's values for all queries: loops that are compiled for what the processor has.
//!
//! The estimates and errors are those of [`crate::influence::rank::cascade`], in single precision; what that rounds is added to what is certain.

use crate::sketch::Query;

/// Covers the rounding of a value that is computed in few steps of single precision, relative to it.
pub(super) const ROUNDED: f32 = 1.0 / (1 << 20) as f32;

/// More than underflow takes from a value.
const LEAST: f32 = 1.0 / (1u128 << 100) as f32;

/// What bounds are made with, by query.
#[derive(Default)]
pub(super) struct QueryParts {
    /// Steps of the coarse values, or of the first of the fine ones.
    steps: Vec<f32>,
    norms: Vec<f32>,
    norm_squares: Vec<f32>,
    /// A quarter of the squares of the steps.
    rounding: Vec<f32>,
    /// How far the fine values are off.
    fine_errors: Vec<f32>,
}

impl QueryParts {
    /// Of coarse or fine queries.
    pub(super) fn set(&mut self, queries: &[Query], fine: bool) {
        let set = |all: &mut Vec<f32>, of: fn(&Query) -> f64| {
            all.clear();
            all.extend(queries.iter().map(|query| (of(query) as f32).next_up()));
        };
        let step = |query: &Query| if fine { query.fine_step } else { query.coarse_step };
        self.steps.clear();
        self.steps.extend(queries.iter().map(|query| step(query) as f32));
        set(&mut self.norms, |query| query.norm);
        match fine {
            true => set(&mut self.fine_errors, |query| query.fine_error),
            false => {
                set(&mut self.norm_squares, |query| query.norm * query.norm);
                set(&mut self.rounding, |query| 0.25 * query.coarse_step * query.coarse_step);
            }
        }
    }
}

/// Values and errors of one row.
pub(super) type Sums<'a> = (&'a mut [f32], &'a mut [f32]);

/// What the values of one row are made with whose errors have a variance.
pub(super) struct Probable {
    /// By which a product of codes and a step of the query are multiplied.
    pub(super) of_dot: f32,
    /// Of the square of a query's length: the variance over rotations.
    pub(super) across: f32,
    /// Of the square of a query's step: the variance of its rounding.
    pub(super) rounded: f32,
    /// Of a query's length.
    pub(super) certain: f32,
    /// Of an estimate: what its own rounding and that of sums over checkpoints take.
    pub(super) share: f32,
}

impl Probable {
    #[inline(always)]
    pub(super) fn add(
        &self,
        parts: &QueryParts,
        dots: &[i32],
        (values, errors): Sums<'_>,
        variances: &mut [f32],
    ) {
        let of_queries = parts.steps.iter().zip(&parts.norms).zip(&parts.norm_squares).zip(&parts.rounding);
        let of_row = values.iter_mut().zip(errors).zip(variances).zip(dots);
        for ((((step, norm), square), rounding), (((value, error), variance), dot)) in of_queries.zip(of_row)
        {
            let share = self.of_dot * step * *dot as f32;
            *value += share;
            *error += norm * self.certain + self.share * share.abs();
            *variance += square * self.across + rounding * self.rounded;
        }
    }
}

/// What the values of one row are made with whose errors are certain.
pub(super) struct Certain {
    /// By which a product of codes and a step of the query are multiplied.
    pub(super) of_dot: f32,
    /// Of a query's length.
    pub(super) of_norm: f32,
    /// Of what the fine values of a query are off by.
    pub(super) of_fine: f32,
    /// As in [`Probable`].
    pub(super) share: f32,
}

impl Certain {
    /// `dots` are two for each query.
    #[inline(always)]
    pub(super) fn add(&self, parts: &QueryParts, dots: &[i32], (values, errors): Sums<'_>) {
        let of_queries = parts.steps.iter().zip(&parts.norms).zip(&parts.fine_errors);
        let of_row = values.iter_mut().zip(errors).zip(dots.chunks_exact(2));
        for (((step, norm), fine), ((value, error), dots)) in of_queries.zip(of_row) {
            let scale = self.of_dot * step;
            let (high, low) = (scale * dots[0] as f32, scale * (1.0 / 254.0) * dots[1] as f32);
            *value += high + low;
            let bound = norm * self.of_norm + fine * self.of_fine;
            *error += bound + self.share * (high.abs() + low.abs()) + LEAST;
        }
    }
}

/// The errors with `z` standard deviations of those that have variances.
#[inline(always)]
pub(super) fn finish((values, errors): Sums<'_>, variances: Option<&[f32]>, z: f32, up: f32) {
    if let Some(variances) = variances {
        errors.iter_mut().zip(variances).for_each(|(error, variance)| *error += z * variance.sqrt());
    }
    for (value, error) in values.iter().zip(errors) {
        *error = *error * up + (up - 1.0) * value.abs();
    }
}
