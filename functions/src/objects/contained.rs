//! Containment of one document of JSON in another.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray};
use datafusion::error::Result as DfResult;
use serde_json::Value;

use crate::error::FunctionError;

pub(super) fn contained(arrays: &[ArrayRef]) -> DfResult<ArrayRef> {
    let [documents, parts] = arrays else {
        return Err(FunctionError::internal("arguments of json_contains()").into());
    };
    let (Some(documents), Some(parts)) = (documents.as_string_opt::<i32>(), parts.as_string_opt::<i32>())
    else {
        return Err(FunctionError::internal("types of json_contains()").into());
    };
    let parsed = |text: Option<&str>| serde_json::from_str::<Value>(text?).ok();
    let found = documents
        .iter()
        .zip(parts)
        .map(|(document, part)| Some(has_part(&parsed(document)?, &parsed(part)?)));
    Ok(Arc::new(found.collect::<BooleanArray>()))
}

/// Whether a part is the document, or in it at any depth.
fn has_part(document: &Value, part: &Value) -> bool {
    covers(document, part)
        || match document {
            Value::Array(values) => values.iter().any(|value| has_part(value, part)),
            Value::Object(values) => values.values().any(|value| has_part(value, part)),
            _ => false,
        }
}

/// Whether a document is a part but for elements and keys that only the document has.
fn covers(document: &Value, part: &Value) -> bool {
    match (document, part) {
        (Value::Array(all), Value::Array(some)) => {
            some.iter().all(|one| all.iter().any(|value| covers(value, one)))
        }
        (Value::Object(all), Value::Object(some)) => {
            some.iter().all(|(key, one)| all.get(key).is_some_and(|value| covers(value, one)))
        }
        (document, part) => document == part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_their_parts() {
        for (document, part, found) in [
            (r#"{"key": "value"}"#, r#""value""#, true),
            (r#"{"a": [1, {"b": 2, "c": 3}]}"#, r#"{"b": 2}"#, true),
            ("[1, 2, 3]", "[3, 1]", true),
            ("[1, 2, 3]", "[4]", false),
            (r#"{"a": 1}"#, r#""a""#, false),
            ("[[1], 2]", "1", true),
            (r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 2}}"#, false),
        ] {
            let [document, part] = [document, part].map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(has_part(&document, &part), found, "{document} {part}");
        }
    }
}
