//! Sizes of the arguments of a function, row by row.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

/// A number for each row, or one for all.
pub(super) struct PerRow<T>(Vec<T>);

impl<T: Copy + Default> PerRow<T> {
    /// The number of a row.
    pub(super) fn at(&self, row: usize) -> T {
        let place = if self.0.len() == 1 { 0 } else { row };
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// Bytes of an argument's values.
pub(super) fn bytes(value: &ColumnarValue) -> PerRow<u64> {
    PerRow(match value {
        ColumnarValue::Scalar(scalar) => vec![of_scalar(scalar)],
        ColumnarValue::Array(array) => each(array),
    })
}

/// Elements of an argument that is a list; those of the innermost lists.
pub(super) fn leaves(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    Ok(PerRow(match value {
        ColumnarValue::Scalar(scalar) => vec![count(&*scalar.to_array()?)],
        ColumnarValue::Array(array) => (0..array.len()).map(|row| count(&*array.slice(row, 1))).collect(),
    }))
}

/// An argument that is a count; none of nothing and of what is negative.
pub(super) fn counts(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    let PerRow(numbers) = numbers(value)?;
    Ok(PerRow(numbers.into_iter().map(|n| u64::try_from(n).unwrap_or(0)).collect()))
}

/// An argument that is a whole number.
pub(super) fn numbers(value: &ColumnarValue) -> DfResult<PerRow<i64>> {
    let array = arrow_cast::cast(&array(value)?, &DataType::Int64)?;
    Ok(PerRow(array.as_primitive::<Int64Type>().iter().map(|n| n.unwrap_or(0)).collect()))
}

/// An argument that is a date or an instant, in milliseconds.
pub(super) fn instants(value: &ColumnarValue) -> DfResult<PerRow<f64>> {
    let time = arrow_cast::cast(&array(value)?, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
    let number = arrow_cast::cast(&arrow_cast::cast(&time, &DataType::Int64)?, &DataType::Float64)?;
    Ok(PerRow(number.as_primitive::<Float64Type>().iter().map(|n| n.unwrap_or(0.0)).collect()))
}

/// An argument that is a span of time, in milliseconds, at its shortest.
pub(super) fn spans(value: &ColumnarValue) -> DfResult<PerRow<f64>> {
    const DAY: f64 = 86_400_000.0;
    let array = array(value)?;
    let Some(spans) = array.as_primitive_opt::<IntervalMonthDayNanoType>() else {
        return Ok(PerRow(vec![DAY; array.len()]));
    };
    let span = |s: arrow_array::types::IntervalMonthDayNano| {
        (f64::from(s.months) * 28.0 * DAY + f64::from(s.days) * DAY + s.nanoseconds as f64 / 1e6).abs()
    };
    Ok(PerRow(spans.iter().map(|s| s.map_or(DAY, span)).collect()))
}

fn array(value: &ColumnarValue) -> DfResult<ArrayRef> {
    match value {
        ColumnarValue::Array(array) => Ok(ArrayRef::clone(array)),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    }
}

/// Bytes of a constant.
pub(super) fn of_scalar(scalar: &ScalarValue) -> u64 {
    if let Some(text) = scalar.try_as_str() {
        return text.map_or(0, |text| text.len() as u64);
    }
    match scalar {
        ScalarValue::Binary(value) | ScalarValue::LargeBinary(value) | ScalarValue::BinaryView(value) => {
            value.as_ref().map_or(0, |bytes| bytes.len() as u64)
        }
        other => match other.data_type().primitive_width() {
            Some(width) => width as u64,
            None => other.size() as u64,
        },
    }
}

/// Bytes of each value of an array.
fn each(array: &ArrayRef) -> Vec<u64> {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().offsets().lengths().map(|n| n as u64).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().offsets().lengths().map(|n| n as u64).collect(),
        // The values of a dictionary would be counted for each row.
        DataType::Dictionary(_, values) => match arrow_cast::cast(array, values) {
            Ok(plain) => each(&plain),
            Err(_) => vec![array.get_array_memory_size() as u64; array.len()],
        },
        ty => match ty.primitive_width() {
            Some(width) => vec![width as u64; array.len()],
            None => (0..array.len()).map(|row| size(&*array.slice(row, 1))).collect(),
        },
    }
}

/// Bytes of an array's values, of this part of its buffers only.
fn size(array: &dyn Array) -> u64 {
    // The low half of a view is the length of its text.
    let views = |views: &[u128]| -> u64 { views.iter().map(|view| u64::from(*view as u32) + 16).sum() };
    match array.data_type() {
        DataType::Utf8View => views(array.as_string_view().views()),
        DataType::BinaryView => views(array.as_binary_view().views()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| size(&**column)).sum(),
        _ => match inside(array) {
            Some(values) => size(&*values).saturating_add(8 * (array.len() as u64 + 1)),
            None => {
                let data = array.to_data();
                data.get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()) as u64
            }
        },
    }
}

/// Elements of the innermost lists of an array.
fn count(array: &dyn Array) -> u64 {
    inside(array).map_or(array.len() as u64, |values| count(&*values))
}

/// The elements of the lists of an array.
fn inside(array: &dyn Array) -> Option<ArrayRef> {
    let part = |values: &ArrayRef, from: usize, to: usize| values.slice(from, to.saturating_sub(from));
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let (from, to) = (lists.value_offsets().first()?, lists.value_offsets().last()?);
            Some(part(lists.values(), usize::try_from(*from).ok()?, usize::try_from(*to).ok()?))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let (from, to) = (lists.value_offsets().first()?, lists.value_offsets().last()?);
            Some(part(lists.values(), usize::try_from(*from).ok()?, usize::try_from(*to).ok()?))
        }
        DataType::FixedSizeList(_, _) => Some(ArrayRef::clone(array.as_fixed_size_list().values())),
        _ => None,
    }
}
