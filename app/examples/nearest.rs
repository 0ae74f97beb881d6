//! Similarity search: the five samples most like a given one.
//!
//! `cargo run -p gstore --example nearest -- STORE ID`, on a store with embeddings such as that of `ingest`.

use std::error::Error;
use std::path::Path;

use gstore::{JobContext, Store, pretty};

/// The five samples of the dataset `pool` whose embeddings are nearest to that of `id`.
pub fn run(path: &Path, id: &str) -> Result<String, Box<dyn Error>> {
    let snapshot = Store::open(path)?.snapshot()?;
    let id = id.replace('\'', "''");
    let sql = format!("SELECT id, similarity FROM nearest('pool', id => '{id}') LIMIT 5");
    let batches = gstore::query(&snapshot, &sql, None, &JobContext::silent("nearest example"))?;
    Ok(pretty(&batches)?)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, id) = args.next().zip(args.next()).ok_or("which store, and which sample?")?;
    println!("{}", run(Path::new(&path), &id)?);
    Ok(())
}
