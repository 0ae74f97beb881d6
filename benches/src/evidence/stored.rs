//! A store with a pool and targets with given vectors.

use std::path::Path;

use anyhow::{Context, Result};
use gstore_store::{
    DType, FeatureAttrs, FeatureDesc, Granularity, JobFeature, JobPlan, ModuleGroup, RowFlags, RunCheckpoint,
    RunUpdate, Store,
};

use crate::pool::{checkpoint_id, desc, samples};

/// Generates the vector of a row at a checkpoint.
pub type Vectors<'a> = &'a dyn Fn(usize, usize) -> (Vec<f32>, RowFlags);

/// A pool, and how it is stored.
pub struct Pool<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Their vectors.
    pub vectors: Vectors<'a>,
    /// Their stored type.
    pub dtype: DType,
    /// Lengths of the module groups; none: one group.
    pub groups: Vec<u32>,
    /// Number of rows after which a new segment begins.
    pub cut: usize,
    /// Number of checkpoints.
    pub checkpoints: usize,
    /// Stores the vector of each row as vectors of two tokens instead.
    pub tokens: bool,
}

/// Creates a store with `pool` and the dataset `val`, whose sample i has `targets[checkpoint][i]` and is the
/// subtask `t<i>`; these are stored as f32.
pub fn build(folder: &Path, pool: &Pool<'_>, targets: &[Vec<Vec<f32>>]) -> Result<Store> {
    let store = Store::create(folder)?;
    samples(&store, "pool", pool.rows, None)?;
    samples(&store, "val", targets.first().map_or(0, Vec::len), Some("t"))?;
    let dim = targets.first().and_then(|t| t.first()).context("a target")?.len() as u32;
    let of = |dataset: &str, dtype, granularity| -> Result<Vec<JobFeature>> {
        let feature = |c| {
            Ok(JobFeature {
                desc: FeatureDesc { dtype, granularity, ..desc(dataset, "grad-sgd", c, dim)? },
                attrs: attrs(dataset, c, dim, &pool.groups, granularity),
            })
        };
        (0..pool.checkpoints).map(feature).collect()
    };
    let granularity = if pool.tokens { Granularity::Token } else { Granularity::Sample };
    let mut features = of("pool", pool.dtype, granularity)?;
    features.extend(of("val", DType::F32, Granularity::Sample)?);
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
            checkpoint: checkpoint_id(c)?,
            base: "model".into(),
            provenance: Default::default(),
            extra: Default::default(),
        })
    };
    let checkpoints = (0..pool.checkpoints).map(checkpoint).collect::<Result<Vec<_>>>()?;
    job.publish(Some(RunUpdate { name: "run".into(), checkpoints, replace_weights: true }), true)?;
    Ok(store)
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
