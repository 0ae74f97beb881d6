//! The columns that explain scores: computed for the rows that are shown, and only if one of them is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Float32Array, StringArray};

use super::columns::ExplainedColumns;
use super::table::Question;
use crate::influence::{GIVEN, RowExplanation, Scored};
use crate::sql::error::SqlError;

/// Explanations of some rows, with the ids of the target samples that they name.
pub(super) struct Explanations<'a> {
    question: &'a Question,
    rows: Vec<RowExplanation>,
}

impl<'a> Explanations<'a> {
    pub(super) fn of(question: &'a Question, part: &[Scored]) -> Result<Self, SqlError> {
        let rows = question.plan.explain_rows(part, &AtomicBool::new(false)).map_err(SqlError::query)?;
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
            let targets = self.question.plan.targets();
            let name = |row: &RowExplanation| {
                Some(targets.get(row.nearest.target as usize).map_or(GIVEN, |t| t.dataset.name.as_str()))
            };
            Arc::new(self.rows.iter().map(name).collect::<StringArray>())
        } else if column == at.target_id {
            Arc::new(self.ids()?)
        } else if column == at.target_score {
            floats(|row| Some(row.nearest_score))
        } else if column == at.stderr {
            floats(|row| row.stderr)
        } else {
            floats(|row| row.noise_floor)
        })
    }

    fn ids(&self) -> Result<StringArray, SqlError> {
        let plan = &self.question.plan;
        // Samples that are given with the question are known by their number.
        if plan.targets().is_empty() {
            return Ok(self.rows.iter().map(|row| Some(row.nearest.row.to_string())).collect());
        }
        let mut ids: Vec<Option<String>> = vec![None; self.rows.len()];
        for (t, target) in plan.targets().iter().enumerate() {
            let of_target = |(_, row): &(usize, &RowExplanation)| row.nearest.target as usize == t;
            let named: Vec<(usize, u64)> =
                self.rows.iter().enumerate().filter(of_target).map(|(i, row)| (i, row.nearest.row)).collect();
            if named.is_empty() {
                continue;
            }
            let rows: Vec<u64> = named.iter().map(|(_, row)| *row).collect();
            let samples = plan.snapshot().samples(&target.dataset).map_err(|e| SqlError::query(e.into()))?;
            let batch = samples.get(&rows, &["id"]).map_err(|e| SqlError::query(e.into()))?;
            let Some(column) = batch.column(0).as_string_opt::<i32>() else { continue };
            for (at, (place, _)) in named.iter().enumerate() {
                if let Some(slot) = ids.get_mut(*place) {
                    *slot = column.is_valid(at).then(|| column.value(at).to_owned());
                }
            }
        }
        Ok(ids.into_iter().collect())
    }
}
