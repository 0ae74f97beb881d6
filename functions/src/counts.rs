//! `mode(x)`, `histogram(x)` and `entropy(x)`: how often each value occurs.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::f64::consts::LN_2;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, StructArray, UInt64Array};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::scalar::ScalarValue;

use crate::error::FunctionError;
use crate::signatures;

/// Bytes of the distinct values of a group that are counted.
const MOST_BYTES: usize = 64 << 20;

pub(super) fn functions() -> [AggregateUDF; 3] {
    [CountResult::Mode, CountResult::Histogram, CountResult::Entropy].map(AggregateUDF::from)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CountResult {
    /// The value that occurs most; of several, the smallest.
    Mode,
    /// Every value with its count, ascending.
    Histogram,
    /// In bits, of the shares of the values.
    Entropy,
}

fn entry(value: &DataType) -> Fields {
    vec![Field::new("value", value.clone(), true), Field::new("count", DataType::UInt64, false)].into()
}

impl AggregateUDFImpl for CountResult {
    fn name(&self) -> &str {
        match self {
            Self::Mode => "mode",
            Self::Histogram => "histogram",
            Self::Entropy => "entropy",
        }
    }

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let value = types.first().ok_or_else(|| FunctionError::internal("no value"))?;
        Ok(match self {
            Self::Mode => value.clone(),
            Self::Histogram => DataType::new_list(DataType::Struct(entry(value)), true),
            Self::Entropy => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let of = args.expr_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let is_distinct = args.is_distinct;
        Ok(Box::new(ValueCounts { gives: *self, of, is_distinct, counts: HashMap::new(), bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let of = args.input_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let field = |name, element| {
            let list = DataType::new_list(element, true);
            Arc::new(Field::new(format_state_name(args.name, name), list, true))
        };
        Ok(vec![field("values", of), field("counts", DataType::UInt64)])
    }
}

/// Distinct values with their counts; null does not count.
#[derive(Debug)]
struct ValueCounts {
    gives: CountResult,
    /// Type of the values.
    of: DataType,
    /// Whether each value counts once.
    is_distinct: bool,
    counts: HashMap<ScalarValue, u64>,
    bytes: usize,
}

impl ValueCounts {
    fn add(&mut self, mut value: ScalarValue, count: u64) -> DfResult<()> {
        if value.is_null() {
            return Ok(());
        }
        if let Some(known) = self.counts.get_mut(&value) {
            if !self.is_distinct {
                *known = known.saturating_add(count);
            }
            return Ok(());
        }
        // A part of a batch would keep the whole of it.
        value.compact();
        self.bytes = self.bytes.saturating_add(value.size() + size_of::<(u64, u64)>());
        if self.bytes > MOST_BYTES {
            let name = self.gives.name();
            let why = format!("{name}() of distinct values of more than {} MiB", MOST_BYTES >> 20);
            return Err(FunctionError::refused(why).hint("write SELECT x, count(*) .. GROUP BY x").into());
        }
        self.counts.insert(value, count);
        Ok(())
    }

    /// Ascending by value; values without an order stay as they are.
    fn sorted(&self) -> Vec<(&ScalarValue, u64)> {
        let mut sorted: Vec<_> = self.counts.iter().map(|(value, count)| (value, *count)).collect();
        sorted.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        sorted
    }

    fn values(&self, sorted: &[(&ScalarValue, u64)]) -> DfResult<ArrayRef> {
        match sorted.is_empty() {
            true => Ok(arrow_array::new_empty_array(&self.of)),
            false => ScalarValue::iter_to_array(sorted.iter().map(|(value, _)| (*value).clone())),
        }
    }
}

pub(super) fn one_list(elements: ArrayRef) -> ScalarValue {
    SingleRowListArrayBuilder::new(elements).build_list_scalar()
}

/// The entropy of the values, 0 of none.
fn entropy(sorted: &[(&ScalarValue, u64)]) -> f64 {
    let all = sorted.iter().fold(0u64, |all, (_, count)| all.saturating_add(*count));
    let share = |count: u64| count as f64 / all as f64;
    let part = |(_, count): &(&ScalarValue, u64)| {
        // Near 1 a share has lost most digits of what the others have.
        let others = share(all.saturating_sub(*count));
        let log = if others < 0.5 { (-others).ln_1p() / LN_2 } else { share(*count).log2() };
        -share(*count) * log
    };
    match sorted {
        [] | [_] => 0.0,
        several => several.iter().map(part).sum(),
    }
}

fn counts_of(sorted: &[(&ScalarValue, u64)]) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(sorted.iter().map(|(_, count)| *count)))
}

impl Accumulator for ValueCounts {
    fn update_batch(&mut self, batch: &[ArrayRef]) -> DfResult<()> {
        let Some(values) = batch.first() else { return Ok(()) };
        (0..values.len()).try_for_each(|row| self.add(ScalarValue::try_from_array(values, row)?, 1))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let lists = |i: usize| states.get(i).and_then(|state| state.as_list_opt::<i32>());
        let (Some(values), Some(counts)) = (lists(0), lists(1)) else {
            return Err(FunctionError::internal("values and counts").into());
        };
        for row in (0..values.len()).filter(|row| values.is_valid(*row) && counts.is_valid(*row)) {
            let (values, counts) = (values.value(row), counts.value(row));
            let Some(counts) = counts.as_primitive_opt::<UInt64Type>() else {
                return Err(FunctionError::internal("type of counts").into());
            };
            for (i, count) in counts.values().iter().enumerate() {
                self.add(ScalarValue::try_from_array(&values, i)?, *count)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sorted = self.sorted();
        match self.gives {
            CountResult::Mode => {
                // The first of the largest: `max_by_key` gives the last.
                let most = sorted.iter().rev().max_by_key(|(_, count)| *count);
                match most {
                    Some((value, _)) => Ok((*value).clone()),
                    None => ScalarValue::try_from(&self.of),
                }
            }
            CountResult::Entropy => Ok(ScalarValue::Float64(Some(entropy(&sorted)))),
            CountResult::Histogram if sorted.is_empty() => {
                ScalarValue::try_from(&DataType::new_list(DataType::Struct(entry(&self.of)), true))
            }
            CountResult::Histogram => {
                let columns = vec![self.values(&sorted)?, counts_of(&sorted)];
                let entries = StructArray::try_new(entry(&self.of), columns, None)?;
                Ok(one_list(Arc::new(entries)))
            }
        }
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let sorted = self.sorted();
        Ok(vec![one_list(self.values(&sorted)?), one_list(counts_of(&sorted))])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    fn counts(gives: CountResult) -> ValueCounts {
        ValueCounts { gives, of: DataType::Utf8, is_distinct: false, counts: HashMap::new(), bytes: 0 }
    }

    #[test]
    fn parts_are_merged_whatever_their_order() {
        let batch = |texts: Vec<Option<&str>>| vec![Arc::new(StringArray::from(texts)) as ArrayRef];
        let (mut one, mut other) = (counts(CountResult::Mode), counts(CountResult::Mode));
        one.update_batch(&batch(vec![Some("b"), None, Some("a"), Some("b")])).unwrap();
        other.update_batch(&batch(vec![Some("a"), Some("c")])).unwrap();
        let state: Vec<ArrayRef> =
            other.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
        one.merge_batch(&state).unwrap();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::from("a"));
        assert!(counts(CountResult::Mode).evaluate().unwrap().is_null());
        one.gives = CountResult::Histogram;
        let ScalarValue::List(list) = one.evaluate().unwrap() else { panic!("no list") };
        let entries = list.value(0);
        let found = entries.as_struct().column(1).as_primitive::<UInt64Type>().values().to_vec();
        assert_eq!(found, [2, 2, 1]);
        let mut distinct = ValueCounts { is_distinct: true, ..counts(CountResult::Entropy) };
        distinct.update_batch(&batch(vec![Some("a"), Some("a"), Some("b")])).unwrap();
        distinct.merge_batch(&state).unwrap();
        assert!(distinct.counts.values().all(|count| *count == 1) && distinct.counts.len() == 3);
    }

    #[test]
    fn entropy_keeps_its_digits_where_nearly_all_values_are_one() {
        for (counts, expected) in [
            (vec![], 0.0),
            (vec![5], 0.0),
            (vec![3, 3], 1.0),
            (vec![2, 2, 1], 5f64.log2() - 0.8),
            (vec![1_000_000_000_000, 1], 4.130_583_217_949_673e-11),
        ] {
            let values: Vec<ScalarValue> = (0..counts.len()).map(|value| (value as i64).into()).collect();
            let sorted: Vec<(&ScalarValue, u64)> = values.iter().zip(counts).collect();
            let found = entropy(&sorted);
            assert!((found - expected).abs() <= 1e-14 * expected, "{found}");
        }
    }
}
