//! The work that the tests split into shards, and what one process makes of it.

use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};

pub const SAMPLES: u64 = 3 * CELL_ROWS - 700;

/// Two cells at little cost, for what is done hundreds of times.
pub const FEW: u64 = CELL_ROWS + 10;

pub fn features() -> Vec<JobFeature> {
    vec![feature("grad-sgd", 3, DType::F16), feature("grad-adam", 4, DType::I8)]
}

pub fn run_update() -> RunUpdate {
    // Not the shortest way to write a number, so that a careless parser shows.
    warmup("checkpoint-7", 7, 1.999_999_999_999_999_8e-5)
}

/// Computes what is missing of `rows`, window by window: token counts and all features.
/// Stops after some windows.
pub fn compute(job: &mut Job, rows: &RowSet, mut windows: usize) -> bool {
    seal_counts(job, rows.iter()).unwrap();
    let end = rows.ranges().last().map_or(0, |r| r.end);
    for cell in 0..end.div_ceil(CELL_ROWS) {
        let window = rows.intersection(&RowSet::from_range(cell * CELL_ROWS..(cell + 1) * CELL_ROWS));
        for i in 0..job.features().len() {
            let missing = window.difference(&job.rows_done(i));
            if !missing.is_empty() {
                if windows == 0 {
                    return false;
                }
                seal(job, i, missing.iter());
            }
        }
        windows = windows.saturating_sub(1);
    }
    true
}

pub fn shard_plan(store: &Store, text: &str, out: &Path) -> ShardPlan {
    ShardPlan::new(store.snapshot().unwrap(), "pool", text.parse().unwrap(), out).unwrap()
}

/// Computes a shard to its end.
pub fn shard(store: &Store, text: &str, out: &Path) -> Receipt {
    match store.start_shard(plan(features()), shard_plan(store, text, out)).unwrap() {
        ShardStart::Finished(receipt) => *receipt,
        ShardStart::Job(mut job) => {
            let rows = job.plan().rows().clone();
            assert!(compute(&mut job, &rows, usize::MAX));
            job.finish(Some(run_update())).unwrap()
        }
    }
}

pub fn attach(store: &Store, folders: &[PathBuf]) -> Result<AttachReport, AttachError> {
    store.attach(folders, &AttachOptions { command: "ingest".into(), dry_run: false }, &mut |_| {})
}

/// All that must be equal to the store of one process.
#[derive(Debug, PartialEq)]
pub struct Content {
    pub features: Vec<(u32, String, String, FeatureState)>,
    pub runs: Vec<RunPart>,
    pub counts: Vec<TokenCount>,
}

pub fn content(store: &Store) -> Content {
    let snapshot = store.snapshot().unwrap();
    let features = snapshot
        .features()
        .iter()
        .map(|p| {
            let digest = snapshot.open_feature(p).unwrap().content_digest().unwrap();
            (p.number, p.display_name(), digest, p.state)
        })
        .collect();
    let part = snapshot.dataset("pool").unwrap();
    let counts =
        part.encodings.iter().flat_map(|e| snapshot.encoding(e).unwrap().counts(0..SAMPLES).unwrap());
    Content {
        features,
        runs: snapshot.runs().iter().map(|r| (**r).clone()).collect(),
        counts: counts.collect(),
    }
}

pub fn empty_store(path: &Path) -> Store {
    store_of(path, SAMPLES)
}

pub fn store_of(path: &Path, samples: u64) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..samples).unwrap();
    store
}

pub fn by_one_process(path: &Path) -> Content {
    by_one_process_of(path, SAMPLES)
}

pub fn by_one_process_of(path: &Path, samples: u64) -> Content {
    let store = store_of(path, samples);
    let mut job = store.start_job(plan(features())).unwrap();
    compute(&mut job, &RowSet::from_range(0..samples), usize::MAX);
    job.publish(Some(run_update()), true).unwrap();
    content(&store)
}

/// Every file of a folder with its bytes, but for locks.
pub fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = files(folder).into_iter().filter(|f| !f.ends_with("start.lock"));
    names.map(|f| (f.clone(), fs_err::read(folder.join(&f)).unwrap())).collect()
}
