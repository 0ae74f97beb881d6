//! Promise: a repair loses nothing that a sound block, page or file still holds, brings nothing back that was deleted, says exactly
//! what is lost, and leaves a sound store; adding and ingesting just what it lists gives the original content again.

mod common;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use common::crash::CrashVfs;
use common::*;
use gstore_store::*;
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SAMPLES: u64 = 40;
const DELETED: [u64; 3] = [3, 4, 25];

fn features() -> [JobFeature; 2] {
    [feature("grad-sgd", 6, DType::F16), feature("grad-adam", 4, DType::F32)]
}

fn count(job: &mut Job, rows: std::ops::Range<u64>) {
    let done = job.encoding_rows_done("pool", &encoding_spec().key());
    for range in RowSet::from_range(rows).difference(&done).ranges() {
        let mut w = job.encoding_writer("pool", encoding_spec(), "tulu").unwrap();
        for row in range.clone() {
            w.push(TokenCount { row, tokens: row as u32 + 5, scored: 2, truncated: false }).unwrap();
        }
        job.seal_encoding(w).unwrap();
    }
}

fn run_update() -> RunUpdate {
    let checkpoint = RunCheckpoint {
        name: "checkpoint-7".into(),
        step: Some(7),
        weight: Some(2e-5),
        checkpoint: checkpoint(7),
        base: "tiny-llama".into(),
        provenance: Map::new(),
        extra: Extra::new(),
    };
    RunUpdate { name: "warmup".into(), checkpoints: vec![checkpoint], replace_weights: true }
}

/// Two appends, deleted rows, a complete feature of four segments (one with gaps), one that is being built, token counts, a run.
fn original(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    let [a, b] = features();
    add(&store, 0..30).unwrap();
    let mut job = store.start_job(plan(vec![a.clone()])).unwrap();
    seal(&mut job, 0, 0..10);
    seal(&mut job, 0, 10..20);
    count(&mut job, 0..30);
    job.publish(Some(run_update()), false).unwrap();
    add(&store, 30..SAMPLES).unwrap();
    for row in DELETED {
        store.delete("pool", &RowSet::from_rows([row]), DeleteOptions::default()).unwrap();
    }
    let mut job = store.start_job(plan(vec![a, b])).unwrap();
    seal(&mut job, 0, (20..30).filter(|r| !DELETED.contains(r)));
    seal(&mut job, 0, 30..SAMPLES);
    seal(&mut job, 1, 0..20);
    count(&mut job, 0..SAMPLES);
    job.publish(None, false).unwrap();
    let job = store.start_job(plan(vec![features()[0].clone()])).unwrap();
    job.publish(None, true).unwrap();
    store
}

type Samples = BTreeMap<u64, (String, Vec<u8>)>;
type Vectors = BTreeMap<u64, Vec<u32>>;

#[derive(Debug, Clone, PartialEq, Default)]
struct Content {
    samples: Samples,
    features: BTreeMap<String, Vectors>,
    counts: BTreeSet<u64>,
    runs: usize,
}

