//! Error bounds of approximate products.

use super::super::lanes::chain;
use super::{FilterQueries, HUGE_NORM, PAIR, Rounding};

/// Upper bounds that belong to a row's vector times its factors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowNorms {
    /// L2 norm of the vector that was multiplied.
    pub norm: f32,
    /// L2 norm of what rounding took from it; infinite where nothing can be said.
    pub residual: f32,
    /// What underflow can add to a product.
    pub floor: f32,
}

/// Sums over a row's groups: squares of the norm and of the residual, times those of the factors, and the
/// floor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowSquares {
    kept: f64,
    taken: f64,
    floor: f64,
}

impl RowSquares {
    /// Adds those of `count` values that are multiplied by a factor: upper bounds.
    pub(super) fn add(&mut self, [kept, taken]: [f64; 2], count: usize, factor: f32) {
        let factor = f64::from(factor);
        // False for NaN too.
        if kept < HUGE_NORM * HUGE_NORM && taken < HUGE_NORM * HUGE_NORM && factor.is_finite() {
            self.kept += kept * factor * factor;
            self.taken += taken * factor * factor;
            self.floor += count as f64 * f64::exp2(-124.0) * factor.abs() + f64::exp2(-146.0);
        } else {
            self.taken = f64::INFINITY;
        }
    }

    pub(super) fn norms(&self) -> RowNorms {
        let up = |value: f64| (sum_upper_bound(value) as f32).next_up();
        RowNorms { norm: up(self.kept.sqrt()), residual: up(self.taken.sqrt()), floor: up(self.floor) }
    }
}

/// An upper bound of a sum of `count` squares that was made in single precision: at most 2^16 additions a
/// lane, each off by 2^-24 of the sum or, where squares underflow, by 2^-149, and what is squared was rounded
/// once.
pub(super) fn squares_above(sum: f64, count: usize) -> f64 {
    sum * (1.0 + (count + 4) as f64 * f64::exp2(-24.0)) + count as f64 * f64::exp2(-148.0)
}

/// Bounds of |filter - exact kernel| over some module groups.
#[derive(Debug, Clone)]
pub struct FilterBound {
    /// Per query: upper bounds of its norm.
    norms: Vec<f32>,
    /// Per query: upper bounds of the norm of what rounding took from it.
    residuals: Vec<f32>,
    /// The largest sum of the two.
    largest: f64,
    /// Of the rounding of both sums, relative to the product of the norms.
    relative: f64,
    /// Covers rounding in single precision.
    up: f64,
}

impl FilterQueries {
    /// What bounds the products over `groups` with these queries, where up to `added` of such products
    /// are added up afterwards.
    ///
    /// # Panics
    /// When a group does not exist.
    pub fn bound(&self, groups: &[usize], added: usize) -> FilterBound {
        let queries: Vec<[f64; 2]> = (0..self.len())
            .map(|query| {
                let mut sums = [0.0; 2];
                for group in groups {
                    let of_group = self.squares[group * self.len() + query];
                    sums[0] += of_group[0];
                    sums[1] += of_group[1];
                }
                let [norm, residual] = sums.map(|sum| sum_upper_bound(sum.sqrt()));
                // False for NaN too.
                if norm < HUGE_NORM { [norm, residual] } else { [f64::INFINITY; 2] }
            })
            .collect();
        let most = groups.iter().map(|group| self.groups[*group].len()).max().unwrap_or(0);
        // Additions that a product passes through, of the exact kernel: steps of its lane, the
        // tree, and the padded step.
        let exact = most as f64 / 16.0 + 6.0;
        let filter = match self.filter.rounding() {
            Rounding::Bf16 => chain(most, PAIR) as f64 * f64::exp2(-22.0),
            // The sum and what it is multiplied with.
            Rounding::Bytes => 6.0 * f64::exp2(-24.0),
        };
        // The product with the factor, and the additions over the groups and of what is added up, in both.
        let over_groups = 2.0 * (groups.len() + 1 + added) as f64;
        let rounded = (filter + (exact + over_groups) * f64::exp2(-24.0)).exp_m1();
        let single = |part: usize| queries.iter().map(|q| (q[part] as f32).next_up()).collect();
        FilterBound {
            norms: single(0),
            residuals: single(1),
            largest: queries.iter().map(|q| q[0] + q[1]).fold(0.0, f64::max),
            relative: sum_upper_bound(2.0 * rounded),
            up: 1.0 + (added + 8) as f64 * f64::exp2(-23.0),
        }
    }
}

impl FilterBound {
    /// Adds upper bounds of |[`super::Filter::scaled_dots`] - [`super::super::Kernel::scaled_dots`]| for a
    /// row and every query to `errors`; what is not finite then bounds nothing.
    ///
    /// # Panics
    /// When there is not one for each query.
    #[inline]
    pub(crate) fn add_to(&self, row: RowNorms, errors: &mut [f32]) {
        assert_eq!(errors.len(), self.norms.len());
        let (norm, residual) = (f64::from(row.norm), f64::from(row.residual));
        let sums = self.relative * (norm + residual);
        // Sums that could overflow: nothing can be said.
        let finite = (norm + residual) * self.largest < HUGE_NORM * HUGE_NORM;
        let up = |value: f64| if finite { ((value * self.up) as f32).next_up() } else { f32::INFINITY };
        // What rounding took from the row times the query's norm, and the other way round; what rounds the
        // sums is relative to the products of both.
        let (of_norm, of_residual) = (up(residual + sums), up(norm + sums));
        // And what underflow takes from the products below.
        let floor = up(f64::from(row.floor)) + f32::MIN_POSITIVE;
        for ((error, norm), residual) in errors.iter_mut().zip(&self.norms).zip(&self.residuals) {
            *error += norm * of_norm + residual * of_residual + floor;
        }
    }
}

/// An upper bound of a sum of positive terms, despite rounding in double precision.
pub fn sum_upper_bound(value: f64) -> f64 {
    value * (1.0 + f64::exp2(-30.0))
}
