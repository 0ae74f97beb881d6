//! Sizes of the arguments of a function, row by row.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, IntervalMonthDayNanoType, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

/// The longest text of a number.
pub(super) const NUMBER: u64 = 26;
/// Most bytes that JSON has for one of a text.
const ESCAPED: u64 = 6;

/// A number for each row, or one for all.
pub(super) struct PerRow<T>(Vec<T>);

impl<T: Copy + Default> PerRow<T> {
    pub(super) fn at(&self, row: usize) -> T {
        let place = if self.0.len() == 1 { 0 } else { row };
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// Bytes of an argument's values.
pub(super) fn bytes(value: &ColumnarValue) -> PerRow<u64> {
    PerRow(match value {
        ColumnarValue::Scalar(scalar) => vec![scalar_bytes(scalar)],
        ColumnarValue::Array(array) => value_bytes(array),
    })
}

/// Elements of an argument that is a list; those of the innermost lists.
pub(super) fn leaves(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    Ok(PerRow(element_counts(&value.to_array(1)?)))
}

pub(super) fn of_texts<T: Default>(value: &ColumnarValue, found: impl Fn(&str) -> T) -> PerRow<T> {
    let of = |text: Option<&str>| text.map(&found).unwrap_or_default();
    PerRow(match value {
        ColumnarValue::Scalar(scalar) => vec![of(scalar.try_as_str().flatten())],
        ColumnarValue::Array(array) => {
            array.as_string_opt::<i32>().map_or_else(Vec::new, |texts| texts.iter().map(of).collect())
        }
    })
}

/// An argument that is a count; none of nothing and of what is negative.
pub(super) fn counts(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    let PerRow(numbers) = numbers(value)?;
    Ok(PerRow(numbers.into_iter().map(|n| u64::try_from(n).unwrap_or(0)).collect()))
}

pub(super) fn numbers(value: &ColumnarValue) -> DfResult<PerRow<i64>> {
    let array = arrow_cast::cast(&value.to_array(1)?, &DataType::Int64)?;
    Ok(PerRow(array.as_primitive::<Int64Type>().iter().map(|n| n.unwrap_or(0)).collect()))
}

/// An argument that is a date or an instant, in milliseconds.
pub(super) fn instants(value: &ColumnarValue) -> DfResult<PerRow<f64>> {
    let time = arrow_cast::cast(&value.to_array(1)?, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
    let number = arrow_cast::cast(&arrow_cast::cast(&time, &DataType::Int64)?, &DataType::Float64)?;
    Ok(PerRow(number.as_primitive::<Float64Type>().iter().map(|n| n.unwrap_or(0.0)).collect()))
}

/// An argument that is a span of time, in milliseconds, at its shortest.
pub(super) fn spans(value: &ColumnarValue) -> DfResult<PerRow<f64>> {
    const DAY: f64 = 86_400_000.0;
    let array = value.to_array(1)?;
    let Some(spans) = array.as_primitive_opt::<IntervalMonthDayNanoType>() else {
        return Ok(PerRow(vec![DAY; array.len()]));
    };
    let span = |s: arrow_array::types::IntervalMonthDayNano| {
        (f64::from(s.months) * 28.0 * DAY + f64::from(s.days) * DAY + s.nanoseconds as f64 / 1e6).abs()
    };
    Ok(PerRow(spans.iter().map(|s| s.map_or(DAY, span)).collect()))
}

/// Most bytes of an argument as JSON.
pub(super) fn json(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    Ok(PerRow(json_bytes(&value.to_array(1)?)))
}

fn json_bytes(array: &ArrayRef) -> Vec<u64> {
    if let Some(of) = array.as_struct_opt() {
        let mut all = vec![2u64; array.len()];
        for (field, column) in of.fields().iter().zip(of.columns()) {
            // Its quotes, a colon and a comma.
            let name = (field.name().len() as u64).saturating_mul(ESCAPED).saturating_add(4);
            for (all, value) in all.iter_mut().zip(json_bytes(column)) {
                *all = all.saturating_add(name).saturating_add(value);
            }
        }
        return all;
    }
    if let Some(lists) = inside(array) {
        let each: Vec<u64> = json_bytes(&lists.values).iter().map(|bytes| bytes.saturating_add(1)).collect();
        return differences(&lists.sums(&each)).map(|bytes| bytes.saturating_add(2)).collect();
    }
    let leaf = |bytes: &u64| bytes.saturating_mul(ESCAPED).saturating_add(NUMBER);
    value_bytes(array).iter().map(leaf).collect()
}

pub(super) fn scalar_bytes(scalar: &ScalarValue) -> u64 {
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

pub(super) fn value_bytes(array: &ArrayRef) -> Vec<u64> {
    // The low half of a view is the length of its text.
    let views = |views: &[u128]| views.iter().map(|view| u64::from(*view as u32) + 16).collect();
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().offsets().lengths().map(|n| n as u64).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().offsets().lengths().map(|n| n as u64).collect(),
        DataType::Binary => array.as_binary::<i32>().offsets().lengths().map(|n| n as u64).collect(),
        DataType::LargeBinary => array.as_binary::<i64>().offsets().lengths().map(|n| n as u64).collect(),
        DataType::Utf8View => views(array.as_string_view().views()),
        DataType::BinaryView => views(array.as_binary_view().views()),
        DataType::Boolean | DataType::Null => vec![1; array.len()],
        DataType::FixedSizeBinary(n) => vec![u64::try_from(*n).unwrap_or(0); array.len()],
        DataType::Dictionary(_, _) => dictionary_bytes(array),
        DataType::Struct(_) => array.as_struct().columns().iter().map(value_bytes).fold(
            vec![0; array.len()],
            |mut sums: Vec<u64>, column| {
                sums.iter_mut().zip(column).for_each(|(sum, bytes)| *sum = sum.saturating_add(bytes));
                sums
            },
        ),
        ty => match (ty.primitive_width(), inside(array)) {
            (Some(width), _) => vec![width as u64; array.len()],
            (None, Some(lists)) => {
                let sums = match lists.values.data_type().primitive_width() {
                    Some(width) => lists.ends.iter().map(|end| *end as u64 * width as u64).collect(),
                    None => lists.sums(&value_bytes(&lists.values)),
                };
                differences(&sums).map(|bytes| bytes.saturating_add(16)).collect()
            }
            (None, None) => (0..array.len()).map(|row| slow(&*array.slice(row, 1))).collect(),
        },
    }
}

/// Bytes of the values that the keys of a dictionary stand for.
fn dictionary_bytes(array: &ArrayRef) -> Vec<u64> {
    let dictionary = array.as_any_dictionary();
    let sizes = value_bytes(dictionary.values());
    match arrow_cast::cast(dictionary.keys(), &DataType::UInt64) {
        Ok(keys) => {
            let size = |key: Option<u64>| key.and_then(|key| sizes.get(usize::try_from(key).ok()?).copied());
            keys.as_primitive::<UInt64Type>().iter().map(|key| size(key).unwrap_or(0)).collect()
        }
        Err(_) => vec![sizes.into_iter().max().unwrap_or(0); array.len()],
    }
}

/// Bytes of an array of a rare type, of this part of its buffers only.
fn slow(array: &dyn Array) -> u64 {
    let data = array.to_data();
    data.get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()) as u64
}

/// Elements of each list of an array.
pub(super) fn lengths(array: &ArrayRef) -> Vec<u64> {
    let Some(lists) = inside(array) else { return vec![1; array.len()] };
    let ends: Vec<u64> = lists.ends.iter().map(|end| *end as u64).collect();
    differences(&ends).collect()
}

/// Elements of the innermost lists in each value of an array.
pub(super) fn element_counts(array: &ArrayRef) -> Vec<u64> {
    let Some(lists) = inside(array) else { return vec![1; array.len()] };
    let sums = match inside(&lists.values) {
        Some(_) => lists.sums(&element_counts(&lists.values)),
        None => lists.ends.iter().map(|end| *end as u64).collect(),
    };
    differences(&sums).collect()
}

/// The elements of the lists of an array.
struct ListElements {
    values: ArrayRef,
    /// Where each list ends in the values, after a 0.
    ends: Vec<usize>,
}

impl ListElements {
    /// At each end, the sum of what the elements before it have.
    fn sums(&self, each: &[u64]) -> Vec<u64> {
        let mut sums = vec![0u64];
        for (place, bytes) in each.iter().enumerate() {
            sums.push(sums.get(place).map_or(0, |sum| sum.saturating_add(*bytes)));
        }
        self.ends.iter().map(|end| sums.get(*end).copied().unwrap_or(0)).collect()
    }
}

fn differences(sums: &[u64]) -> impl Iterator<Item = u64> {
    sums.iter().zip(sums.iter().skip(1)).map(|(before, after)| after.saturating_sub(*before))
}

fn inside(array: &ArrayRef) -> Option<ListElements> {
    let of = |values: &ArrayRef, offsets: Vec<usize>| {
        let (first, last) = (*offsets.first()?, *offsets.last()?);
        let ends = offsets.into_iter().map(|end| end.saturating_sub(first)).collect();
        Some(ListElements { values: values.slice(first, last.saturating_sub(first)), ends })
    };
    let long = |offsets: &[i64]| offsets.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
    let short = |offsets: &[i32]| offsets.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            of(lists.values(), short(lists.value_offsets()))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            of(lists.values(), long(lists.value_offsets()))
        }
        DataType::FixedSizeList(_, n) => {
            let (values, n) = (array.as_fixed_size_list().values(), usize::try_from(*n).unwrap_or(0));
            of(values, (0..=array.len()).map(|row| row * n).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{DictionaryArray, ListArray, StringArray, StringViewArray, StructArray};
    use arrow_schema::Field;

    use super::*;

    fn all(array: ArrayRef) -> Vec<u64> {
        value_bytes(&array)
    }

    #[test]
    fn each_value_has_its_bytes() {
        let texts = StringArray::from(vec![Some("a"), None, Some("ccc")]);
        assert_eq!(all(Arc::new(texts)), [1, 0, 3]);
        assert_eq!(all(Arc::new(StringViewArray::from(vec!["a", "ccc"]))), [17, 19]);
        let words: DictionaryArray<Int32Type> =
            vec![Some("ab"), None, Some("ab"), Some("c")].into_iter().collect();
        assert_eq!(all(Arc::new(words)), [2, 0, 2, 1]);
        let lists = vec![Some(vec![Some(1), Some(2)]), None, Some(vec![]), Some(vec![Some(3)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
        assert_eq!(value_bytes(&lists), [24, 16, 16, 20]);
        assert_eq!(value_bytes(&lists.slice(2, 2)), [16, 20]);
        assert_eq!(element_counts(&lists), [2, 0, 0, 1]);
        assert_eq!(element_counts(&lists.slice(3, 1)), [1]);
    }

    #[test]
    fn json_is_no_longer_than_its_values_say() {
        let numbers: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), None]));
        let number = 4 * ESCAPED + NUMBER;
        assert_eq!(json_bytes(&numbers), [2 + 2 * (number + 1), 2]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("abc"), None]));
        let field = |name: &str, array: &ArrayRef| {
            (Arc::new(Field::new(name, array.data_type().clone(), true)), Arc::clone(array))
        };
        let inner: ArrayRef = Arc::new(StructArray::from(vec![field("n", &numbers), field("t", &texts)]));
        let outer: ArrayRef = Arc::new(StructArray::from(vec![field("in", &inner)]));
        let names = 2 + 2 * ESCAPED + 4 + 2 + 2 * (ESCAPED + 4);
        let first = names + 2 + 2 * (number + 1) + 3 * ESCAPED + NUMBER;
        assert_eq!(json_bytes(&outer), [first, names + 2 + NUMBER]);
        assert_eq!(json_bytes(&outer.slice(1, 1)), [names + 2 + NUMBER]);
    }
}
