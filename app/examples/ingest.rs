//! Ingest through the library: registers the demo's pool and stores its embeddings.
//!
//! `cargo run -p gstore --example ingest -- STORE`, where STORE is the folder to make.

use std::error::Error;
use std::path::Path;

use gstore::{AddRequest, IngestRequest, JobContext, Kind, Store};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo");

/// Makes the store at `path`.
pub fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let store = Store::open_or_create(path)?;
    let mut work = JobContext::silent("ingest example");
    let pool = AddRequest::new("pool", [format!("{DEMO}/data/pool.jsonl").into()]);
    let added = gstore::add(&store, &pool, &mut work)?;
    println!("{} samples added, {} were there", added.added, added.unchanged);

    let model = format!("{DEMO}/model");
    let request = IngestRequest { kinds: vec![Kind::EmbedMean], ..IngestRequest::new("pool", model) };
    let report = gstore::ingest(&store, request, &mut work)?;
    println!("{} rows computed", report.computed);
    Ok(())
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which store?")?;
    run(Path::new(&path))
}