fn content(store: &Store) -> Content {
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
            let counts = snapshot.encoding(part, e).unwrap().counts(0..u64::MAX).unwrap();
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

fn repair(path: &Path) -> RepairReport {
    try_repair(path, RepairOptions::default()).unwrap()
}

fn try_repair(path: &Path, options: RepairOptions) -> Result<RepairReport, VerifyError> {
    Store::repair_folder(path, options, &mut |_| {})
}

fn check_all(path: &Path) -> Result<VerifyReport, VerifyError> {
    let options = VerifyOptions { all_snapshots: true, ..VerifyOptions::default() };
    Store::verify_folder(path, options, &mut |_| {})
}

fn is_sound(path: &Path) -> bool {
    check_all(path).is_ok_and(|r| r.is_sound())
}

fn bytes(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(path).into_iter().map(|f| (f.clone(), fs_err::read(path.join(&f)).unwrap())).collect()
}

fn lost(report: &RepairReport, kind: LostKind, label: Option<&str>) -> BTreeSet<u64> {
    let losses =
        report.lost.iter().filter(|l| l.kind == kind && (label.is_none() || l.label.as_deref() == label));
    losses.flat_map(|l| l.rows.ranges.iter().flat_map(|[a, b]| *a..*b)).collect()
}

/// What was left is what was there without what the report says is lost; and not a row more.
fn compare(was: &Content, now: &Content, report: &RepairReport, what: &str) {
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
fn refill(path: &Path, was: &Content, report: &RepairReport, what: &str) {
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

/// Ways to damage a file.
fn damages(len: usize) -> Vec<(String, Box<dyn Fn(&Path)>)> {
    let mut out: Vec<(String, Box<dyn Fn(&Path)>)> = Vec::new();
    let places = [0, len / 7, len / 3, len / 2, len * 2 / 3, len * 9 / 10, len - 2];
    for at in places {
        out.push((
            format!("bit {at}"),
            Box::new(move |p| {
                let mut bytes = fs_err::read(p).unwrap();
                bytes[at] ^= 4;
                fs_err::write(p, bytes).unwrap();
            }),
        ));
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

fn damageable(path: &Path) -> Vec<PathBuf> {
    let keep = |f: &PathBuf| !f.starts_with("tmp") && !f.starts_with("leases") && f != Path::new("LOCK");
    files(path).into_iter().filter(keep).filter(|f| !f.starts_with("ledger")).collect()
}

fn reset(path: &Path, good: &BTreeMap<PathBuf, Vec<u8>>) {
    fs_err::remove_dir_all(path).unwrap();
    for (file, content) in good {
        let target = path.join(file);
        fs_err::create_dir_all(target.parent().unwrap()).unwrap();
        fs_err::write(target, content).unwrap();
    }
    fs_err::create_dir_all(path.join("tmp")).unwrap();
}

#[test]
fn each_damage_of_each_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    let mut repairs = 0;
    for file in damageable(&path) {
        let name = file.to_string_lossy().into_owned();
        for (how, damage) in damages(good[&file].len()) {
            let what = format!("{name} {how}");
            damage(&path.join(&file));
            if is_sound(&path) {
                reset(&path, &good); // White space in CURRENT.
                continue;
            }
            let before = bytes(&path);
            let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
            let dry = match try_repair(&path, dry) {
                Ok(dry) => dry,
                // A bit can make CURRENT one of a newer format, which is none of ours to repair.
                Err(e) => {
                    assert!(name == "CURRENT" && !e.is_damage(), "{what}: {e}");
                    reset(&path, &good);
                    continue;
                }
            };
            assert!(bytes(&path) == before, "{what}: a dry run changed something");
            let report = repair(&path);
            repairs += 1;
            assert_eq!(dry.snapshot, report.snapshot, "{what}");
            assert_eq!(dry.lost.len(), report.lost.len(), "{what}: {dry:#?} {report:#?}");
            if name.starts_with("tombstones") && !report.unrepaired.is_empty() {
                tombstone(&path, &was, &what);
                reset(&path, &good);
                continue;
            }
            let after = check_all(&path).unwrap();
            assert!(after.is_sound(), "{what}: {:#?}\n{report:#?}", after.problems);
            let now = content(&Store::open(&path).unwrap());
            compare(&was, &now, &report, &what);
            if name.starts_with("manifests") || name == "CURRENT" {
                assert_eq!(
                    (&now.samples, &now.features),
                    (&was.samples, &was.features),
                    "{what}: {report:#?}"
                );
            }
            let again = repair(&path);
            assert!(again.is_sound(), "{what}: repaired twice: {again:#?}");
            refill(&path, &was, &report, &what);
            assert!(serde_json::to_string(&report).unwrap().contains("\"problems\""));
            reset(&path, &good);
        }
    }
    assert!(repairs > 150, "{repairs}");
}

/// A lost bitmap: nothing comes back before somebody says so.
fn tombstone(path: &Path, was: &Content, what: &str) {
    let store = Store::open(path).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.samples(snapshot.dataset("pool").unwrap()).is_err(), "{what}");
    drop((store, snapshot));
    let forget = RepairOptions { forget_deletes: true, ..RepairOptions::default() };
    let report = try_repair(path, forget).unwrap();
    let back: u64 = report.lost.iter().filter(|l| l.kind == LostKind::Deletes).map(|l| l.rows.count).sum();
    assert!(is_sound(path), "{what}: {report:#?}");
    let now = content(&Store::open(path).unwrap());
    assert_eq!(now.samples.len() as u64, was.samples.len() as u64 + back, "{what}");
    assert!(back > 0 && was.samples.iter().all(|(row, s)| now.samples.get(row) == Some(s)), "{what}");
}

#[test]
fn pairs_of_damaged_files() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    let all = damageable(&path);
    let full = std::env::var_os("GSTORE_EXHAUSTIVE").is_some();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    for round in 0..if full { 2000 } else { 150 } {
        let mut what = format!("round {round}:");
        let mut deletes = false;
        for _ in 0..2 {
            let file = &all[next(all.len())];
            if !path.join(file).exists() || fs_err::read(path.join(file)).unwrap() != good[file] {
                continue;
            }
            let mut ways = damages(good[file].len());
            let (how, damage) = ways.swap_remove(next(ways.len()));
            what = format!("{what} {} {how};", file.display());
            deletes |= file.starts_with("tombstones");
            damage(&path.join(file));
        }
        let report = match try_repair(&path, RepairOptions::default()) {
            Ok(report) => report,
            Err(e) => {
                assert!(what.contains("CURRENT bit") && !e.is_damage(), "{what} {e}");
                reset(&path, &good);
                continue;
            }
        };
        // With a bitmap and the part that lists it gone, nothing knows of its rows.
        if deletes {
            assert!(!report.unrepaired.is_empty() || is_sound(&path), "{what} {report:#?}");
            reset(&path, &good);
            continue;
        }
        let after = check_all(&path).unwrap_or_else(|e| panic!("{what} {e}\n{report:#?}"));
        assert!(after.is_sound(), "{what} {:#?}\n{report:#?}", after.problems);
        compare(&was, &content(&Store::open(&path).unwrap()), &report, &what);
        reset(&path, &good);
    }
}

#[test]
fn a_store_without_any_manifest_is_put_together_from_its_data() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    drop(store);
    for file in
        files(&path).iter().filter(|f| f.starts_with("manifests") || f.as_path() == Path::new("CURRENT"))
    {
        fs_err::remove_file(path.join(file)).unwrap();
    }
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    let now = content(&Store::open(&path).unwrap());
    assert_eq!(
        (&now.samples, &now.features, &now.counts),
        (&was.samples, &was.features, &was.counts),
        "{report:#?}"
    );
    assert_eq!((report.base, now.runs), (None, 0));
    refill(&path, &was, &report, "no manifests");
}

#[test]
fn a_crash_at_any_operation_leaves_the_damage_or_the_repaired_store() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    drop(store);
    let damage = |prefix: &str, at: usize| {
        let file =
            files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with(prefix)).max().unwrap();
        let mut bytes = fs_err::read(path.join(&file)).unwrap();
        let at = at.min(bytes.len() / 2);
        bytes[at] ^= 1;
        fs_err::write(path.join(&file), bytes).unwrap();
    };
    damage("segments/1", 900);
    damage("segments/2", usize::MAX);
    damage("samples/1", 300);
    damage("encodings/1", 300);
    damage("CURRENT", 10);
    let hurt = bytes(&path);
    let whole = repair(&path);
    let expected = content(&Store::open(&path).unwrap());
    compare(&was, &expected, &whole, "uninterrupted");
    for n in 0.. {
        reset(&path, &hurt);
        let vfs = CrashVfs::new(n);
        let result =
            Store::repair_folder_on(Arc::new(vfs.clone()), &path, RepairOptions::default(), &mut |_| {});
        if result.is_ok() && vfs.left() > 0 {
            assert!(n > 40, "{n}");
            break;
        }
        if is_sound(&path) {
            assert_eq!(content(&Store::open(&path).unwrap()), expected, "operation {n}");
        }
        repair(&path);
        assert!(is_sound(&path), "operation {n}");
        assert_eq!(content(&Store::open(&path).unwrap()), expected, "operation {n}");
        add(&Store::open(&path).unwrap(), 100..101).unwrap();
        assert!(!files(&path).iter().any(|f| f.starts_with("tmp/append")), "operation {n} left files");
    }
}

