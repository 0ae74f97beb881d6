//! Stores with vectors of a benchmark's own making.

use anyhow::Result;
use gstore_store::{
    AppendOptions, CELL_ROWS, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, Family, FeatureAttrs,
    FeatureDesc, FeatureKind, Granularity, IfChanged, JobFeature, JobPlan, MetaValue, NewSample, RowFlags,
    Space, Store,
};

/// Rows of a segment.
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
}

/// Adds samples without content, each a subtask of its own where asked for.
pub fn samples(store: &Store, name: &str, rows: usize, subtasks: bool) -> Result<()> {
    let columns = if subtasks { vec![ColumnSpec::inferred("subtask", ColumnType::Text)] } else { Vec::new() };
    let options = AppendOptions { command: "bench".into(), if_changed: IfChanged::Refuse, source: None };
    let mut append = store.append(&DatasetName::try_from(name)?, columns, options)?;
    for row in 0..rows {
        let metadata = if subtasks { vec![MetaValue::Text(format!("s{row}"))] } else { Vec::new() };
        append.push(NewSample { id: &row.to_string(), record: None, metadata })?;
    }
    append.finish()?;
    Ok(())
}

/// Publishes features, f16; `vector` fills in one after the other, checkpoint by checkpoint.
pub fn publish(
    store: &Store,
    features: Features<'_>,
    mut vector: impl FnMut(&mut [f32]) -> Result<()>,
) -> Result<()> {
    let described = (0..features.checkpoints).map(|c| describe(features, c)).collect::<Result<Vec<_>>>()?;
    let mut job = store.start_job(JobPlan {
        command: "bench".into(),
        identity: serde_json::json!([features.dataset, features.kind]),
        features: described,
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

fn describe(features: Features<'_>, checkpoint: usize) -> Result<JobFeature> {
    let Features { dataset, kind, .. } = features;
    let id = CheckpointId::try_from(format!("{checkpoint:064x}"))?;
    let dim = u32::try_from(features.dim)?;
    let space = Space {
        family: Family::Gradient,
        checkpoint: Some(id.clone()),
        modules: "bench".into(),
        projection: "none".into(),
        layer: None,
        loss: "cross_entropy".into(),
        reduction: "mean".into(),
        dim,
    };
    let desc = FeatureDesc {
        dataset: dataset.into(),
        encoding: "bench".into(),
        checkpoint: Some(id),
        ensemble: None,
        kind: FeatureKind { name: kind.into(), params: Default::default() },
        space,
        dtype: DType::F16,
        compute: "f32".into(),
        granularity: Granularity::Sample,
    };
    Ok(JobFeature { desc, attrs: FeatureAttrs::new(format!("{kind}@checkpoint-{checkpoint}"), dim) })
}
