//! The store that the tests damage, its content as values, ways to damage it, and what
//! must hold after a repair.

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_store::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub const SAMPLES: u64 = 40;

pub const DELETED: [u64; 3] = [3, 4, 25];

pub fn features() -> [JobFeature; 2] {
    [feature("grad-sgd", 6, DType::F16), feature("grad-adam", 4, DType::F32)]
}

pub fn run_update() -> RunUpdate {
    warmup("checkpoint-7", 7, 2e-5)
}

/// Two appends, deleted rows, a complete feature of four segments (one with gaps), one that is being
/// built, token counts, a run.
pub fn original(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    let [a, b] = features();
    add(&store, 0..30).unwrap();
    let mut job = store.start_job(plan(vec![a.clone()])).unwrap();
    seal(&mut job, 0, 0..10);
    seal(&mut job, 0, 10..20);
    seal_counts(&mut job, 0..30).unwrap();
    job.publish(Some(run_update()), false).unwrap();
    add(&store, 30..SAMPLES).unwrap();
    for row in DELETED {
        delete(&store, [row]);
    }
    let mut job = store.start_job(plan(vec![a, b])).unwrap();
    seal(&mut job, 0, (20..30).filter(|r| !DELETED.contains(r)));
    seal(&mut job, 0, 30..SAMPLES);
    seal(&mut job, 1, 0..20);
    seal_counts(&mut job, 0..SAMPLES).unwrap();
    job.publish(None, false).unwrap();
    let job = store.start_job(plan(vec![features()[0].clone()])).unwrap();
    job.publish(None, true).unwrap();
    store
}

pub type Samples = BTreeMap<u64, (String, Vec<u8>)>;

pub type Vectors = BTreeMap<u64, Vec<u32>>;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    pub samples: Samples,
    pub features: BTreeMap<String, Vectors>,
    pub counts: BTreeSet<u64>,
    pub runs: usize,
}

pub fn content(store: &Store) -> Content {
    let mut out = Content::default();
    let snapshot = store.snapshot().unwrap();
    out.runs = snapshot.runs().len();
    for part in snapshot.datasets() {
        let reader = snapshot.samples(part).unwrap();
        for batch in reader.scan(&["row", "id", "record"], None) {
            let batch = batch.unwrap();
            let rows = batch.column(0).as_primitive::<UInt64Type>();
            let (ids, records) = (batch.column(1).as_string::<i32>(), batch.column(2).as_binary::<i32>());
            for i in 0..batch.num_rows() {
                out.samples.insert(rows.value(i), (ids.value(i).to_owned(), records.value(i).to_vec()));
            }
        }
        for e in &part.encodings {
            let counts = snapshot.encoding(e).unwrap().counts(0..u64::MAX).unwrap();
            out.counts.extend(counts.iter().map(|c| c.row));
        }
    }
    for part in snapshot.features() {
        let reader = snapshot.open_feature(part).unwrap();
        let mut vectors = Vectors::new();
        for row in reader.row_set().unwrap().iter() {
            let stored = reader.row(row).unwrap().unwrap();
            vectors.insert(row, stored.vector.iter().map(|v| v.to_bits()).collect());
        }
        out.features.insert(part.attrs.label.clone(), vectors);
    }
    out
}

pub fn repair(path: &Path) -> RepairReport {
    try_repair(path, RepairOptions::default()).unwrap()
}

pub fn try_repair(path: &Path, options: RepairOptions) -> Result<RepairReport, VerifyError> {
    Store::repair_folder(path, options, &mut |_| {})
}

pub fn check_all(path: &Path) -> Result<VerifyReport, VerifyError> {
    let options = VerifyOptions { all_snapshots: true, ..VerifyOptions::default() };
    Store::verify_folder(path, options, &mut |_| {})
}

pub fn is_sound(path: &Path) -> bool {
    check_all(path).is_ok_and(|r| r.is_sound())
}

pub fn bytes(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(path).into_iter().map(|f| (f.clone(), fs_err::read(path.join(&f)).unwrap())).collect()
}

pub fn lost(report: &RepairReport, kind: LostKind, label: Option<&str>) -> BTreeSet<u64> {
    let losses =
        report.lost.iter().filter(|l| l.kind == kind && (label.is_none() || l.label.as_deref() == label));
    losses.flat_map(|l| l.rows.ranges.iter().flat_map(|[a, b]| *a..*b)).collect()
}