#[test]
fn only_the_pages_of_the_damaged_mib_are_lost_of_a_large_sample_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path).unwrap();
    const N: u64 = 6000;
    let record = |i: u64| -> Vec<u8> {
        let mut x = i * 2 + 1;
        (0..1200)
            .map(|_| {
                x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29);
                (x >> 32) as u8
            })
            .collect()
    };
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    for i in 0..N {
        let id = format!("s{i}");
        append.push(NewSample { id: &id, record: Some(&record(i)), metadata: vec![] }).unwrap();
    }
    append.finish().unwrap();
    store.delete("pool", &RowSet::from_rows([7, 3000]), DeleteOptions::default()).unwrap();
    let f = features()[0].clone();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..N);
    job.publish(None, true).unwrap();
    drop(store);
    let file = files(&path).into_iter().find(|f| f.starts_with("samples")).unwrap();
    let mut content = fs_err::read(path.join(&file)).unwrap();
    assert!(content.len() > 5 << 20);
    content[(2 << 20) + 77] ^= 1;
    fs_err::write(path.join(&file), content).unwrap();
    let report = repair(&path);
    let after = check_all(&path).unwrap();
    assert!(after.is_sound(), "{:#?}", after.problems);
    let gone = lost(&report, LostKind::Samples, None);
    assert!((400..2000).contains(&gone.len()), "{} rows: {report:#?}", gone.len());
    let expected: Vec<String> = gone.iter().map(|r| format!("s{r}")).collect();
    assert_eq!(report.lost[0].ids, expected, "the ledger knows the ids");
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let live = snapshot.live_rows(part).unwrap();
    assert_eq!(live.len() + gone.len() as u64, N - 2);
    assert!(!live.contains(7) && !live.contains(3000));
    let reader = snapshot.samples(part).unwrap();
    for row in live.iter().step_by(61) {
        let batch = reader.get(&[row], &["id", "record"]).unwrap();
        assert_eq!(batch.column(1).as_binary::<i32>().value(0), record(row));
    }
    let vectors = snapshot.open_feature(&snapshot.features()[0]).unwrap().row_set().unwrap();
    assert_eq!(vectors, *live);
    let mut append = store.append(&dataset(), vec![], options("add again")).unwrap();
    for row in &gone {
        let id = format!("s{row}");
        let pushed =
            append.push(NewSample { id: &id, record: Some(&record(*row)), metadata: vec![] }).unwrap();
        assert!(matches!(pushed, Pushed::Added(row) if row >= N));
    }
    append.finish().unwrap();
    assert!(is_sound(&path));
}

