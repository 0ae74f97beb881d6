//! Functions of numbers that the engine computes wrongly where a result is beyond the range of its type.
//!
//! - `to_timestamp(n)` of a number of seconds that no TIMESTAMP reaches, and of NaN, is an error: of fractions
//!   the engine's gives the last time that there is, and 1970
//! - `round(x, n)` and `trunc(x, n)` are x where it has no more than n digits behind the point: the engine's
//!   multiply by a power of ten, and that or the product may be infinite. The product of a REAL is rounded in
//!   64 bits, as in DuckDB: in 32, round(0.0350804999, 6) is 0.035081
//! - `ceil(x)` and `floor(x)` of a decimal have room for a digit more than x, up to 38, which the next whole
//!   number may have

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::{datetime, math};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;

use super::columnar::around;
use crate::error::{BEYOND, FunctionError};
use crate::forward::from_engine;

pub(super) fn functions() -> [ScalarUDF; 5] {
    let [round, trunc] = [math::round(), math::trunc()].map(|engine| around(engine, None, to_digits));
    let [ceil, floor] = [math::ceil(), math::floor()].map(|engine| ScalarUDF::from(NextWhole { engine }));
    let time = around(datetime::to_timestamp(&ConfigOptions::default()), None, time_of_seconds);
    [time, round, trunc, ceil, floor]
}

fn time_of_seconds(engine: &ScalarUDF, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    if let [seconds, ..] = args.args.as_slice()
        && seconds.data_type().is_numeric()
    {
        check_seconds(&seconds.to_array(1)?)?;
    }
    engine.invoke_with_args(args)
}

/// Refuses seconds of which a TIMESTAMP does not have room for the nanoseconds.
fn check_seconds(seconds: &ArrayRef) -> DfResult<()> {
    // The first that does not fit.
    let end = 9_223_372_036_854_775_808.0;
    let seconds = arrow_cast::cast(seconds, &DataType::Float64)?;
    let mut all = seconds.as_primitive::<Float64Type>().iter().flatten();
    match all.find(|seconds| !(-end..end).contains(&(seconds * 1e9))) {
        None => Ok(()),
        Some(seconds) => {
            let why = format!("the time {seconds:?} seconds after 1970{BEYOND}");
            Err(FunctionError::invalid(why).hint("to_timestamp_seconds(n) reaches further").into())
        }
    }
}

fn to_digits(engine: &ScalarUDF, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    let (given, to) = (args.args.clone(), args.return_type().clone());
    let result = match engine.name() == "round" && to == DataType::Float32 {
        true => engine.invoke_with_args(in_double(args)?)?.cast_to(&to, None)?,
        false => engine.invoke_with_args(args)?,
    };
    match given.as_slice() {
        [of, digits] if to.is_floating() => kept_finite(engine.name(), result, of, digits),
        _ => Ok(result),
    }
}

/// The results, with others for those that are not finite.
fn kept_finite(
    name: &str,
    result: ColumnarValue,
    of: &ColumnarValue,
    digits: &ColumnarValue,
) -> DfResult<ColumnarValue> {
    let to = result.data_type();
    let found = arrow_cast::cast(&result.to_array(1)?, &DataType::Float64)?;
    if found.as_primitive::<Float64Type>().values().iter().all(|number| number.is_finite()) {
        return Ok(result);
    }
    let is_scalar = matches!(result, ColumnarValue::Scalar(_));
    let sides = ColumnarValue::values_to_arrays(&[result, of.clone(), digits.clone()])?;
    let [found, of, digits] = take_function_args(name, &sides)?;
    let found = arrow_cast::cast(found, &DataType::Float64)?;
    let of = arrow_cast::cast(of, &DataType::Float64)?;
    let digits = arrow_cast::cast(digits, &DataType::Int64)?;
    let numbers = found.as_primitive::<Float64Type>().iter().zip(of.as_primitive::<Float64Type>());
    let kept: Float64Array = numbers
        .zip(digits.as_primitive::<Int64Type>())
        .map(|((found, of), digits)| Some(finite(found?, of?, digits?)))
        .collect();
    let kept = arrow_cast::cast(&kept, &to)?;
    Ok(match is_scalar {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&kept, 0)?),
        false => ColumnarValue::Array(kept),
    })
}

/// The same call with a DOUBLE in the place of a REAL.
fn in_double(mut args: ScalarFunctionArgs) -> DfResult<ScalarFunctionArgs> {
    let double = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(DataType::Float64));
    if let (Some(of), Some(field)) = (args.args.first_mut(), args.arg_fields.first_mut()) {
        *of = of.cast_to(&DataType::Float64, None)?;
        *field = double(field);
    }
    args.return_field = double(&args.return_field);
    Ok(args)
}

/// What a number to so many digits is, of which this was found.
fn finite(found: f64, of: f64, digits: i64) -> f64 {
    match found.is_finite() {
        true => found,
        false if digits < 0 && of.is_finite() => 0.0,
        false => of,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NextWhole {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for NextWhole {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        output_ordering(inputs: &[ExprProperties]) -> DfResult<SortProperties>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.engine.return_type(types).map(with_room)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let to = args.return_type().clone();
        if let [of] = args.args.as_mut_slice()
            && to.is_decimal()
        {
            *of = of.cast_to(&to, None)?;
        }
        self.engine.invoke_with_args(args)
    }
}

/// A decimal with fractions with a digit more before the point, where there can be one.
fn with_room(of: DataType) -> DataType {
    match of {
        DataType::Decimal128(digits, scale) if scale > 0 => {
            DataType::Decimal128((digits + 1).min(DECIMAL128_MAX_PRECISION), scale)
        }
        DataType::Decimal256(digits, scale) if scale > 0 => {
            DataType::Decimal256((digits + 1).min(DECIMAL256_MAX_PRECISION), scale)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    use super::*;

    #[test]
    fn seconds_that_no_timestamp_reaches_are_refused() {
        let fits = |seconds: f64| {
            check_seconds(&(Arc::new(Float64Array::from(vec![None, Some(seconds)])) as ArrayRef)).is_ok()
        };
        for seconds in [0.0, -1.5, 9_223_372_036.0, -9_223_372_036.0] {
            assert!(fits(seconds), "{seconds}");
        }
        for seconds in [1e11, -1e11, 9_223_372_037.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!fits(seconds), "{seconds}");
        }
        assert!(check_seconds(&(Arc::new(Int64Array::from(vec![9_223_372_037])) as ArrayRef)).is_err());
    }
}
