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

use super::{known_rows, rank};
use crate::counts::one_list;
use crate::error::FunctionError;

/// Most rows of a call.
const MOST: i64 = 1_000_000;

/// Fewest rows that are put in order together.
const TOGETHER: usize = 16;
/// Most batches whose rows wait to be put in order: each takes some hundred bytes besides these.
const MOST_WAITING: usize = 256;

fn count(args: &AccumulatorArgs) -> DfResult<usize> {
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
    /// Whether rows of the same value and key count once.
    is_distinct: bool,
    /// The best when rows were last put in order, the best first.
    values: ArrayRef,
    keys: ArrayRef,
    /// Values and keys of the rows since then.
    later: Vec<[ArrayRef; 2]>,
    later_rows: usize,
    later_bytes: usize,
}

impl BestRows {
    pub(super) fn new(
        args: &AccumulatorArgs,
        largest: bool,
        value: &DataType,
        key: &DataType,
    ) -> DfResult<Self> {
        Ok(Self::of(largest, count(args)?, args.is_distinct, [value, key]))
    }

    fn of(largest: bool, count: usize, is_distinct: bool, types: [&DataType; 2]) -> Self {
        let [values, keys] = types.map(new_empty_array);
        Self { largest, count, is_distinct, values, keys, later: Vec::new(), later_rows: 0, later_bytes: 0 }
    }

    fn add(&mut self, values: &ArrayRef, keys: &ArrayRef) -> DfResult<()> {
        if keys.is_empty() || *keys.data_type() == DataType::Null {
            return Ok(());
        }
        self.later_rows += keys.len();
        // As many again as the best, so that these are not gone through for each of many small batches.
        if self.later_rows >= self.keys.len().max(TOGETHER) || self.later.len() == MOST_WAITING {
            self.later.push([ArrayRef::clone(values), ArrayRef::clone(keys)]);
            return self.settle();
        }
        let part = [copied(values)?, copied(keys)?];
        self.later_bytes += part.iter().map(|array| array.get_array_memory_size()).sum::<usize>();
        self.later.push(part);
        Ok(())
    }

    /// Puts the rows since the last time in order, among the best before.
    fn settle(&mut self) -> DfResult<()> {
        if self.later.is_empty() {
            return Ok(());
        }
        let later = std::mem::take(&mut self.later);
        (self.later_rows, self.later_bytes) = (0, 0);
        let values = joined(&self.values, later.iter().map(|[values, _]| values))?;
        let keys = joined(&self.keys, later.iter().map(|[_, keys]| keys))?;
        let options = SortOptions::default();
        let by_key = make_comparator(keys.as_ref(), keys.as_ref(), options)?;
        let by_value = make_comparator(values.as_ref(), values.as_ref(), options);
        // Values of some nested types have no order.
        let by_value = if self.is_distinct { Some(by_value?) } else { by_value.ok() };
        let compared = |a: &usize, b: &usize| {
            let by_value = || by_value.as_ref().map_or(Ordering::Equal, |order| order(*a, *b));
            rank(self.largest, by_key(*b, *a)).then_with(by_value)
        };
        let order = |a: &usize, b: &usize| compared(a, b).then(a.cmp(b));
        let mut best: Vec<usize> = known_rows(&values, &keys).collect();
        if self.is_distinct {
            best.sort_unstable_by(order);
            best.dedup_by(|a, b| compared(a, b).is_eq());
        }
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

/// The same rows by themselves: a part of a batch would keep the whole of it.
fn copied(array: &ArrayRef) -> DfResult<ArrayRef> {
    let rows = UInt64Array::from_iter_values(0..array.len() as u64);
    Ok(take(array, &rows, None)?)
}

fn joined<'a>(best: &'a ArrayRef, later: impl Iterator<Item = &'a ArrayRef>) -> DfResult<ArrayRef> {
    let parts: Vec<&dyn Array> = std::iter::once(best).chain(later).map(|part| &**part).collect();
    Ok(concat(&parts)?)
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
        self.settle()?;
        match self.values.is_empty() {
            true => ScalarValue::try_from(&DataType::new_list(self.values.data_type().clone(), true)),
            false => Ok(one_list(ArrayRef::clone(&self.values))),
        }
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.settle()?;
        Ok(vec![one_list(ArrayRef::clone(&self.values)), one_list(ArrayRef::clone(&self.keys))])
    }

    fn size(&self) -> usize {
        let best = self.values.get_array_memory_size() + self.keys.get_array_memory_size();
        size_of::<Self>() + best + self.later_bytes + self.later.capacity() * size_of::<[ArrayRef; 2]>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
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
        let rows = |largest| BestRows::of(largest, 3, false, [&DataType::Utf8, &DataType::Int64]);
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

    #[test]
    fn rows_of_many_small_batches_are_put_in_order_together() {
        let best = |is_distinct| {
            let mut rows = BestRows::of(true, 3, is_distinct, [&DataType::Int64; 2]);
            for number in 0..5000i64 {
                let column: ArrayRef = Arc::new(Int64Array::from(vec![number * 7 % 5000 / 2]));
                rows.update_batch(&[ArrayRef::clone(&column), column]).unwrap();
                assert!(rows.later_rows < TOGETHER);
            }
            let ScalarValue::List(list) = rows.evaluate().unwrap() else { panic!("no list") };
            list.value(0).as_primitive::<Int64Type>().values().to_vec()
        };
        assert_eq!(best(false), [2499, 2499, 2498]);
        assert_eq!(best(true), [2499, 2498, 2497]);
    }
}
