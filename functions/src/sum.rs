//! `sum` of whole numbers and of decimals that never wraps around: a total of more than 64 bits is an error,
//! and one of more than 38 digits.
//!
//! Invariants
//! - what is added are decimals of 128 bits, beyond which no number of rows takes a sum of 64-bit numbers, and
//!   in the place of decimals of up to 128 bits those of 256
//! - a total of decimals has 128 bits, also of those that a file keeps in 32 or 64
//! - the total alone decides, so neither the order of rows nor the number of threads does
//!
//! Sums of other types are the engine's own, but for those of doubles in windows, which [`sliding`] has; that
//! of what is true or false is how many are true, and that of a column of nothing but NULLs is one of whole
//! numbers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Int64Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, new_null_array};
use arrow_schema::{DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef};
use datafusion::arrow::datatypes::i256;
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use datafusion::scalar::ScalarValue;

use super::average::with_booleans;
use super::{nans, sliding};
use crate::error::FunctionError;
use crate::forward::{accumulate_in, from_engine, group_in};

/// Digits of the decimals that are added.
const DIGITS: u8 = 38;

pub(super) fn function() -> AggregateUDF {
    let engine = sum_udaf();
    let signature = with_booleans(&engine);
    AggregateUDF::from(Sum { engine, signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    engine: Arc<AggregateUDF>,
    signature: Signature,
}

/// The field of a total while rows are added, where that of the result may be too narrow for it.
fn wide_field(result: &DataType) -> Option<FieldRef> {
    let wide = match result {
        DataType::Int64 | DataType::UInt64 => DataType::Decimal128(DIGITS, 0),
        DataType::Decimal128(_, scale) => DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale),
        _ => return None,
    };
    Some(Arc::new(Field::new("sum", wide, true)))
}

// Not handed on: what takes the place of a sum by statistics, or by a product with a count, which may wrap
// around.
impl AggregateUDFImpl for Sum {
    from_engine! {
        name() -> &str;
        groups_accumulator_supported(args: AccumulatorArgs) -> bool;
        order_sensitivity() -> AggregateOrderSensitivity;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [DataType::Null] => Ok(DataType::Int64),
            [DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale)] => {
                self.engine.return_type(&[DataType::Decimal128(*digits, *scale)])
            }
            types => self.engine.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let to = args.return_type().clone();
        let Some(return_field) = wide_field(&to) else {
            return self.engine.accumulator(args).map(nans::accumulator);
        };
        let sum = self.engine.accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(CheckedSum { sum, to }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let to = args.return_type().clone();
        if to == DataType::Float64 && !args.is_distinct {
            return Ok(sliding::sum());
        }
        let Some(return_field) = wide_field(&to) else { return self.engine.create_sliding_accumulator(args) };
        let sum: Box<dyn Accumulator> = match args.is_distinct {
            // The engine has none of decimals.
            true if to.is_decimal() => return self.engine.create_sliding_accumulator(args),
            true => Box::new(DistinctSum::default()),
            false => self.engine.create_sliding_accumulator(AccumulatorArgs { return_field, ..args })?,
        };
        Ok(Box::new(CheckedSum { sum, to }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        match wide_field(args.return_type()) {
            None => self.engine.state_fields(args),
            Some(return_field) => self.engine.state_fields(StateFieldsArgs { return_field, ..args }),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let to = args.return_type().clone();
        let Some(return_field) = wide_field(&to) else {
            return self.engine.create_groups_accumulator(args).map(nans::groups);
        };
        let sums = self.engine.create_groups_accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(CheckedGroups { sums, to }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_udf()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engine.inner().set_monotonicity(data_type)
    }
}

/// Whole numbers as decimals, and decimals as wider ones.
fn widen(values: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
    let wide = |values: &ArrayRef| -> DfResult<ArrayRef> {
        let wide: Decimal128Array = match values.data_type() {
            DataType::Int64 => values.as_primitive::<Int64Type>().unary(i128::from),
            DataType::UInt64 => values.as_primitive::<UInt64Type>().unary(i128::from),
            DataType::Null => return Ok(new_null_array(&DataType::Decimal128(DIGITS, 0), values.len())),
            DataType::Decimal32(_, scale) => return wide_decimals::<Decimal32Type>(values, *scale),
            DataType::Decimal64(_, scale) => return wide_decimals::<Decimal64Type>(values, *scale),
            DataType::Decimal128(_, scale) => return wide_decimals::<Decimal128Type>(values, *scale),
            _ => return Ok(Arc::clone(values)),
        };
        Ok(Arc::new(wide.with_precision_and_scale(DIGITS, 0)?))
    };
    values.iter().map(wide).collect()
}

fn wide_decimals<T: DecimalType>(values: &ArrayRef, scale: i8) -> DfResult<ArrayRef>
where
    i256: From<T::Native>,
{
    let wide = values.as_primitive::<T>().unary::<_, Decimal256Type>(i256::from);
    Ok(Arc::new(wide.with_precision_and_scale(DECIMAL256_MAX_PRECISION, scale)?))
}

fn fitting<T: TryFrom<i128>>(total: i128) -> Result<T, FunctionError> {
    T::try_from(total).map_err(|_| {
        FunctionError::invalid("the sum does not fit into 64 bits".to_owned())
            .hint("sum(CAST(x AS DECIMAL(38))) has all digits, sum(CAST(x AS DOUBLE)) the first fifteen")
    })
}

fn fitting_decimal(total: i256, digits: u8, scale: i8) -> Result<i128, FunctionError> {
    let fits = |total: &i128| Decimal128Type::is_valid_decimal_precision(*total, digits);
    total.to_i128().filter(fits).ok_or_else(|| {
        FunctionError::invalid(format!("the sum does not fit into a DECIMAL({digits}, {scale})")).hint(
            "sum(CAST(x AS DOUBLE)) has the first fifteen digits; a DECIMAL with fewer after the point has \
             room for more before it",
        )
    })
}

fn narrow_total(total: ScalarValue, to: &DataType) -> DfResult<ScalarValue> {
    Ok(match (total, to) {
        (ScalarValue::Decimal256(Some(total), ..), DataType::Decimal128(digits, scale)) => {
            let total = fitting_decimal(total, *digits, *scale)?;
            ScalarValue::Decimal128(Some(total), *digits, *scale)
        }
        (ScalarValue::Decimal128(Some(total), ..), DataType::UInt64) => {
            ScalarValue::UInt64(Some(fitting(total)?))
        }
        (ScalarValue::Decimal128(Some(total), ..), _) => ScalarValue::Int64(Some(fitting(total)?)),
        _ => ScalarValue::try_from(to)?,
    })
}

/// A sum of wide decimals whose total has a narrower type.
#[derive(Debug)]
struct CheckedSum {
    sum: Box<dyn Accumulator>,
    to: DataType,
}

impl Accumulator for CheckedSum {
    accumulate_in!(sum, |self, values| widen(values)?);

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        narrow_total(self.sum.evaluate()?, &self.to)
    }
}

struct CheckedGroups {
    sums: Box<dyn GroupsAccumulator>,
    to: DataType,
}

impl GroupsAccumulator for CheckedGroups {
    group_in!(sums, |values| widen(values)?);

    fn evaluate(&mut self, emit: EmitTo) -> DfResult<ArrayRef> {
        let totals = self.sums.evaluate(emit)?;
        let wrong = || FunctionError::internal("type of a sum");
        if let DataType::Decimal128(digits, scale) = self.to {
            let totals = totals.as_primitive_opt::<Decimal256Type>().ok_or_else(wrong)?;
            let fitting = |total| fitting_decimal(total, digits, scale);
            let totals = totals.try_unary::<_, Decimal128Type, FunctionError>(fitting)?;
            return Ok(Arc::new(totals.with_precision_and_scale(digits, scale)?));
        }
        let totals = totals.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)?;
        Ok(match self.to {
            DataType::UInt64 => Arc::new(totals.try_unary::<_, UInt64Type, FunctionError>(fitting)?),
            _ => Arc::new(totals.try_unary::<_, Int64Type, FunctionError>(fitting)?),
        })
    }
}

/// The sum of the different values in a moving window, and how often each is there. The engine has it for one
/// type of whole numbers only, and wraps around.
#[derive(Debug, Default)]
struct DistinctSum {
    times: HashMap<i128, u64>,
    sum: i128,
}

impl DistinctSum {
    fn each(&mut self, values: &[ArrayRef], mut change: impl FnMut(&mut Self, i128)) -> DfResult<()> {
        let values = values.first().and_then(|values| values.as_primitive_opt::<Decimal128Type>());
        let values = values.ok_or_else(|| FunctionError::internal("type of a sum"))?;
        values.iter().flatten().for_each(|value| change(self, value));
        Ok(())
    }
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(values, |this, value| {
            let times = this.times.entry(value).or_insert(0);
            if *times == 0 {
                this.sum += value;
            }
            *times += 1;
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(values, |this, value| {
            let left = this.times.get(&value).map_or(0, |times| times.saturating_sub(1));
            if left > 0 {
                this.times.insert(value, left);
            } else if this.times.remove(&value).is_some() {
                this.sum -= value;
            }
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        Err(FunctionError::internal("a window is not merged").into())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sum = (!self.times.is_empty()).then_some(self.sum);
        Ok(ScalarValue::Decimal128(sum, DIGITS, 0))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(FunctionError::internal("a window has no state").into())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.times.capacity() * size_of::<(i128, u64)>()
    }
}
