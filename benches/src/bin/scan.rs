//! Speed of the exact scan, next to the memory bandwidth in the same second.
//!
//! 4,480 rows x 4 checkpoints x 8,192 f16 values (294 MB) against 1, 4 and 8 query vectors. `--dtype` stores
//! them in another type: `--queries 1,16,64,256` with f16 and with i8 shows what half the bytes are worth.
//!
//! Both are the best of several rounds that alternate between them: on a shared machine either may be
//! disturbed, and the ratio of the bests does not flatter the scan when a probe was.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use gstore_benches::evidence::numbers::Numbers;
use gstore_benches::pool::{self, Features};
use gstore_benches::{machine, probe};
use gstore_query::influence::{InfluenceSpec, Order, Prepared, TargetRef};
use gstore_query::kernel::Kernel;
use gstore_query::matrix::{MatrixJob, MatrixOptions, MatrixOutput, products_per_second};
use gstore_store::{Cancel, DType, Store};

/// Top 100 of a pool by influence, first over unread blocks, then over verified ones.
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
    /// How the vectors are stored: f16, f32, i8 or i1
    #[arg(long, default_value = "f16", value_parser = dtype)]
    dtype: DType,
    /// Numbers of query vectors
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8])]
    queries: Vec<usize>,
    /// Scans of each and probes, of which the best are quoted
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Also write the matrix of all rows and query vectors, and time the products of the kernel
    /// alone in the same second
    #[arg(long)]
    matrix: bool,
    /// Where the store is made [default: the system's temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn dtype(word: &str) -> Result<DType, String> {
    let found = DType::ALL.into_iter().find(|dtype| dtype.to_string() == word);
    found.ok_or_else(|| "none of f16, f32, i8, i1".to_owned())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let store = fill(folder.path(), &args)?;
    let memory = vec![0x3c00_u64; 256 << 17];
    println!("{}", machine::describe());
    println!(
        "kernel {}, {} rows x {} checkpoints x {} {} values, {} threads, speeds in GB/s",
        Kernel::detect().name(),
        args.rows,
        args.checkpoints,
        args.dim,
        args.dtype,
        args.threads
    );
    println!("queries  touch      ms   scan  probe  ratio  GMAC/s");
    let snapshot = store.snapshot()?;
    for &count in &args.queries {
        let spec = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse(&format!("target{count}"))],
            ..Default::default()
        };
        let plan = Prepared::new(&snapshot, &spec)?;
        plan.subtasks(&Cancel::new())?;
        let (mut probes, mut scans) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for _ in 0..args.rounds.max(2) {
            probes.push(probe::bandwidth(&memory, args.threads));
            let start = Instant::now();
            let ranking = plan.top_k(Order::Best, 100, None, args.threads, &Cancel::new())?;
            scans.push(start.elapsed().as_secs_f64());
            bytes = ranking.summary.bytes_read;
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
        if args.matrix {
            matrix(&plan, folder.path(), &args, count)?;
        }
    }
    Ok(())
}

/// Times a matrix of the plan: rows against query vectors, written as Parquet.
fn matrix(plan: &Prepared, folder: &Path, args: &Args, count: usize) -> Result<()> {
    let go = Cancel::new();
    let (mut kernel, mut best, mut bytes) = (0.0f64, f64::INFINITY, 0);
    for _ in 0..args.rounds.max(2) {
        kernel = kernel.max(products_per_second(args.dim, count, args.threads));
        let output = folder.join("matrix");
        let options = MatrixOptions { memory: 8 << 30, threads: args.threads, ..MatrixOptions::default() };
        let start = Instant::now();
        let job = MatrixJob::new(plan, options, &go)?;
        let report = job.write(MatrixOutput::Folder(&output), &mut |_, _| {}, &go)?;
        best = best.min(start.elapsed().as_secs_f64());
        bytes = report.bytes;
        fs_err::remove_dir_all(&output)?;
    }
    let speed = (args.rows * args.checkpoints * args.dim * count) as f64 / best;
    println!(
        "matrix of {} x {count}: {:.1} ms, {:.1} GMAC/s, {:.2} of the kernel's {:.1}; {:.0} MB/s written",
        args.rows,
        best * 1e3,
        speed / 1e9,
        speed / kernel,
        kernel / 1e9,
        bytes as f64 / best / 1e6
    );
    Ok(())
}

fn fill(folder: &Path, args: &Args) -> Result<Store> {
    let store = Store::create(folder.join("store"))?;
    pool::samples(&store, "pool", args.rows, None)?;
    let mut jobs = vec![("pool".to_owned(), "grad-adam", args.rows)];
    for &count in &args.queries {
        pool::samples(&store, &format!("target{count}"), count, Some("s"))?;
        jobs.push((format!("target{count}"), "grad-sgd", count));
    }
    let mut numbers = Numbers(1);
    for (dataset, kind, rows) in jobs {
        let Args { checkpoints, dim, dtype, .. } = *args;
        let features = Features { dataset: &dataset, kind, checkpoints, rows, dim, dtype };
        pool::publish(&store, features, |vector| {
            vector.iter_mut().for_each(|x| *x = numbers.even());
            Ok(())
        })?;
    }
    Ok(store)
}
