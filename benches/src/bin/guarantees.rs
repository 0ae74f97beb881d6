//! Measured guarantees of the query engine: certificates, misses, tolerances, accuracy, storage types.
//!
//! Prints one JSON object a line; `benches/guarantees.sh` keeps them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use gstore_benches::evidence::adversarial::{Trouble, level, orthogonal};
use gstore_benches::evidence::certified::{Asked, Shape, Tally, adversarial};
use gstore_benches::evidence::numbers::{Numbers, length};
use gstore_benches::evidence::planes::{Count, Family};
use gstore_benches::evidence::real::{self, Which};
use gstore_benches::evidence::{accuracy, sketches, storage, stored, tolerance};
use gstore_benches::machine;
use gstore_query::influence::Plane;
use gstore_store::{DType, RowFlags};
use serde_json::{Value, json};

/// Counts what is promised of rankings.
#[derive(Parser)]
struct Args {
    /// Folder with models/ and data/
    #[arg(long, env = "GSTORE_SHARED", default_value = "../shared")]
    shared: PathBuf,
    /// Where gradient features are kept between runs
    #[arg(long)]
    keep: PathBuf,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Certified rankings of pools that make trouble
    Adversarial {
        /// Target samples of each pool
        #[arg(long, default_value_t = 8)]
        targets: usize,
    },
    /// Certified rankings of gradient features
    Real {
        /// Target samples that ask the pool as it is
        #[arg(long, default_value_t = 240)]
        targets: usize,
        /// Rows of the pool that is repeated with noise
        #[arg(long, default_value_t = 100_000)]
        rows: usize,
        /// Target samples that ask that one
        #[arg(long, default_value_t = 24)]
        large_targets: usize,
    },
    /// Misses of the bit planes at a stated probability
    Planes {
        /// The probability
        #[arg(long)]
        miss: f64,
        /// Trials of each count [default: 100 / miss]
        #[arg(long)]
        trials: Option<u64>,
    },
    /// Distances of scores with a tolerance
    Tolerance,
    /// Products against double precision
    Accuracy,
    /// Scores of f16, i8 and i1 storage against f32
    Storage,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let begun = Instant::now();
    println!("{}", json!({ "machine": machine::describe() }));
    let kept = match &args.what {
        What::Adversarial { targets } => troubled(*targets)?,
        What::Real { targets, rows, large_targets } => gradients(&args, *targets, *rows, *large_targets)?,
        What::Planes { miss, trials } => planes(&args, *miss, *trials)?,
        What::Tolerance => tolerances(&args)?,
        What::Accuracy => {
            accuracy::run(&[256, 1024, 4096, 8192, 16_384, 65_536]).iter().for_each(print);
            true
        }
        What::Storage => {
            let less = real::features(Which::Less, &args.shared, &args.keep, args.threads)?;
            for dtype in [DType::F16, DType::I8, DType::I1] {
                let folder = tempfile::tempdir_in(&args.keep)?;
                storage::run(&less, &folder.path().join("store"), dtype)?.iter().for_each(print);
            }
            true
        }
    };
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    ensure!(kept, "a promise was not kept: see the lines above");
    Ok(())
}

fn print(line: &Value) {
    println!("{line}");
}

fn troubled(targets: usize) -> Result<bool> {
    let mut all = Tally::default();
    for trouble in Trouble::ALL {
        let mut of_trouble = Tally::default();
        for (d, dim) in [1, 63, 64, 65, 200, 4096, 8192].into_iter().enumerate() {
            for (t, dtype) in [DType::F32, DType::F16, DType::I8].into_iter().enumerate() {
                let shape = Shape {
                    trouble,
                    dim,
                    dtype,
                    groups: [1, 4][(d + t) % 2],
                    checkpoints: if dim < 1000 { 1 + (d + t) % 3 } else { 1 },
                    rows: if dim < 1000 { 1500 } else { 600 },
                    tokens: dim == 200 && t == 0,
                };
                of_trouble.merge(adversarial(shape, targets, (d * 10 + t) as u64)?);
            }
        }
        print(&of_trouble.report(&format!("{trouble:?}")));
        all.merge(of_trouble);
    }
    print(&all.report("all"));
    Ok(all.wrong.is_empty())
}

