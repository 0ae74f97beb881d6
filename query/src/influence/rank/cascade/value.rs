//! What is known of one value: a product of a vector and a query, or the sum of some.

use std::ops::Range;

use gstore_store::{BlockBuffer, BlockRef};

use super::bound::sections;
use crate::error::QueryError;
use crate::influence::scan::values::MIN_NORM;
use crate::influence::spec::Order;
use crate::influence::spec::mode::Plane;
use crate::sketch::{ByteFactors, Factor, Query, RowRecord, Sketch};

/// What is known of the value of a row and a query.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Value {
    pub(super) estimate: f64,
    /// What the error is certain to be below.
    pub(super) certain: f64,
    pub(super) variance: f64,
}

impl Value {
    /// The best that it can be, where the error's random part is below `z` standard deviations.
    #[inline(always)]
    pub(super) fn bound(&self, order: Order, z: f64) -> f32 {
        let away = self.certain + z * self.variance.sqrt();
        match order {
            Order::Best => ((self.estimate + away) as f32).next_up(),
            Order::Worst => ((self.estimate - away) as f32).next_down(),
        }
    }
}

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
    pub(super) fn row(&self, record: &RowRecord) -> Row {
        // Of one form for both, so that many rows can be computed at a time.
        let (over, under) = match self.cosine {
            true => (1.0, f64::from(record.length).max(MIN_NORM)),
            false => (self.dot_scale, 1.0),
        };
        Row { by: over / under, norm: f64::from(record.norm), slack: self.slack, freedom: self.freedom }
    }
}

/// By what the products of a block's codes are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Factors<'a> {
    /// Of signs or nibbles.
    Plain(&'a [Factor]),
    /// Of bytes that are estimated from.
    Bytes(&'a [ByteFactors]),
    /// Of bytes that bound with certainty.
    Certified(&'a [ByteFactors]),
}

impl<'a> Factors<'a> {
    pub(super) fn read(
        sketch: &'a Sketch,
        block: BlockRef,
        plane: Plane,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Self, QueryError> {
        let (_, _, section) = sections(plane);
        Ok(match plane {
            Plane::Sign | Plane::Nibble => Self::Plain(sketch.records(block, section, scratch)?),
            Plane::Int8 => Self::Bytes(sketch.records(block, section, scratch)?),
            Plane::Certified => Self::Certified(sketch.records(block, section, scratch)?),
        })
    }

    /// Those of a range of vectors.
    pub(super) fn of(self, vectors: Range<usize>) -> Self {
        match self {
            Self::Plain(factors) => Self::Plain(&factors[vectors]),
            Self::Bytes(factors) => Self::Bytes(&factors[vectors]),
            Self::Certified(factors) => Self::Certified(&factors[vectors]),
        }
    }

    /// Adds what the products of vector `i` with every query say.
    pub(super) fn add(&self, i: usize, row: &Row, queries: &[Query], dots: &[i32], values: &mut [Value]) {
        let each = values.iter_mut().zip(queries);
        match self {
            Self::Certified(factors) => {
                let (dots, _) = dots.as_chunks();
                each.zip(dots)
                    .for_each(|((value, query), dots)| row.certify(&factors[i], query, *dots, value));
            }
            Self::Plain(factors) => {
                each.zip(dots)
                    .for_each(|((value, query), dot)| row.estimate(&factors[i], query, *dot, value));
            }
            Self::Bytes(factors) => {
                let factor = &factors[i].factor;
                each.zip(dots).for_each(|((value, query), dot)| row.estimate(factor, query, *dot, value));
            }
        }
    }
}

/// A vector with what its products are multiplied by.
pub(super) struct Row {
    pub(super) by: f64,
    pub(super) norm: f64,
    pub(super) slack: f64,
    /// n - 3, with n the dimensions across the vector.
    pub(super) freedom: f64,
}

impl Row {
    /// Adds an estimate without bias. Its error has two parts, independent of each other: the rotation's, of which `spread` is the standard
    /// deviation for a query of length 1, and the random rounding of the query: each of its coordinates is off by zero on average and inside one
    /// step, so that the sum over the code's coordinates has at most half a step times `f |c|` for a standard deviation.
    #[inline(always)]
    pub(super) fn estimate(&self, factor: &Factor, query: &Query, dot: i32, value: &mut Value) {
        let spread = f64::from(factor.spread);
        let across = spread * query.norm;
        // f |c| is |x| over the cosine of x' and c, whose square is 1 / (1 + spread^2 (n - 3) / |x|^2).
        let code_square = spread * spread * self.freedom + self.norm * self.norm;
        let rounding = 0.25 * query.coarse_step * query.coarse_step * code_square;
        value.estimate += self.by * f64::from(factor.factor) * query.coarse_step * f64::from(dot);
        value.variance += self.by * self.by * (across * across + rounding);
        value.certain += self.by * self.norm * query.norm * self.slack;
    }

    /// Adds a certain bound, from the codes x^ and q^ of both sides: `|<x, q> - <x^, q^>| <= |q| |x - x^| + |x^| |q - q^|` (Cauchy-Schwarz).
    #[inline(always)]
    pub(super) fn certify(&self, factors: &ByteFactors, query: &Query, dots: [i32; 2], value: &mut Value) {
        let (scale, residual) = (f64::from(factors.residual.scale), f64::from(factors.residual.residual));
        let dot = f64::from(dots[0]) + f64::from(dots[1]) / 254.0;
        value.estimate += self.by * scale * query.fine_step * dot;
        let error = query.norm * residual + (self.norm + residual) * query.fine_error;
        value.certain += self.by * (error + self.norm * query.norm * self.slack);
    }
}
