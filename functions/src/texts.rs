//! `hex(x)` and `bar(x, low, high, width)`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::hex;

use super::columnar::checked;
use super::digests::of_bytes;
use super::types::is_text;
use crate::error::FunctionError;

/// Characters of a bar where the call does not say how many, and the most that it may say.
const WIDTH: f64 = 80.0;
const WIDEST: f64 = 1000.0;
/// A power of two, so that nothing is rounded, in which [`WIDEST`] times any distance of two numbers is one.
const SMALL_UNIT: f64 = 1.0 / 2048.0;
/// Eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

pub(super) fn functions() -> [ScalarUDF; 2] {
    [
        checked("hex", of_hex, DataType::Utf8, |arrays| Ok(Arc::new(digits(arrays)?))),
        checked("bar", of_bar, DataType::Utf8, |arrays| Ok(Arc::new(bars(arrays)?))),
    ]
}

fn of_hex(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = types else {
        return Err(FunctionError::invalid("hex() is called as hex(x)".to_owned()).into());
    };
    Ok(vec![match of {
        DataType::UInt64 => DataType::UInt64,
        of if of.is_integer() => DataType::Int64,
        of if is_text(of) || of.is_null() => DataType::Utf8,
        of if of.is_binary() => DataType::Binary,
        _ => {
            let why = format!("hex() takes a whole number, a text or bytes, not {of}");
            return Err(FunctionError::invalid(why).into());
        }
    }])
}

fn of_bar(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let is_number = |ty: &DataType| ty.is_numeric() || ty.is_null();
    if (3..=4).contains(&types.len()) && types.iter().all(is_number) {
        return Ok(vec![DataType::Float64; types.len()]);
    }
    let why = "bar() is called as bar(x, low, high), or with a number of characters after that";
    Err(FunctionError::invalid(why.to_owned()).into())
}

/// The hexadecimal digits of numbers, or those of the bytes of texts.
fn digits(arrays: &[ArrayRef]) -> Result<StringArray, FunctionError> {
    let Some(values) = arrays.first() else { return Err(FunctionError::internal("no value of hex()")) };
    if let Some(numbers) = values.as_primitive_opt::<Int64Type>() {
        return Ok(numbers.iter().map(|number| number.map(|number| format!("{number:X}"))).collect());
    }
    if let Some(numbers) = values.as_primitive_opt::<UInt64Type>() {
        return Ok(numbers.iter().map(|number| number.map(|number| format!("{number:X}"))).collect());
    }
    of_bytes(arrays, |bytes| hex(bytes).to_ascii_uppercase())
}

/// Bars as long as their values say.
fn bars(arrays: &[ArrayRef]) -> Result<StringArray, FunctionError> {
    let [values, low, high, widths @ ..] = arrays else {
        return Err(FunctionError::internal("arguments of bar()"));
    };
    let of = |array: &ArrayRef, row: usize| {
        array
            .as_primitive_opt::<Float64Type>()
            .filter(|numbers| numbers.is_valid(row))
            .map(|numbers| numbers.value(row))
    };
    let bar = |row: usize| {
        let width = match widths.first() {
            None => Some(WIDTH),
            Some(widths) => of(widths, row),
        };
        let (Some(value), Some(low), Some(high), Some(width)) =
            (of(values, row), of(low, row), of(high, row), width)
        else {
            return Ok(None);
        };
        if !(1.0..=WIDEST).contains(&width) {
            let why = format!("a bar has 1 to {WIDEST} characters, not {width}");
            return Err(FunctionError::invalid(why));
        }
        // The distance of two numbers, and still more so many times it, may be more than the largest.
        let unit = if (width * (high - low)).is_finite() { 1.0 } else { SMALL_UNIT };
        let length = match value {
            _ if value.is_nan() || low.is_nan() || high.is_nan() || value <= low => 0.0,
            _ if value >= high => width,
            _ => width * (unit * value - unit * low) / (unit * high - unit * low),
        };
        // What is infinitely far from the low end has no place: of NaN there are no eighths.
        let eighths = (8.0 * length.clamp(0.0, width)) as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.push_str(EIGHTHS.get(eighths % 8).copied().unwrap_or_default());
        let used = eighths.div_ceil(8);
        bar.push_str(&" ".repeat((width as usize).saturating_sub(used)));
        Ok(Some(bar))
    };
    (0..values.len()).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, Float64Array, Int64Array};

    use super::*;

    fn texts(array: &StringArray) -> Vec<Option<&str>> {
        array.iter().collect()
    }

    #[test]
    fn digits_are_those_of_duckdb() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(255), Some(-1), None]));
        assert_eq!(texts(&digits(&[numbers]).unwrap()), [Some("FF"), Some("FFFFFFFFFFFFFFFF"), None]);
        let words: ArrayRef = Arc::new(StringArray::from(vec!["abc", ""]));
        assert_eq!(texts(&digits(&[words]).unwrap()), [Some("616263"), Some("")]);
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]]));
        assert_eq!(texts(&digits(&[bytes]).unwrap()), [Some("00FF")]);
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let bars_of = |values: Vec<f64>, width: f64| {
            let rows = values.len();
            bars(&[
                column(values),
                column(vec![0.0; rows]),
                column(vec![20.0; rows]),
                column(vec![width; rows]),
            ])
        };
        let found = bars_of(vec![5.0, -1.0, 30.0], 10.0).unwrap();
        assert_eq!(texts(&found), [Some("██▌       "), Some("          "), Some("██████████")]);
        assert!(bars_of(vec![1.0], 0.0).is_err() && bars_of(vec![1.0], f64::NAN).is_err());
    }

    #[test]
    fn bars_between_ends_that_are_far_apart_are_no_longer_than_their_values() {
        let one = |number: f64| Arc::new(Float64Array::from(vec![number])) as ArrayRef;
        let bar = |value: f64, low: f64, high: f64| {
            bars(&[one(value), one(low), one(high), one(10.0)]).unwrap().value(0).to_owned()
        };
        let (far, infinite) = (2f64.powi(1023), f64::INFINITY);
        for (value, low, high, expected) in [
            (0.0, -infinite, 10.0, "          "),
            (0.0, -infinite, infinite, "          "),
            (1.0, 0.0, infinite, "          "),
            (1.0, -far, far, "█████     "),
            (-far / 2.0, -far, far, "██▌       "),
            (far / 2.0, 0.0, far, "█████     "),
        ] {
            assert_eq!(bar(value, low, high), expected, "{value} of {low} to {high}");
        }
    }
}