fn gradients(args: &Args, targets: usize, rows: usize, large_targets: usize) -> Result<bool> {
    let mut kept = true;
    for which in [Which::Less, Which::Whole] {
        let store = real::features(which, &args.shared, &args.keep, args.threads)?;
        let snapshot = store.snapshot()?;
        let readers = real::readers(&snapshot, "pool")?;
        let mut queries = Vec::new();
        for name in real::targets(&snapshot) {
            let of_target = real::readers(&snapshot, &name)?;
            queries.extend(real::vectors(of_target.last().context("a feature")?)?);
        }
        let reader = readers.last().context("a feature")?;
        let groups: Vec<u32> = reader.part().attrs.groups.iter().map(|group| group.len).collect();
        let vectors = real::vectors(reader)?;
        // Every query on the pool itself, then some on a larger, noisy pool.
        for (name, count, targets) in
            [("as it is", vectors.len(), targets), ("repeated with noise", rows, large_targets)]
        {
            let mut tally = Tally::default();
            for dtype in [DType::F16, DType::I8].into_iter().take(if count == rows { 1 } else { 2 }) {
                let folder = tempfile::tempdir_in(&args.keep)?;
                let pool = stored::Pool {
                    rows: count,
                    vectors: &|_, row| (noisy(&vectors, row), RowFlags::default()),
                    dtype,
                    groups: groups.clone(),
                    cut: count.div_ceil(3),
                    checkpoints: 1,
                    tokens: false,
                };
                let step = (queries.len() / targets).max(1);
                let asked: Vec<Vec<f32>> = queries.iter().step_by(step).take(targets).cloned().collect();
                let store = stored::build(&folder.path().join("store"), &pool, std::slice::from_ref(&asked))?;
                let snapshot = store.snapshot()?;
                let sketches = sketches(&snapshot, 5, args.threads)?;
                for planes in [true, false] {
                    let asks = Asked { name: format!("{which:?} {name} {dtype}"), tokens: false, planes };
                    asks.compare(&snapshot, &sketches, asked.len(), None, 3, &mut tally)?;
                }
            }
            kept &= tally.wrong.is_empty();
            print(&tally.report(&format!("{which:?}, {count} rows {name}")));
        }
    }
    Ok(kept)
}

/// A row of the pool; further ones are copies with noise of a tenth of their length.
fn noisy(vectors: &[Vec<f32>], row: usize) -> Vec<f32> {
    let mut vector = vectors[row % vectors.len()].clone();
    if row >= vectors.len() {
        let mut numbers = Numbers(row as u64);
        let by = 0.1 * length(&vector) / (vector.len() as f64).sqrt();
        // Uniform: normal numbers would take longer than everything else.
        vector.iter_mut().for_each(|x| *x += (by * 3.46 * (numbers.unit() - 0.5)) as f32);
    }
    vector
}

fn planes(args: &Args, miss: f64, trials: Option<u64>) -> Result<bool> {
    let small = real::features(Which::Small, &args.shared, &args.keep, args.threads)?.snapshot()?;
    let rows = real::vectors(real::readers(&small, "pool")?.last().context("a feature")?)?;
    let mut queries = Vec::new();
    for name in real::targets(&small) {
        queries.extend(real::vectors(real::readers(&small, &name)?.last().context("a feature")?)?);
    }
    let trials = trials.unwrap_or((100.0 / miss).ceil() as u64);
    let mut kept = true;
    for (name, dim, level) in
        [("gaussian", 128, 0.1), ("heavy", 128, 0.1), ("sparse", 128, 0.0), ("real", 256, 0.1)]
    {
        for planes in [&[Plane::Sign][..], &[Plane::Nibble], &[Plane::Sign, Plane::Nibble, Plane::Int8]] {
            for together in [false, true] {
                if together && planes.len() == 1 {
                    continue;
                }
                let family = match name {
                    "gaussian" => Family::Gaussian,
                    "heavy" => Family::Heavy,
                    "sparse" => Family::Sparse,
                    _ => Family::Given(&rows, &queries),
                };
                let count = if together { 4 } else { 8 };
                let line = Count {
                    name,
                    family,
                    dim,
                    planes,
                    miss,
                    trials,
                    queries: count,
                    together,
                    level,
                    pools: 8,
                }
                .run()?;
                kept &= line["kept"] == json!(true);
                print(&line);
            }
        }
    }
    Ok(kept)
}

fn tolerances(args: &Args) -> Result<bool> {
    let small = real::features(Which::Small, &args.shared, &args.keep, args.threads)?.snapshot()?;
    let rows = real::vectors(real::readers(&small, "pool")?.last().context("a feature")?)?;
    let gsm8k = real::readers(&small, "gsm8k")?;
    let queries: Vec<Vec<f32>> = real::vectors(&gsm8k[0])?.into_iter().take(12).collect();
    let (made, asked) = tolerance::synthetic(192, 4000, 12, 3);
    let mut kept = true;
    // Scores within 0.1 of each other, so that tolerances leave rows out.
    let mut numbers = Numbers(4);
    let level_queries = orthogonal(&asked);
    let level_rows = level(&mut numbers, made.clone(), &level_queries, 0.1, 0.05);
    for (name, rows, queries) in
        [("real", &rows, &queries), ("some stand out", &made, &asked), ("level", &level_rows, &level_queries)]
    {
        for line in tolerance::run(name, rows, queries, 50, 1e-2, 4)? {
            // The bit planes may miss with their probability.
            let allowed = if line["certified"] == json!(true) {
                0
            } else {
                line["rankings"].as_u64().unwrap_or_default() / 100
            };
            kept &= line["beyond"].as_u64().is_some_and(|beyond| beyond <= allowed);
            print(&line);
        }
    }
    Ok(kept)
}
