//! Gradient features of real data, as plain vectors.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use gstore_benches::workload::{How, Inputs};
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::ComputePrecision;
use gstore_store::{DType, Store};
use serde_json::json;

#[derive(Args)]
pub struct RealArgs {
    /// Folder with models/ and data/
    #[arg(long, env = "GSTORE_SHARED", default_value = "../shared")]
    shared: PathBuf,
    /// Coordinates of the projection
    #[arg(long, default_value_t = 4096)]
    dim: u32,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Folder to write rows.f32, queries.f32 and meta.json to
    #[arg(long)]
    out: PathBuf,
}

/// Writes `grad-adam` of the pool and `grad-sgd` of all targets at the second checkpoint.
pub fn run(args: &RealArgs) -> Result<()> {
    let mut inputs = Inputs::find(&args.shared)?;
    let second = inputs.checkpoints.len().min(2).checked_sub(1).context("no checkpoint")?;
    inputs.checkpoints = vec![inputs.checkpoints.swap_remove(second)];
    let folder = tempfile::tempdir()?;
    let store = Store::create(folder.path().join("store"))?;
    let how = How {
        kinds: vec![Kind::GradAdam],
        projection: ProjectionSpec { dim: args.dim, ..ProjectionSpec::default() },
        dtype: DType::F32,
        compute: ComputePrecision::F32,
        threads: args.threads,
        limit: None,
    };
    inputs.ingest(&store, "pool", &inputs.pool, &how)?;
    let sgd = How { kinds: vec![Kind::GradSgd], ..how };
    for (name, data) in &inputs.targets {
        inputs.ingest(&store, name, data, &sgd)?;
    }
    fs_err::create_dir_all(&args.out)?;
    let rows = write(&store, &["pool"], &args.out.join("rows.f32"))?;
    let targets: Vec<&str> = inputs.targets.iter().map(|(name, _)| &**name).collect();
    let queries = write(&store, &targets, &args.out.join("queries.f32"))?;
    let meta = json!({ "rows": rows, "queries": queries, "dim": args.dim });
    fs_err::write(args.out.join("meta.json"), meta.to_string())?;
    println!("{meta}");
    Ok(())
}

/// Appends the vectors of datasets, row by row, where they exist; returns their number.
fn write(store: &Store, datasets: &[&str], path: &std::path::Path) -> Result<u64> {
    let snapshot = store.snapshot()?;
    let mut out = BufWriter::new(fs_err::File::create(path)?);
    let mut count = 0;
    for dataset in datasets {
        let part = snapshot.features().iter().find(|part| part.desc.dataset == *dataset);
        let part = part.with_context(|| format!("{dataset} has no feature"))?;
        let reader = snapshot.open_feature(part)?;
        for row in reader.live().ranges().iter().cloned().flatten() {
            let Some(stored) = reader.row(row)?.filter(|stored| stored.vector.iter().any(|x| *x != 0.0))
            else {
                continue;
            };
            for value in &stored.vector {
                out.write_all(&value.to_le_bytes())?;
            }
            count += 1;
        }
    }
    out.flush()?;
    Ok(count)
}
