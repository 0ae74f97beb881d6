//! Arrays of the sample files.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;

use crate::error::SqlError;

pub(crate) fn row_numbers(stored: &RecordBatch) -> Result<&[u64], SqlError> {
    let rows = stored.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    Ok(rows.ok_or_else(|| SqlError::internal("the row numbers were not read"))?.values())
}

/// First to one past last row of a batch whose rows ascend.
pub(super) fn span(stored: &RecordBatch) -> Result<Option<Range<u64>>, SqlError> {
    let rows = row_numbers(stored)?;
    Ok(rows.first().zip(rows.last()).map(|(first, last)| *first..last.saturating_add(1)))
}

pub(crate) fn text_bytes(array: &ArrayRef, rows: Range<usize>) -> usize {
    let offsets = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_offsets(),
        DataType::Binary => array.as_binary::<i32>().value_offsets(),
        _ => return 0,
    };
    let at = |row: usize| offsets.get(row).copied().unwrap_or_default();
    usize::try_from(at(rows.end) - at(rows.start)).unwrap_or_default()
}

/// The array in the table's type. A record is bytes in the files and text in SQL; one that is
/// no valid text is null.
pub(crate) fn as_type(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef, SqlError> {
    if array.data_type() == ty {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    Ok(cast_with_options(array, ty, &options)?)
}
