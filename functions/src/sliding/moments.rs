//! Variances, covariances, correlations and regressions of parts that can be put together.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt64Type};
use datafusion::scalar::ScalarValue;

use super::queue::Total;

/// How many pairs there are, the means of the first and of the second values, the sums of the squares of what
/// is left without the mean, and that of the products.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    count: u64,
    mean: [f64; 2],
    squares: [f64; 2],
    products: f64,
}

// Chan, Golub and LeVeque 1979: the sums of two parts, and what lies between their means. The mean moves from
// the one towards the other, so that equal values have exactly theirs, and no variance.
impl Total for Moments {
    fn and(self, later: Self) -> Self {
        if self.count == 0 {
            return later;
        }
        if later.count == 0 {
            return self;
        }
        let count = self.count + later.count;
        let share = later.count as f64 / count as f64;
        let weight = self.count as f64 * share;
        let between = [0, 1].map(|i| later.mean[i] - self.mean[i]);
        // From an infinite mean nothing has a distance.
        let apart = between.map(|apart| if apart.is_finite() { apart } else { f64::NAN });
        let mean = [0, 1].map(|i| match between[i].is_finite() {
            true => self.mean[i] + apart[i] * share,
            false => self.mean[i] * (1.0 - share) + later.mean[i] * share,
        });
        Self {
            count,
            mean,
            squares: [0, 1].map(|i| self.squares[i] + later.squares[i] + apart[i] * apart[i] * weight),
            products: self.products + later.products + apart[0] * apart[1] * weight,
        }
    }
}

impl Moments {
    pub(super) fn single(first: f64, second: f64) -> Self {
        Self { count: 1, mean: [first, second], ..Self::default() }
    }

    /// The columns of the state that the engine's regressions have, whose first variable is x.
    pub(super) fn state(&self) -> Vec<ScalarValue> {
        let [[y, x], [yy, xx]] = [self.mean, self.squares];
        let numbers = [x, y, xx, yy, self.products].map(|number| ScalarValue::Float64(Some(number)));
        std::iter::once(ScalarValue::UInt64(Some(self.count))).chain(numbers).collect()
    }

    /// Those of which columns of states are; none of other columns.
    pub(super) fn of_states(states: &[ArrayRef]) -> Option<Vec<Self>> {
        let [counts, numbers @ ..] = states else { return None };
        let counts = counts.as_primitive_opt::<UInt64Type>()?;
        let numbers = numbers.iter().map(|column| column.as_primitive_opt::<Float64Type>());
        let [x, y, xx, yy, xy]: [_; 5] = numbers.collect::<Option<Vec<_>>>()?.try_into().ok()?;
        let row = |i: usize| Self {
            count: counts.value(i),
            mean: [y.value(i), x.value(i)],
            squares: [yy.value(i), xx.value(i)],
            products: xy.value(i),
        };
        Some((0..counts.len()).map(row).collect())
    }

    /// What a function of this name makes of them.
    pub(super) fn result(name: &str) -> Option<fn(&Self) -> Option<f64>> {
        let result: fn(&Self) -> Option<f64> = match name {
            "var" => |m| m.sample(m.squares[0]),
            "var_pop" => |m| m.population(m.squares[0]),
            "stddev" => |m| m.sample(m.squares[0]).map(f64::sqrt),
            "stddev_pop" => |m| m.population(m.squares[0]).map(f64::sqrt),
            "covar_samp" => |m| m.sample(m.products),
            "covar_pop" => |m| m.population(m.products),
            "corr" => Self::corr,
            // Of regressions the first argument is y, and the second x.
            "regr_slope" => Self::slope,
            "regr_intercept" => |m| m.slope().map(|slope| m.mean[0] - slope * m.mean[1]),
            "regr_r2" => Self::r2,
            "regr_avgx" => |m| m.some(m.mean[1]),
            "regr_avgy" => |m| m.some(m.mean[0]),
            "regr_sxx" => |m| m.some(m.squares[1]),
            "regr_syy" => |m| m.some(m.squares[0]),
            "regr_sxy" => |m| m.some(m.products),
            _ => return None,
        };
        Some(result)
    }

