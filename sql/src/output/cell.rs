//! Cells for flat formats: lists, structs and maps as JSON text, bytes as hex digits, intervals as casts do;
//! and how JSON is written.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::ArrowNativeType;
use gstore_functions::spans::{IntervalTexts, is_span};

use super::times;

/// Whether a column is text in a format without types, as Arrow writes it.
pub(super) fn is_plain(data_type: &DataType) -> bool {
    !data_type.is_nested()
        && !is_span(data_type)
        && !matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        )
}

/// The schema after [`flatten`].
pub(super) fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| match is_plain(f.data_type()) {
            true => f.as_ref().clone(),
            false => Field::new(f.name(), DataType::Utf8, true),
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Replaces the columns that are not plain by text.
pub(super) fn flatten(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(readable).collect::<Result<Vec<_>, _>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// The column itself, or its text where a cell is not one value.
pub(super) fn readable(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match is_plain(values.data_type()) {
        true => Ok(Arc::clone(values)),
        false => as_text(values),
    }
}

/// Each cell as JSON, without the quotes around a lone text: `[0.5,1]`, `{"a":1}`, `00ff`.
pub(super) fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new("c", column.data_type().clone(), true));
    times::check(column)?;
    let batch = RecordBatch::try_new(Arc::new(Schema::new([field])), vec![Arc::clone(column)])?;
    let mut writer = json().build::<_, arrow_json::writer::LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner()).map_err(|e| ArrowError::JsonError(e.to_string()))?;
    let cells: StringArray = text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let cell = line.strip_prefix("{\"c\":").and_then(|l| l.strip_suffix('}')).unwrap_or(line);
            column.is_valid(i).then(|| cell.trim_matches('"'))
        })
        .collect();
    Ok(Arc::new(cells))
}

/// How JSON is written: nulls stand in it.
pub(super) fn json() -> arrow_json::WriterBuilder {
    arrow_json::WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(TextKeys))
}

/// Writes the keys of maps as their texts, as the objects of JSON have no others, and all else as
/// [`IntervalTexts`].
#[derive(Debug)]
pub(super) struct TextKeys;

impl EncoderFactory for TextKeys {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let Some(maps) = array.as_map_opt() else {
            return IntervalTexts.make_default_encoder(field, array, options);
        };
        let encoder = MapEncoder {
            keys: key_texts(maps)?,
            offsets: maps.offsets().clone(),
            values: make_encoder(field, maps.values(), options)?,
        };
        Ok(Some(NullableEncoder::new(Box::new(encoder), maps.nulls().cloned())))
    }
}

/// The texts of the keys that the maps have: of a part of a batch, those of no other part.
fn key_texts(maps: &MapArray) -> Result<StringArray, ArrowError> {
    let (first, end) = (maps.offsets()[0].as_usize(), maps.offsets()[maps.len()].as_usize());
    let keys = readable(&maps.keys().slice(first, end - first))?;
    Ok(cast(&keys, &DataType::Utf8)?.as_string::<i32>().clone())
}

struct MapEncoder<'a> {
    /// From the first entry of the first map on.
    keys: StringArray,
    offsets: OffsetBuffer<i32>,
    values: NullableEncoder<'a>,
}

impl Encoder for MapEncoder<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let first = self.offsets[0].as_usize();
        let (begin, end) = (self.offsets[row].as_usize(), self.offsets[row + 1].as_usize());
        out.push(b'{');
        for entry in begin..end {
            if entry > begin {
                out.push(b',');
            }
            // A text always has its JSON, and writing to memory does not fail.
            let _ = serde_json::to_writer(&mut *out, self.keys.value(entry - first));
            out.push(b':');
            match self.values.is_null(entry) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(entry, out),
            }
        }
        out.push(b'}');
    }
}

/// A number to six significant digits: enough to compare scores by eye.
pub(super) fn short_float(value: f64) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    if !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&magnitude) {
        let text = format!("{value:.5e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if digits.contains('.') => {
                format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => text,
        };
    }
    let decimals = usize::try_from(5 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// Whether a cell is null; a column without a type holds nothing else.
pub(super) fn is_null(column: &ArrayRef, row: usize) -> bool {
    column.data_type().is_null() || column.is_null(row)
}

/// The values of a floating-point column as f64, or `None` for other columns.
pub(super) fn float(column: &ArrayRef, row: usize) -> Option<f64> {
    use datafusion::arrow::datatypes::{Float16Type, Float32Type, Float64Type};
    match column.data_type() {
        DataType::Float16 => Some(column.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => Some(f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_short_and_honest() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-0.25, "-0.25"),
            (0.123456789, "0.123457"),
            (1234567.0, "1234567"),
            (123456.789, "123457"),
            (1.5e-7, "1.5e-7"),
            (0.99999999, "1"),
            (2.5e20, "2.5e20"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short_float(value), text);
        }
    }
}
