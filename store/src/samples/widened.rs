//! Columns of integers that become floats.

use super::columns::ColumnSpec;
use super::read::SampleReader;
use crate::error::AppendError;
use crate::manifest::{ColumnDef, ColumnType};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use gstore_core::{Cancel, Progress, Unit, exact_float};

/// Refuses floats for a column of integers that would lose by it: a stored one that a float would round, if
/// the user did not ask for floats, and a sample without a record, whose digest is that of its integers.
/// `None`: it was told to stop.
pub(crate) fn check_widened(
    samples: &SampleReader,
    merged: &[ColumnDef],
    specs: &[ColumnSpec],
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<Option<()>, AppendError> {
    let part = samples.part();
    let is_widened =
        |(old, new): &(&ColumnDef, &ColumnDef)| (old.ty, new.ty) == (ColumnType::Int, ColumnType::Float);
    let widened: Vec<&ColumnDef> =
        part.columns.iter().zip(merged).filter(is_widened).map(|(old, _)| old).collect();
    if widened.is_empty() {
        return Ok(Some(()));
    }
    let is_asked = |key: &str| specs.iter().any(|spec| spec.key == key && spec.declared);
    let widened: Vec<_> = widened.into_iter().map(|column| (column, is_asked(&column.key))).collect();
    let names = ["row", "record"].into_iter().chain(widened.iter().map(|(column, _)| column.name.as_str()));
    progress.start("checking integers that become floats", samples.rows().len(), Unit::Rows);
    // One scan for all of them: records are long.
    for batch in samples.scan(&names.collect::<Vec<_>>(), None) {
        if cancel.is_raised() {
            return Ok(None);
        }
        let batch = batch?;
        check_batch(&batch, &part.name, &widened)?;
        progress.advance(batch.num_rows() as u64);
    }
    progress.finish();
    Ok(Some(()))
}

/// The same of a batch of `row`, `record` and the columns; for each of these, whether its integers may be
/// rounded.
fn check_batch(
    batch: &RecordBatch,
    dataset: &str,
    widened: &[(&ColumnDef, bool)],
) -> Result<(), AppendError> {
    let [rows, records, values @ ..] = batch.columns() else { return Ok(()) };
    let rows = rows.as_primitive::<UInt64Type>().values();
    for ((column, may_round), values) in widened.iter().zip(values) {
        for (i, value) in values.as_primitive::<Int64Type>().iter().enumerate() {
            let Some(value) = value else { continue };
            if records.is_null(i) {
                return Err(AppendError::ColumnType {
                    dataset: dataset.to_owned(),
                    column: column.key.clone(),
                    expected: ColumnType::Int.to_string(),
                    found: ColumnType::Float.to_string(),
                });
            }
            if !may_round && exact_float(value).is_none() {
                return Err(AppendError::Rounded {
                    dataset: dataset.to_owned(),
                    column: column.key.clone(),
                    row: rows.get(i).copied().unwrap_or_default(),
                    value,
                });
            }
        }
    }
    Ok(())
}
