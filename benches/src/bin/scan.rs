//! Speed of the exact scan: 4,480 rows x 4 checkpoints x 8,192 f16 values (294 MB) against 1, 4, 8, ... query vectors, next to the
//! bandwidth at which the same machine reads memory in the same second.
//!
//! `scan [--rows N] [--dim N] [--checkpoints N] [--threads N] [--queries 1,4,8] [--dir FOLDER]`. The probe flips between states within
//! seconds on shared machines, so a scan is quoted as a ratio to the mean of the probes right before and after it.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gstore_query::influence::{InfluencePlan, InfluenceSpec, Order, TargetRef};
use gstore_query::kernel::Kernel;
use gstore_store::{
    AppendOptions, CheckpointId, ColumnSpec, ColumnType, DType, DatasetName, Family, FeatureAttrs,
    FeatureDesc, FeatureKind, IfChanged, JobFeature, JobPlan, MetaValue, NewSample, RowFlags, Space, Store,
};

type Failure = Box<dyn std::error::Error>;

struct Options {
    rows: usize,
    dim: usize,
    checkpoints: usize,
    threads: usize,
    queries: Vec<usize>,
    dir: std::path::PathBuf,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        rows: 4480,
        dim: 8192,
        checkpoints: 4,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        queries: vec![1, 4, 8],
        dir: std::env::temp_dir(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--rows" => options.rows = value.parse()?,
            "--dim" => options.dim = value.parse()?,
            "--checkpoints" => options.checkpoints = value.parse()?,
            "--threads" => options.threads = value.parse()?,
            "--queries" => options.queries = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--dir" => options.dir = value.into(),
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    eprintln!(
        "writing {} rows x {} checkpoints x {} f16 ...",
        options.rows, options.checkpoints, options.dim
    );
    let store = fill(folder.path(), &options)?;
    let probe = vec![0x3c00_u64; 256 << 17];
    println!("kernel {}, {} threads, read bandwidth in GB/s", Kernel::detect().name(), options.threads);
    println!("queries  touch      ms   GB/s  probe  ratio  GMAC/s");
    let snapshot = store.snapshot()?;
    for &count in &options.queries {
        let spec = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse(&format!("target{count}"))],
            ..Default::default()
        };
        let plan = InfluencePlan::new(&snapshot, &spec)?;
        plan.subtasks()?;
        let mut first = None;
        let mut warm: Option<Run> = None;
        for _ in 0..8 {
            let before = bandwidth(&probe, options.threads);
            let start = Instant::now();
            let ranking = plan.top_k(Order::Best, 100, None, options.threads, &AtomicBool::new(false))?;
            let seconds = start.elapsed().as_secs_f64();
            let after = bandwidth(&probe, options.threads);
            let run = Run { seconds, bytes: ranking.bytes_read, probe: (before + after) / 2.0 };
            if first.is_none() {
                first = Some(run);
            } else if warm.as_ref().is_none_or(|best| run.ratio() > best.ratio()) {
                warm = Some(run);
            }
        }
        for (touch, run) in [("first", first), ("later", warm)] {
            let Some(run) = run else { continue };
            let products = (options.rows * options.checkpoints * options.dim * count) as f64;
            println!(
                "{count:7}  {touch}  {:6.1} {:6.1} {:6.1}  {:5.2}  {:6.1}",
                run.seconds * 1e3,
                run.speed(),
                run.probe,
                run.ratio(),
                products / run.seconds / 1e9
            );
        }
    }
    Ok(())
}

struct Run {
    seconds: f64,
    bytes: u64,
    probe: f64,
}

impl Run {
    fn speed(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e9
    }

    fn ratio(&self) -> f64 {
        self.speed() / self.probe
    }
}

/// GB/s at which `threads` threads sum up memory.
fn bandwidth(memory: &[u64], threads: usize) -> f64 {
    let start = Instant::now();
    let share = memory.len().div_ceil(threads.max(1));
    std::thread::scope(|scope| {
        for part in memory.chunks(share) {
            scope.spawn(move || {
                let mut sums = [0u64; 32];
                for line in part.chunks_exact(32) {
                    for (sum, word) in sums.iter_mut().zip(line) {
                        *sum = sum.wrapping_add(*word);
                    }
                }
                std::hint::black_box(sums);
            });
        }
    });
    size_of_val(memory) as f64 / start.elapsed().as_secs_f64() / 1e9
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

fn fill(folder: &Path, options: &Options) -> Result<Store, Failure> {
    let store = Store::create(folder.join("store"))?;
    samples(&store, "pool", options.rows, false)?;
    let mut jobs = vec![("pool".to_owned(), "grad-adam", options.rows)];
    for &count in &options.queries {
        samples(&store, &format!("target{count}"), count, true)?;
        jobs.push((format!("target{count}"), "grad-sgd", count));
    }
    let mut numbers = Numbers(1);
    let mut vector = vec![0.0; options.dim];
    for (dataset, kind, rows) in jobs {
        let features = (0..options.checkpoints)
            .map(|c| feature(&dataset, kind, c, options.dim))
            .collect::<Result<Vec<_>, _>>()?;
        let identity = serde_json::json!([dataset, kind]);
        let mut job = store.start_job(JobPlan {
            command: "bench".into(),
            identity,
            features,
            detail: serde_json::Value::Null,
        })?;
        for c in 0..options.checkpoints {
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
fn samples(store: &Store, name: &str, rows: usize, subtasks: bool) -> Result<(), Failure> {
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

fn feature(dataset: &str, kind: &str, checkpoint: usize, dim: usize) -> Result<JobFeature, Failure> {
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
    };
    Ok(JobFeature { desc, attrs: FeatureAttrs::new(format!("{kind}@checkpoint-{checkpoint}"), dim) })
}
