//! JSON for readers whose numbers are doubles: what such a reader would change comes as `{"$number":"..."}`.
//!
//! These are whole numbers beyond 2^53, decimals of more than 15 digits, and numbers that are not finite,
//! which JSON has no words for. The `$` is written as an escape, which those of the names of columns and the
//! keys of maps never are: a reader of the text can tell a number from a struct with such a field.

use std::fmt::{Debug, Display};
use std::io::Write;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type,
    Float64Type, Int64Type, UInt64Type,
};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef};

use super::cell::TextKeys;

/// The largest whole number up to which doubles have all.
const MOST: u64 = (1 << 53) - 1;
/// Digits that a double keeps.
const DIGITS: usize = 15;

/// Writes numbers so that none is changed.
#[derive(Debug)]
pub(super) struct ExactNumbers;

impl EncoderFactory for ExactNumbers {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Int64 => numbers::<Int64Type, _>(array, |value| (value.unsigned_abs() <= MOST, value)),
            DataType::UInt64 => numbers::<UInt64Type, _>(array, |value| (value <= MOST, value)),
            DataType::Float16 => {
                numbers::<Float16Type, _>(array, |value| (value.is_finite(), value.to_f32()))
            }
            DataType::Float32 => numbers::<Float32Type, _>(array, |value| (value.is_finite(), value)),
            DataType::Float64 => numbers::<Float64Type, _>(array, |value| (value.is_finite(), value)),
            // Those of 32 bits have no more digits than a double.
            DataType::Decimal64(..) => decimals::<Decimal64Type>(array),
            DataType::Decimal128(..) => decimals::<Decimal128Type>(array),
            DataType::Decimal256(..) => decimals::<Decimal256Type>(array),
            _ => return TextKeys.make_default_encoder(field, array, options),
        })
    }
}

/// Numbers, each with whether a double is the same. Of a float `Debug` has the fewest digits that tell it from
/// its neighbours, and an exponent where it is long.
fn numbers<'a, T: ArrowPrimitiveType, N: Debug + 'static>(
    array: &'a dyn Array,
    number: fn(T::Native) -> (bool, N),
) -> Option<NullableEncoder<'a>> {
    let values = array.as_primitive::<T>();
    row_encoder(array, move |row, out| {
        let (is_same, number) = number(values.value(row));
        write_value(out, is_same, format_args!("{number:?}"));
    })
}

fn decimals<T: DecimalType>(array: &dyn Array) -> Option<NullableEncoder<'_>> {
    let values = array.as_primitive::<T>();
    row_encoder(array, move |row, out| {
        let value = values.value_as_string(row);
        let is_same = value.bytes().filter(u8::is_ascii_digit).count() <= DIGITS;
        write_value(out, is_same, value);
    })
}

struct RowEncoder<F>(F);

impl<F: Fn(usize, &mut Vec<u8>)> Encoder for RowEncoder<F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        (self.0)(row, out);
    }
}

fn row_encoder<'a>(
    array: &dyn Array,
    write: impl Fn(usize, &mut Vec<u8>) + 'a,
) -> Option<NullableEncoder<'a>> {
    Some(NullableEncoder::new(Box::new(RowEncoder(write)), array.nulls().cloned()))
}

fn write_value(out: &mut Vec<u8>, as_number: bool, value: impl Display) {
    // Writing to memory does not fail.
    let _ = match as_number {
        true => write!(out, "{value}"),
        false => write!(out, "{{\"\\u0024number\":\"{value}\"}}"),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Decimal64Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
        RecordBatch, StringArray, StructArray,
    };
    use arrow_schema::Field;

    use crate::output::ResultWriter;

    #[test]
    fn no_number_is_changed() {
        let columns: [(&str, ArrayRef); 6] = [
            ("i", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), Some(-5), None]))),
            ("f", Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::NEG_INFINITY]))),
            ("g", Arc::new(Float32Array::from(vec![0.1, 1e20, -0.0]))),
            ("d", {
                let values = Decimal128Array::from(vec![12345, 1234567890123456789, 0]);
                Arc::new(values.with_precision_and_scale(38, 2).unwrap())
            }),
            ("e", {
                let values = Decimal64Array::from(vec![12345, 123456789012345678, 0]);
                Arc::new(values.with_precision_and_scale(18, 2).unwrap())
            }),
            ("l", {
                let lists = [Some(vec![Some(1.5), Some(f64::INFINITY), None]), None, Some(vec![])];
                Arc::new(ListArray::from_iter_primitive::<super::Float64Type, _, _>(lists))
            }),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut out = Vec::new();
        let mut writer = ResultWriter::exact_json(&batch.schema(), &mut out);
        writer.write(&batch).unwrap();
        assert_eq!(writer.finish().unwrap(), 3);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"i\":{\"\\u0024number\":\"9007199254740993\"},\"f\":0.1,\"g\":0.1,\"d\":123.45,\"e\":123.45,\
             \"l\":[1.5,{\"\\u0024number\":\"inf\"},null]}\n\
             {\"i\":-5,\"f\":{\"\\u0024number\":\"NaN\"},\"g\":1e20,\"d\":{\"\\u0024number\":\"12345678901234567.89\"},\
             \"e\":{\"\\u0024number\":\"1234567890123456.78\"},\"l\":null}\n\
             {\"i\":null,\"f\":{\"\\u0024number\":\"-inf\"},\"g\":-0.0,\"d\":0.00,\"e\":0.00,\"l\":[]}\n"
        );
    }

    #[test]
    fn what_is_called_like_a_number_is_told_from_one() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
        let field = Arc::new(Field::new("$number", text.data_type().clone(), false));
        let object: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&text))]));
        let batch = RecordBatch::try_from_iter([("o", object), ("$number", text)]).unwrap();
        let mut out = Vec::new();
        let mut writer = ResultWriter::exact_json(&batch.schema(), &mut out);
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let written = "{\"o\":{\"$number\":\"7\"},\"$number\":\"7\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), written);
    }
}
