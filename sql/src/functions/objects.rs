//! JSON from values: `to_json`, `json_object`, `json_array`; and containment, `json_contains`.
//!
//! A text becomes a string, also one that is JSON.

mod contained;

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef};
use arrow_json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;

use self::contained::contained;
use super::casts::is_text;
use super::columnar::checked;
use super::spans::IntervalTexts;
use crate::error::SqlError;

/// A timestamp as its text is.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

#[derive(Clone, Copy)]
enum JsonBuilder {
    /// A value as JSON; null for null.
    Value,
    /// An object of keys and values.
    Object,
    /// A list of values.
    List,
}

/// The functions.
pub(super) fn functions() -> [ScalarUDF; 4] {
    const TEXT: DataType = DataType::Utf8;
    [
        checked("to_json", taken, TEXT, json),
        checked("json_object", taken, TEXT, |arrays| build_json(JsonBuilder::Object, arrays)),
        checked("json_array", taken, TEXT, |arrays| build_json(JsonBuilder::List, arrays)),
        checked("json_contains", taken, DataType::Boolean, contained),
    ]
}

fn taken(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let is_text = |ty: &DataType| is_text(ty) || ty.is_null();
    let (fits, example) = match name {
        "json_object" => {
            let has_keys = types.len().is_multiple_of(2) && types.iter().step_by(2).all(is_text);
            (has_keys, "'key', value, ..")
        }
        "json_contains" => {
            let is_part = |part: &DataType| is_text(part) || part.is_numeric();
            (matches!(types, [of, part] if is_text(of) && is_part(part)), "record, '\"text\"'")
        }
        "to_json" => (types.len() == 1, "value"),
        _ => (true, "value"),
    };
    if !fits {
        return Err(SqlError::invalid(format!("{name}() is written {name}({example})")).into());
    }
    refuse_unknown(&format!("{name}()"), types)?;
    let is_cast = |place: usize| match name {
        "json_contains" => true,
        "json_object" => place.is_multiple_of(2),
        _ => false,
    };
    let coerced = types.iter().enumerate();
    Ok(coerced.map(|(place, ty)| if is_cast(place) { DataType::Utf8 } else { ty.clone() }).collect())
}

/// Whether the length of the JSON of a type is known from its values: it has no map, nor a union.
fn is_known(ty: &DataType) -> bool {
    match ty {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_known(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_known(field.data_type())),
        ty => !ty.is_nested(),
    }
}

/// Refuses types whose JSON has no known length; `what` takes the values.
pub(super) fn refuse_unknown(what: &str, types: &[DataType]) -> DfResult<()> {
    let Some(ty) = types.iter().find(|ty| !is_known(ty)) else { return Ok(()) };
    let error = SqlError::invalid(format!("{what} takes no {ty}"));
    Err(error.hint("of a map, map_keys(x) and map_values(x) are lists").into())
}

/// Values as JSON; null for null.
pub(super) fn json(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    build_json(JsonBuilder::Value, arrays)
}

fn build_json(gives: JsonBuilder, arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(IntervalTexts))
        .with_timestamp_format(TIME.to_owned());
    let field = |array: &ArrayRef| Arc::new(Field::new("value", array.data_type().clone(), true));
    let fields: Vec<FieldRef> = arrays.iter().map(field).collect();
    let encoders =
        fields.iter().zip(arrays).map(|(field, array)| make_encoder(field, array.as_ref(), &options));
    let mut encoders = encoders.collect::<Result<Vec<_>, _>>()?;
    let mut texts = StringBuilder::new();
    let mut out = Vec::new();
    for row in 0..arrays.first().map_or(1, |array| array.len()) {
        out.clear();
        let is_there = write_row(gives, &mut encoders, row, &mut out);
        let text = std::str::from_utf8(&out).map_err(|_| SqlError::internal("JSON that is no text"))?;
        texts.append_option(is_there.then_some(text));
    }
    Ok(Arc::new(texts.finish()))
}

/// Writes the JSON of a row; says whether there is any.
fn write_row(
    gives: JsonBuilder,
    encoders: &mut [NullableEncoder<'_>],
    row: usize,
    out: &mut Vec<u8>,
) -> bool {
    let one = |encoder: &mut NullableEncoder<'_>, out: &mut Vec<u8>| match encoder.is_null(row) {
        true => out.extend_from_slice(b"null"),
        false => encoder.encode(row, out),
    };
    match (gives, encoders) {
        (JsonBuilder::Object, pairs) => {
            out.push(b'{');
            for pair in pairs.chunks_mut(2) {
                let [key, value] = pair else { continue };
                // A key that is null has no place in an object.
                if key.is_null(row) {
                    continue;
                }
                if out.len() > 1 {
                    out.push(b',');
                }
                key.encode(row, out);
                out.push(b':');
                one(value, out);
            }
            out.push(b'}');
        }
        (JsonBuilder::List, values) => {
            out.push(b'[');
            for (place, value) in values.iter_mut().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                one(value, out);
            }
            out.push(b']');
        }
        (_, [value, ..]) if !value.is_null(row) => value.encode(row, out),
        _ => return false,
    }
    true
}
