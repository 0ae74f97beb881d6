//! Arrow values as JSON.
//!
//! Rules
//! - null is no value: a struct leaves the field out, but a list keeps the place and a map the key, as `null`;
//!   a NaN counts as null, since that is what data frames mean by it
//! - a number keeps its shortest digits in its own precision (the `f32` 0.1 becomes `0.1`), unless its exact
//!   value is asked for ([`Floats`])
//! - dates, times and durations become ISO 8601 text, with `Z` for instants, and a date in milliseconds the
//!   text of its day; decimals become text, so that no digit is lost
//! - bytes become text if they are UTF-8 (Parquet files of old writers hold strings so),
//!   else they are refused

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::MILLISECONDS_IN_DAY;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use serde_json::{Map, Number, Value};

/// A value that JSON has no place for.
#[derive(Debug, PartialEq)]
pub(super) struct UnsupportedValue {
    /// Path below the column: `.image.bytes`, `[3]`.
    pub(super) at: String,
    pub(super) message: String,
}

impl UnsupportedValue {
    fn new(message: impl Into<String>) -> Self {
        Self { at: String::new(), message: message.into() }
    }

    fn below(mut self, step: &str) -> Self {
        self.at.insert_str(0, step);
        self
    }
}

/// Which number stands for a float of 16 or 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Floats {
    /// That of the fewest digits that gives it back in its own precision.
    #[default]
    Shortest,
    /// Its value.
    Exact,
}

impl Floats {
    /// Bits of the floats of a column; `None` where it has none.
    pub(super) fn bits(column: &DataType) -> Option<u8> {
        match column {
            DataType::Float16 => Some(16),
            DataType::Float32 => Some(32),
            DataType::Float64 => Some(64),
            DataType::Dictionary(_, values) => Self::bits(values),
            _ => None,
        }
    }

    fn single(self, value: f32) -> f64 {
        match self {
            Self::Shortest => shortest_f32(value),
            Self::Exact => f64::from(value),
        }
    }

    fn half(self, value: Half) -> f64 {
        match self {
            Self::Shortest => shortest_f16(value),
            Self::Exact => value.to_f64(),
        }
    }
}

fn value_of(array: &dyn Array, row: usize, floats: Floats) -> Result<Value, UnsupportedValue> {
    use DataType as T;
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        T::Null => Value::Null,
        T::Boolean => array.as_boolean().value(row).into(),
        T::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        T::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        T::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        T::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        T::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        T::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        T::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        T::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        T::Float16 => float(floats.half(array.as_primitive::<Float16Type>().value(row)))?,
        T::Float32 => float(floats.single(array.as_primitive::<Float32Type>().value(row)))?,
        T::Float64 => float(array.as_primitive::<Float64Type>().value(row))?,
        T::Utf8 => array.as_string::<i32>().value(row).into(),
        T::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        T::Utf8View => array.as_string_view().value(row).into(),
        T::Binary => bytes(array.as_binary::<i32>().value(row), array.data_type())?,
        T::LargeBinary => bytes(array.as_binary::<i64>().value(row), array.data_type())?,
        T::BinaryView => bytes(array.as_binary_view().value(row), array.data_type())?,
        T::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(row), array.data_type())?,
        T::List(_) => list(&array.as_list::<i32>().value(row), floats)?,
        T::LargeList(_) => list(&array.as_list::<i64>().value(row), floats)?,
        T::ListView(_) => list(&array.as_list_view::<i32>().value(row), floats)?,
        T::LargeListView(_) => list(&array.as_list_view::<i64>().value(row), floats)?,
        T::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), floats)?,
        T::Struct(fields) => {
            let names = fields.iter().map(|field| field.name().as_str());
            Value::Object(object(names.zip(array.as_struct().columns()), row, floats)?)
        }
        T::Map(..) => map(array.as_map().value(row).columns(), floats)?,
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            // Of one row only: the keys of a whole column would be rebuilt for each.
            let one = array.slice(row, 1);
            let key = one.as_any_dictionary().normalized_keys().first().copied();
            let key = key.filter(|key| *key < dictionary.values().len());
            let key = key.ok_or_else(|| UnsupportedValue::new("a key without a value"))?;
            value_of(dictionary.values(), key, floats)?
        }
        T::Duration(unit) => duration(array, *unit, row)?.into(),
        T::Date32
        | T::Date64
        | T::Time32(_)
        | T::Time64(_)
        | T::Timestamp(..)
        | T::Interval(_)
        | T::Decimal32(..)
        | T::Decimal64(..)
        | T::Decimal128(..)
        | T::Decimal256(..) => displayed(array, row)?,
        other => {
            return Err(UnsupportedValue::new(format!(
                "values of type {other} cannot be written as JSON; leave the column out"
            )));
        }
    })
}

/// The fields of a row that are not null. Names are distinct: see `rows::check`.
pub(super) fn object<'a>(
    fields: impl Iterator<Item = (&'a str, &'a ArrayRef)>,
    row: usize,
    floats: Floats,
) -> Result<Map<String, Value>, UnsupportedValue> {
    let mut object = Map::new();
    for (name, column) in fields {
        match value_of(column, row, floats).map_err(|unfit| unfit.below(&format!(".{name}")))? {
            Value::Null => {}
            value => {
                object.insert(name.to_owned(), value);
            }
        }
    }
    Ok(object)
}

fn list(items: &ArrayRef, floats: Floats) -> Result<Value, UnsupportedValue> {
    let item = |i| value_of(items, i, floats).map_err(|unfit| unfit.below(&format!("[{i}]")));
    (0..items.len()).map(item).collect::<Result<_, _>>().map(Value::Array)
}

