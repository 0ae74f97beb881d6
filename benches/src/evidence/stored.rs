//! A store with a pool and targets of given vectors.

use std::path::Path;

use anyhow::{Context, Result};
use gstore_store::{
    AppendOptions, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, Family, FeatureAttrs,
    FeatureDesc, FeatureKind, Granularity, IfChanged, JobFeature, JobPlan, MetaValue, ModuleGroup, NewSample,
    RowFlags, RunCheckpoint, RunUpdate, Space, Store,
};

/// Makes the vector of a row at a checkpoint.
pub type Vectors<'a> = &'a dyn Fn(usize, usize) -> (Vec<f32>, RowFlags);

/// A pool, and how it is stored.
pub struct Pool<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Their vectors.
    pub vectors: Vectors<'a>,
    /// As what they are stored.
    pub dtype: DType,
    /// Lengths of the module groups; none: one group.
    pub groups: Vec<u32>,
    /// Rows after which another segment begins.
    pub cut: usize,
    /// Number of checkpoints.
    pub checkpoints: usize,
    /// Stores each row's vector as that of two tokens instead.
    pub tokens: bool,
}

/// Makes a store of `pool` and of the dataset `val`, whose sample i has `targets[checkpoint][i]` and is the subtask `t<i>`; these are stored as f32.
pub fn build(folder: &Path, pool: &Pool<'_>, targets: &[Vec<Vec<f32>>]) -> Result<Store> {
    let store = Store::create(folder)?;
    append(&store, "pool", pool.rows, false)?;
    let samples = targets.first().map_or(0, Vec::len);
    append(&store, "val", samples, true)?;
    let dim = targets.first().and_then(|t| t.first()).context("a target")?.len() as u32;
    let of = |dataset: &str, dtype, granularity| -> Vec<JobFeature> {
        (0..pool.checkpoints)
            .map(|c| JobFeature {
                desc: desc(dataset, c, dim, dtype, granularity),
                attrs: attrs(dataset, c, dim, &pool.groups, granularity),
            })
            .collect()
    };
    let granularity = if pool.tokens { Granularity::Token } else { Granularity::Sample };
    let mut features = of("pool", pool.dtype, granularity);
    features.extend(of("val", DType::F32, Granularity::Sample));
    let plan = JobPlan {
        command: "evidence".into(),
        identity: serde_json::json!(features.iter().map(|f| f.desc.key()).collect::<Vec<_>>()),
        features,
        detail: serde_json::Value::Null,
    };
    let mut job = store.start_job(plan)?;
    for c in 0..pool.checkpoints {
        for first in (0..pool.rows).step_by(pool.cut.clamp(1, pool.rows.max(1))) {
            let mut writer = job.segment_writer(c)?;
            for row in first..pool.rows.min(first.saturating_add(pool.cut)) {
                let (vector, flags) = (pool.vectors)(c, row);
                if pool.tokens {
                    writer.push_token((row as u64, 1), &vector, flags)?;
                    writer.push_token((row as u64, 4), &vector, flags)?;
                } else {
                    writer.push(row as u64, &vector, flags)?;
                }
            }
            job.seal(c, writer)?;
        }
        let mut writer = job.segment_writer(pool.checkpoints + c)?;
        for (row, vector) in targets[c].iter().enumerate() {
            writer.push(row as u64, vector, RowFlags::default())?;
        }
        job.seal(pool.checkpoints + c, writer)?;
    }
    let checkpoint = |c: usize| {
        Ok(RunCheckpoint {
            name: format!("checkpoint-{c}"),
            step: Some(c as u64 + 1),
            weight: Some(1.0 / (c as f64 + 1.0)),
            checkpoint: checkpoint_id(c),
            base: "model".into(),
            provenance: Default::default(),
            extra: Default::default(),
        })
    };
    let checkpoints = (0..pool.checkpoints).map(checkpoint).collect::<Result<Vec<_>>>()?;
    job.publish(Some(RunUpdate { name: "run".into(), checkpoints, replace_weights: true }), true)?;
    Ok(store)
}

fn append(store: &Store, name: &str, rows: usize, subtasks: bool) -> Result<()> {
    let columns = if subtasks { vec![ColumnSpec::inferred("subtask", ColumnType::Text)] } else { Vec::new() };
    let options = AppendOptions { command: "evidence".into(), if_changed: IfChanged::Refuse, source: None };
    let mut append = store.append(&DatasetName::try_from(name)?, columns, options)?;
    for i in 0..rows {
        let metadata = if subtasks { vec![MetaValue::Text(format!("t{i}"))] } else { Vec::new() };
        append.push(NewSample { id: &format!("{name}_{i}"), record: None, metadata })?;
    }
    append.finish()?;
    Ok(())
}

fn checkpoint_id(c: usize) -> CheckpointId {
    CheckpointId::try_from(format!("{:064x}", 0xabc0 + c)).expect("64 hexadecimal digits")
}

fn desc(dataset: &str, c: usize, dim: u32, dtype: DType, granularity: Granularity) -> FeatureDesc {
    FeatureDesc {
        dataset: dataset.into(),
        encoding: "e".repeat(64),
        checkpoint: Some(checkpoint_id(c)),
        ensemble: None,
        kind: FeatureKind { name: "grad-sgd".into(), params: Default::default() },
        space: Space {
            family: Family::Gradient,
            checkpoint: Some(checkpoint_id(c)),
            modules: "m".repeat(64),
            projection: "none".into(),
            layer: None,
            loss: "cross_entropy".into(),
            reduction: "mean".into(),
            dim,
        },
        dtype,
        compute: "f32".into(),
        granularity,
    }
}

fn attrs(dataset: &str, c: usize, dim: u32, groups: &[u32], granularity: Granularity) -> FeatureAttrs {
    let of = if granularity == Granularity::Token { "-tokens" } else { "" };
    let mut attrs = FeatureAttrs::new(format!("{dataset}{of}@{c}"), dim);
    let mut start = 0;
    if !groups.is_empty() {
        attrs.groups.clear();
    }
    for (i, len) in groups.iter().enumerate() {
        attrs.groups.push(ModuleGroup { name: format!("module{i}"), start, len: *len });
        start += len;
    }
    attrs
}