#[test]
fn of_a_damaged_block_only_the_damaged_row_is_lost_and_of_a_cut_file_only_what_was_cut() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let f = feature("grad-sgd", 6, DType::F16);
    let store = filled(&path, 9000, &f, 9000);
    let was = digest(&store, &f);
    drop(store);
    let file = files(&path).into_iter().find(|f| f.starts_with("segments")).unwrap();
    let good = bytes(&path);
    let len = good[&file].len();
    for (at, cut) in
        [(Some(len / 2), None), (None, Some(len - 200)), (Some(len - 300), None), (None, Some(len * 2 / 3))]
    {
        let mut damaged = good[&file].clone();
        if let Some(at) = at {
            damaged[at] ^= 16;
        }
        damaged.truncate(cut.unwrap_or(len));
        fs_err::write(path.join(&file), damaged).unwrap();
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        let gone = lost(&report, LostKind::Feature, None);
        let limit = if cut.is_some_and(|c| c < len - 1000) { 5000 } else { 1 };
        assert!(gone.len() <= limit, "{at:?} {cut:?}: {} rows: {report:#?}", gone.len());
        let store = Store::open(&path).unwrap();
        if !gone.is_empty() {
            let part = Arc::clone(&store.snapshot().unwrap().features()[0]);
            assert_eq!(part.state, FeatureState::Building);
            let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
            seal(&mut job, 0, gone);
            job.publish(None, true).unwrap();
        }
        assert_eq!(digest(&store, &f), was, "{at:?} {cut:?}");
        drop(store);
        reset(&path, &good);
    }
}

