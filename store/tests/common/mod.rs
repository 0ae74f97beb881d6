//! Shared helpers of the tests: small datasets, features with known vectors, a file system that fails on
//! demand.

pub mod altered;
pub mod artifacts;
pub mod cold;
pub mod count;
pub mod crash;
pub mod every;
pub mod forge;
pub mod hook;
pub mod indexes;
pub mod keep;
pub mod life;
pub mod overlay;
pub mod rich;
pub mod signs;
pub mod tokens;

use gstore_store::*;
use serde_json::{Map, json};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder for a test: in memory where the system offers that, so that flushes cost nothing.
pub fn tempdir() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// The path of a store in such a folder, which goes with the first.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    (dir, path)
}

/// A new store in such a folder.
pub fn created() -> (tempfile::TempDir, Store) {
    let (dir, path) = place();
    (dir, Store::create(path).unwrap())
}

/// What `make` makes at the path of a store in such a folder, behind that path.
pub fn placed<T>(make: impl FnOnce(&Path) -> T) -> (tempfile::TempDir, PathBuf, T) {
    let (dir, path) = place();
    let made = make(&path);
    (dir, path, made)
}

/// A new store with samples `0..samples`, and its path.
pub fn with_samples(samples: u64) -> (tempfile::TempDir, PathBuf, Store) {
    placed(|path| {
        let store = Store::create(path).unwrap();
        add(&store, 0..samples).unwrap();
        store
    })
}

pub fn dataset() -> DatasetName {
    DatasetName::try_from("pool").unwrap()
}

pub fn options(command: &str) -> AppendOptions {
    AppendOptions { command: command.into(), source: Some("pool.jsonl".into()), ..AppendOptions::default() }
}

pub fn columns() -> Vec<ColumnSpec> {
    vec![ColumnSpec::inferred("subtask", ColumnType::Text), ColumnSpec::inferred("n", ColumnType::Int)]
}

pub fn record(i: u64) -> Vec<u8> {
    format!("{{\"id\": \"s{i}\",  \"text\": \"sample number {i} é\"}}").into_bytes()
}

/// The dataset "pool" as it is now.
pub fn pool(store: &Store) -> Arc<DatasetPart> {
    store.snapshot().unwrap().dataset("pool").unwrap().clone()
}

/// Deletes rows of the dataset.
pub fn delete(store: &Store, rows: impl IntoIterator<Item = u64>) -> DeleteReport {
    store.delete(&pool(store), &RowSet::from_rows(rows), DeleteOptions::default()).unwrap()
}

/// Purges rows of the dataset, and those that were deleted before.
pub fn purge(store: &Store, rows: impl IntoIterator<Item = u64>) -> Result<DeleteReport, ChangeError> {
    let options = DeleteOptions { purge: true, ..DeleteOptions::default() };
    store.delete(&pool(store), &RowSet::from_rows(rows), options)
}

/// Adds samples `range` with ids `s<i>`; deleted ones stay out.
pub fn add(store: &Store, range: std::ops::Range<u64>) -> Result<AppendReport, CommitError> {
    add_with(store, range, options("add"))
}

/// Adds samples `range`, also where they were deleted.
pub fn restore(store: &Store, range: std::ops::Range<u64>) -> Result<AppendReport, CommitError> {
    add_with(store, range, AppendOptions { if_deleted: IfDeleted::Restore, ..options("add") })
}

fn add_with(
    store: &Store,
    range: std::ops::Range<u64>,
    options: AppendOptions,
) -> Result<AppendReport, CommitError> {
    let mut append = store.append(&dataset(), columns(), options)?;
    for i in range {
        let record = record(i);
        let metadata = vec![MetaValue::Text(format!("task{}", i % 3)), MetaValue::Int(i as i64)];
        append.push(NewSample { id: &format!("s{i}"), record: Some(&record), metadata })?;
    }
    append.finish()
}

pub fn checkpoint(n: u8) -> CheckpointId {
    CheckpointId::try_from(format!("{n:064x}")).unwrap()
}

/// The run "warmup" as an ingest describes it: one checkpoint, and its weight.
pub fn warmup(name: &str, id: u8, weight: f64) -> RunUpdate {
    let checkpoint = RunCheckpoint {
        name: name.into(),
        step: Some(7),
        weight: Some(weight),
        checkpoint: checkpoint(id),
        base: "tiny-llama".into(),
        provenance: Map::new(),
        extra: Extra::new(),
    };
    RunUpdate { name: "warmup".into(), checkpoints: vec![checkpoint], replace_weights: true }
}

pub fn encoding_spec() -> EncodingSpec {
    EncodingSpec {
        tokenizer: sha256_hex(b"tokenizer"),
        template: "tulu".into(),
        template_source: None,
        system: None,
        template_digest: None,
        max_length: 2048,
    }
}

