//! Speed of adapter gradients: the peer of `benches/peers/pytorch_loop.py`. Prints one JSON line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use gstore_benches::machine;
use gstore_benches::workload::{How, Inputs};
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::ComputePrecision;
use gstore_store::{DType, Store};

/// Rows of the pool through one checkpoint, end to end from JSONL to the published store.
#[derive(Parser)]
struct Args {
    /// Folder with models/ and data/
    #[arg(long, env = "GSTORE_SHARED", default_value = "../shared")]
    shared: PathBuf,
    /// Rows of the pool
    #[arg(long)]
    limit: Option<u64>,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Step of the checkpoint [default: the second]
    #[arg(long)]
    checkpoint: Option<u64>,
    /// Products in bf16 instead of f32
    #[arg(long)]
    bf16: bool,
    /// Store the gradient itself, as the peer computes it, instead of its projection
    #[arg(long)]
    unprojected: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut inputs = Inputs::find(&args.shared)?;
    let chosen = match args.checkpoint {
        Some(step) => inputs.checkpoints.iter().position(|c| c.name == format!("checkpoint-{step}")),
        None => (inputs.checkpoints.len() > 1).then_some(1),
    };
    inputs.checkpoints = vec![inputs.checkpoints.swap_remove(chosen.context("no such checkpoint")?)];
    let folder = tempfile::tempdir()?;
    let store = Store::create(folder.path().join("store"))?;
    let (projection, dtype) = match args.unprojected {
        true => (ProjectionSpec::none(), DType::F32),
        false => (ProjectionSpec::default(), DType::F16),
    };
    let compute = if args.bf16 { ComputePrecision::Bf16 } else { ComputePrecision::F32 };
    let how = How {
        kinds: vec![Kind::GradAdam],
        projection,
        dtype,
        compute,
        threads: args.threads,
        limit: args.limit,
    };
    let (report, seconds) = inputs.ingest(&store, "pool", &inputs.pool, &how)?;
    let line = serde_json::json!({
        "tool": "gstore", "checkpoint": inputs.checkpoints[0].name, "threads": args.threads, "compute": compute.name(), "unprojected": args.unprojected,
        "samples": report.computed, "tokens": report.tokens, "seconds": seconds,
        "samples_per_second": report.computed as f64 / seconds, "tokens_per_second": report.tokens as f64 / seconds,
        "peak_rss_mb": machine::peak_rss_mib(),
    });
    println!("{line}");
    Ok(())
}
