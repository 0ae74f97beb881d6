//! Synthetic stores for benchmarks.

use anyhow::Result;
use gstore_store::{
    AppendOptions, CELL_ROWS, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, Family, FeatureAttrs,
    FeatureDesc, JobFeature, JobPlan, MetaValue, NewSample, RowFlags, Space, Store,
};

/// Rows per segment.
const SEGMENT_ROWS: u64 = 16 * CELL_ROWS;

/// Features of one kind and one dataset, one for each checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    /// The dataset.
    pub dataset: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Checkpoints.
    pub checkpoints: usize,
    /// Rows.
    pub rows: usize,
    /// Values per vector.
    pub dim: usize,
    /// Their stored type.
    pub dtype: DType,
}

/// Adds samples without content, with their numbers as ids. With a `prefix` each is a subtask of its own: the
/// prefix and the number.
pub fn samples(store: &Store, name: &str, rows: usize, prefix: Option<&str>) -> Result<()> {
    let column = |_| ColumnSpec::inferred("subtask", ColumnType::Text);
    let columns = prefix.map(column).into_iter().collect();
    let options = AppendOptions { command: "bench".into(), ..AppendOptions::default() };
    let mut append = store.append(&DatasetName::try_from(name)?, columns, options)?;
    for row in 0..rows {
        let subtask = |prefix| MetaValue::Text(format!("{prefix}{row}"));
        let metadata = prefix.map(subtask).into_iter().collect();
        append.push(NewSample { id: &row.to_string(), record: None, metadata })?;
    }
    append.finish()?;
    Ok(())
}

/// Publishes features; `vector` fills them in one after the other, checkpoint by checkpoint.
pub fn publish(
    store: &Store,
    features: Features<'_>,
    mut vector: impl FnMut(&mut [f32]) -> Result<()>,
) -> Result<()> {
    let dim = u32::try_from(features.dim)?;
    let described = (0..features.checkpoints).map(|c| {
        let desc = desc(features.dataset, features.kind, c, dim)?;
        let desc = FeatureDesc { dtype: features.dtype, ..desc };
        Ok(JobFeature { desc, attrs: FeatureAttrs::new(format!("{}@checkpoint-{c}", features.kind), dim) })
    });
    let mut job = store.start_job(JobPlan {
        command: "bench".into(),
        identity: serde_json::json!([features.dataset, features.kind]),
        features: described.collect::<Result<Vec<_>>>()?,
        detail: serde_json::Value::Null,
    })?;
    let mut values = vec![0.0; features.dim];
    let rows = features.rows as u64;
    for c in 0..features.checkpoints {
        for start in (0..rows).step_by(SEGMENT_ROWS as usize) {
            let mut writer = job.segment_writer(c)?;
            for row in start..(start + SEGMENT_ROWS).min(rows) {
                vector(&mut values)?;
                writer.push(row, &values, RowFlags::empty())?;
            }
            job.seal(c, writer)?;
        }
    }
    job.publish(None, true)?;
    Ok(())
}

/// The number of a checkpoint as an id.
pub fn checkpoint_id(checkpoint: usize) -> Result<CheckpointId> {
    Ok(CheckpointId::try_from(format!("{checkpoint:064x}"))?)
}

/// Gradients of the samples of a dataset at a checkpoint, f16.
pub fn desc(dataset: &str, kind: &str, checkpoint: usize, dim: u32) -> Result<FeatureDesc> {
    let id = checkpoint_id(checkpoint)?;
    let space = Space { modules: "bench".into(), ..Space::new(Family::Gradient, Some(id), dim) };
    Ok(FeatureDesc::new(dataset, "bench", kind, space, DType::F16))
}
