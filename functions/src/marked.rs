//! Texts that are JSON as parts of other JSON, and types that say which texts are: JSON is text here, without a
//! type of its own.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields};
use datafusion::error::Result as DfResult;
use gstore_core::json::check;
use gstore_core::shortened;

use super::spans::IntervalTexts;
use super::types::is_text;
use crate::error::FunctionError;

/// Most characters of a text in a message.
const SAID: usize = 100;

/// In the place of a text that is JSON.
pub const JSON: DataType = DataType::LargeUtf8;

/// Whether a type has texts that are JSON.
pub fn has_json(ty: &DataType) -> bool {
    match ty {
        DataType::List(item) => has_json(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_json(field.data_type())),
        ty => *ty == JSON,
    }
}

/// Values with [`JSON`] in the place of those texts that a type says to be so.
pub(super) fn as_marked(array: &ArrayRef, mark: &DataType) -> DfResult<ArrayRef> {
    Ok(arrow_cast::cast(array, &marked(array.data_type(), mark))?)
}

/// A type with [`JSON`] where another of the same form has it.
fn marked(ty: &DataType, mark: &DataType) -> DataType {
    match (ty, mark) {
        (
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
            DataType::List(mark),
        ) => list(marked(item.data_type(), mark.data_type())),
        (DataType::Struct(fields), DataType::Struct(marks)) if fields.len() == marks.len() => {
            structure(fields, |field, place| {
                marks.get(place).map_or_else(|| plain(field), |mark| marked(field, mark.data_type()))
            })
        }
        (ty, mark) if is_text(ty) && *mark == JSON => JSON,
        _ => plain(ty),
    }
}

/// A type without JSON, and with one type of texts and of lists.
pub fn plain(ty: &DataType) -> DataType {
    match ty {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            list(plain(item.data_type()))
        }
        DataType::Struct(fields) => structure(fields, |field, _| plain(field)),
        ty if is_text(ty) => DataType::Utf8,
        ty => ty.clone(),
    }
}

/// A list of items of a type.
pub fn list(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

/// A struct with other types of its fields.
fn structure(fields: &Fields, of: impl Fn(&DataType, usize) -> DataType) -> DataType {
    let field = |(place, field): (usize, &Arc<Field>)| {
        Field::clone(field).with_data_type(of(field.data_type(), place))
    };
    DataType::Struct(fields.iter().enumerate().map(field).collect())
}

/// The type of values that come from the one or the other: JSON only where both are.
pub fn either(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        (DataType::Null, of) | (of, DataType::Null) => of.clone(),
        (DataType::List(one), DataType::List(other)) => list(either(one.data_type(), other.data_type())),
        (DataType::Struct(fields), DataType::Struct(others)) if fields.len() == others.len() => {
            structure(fields, |field, place| {
                others.get(place).map_or_else(|| plain(field), |other| either(field, other.data_type()))
            })
        }
        (one, other) if one == other => one.clone(),
        (one, _) => plain(one),
    }
}

/// Writes texts of the type [`JSON`] without quotes, and all else as [`IntervalTexts`].
#[derive(Debug)]
pub(super) struct DocumentTexts {
    /// Said of the first text that is none.
    pub(super) wrong: Arc<OnceLock<FunctionError>>,
}

impl EncoderFactory for DocumentTexts {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if *array.data_type() != JSON {
            return IntervalTexts.make_default_encoder(field, array, options);
        }
        let encoder =
            DocumentEncoder { texts: array.as_string::<i64>().clone(), wrong: Arc::clone(&self.wrong) };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}

struct DocumentEncoder {
    texts: LargeStringArray,
    wrong: Arc<OnceLock<FunctionError>>,
}

impl Encoder for DocumentEncoder {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.texts.value(row);
        match check(text) {
            Ok(()) => compact(text, out),
            Err(why) => {
                self.wrong.get_or_init(|| no_json(text, &why));
            }
        }
    }
}

/// Writes JSON without the blanks between its parts.
fn compact(json: &str, out: &mut Vec<u8>) {
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        if !is_string && byte.is_ascii_whitespace() {
            continue;
        }
        out.push(byte);
        is_string ^= byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
    }
}

pub(super) fn no_json(text: &str, why: &serde_json::Error) -> FunctionError {
    FunctionError::invalid(format!("'{}' is not valid JSON: {why}", shortened(text, SAID))).hint(
        "to_json(x) makes a JSON string of a text; TRY_CAST(x AS JSON) is null for one that is not JSON",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_within_strings_stay() {
        for (json, expected) in [
            (" { \"a b\" :\n[ 1 , \"\\\" \\\\\" , null ]\t}", "{\"a b\":[1,\"\\\" \\\\\",null]}"),
            ("\"\\\\\" ", "\"\\\\\""),
            (" 1.50 ", "1.50"),
        ] {
            let mut out = Vec::new();
            compact(json, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