/// Seals token counts of those of some rows that have none yet.
pub fn seal_counts(job: &mut Job, rows: impl IntoIterator<Item = u64>) -> Result<(), WriteError> {
    let done = job.encoding_rows_done("pool", &encoding_spec().key());
    for range in RowSet::from_rows(rows).difference(&done).ranges() {
        let mut w = job.encoding_writer("pool", encoding_spec(), "tulu")?;
        for row in range.clone() {
            w.push(TokenCount { row, tokens: row as u32 + 10, scored: row as u32, truncated: row % 5 == 0 })?;
        }
        job.seal_encoding(w)?;
    }
    Ok(())
}

/// A feature as an ingest makes it now: signs are of rotated modules.
pub fn feature(name: &str, dim: u32, dtype: DType) -> JobFeature {
    let space =
        Space { modules: sha256_hex(b"modules"), ..Space::new(Family::Gradient, Some(checkpoint(7)), dim) };
    let desc = FeatureDesc::new("pool", encoding_spec().key(), name, space, dtype);
    let mut attrs = FeatureAttrs::new(format!("{name}@checkpoint-7"), dim);
    if dim > 2 {
        attrs.groups = vec![
            ModuleGroup { name: "a".into(), start: 0, len: dim / 2 },
            ModuleGroup { name: "b".into(), start: dim / 2, len: dim - dim / 2 },
        ];
    }
    JobFeature { desc, attrs }
}

/// The same from before there was a rotation.
pub fn unrotated(mut f: JobFeature) -> JobFeature {
    f.desc.rotation = SignRotation::None;
    f
}

pub fn plan(features: Vec<JobFeature>) -> JobPlan {
    let keys: Vec<String> = features.iter().map(|f| f.desc.key()).collect();
    JobPlan { command: "ingest".into(), identity: json!({ "features": keys }), features, detail: json!({}) }
}

/// The vector of a row: the same wherever it is computed.
pub fn vector(row: u64, dim: u32) -> Vec<f32> {
    let mut x = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..dim)
        .map(|i| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let v = (x >> 40) as f32 / 8_388_608.0 - 1.0;
            if i < dim / 2 { v * 1e-6 } else { v * 30.0 }
        })
        .collect()
}

/// Seals one segment with the given rows.
pub fn seal(job: &mut Job, feature: usize, rows: impl IntoIterator<Item = u64>) {
    let dim = job.features()[feature].desc.dim();
    let mut w = job.segment_writer(feature).unwrap();
    for row in rows {
        w.push(row, &vector(row, dim), RowFlags::empty()).unwrap();
    }
    job.seal(feature, w).unwrap();
}

/// A store with `samples` samples and one feature that has all of them, in segments of `cut` rows.
pub fn filled(path: &Path, samples: u64, f: &JobFeature, cut: u64) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..samples).unwrap();
    fill(&store, f, samples, cut);
    store
}

/// Publishes a feature of all rows before `end`, in segments of `cut` rows.
pub fn fill(store: &Store, f: &JobFeature, end: u64, cut: u64) {
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    for start in (0..end).step_by(cut as usize) {
        seal(&mut job, 0, start..(start + cut).min(end));
    }
    job.publish(None, true).unwrap();
}

/// Publishes a segment of a feature with the given rows, and whether the feature is complete with them.
pub fn publish_rows(
    store: &Store,
    f: &JobFeature,
    rows: impl IntoIterator<Item = u64>,
    complete: bool,
) -> Arc<Snapshot> {
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, rows);
    job.publish(None, complete).unwrap()
}

pub fn verify(store: &Store) -> VerifyReport {
    store.verify(VerifyOptions { all_snapshots: true, ..VerifyOptions::default() }, &mut |_| {}).unwrap()
}

/// Asserts that a store is sound: if not, the test says `what`, and the problems.
pub fn assert_sound(store: &Store, what: impl Display) -> VerifyReport {
    let report = verify(store);
    assert!(report.is_sound(), "{what}: {:#?}", report.problems);
    report
}

/// Asserts that a store is sound and that nothing lies around in it.
pub fn assert_tidy(store: &Store) {
    let report = verify(store);
    assert!(report.is_sound() && report.unreferenced.is_empty(), "{report:#?}");
}

pub fn digest(store: &Store, f: &JobFeature) -> String {
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.feature_by_key(&f.desc.key()).unwrap();
    snapshot.open_feature(part).unwrap().content_digest().unwrap()
}

/// All files below a folder, relative to it, sorted.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                out.push(path.strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    out.sort();
    out
}

/// Flips a bit of the byte of a file that `place` chooses from its content.
pub fn flip(file: &Path, place: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = fs_err::read(file).unwrap();
    let at = place(&bytes);
    bytes[at] ^= 1;
    fs_err::write(file, bytes).unwrap();
}

pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        fs_err::create_dir_all(target.parent().unwrap()).unwrap();
        fs_err::copy(from.join(&file), target).unwrap();
    }
    for folder in ["manifests", "samples", "encodings", "segments", "tmp"] {
        fs_err::create_dir_all(to.join(folder)).unwrap();
    }
}