#[test]
fn a_lost_feature_part_is_made_from_segments_that_overlap_without_a_row_twice() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let f = feature("grad-sgd", 6, DType::F16);
    let store = filled(&path, 100, &f, 7);
    let was = digest(&store, &f);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.features()[0].segments.len(), 1);
    // Of the merged one a row is damaged; an input has it.
    let merged = path.join(format!("segments/1/{}.arrow", snapshot.features()[0].segments[0].uuid));
    drop((store, snapshot));
    let good = bytes(&path);
    for with_part in [false, true] {
        let mut content = fs_err::read(&merged).unwrap();
        let at = content.len() / 3;
        content[at] ^= 1;
        fs_err::write(&merged, content).unwrap();
        if !with_part {
            for file in files(&path).iter().filter(|f| f.to_string_lossy().starts_with("manifests/feature")) {
                fs_err::remove_file(path.join(file)).unwrap();
            }
        }
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        assert!(report.lost.is_empty(), "{report:#?}");
        let store = Store::open(&path).unwrap();
        assert_eq!(digest(&store, &f), was);
        assert_eq!(store.snapshot().unwrap().features()[0].state, FeatureState::Complete);
        reset(&path, &good);
    }
}

#[test]
fn older_snapshots_that_are_damaged_are_given_up_and_tags_with_them() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    let history = store.history().unwrap();
    let tag = |name: &str| name.parse::<TagName>().unwrap();
    let at = |n: u64| TagOptions { at: Some(SnapshotName::Number(n)), ..TagOptions::default() };
    store.tag(&tag("early"), at(1)).unwrap();
    store.tag(&tag("late"), at(history[1].number)).unwrap();
    drop(store);
    let root =
        files(&path).into_iter().find(|f| f.to_string_lossy().starts_with("manifests/root-1-")).unwrap();
    fs_err::write(path.join(&root), "{}").unwrap();
    let report = repair(&path);
    assert_eq!(report.history_from, Some(2), "{report:#?}");
    assert!(is_sound(&path));
    let store = Store::open(&path).unwrap();
    assert_eq!(content(&store), was);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.oldest(), store.history().unwrap().last().unwrap().number), (2, 2));
    let tags: Vec<String> = snapshot.tags().into_iter().map(|t| t.name).collect();
    assert_eq!(tags, ["late"]);
    assert!(report.lost.iter().any(|l| l.kind == LostKind::Tag && l.rows.of.contains("early")));
    assert!(repair(&path).is_sound());
}

#[test]
fn a_repair_waits_for_nobody_and_refuses_what_is_no_store() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let f = features()[0].clone();
    let store = filled(&path, 10, &f, 10);
    assert!(repair(&path).is_sound());
    let append = store.append(&dataset(), columns(), options("add")).unwrap();
    assert!(matches!(try_repair(&path, RepairOptions::default()), Err(VerifyError::Busy(_))));
    drop(append);
    let job = store.start_job(plan(vec![features()[1].clone()])).unwrap();
    let e = try_repair(&path, RepairOptions::default()).unwrap_err().to_string();
    assert!(e.contains(job.id()), "{e}");
    drop(job);
    assert!(repair(&path).is_sound());
    for name in ["missing", "other"] {
        let other = dir.path().join(name);
        if name == "other" {
            fs_err::create_dir_all(&other).unwrap();
            fs_err::write(other.join("notes.txt"), "x").unwrap();
        }
        assert!(try_repair(&other, RepairOptions::default()).is_err());
        assert!(!other.join("tmp").exists(), "{name}");
    }
    let current = fs_err::read_to_string(path.join("CURRENT")).unwrap();
    fs_err::write(path.join("CURRENT"), current.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let before = bytes(&path);
    assert!(try_repair(&path, RepairOptions::default()).unwrap_err().to_string().contains("newer gstore"));
    assert!(bytes(&path) == before);
}

