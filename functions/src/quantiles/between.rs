//! Quantiles between two values, exact in doubles: the engine, which gathers the values, takes six digits of
//! the way from the one to the other.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow_schema::{DataType, Schema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, ColumnarValue, EmitTo, GroupsAccumulator};
use datafusion::scalar::ScalarValue;

use crate::error::FunctionError;
use crate::forward::{accumulate_in, group_in};

/// The share of a call, counted from the smallest value. The engine has checked it.
pub(super) fn share(args: &AccumulatorArgs) -> DfResult<f64> {
    let given = args.exprs.get(1).ok_or_else(|| FunctionError::internal("share of a quantile"))?;
    let share = match given.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty())))? {
        ColumnarValue::Scalar(share) => share.cast_to(&DataType::Float64)?,
        ColumnarValue::Array(_) => ScalarValue::Float64(None),
    };
    let ScalarValue::Float64(Some(share)) = share else {
        return Err(FunctionError::internal("share of a quantile").into());
    };
    let descending = args.order_bys.first().is_some_and(|order| order.options.descending);
    Ok(if descending { 1.0 - share } else { share })
}

/// The quantile of the values that the engine has gathered.
#[derive(Debug)]
pub(super) struct QuantileAccumulator {
    pub(super) values: Box<dyn Accumulator>,
    pub(super) share: f64,
    pub(super) is_distinct: bool,
}

impl Accumulator for QuantileAccumulator {
    accumulate_in!(values, |self, values| values);

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let states = self.values.state()?;
        let [ScalarValue::List(list)] = states.as_slice() else {
            return Err(FunctionError::internal("values of a quantile").into());
        };
        let found = quantile(&list.value(0), self.share)?;
        // Of values that are not distinct the engine gives its own away, and a window asks again.
        if !self.is_distinct {
            let list: ArrayRef = Arc::clone(list) as ArrayRef;
            self.values.merge_batch(&[list])?;
        }
        ScalarValue::Float64(found).cast_to(&list.value_type())
    }
}

/// The same for each group.
pub(super) struct QuantileGroups {
    pub(super) values: Box<dyn GroupsAccumulator>,
    pub(super) share: f64,
}

impl GroupsAccumulator for QuantileGroups {
    group_in!(values, |values| values);

    fn evaluate(&mut self, emit: EmitTo) -> DfResult<ArrayRef> {
        let states = self.values.state(emit)?;
        let Some(lists) = states.first().and_then(|lists| lists.as_list_opt::<i32>()) else {
            return Err(FunctionError::internal("values of a quantile").into());
        };
        let found = lists.iter().map(|list| list.map_or(Ok(None), |list| quantile(&list, self.share)));
        let found: Float64Array = found.collect::<DfResult<_>>()?;
        Ok(arrow_cast::cast(&found, &lists.value_type())?)
    }
}

/// The quantile of floating-point numbers without NULLs.
fn quantile(values: &ArrayRef, share: f64) -> DfResult<Option<f64>> {
    let numbers = arrow_cast::cast(values, &DataType::Float64)?;
    Ok(interpolate(&mut numbers.as_primitive::<Float64Type>().values().to_vec(), share))
}

/// The quantile of numbers: of those that lie on both sides of its place, a point on the line between them.
fn interpolate(numbers: &mut [f64], share: f64) -> Option<f64> {
    let last = numbers.len().checked_sub(1)? as f64;
    let place = share * last;
    let lower = place.floor();
    let (_, low, above) = numbers.select_nth_unstable_by(lower as usize, f64::total_cmp);
    let low = *low;
    let Some(high) = above.iter().copied().min_by(f64::total_cmp).filter(|_| place > lower) else {
        return Some(low);
    };
    // The product with all its digits, less what is whole.
    let weight = share.mul_add(last, -lower).clamp(0.0, 1.0);
    let gap = high - low;
    Some(match gap.is_finite() {
        true => gap.mul_add(weight, low).min(high),
        false => low * (1.0 - weight) + high * weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_has_all_digits_of_its_share() {
        for (mut numbers, share, expected) in [
            (vec![], 0.5, None),
            (vec![3.0], 0.3, Some(3.0)),
            (vec![1e9, 0.0], 0.333_333_333, Some(333_333_333.0)),
            (vec![120.0, 119.0], 0.7, Some(119.7)),
            (vec![4.0, 1.0, 3.0, 2.0, 5.0], 0.25, Some(2.0)),
            (vec![0.1; 7], 0.37, Some(0.1)),
            (vec![1.0, 2.0], 0.0, Some(1.0)),
            (vec![1.0, 2.0], 1.0, Some(2.0)),
            (vec![f64::MIN, f64::MAX], 0.5, Some(0.0)),
            (vec![f64::NEG_INFINITY, 1.0], 0.5, Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(interpolate(&mut numbers, share), expected, "{share}");
        }
    }
}
