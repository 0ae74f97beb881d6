//! Casts to JSON: a text that is JSON stays as it is, and any other value is what `to_json` gives; and texts
//! that are JSON as parts of other JSON.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeStringArray, StringArray};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::shortened;
use serde::de::IgnoredAny;

use super::columnar::checked;
use super::embedded::JSON;
use super::spans::IntervalTexts;
use super::{casts, objects};
use crate::error::SqlError;

/// Most characters of a text in a message.
const SAID: usize = 100;

/// The functions that stand in the place of `CAST(x AS JSON)` and of `TRY_CAST(x AS JSON)`.
pub(super) fn functions() -> [ScalarUDF; 2] {
    [
        checked("as_json", coerced, DataType::Utf8, |arrays| as_json(arrays, false)),
        checked("try_as_json", coerced, DataType::Utf8, |arrays| as_json(arrays, true)),
    ]
}

fn coerced(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = take_function_args(name, types)?;
    if casts::is_text(of) || of.is_null() {
        return Ok(vec![DataType::Utf8]);
    }
    objects::refuse_unknown("a cast to JSON", types)?;
    Ok(vec![of.clone()])
}

/// The JSON of values; a text that is none is null if it is `safe`.
fn as_json(arrays: &[ArrayRef], safe: bool) -> DfResult<ArrayRef> {
    let [values] = take_function_args("as_json", arrays)?;
    let Some(texts) = values.as_string_opt::<i32>() else { return objects::json(arrays) };
    if safe {
        let sound = |text: &&str| read(text).is_ok();
        return Ok(Arc::new(texts.iter().map(|text| text.filter(sound)).collect::<StringArray>()));
    }
    for text in texts.iter().flatten() {
        read(text).map_err(|why| no_json(text, &why))?;
    }
    Ok(Arc::clone(values))
}

pub(super) fn read(text: &str) -> serde_json::Result<IgnoredAny> {
    serde_json::from_str(text)
}

/// Writes texts of the type [`JSON`] without quotes, and all else as [`IntervalTexts`].
#[derive(Debug)]
pub(super) struct DocumentTexts {
    /// Said of the first text that is none.
    pub(super) wrong: Arc<OnceLock<SqlError>>,
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
    wrong: Arc<OnceLock<SqlError>>,
}

impl Encoder for DocumentEncoder {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.texts.value(row);
        match read(text) {
            Ok(_) => compact(text, out),
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

fn no_json(text: &str, why: &serde_json::Error) -> SqlError {
    SqlError::invalid(format!("'{}' is no JSON: {why}", shortened(text, SAID)))
        .hint("to_json(x) makes a JSON string of a text; TRY_CAST(x AS JSON) is null for one that is no JSON")
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