/// The entries of one map: its keys become the keys of an object.
fn map(entries: &[ArrayRef], floats: Floats) -> Result<Value, UnsupportedValue> {
    let [keys, values] = entries else { return Err(UnsupportedValue::new("a map without keys and values")) };
    let mut object = Map::new();
    for i in 0..keys.len() {
        let Value::String(key) = value_of(keys, i, floats)? else {
            return Err(UnsupportedValue::new(
                "a map whose keys are not text cannot be written as JSON; leave the column out",
            ));
        };
        let value = value_of(values, i, floats).map_err(|unfit| unfit.below(&format!(".{key}")))?;
        if let Some(previous) = object.insert(key, value) {
            return Err(UnsupportedValue::new(format!(
                "a map with a key twice (its other value is {previous})"
            )));
        }
    }
    Ok(Value::Object(object))
}

fn float(value: f64) -> Result<Value, UnsupportedValue> {
    if value.is_nan() {
        return Ok(Value::Null);
    }
    let number = Number::from_f64(value).map(Value::Number);
    number.ok_or_else(|| {
        UnsupportedValue::new(format!("{value} is not a JSON number; replace it or leave the column out"))
    })
}

/// The number of the fewest digits that gives this one back: 0.1 and not 0.100000001.
fn shortest_f32(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// The same of a half, at most five. The text that `Half` has of itself is that of an `f32`.
fn shortest_f16(value: Half) -> f64 {
    let exact = value.to_f64();
    let rounded = |digits: usize| format!("{exact:.digits$e}").parse().unwrap_or(exact);
    (0..5).map(rounded).find(|short| Half::from_f64(*short) == value).unwrap_or(exact)
}

/// The same of the float that is 2, 4 or 8 bytes, the lowest first.
pub(crate) fn shortest_float(bytes: &[u8]) -> Option<f64> {
    Some(match bytes.len() {
        2 => shortest_f16(Half::from_le_bytes(bytes.try_into().ok()?)),
        4 => shortest_f32(f32::from_le_bytes(bytes.try_into().ok()?)),
        _ => f64::from_le_bytes(bytes.try_into().ok()?),
    })
}

fn bytes(bytes: &[u8], ty: &DataType) -> Result<Value, UnsupportedValue> {
    let text = std::str::from_utf8(bytes).map(Value::from);
    text.map_err(|_| {
        UnsupportedValue::new(format!("values of type {ty} that are not UTF-8 text; leave the column out"))
    })
}

fn bad(error: ArrowError) -> UnsupportedValue {
    UnsupportedValue::new(error.to_string())
}

/// A duration as ISO 8601 text. Arrow's own text ends at 2^63 milliseconds, and is `<invalid>` beyond.
fn duration(array: &dyn Array, unit: TimeUnit, row: usize) -> Result<String, UnsupportedValue> {
    let count = arrow_cast::cast(&array.slice(row, 1), &DataType::Int64).map_err(bad)?;
    let count = count.as_primitive::<Int64Type>().value(0);
    let (digits, second) = match unit {
        TimeUnit::Second => (0_usize, 1),
        TimeUnit::Millisecond => (3, 1_000),
        TimeUnit::Microsecond => (6, 1_000_000),
        TimeUnit::Nanosecond => (9, 1_000_000_000),
    };
    let sign = if count < 0 { "-" } else { "" };
    Ok(match (count.unsigned_abs() / second, count.unsigned_abs() % second) {
        (0, 0) => "P0D".to_owned(),
        (seconds, 0) => format!("{sign}PT{seconds}S"),
        (seconds, rest) => {
            let fraction = format!("{rest:0digits$}");
            format!("{sign}PT{seconds}.{}S", fraction.trim_end_matches('0'))
        }
    })
}

/// That a date or time has no text, with its own number: the library names that of the type it was cast to.
fn no_text(array: &dyn Array, row: usize) -> Option<UnsupportedValue> {
    use DataType as T;
    let ty = array.data_type();
    let why = match ty {
        T::Date32 | T::Date64 | T::Timestamp(..) => {
            "is beyond the calendar, which has the years from -262143 to 262142"
        }
        T::Time32(_) | T::Time64(_) => "is no time of a day",
        _ => return None,
    };
    let number = arrow_cast::cast(&array.slice(row, 1), &T::Int64).ok()?;
    let number = number.as_primitive::<Int64Type>().value(0);
    let message = format!("the {ty} with the number {number} {why}; correct it or leave the column out");
    Some(UnsupportedValue::new(message))
}

fn displayed(array: &dyn Array, row: usize) -> Result<Value, UnsupportedValue> {
    text_of(array, row).map_err(|error| no_text(array, row).unwrap_or_else(|| bad(error)))
}

fn text_of(array: &dyn Array, row: usize) -> Result<Value, ArrowError> {
    let mut one = array.slice(row, 1);
    // An instant is the same in every zone, and the names of zones need a table that may not be there.
    if let DataType::Timestamp(unit, Some(_)) = array.data_type() {
        one = arrow_cast::cast(&one, &DataType::Timestamp(*unit, Some("+00:00".into())))?;
    }
    // Arrow forbids dates with a time of day; in a file that has one it stays, so that nothing is lost.
    if let Some(dates) = array.as_primitive_opt::<Date64Type>()
        && dates.value(row) % MILLISECONDS_IN_DAY == 0
    {
        // A date that is too large is an error; by default it would be null.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        one = cast_with_options(&one, &DataType::Date32, &strict)?;
    }
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(&one, &options)?;
    let text = formatter.value(0).try_to_string()?;
    // A decimal with a negative scale has its zeros behind the digits.
    Ok(if text.bytes().all(|byte| byte == b'0') { "0".into() } else { text.into() })
}
