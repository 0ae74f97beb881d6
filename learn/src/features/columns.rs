//! Values of metadata columns of some rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::open::OpenFeatures;
use super::vectors::cells;
use crate::error::LearnError;

impl OpenFeatures {
    /// Hands on the values of a column of those of the rows that have one, with their places among `rows`.
    fn column(
        &self,
        name: &str,
        rows: &[u64],
        mut take: impl FnMut(&ArrayRef, usize, usize),
    ) -> Result<(), LearnError> {
        for (first, (range, len)) in cells(rows) {
            let part = &rows[first..first + len];
            for batch in self.samples().scan(&["row", name], Some(range)) {
                let batch = batch?;
                let [own, values] = batch.columns() else { continue };
                for (at, row) in own.as_primitive::<UInt64Type>().values().iter().enumerate() {
                    if let Ok(i) = part.binary_search(row)
                        && values.is_valid(at)
                    {
                        take(values, at, first + i);
                    }
                }
            }
        }
        Ok(())
    }

    /// The same with a column of numbers or truth values.
    pub(super) fn numbers(
        &self,
        name: &str,
        rows: &[u64],
        mut take: impl FnMut(usize, f64),
    ) -> Result<(), LearnError> {
        self.column(name, rows, |values, at, i| {
            let value = match values.data_type() {
                DataType::Boolean => f64::from(u8::from(values.as_boolean().value(at))),
                DataType::Int64 => values.as_primitive::<Int64Type>().value(at) as f64,
                DataType::Float64 => values.as_primitive::<Float64Type>().value(at),
                _ => f64::NAN,
            };
            take(i, value);
        })
    }

    /// The same with a column of texts.
    pub(super) fn texts(
        &self,
        name: &str,
        rows: &[u64],
        mut take: impl FnMut(usize, &str),
    ) -> Result<(), LearnError> {
        self.column(name, rows, |values, at, i| {
            if let Some(texts) = values.as_string_opt::<i32>() {
                take(i, texts.value(at));
            }
        })
    }
}
