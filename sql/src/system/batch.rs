//! Batches of the rows of a system table, column by column.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};

pub(super) type Batch = Result<RecordBatch, arrow_schema::ArrowError>;

pub(super) fn batch<const N: usize>(columns: [(&str, ArrayRef, Null); N]) -> Batch {
    RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, values, null)| (name, values, null == Null::Yes)),
    )
}

/// Whether a column may hold null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Null {
    Yes,
    No,
}

pub(super) fn text<T: Into<String>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.into_iter().map(Into::into)))
}

pub(super) fn maybe_text<T: Into<String>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|v| v.map(Into::into)).collect::<StringArray>())
}

pub(super) fn number(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

/// Milliseconds since 1970 as a time.
pub(super) fn time(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    let values = values.into_iter().map(|t| i64::try_from(t).unwrap_or(i64::MAX));
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("+00:00"))
}
