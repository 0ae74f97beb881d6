//! Aggregate functions of the shape of a distribution: `skewness`, `kurtosis`, `kurtosis_pop`, `sem` and
//! `mad`; and `product` and `geomean`.
//!
//! The values of a group are kept and sorted before anything is computed of them, so that no result depends
//! on the order of rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, Float64Array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::counts::one_list;
use super::nans;
use crate::error::FunctionError;

pub(super) fn functions() -> [AggregateUDF; 7] {
    use ShapeResult as R;
    [R::Skewness, R::Kurtosis, R::KurtosisPop, R::StandardError, R::Deviation, R::Product, R::GeometricMean]
        .map(|gives| {
            let alias = (gives == R::GeometricMean).then_some("geometric_mean");
            let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
            AggregateUDF::from(ShapeFunction { gives, signature }).with_aliases(alias)
        })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ShapeResult {
    /// Of a sample of at least three values.
    Skewness,
    /// In excess of that of a normal distribution; of a sample of at least four values.
    Kurtosis,
    /// The same where the values are all that there are.
    KurtosisPop,
    /// Of the mean: the standard deviation of the values, divided by the root of their number.
    StandardError,
    /// The median of the absolute deviations from the median.
    Deviation,
    Product,
    GeometricMean,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ShapeFunction {
    gives: ShapeResult,
    signature: Signature,
}

impl AggregateUDFImpl for ShapeFunction {
    fn name(&self) -> &str {
        match self.gives {
            ShapeResult::Skewness => "skewness",
            ShapeResult::Kurtosis => "kurtosis",
            ShapeResult::KurtosisPop => "kurtosis_pop",
            ShapeResult::StandardError => "sem",
            ShapeResult::Deviation => "mad",
            ShapeResult::Product => "product",
            ShapeResult::GeometricMean => "geomean",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let values = KeptValues { gives: self.gives, is_distinct: args.is_distinct, values: Vec::new() };
        Ok(nans::accumulator(Box::new(values)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let list = DataType::new_list(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), list, true))])
    }
}

/// The values of a group that are not null.
#[derive(Debug)]
struct KeptValues {
    gives: ShapeResult,
    is_distinct: bool,
    values: Vec<f64>,
}

impl KeptValues {
    fn keep(&mut self, values: &ArrayRef) -> DfResult<()> {
        let values = values.as_primitive_opt::<Float64Type>();
        let values = values.ok_or_else(|| FunctionError::internal("type of the values of a group"))?;
        self.values.extend(values.iter().flatten());
        Ok(())
    }
}

impl Accumulator for KeptValues {
    fn update_batch(&mut self, batch: &[ArrayRef]) -> DfResult<()> {
        batch.first().map_or(Ok(()), |values| self.keep(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let lists = states.first().and_then(|state| state.as_list_opt::<i32>());
        let lists = lists.ok_or_else(|| FunctionError::internal("the values of a group"))?;
        (0..lists.len()).filter(|row| lists.is_valid(*row)).try_for_each(|row| self.keep(&lists.value(row)))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.values.sort_by(f64::total_cmp);
        if self.is_distinct {
            self.values.dedup();
        }
        Ok(ScalarValue::Float64(self.gives.of(&self.values)))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values = Float64Array::from(std::mem::take(&mut self.values));
        Ok(vec![one_list(Arc::new(values))])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }
}

impl ShapeResult {
    /// The result for sorted values.
    fn of(self, values: &[f64]) -> Option<f64> {
        let least = match self {
            Self::Skewness => 3,
            Self::Kurtosis => 4,
            Self::KurtosisPop => 2,
            _ => 1,
        };
        if values.len() < least {
            return None;
        }
        let (first, last) = (*values.first()?, *values.last()?);
        let n = values.len() as f64;
        // From the first on, so that equal values have exactly theirs: the sum of many is rounded.
        let mean = first + values.iter().map(|x| x - first).sum::<f64>() / n;
        // A central moment.
        let moment = |power: i32| values.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
        // Of values that are all the same there is neither of the first three, nor of those whose squares are
        // too small for a number.
        let spread = || Some(moment(2)).filter(|spread| first != last && *spread != 0.0);
        Some(match self {
            Self::Skewness => (n * (n - 1.0)).sqrt() / (n - 2.0) * moment(3) / spread()?.powf(1.5),
            Self::Kurtosis => {
                let normed = moment(4) / spread()?.powi(2);
                (n - 1.0) * ((n + 1.0) * normed - 3.0 * (n - 1.0)) / ((n - 2.0) * (n - 3.0))
            }
            Self::KurtosisPop => moment(4) / spread()?.powi(2) - 3.0,
            Self::StandardError => (moment(2) / n).sqrt(),
            Self::Deviation => {
                let middle = median(values)?;
                let mut away: Vec<f64> = values.iter().map(|x| (x - middle).abs()).collect();
                away.sort_by(f64::total_cmp);
                median(&away)?
            }
            Self::Product => values.iter().product(),
            Self::GeometricMean => (values.iter().map(|x| x.ln()).sum::<f64>() / n).exp(),
        })
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len().is_multiple_of(2) {
        true => Some(f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper)),
        false => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_duckdb() {
        use ShapeResult as R;
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        for (gives, expected) in [
            (R::Skewness, 1.697_056_274_847_714_3),
            (R::Kurtosis, 3.152),
            (R::KurtosisPop, -0.212),
            (R::StandardError, std::f64::consts::SQRT_2),
            (R::Deviation, 1.0),
            (R::Product, 240.0),
            (R::GeometricMean, 2.992_555_739_477_689_6),
        ] {
            let found = gives.of(&values).unwrap();
            assert!((found - expected).abs() < 1e-12, "{gives:?}: {found}");
            assert_eq!(gives.of(&[]), None);
        }
        for gives in [R::Skewness, R::Kurtosis, R::KurtosisPop] {
            assert_eq!(gives.of(&[1.0; 4]), None, "{gives:?}");
            assert_eq!(gives.of(&[1.0]), None, "{gives:?}");
        }
        // The sum of so many tenths, divided by their number, is none.
        for count in 1..100 {
            let values = vec![0.1; count];
            for gives in [R::Skewness, R::Kurtosis, R::KurtosisPop] {
                assert_eq!(gives.of(&values), None, "{gives:?} of {count}");
            }
            assert_eq!(R::StandardError.of(&values), Some(0.0), "{count}");
        }
        assert_eq!(R::KurtosisPop.of(&[-0.0, 0.0]), None);
        assert_eq!(R::StandardError.of(&[2.0]), Some(0.0));
        assert_eq!(R::Deviation.of(&[1.0, 1.0, 4.0, 6.0]), Some(1.5));
    }

    #[test]
    fn parts_are_merged_whatever_their_order() {
        let kept = |values: Vec<Option<f64>>| {
            let mut kept = KeptValues { gives: ShapeResult::Product, is_distinct: true, values: Vec::new() };
            kept.update_batch(&[Arc::new(Float64Array::from(values)) as ArrayRef]).unwrap();
            kept
        };
        let mut one = kept(vec![Some(3.0), None, Some(2.0)]);
        let state = kept(vec![Some(2.0), Some(5.0)]).state().unwrap();
        let state: Vec<ArrayRef> = state.iter().map(|value| value.to_array().unwrap()).collect();
        one.merge_batch(&state).unwrap();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::Float64(Some(30.0)));
    }
}
