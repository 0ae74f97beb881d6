//! `width_bucket`, `hash`, `len`, `even`, `fmod`, `isinf`, `bit_count`, and `sqrt`, which is NaN below 0 where
//! the engine's fails.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, UInt64Array, downcast_integer_array,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ScalarUDF, TypeSignature};
use gstore_core::{MIX_STEP, mix};

use super::columnar::{Compute, function};
use crate::error::FunctionError;

pub(super) fn functions() -> [ScalarUDF; 8] {
    const DOUBLE: DataType = DataType::Float64;
    fn of_doubles<const N: usize>(name: &'static str, gives: DataType, compute: Compute) -> ScalarUDF {
        function(name, TypeSignature::Exact(vec![DOUBLE; N]), gives, compute)
    }
    let whole = {
        use DataType as D;
        let huge = D::Decimal128(DECIMAL128_MAX_PRECISION, 0);
        vec![D::Int64, D::Int32, D::Int16, D::Int8, D::UInt64, D::UInt32, D::UInt16, D::UInt8, huge]
    };
    let bucket = TypeSignature::Exact(vec![DOUBLE, DOUBLE, DOUBLE, DataType::Int64]);
    [
        function("width_bucket", bucket, DataType::Int64, buckets),
        hash(),
        function("len", TypeSignature::Any(1), DataType::Int64, lengths),
        of_doubles::<1>("even", DOUBLE, |arrays| {
            Ok(Arc::new(doubles(arrays)?.unary::<_, Float64Type>(even)))
        }),
        of_doubles::<2>("fmod", DOUBLE, |arrays| {
            let (x, by) = (doubles(arrays)?, doubles(arrays.get(1..).unwrap_or_default())?);
            let of_row = |(x, by): (Option<f64>, Option<f64>)| Some(rest(x?, by?));
            Ok(Arc::new(x.iter().zip(&by).map(of_row).collect::<Float64Array>()))
        }),
        of_doubles::<1>("isinf", DataType::Boolean, |arrays| {
            let numbers = doubles(arrays)?;
            Ok(Arc::new(numbers.iter().map(|x| x.map(f64::is_infinite)).collect::<BooleanArray>()))
        }),
        of_doubles::<1>("sqrt", DOUBLE, |arrays| {
            Ok(Arc::new(doubles(arrays)?.unary::<_, Float64Type>(f64::sqrt)))
        }),
        function("bit_count", TypeSignature::Uniform(1, whole), DataType::Int64, bits),
    ]
}

/// `hash(..)`: the same number for the same values, on every machine and in every version.
pub fn hash() -> ScalarUDF {
    function("hash", TypeSignature::VariadicAny, DataType::UInt64, hashes)
}

fn doubles(arrays: &[ArrayRef]) -> Result<Float64Array, FunctionError> {
    let numbers = arrays.first().and_then(|array| array.as_primitive_opt::<Float64Type>());
    numbers.cloned().ok_or_else(|| FunctionError::internal("type of a number"))
}

/// How many bits of each number are set, of as many as its type has.
fn bits(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let [numbers] = take_function_args("bit_count", arrays)?;
    downcast_integer_array!(
        numbers => {
            let set: Int64Array = numbers.unary(|number| number.count_ones().into());
            Ok(Arc::new(set))
        }
        DataType::Decimal128(..) => {
            let numbers = numbers.as_primitive::<Decimal128Type>();
            let set: Int64Array = numbers.unary(|number| number.count_ones().into());
            Ok(Arc::new(set))
        },
        _ => Err(FunctionError::internal("type of a whole number").into())
    )
}

/// The next even number, away from zero.
fn even(x: f64) -> f64 {
    (2.0 * (x.abs() / 2.0).ceil()).copysign(x)
}

/// The rest of a division, which has the sign of the divisor.
fn rest(x: f64, by: f64) -> f64 {
    let rest = x % by;
    if rest != 0.0 && (rest < 0.0) != (by < 0.0) { rest + by } else { rest }
}

