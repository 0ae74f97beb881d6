//! The columns of `--explain`: what stands behind the scores of a chunk of rows.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt64Array};
use gstore_query::influence::{InfluencePlan, RowExplanation, Scored};
use gstore_store::SampleReader;

/// Explains rows of one plan.
pub(super) struct Explained<'a> {
    plan: &'a InfluencePlan,
    cancel: &'a AtomicBool,
    /// The samples of each target.
    targets: Vec<SampleReader>,
    /// `part_NAME` of each checkpoint.
    parts: Vec<String>,
}

impl<'a> Explained<'a> {
    pub(super) fn new(plan: &'a InfluencePlan, cancel: &'a AtomicBool) -> Result<Self> {
        let samples = |target: &gstore_query::influence::PlanSide| plan.snapshot().samples(&target.dataset);
        let targets = plan.targets().iter().map(samples).collect::<Result<Vec<_>, _>>()?;
        let parts = plan.checkpoints().iter().map(|c| format!("part_{}", c.name)).collect();
        Ok(Self { plan, cancel, targets, parts })
    }

    /// The part of each checkpoint, then the nearest target sample and the noise.
    pub(super) fn columns(&self, rows: &[Scored]) -> Result<Vec<(&str, ArrayRef)>> {
        let found = self.plan.explain_rows(rows, self.cancel)?;
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for (c, name) in self.parts.iter().enumerate() {
            let part = found.iter().map(|row| row.checkpoint_scores.get(c).copied().flatten());
            columns.push((name, Arc::new(part.collect::<Float32Array>())));
        }
        let floats = |of: fn(&RowExplanation) -> Option<f32>| -> ArrayRef {
            Arc::new(found.iter().map(of).collect::<Float32Array>())
        };
        let dataset = |row: &RowExplanation| &self.plan.targets()[row.nearest.target as usize].dataset.name;
        columns.push(("target", Arc::new(StringArray::from_iter_values(found.iter().map(dataset)))));
        columns.push(("target_id", Arc::new(self.ids(&found)?)));
        let number = UInt64Array::from_iter_values(found.iter().map(|row| row.nearest.row));
        columns.push(("target_row", Arc::new(number)));
        columns.push(("target_score", floats(|row| Some(row.nearest_score))));
        columns.push(("stderr", floats(|row| row.stderr)));
        columns.push(("noise_floor", floats(|row| row.noise_floor)));
        Ok(columns)
    }

    fn ids(&self, rows: &[RowExplanation]) -> Result<StringArray> {
        let mut ids: Vec<Option<String>> = vec![None; rows.len()];
        for (t, samples) in self.targets.iter().enumerate() {
            let places: Vec<usize> =
                (0..rows.len()).filter(|i| rows[*i].nearest.target as usize == t).collect();
            if places.is_empty() {
                continue;
            }
            let wanted: Vec<u64> = places.iter().map(|i| rows[*i].nearest.row).collect();
            let batch: RecordBatch = samples.get(&wanted, &["id"])?;
            let Some(column) = batch.column(0).as_any().downcast_ref::<StringArray>() else { continue };
            places.iter().zip(column).for_each(|(place, id)| ids[*place] = id.map(str::to_owned));
        }
        Ok(ids.into_iter().collect())
    }
}
