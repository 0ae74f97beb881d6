//! `substr(text, start, length)` with a negative start, which counts from the end as in DuckDB.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::functions::unicode;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use datafusion::scalar::ScalarValue;

use super::columnar::around;
use crate::error::FunctionError;

pub(super) fn function() -> ScalarUDF {
    around(unicode::substr(), None, substr)
}

fn substr(engine: &ScalarUDF, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    if let [text, start, ..] = args.args.as_mut_slice()
        && has_negative(start)
    {
        let starts = from_begin(&text.to_array(args.number_rows)?, &start.to_array(args.number_rows)?)?;
        *start = ColumnarValue::Array(starts);
    }
    engine.invoke_with_args(args)
}

fn has_negative(start: &ColumnarValue) -> bool {
    match start {
        ColumnarValue::Scalar(ScalarValue::Int64(start)) => start.is_some_and(|start| start < 0),
        ColumnarValue::Scalar(_) => false,
        ColumnarValue::Array(starts) => {
            starts.as_primitive_opt::<Int64Type>().is_some_and(|all| all.iter().flatten().any(|n| n < 0))
        }
    }
}

/// Starts counted from the beginning; one before the first character is that character.
fn from_begin(texts: &ArrayRef, starts: &ArrayRef) -> DfResult<ArrayRef> {
    let texts = arrow_cast::cast(texts, &DataType::Utf8)?;
    let (Some(texts), Some(starts)) = (texts.as_string_opt::<i32>(), starts.as_primitive_opt::<Int64Type>())
    else {
        return Err(FunctionError::internal("types of substr()").into());
    };
    let counted = texts.iter().zip(starts).map(|(text, start)| match (text, start?) {
        (Some(text), start) if start < 0 => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            Some(length.saturating_add(start).max(0) + 1)
        }
        (_, start) => Some(start),
    });
    Ok(Arc::new(counted.collect::<Int64Array>()))
}
