//! Explanation columns of a selection, for a chunk of rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, StringArray, UInt64Array};
use gstore_core::Cancel;
use gstore_query::influence::{Prepared, RowExplanation, Scored, TargetNames, TargetRow};

use crate::answer::AnswerError;

/// Explains rows of one plan.
pub(super) struct Explained<'a> {
    plan: &'a Prepared,
    cancel: &'a Cancel,
    targets: TargetNames<'a>,
    /// `checkpoint_score_NAME` of each checkpoint.
    parts: Vec<String>,
}

impl<'a> Explained<'a> {
    pub(super) fn new(plan: &'a Prepared, cancel: &'a Cancel) -> Result<Self, AnswerError> {
        if plan.plan().models().is_some() {
            let why = "every score of the method daunce has its error; what each model adds to it is shown by `explain` in SQL";
            return Err(AnswerError::Refused(why.to_owned()));
        }
        let targets = TargetNames::new(plan)?;
        let parts = plan.checkpoints().iter().map(|c| format!("checkpoint_score_{}", c.name)).collect();
        Ok(Self { plan, cancel, targets, parts })
    }

    /// The part of each checkpoint, then the nearest target sample and the noise.
    pub(super) fn columns(&self, rows: &[Scored]) -> Result<Vec<(&str, ArrayRef)>, AnswerError> {
        let found = self.plan.explain_rows(rows, self.cancel)?;
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for (c, name) in self.parts.iter().enumerate() {
            let part = found.iter().map(|row| row.checkpoint_scores.get(c).copied().flatten());
            columns.push((name, Arc::new(part.collect::<Float32Array>())));
        }
        let floats = |of: fn(&RowExplanation) -> Option<f32>| -> ArrayRef {
            Arc::new(found.iter().map(of).collect::<Float32Array>())
        };
        let nearest: Vec<TargetRow> = found.iter().map(|row| row.nearest).collect();
        let dataset = nearest.iter().map(|row| self.targets.dataset_of(row));
        columns.push(("target_dataset", Arc::new(StringArray::from_iter_values(dataset))));
        columns.push(("target_id", Arc::new(StringArray::from(self.targets.ids_of(&nearest)?))));
        let number = UInt64Array::from_iter_values(nearest.iter().map(|row| row.row));
        columns.push(("target_row", Arc::new(number)));
        columns.push(("target_score", floats(|row| Some(row.nearest_score))));
        columns.push(("stderr", floats(|row| row.stderr)));
        columns.push(("noise_floor", floats(|row| row.noise_floor)));
        columns.push(("ignored", floats(|row| row.ignored)));
        Ok(columns)
    }
}