#[test]
fn a_damaged_ledger_is_removed_and_a_damaged_current_is_kept_beside() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    original(&path);
    let ledger = path.join("ledger.redb");
    let mut content = fs_err::read(&ledger).unwrap();
    let at = content.iter().rposition(|b| *b != 0).unwrap();
    content[at] ^= 1;
    fs_err::write(&ledger, content).unwrap();
    let before = Store::open(&path).unwrap().snapshot().unwrap().number();
    if !is_sound(&path) {
        let report = repair(&path);
        assert!(report.snapshot.is_none() && !ledger.exists(), "{report:#?}");
        assert_eq!(Store::open(&path).unwrap().snapshot().unwrap().number(), before);
    }
    fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
    let report = repair(&path);
    assert_eq!(report.snapshot, Some(before + 1));
    assert_eq!(fs_err::read_to_string(path.join("CURRENT.damaged")).unwrap(), "rubbish");
    assert!(is_sound(&path));
    add(&Store::open(&path).unwrap(), 0..50).unwrap();
    assert!(is_sound(&path));
}

#[test]
fn a_lost_page_costs_nothing() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let f = features()[0].clone();
    let store = Store::create(&path).unwrap();
    for i in 0..200 {
        add(&store, i * 2..i * 2 + 2).unwrap();
    }
    store.delete("pool", &RowSet::from_range(5..9), DeleteOptions::default()).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    (0..200).for_each(|i| seal(&mut job, 0, i * 2..i * 2 + 2));
    count(&mut job, 0..400);
    job.publish(None, true).unwrap();
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    for kind in ["manifests/feature-1-page-", "manifests/dataset-1-page-"] {
        let pages: Vec<PathBuf> =
            files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with(kind)).collect();
        assert!(!pages.is_empty(), "{kind}");
        for page in pages.iter().take(2) {
            fs_err::remove_file(path.join(page)).unwrap();
            let report = repair(&path);
            assert!(is_sound(&path), "{kind}: {report:#?}");
            assert!(report.lost.is_empty(), "{kind}: {:#?}", report.lost);
            assert_eq!(content(&Store::open(&path).unwrap()), was, "{kind}");
            reset(&path, &good);
        }
    }
}

/// Removes all manifests that start like this, and gives them.
fn remove_manifests(path: &Path, start: &str) {
    let start = format!("manifests/{start}");
    let found = files(path).into_iter().filter(|f| f.to_string_lossy().starts_with(&start));
    let found: Vec<PathBuf> = found.collect();
    assert!(!found.is_empty(), "{start}");
    found.iter().for_each(|f| fs_err::remove_file(path.join(f)).unwrap());
}

fn segments_of(path: &Path, number: u32) -> Vec<PathBuf> {
    files(path).into_iter().filter(|f| f.starts_with(format!("segments/{number}"))).collect()
}

