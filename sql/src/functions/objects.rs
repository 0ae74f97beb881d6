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
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use self::contained::contained;
use super::columnar::by_column;
use super::spans::IntervalTexts;
use crate::error::SqlError;
use crate::signatures;

/// A timestamp as its text is.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum JsonBuilder {
    /// A value as JSON; null for null.
    Value,
    /// An object of keys and values.
    Object,
    /// A list of values.
    List,
    /// Whether a document has another in it.
    Contains,
}

/// The functions.
pub(super) fn functions() -> [ScalarUDF; 4] {
    [JsonBuilder::Value, JsonBuilder::Object, JsonBuilder::List, JsonBuilder::Contains].map(ScalarUDF::from)
}

impl ScalarUDFImpl for JsonBuilder {
    fn name(&self) -> &str {
        match self {
            JsonBuilder::Value => "to_json",
            JsonBuilder::Object => "json_object",
            JsonBuilder::List => "json_array",
            JsonBuilder::Contains => "json_contains",
        }
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(if *self == JsonBuilder::Contains { DataType::Boolean } else { DataType::Utf8 })
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let is_text = |ty: &DataType| super::casts::is_text(ty) || ty.is_null();
        let fits = match self {
            JsonBuilder::Value => types.len() == 1,
            JsonBuilder::Object => types.len().is_multiple_of(2) && types.iter().step_by(2).all(is_text),
            JsonBuilder::List => true,
            JsonBuilder::Contains => {
                matches!(types, [of, part] if is_text(of) && (is_text(part) || part.is_numeric()))
            }
        };
        let name = self.name();
        if !fits {
            let example = match self {
                JsonBuilder::Object => "'key', value, ..",
                JsonBuilder::Contains => "record, '\"text\"'",
                JsonBuilder::Value | JsonBuilder::List => "value",
            };
            return Err(SqlError::invalid(format!("{name}() is written {name}({example})")).into());
        }
        refuse_unknown(&format!("{name}()"), types)?;
        let texts = |place: usize| match self {
            JsonBuilder::Contains => true,
            JsonBuilder::Object => place.is_multiple_of(2),
            JsonBuilder::Value | JsonBuilder::List => false,
        };
        let coerced = types.iter().enumerate().map(|(place, ty)| match texts(place) {
            true => DataType::Utf8,
            false => ty.clone(),
        });
        Ok(coerced.collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        by_column(args, |arrays, rows| match self {
            JsonBuilder::Contains => contained(arrays),
            gives => build_json(*gives, arrays, rows),
        })
    }
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
pub(super) fn json(values: &ArrayRef) -> DfResult<ArrayRef> {
    build_json(JsonBuilder::Value, std::slice::from_ref(values), values.len())
}

fn build_json(gives: JsonBuilder, arrays: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
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
    for row in 0..rows {
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
