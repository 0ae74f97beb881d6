//! The columns that explain scores: computed for the rows that are shown, and only if one of them is.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, Float32Array, StringArray, UInt64Array};
use gstore_core::Cancel;
use gstore_query::influence::{RowExplanation, Scored, TargetNames};

use super::columns::ExplainedColumns;
use super::table::Question;
use crate::error::SqlError;

/// Explanations of some rows, with the ids of the target samples that they name.
pub(super) struct Explanations<'a> {
    question: &'a Question,
    rows: Vec<RowExplanation>,
}

impl<'a> Explanations<'a> {
    pub(super) fn of(question: &'a Question, part: &[Scored], cancel: &Cancel) -> Result<Self, SqlError> {
        let rows = question.plan.explain_rows(part, cancel).map_err(SqlError::query)?;
        Ok(Self { question, rows })
    }

    /// A column by its index in the table.
    pub(super) fn column(&self, at: &ExplainedColumns, column: usize) -> Result<ArrayRef, SqlError> {
        let floats = |of: fn(&RowExplanation) -> Option<f32>| -> ArrayRef {
            Arc::new(self.rows.iter().map(of).collect::<Float32Array>())
        };
        Ok(if column == at.checkpoint_scores {
            let mut lists = ListBuilder::new(Float32Builder::new());
            for row in &self.rows {
                row.checkpoint_scores.iter().for_each(|part| lists.values().append_option(*part));
                lists.append(true);
            }
            Arc::new(lists.finish())
        } else if column == at.target_dataset {
            let names = TargetNames::new(&self.question.plan).map_err(SqlError::query)?;
            Arc::new(self.rows.iter().map(|row| Some(names.dataset(row))).collect::<StringArray>())
        } else if column == at.target_id {
            let names = TargetNames::new(&self.question.plan).map_err(SqlError::query)?;
            Arc::new(StringArray::from(names.ids(&self.rows).map_err(SqlError::query)?))
        } else if column == at.target_row {
            Arc::new(UInt64Array::from_iter_values(self.rows.iter().map(|row| row.nearest.row)))
        } else if column == at.target_score {
            floats(|row| Some(row.nearest_score))
        } else if column == at.stderr {
            floats(|row| row.stderr)
        } else {
            floats(|row| row.noise_floor)
        })
    }
}
