//! Casts into types that not every value fits, or in which several become the same, as a function: the engine
//! takes casts out of comparisons with constants. Of `try_cast(n AS TINYINT) > 100` it makes `n > 100`, which
//! 1000 is, and of `d::DECIMAL(3,1) = 1.7` that d is 1.7, and not 1.72.
//!
//! Of doubles too large for 32 bits the engine makes infinities.
//!
//! A cast of times to a finer unit fits, but the constant would be cut off to the coarser one: such casts come
//! back where the constants beside them have no part of a coarser unit.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_cast::CastOptions;
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, cast, try_cast,
};
use datafusion::scalar::ScalarValue;

use super::columnar::of_one;
use super::compared::sides;
use crate::error::FunctionError;
use crate::signatures;

/// What takes the place of a cast, if it is one of these; `safe` casts give null for what does not fit.
pub(super) fn call(of: &Expr, to: &DataType, safe: bool, schema: &DFSchema) -> Option<Expr> {
    // A constant is cast once, before comparisons are looked at.
    let is_cast_once = matches!(of, Expr::Literal(value, _) if has_place(value, to));
    if is_cast_once || keeps(&of.get_type(schema).ok()?, to) {
        return None;
    }
    Some(ScalarUDF::from(NarrowCast { to: to.clone(), safe }).call(vec![of.clone()]))
}

/// Whether the engine casts a constant to a type, or says that it does not fit.
fn has_place(value: &ScalarValue, to: &DataType) -> bool {
    match value {
        ScalarValue::Float64(Some(double)) if *to == DataType::Float32 => single(*double).is_some(),
        _ => true,
    }
}

/// Whether a cast is one that the engine leaves in comparisons, or may take out of them.
pub(super) fn keeps(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        // As of `row`, of which none is that large: `row::BIGINT < 10` says which rows are read.
        (DataType::UInt64, DataType::Int64) => true,
        (DataType::Float64, DataType::Float32) => false,
        (DataType::Timestamp(from, zone), DataType::Timestamp(to, to_zone)) => {
            // It leaves those to a coarser unit.
            per_second(from) > per_second(to) || from == to && !shifts(zone.as_deref(), to_zone.as_deref())
        }
        // It leaves those between dates and times.
        (from, to) if from.is_temporal() && to.is_temporal() => true,
        (from, to) => units(from).zip(units(to)).is_none_or(|(from, to)| fits(from, to)),
    }
}

/// Whether a cast between numbers, or to times, has no place for some values.
pub(super) fn may_fail(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Timestamp(..), DataType::Timestamp(..)) => !keeps(from, to),
        // A DATE reaches further.
        (from, DataType::Timestamp(..)) if from.is_temporal() => true,
        (from, to) if to.is_integer() || to.is_decimal() => {
            from.is_numeric() && units(from).zip(units(to)).is_none_or(|(from, to)| !fits(from, to))
        }
        (from, to) => !keeps(from, to),
    }
}

/// Whether a time is another number in these zones.
fn shifts(from: Option<&str>, to: Option<&str>) -> bool {
    match (from, to) {
        (Some(zone), None) | (None, Some(zone)) => !["UTC", "+00:00"].contains(&zone),
        _ => false,
    }
}

/// The least and the greatest number of units that a type counts, and the digits behind the point that they are
/// of; `None` of types whose casts the engine leaves.
fn units(of: &DataType) -> Option<(i128, i128, i8)> {
    use DataType as D;
    let (least, most) = match of {
        D::Int8 => (i8::MIN.into(), i8::MAX.into()),
        D::Int16 => (i16::MIN.into(), i16::MAX.into()),
        D::Int32 | D::Date32 => (i32::MIN.into(), i32::MAX.into()),
        D::Int64 | D::Date64 | D::Timestamp(..) => (i64::MIN.into(), i64::MAX.into()),
        D::UInt8 => (0, u8::MAX.into()),
        D::UInt16 => (0, u16::MAX.into()),
        D::UInt32 => (0, u32::MAX.into()),
        D::UInt64 => (0, u64::MAX.into()),
        D::Decimal32(digits, scale) | D::Decimal64(digits, scale) | D::Decimal128(digits, scale) => {
            let most = 10_i128.checked_pow((*digits).into())? - 1;
            return Some((-most, most, *scale));
        }
        _ => return None,
    };
    Some((least, most, 0))
}