/// What was left is what was there without what the report says is lost; and not a row more.
pub fn compare(was: &Content, now: &Content, report: &RepairReport, what: &str) {
    let gone = lost(report, LostKind::Samples, None);
    for (row, sample) in &was.samples {
        assert_eq!(
            now.samples.get(row),
            (!gone.contains(row)).then_some(sample),
            "{what}: sample {row}: {report:#?}"
        );
    }
    assert!(now.samples.keys().all(|r| was.samples.contains_key(r)), "{what}: samples came back");
    for (label, vectors) in &was.features {
        let gone_here = lost(report, LostKind::Feature, Some(label));
        let unnamed = report.lost.iter().any(|l| l.kind == LostKind::Feature && l.label.is_none());
        let Some(left) = now.features.get(label) else {
            assert!(unnamed, "{what}: feature {label} is gone: {report:#?}");
            continue;
        };
        for (row, vector) in vectors {
            let is_lost = gone.contains(row) || (gone_here.contains(row) && !left.contains_key(row));
            assert_eq!(left.get(row), (!is_lost).then_some(vector), "{what}: {label} row {row}: {report:#?}");
        }
        assert!(left.keys().all(|r| vectors.contains_key(r)), "{what}: rows of {label} came back");
    }
    let counted = lost(report, LostKind::Encoding, None);
    assert!(
        was.counts
            .difference(&now.counts)
            .all(|r| counted.contains(r) || gone.contains(r) || DELETED.contains(r)),
        "{what}"
    );
}

/// Adds and ingests what the report lists, and compares with the original by id.
pub fn refill(path: &Path, was: &Content, report: &RepairReport, what: &str) {
    let store = Store::open(path).unwrap();
    let gone: Vec<u64> =
        lost(report, LostKind::Samples, None).into_iter().filter(|r| was.samples.contains_key(r)).collect();
    let number = |row: &u64| was.samples[row].0[1..].parse::<u64>().unwrap();
    if report.rebuilt.iter().any(|r| r.what.starts_with("samples/")) || !gone.is_empty() {
        let mut append = store.append(&dataset(), columns(), options("add again")).unwrap();
        for row in &gone {
            let (id, record) = &was.samples[row];
            let metadata =
                vec![MetaValue::Text(format!("task{}", number(row) % 3)), MetaValue::Int(number(row) as i64)];
            append.push(NewSample { id, record: Some(record), metadata }).unwrap();
        }
        append.finish().unwrap();
    }
    let ids: BTreeSet<String> = content(&store).samples.values().map(|s| s.0.clone()).collect();
    assert_eq!(ids, was.samples.values().map(|s| s.0.clone()).collect(), "{what}");
    if !gone.is_empty() {
        return;
    }
    // Every row is where it was, so the digests are what they were.
    for f in features() {
        let rows: Vec<u64> = was.features[&f.attrs.label].keys().copied().collect();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let done = job.rows_done(0);
        let missing: Vec<u64> = rows.into_iter().filter(|r| !done.contains(*r)).collect();
        let listed = lost(report, LostKind::Feature, Some(&f.attrs.label));
        let unnamed = report.lost.iter().any(|l| l.kind == LostKind::Feature && l.label.is_none());
        assert!(unnamed || missing.iter().all(|r| listed.contains(r)), "{what}: {missing:?} is not listed");
        if !missing.is_empty() {
            seal(&mut job, 0, missing);
            job.publish(None, false).unwrap();
        }
    }
    assert_eq!(content(&store).features, was.features, "{what}");
    assert!(is_sound(path), "{what}: after it was filled again");
}

/// A way to damage a file, and its name.
pub type Harm = (String, Box<dyn Fn(&Path)>);

/// Ways to damage a file.
pub fn damages(len: usize) -> Vec<Harm> {
    let mut out: Vec<Harm> = Vec::new();
    let places = [0, len / 7, len / 3, len / 2, len * 2 / 3, len * 9 / 10, len - 2];
    for at in places {
        out.push((format!("bit {at}"), Box::new(move |p| flip(p, |_| at))));
    }
    for n in [0, len / 2, len - 9] {
        out.push((
            format!("cut to {n}"),
            Box::new(move |p| {
                let bytes = fs_err::read(p).unwrap();
                fs_err::write(p, &bytes[..n]).unwrap();
            }),
        ));
    }
    out.push(("removed".into(), Box::new(|p| fs_err::remove_file(p).unwrap())));
    out
}

pub fn damageable(path: &Path) -> Vec<PathBuf> {
    let keep = |f: &PathBuf| !f.starts_with("tmp") && !f.starts_with("leases") && f != Path::new("LOCK");
    files(path).into_iter().filter(keep).filter(|f| !f.starts_with("ledger")).collect()
}

pub fn reset(path: &Path, good: &BTreeMap<PathBuf, Vec<u8>>) {
    fs_err::remove_dir_all(path).unwrap();
    for (file, content) in good {
        let target = path.join(file);
        fs_err::create_dir_all(target.parent().unwrap()).unwrap();
        fs_err::write(target, content).unwrap();
    }
    fs_err::create_dir_all(path.join("tmp")).unwrap();
}

/// Removes all manifests that start like this, and gives them.
pub fn remove_manifests(path: &Path, start: &str) {
    let start = format!("manifests/{start}");
    let found = files(path).into_iter().filter(|f| f.to_string_lossy().starts_with(&start));
    let found: Vec<PathBuf> = found.collect();
    assert!(!found.is_empty(), "{start}");
    found.iter().for_each(|f| fs_err::remove_file(path.join(f)).unwrap());
}

pub fn segments_of(path: &Path, number: u32) -> Vec<PathBuf> {
    files(path).into_iter().filter(|f| f.starts_with(format!("segments/{number}"))).collect()
}