    /// NULL and NaN where the engine has them.
    fn corr(&self) -> Option<f64> {
        match self.squares.map(f64::is_nan) {
            [true, true] => Some(f64::NAN),
            [false, false] if self.count > 1 && !self.squares.contains(&0.0) => {
                Some(self.products / self.squares[0].sqrt() / self.squares[1].sqrt())
            }
            _ => None,
        }
    }

    fn slope(&self) -> Option<f64> {
        (self.count > 1 && self.squares[1] != 0.0).then(|| self.products / self.squares[1])
    }

    /// A line through equal values explains them, as in the SQL standard.
    fn r2(&self) -> Option<f64> {
        let slope = self.slope()?;
        let is_level = self.squares[0] == 0.0 && !slope.is_nan();
        Some(if is_level { 1.0 } else { slope * (self.products / self.squares[0]) })
    }

    fn some(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }

    fn population(&self, sum: f64) -> Option<f64> {
        self.some(sum).map(|sum| sum / self.count as f64)
    }

    fn sample(&self, sum: f64) -> Option<f64> {
        (self.count > 1).then(|| sum / (self.count - 1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_put_together_give_the_regressions_of_all_pairs() {
        let mut all = Moments::default();
        // y = 2 x + 1 for the first four, and one aside.
        for (y, x) in [(3.0, 1.0), (5.0, 2.0), (7.0, 3.0), (9.0, 4.0), (1.0, 5.0)] {
            all = all.and(Moments::single(y, x));
        }
        for (name, wanted) in [
            ("regr_avgx", 3.0),
            ("regr_avgy", 5.0),
            ("regr_sxx", 10.0),
            ("regr_syy", 40.0),
            ("regr_sxy", 0.0),
            ("regr_slope", 0.0),
            ("regr_intercept", 5.0),
            ("regr_r2", 0.0),
            ("corr", 0.0),
            ("covar_samp", 0.0),
            ("var", 10.0),
        ] {
            let found = Moments::result(name).unwrap()(&all).unwrap();
            assert!((found - wanted).abs() < 1e-12, "{name}: {found}");
        }
    }

    #[test]
    fn a_line_through_equal_values_explains_them_and_an_infinite_mean_stays_one() {
        let of = |name: &str, pairs: &[(f64, f64)]| {
            let all = pairs.iter().map(|(y, x)| Moments::single(*y, *x)).fold(Moments::default(), Total::and);
            Moments::result(name).unwrap()(&all)
        };
        assert_eq!(of("regr_r2", &[(1.0, 1.0), (1.0, 2.0)]), Some(1.0));
        assert_eq!(of("regr_r2", &[(1.0, 2.0), (2.0, 2.0)]), None);
        assert!(of("regr_r2", &[(1.0, 2.0), (1.0, f64::INFINITY)]).is_some_and(f64::is_nan));
        let infinite = [(1.0, 1.0), (2.0, f64::INFINITY), (4.0, f64::INFINITY), (5.0, 2.0)];
        assert_eq!(of("regr_avgx", &infinite), Some(f64::INFINITY));
        assert_eq!(of("regr_avgy", &infinite), Some(3.0));
        assert!(of("regr_sxx", &infinite).is_some_and(f64::is_nan));
        let both = [(1.0, f64::INFINITY), (2.0, f64::NEG_INFINITY)];
        assert!(of("regr_avgx", &both).is_some_and(f64::is_nan));
    }

    #[test]
    fn states_are_moments_again() {
        let some = Moments::single(3.0, 1.0).and(Moments::single(5.0, 2.5));
        let columns: Vec<ArrayRef> = some.state().iter().map(|value| value.to_array().unwrap()).collect();
        let found = Moments::of_states(&columns).unwrap();
        let found = found.first().unwrap();
        for name in ["regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy", "regr_intercept"] {
            let result = Moments::result(name).unwrap();
            assert_eq!(result(found), result(&some), "{name}");
        }
        assert!(Moments::of_states(&columns[..3]).is_none());
    }
}
