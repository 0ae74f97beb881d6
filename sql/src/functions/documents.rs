//! Casts to JSON: a text that is JSON stays as it is, and any other value is what `to_json` gives.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use gstore_core::shortened;
use serde::de::IgnoredAny;

use super::columnar::of_one;
use super::{casts, objects};
use crate::error::SqlError;
use crate::signatures;

/// Most characters of a text in a message.
const SAID: usize = 100;

/// The functions that stand in the place of `CAST(x AS JSON)` and of `TRY_CAST(x AS JSON)`.
pub(super) fn functions() -> [ScalarUDF; 2] {
    [false, true].map(|safe| ScalarUDF::from(AsJson { safe }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsJson {
    /// Whether a text that is no JSON is null.
    safe: bool,
}

impl ScalarUDFImpl for AsJson {
    fn name(&self) -> &str {
        if self.safe { "try_as_json" } else { "as_json" }
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [of] = take_function_args(self.name(), types)?;
        if casts::is_text(of) || of.is_null() {
            return Ok(vec![DataType::Utf8]);
        }
        objects::refuse_unknown("a cast to JSON", types)?;
        Ok(vec![of.clone()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), args, |values| self.of(values))
    }
}

impl AsJson {
    fn of(&self, values: &ArrayRef) -> DfResult<ArrayRef> {
        let Some(texts) = values.as_string_opt::<i32>() else { return objects::json(values) };
        if self.safe {
            let sound: StringArray =
                texts.iter().map(|text| text.filter(|text| read(text).is_ok())).collect();
            return Ok(Arc::new(sound));
        }
        for text in texts.iter().flatten() {
            read(text).map_err(|why| no_json(text, &why))?;
        }
        Ok(Arc::clone(values))
    }
}

fn read(text: &str) -> serde_json::Result<IgnoredAny> {
    serde_json::from_str(text)
}

fn no_json(text: &str, why: &serde_json::Error) -> SqlError {
    SqlError::invalid(format!("'{}' is no JSON: {why}", shortened(text, SAID)))
        .hint("to_json(x) makes a JSON string of a text; TRY_CAST(x AS JSON) is null for one that is no JSON")
}