/// Whether each number of some units is one of others.
fn fits((least, most, scale): (i128, i128, i8), (to_least, to_most, to_scale): (i128, i128, i8)) -> bool {
    let digits = u32::try_from(i32::from(to_scale) - i32::from(scale)).ok();
    let factor = digits.and_then(|digits| 10_i128.checked_pow(digits));
    let scaled = |number: i128| factor.and_then(|factor| number.checked_mul(factor));
    scaled(least).is_some_and(|least| least >= to_least) && scaled(most).is_some_and(|most| most <= to_most)
}

/// How many of a unit are a second.
pub(super) fn per_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The cast that such a function is; another expression as it is.
fn as_cast(expr: Expr) -> Expr {
    let Expr::ScalarFunction(call) = &expr else { return expr };
    let narrow = call.func.inner().downcast_ref::<NarrowCast>();
    let (Some(NarrowCast { to, safe }), [of]) = (narrow, call.args.as_slice()) else { return expr };
    if *safe { try_cast(of.clone(), to.clone()) } else { cast(of.clone(), to.clone()) }
}

/// Puts casts back into a comparison in which the engine does not take them out wrongly: of times with all but
/// constants of a finer unit, and of what keeps its digits with columns around a subquery, where it makes a
/// join of casts only. Says whether there was one.
pub(super) fn put_back(expr: &mut Expr, schema: &DFSchema) -> bool {
    if !matches!(expr, Expr::BinaryExpr(_) | Expr::Between(_) | Expr::InList(_)) {
        return false;
    }
    let mut sides = sides(expr);
    let back: Vec<usize> = (0..sides.len()).filter(|at| is_sound(&sides, *at, schema)).collect();
    for at in &back {
        *sides[*at] = as_cast(std::mem::take(sides[*at]));
    }
    !back.is_empty()
}

/// Whether one of these sides may be a cast next to the others.
fn is_sound(sides: &[&mut Expr], at: usize, schema: &DFSchema) -> bool {
    let Expr::ScalarFunction(call) = &*sides[at] else { return false };
    let Some(NarrowCast { to, .. }) = call.func.inner().downcast_ref::<NarrowCast>() else { return false };
    let Some(Ok(from)) = call.args.first().map(|of| of.get_type(schema)) else { return false };
    let mut others = sides.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, side)| &**side);
    match (&from, to) {
        (DataType::Timestamp(unit, zone), DataType::Timestamp(fine, to_zone)) => {
            let part = per_second(fine) / per_second(unit);
            let is_whole = |other: &Expr| match other {
                Expr::Literal(time, _) => count(time).is_none_or(|count| count % part == 0),
                _ => true,
            };
            !shifts(zone.as_deref(), to_zone.as_deref()) && others.all(is_whole)
        }
        _ => {
            let keeps_digits = units(&from).zip(units(to)).is_some_and(|(from, to)| from.2 <= to.2);
            keeps_digits && others.all(|other| matches!(other, Expr::OuterReferenceColumn(..)))
        }
    }
}

