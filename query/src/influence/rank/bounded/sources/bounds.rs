//! Estimates and bounds of values from codes: the formulas.
//!
//! A value is the sum over checkpoints of `<x_c, q_c>` over a length. Its error is at most the sum of what is
//! certain of theirs plus z times the root of the summed variances: rotations of different features are drawn
//! apart.

use crate::sketch::{ByteFactors, Factor, Residual, RowRecord};
use crate::values::MIN_NORM;

/// Covers the rounding of a value that is computed in few steps of single precision, relative to it.
pub(super) const ROUNDED: f32 = 1.0 / (1 << 20) as f32;

/// What the vectors of a block have in common.
pub(super) struct Measure {
    /// Whether values are divided by the lengths of the vectors.
    pub(super) cosine: bool,
    /// By what dot products are multiplied.
    pub(super) dot_scale: f64,
    pub(super) slack: f64,
    /// n - 3, with n the dimensions across a vector.
    pub(super) freedom: f64,
}

impl Measure {
    #[inline(always)]
    fn by(&self, record: &RowRecord) -> f64 {
        // Of one form for both, so that many rows can be computed at a time.
        let (over, under) = match self.cosine {
            true => (1.0, f64::from(record.length).max(MIN_NORM)),
            false => (self.dot_scale, 1.0),
        };
        over / under
    }

    /// Of an estimate without bias. Its error has two parts, independent of each other: the rotation's, of
    /// which `spread` is the standard deviation for a query of length 1, and the random rounding of the
    /// query: each of its coordinates is off by zero on average and inside one step, so that the sum over the
    /// code's coordinates has at most half a step times `f |c|` for a standard deviation.
    #[inline(always)]
    fn estimated(&self, record: &RowRecord, factor: &Factor) -> Coefficients<f64> {
        let (by, norm, spread) = (self.by(record), f64::from(record.norm), f64::from(factor.spread));
        // f |c| is |x| over the cosine of x' and c, whose square is 1 / (1 + spread^2 (n - 3) / |x|^2).
        let code_square = spread * spread * self.freedom + norm * norm;
        Coefficients {
            of_dot: by * f64::from(factor.factor),
            across: by * by * spread * spread,
            rounded: by * by * code_square,
            certain: by * norm * self.slack,
            fine: 0.0,
        }
    }

    /// Of a certain bound, from the codes x^ and q^ of both sides: `|<x, q> - <x^, q^>| <= |q| |x - x^| +
    /// |x^| |q - q^|` (Cauchy-Schwarz).
    #[inline(always)]
    fn certified(&self, record: &RowRecord, factors: &Residual) -> Coefficients<f64> {
        let (by, norm) = (self.by(record), f64::from(record.norm));
        let (scale, residual) = (f64::from(factors.scale), f64::from(factors.residual));
        Coefficients {
            of_dot: by * scale,
            certain: by * (residual + norm * self.slack),
            fine: by * (norm + residual),
            ..Coefficients::default()
        }
    }
}

/// What the values of one vector are made with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Coefficients<T> {
    /// Of a product of codes times a step of the query: the estimate.
    pub(super) of_dot: T,
    /// Of the square of a query's length: the variance over rotations.
    pub(super) across: T,
    /// Of a quarter of the square of a query's step: the variance of its rounding.
    pub(super) rounded: T,
    /// Of a query's length: what is certain of the error.
    pub(super) certain: T,
    /// Of what the fine values of a query are off by: what is certain of the error.
    pub(super) fine: T,
}

impl Coefficients<f64> {
    /// For many queries.
    #[inline(always)]
    pub(super) fn narrow(self) -> Coefficients<f32> {
        let Self { of_dot, across, rounded, certain, fine } = self;
        Coefficients {
            of_dot: of_dot as f32,
            across: up(across),
            rounded: up(rounded),
            certain: up(certain),
            fine: up(fine),
        }
    }
}

/// At least a number that is not negative.
#[inline(always)]
pub(super) fn up(value: f64) -> f32 {
    value as f32 * (1.0 + ROUNDED) + f32::MIN_POSITIVE
}

/// What belongs to a vector's codes, by the number of products that a query has with them: one for an
/// estimate, two for a certain bound.
pub(super) trait CodeFactors<const N: usize>: bytemuck::Pod {
    fn of(&self, measure: &Measure, record: &RowRecord) -> Coefficients<f64>;
}

impl CodeFactors<1> for Factor {
    #[inline(always)]
    fn of(&self, measure: &Measure, record: &RowRecord) -> Coefficients<f64> {
        measure.estimated(record, self)
    }
}

impl CodeFactors<1> for ByteFactors {
    #[inline(always)]
    fn of(&self, measure: &Measure, record: &RowRecord) -> Coefficients<f64> {
        measure.estimated(record, &self.factor)
    }
}

impl CodeFactors<2> for ByteFactors {
    #[inline(always)]
    fn of(&self, measure: &Measure, record: &RowRecord) -> Coefficients<f64> {
        measure.certified(record, &self.residual)
    }
}
