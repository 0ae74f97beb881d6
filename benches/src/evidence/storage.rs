//! Effect of f16, i8 and i1 storage on scores and rankings, against f32.

use std::path::Path;

use anyhow::{Context, Result};
use gstore_core::correlation::{pearson, spearman};
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Sim, TargetRef};
use gstore_store::{DType, JobFeature, JobPlan, Snapshot, Store};
use serde_json::{Value, json};
use std::sync::Arc;

use super::real::targets;
use super::{first, scores};

/// Compares the scores of every target of a store with f32 vectors with those of the same vectors stored as
/// `dtype`, which become further features of a copy in `folder`.
pub fn run(source: &Store, folder: &Path, dtype: DType) -> Result<Vec<Value>> {
    let snapshot = source.snapshot()?;
    let copy = copy_as(source, folder, dtype)?.snapshot()?;
    let mut lines = Vec::new();
    for target in targets(&snapshot) {
        for sim in [Sim::Cosine, Sim::Dot] {
            lines.push(compare(&snapshot, &copy, &target, sim, dtype)?);
        }
    }
    Ok(lines)
}

fn compare(
    exact: &Arc<Snapshot>,
    other: &Arc<Snapshot>,
    target: &str,
    sim: Sim,
    dtype: DType,
) -> Result<Value> {
    let of = |snapshot: &Arc<Snapshot>, wanted: DType| -> Result<Vec<_>> {
        let features = snapshot.features().iter().filter(|f| f.desc.dtype == wanted);
        let spec = InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: vec![TargetRef::parse(target)],
            features: features.map(|f| f.number.to_string()).collect(),
            sim,
            ..InfluenceSpec::default()
        };
        scores(&Prepared::new(snapshot, &spec)?, None)
    };
    let (a, b) = (of(exact, DType::F32)?, of(other, dtype)?);
    anyhow::ensure!(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.row == b.row), "other rows");
    let values = |all: &[gstore_query::influence::Scored]| -> Vec<f64> {
        all.iter().map(|s| f64::from(s.score)).collect()
    };
    let (va, vb) = (values(&a), values(&b));
    let overlap = |k: usize| {
        let (ours, theirs) = (first(&a, Order::Best, k), first(&b, Order::Best, k));
        ours.iter().filter(|s| theirs.iter().any(|t| t.row == s.row)).count() as f64 / k as f64
    };
    let mean = va.iter().sum::<f64>() / va.len() as f64;
    let sd = (va.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / va.len() as f64).sqrt();
    let largest = va.iter().zip(&vb).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let squares: f64 = va.iter().zip(&vb).map(|(a, b)| (a - b).powi(2)).sum();
    Ok(json!({
        "evidence": "storage", "target": target, "sim": sim.word(), "stored": dtype.to_string(), "rows": va.len(),
        "pearson": pearson(&va, &vb), "spearman": spearman(&va, &vb), "overlap_5_percent": overlap(va.len() / 20),
        "overlap_100": overlap(100), "overlap_10": overlap(10), "max_difference": largest,
        "rms_difference": (squares / va.len() as f64).sqrt(), "score_sd": sd,
    }))
}

/// A copy of a store with every feature also stored as `dtype`.
fn copy_as(source: &Store, folder: &Path, dtype: DType) -> Result<Store> {
    copy_folder(source.path(), folder)?;
    let store = Store::open(folder)?;
    let snapshot = store.snapshot()?;
    let stored: Vec<_> = snapshot.features().iter().filter(|f| f.desc.dtype == DType::F32).cloned().collect();
    let features: Vec<JobFeature> = stored
        .iter()
        .map(|f| {
            let mut feature = JobFeature { desc: f.desc.clone(), attrs: f.attrs.clone() };
            feature.desc.dtype = dtype;
            feature
        })
        .collect();
    let plan = JobPlan {
        command: "evidence".into(),
        identity: json!(features.iter().map(|f| f.desc.key()).collect::<Vec<_>>()),
        features,
        detail: Value::Null,
    };
    let mut job = store.start_job(plan)?;
    for (i, feature) in stored.iter().enumerate() {
        let reader = snapshot.open_feature(feature)?;
        let mut writer = job.segment_writer(i)?;
        for range in reader.row_set()?.ranges() {
            for row in range.clone() {
                let stored = reader.row(row)?.context("a row of the feature")?;
                writer.push(row, &stored.vector, stored.flags)?;
            }
        }
        job.seal(i, writer)?;
    }
    job.publish(None, true)?;
    Ok(store)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_folder(&from, &to)? } else { fs_err::copy(&from, &to).map(drop)? }
    }
    Ok(())
}
