//! Columns of integers that become floats.

use super::columns::ColumnSpec;
use super::read::SampleReader;
use crate::error::AppendError;
use crate::manifest::{ColumnDef, ColumnType};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use gstore_core::exact_float;

/// Refuses floats for a column of integers that would lose by it: a stored one that a float would round, if
/// the user did not ask for floats, and a sample without a record, whose digest is that of its integers.
pub(crate) fn check_widened(
    samples: &SampleReader,
    merged: &[ColumnDef],
    specs: &[ColumnSpec],
) -> Result<(), AppendError> {
    let part = samples.part();
    let is_widened =
        |(old, new): &(&ColumnDef, &ColumnDef)| (old.ty, new.ty) == (ColumnType::Int, ColumnType::Float);
    let widened: Vec<&ColumnDef> =
        part.columns.iter().zip(merged).filter(is_widened).map(|(old, _)| old).collect();
    if widened.is_empty() {
        return Ok(());
    }
    let is_asked = |key: &str| specs.iter().any(|spec| spec.key == key && spec.declared);
    let names = ["row", "record"].into_iter().chain(widened.iter().map(|column| column.name.as_str()));
    // One scan for all of them: records are long.
    for batch in samples.scan(&names.collect::<Vec<_>>(), None) {
        let batch = batch?;
        let [rows, records, values @ ..] = batch.columns() else { continue };
        let rows = rows.as_primitive::<UInt64Type>().values();
        for (column, values) in widened.iter().zip(values) {
            let may_round = is_asked(&column.key);
            for (i, value) in values.as_primitive::<Int64Type>().iter().enumerate() {
                let Some(value) = value else { continue };
                if records.is_null(i) {
                    return Err(AppendError::ColumnType {
                        dataset: part.name.clone(),
                        column: column.key.clone(),
                        expected: ColumnType::Int.to_string(),
                        found: ColumnType::Float.to_string(),
                    });
                }
                if !may_round && exact_float(value).is_none() {
                    return Err(AppendError::Rounded {
                        dataset: part.name.clone(),
                        column: column.key.clone(),
                        row: rows.get(i).copied().unwrap_or_default(),
                        value,
                    });
                }
            }
        }
    }
    Ok(())
}
