//! SQL on a store: counts the sources of the dataset `pool`.
//!
//! `cargo run -p gstore --example query -- STORE`, on a store such as that of `ingest`.

use std::error::Error;
use std::path::Path;

use gstore::{JobContext, Store, pretty};

/// Counts the sources of the dataset `pool`.
pub fn run(path: &Path) -> Result<String, Box<dyn Error>> {
    let snapshot = Store::open(path)?.snapshot()?;
    let sql = "SELECT source, count(*) AS rows FROM pool GROUP BY source ORDER BY rows DESC, source";
    let batches = gstore::query(&snapshot, sql, None, &JobContext::silent("query example"))?;
    Ok(pretty(&batches)?)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which store?")?;
    println!("{}", run(Path::new(&path))?);
    Ok(())
}
