//! Casts to JSON: a text that is JSON stays as it is, and any other value is what `to_json` gives.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;

use super::columnar::checked;
use super::marked::{is_document, no_json, read};
use super::objects;
use super::types::is_text;

/// The functions that stand in the place of `CAST(x AS JSON)` and of `TRY_CAST(x AS JSON)`.
pub(super) fn functions() -> [ScalarUDF; 2] {
    [
        checked("as_json", coerced, DataType::Utf8, |arrays| as_json(arrays, false)),
        checked("try_as_json", coerced, DataType::Utf8, |arrays| as_json(arrays, true)),
    ]
}

fn coerced(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = take_function_args(name, types)?;
    if is_text(of) || of.is_null() {
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
        let sound = |text: &&str| is_document(text);
        return Ok(Arc::new(texts.iter().map(|text| text.filter(sound)).collect::<StringArray>()));
    }
    for text in texts.iter().flatten() {
        read(text).map_err(|why| no_json(text, &why))?;
    }
    Ok(Arc::clone(values))
}
