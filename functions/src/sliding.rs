//! Sums, averages, variances and regressions of floating-point numbers in windows whose first row moves.
//!
//! The engine subtracts what leaves such a window: the error of a large value stays behind in all rows that
//! follow, and so do NaN and the infinities. Here each row has the aggregate of its own values, made of one
//! state for each of them. Whole numbers and decimals are exact, and stay the engine's.

mod moments;
mod queue;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::correlation::corr_udaf;
use datafusion::functions_aggregate::covariance::{covar_pop_udaf, covar_samp_udaf};
use datafusion::functions_aggregate::regr::{
    regr_avgx_udaf, regr_avgy_udaf, regr_intercept_udaf, regr_r2_udaf, regr_slope_udaf, regr_sxx_udaf,
    regr_sxy_udaf, regr_syy_udaf,
};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature,
};
use datafusion::scalar::ScalarValue;

use self::moments::Moments;
use self::queue::{Queue, Total};
use super::nans;
use crate::error::FunctionError;
use crate::forward::from_engine;

pub(super) fn functions() -> [AggregateUDF; 15] {
    [
        var_samp_udaf(),
        var_pop_udaf(),
        stddev_udaf(),
        stddev_pop_udaf(),
        covar_samp_udaf(),
        covar_pop_udaf(),
        corr_udaf(),
        regr_slope_udaf(),
        regr_intercept_udaf(),
        regr_r2_udaf(),
        regr_avgx_udaf(),
        regr_avgy_udaf(),
        regr_sxx_udaf(),
        regr_syy_udaf(),
        regr_sxy_udaf(),
    ]
    .map(|engine| AggregateUDF::from(Statistic { engine }))
}

pub(super) fn sum() -> Box<dyn Accumulator> {
    Box::new(Sliding { values: Queue::default(), of: Sum::single, result: Sum::sum })
}

pub(super) fn average() -> Box<dyn Accumulator> {
    Box::new(Sliding { values: Queue::default(), of: Sum::single, result: Sum::average })
}

