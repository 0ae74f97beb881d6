//! `median` and `percentile_cont` of times and dates, as timestamps in microseconds; of numbers `median` is
//! the engine's own, as the approximate ones are, and `percentile_cont` is exact in doubles. Of a column of
//! nothing but NULLs all are a NULL among doubles.
//!
//! Doubles hold the microseconds of the years 1685 to 2255 exactly; beyond them a result is off by some
//! microseconds.

mod between;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::types::{NativeType, logical_date};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::approx_median::approx_median_udaf;
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::functions_aggregate::approx_percentile_cont_with_weight::approx_percentile_cont_with_weight_udaf;
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, Documentation, GroupsAccumulator, Signature,
    TypeSignature, TypeSignatureClass,
};
use datafusion::scalar::ScalarValue;

use self::between::{QuantileAccumulator, QuantileGroups, share};
use super::average::all_taken;
use super::nans;
use crate::error::FunctionError;
use crate::forward::{accumulate_in, from_engine};

pub(super) fn functions() -> [AggregateUDF; 5] {
    let of = |engine: Arc<AggregateUDF>, signature: fn(&AggregateUDF) -> Signature| {
        let signature = signature(&engine);
        AggregateUDF::from(Quantile { engine, signature })
    };
    [
        of(median_udaf(), with_times),
        of(percentile_cont_udaf(), with_times),
        of(approx_median_udaf(), |engine| engine.signature().clone()),
        of(approx_percentile_cont_udaf(), |engine| engine.signature().clone()),
        of(approx_percentile_cont_with_weight_udaf(), |engine| engine.signature().clone()),
    ]
}

/// What a function takes, and times and dates in the place of its first argument.
fn with_times(engine: &AggregateUDF) -> Signature {
    let date = TypeSignatureClass::Native(logical_date());
    let of_date = NativeType::Timestamp(TimeUnit::Microsecond, None);
    let time = Coercion::new_implicit(TypeSignatureClass::Timestamp, vec![date], of_date);
    let mut all = all_taken(engine);
    let mut times = vec![time];
    if let Some(TypeSignature::Coercible(args)) = all.first() {
        times.extend(args.iter().skip(1).cloned());
    }
    all.push(TypeSignature::Coercible(times));
    Signature { type_signature: TypeSignature::OneOf(all), ..engine.signature().clone() }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantile {
    engine: Arc<AggregateUDF>,
    signature: Signature,
}

impl Quantile {
    /// Whether the quantile may lie anywhere between two values.
    fn is_between(&self) -> bool {
        self.engine.name() == "percentile_cont"
    }

    fn numbers(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if !self.is_between() {
            return self.engine.accumulator(args);
        }
        // The engine looks at the share first.
        let (found, is_distinct) = (share(&args), args.is_distinct);
        let values = self.engine.accumulator(args)?;
        Ok(Box::new(QuantileAccumulator { values, share: found?, is_distinct }))
    }
}

/// The type of a quantile of what the engine has to take as doubles.
fn quantile_type(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Null => Some(DataType::Float64),
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        _ => None,
    }
}

/// The type of a quantile, if the function is of times or of nothing but NULLs.
fn time_result(fields: &[FieldRef]) -> Option<DataType> {
    quantile_type(fields.first()?.data_type())
}

fn number() -> FieldRef {
    Arc::new(Field::new("number", DataType::Float64, true))
}

/// The fields of arguments of which the first is a number.
fn number_fields(fields: &[FieldRef]) -> Vec<FieldRef> {
    std::iter::once(number()).chain(fields.iter().skip(1).cloned()).collect()
}

// Not handed on: what takes the place of a quantile by the least or the largest value, which has another
// type.
impl AggregateUDFImpl for Quantile {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        supports_within_group_clause() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types.first().and_then(quantile_type) {
            Some(result) => Ok(result),
            None => self.engine.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let Some(to) = time_result(args.expr_fields) else {
            return self.numbers(args).map(nans::accumulator);
        };
        let fields = number_fields(args.expr_fields);
        let args = AccumulatorArgs { return_field: number(), expr_fields: &fields, ..args };
        Ok(Box::new(TimeQuantile { numbers: self.numbers(args)?, to }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        if time_result(args.input_fields).is_none() {
            return self.engine.state_fields(args);
        }
        let fields = number_fields(args.input_fields);
        self.engine.state_fields(StateFieldsArgs { return_field: number(), input_fields: &fields, ..args })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        time_result(args.expr_fields).is_none() && self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        if !self.is_between() {
            return self.engine.create_groups_accumulator(args).map(nans::groups);
        }
        let found = share(&args);
        let values = self.engine.create_groups_accumulator(args)?;
        Ok(nans::groups(Box::new(QuantileGroups { values, share: found? })))
    }
}

/// A quantile of times, taken of their microseconds, or of NULLs.
#[derive(Debug)]
struct TimeQuantile {
    numbers: Box<dyn Accumulator>,
    to: DataType,
}

impl TimeQuantile {
    fn micros(&self, values: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
        let mut values = values.to_vec();
        if let Some(times) = values.first_mut() {
            let whole = arrow_cast::cast(&arrow_cast::cast(times, &self.to)?, &DataType::Int64)?;
            *times = arrow_cast::cast(&whole, &DataType::Float64)?;
        }
        Ok(values)
    }
}

impl Accumulator for TimeQuantile {
    accumulate_in!(numbers, |self, values| self.micros(values)?);

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        match (self.numbers.evaluate()?, &self.to) {
            (number, DataType::Float64) => Ok(number),
            (ScalarValue::Float64(number), DataType::Timestamp(_, zone)) => {
                let micros = number.map(|number| number.round() as i64);
                Ok(ScalarValue::TimestampMicrosecond(micros, zone.clone()))
            }
            _ => Err(FunctionError::internal("type of a quantile").into()),
        }
    }
}
