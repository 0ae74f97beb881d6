//! Columns of integers that become floats.

use super::columns::ColumnSpec;
use super::read::SampleReader;
use crate::error::AppendError;
use crate::manifest::{ColumnDef, ColumnType};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};

/// Refuses floats for a column of integers that would lose by it: a stored one that a float would round, if
/// the user did not ask for floats, and a sample without a record, whose digest is that of its integers.
pub(crate) fn check_widened(
    samples: &SampleReader,
    merged: &[ColumnDef],
    specs: &[ColumnSpec],
) -> Result<(), AppendError> {
    let part = samples.part();
    for (old, new) in part.columns.iter().zip(merged) {
        if (old.ty, new.ty) != (ColumnType::Int, ColumnType::Float) {
            continue;
        }
        let may_round = specs.iter().any(|spec| spec.key == old.key && spec.declared);
        for batch in samples.scan(&["row", "record", &old.name], None) {
            let batch = batch?;
            let [rows, records, values] = batch.columns() else { continue };
            let rows = rows.as_primitive::<UInt64Type>().values();
            for (i, value) in values.as_primitive::<Int64Type>().iter().enumerate() {
                let Some(value) = value else { continue };
                if records.is_null(i) {
                    return Err(AppendError::ColumnType {
                        dataset: part.name.clone(),
                        column: old.key.clone(),
                        expected: old.ty.to_string(),
                        found: new.ty.to_string(),
                    });
                }
                if !may_round && (value as f64) as i128 != i128::from(value) {
                    return Err(AppendError::Rounded {
                        dataset: part.name.clone(),
                        column: old.key.clone(),
                        row: rows.get(i).copied().unwrap_or_default(),
                        value,
                    });
                }
            }
        }
    }
    Ok(())
}
