//! JSON from values: `to_json`, `json_object`, `json_array`, and casts; and containment, `json_contains`.
//!
//! A text becomes a string, also one that looks like JSON; but for those of which `embedded` of gstore-sql
//! says that they are JSON.

mod contained;

use std::sync::{Arc, OnceLock};

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_json::writer::{EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use gstore_core::json::{check, is_json};

use self::contained::contained;
use super::columnar::{by_column, checked};
use super::marked::{DocumentTexts, as_marked, has_json, no_json};
use super::spans::IntervalTexts;
use super::types::is_text;
use crate::error::FunctionError;
use crate::signatures;

/// A timestamp as its text is.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum JsonBuilder {
    /// A value as JSON; null for null.
    Value,
    Object,
    List,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BuilderFunction {
    name: &'static str,
    gives: JsonBuilder,
    /// The types of the arguments, where these have texts that are JSON.
    marked: Vec<DataType>,
}

impl ScalarUDFImpl for BuilderFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        taken(self.name, types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        by_column(&args, |arrays| build_json(self.gives, arrays, &self.marked))
    }
}

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    let builders = ["to_json", "json_object", "json_array"].map(|name| of_json(name, Vec::new()));
    builders.into_iter().chain([
        checked("json_contains", taken, DataType::Boolean, contained),
        // What stands in the place of `CAST(x AS JSON)` and of `TRY_CAST(x AS JSON)`.
        checked("as_json", cast, DataType::Utf8, |arrays| as_json(arrays, false)),
        checked("try_as_json", cast, DataType::Utf8, |arrays| as_json(arrays, true)),
    ])
}

/// The functions that take JSON as it is; they give JSON, too.
pub const JSON_TAKERS: [&str; 5] = ["to_json", "json_object", "json_array", "as_json", "try_as_json"];

/// Whether a function gives JSON.
pub fn gives_json(name: &str) -> bool {
    name == "json_extract" || JSON_TAKERS.contains(&name)
}

/// The function of this name for arguments of these types, some of whose texts are JSON; a cast to JSON gives
/// what `to_json()` does.
pub fn of_json(name: &str, marked: Vec<DataType>) -> ScalarUDF {
    let gives = match name {
        "json_object" => JsonBuilder::Object,
        "json_array" => JsonBuilder::List,
        _ => JsonBuilder::Value,
    };
    // Under another name it would not be found where the plan names it.
    let name = JSON_TAKERS.into_iter().find(|own| *own == name).unwrap_or("to_json");
    ScalarUDF::from(BuilderFunction { name, gives, marked })
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
        return Err(FunctionError::invalid(format!("{name}() is called as {name}({example})")).into());
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
fn refuse_unknown(what: &str, types: &[DataType]) -> DfResult<()> {
    let Some(ty) = types.iter().find(|ty| !is_known(ty)) else { return Ok(()) };
    let error = FunctionError::invalid(format!("{what} takes no {ty}"));
    Err(error.hint("of a map, map_keys(x) and map_values(x) are lists").into())
}

/// What a cast to JSON takes.
fn cast(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = take_function_args(name, types)?;
    if is_text(of) || of.is_null() {
        return Ok(vec![DataType::Utf8]);
    }
    refuse_unknown("a cast to JSON", types)?;
    Ok(vec![of.clone()])
}

/// The JSON of values; a text that is none is null if it is `safe`.
fn as_json(arrays: &[ArrayRef], safe: bool) -> DfResult<ArrayRef> {
    let [values] = take_function_args("as_json", arrays)?;
    let Some(texts) = values.as_string_opt::<i32>() else {
        return build_json(JsonBuilder::Value, arrays, &[]);
    };
    if safe {
        let sound = |text: &&str| is_json(text);
        return Ok(Arc::new(texts.iter().map(|text| text.filter(sound)).collect::<StringArray>()));
    }
    for text in texts.iter().flatten() {
        check(text).map_err(|why| no_json(text, &why))?;
    }
    Ok(Arc::clone(values))
}

fn options(factory: Arc<dyn EncoderFactory>) -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(factory)
        .with_timestamp_format(TIME.to_owned())
}

fn build_json(gives: JsonBuilder, arrays: &[ArrayRef], marked: &[DataType]) -> DfResult<ArrayRef> {
    let wrong = Arc::new(OnceLock::new());
    let plain = options(Arc::new(IntervalTexts));
    let with_json = options(Arc::new(DocumentTexts { wrong: Arc::clone(&wrong) }));
    let mark = |place: usize| marked.get(place).filter(|ty| has_json(ty));
    let marks: Vec<Option<&DataType>> = (0..arrays.len()).map(mark).collect();
    let values = arrays.iter().zip(&marks).map(|(array, mark)| match mark {
        Some(mark) => as_marked(array, mark),
        None => Ok(Arc::clone(array)),
    });
    let arrays = values.collect::<DfResult<Vec<ArrayRef>>>()?;
    let field = |array: &ArrayRef| Arc::new(Field::new("value", array.data_type().clone(), true));
    let fields: Vec<FieldRef> = arrays.iter().map(field).collect();
    let encoders = fields.iter().zip(&arrays).zip(&marks).map(|((field, array), mark)| {
        make_encoder(field, array.as_ref(), if mark.is_some() { &with_json } else { &plain })
    });
    let mut encoders = encoders.collect::<Result<Vec<_>, _>>()?;
    let mut texts = StringBuilder::new();
    let mut out = Vec::new();
    for row in 0..arrays.first().map_or(1, |array| array.len()) {
        out.clear();
        let is_there = write_row(gives, &mut encoders, row, &mut out);
        if let Some(error) = wrong.get() {
            return Err(error.clone().into());
        }
        let text = std::str::from_utf8(&out).map_err(|_| FunctionError::internal("JSON that is no text"))?;
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
