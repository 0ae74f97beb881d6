//! Speed of the exact scan: 4,480 rows x 4 checkpoints x 8,192 f16 values (294 MB) against 1, 4 and 8 query vectors, next to the bandwidth
//! at which the same machine reads memory in the same second.
//!
//! Both are the best of several rounds that alternate between them: on a shared machine either may be disturbed, and the ratio of the bests
//! does not flatter the scan when a probe was.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use gstore_benches::{machine, probe};
use gstore_query::influence::{InfluencePlan, InfluenceSpec, Order, TargetRef};
use gstore_query::kernel::Kernel;
use gstore_store::{
    AppendOptions, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, Family, FeatureAttrs,
    FeatureDesc, FeatureKind, Granularity, IfChanged, JobFeature, JobPlan, MetaValue, NewSample, RowFlags,
    Space, Store,
};

/// Top 100 of a pool by influence, first over blocks that nobody has read, then over verified ones.
#[derive(Parser)]
struct Args {
    /// Rows of the pool
    #[arg(long, default_value_t = 4480)]
    rows: usize,
    /// Values per vector
    #[arg(long, default_value_t = 8192)]
    dim: usize,
    /// Checkpoints
    #[arg(long, default_value_t = 4)]
    checkpoints: usize,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Numbers of query vectors
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8])]
    queries: Vec<usize>,
    /// Scans of each and probes, of which the best are quoted
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Where the store is made [default: the system's temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let store = fill(folder.path(), &args)?;
    let memory = vec![0x3c00_u64; 256 << 17];
    println!("{}", machine::describe());
    println!("kernel {}, {} threads, speeds in GB/s", Kernel::detect().name(), args.threads);
    println!("queries  touch      ms   scan  probe  ratio  GMAC/s");
    let snapshot = store.snapshot()?;
    for &count in &args.queries {
        let spec = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse(&format!("target{count}"))],
            ..Default::default()
        };
        let plan = InfluencePlan::new(&snapshot, &spec)?;
        plan.subtasks()?;
        let (mut probes, mut scans) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for _ in 0..args.rounds.max(2) {
            probes.push(probe::bandwidth(&memory, args.threads));
            let start = Instant::now();
            let ranking = plan.top_k(Order::Best, 100, None, args.threads, &AtomicBool::new(false))?;
            scans.push(start.elapsed().as_secs_f64());
            bytes = ranking.bytes_read;
        }
        let bandwidth = probes.into_iter().fold(0.0, f64::max);
        let later = scans[1..].iter().copied().fold(f64::INFINITY, f64::min);
        let products = (args.rows * args.checkpoints * args.dim * count) as f64;
        for (touch, seconds) in [("first", scans[0]), ("later", later)] {
            let speed = bytes as f64 / seconds / 1e9;
            println!(
                "{count:7}  {touch}  {:6.1} {speed:6.1} {bandwidth:6.1}  {:5.2}  {:6.1}",
                seconds * 1e3,
                speed / bandwidth,
                products / seconds / 1e9
            );
        }
    }
    Ok(())
}

/// Numbers in -1..1, always the same.
struct Numbers(u64);

impl Numbers {
    fn fill(&mut self, vector: &mut [f32]) {
        for x in vector {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *x = (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        }
    }
}

fn fill(folder: &Path, args: &Args) -> Result<Store> {
    let store = Store::create(folder.join("store"))?;
    samples(&store, "pool", args.rows, false)?;
    let mut jobs = vec![("pool".to_owned(), "grad-adam", args.rows)];
    for &count in &args.queries {
        samples(&store, &format!("target{count}"), count, true)?;
        jobs.push((format!("target{count}"), "grad-sgd", count));
    }
    let mut numbers = Numbers(1);
    let mut vector = vec![0.0; args.dim];
    for (dataset, kind, rows) in jobs {
        let features = (0..args.checkpoints)
            .map(|c| feature(&dataset, kind, c, args.dim))
            .collect::<Result<Vec<_>>>()?;
        let identity = serde_json::json!([dataset, kind]);
        let mut job = store.start_job(JobPlan {
            command: "bench".into(),
            identity,
            features,
            detail: serde_json::Value::Null,
        })?;
        for c in 0..args.checkpoints {
            let mut writer = job.segment_writer(c)?;
            for row in 0..rows as u64 {
                numbers.fill(&mut vector);
                writer.push(row, &vector, RowFlags::empty())?;
            }
            job.seal(c, writer)?;
        }
        job.publish(None, true)?;
    }
    Ok(store)
}

/// Samples, each a subtask of its own where asked for, so that every target row is one query vector.
fn samples(store: &Store, name: &str, rows: usize, subtasks: bool) -> Result<()> {
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

fn feature(dataset: &str, kind: &str, checkpoint: usize, dim: usize) -> Result<JobFeature> {
    let id = CheckpointId::try_from(format!("{checkpoint:064x}"))?;
    let dim = u32::try_from(dim)?;
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
