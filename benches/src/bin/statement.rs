//! One SQL statement in process, many times: `benches/serve.py` compares a server with it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use gstore_sql::{SqlOptions, SqlRunner};
use gstore_store::{Cancel, Store};

/// Runs a statement and prints the milliseconds of each run as JSON.
#[derive(Parser)]
struct Args {
    /// The store.
    #[arg(long)]
    store: PathBuf,
    /// How often, after ten runs that are not counted.
    #[arg(long, default_value_t = 500)]
    runs: usize,
    /// The statement.
    sql: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runner = SqlRunner::new(Store::open(&args.store)?.snapshot()?, SqlOptions::default())?;
    let cancel = Cancel::new();
    let mut times = Vec::with_capacity(args.runs);
    for run in 0..args.runs + 10 {
        let began = Instant::now();
        for batch in runner.run(&args.sql, &cancel)? {
            batch?;
        }
        if run >= 10 {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("{}", serde_json::json!({ "ms": times }));
    Ok(())
}
