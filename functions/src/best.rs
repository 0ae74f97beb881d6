//! `max_by(value, key)` and `min_by(value, key)`: the value at the largest or smallest key; with a number
//! behind them, the list of so many.

mod several;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, FieldRef, SortOptions};
use datafusion::arrow::array::make_comparator;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;

use self::several::BestRows;
use crate::error::FunctionError;

pub(super) fn functions() -> [AggregateUDF; 2] {
    [(true, ["arg_max", "argmax"]), (false, ["arg_min", "argmin"])].map(|(largest, aliases)| {
        let taken = vec![TypeSignature::Any(2), TypeSignature::Any(3)];
        let signature = Signature::one_of(taken, Volatility::Immutable);
        AggregateUDF::from(ArgExtreme { largest, signature }).with_aliases(aliases)
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArgExtreme {
    largest: bool,
    signature: Signature,
}

impl AggregateUDFImpl for ArgExtreme {
    fn name(&self) -> &str {
        if self.largest { "max_by" } else { "min_by" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [value, _] => Ok(value.clone()),
            [value, _, _] => Ok(DataType::new_list(value.clone(), true)),
            _ => Err(FunctionError::internal("value and key").into()),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if let [value, key, _] = args.expr_fields {
            let rows = BestRows::new(&args, self.largest, value.data_type(), key.data_type())?;
            return Ok(Box::new(rows));
        }
        let key = args.expr_fields.get(1).map_or(&DataType::Null, |field| field.data_type());
        Ok(Box::new(ExtremeRow {
            largest: self.largest,
            value: ScalarValue::try_from(args.return_type())?,
            key: ScalarValue::try_from(key)?,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let key = args.input_fields.get(1).map_or(&DataType::Null, |field| field.data_type());
        let field =
            |name, ty: &DataType| Arc::new(Field::new(format_state_name(args.name, name), ty.clone(), true));
        Ok(match args.input_fields.len() {
            3 => vec![
                field("values", args.return_type()),
                field("keys", &DataType::new_list(key.clone(), true)),
            ],
            _ => vec![field("value", args.return_type()), field("key", key)],
        })
    }
}

/// The best row so far. Rows in which either is null do not count; of rows with the same key, the one of the
/// smallest value is taken, so that the order of rows does not matter.
#[derive(Debug)]
struct ExtremeRow {
    largest: bool,
    value: ScalarValue,
    key: ScalarValue,
}

/// How good a key is that compares like this with another.
fn rank(largest: bool, order: Ordering) -> Ordering {
    if largest { order } else { order.reverse() }
}

/// The rows in which neither is null.
fn known_rows(values: &ArrayRef, keys: &ArrayRef) -> impl Iterator<Item = usize> {
    let nulls = NullBuffer::union(values.logical_nulls().as_ref(), keys.logical_nulls().as_ref());
    (0..keys.len()).filter(move |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)))
}

impl ExtremeRow {
    fn of_batch(&self, values: &ArrayRef, keys: &ArrayRef) -> DfResult<Option<usize>> {
        let options = SortOptions::default();
        let by_key = make_comparator(keys.as_ref(), keys.as_ref(), options)?;
        // Values of some nested types have no order.
        let by_value = make_comparator(values.as_ref(), values.as_ref(), options).ok();
        let mut best = None;
        for row in known_rows(values, keys) {
            let better = match best {
                None => true,
                Some(best) => match rank(self.largest, by_key(row, best)) {
                    Ordering::Greater => true,
                    Ordering::Equal => by_value.as_ref().is_some_and(|order| order(row, best).is_lt()),
                    Ordering::Less => false,
                },
            };
            if better {
                best = Some(row);
            }
        }
        Ok(best)
    }
}

impl Accumulator for ExtremeRow {
    fn update_batch(&mut self, batch: &[ArrayRef]) -> DfResult<()> {
        let [values, keys] = batch else { return Err(FunctionError::internal("value and key").into()) };
        if keys.is_empty() || *keys.data_type() == DataType::Null {
            return Ok(());
        }
        let Some(row) = self.of_batch(values, keys)? else { return Ok(()) };
        let mut key = ScalarValue::try_from_array(keys, row)?;
        let mut value = ScalarValue::try_from_array(values, row)?;
        let better = self.key.is_null()
            || match key.partial_cmp(&self.key).map(|order| rank(self.largest, order)) {
                Some(Ordering::Greater) => true,
                Some(Ordering::Equal) => value.partial_cmp(&self.value) == Some(Ordering::Less),
                _ => false,
            };
        if better {
            // A part of a batch would keep the whole of it.
            key.compact();
            value.compact();
            (self.key, self.value) = (key, value);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.key.clone()])
    }

    fn size(&self) -> usize {
        size_of::<bool>() + self.value.size() + self.key.size()
    }
}
