//! The complete LESS job on the reference data: time, size, and error of the default projection.
//!
//! Prints a table for people on standard error and one JSON object on standard output.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use clap::Parser;
use gstore_benches::machine;
use gstore_benches::pair_scores::pair_scores;
use gstore_benches::workload::{How, Inputs};
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::ComputePrecision;
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Ranking, RowFilter, RowMask, TargetRef};
use gstore_store::{Cancel, DType, Snapshot, Store};
use serde_json::{Value, json};

/// Rows whose family and agreement are counted.
const TOP: usize = 100;
/// Rows whose individual cosines are compared, spread over the pool.
const COMPARED: u64 = 512;

/// The whole job: every row of the pool and of all targets at every checkpoint, projected and exact.
#[derive(Parser)]
struct Args {
    /// Folder with models/ and data/
    #[arg(long, env = "GSTORE_SHARED", default_value = "../shared")]
    shared: PathBuf,
    /// Where to keep the two stores [default: a temporary folder]
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let inputs = Inputs::find(&args.shared)?;
    let temporary = tempfile::tempdir()?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let f16 = How {
        kinds: vec![Kind::GradAdam, Kind::EmbedMean, Kind::Loss],
        projection: ProjectionSpec::default(),
        dtype: DType::F16,
        compute: ComputePrecision::F32,
        threads: args.threads,
        limit: None,
    };
    let exact = How {
        kinds: vec![Kind::GradAdam],
        projection: ProjectionSpec::none(),
        dtype: DType::F32,
        ..f16.clone()
    };
    let (projected, ingest_projected) = build(&inputs, &folder.join("projected"), &f16)?;
    let (exact, ingest_exact) = build(&inputs, &folder.join("exact"), &exact)?;
    let mut targets = Vec::new();
    for (name, _) in &inputs.targets {
        let report = compare(&projected, &exact, name, args.threads)?;
        eprintln!("{report}");
        targets.push(report);
    }
    let result = json!({
        "machine": machine::describe(), "threads": args.threads, "projected": ingest_projected, "exact": ingest_exact,
        "targets": targets, "peak_rss_mib": machine::peak_rss_mib(),
    });
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(())
}

/// Ingests the pool and all targets; returns the snapshot and what it took.
fn build(inputs: &Inputs, path: &std::path::Path, how: &How) -> Result<(Arc<Snapshot>, Value)> {
    let store = Store::create(path)?;
    let (pool, pool_seconds) = inputs.ingest(&store, "pool", &inputs.pool, how)?;
    let begun = Instant::now();
    for (name, data) in &inputs.targets {
        inputs.ingest(&store, name, data, &How { kinds: vec![Kind::GradSgd], ..how.clone() })?;
    }
    let snapshot = store.snapshot()?;
    let bytes: u64 = snapshot.features().iter().map(|f| f.bytes()).sum();
    let report = json!({
        "pool_seconds": pool_seconds, "pool_tokens": pool.tokens, "tokens_per_second": pool.tokens as f64 / pool_seconds,
        "passes": pool.computed, "passes_per_second": pool.computed as f64 / pool_seconds,
        "targets_seconds": begun.elapsed().as_secs_f64(), "bytes": bytes,
    });
    eprintln!("{report}");
    Ok((snapshot, report))
}

fn plan(snapshot: &Arc<Snapshot>, target: &str) -> Result<Prepared> {
    let spec = InfluenceSpec {
        pools: vec!["pool".to_owned()],
        targets: vec![TargetRef::parse(target)],
        ..InfluenceSpec::default()
    };
    Ok(Prepared::new(snapshot, &spec)?)
}

fn compare(projected: &Arc<Snapshot>, exact: &Arc<Snapshot>, target: &str, threads: usize) -> Result<Value> {
    let never = Cancel::new();
    let (a, b) = (plan(projected, target)?, plan(exact, target)?);
    let top = |plan: &Prepared| plan.top_k(Order::Best, TOP, None, threads, &never);
    top(&a)?;
    let begun = Instant::now();
    let ranked = top(&a)?;
    let seconds = begun.elapsed().as_secs_f64();
    let reference = top(&b)?;
    let overlap = ranked.rows.iter().filter(|r| reference.rows.iter().any(|e| e.row == r.row)).count();
    let (share, exact_share) =
        (own_share(projected, &ranked, target)?, own_share(exact, &reference, target)?);

    let live = a.live();
    let mut mask = RowMask::new();
    (0..COMPARED.min(live)).for_each(|i| mask.insert(i * live / COMPARED.min(live)));
    let some = RowFilter::single(mask);
    let (a, b) = (pair_scores(&a, Some(&some), threads)?, pair_scores(&b, Some(&some), threads)?);
    ensure!(a.rows == b.rows, "the stores have scores of different rows");
    let dim = ProjectionSpec::default().dim;
    let (mut squares, mut predicted, mut count) = (0.0, 0.0, 0u64);
    for (ours, theirs) in a.sim.iter().flatten().zip(b.sim.iter().flatten()) {
        let rho = f64::from(*theirs);
        squares += (f64::from(*ours) - rho).powi(2);
        // A cosine divides by the projected lengths, whose errors are correlated with the inner product's: (1
        // - rho^2)^2 / k to first order.
        predicted += (1.0 - rho * rho).powi(2) / f64::from(dim);
        count += 1;
    }
    let (observed, predicted) = ((squares / count as f64).sqrt(), (predicted / count as f64).sqrt());
    Ok(json!({
        "target": target, "own_family_in_top": share, "own_family_in_top_exact": exact_share, "top": TOP,
        "top_overlap": overlap, "cosine_error_sd": observed, "cosine_error_sd_predicted": predicted, "cosines": count,
        "query_seconds": seconds, "bytes_read": ranked.summary.bytes_read, "gigabytes_per_second": ranked.summary.bytes_read as f64 / seconds / 1e9,
    }))
}

/// Share of the target's own family among the ranked rows. The family of a row is its `source`; that of a
/// target is the source that its name starts with or, for the mathematics target, `math`.
fn own_share(snapshot: &Arc<Snapshot>, ranking: &Ranking, target: &str) -> Result<f64> {
    let family = if target.starts_with("gsm") { "math" } else { target };
    let samples = snapshot.samples(snapshot.dataset("pool")?)?;
    let rows: Vec<u64> = ranking.rows.iter().map(|r| r.row).collect();
    let batch = samples.get(&rows, &["source"])?;
    let sources = batch.column(0).as_string_opt::<i32>().context("a text column")?;
    Ok(sources.iter().filter(|s| *s == Some(family)).count() as f64 / sources.len().max(1) as f64)
}