#[test]
fn segments_of_another_feature_under_the_same_number_are_not_taken() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let [own, other] = [feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16)];
    let store = Store::create(&path).unwrap();
    add(&store, 0..SAMPLES).unwrap();
    let mut job = store.start_job(plan(vec![own.clone()])).unwrap();
    seal(&mut job, 0, 0..20);
    job.publish(None, false).unwrap();
    let was = content(&store);
    let before: Vec<PathBuf> =
        files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with("manifests/feature")).collect();
    let mut job = store.start_job(plan(vec![own])).unwrap();
    seal(&mut job, 0, 20..24);
    job.publish(None, false).unwrap();
    drop(store);
    let second = dir.path().join("other");
    drop(filled(&second, SAMPLES, &other, SAMPLES));
    let stranger = segments_of(&second, 1).remove(0);
    let good = bytes(&path);
    for cut in [false, true] {
        // Its rows look like ours; only its footer says that they are not.
        let mut content_of = fs_err::read(second.join(&stranger)).unwrap();
        content_of.truncate(content_of.len() - if cut { 20 } else { 0 });
        fs_err::write(path.join(&stranger), content_of).unwrap();
        // What is listed by an older part is ours without a footer, too.
        let listed: Vec<u8> = fs_err::read(path.join(&before[0])).unwrap();
        for file in segments_of(&path, 1).iter().filter(|f| **f != stranger) {
            let uuid = file.file_stem().unwrap().to_string_lossy().into_owned();
            if String::from_utf8_lossy(&listed).contains(&uuid) {
                let mut own = fs_err::read(path.join(file)).unwrap();
                own.truncate(own.len() - 20);
                fs_err::write(path.join(file), own).unwrap();
            }
        }
        let newer = |f: &PathBuf| f.to_string_lossy().starts_with("manifests/feature") && !before.contains(f);
        for file in files(&path).iter().filter(|f| newer(f)) {
            fs_err::remove_file(path.join(file)).unwrap();
        }
        let report = repair(&path);
        assert!(is_sound(&path), "cut {cut}: {report:#?}");
        let now = content(&Store::open(&path).unwrap());
        let vectors = &now.features["grad-sgd@checkpoint-7"];
        assert_eq!(vectors.keys().copied().collect::<Vec<u64>>(), (0..24).collect::<Vec<u64>>(), "cut {cut}");
        let first = |(row, v): &(&u64, &Vec<u32>)| was.features["grad-sgd@checkpoint-7"].get(row) == Some(*v);
        assert_eq!(vectors.iter().filter(first).count(), 20);
        let left = format!("{} does not say", stranger.display());
        assert!(report.notes.iter().any(|n| n.starts_with(&left)), "cut {cut}: {report:#?}");
        reset(&path, &good);
    }
}

#[test]
fn a_purge_that_could_not_be_published_is_not_what_a_damaged_current_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = original(&path);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    let rows = RowSet::from_rows([8, 33]);
    let purge = || DeleteOptions { purge: true, ..DeleteOptions::default() };
    let mut refused = 0;
    let mut purged = None;
    for n in 0.. {
        reset(&path, &good);
        let vfs = CrashVfs::once(n);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let result = store.delete("pool", &rows, purge());
        drop(store);
        if vfs.left() >= 0 {
            result.unwrap();
            assert!(refused > 10, "{refused}");
            break;
        }
        let done = Store::open(&path).unwrap();
        let expected = content(&done);
        let published = expected.samples.len() != was.samples.len();
        match published {
            true => assert_eq!(purged.get_or_insert_with(|| expected.clone()), &expected, "operation {n}"),
            false => assert_eq!(expected, was, "operation {n}"),
        }
        refused += usize::from(!published);
        drop(done);
        fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
        let report = repair(&path);
        assert!(is_sound(&path), "operation {n}: {report:#?}");
        assert!(report.lost.is_empty(), "operation {n}: {report:#?}");
        let now = content(&Store::open(&path).unwrap());
        assert_eq!((&now.samples, &now.features), (&expected.samples, &expected.features), "operation {n}");
    }
}

#[test]
fn samples_of_a_lost_snapshot_are_taken_up_and_their_rows_are_not_given_out_again() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let store = Store::create(&path).unwrap();
    add(&store, 0..30).unwrap();
    let before = files(&path);
    add(&store, 30..SAMPLES).unwrap();
    let was = content(&store);
    drop(store);
    let new = |start: &str| {
        let is_new = |f: &PathBuf| f.to_string_lossy().starts_with(start) && !before.contains(f);
        files(&path).into_iter().filter(is_new).collect::<Vec<PathBuf>>()
    };
    // The last snapshot loses its root and its part.
    let manifests = new("manifests");
    assert_eq!(manifests.len(), 2);
    manifests.iter().for_each(|f| fs_err::remove_file(path.join(f)).unwrap());
    let good = bytes(&path);
    let report = repair(&path);
    assert!(is_sound(&path) && report.lost.is_empty(), "{report:#?}");
    assert_eq!(content(&Store::open(&path).unwrap()), was);

    // Of a file that lies above a lost one nothing is given out again either.
    reset(&path, &good);
    let Some(file) = new("samples").pop() else { panic!("one file was added") };
    let second = dir.path().join("other");
    let store = Store::create(&second).unwrap();
    add(&store, 0..SAMPLES).unwrap();
    add(&store, SAMPLES..50).unwrap();
    drop(store);
    fs_err::remove_file(path.join(file)).unwrap();
    for above in files(&second).iter().filter(|f| f.starts_with("samples")) {
        fs_err::copy(second.join(above), path.join(above)).unwrap();
    }
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    assert_eq!(lost(&report, LostKind::Samples, None), (30..SAMPLES).collect(), "{report:#?}");
    assert!(!report.is_sound());
    let store = Store::open(&path).unwrap();
    let rows: Vec<u64> = content(&store).samples.keys().copied().collect();
    assert_eq!(rows, (0..30).chain(SAMPLES..50).collect::<Vec<u64>>());
    let mut append = store.append(&dataset(), columns(), options("add again")).unwrap();
    let metadata = vec![MetaValue::Text("task0".into()), MetaValue::Int(1)];
    let pushed = append.push(NewSample { id: "new", record: Some(b"{}"), metadata }).unwrap();
    assert!(matches!(pushed, Pushed::Added(50)), "{pushed:?}");
}

