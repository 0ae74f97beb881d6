//! `text[2:4]` and `text[2]`: characters of a text, counted from 1, below 0 from its end.
//!
//! A list in JSON is a text too, whose elements may be meant: a part of one is refused, whatever the texts of
//! other rows are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, GetFieldAccess};
use datafusion::scalar::ScalarValue;
use gstore_core::json::is_json;
use gstore_core::shortened;

use super::columnar::checked;
use super::objects::gives_json;
use super::types::is_text;
use super::whole::type_of;
use crate::error::FunctionError;

/// Most characters of a list in a message.
const SAID: usize = 40;

/// A planner that takes characters of texts where the engine would look for elements of a list. It stands
/// before the engine's own planner, which leaves nothing to others.
#[derive(Debug)]
pub struct TextSlices;

impl ExprPlanner for TextSlices {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
        let is_of_text = type_of(&access.expr, schema).is_some_and(|of| is_text(&of));
        // JSON has elements and no characters.
        let is_json = matches!(&access.expr, Expr::ScalarFunction(call) if gives_json(call.func.name()));
        if !is_of_text || is_json {
            return Ok(PlannerResult::Original(access));
        }
        let RawFieldAccessExpr { expr, field_access } = access;
        let (from, to) = match field_access {
            GetFieldAccess::ListIndex { key } => ((*key).clone(), *key),
            GetFieldAccess::ListRange { start, stop, stride } => {
                if !matches!(*stride, Expr::Literal(ScalarValue::Int64(Some(1)), _)) {
                    let why = "a part of a text has no steps: x[from:to]";
                    return Err(FunctionError::invalid(why.to_owned()).into());
                }
                (*start, *stop)
            }
            field_access @ GetFieldAccess::NamedStructField { .. } => {
                return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr }));
            }
        };
        let slice = checked("text_slice", coerced, DataType::Utf8, |arrays| Ok(Arc::new(sliced(arrays)?)));
        Ok(PlannerResult::Planned(slice.call(vec![expr, from, to])))
    }
}

fn coerced(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let is_place = |of: &DataType| of.is_integer() || of.is_null();
    match types {
        [_, from, to] if is_place(from) && is_place(to) => {
            Ok(vec![DataType::Utf8, DataType::Int64, DataType::Int64])
        }
        _ => {
            let why = "characters of a text have whole numbers: x[2], x[2:4], x[-3:]";
            Err(FunctionError::invalid(why.to_owned()).into())
        }
    }
}

fn sliced(arrays: &[ArrayRef]) -> Result<StringArray, FunctionError> {
    let [texts, from, to] = arrays else { return Err(FunctionError::internal("parts of a text")) };
    let (Some(texts), Some(from), Some(to)) = (
        texts.as_string_opt::<i32>(),
        from.as_primitive_opt::<Int64Type>(),
        to.as_primitive_opt::<Int64Type>(),
    ) else {
        return Err(FunctionError::internal("types of the parts of a text"));
    };
    slices(texts, from, to)
}

fn slices(texts: &StringArray, from: &Int64Array, to: &Int64Array) -> Result<StringArray, FunctionError> {
    let of_row = |((text, from), to): ((Option<&str>, Option<i64>), Option<i64>)| {
        let (Some(text), Some(from), Some(to)) = (text, from, to) else { return Ok(None) };
        match is_list(text) {
            true => Err(of_list(text)),
            false => Ok(Some(slice(text, from, to).to_owned())),
        }
    };
    texts.iter().zip(from).zip(to).map(of_row).collect()
}

/// Whether a text is a list in JSON.
fn is_list(text: &str) -> bool {
    text.trim_start().starts_with('[') && is_json(text)
}

fn of_list(text: &str) -> FunctionError {
    let why =
        format!("this text is a list in JSON, which is not cut by characters: {}", shortened(text, SAID));
    FunctionError::invalid(why)
        .hint("write (x::VARCHAR[])[1] for an element, substr(x, from, length) for characters")
}

/// The characters from one place to another.
fn slice(text: &str, from: i64, to: i64) -> &str {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let counted = |place: i64| if place < 0 { length.saturating_add(place).saturating_add(1) } else { place };
    let (from, to) = (counted(from).max(1), counted(to).min(length));
    let byte = |characters: i64| {
        let before = usize::try_from(characters).unwrap_or(usize::MAX);
        text.char_indices().nth(before).map_or(text.len(), |(byte, _)| byte)
    };
    if from > to { "" } else { text.get(byte(from - 1)..byte(to)).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_those_of_duckdb() {
        for (from, to, expected) in [
            (1, 3, "abc"),
            (0, 2, "ab"),
            (-10, 2, "ab"),
            (3, 2, ""),
            (-2, -1, "ef"),
            (5, 100, "ef"),
            (-3, -1, "def"),
            (1, -2, "abcde"),
            (0, 0, ""),
            (-1, -1, "f"),
            (-7, -7, ""),
            (7, 7, ""),
            (-10, -8, ""),
            (2, i64::MIN, ""),
            (i64::MIN, i64::MAX, "abcdef"),
        ] {
            assert_eq!(slice("abcdef", from, to), expected, "{from}:{to}");
        }
        assert_eq!(slice("Zürich", 2, 3), "ür");
    }

    #[test]
    fn lists_in_json_are_not_cut() {
        let places = Int64Array::from(vec![Some(1), None]);
        let of = |text: &str| slices(&StringArray::from(vec![Some(text), None]), &places, &places);
        assert_eq!(of("[see below]").unwrap().value(0), "[");
        for list in ["[]", " [1, {\"a\": [2]}]"] {
            let error = of(list).unwrap_err().to_string();
            assert!(
                error.starts_with("this text is a list in JSON, which is not cut by characters: "),
                "{error}"
            );
        }
    }
}