/// In which of equal parts of a range each value is, from 1; 0 below it, one more than there are above it.
fn buckets(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let [values, low, high, parts] = take_function_args("width_bucket", arrays)?;
    let float = |array: &ArrayRef| array.as_primitive_opt::<Float64Type>().cloned();
    let (Some(values), Some(low), Some(high), Some(parts)) =
        (float(values), float(low), float(high), parts.as_primitive_opt::<Int64Type>())
    else {
        return Err(FunctionError::internal("types of width_bucket()").into());
    };
    let mut found = Vec::with_capacity(values.len());
    for (((value, low), high), parts) in values.iter().zip(&low).zip(&high).zip(parts) {
        let (Some(value), Some(low), Some(high), Some(parts)) = (value, low, high, parts) else {
            found.push(None);
            continue;
        };
        if parts < 1 || !low.is_finite() || !high.is_finite() || low == high || value.is_nan() {
            let why = "width_bucket(x, low, high, n) takes numbers, two different ends and n of at least 1";
            return Err(FunctionError::invalid(why.to_owned()).into());
        }
        // Descending ends are counted from the high one, as PostgreSQL does.
        // The distance of two numbers may be more than the largest.
        let unit = if (high - low).is_finite() { 1.0 } else { 0.5 };
        let at = (unit * value - unit * low) / (unit * high - unit * low);
        found.push(Some(match at {
            at if at < 0.0 => 0,
            at if at >= 1.0 => parts.saturating_add(1),
            at => ((at * parts as f64) as i64).min(parts - 1) + 1,
        }));
    }
    Ok(Arc::new(Int64Array::from(found)))
}

/// A number for each row: of the text of its values, so that it depends on nothing but them.
fn hashes(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let mut state = vec![MIX_STEP; arrays.first().map_or(1, |array| array.len())];
    let options = FormatOptions::default();
    for array in arrays {
        let texts = ArrayFormatter::try_new(array, &options)?;
        for (row, state) in state.iter_mut().enumerate() {
            let value = match array.is_null(row) {
                true => u64::MAX,
                false => fnv(texts.value(row).to_string().as_bytes()),
            };
            *state = mix(state.wrapping_add(MIX_STEP) ^ value);
        }
    }
    Ok(Arc::new(UInt64Array::from(state)))
}

/// FNV-1a in 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Characters of a text, elements of a list.
pub(super) fn lengths(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let [values] = take_function_args("len", arrays)?;
    if values.data_type().is_nested() {
        let lengths = datafusion::arrow::compute::kernels::length::length(values)?;
        return Ok(arrow_cast::cast(&lengths, &DataType::Int64)?);
    }
    let texts = arrow_cast::cast(values, &DataType::Utf8)?;
    let Some(texts) = texts.as_string_opt::<i32>() else {
        return Err(FunctionError::internal("type of a text").into());
    };
    let length = |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    Ok(Arc::new(texts.iter().map(|text| text.map(length)).collect::<Int64Array>()))
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    #[test]
    fn buckets_count_from_one() {
        let column = |x: f64| Arc::new(Float64Array::from(vec![x; 5])) as ArrayRef;
        let values = Arc::new(Float64Array::from(vec![-0.1, 0.0, 0.5, 0.999, 1.0])) as ArrayRef;
        let parts = Arc::new(Int64Array::from(vec![4; 5])) as ArrayRef;
        let found = buckets(&[values, column(0.0), column(1.0), parts]).unwrap();
        assert_eq!(found.as_primitive::<Int64Type>().values().to_vec(), [0, 1, 3, 4, 5]);
    }

    #[test]
    fn numbers_are_made_even_away_from_zero() {
        for (x, next) in [(2.9, 4.0), (2.0, 2.0), (3.0, 4.0), (-0.1, -2.0), (0.0, 0.0)] {
            assert_eq!(even(x), next);
        }
    }

    #[test]
    fn a_rest_has_the_sign_of_the_divisor() {
        for (x, by, expected) in [(7.5, 2.0, 1.5), (-7.5, 2.0, 0.5), (7.5, -2.0, -0.5), (-6.0, 2.0, 0.0)] {
            assert_eq!(rest(x, by), expected);
        }
        assert!(rest(1.0, 0.0).is_nan());
    }

    #[test]
    fn a_hash_is_of_the_values_alone() {
        let texts = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")])) as ArrayRef;
        let found = hashes(&[texts]).unwrap();
        let found = found.as_primitive::<arrow_array::types::UInt64Type>();
        assert_eq!(found.value(0), found.value(2));
        assert_ne!(found.value(0), found.value(1));
    }
}
