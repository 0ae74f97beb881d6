//! The LESS workload: a pool, target files, a model and its warm-up checkpoints in the reference layout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gstore_ingest::pipeline::{
    AddRequest, CheckpointArg, IngestPlan, IngestReport, IngestRequest, Kind, Silent, add, ingest,
};
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::ComputePrecision;
use gstore_store::{Cancel, DType, Store};

/// Where the inputs are.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The base model.
    pub model: PathBuf,
    /// Checkpoints, by step.
    pub checkpoints: Vec<CheckpointArg>,
    /// The pool.
    pub pool: PathBuf,
    /// Target files, by name.
    pub targets: Vec<(String, PathBuf)>,
}

impl Inputs {
    /// Finds the inputs in a folder with `models/`, `data/pool.jsonl` and `data/targets/`.
    pub fn find(shared: &Path) -> Result<Self> {
        let mut models: Vec<PathBuf> = folders(&shared.join("models"))?;
        models.retain(|path| path.join("config.json").is_file());
        let model = models.into_iter().next().context("no model in models/")?;
        let warmup = format!("{}-warmup", model.file_name().context("a name")?.to_string_lossy());
        let mut steps: Vec<(u64, PathBuf)> = folders(&shared.join("models").join(warmup))?
            .into_iter()
            .filter_map(|path| Some((path.file_name()?.to_str()?.rsplit('-').next()?.parse().ok()?, path)))
            .collect();
        steps.sort();
        let checkpoints = steps
            .into_iter()
            .map(|(step, path)| CheckpointArg::of_folder(format!("checkpoint-{step}"), path))
            .collect();
        let mut targets = Vec::new();
        for entry in fs_err::read_dir(shared.join("data/targets"))? {
            let path = entry?.path();
            let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
            targets.push((name, path));
        }
        targets.sort();
        Ok(Self { model, checkpoints, pool: shared.join("data/pool.jsonl"), targets })
    }

    /// Registers a file as a dataset and computes features of it. Returns what the ingest did and the seconds
    /// that it took.
    pub fn ingest(
        &self,
        store: &Store,
        dataset: &str,
        data: &Path,
        how: &How,
    ) -> Result<(IngestReport, f64)> {
        let begun = std::time::Instant::now();
        let request =
            AddRequest { command: "benchmark".to_owned(), ..AddRequest::new(dataset, [data.to_owned()]) };
        add(store, &request, &mut Silent)?;
        let request = IngestRequest {
            checkpoints: self.checkpoints.clone(),
            kinds: how.kinds.clone(),
            projection: how.projection.clone().into(),
            dtype: how.dtype,
            compute: how.compute,
            threads: how.threads,
            limit: how.limit,
            run: "warmup".to_owned(),
            command: "benchmark".to_owned(),
            ..IngestRequest::new(dataset, self.model.clone())
        };
        let plan = IngestPlan::new(store, request, &mut Silent)?;
        let report = ingest(store, &plan, &mut Silent, &Cancel::new())?;
        Ok((report, begun.elapsed().as_secs_f64()))
    }
}

/// What to compute for a dataset.
#[derive(Debug, Clone)]
pub struct How {
    /// Feature kinds.
    pub kinds: Vec<Kind>,
    /// Projection of gradients.
    pub projection: ProjectionSpec,
    /// Stored type.
    pub dtype: DType,
    /// Precision of the products.
    pub compute: ComputePrecision,
    /// Worker threads.
    pub threads: usize,
    /// Only the first rows.
    pub limit: Option<u64>,
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