/// How many of its units a time is after 1970.
fn count(time: &ScalarValue) -> Option<i64> {
    match time {
        ScalarValue::TimestampSecond(count, _)
        | ScalarValue::TimestampMillisecond(count, _)
        | ScalarValue::TimestampMicrosecond(count, _)
        | ScalarValue::TimestampNanosecond(count, _) => *count,
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NarrowCast {
    to: DataType,
    safe: bool,
}

impl ScalarUDFImpl for NarrowCast {
    fn name(&self) -> &str {
        "narrowed"
    }

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [of] = take_function_args(self.name(), args.arg_fields)?;
        let nullable = self.safe || of.is_nullable();
        Ok(Arc::new(of.as_ref().clone().with_data_type(self.to.clone()).with_nullable(nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.to == DataType::Float32 {
            return of_one(self.name(), &args, |doubles| singles(doubles, self.safe));
        }
        let [of] = take_function_args(self.name(), args.args)?;
        of.cast_to(&self.to, Some(&CastOptions { safe: self.safe, ..CastOptions::default() }))
    }
}

/// A double in 32 bits, if it fits; no -0.0.
fn single(double: f64) -> Option<f32> {
    let single = double as f32 + 0.0;
    (single.is_finite() || !double.is_finite()).then_some(single)
}

/// Doubles in 32 bits; where one is too large for them, null if they are `safe`, and else an error.
pub(super) fn singles(doubles: &ArrayRef, safe: bool) -> DfResult<ArrayRef> {
    let doubles = doubles
        .as_primitive_opt::<Float64Type>()
        .ok_or_else(|| FunctionError::internal("type of a number in 64 bits"))?;
    if safe {
        return Ok(Arc::new(doubles.unary_opt::<_, Float32Type>(single)));
    }
    let fitting = |double: f64| {
        let why = || ArrowError::CastError(format!("Can't cast value {double:?} to type Float32"));
        single(double).ok_or_else(why)
    };
    Ok(Arc::new(doubles.try_unary::<_, Float32Type, ArrowError>(fitting)?))
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;
    use datafusion::logical_expr::{Operator, binary_expr, col, lit};

    use super::*;

    #[test]
    fn casts_that_lose_nothing_are_left_to_the_engine() {
        use DataType as D;
        let time = |unit, zone: Option<&str>| D::Timestamp(unit, zone.map(Into::into));
        for (from, to, kept) in [
            (D::Int8, D::Int64, true),
            (D::Int64, D::Int8, false),
            (D::Int32, D::UInt64, false),
            (D::UInt8, D::Int16, true),
            (D::UInt64, D::Int64, true),
            (D::UInt64, D::Int32, false),
            (D::UInt64, D::Decimal128(20, 0), true),
            (D::Int64, D::Decimal128(18, 0), false),
            (D::Decimal128(5, 2), D::Decimal128(6, 3), true),
            (D::Decimal128(5, 2), D::Decimal128(5, 3), false),
            (D::Decimal128(5, 2), D::Decimal128(5, 1), false),
            (D::Decimal128(38, 0), D::Decimal128(38, 2), false),
            (D::Decimal128(2, 0), D::Int8, true),
            (D::Decimal128(3, 0), D::Int8, false),
            (D::Int64, D::Float64, true),
            (D::Float64, D::Float32, false),
            (D::Int64, D::Float32, true),
            (D::Utf8, D::Utf8View, true),
            (D::Int64, D::Utf8, true),
            (D::Date32, D::Int64, true),
            (D::Int64, D::Date32, false),
            (time(TimeUnit::Nanosecond, None), D::Date32, true),
            (time(TimeUnit::Nanosecond, None), time(TimeUnit::Second, None), true),
            (time(TimeUnit::Second, None), time(TimeUnit::Nanosecond, None), false),
            (time(TimeUnit::Second, None), time(TimeUnit::Second, Some("+00:00")), true),
            (time(TimeUnit::Second, None), time(TimeUnit::Second, Some("+02:00")), false),
            (time(TimeUnit::Second, Some("+01:00")), time(TimeUnit::Second, Some("+02:00")), true),
        ] {
            assert_eq!(keeps(&from, &to), kept, "{from} to {to}");
        }
    }

    #[test]
    fn casts_that_have_no_place_for_some_values_may_fail() {
        use DataType as D;
        let time = |unit| D::Timestamp(unit, None);
        for (from, to, fails) in [
            (D::Int32, D::Int64, false),
            (D::Int64, D::Int8, true),
            (D::Int64, D::Float64, false),
            (D::Int64, D::Decimal128(18, 0), true),
            (D::Float64, D::Float32, true),
            (D::Float32, D::Float64, false),
            (D::Float64, D::Decimal128(38, 2), true),
            (D::Float64, D::Int64, true),
            (D::Decimal128(6, 2), D::Decimal128(4, 2), true),
            (D::Decimal128(4, 2), D::Decimal128(6, 2), false),
            (D::Decimal128(6, 2), D::Float64, false),
            (D::Boolean, D::Int8, false),
            (D::Null, D::Int8, false),
            (D::Date32, time(TimeUnit::Nanosecond), true),
            (time(TimeUnit::Second), time(TimeUnit::Nanosecond), true),
            (time(TimeUnit::Nanosecond), time(TimeUnit::Second), false),
            (time(TimeUnit::Nanosecond), D::Date32, false),
        ] {
            assert_eq!(may_fail(&from, &to), fails, "{from} to {to}");
        }
    }

    #[test]
    fn times_are_compared_in_the_coarser_unit_with_constants_that_it_has() {
        let second = Field::new("t", DataType::Timestamp(TimeUnit::Second, None), true);
        let schema = DFSchema::from_unqualified_fields(vec![second].into(), Default::default()).unwrap();
        let to = DataType::Timestamp(TimeUnit::Nanosecond, None);
        for (count, is_back) in [(Some(5_000_000_000), true), (Some(5_500_000_000), false), (None, true)] {
            let time = call(&col("t"), &to, false, &schema).unwrap();
            let constant = lit(ScalarValue::TimestampNanosecond(count, None));
            let mut compared = binary_expr(time, Operator::Lt, constant.clone());
            assert_eq!(put_back(&mut compared, &schema), is_back, "{compared}");
            if is_back {
                assert_eq!(compared, binary_expr(cast(col("t"), to.clone()), Operator::Lt, constant));
            }
        }
    }
}
