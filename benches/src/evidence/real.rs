//! Gradient features of a model, computed from the reference data and kept in a folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use gstore_ingest::pipeline::{CheckpointArg, Kind};
use gstore_ingest::projection::{ProjectionKind, ProjectionSpec};
use gstore_model::ComputePrecision;
use gstore_store::{DType, FeatureReader, Snapshot, Store};

use crate::workload::{How, Inputs};

/// Which features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those of LESS: adapters at every checkpoint, `grad-adam` of the pool and `grad-sgd` of the
    /// targets, in 8,192 coordinates.
    Less,
    /// The same in 256 coordinates.
    Small,
    /// `grad-sgd` of the whole model's linear layers, `fact_sjlt` with 256 coordinates each.
    Whole,
}

impl Which {
    fn folder(self) -> &'static str {
        match self {
            Self::Less => "less",
            Self::Small => "small",
            Self::Whole => "whole",
        }
    }
}

/// The features as f32, from the folder `keep`, or computed and kept there.
pub fn features(which: Which, shared: &Path, keep: &Path, threads: usize) -> Result<Store> {
    let path = keep.join(which.folder());
    if path.join("done").is_file() {
        return Ok(Store::open(path.join("store"))?);
    }
    let mut inputs = Inputs::find(shared)?;
    let projection = match which {
        Which::Less => ProjectionSpec::default(),
        Which::Small => ProjectionSpec { dim: 256, ..ProjectionSpec::default() },
        Which::Whole => ProjectionSpec::sized(ProjectionKind::FactSjlt { k_out: 0, k_in: 0 }, 256),
    };
    if which == Which::Whole {
        inputs.checkpoints = vec![CheckpointArg::base()];
    }
    let pool = match which {
        Which::Whole => Kind::GradSgd,
        _ => Kind::GradAdam,
    };
    let how = How {
        kinds: vec![pool],
        projection,
        dtype: DType::F32,
        compute: ComputePrecision::F32,
        threads,
        limit: None,
    };
    if path.exists() {
        fs_err::remove_dir_all(&path)?;
    }
    fs_err::create_dir_all(&path)?;
    let store = Store::create(path.join("store"))?;
    inputs.ingest(&store, "pool", &inputs.pool, &how)?;
    for (name, data) in &inputs.targets {
        inputs.ingest(&store, name, data, &How { kinds: vec![Kind::GradSgd], ..how.clone() })?;
    }
    fs_err::write(path.join("done"), "")?;
    Ok(store)
}

/// The readers of a dataset's features, one for each checkpoint.
pub fn readers(snapshot: &Arc<Snapshot>, dataset: &str) -> Result<Vec<FeatureReader>> {
    let mut features = snapshot.features_of(dataset);
    features.sort_by_key(|feature| feature.number);
    features.into_iter().map(|feature| Ok(snapshot.open_feature(feature)?)).collect()
}

/// The vectors of all rows of a feature that have a usable one.
pub fn vectors(reader: &FeatureReader) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    for range in reader.row_set()?.ranges() {
        for row in range.clone() {
            let stored = reader.row(row)?.context("a row of the feature")?;
            if stored.flags.is_empty() && stored.vector.iter().any(|x| *x != 0.0) {
                all.push(stored.vector);
            }
        }
    }
    Ok(all)
}

/// Names of the target datasets.
pub fn targets(snapshot: &Snapshot) -> Vec<String> {
    let names = snapshot.datasets().iter().map(|dataset| dataset.name.clone());
    names.filter(|name| name != "pool").collect()
}
