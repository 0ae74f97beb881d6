//! The values of the best rows, the best first: `max_by(x, y, 3)`.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt64Array, new_empty_array};
use arrow_schema::{DataType, SortOptions};
use arrow_select::concat::concat;
use arrow_select::take::take;
use datafusion::arrow::array::make_comparator;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;

use super::rank;
use crate::counts::one_list;
use crate::error::FunctionError;

/// Most rows of a call.
const MOST: i64 = 1_000_000;

/// How many rows a call asks for.
pub(super) fn count(args: &AccumulatorArgs) -> DfResult<usize> {
    let given = args.exprs.get(2).and_then(|given| given.downcast_ref::<Literal>());
    let whole = given.map(Literal::value).filter(|value| value.data_type().is_integer());
    let count = match whole.and_then(|value| value.cast_to(&DataType::Int64).ok()) {
        Some(ScalarValue::Int64(Some(count))) if (1..=MOST).contains(&count) => usize::try_from(count).ok(),
        _ => None,
    };
    count.ok_or_else(|| {
        let why = format!("the n of max_by(x, y, n) and max(x, n) is a number from 1 to {MOST}");
        FunctionError::invalid(why).hint("the larger of two values is greatest(a, b)").into()
    })
}

/// The best rows so far. Rows in which either is null do not count; of rows with the same key, those of the
/// smallest values are taken, so that the order of rows does not matter.
#[derive(Debug)]
pub(super) struct BestRows {
    largest: bool,
    count: usize,
    values: ArrayRef,
    keys: ArrayRef,
}

impl BestRows {
    pub(super) fn new(largest: bool, count: usize, value: &DataType, key: &DataType) -> Self {
        Self { largest, count, values: new_empty_array(value), keys: new_empty_array(key) }
    }

    fn add(&mut self, values: &ArrayRef, keys: &ArrayRef) -> DfResult<()> {
        if keys.is_empty() || *keys.data_type() == DataType::Null {
            return Ok(());
        }
        let values = concat(&[&*self.values, &**values])?;
        let keys = concat(&[&*self.keys, &**keys])?;
        let options = SortOptions::default();
        let by_key = make_comparator(keys.as_ref(), keys.as_ref(), options)?;
        // Values of some nested types have no order.
        let by_value = make_comparator(values.as_ref(), values.as_ref(), options).ok();
        let order = |a: &usize, b: &usize| {
            let by_value = || by_value.as_ref().map_or(Ordering::Equal, |order| order(*a, *b));
            rank(self.largest, by_key(*b, *a)).then_with(by_value).then(a.cmp(b))
        };
        let (no_key, no_value) = (keys.logical_nulls(), values.logical_nulls());
        let null =
            |row: usize| [&no_key, &no_value].iter().any(|n| n.as_ref().is_some_and(|n| n.is_null(row)));
        let mut best: Vec<usize> = (0..keys.len()).filter(|row| !null(*row)).collect();
        if best.len() > self.count {
            best.select_nth_unstable_by(self.count, order);
            best.truncate(self.count);
        }
        best.sort_unstable_by(order);
        let best = UInt64Array::from_iter_values(best.into_iter().map(|row| row as u64));
        (self.values, self.keys) = (take(&values, &best, None)?, take(&keys, &best, None)?);
        Ok(())
    }
}

impl Accumulator for BestRows {
    fn update_batch(&mut self, batch: &[ArrayRef]) -> DfResult<()> {
        let [values, keys, ..] = batch else { return Err(FunctionError::internal("value and key").into()) };
        self.add(values, keys)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let lists = |i: usize| states.get(i).and_then(|state| state.as_list_opt::<i32>());
        let (Some(values), Some(keys)) = (lists(0), lists(1)) else {
            return Err(FunctionError::internal("values and keys").into());
        };
        (0..values.len())
            .filter(|row| values.is_valid(*row) && keys.is_valid(*row))
            .try_for_each(|row| self.add(&values.value(row), &keys.value(row)))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        match self.values.is_empty() {
            true => ScalarValue::try_from(&DataType::new_list(self.values.data_type().clone(), true)),
            false => Ok(one_list(ArrayRef::clone(&self.values))),
        }
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![one_list(ArrayRef::clone(&self.values)), one_list(ArrayRef::clone(&self.keys))])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.get_array_memory_size() + self.keys.get_array_memory_size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn parts_are_merged_whatever_their_order() {
        let batch = |texts: &[&str], keys: Vec<Option<i64>>| {
            vec![
                Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
                Arc::new(Int64Array::from(keys)) as ArrayRef,
            ]
        };
        let rows = |largest| BestRows::new(largest, 3, &DataType::Utf8, &DataType::Int64);
        let (mut one, mut other) = (rows(true), rows(true));
        one.update_batch(&batch(&["b", "z", "c"], vec![Some(2), None, Some(1)])).unwrap();
        other.update_batch(&batch(&["d", "a", "e", "f"], vec![Some(3), Some(2), Some(0), Some(1)])).unwrap();
        let state: Vec<ArrayRef> =
            other.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        one.merge_batch(&state).unwrap();
        let ScalarValue::List(list) = one.evaluate().unwrap() else { panic!("no list") };
        let found: Vec<Option<String>> =
            list.value(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
        assert_eq!(found, ["d", "a", "b"].map(|text| Some(text.to_owned())));
        assert!(rows(false).evaluate().unwrap().is_null());
    }
}
