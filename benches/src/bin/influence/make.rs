//! A store from a folder of vectors.
//!
//! The folder has `meta.json` with rows, queries and dim, `rows.f16` and `queries.f32`, little-endian, row
//! after row.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use gstore_benches::pool::{self, Features};
use gstore_query::sketch::{self, SketchOptions};
use gstore_store::{Cancel, DType, Store};
use half::f16;
use serde_json::{Value, json};

#[derive(Args)]
pub struct MakeArgs {
    /// Folder of vectors
    #[arg(long)]
    vectors: PathBuf,
    /// Where the store is made
    #[arg(long)]
    store: PathBuf,
    /// Only the first rows
    #[arg(long)]
    limit: Option<usize>,
    /// Checkpoints, each with the same vectors
    #[arg(long, default_value_t = 1)]
    checkpoints: usize,
    /// Numbers of target samples
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    queries: Vec<usize>,
    /// Leaves the sketch out
    #[arg(long)]
    no_sketch: bool,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Publishes the pool, a target for each number of samples (its first vectors, repeated if there are fewer)
/// and a sketch.
pub fn run(args: &MakeArgs) -> Result<()> {
    let meta: Value = serde_json::from_str(&fs_err::read_to_string(args.vectors.join("meta.json"))?)?;
    let number = |name: &str| -> Result<usize> {
        let value = meta[name].as_u64().with_context(|| format!("meta.json has no number `{name}`"))?;
        Ok(usize::try_from(value)?)
    };
    let (dim, available) = (number("dim")?, number("rows")?);
    let rows = args.limit.unwrap_or(available);
    let begun = Instant::now();
    let store = Store::create(&args.store)?;
    pool::samples(&store, "pool", rows, None)?;
    let (checkpoints, dtype) = (args.checkpoints, DType::F16);
    let features = Features { dataset: "pool", kind: "grad-adam", checkpoints, rows, dim, dtype };
    let path = args.vectors.join("rows.f16");
    let mut halves = Vectors::<2>::open(&path, dim, rows.min(available))?;
    pool::publish(&store, features, |vector| halves.next(vector, |b| f16::from_le_bytes(b).to_f32()))?;
    for &count in &args.queries {
        let name = format!("target{count}");
        pool::samples(&store, &name, count, Some("s"))?;
        let features = Features { dataset: &name, kind: "grad-sgd", checkpoints, rows: count, dim, dtype };
        let path = args.vectors.join("queries.f32");
        let mut queries = Vectors::<4>::open(&path, dim, number("queries")?.min(count))?;
        pool::publish(&store, features, |vector| queries.next(vector, f32::from_le_bytes))?;
    }
    let published = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let mut bytes = 0;
    if !args.no_sketch {
        let (snapshot, _lease) = store.snapshot_leased(None, "bench")?;
        let options = SketchOptions { seed: Some(7), threads: args.threads, ..SketchOptions::default() };
        for part in snapshot.features().iter().filter(|part| part.desc.dataset == "pool") {
            let reader = snapshot.open_feature(part)?;
            bytes += sketch::build(&store, &reader, &options, &mut |_| (), &Cancel::new())?.bytes;
        }
    }
    println!(
        "{}",
        json!({
            "rows": rows, "dim": dim, "checkpoints": args.checkpoints, "publish_seconds": published,
            "sketch_seconds": begun.elapsed().as_secs_f64(), "sketch_bytes": bytes,
        })
    );
    Ok(())
}

/// Vectors of a file, one after the other, repeated from the start.
struct Vectors<const WIDTH: usize> {
    path: PathBuf,
    file: BufReader<fs_err::File>,
    bytes: Vec<u8>,
    count: usize,
    at: usize,
}

impl<const WIDTH: usize> Vectors<WIDTH> {
    fn open(path: &Path, dim: usize, count: usize) -> Result<Self> {
        anyhow::ensure!(count > 0 && dim > 0, "{} has no vectors", path.display());
        let file = BufReader::with_capacity(1 << 20, fs_err::File::open(path)?);
        Ok(Self { path: path.to_owned(), file, bytes: vec![0; dim * WIDTH], count, at: 0 })
    }

    fn next(&mut self, vector: &mut [f32], value: impl Fn([u8; WIDTH]) -> f32) -> Result<()> {
        if self.at == self.count {
            *self = Self::open(&self.path, vector.len(), self.count)?;
        }
        self.at += 1;
        self.file.read_exact(&mut self.bytes)?;
        let (values, _) = self.bytes.as_chunks::<WIDTH>();
        vector.iter_mut().zip(values).for_each(|(x, bytes)| *x = value(*bytes));
        Ok(())
    }
}