/// A function of variances or regressions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Statistic {
    engine: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Statistic {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        state_fields(args: StateFieldsArgs) -> DfResult<Vec<FieldRef>>;
        groups_accumulator_supported(args: AccumulatorArgs) -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match Moments::result(self.name()).filter(|_| self.name().starts_with("regr_")) {
            Some(result) => Ok(Box::new(Regression { moments: Moments::default(), result })),
            None => self.engine.accumulator(args).map(nans::accumulator),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match Moments::result(self.name()) {
            Some(result) if !args.is_distinct => {
                Ok(Box::new(Sliding { values: Queue::default(), of: Moments::single, result }))
            }
            _ => self.engine.create_sliding_accumulator(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.engine.create_groups_accumulator(args).map(nans::groups)
    }
}

/// A regression over all rows. The engine's has no r2 of equal values, and NaN for a mean that is infinite.
#[derive(Debug)]
struct Regression {
    moments: Moments,
    result: fn(&Moments) -> Option<f64>,
}

impl Accumulator for Regression {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        each(values, |y, x| self.moments = self.moments.and(Moments::single(y, x)))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let parts =
            Moments::of_states(states).ok_or_else(|| FunctionError::internal("state of a regression"))?;
        self.moments = parts.into_iter().fold(self.moments, Total::and);
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(nans::canonical_value(ScalarValue::Float64((self.result)(&self.moments))))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(self.moments.state())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// An aggregate of the values in a window; rows with NULL in an argument do not count.
#[derive(Debug)]
struct Sliding<T> {
    values: Queue<T>,
    /// That of one row, by its first argument and its second, which is 0 if there is none.
    of: fn(f64, f64) -> T,
    result: fn(&T) -> Option<f64>,
}

impl<T: Total> Accumulator for Sliding<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        each(values, |first, second| self.values.push((self.of)(first, second)))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        each(values, |_, _| self.values.pop())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        Err(FunctionError::internal("a window is not merged").into())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(nans::canonical_value(ScalarValue::Float64((self.result)(&self.values.total()))))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(FunctionError::internal("a window has no state").into())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.bytes()
    }
}

/// The rows that count.
fn each(values: &[ArrayRef], mut take: impl FnMut(f64, f64)) -> DfResult<()> {
    let column = |values: &ArrayRef| values.as_primitive_opt::<Float64Type>().cloned();
    let columns: Option<Vec<_>> = values.iter().map(column).collect();
    match columns.as_deref() {
        Some([only]) => only.iter().flatten().for_each(|first| take(first, 0.0)),
        Some([first, second]) => {
            first.iter().zip(second).filter_map(|(a, b)| a.zip(b)).for_each(|(a, b)| take(a, b));
        }
        _ => return Err(FunctionError::internal("type of a number in a window").into()),
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    sum: f64,
}

impl Total for Sum {
    fn and(self, later: Self) -> Self {
        Self { count: self.count + later.count, sum: self.sum + later.sum }
    }
}

impl Sum {
    fn single(value: f64, _: f64) -> Self {
        Self { count: 1, sum: value }
    }

    fn sum(&self) -> Option<f64> {
        (self.count > 0).then_some(self.sum)
    }

    fn average(&self) -> Option<f64> {
        self.sum().map(|sum| sum / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Float64Array};
    use gstore_core::{MIX_STEP, mix};

    use super::*;

    /// Numbers of one seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_add(MIX_STEP);
            (mix(self.0) % end as u64) as usize
        }

        /// A value of a column: small numbers, with a few that spoil a sum for all that follow.
        fn value(&mut self) -> Option<f64> {
            match self.below(40) {
                0 | 1 => None,
                2 => Some(f64::NAN),
                3 => Some(f64::INFINITY),
                4 => Some(f64::NEG_INFINITY),
                5 => Some(1e20),
                6..=20 => Some(0.1),
                other => Some(other as f64 / 7.0 - 3.0),
            }
        }
    }

    fn moving(name: &str) -> Box<dyn Accumulator> {
        match name {
            "sum" => sum(),
            "avg" => average(),
            name => {
                let result = Moments::result(name).unwrap();
                Box::new(Sliding { values: Queue::default(), of: Moments::single, result })
            }
        }
    }

    /// The same from all pairs of a window, with how far it may be off.
    fn recomputed(name: &str, pairs: &[(f64, f64)]) -> (Option<f64>, f64) {
        let count = pairs.len() as f64;
        let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(y, x)| of(*y, *x)).sum::<f64>();
        let [mean_y, mean_x] = [sum(&|y, _| y) / count, sum(&|_, x| x) / count];
        let syy = sum(&|y, _| (y - mean_y) * (y - mean_y));
        let sxy = sum(&|y, x| (y - mean_y) * (x - mean_x));
        let size = sum(&|y, x| y.abs() + x.abs());
        let (value, least) = match name {
            "sum" => (sum(&|y, _| y), 1),
            "avg" => (mean_y, 1),
            "var_pop" => (syy / count, 1),
            "stddev" => ((syy / (count - 1.0)).sqrt(), 2),
            "covar_pop" => (sxy / count, 1),
            name => panic!("{name}"),
        };
        let linear = matches!(name, "sum" | "avg" | "stddev");
        let slack = 1e-12 * if linear { size } else { size * size };
        // One value is its own mean, whatever it is, as in DuckDB.
        let alone = pairs.len() == 1 && matches!(name, "var_pop" | "covar_pop");
        let value = if alone { 0.0 } else { value };
        ((pairs.len() >= least).then_some(value), slack)
    }

    #[test]
    fn each_row_is_the_aggregate_of_its_own_values() {
        let mut random = Random(7);
        for name in ["sum", "avg", "var_pop", "stddev", "covar_pop"] {
            let two = name == "covar_pop";
            for width in [1, 2, 3, 17] {
                let rows: Vec<[Option<f64>; 2]> = (0..400)
                    .map(|_| [random.value(), if two { random.value() } else { Some(0.0) }])
                    .collect();
                let columns: Vec<ArrayRef> = (0..if two { 2 } else { 1 })
                    .map(|i| Arc::new(rows.iter().map(|row| row[i]).collect::<Float64Array>()) as ArrayRef)
                    .collect();
                let part = |start: usize, end: usize| -> Vec<ArrayRef> {
                    columns.iter().map(|column| column.slice(start, end - start)).collect()
                };
                let mut moving = moving(name);
                let (mut start, mut end) = (0, 0);
                while end < rows.len() {
                    // Windows grow, shrink, and are empty at times.
                    let next = (end + random.below(3)).min(rows.len()).max(end);
                    moving.update_batch(&part(end, next)).unwrap();
                    end = next;
                    let from = (start + random.below(3)).max(end.saturating_sub(width)).min(end);
                    moving.retract_batch(&part(start, from)).unwrap();
                    start = from;
                    let pairs: Vec<(f64, f64)> =
                        rows[start..end].iter().filter_map(|row| row[0].zip(row[1])).collect();
                    let (wanted, slack) = recomputed(name, &pairs);
                    let found = moving.evaluate().unwrap();
                    let ScalarValue::Float64(found) = found else { panic!("{name}: {found}") };
                    let same = match (found, wanted) {
                        (Some(found), Some(wanted)) => {
                            found == wanted
                                || found.is_nan() && wanted.is_nan()
                                || (found - wanted).abs() <= slack
                        }
                        (found, wanted) => found == wanted,
                    };
                    assert!(same, "{name} of {pairs:?}: {found:?} instead of {wanted:?}");
                    assert!(!found.is_some_and(|found| found.is_nan() && found.is_sign_negative()));
                }
            }
        }
    }

    #[test]
    fn values_that_left_a_window_do_not_count_in_it() {
        let column = |values: &[f64]| vec![Arc::new(Float64Array::from(values.to_vec())) as ArrayRef];
        let after = |name: &str, gone: &[f64], left: &[f64]| {
            let mut moving = moving(name);
            moving.update_batch(&column(gone)).unwrap();
            moving.update_batch(&column(left)).unwrap();
            moving.retract_batch(&column(gone)).unwrap();
            moving.evaluate().unwrap()
        };
        let is = |value: f64| ScalarValue::Float64(Some(value));
        assert_eq!(after("sum", &[1e20], &[3.0, 4.0]), is(7.0));
        assert_eq!(after("avg", &[f64::NAN, f64::INFINITY], &[1.0, 2.0]), is(1.5));
        assert_eq!(after("stddev", &[1e6, 0.3], &[0.1; 5]), is(0.0));
        assert_eq!(after("stddev_pop", &[f64::INFINITY], &[0.1; 7]), is(0.0));
        for name in ["sum", "avg", "var", "var_pop", "stddev", "corr", "regr_avgx"] {
            assert_eq!(after(name, &[1.0, f64::NAN], &[]), ScalarValue::Float64(None), "{name}");
        }
    }
}