#[test]
fn files_that_a_killed_job_was_publishing_are_left_to_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    let f = features()[0].clone();
    let store = Store::create(&path).unwrap();
    add(&store, 0..SAMPLES).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..20);
    job.publish(None, false).unwrap();
    drop(store);
    let good = bytes(&path);
    let mut moved = 0;
    for n in 0.. {
        reset(&path, &good);
        let vfs = CrashVfs::new(i64::MAX);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        seal(&mut job, 0, 20..30);
        vfs.set_left(n);
        let result = job.publish(None, false);
        drop(store);
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        let published = content(&Store::open(&path).unwrap());
        let note = files(&path).iter().any(|f| f.ends_with("publish.json"));
        let in_place = segments_of(&path, 1).len() == 2;
        moved += usize::from(note && in_place);
        remove_manifests(&path, "feature-1");
        let report = repair(&path);
        assert!(is_sound(&path), "operation {n}: {report:#?}");
        let store = Store::open(&path).unwrap();
        assert_eq!(content(&store).features, published.features, "operation {n}: {report:#?}");
        // Another writer, and then the job goes on.
        add(&store, 60..61).unwrap();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let wanted = RowSet::from_range(20..30).difference(&job.rows_done(0));
        if !wanted.is_empty() {
            seal(&mut job, 0, wanted.iter());
        }
        job.publish(None, false).unwrap();
        assert!(is_sound(&path), "operation {n}");
        let now = content(&store).features;
        assert_eq!(now[&f.attrs.label].len(), 30, "operation {n}");
    }
    assert!(moved > 1, "{moved}");
}

#[test]
fn a_repair_that_cannot_be_published_leaves_no_file_that_a_later_one_would_take_up() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s");
    drop(original(&path));
    let file = files(&path).into_iter().find(|f| f.starts_with("samples/1")).unwrap();
    let mut damaged = fs_err::read(path.join(&file)).unwrap();
    damaged[300] ^= 1;
    fs_err::write(path.join(&file), damaged).unwrap();
    let hurt = bytes(&path);
    let data = |path: &Path| -> Vec<PathBuf> {
        files(path)
            .into_iter()
            .filter(|f| ["samples", "tombstones"].iter().any(|t| f.starts_with(t)))
            .collect()
    };
    let before = data(&path);
    let number = |path: &Path| Store::open(path).unwrap().snapshot().unwrap().number();
    let published = number(&path);
    let mut unclear = 0;
    for n in 0.. {
        reset(&path, &hurt);
        let vfs = CrashVfs::once(n);
        let options = RepairOptions::default();
        let result = Store::repair_folder_on(Arc::new(vfs.clone()), &path, options, &mut |_| {});
        if vfs.left() >= 0 {
            result.unwrap();
            break;
        }
        match result {
            Err(VerifyError::Commit(_)) => {
                unclear += 1;
                assert!(is_sound(&path), "operation {n}");
            }
            Err(_) if number(&path) == published => assert_eq!(data(&path), before, "operation {n}"),
            // Only the ledger was left to remove.
            _ => assert!(is_sound(&path), "operation {n}"),
        }
    }
    assert_eq!(unclear, 1);
}
