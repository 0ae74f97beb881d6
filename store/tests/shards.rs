//! Promise: shards that are computed apart and attached, in any order and any number of times, make the store that one process
//! would have made; whatever does not fit is refused, and then nothing has changed.

mod common;

use common::crash::CrashVfs;
use common::*;
use gstore_store::*;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SAMPLES: u64 = 3 * CELL_ROWS - 700;
/// Two cells at little cost, for what is done hundreds of times.
const FEW: u64 = CELL_ROWS + 10;

fn features() -> Vec<JobFeature> {
    vec![feature("grad-sgd", 3, DType::F16), feature("grad-adam", 4, DType::I8)]
}

fn run_update() -> RunUpdate {
    let checkpoint = RunCheckpoint {
        name: "checkpoint-7".into(),
        step: Some(7),
        // Not the shortest way to write a number, so that a careless parser shows.
        weight: Some(1.999_999_999_999_999_8e-5),
        checkpoint: checkpoint(7),
        base: "tiny-llama".into(),
        provenance: Map::new(),
        extra: Extra::new(),
    };
    RunUpdate { name: "warmup".into(), checkpoints: vec![checkpoint], replace_weights: true }
}

/// Computes what is missing of `rows`, window by window: token counts and all features. Stops after some windows.
fn compute(job: &mut Job, rows: &RowSet, mut windows: usize) -> bool {
    let done = job.encoding_rows_done("pool", &encoding_spec().key());
    for range in rows.difference(&done).ranges() {
        let mut w = job.encoding_writer("pool", encoding_spec(), "tulu").unwrap();
        for row in range.clone() {
            w.push(TokenCount { row, tokens: row as u32 + 10, scored: row as u32, truncated: row % 5 == 0 })
                .unwrap();
        }
        job.seal_encoding(w).unwrap();
    }
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

fn shard_plan(store: &Store, text: &str, out: &Path) -> ShardPlan {
    ShardPlan::new(store.snapshot().unwrap(), "pool", text.parse().unwrap(), out).unwrap()
}

/// Computes a shard to its end.
fn shard(store: &Store, text: &str, out: &Path) -> Receipt {
    match store.start_shard(plan(features()), shard_plan(store, text, out)).unwrap() {
        ShardStart::Finished(receipt) => *receipt,
        ShardStart::Job(mut job) => {
            let rows = job.plan().rows().clone();
            assert!(compute(&mut job, &rows, usize::MAX));
            job.finish(Some(run_update())).unwrap()
        }
    }
}

fn attach(store: &Store, folders: &[PathBuf]) -> Result<AttachReport, AttachError> {
    store.attach(folders, &AttachOptions { command: "ingest".into(), dry_run: false }, &mut |_| {})
}

/// All that must be equal to the store of one process.
#[derive(Debug, PartialEq)]
struct Content {
    features: Vec<(u32, String, String, FeatureState)>,
    runs: Vec<RunPart>,
    counts: Vec<TokenCount>,
}

fn content(store: &Store) -> Content {
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
        part.encodings.iter().flat_map(|e| snapshot.encoding(part, e).unwrap().counts(0..SAMPLES).unwrap());
    Content {
        features,
        runs: snapshot.runs().iter().map(|r| (**r).clone()).collect(),
        counts: counts.collect(),
    }
}

fn empty_store(path: &Path) -> Store {
    store_of(path, SAMPLES)
}

fn store_of(path: &Path, samples: u64) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..samples).unwrap();
    store
}

fn by_one_process(path: &Path) -> Content {
    by_one_process_of(path, SAMPLES)
}

fn by_one_process_of(path: &Path, samples: u64) -> Content {
    let store = store_of(path, samples);
    let mut job = store.start_job(plan(features())).unwrap();
    compute(&mut job, &RowSet::from_range(0..samples), usize::MAX);
    job.publish(Some(run_update()), true).unwrap();
    content(&store)
}

/// Every file of a folder with its bytes, but for locks.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = files(folder).into_iter().filter(|f| !f.ends_with("start.lock"));
    names.map(|f| (f.clone(), fs_err::read(folder.join(&f)).unwrap())).collect()
}

#[test]
fn any_order_any_repetition_and_any_grouping_give_what_one_process_gives() {
    let dir = tempdir().unwrap();
    let expected = by_one_process(&dir.path().join("whole"));
    let origin = empty_store(&dir.path().join("origin"));
    let out: Vec<PathBuf> = (1..=3).map(|i| dir.path().join(format!("shard{i}"))).collect();
    let before = bytes(origin.path());
    for i in [2, 1, 3] {
        shard(&origin, &format!("{i}/3"), &out[i - 1]);
    }
    assert_eq!(bytes(origin.path()), before, "a shard never writes the store");
    let shards: Vec<_> = out.iter().map(|o| bytes(o)).collect();
    let orders: [&[&[usize]]; 5] = [
        &[&[0, 1, 2]],
        &[&[2, 0, 1]],
        &[&[2], &[0], &[1]],
        &[&[1, 0], &[2, 1]],
        &[&[0, 0, 2], &[0], &[1, 2, 0]],
    ];
    for (n, order) in orders.iter().enumerate() {
        let path = dir.path().join(format!("copy{n}"));
        copy(origin.path(), &path);
        let store = Store::open(&path).unwrap();
        for (step, group) in order.iter().enumerate() {
            let folders: Vec<PathBuf> = group.iter().map(|i| out[*i].clone()).collect();
            let number = store.snapshot().unwrap().number();
            let report = attach(&store, &folders).unwrap();
            let after = store.snapshot().unwrap().number();
            assert_eq!(after - number, u64::from(report.snapshot.is_some()), "one commit, or none");
            if step + 1 < order.len() {
                continue;
            }
            assert!(report.features.iter().all(|f| f.complete && f.missing == 0), "{report:?}");
        }
        assert_eq!(content(&store), expected, "order {n}");
        let again = attach(&store, &out).unwrap();
        assert_eq!(again.snapshot, None);
        assert!(again.shards.iter().all(|s| s.outcome == ShardOutcome::Already && s.files == 0), "{again:?}");
        assert!(verify(&store).is_sound());
        assert!(!files(&path.join("tmp")).iter().any(|f| f.starts_with("job")), "no job is left");
    }
    assert_eq!(out.iter().map(|o| bytes(o)).collect::<Vec<_>>(), shards, "attaching only reads the shards");
    serde_json::to_string(&attach(&origin, &out).unwrap()).unwrap();
}

#[test]
fn a_part_leaves_features_building_and_names_what_is_missing() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let (one, three) = (dir.path().join("1"), dir.path().join("3"));
    shard(&store, "1/3", &one);
    shard(&store, "3/3", &three);
    let number = store.snapshot().unwrap().number();
    let options = AttachOptions { command: "attach".into(), dry_run: true };
    let dry = store.attach(&[one.clone(), three.clone()], &options, &mut |_| {}).unwrap();
    assert_eq!((dry.dry_run, dry.snapshot, store.snapshot().unwrap().number()), (true, None, number));
    let report = attach(&store, &[three, one]).unwrap();
    assert_eq!(report.snapshot, Some(number + 1));
    for r in [&dry, &report] {
        assert_eq!(r.shards.iter().map(|s| s.shard.as_str()).collect::<Vec<_>>(), ["1/3", "3/3"]);
        assert!(r.shards.iter().all(|s| s.outcome == ShardOutcome::Attached && s.files == 3), "{r:?}");
        for f in &r.features {
            assert_eq!((f.complete, f.missing, f.added), (false, CELL_ROWS, SAMPLES - CELL_ROWS));
            assert_eq!(f.missing_rows, [[CELL_ROWS, 2 * CELL_ROWS]]);
            assert_eq!(f.missing_shards, ["2/3"]);
        }
    }
    assert!(store.snapshot().unwrap().features().iter().all(|f| f.state == FeatureState::Building));
    // An ingest fills the gap, and rows that are there are not taken twice.
    let mut job = store.start_job(plan(features())).unwrap();
    assert_eq!(job.rows_done(0).len(), SAMPLES - CELL_ROWS);
    compute(&mut job, &RowSet::from_range(0..SAMPLES), usize::MAX);
    job.publish(Some(run_update()), true).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn a_stopped_shard_goes_on_and_a_finished_one_does_nothing() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let out = dir.path().join("o");
    let start = |text: &str| store.start_shard(plan(features()), shard_plan(&store, text, &out));
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    let rows = job.plan().rows().clone();
    assert!(!compute(&mut job, &rows, 1));
    match start("1/1") {
        Err(ShardError::Busy { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(job);
    match attach(&store, std::slice::from_ref(&out)) {
        Err(AttachError::Unfinished { shard, .. }) => assert_eq!(shard, "1/1"),
        other => panic!("{other:?}"),
    }
    // What others put there stays, what was unfinished goes.
    fs_err::write(out.join("slurm-1.out"), "log").unwrap();
    let name = files(&out).into_iter().find(|f| f.extension().is_some_and(|e| e == "arrow")).unwrap();
    fs_err::write(out.join(format!("{}.part", name.display())), "half").unwrap();
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    assert!(job.resumed());
    assert_eq!((job.discarded().len(), job.rows_done(0).len()), (1, CELL_ROWS));
    assert!(compute(&mut job, &rows, usize::MAX));
    let receipt = job.finish(Some(run_update())).unwrap();
    assert!(out.join("slurm-1.out").exists());
    let before = bytes(&out);
    match start("1/1") {
        Ok(ShardStart::Finished(again)) => assert_eq!(*again, receipt),
        other => panic!("{other:?}"),
    }
    let same = |b: &[(PathBuf, Vec<u8>)]| {
        b.iter().filter(|(f, _)| !f.ends_with("job.json")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(same(&bytes(&out)), same(&before));
    assert!(matches!(start("1/2"), Err(ShardError::Other { what: "shard", .. })));
    // A damaged file is computed again, whatever the receipt says.
    let mut damaged = fs_err::read(out.join(&name)).unwrap();
    damaged[900] ^= 4;
    fs_err::write(out.join(&name), damaged).unwrap();
    let Ok(ShardStart::Job(mut job)) = start("1/1") else { panic!() };
    assert_eq!(job.discarded().len(), 1);
    assert!(matches!(attach(&store, std::slice::from_ref(&out)), Err(AttachError::Unfinished { .. })));
    compute(&mut job, &rows, usize::MAX);
    job.finish(Some(run_update())).unwrap();
    attach(&store, &[out]).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn only_a_folder_for_shards_is_written_to() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let start = |out: &Path| store.start_shard(plan(features()), shard_plan(&store, "1/2", out));
    assert!(matches!(start(&store.path().join("tmp/x")), Err(ShardError::InsideStore { .. })));
    let strange = dir.path().join("strange");
    fs_err::create_dir(&strange).unwrap();
    fs_err::write(strange.join("thesis.tex"), "x").unwrap();
    match start(&strange) {
        Err(ShardError::NotEmpty { found, .. }) => assert_eq!(found, "thesis.tex"),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(&strange).len(), 1);
    fs_err::write(strange.join("job.json"), "{").unwrap();
    assert!(matches!(start(&strange), Err(ShardError::Note { .. })));
    // Unfinished rows are never receipted.
    let out = dir.path().join("o");
    let Ok(ShardStart::Job(job)) = start(&out) else { panic!() };
    match job.finish(None) {
        Err(ShardError::Incomplete { rows, .. }) => assert_eq!(rows.ranges()[0].start, 0),
        other => panic!("{other:?}"),
    }
    assert!(!out.join("receipt.json").exists());
    // Other work in the same folder.
    let other = JobPlan { identity: json!("other"), ..plan(features()) };
    match store.start_shard(other, shard_plan(&store, "1/2", &out)) {
        Err(ShardError::Other { what, .. }) => assert_eq!(what, "the work"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_shards_than_cells_leave_empty_ones() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let out: Vec<PathBuf> = (1..=5).map(|i| dir.path().join(format!("{i}"))).collect();
    let sizes: Vec<u64> =
        (0..5).map(|i| shard(&store, &format!("{}/5", i + 1), &out[i]).row_set().len()).collect();
    assert_eq!(sizes.iter().filter(|s| **s == 0).count(), 2);
    let report = attach(&store, &out).unwrap();
    assert_eq!(report.shards.iter().filter(|s| s.outcome == ShardOutcome::Empty).count(), 2);
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn what_a_snapshot_has_is_not_computed_again() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let mut job = store.start_job(plan(features())).unwrap();
    seal(&mut job, 0, 100..5000);
    job.publish(None, false).unwrap();
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("{i}"))).collect();
    let plan_of = |i: usize| shard_plan(&store, &format!("{i}/2"), &out[i - 1]);
    let Ok(ShardStart::Job(job)) = store.start_shard(plan(features()), plan_of(1)) else { panic!() };
    assert_eq!(job.rows_done(0), RowSet::from_range(100..5000));
    drop(job);
    let rows: u64 = (1..=2)
        .flat_map(|i| shard(&store, &format!("{i}/2"), &out[i - 1]).files)
        .filter(|f| matches!(f, ReceiptFile::Segment { feature: 0, .. }))
        .map(|f| f.row_set().len())
        .sum();
    assert_eq!(rows, SAMPLES - 4900);
    attach(&store, &out).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let at = |name: &str| dir.path().join(name);
    shard(&store, "1/2", &at("a"));
    shard(&store, "2/2", &at("b"));
    shard(&store, "2/3", &at("c"));
    let before = bytes(store.path());
    copy(store.path(), &at("origin"));
    let origin = Store::open(at("origin")).unwrap();
    let refused = |folders: &[&str], says: &[&str]| {
        let folders: Vec<PathBuf> = folders.iter().map(|f| at(f)).collect();
        let error = attach(&store, &folders).unwrap_err().to_string();
        for part in says {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
        assert_eq!(bytes(store.path()), before);
        error
    };
    refused(&["c", "b"], &["shard 2/2 in", "shard 2/3 in", "both have rows 4096..8192"]);
    refused(&["nowhere"], &["nothing of that name"]);
    fs_err::create_dir(at("empty")).unwrap();
    refused(&["a", "empty"], &["no receipt.json"]);
    assert!(matches!(attach(&store, &[]), Err(AttachError::Nothing)));

    // Another store.
    let other = empty_store(&at("other"));
    assert!(matches!(attach(&other, &[at("a")]), Err(AttachError::OtherStore { .. })));

    // Another way to compute the same feature.
    let different = JobPlan { identity: json!("different"), ..plan(features()) };
    let Ok(ShardStart::Job(mut job)) = store.start_shard(different, shard_plan(&store, "2/2", &at("d")))
    else {
        panic!()
    };
    let rows = job.plan().rows().clone();
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    refused(&["a", "d"], &["in different ways"]);

    // Another opinion about a checkpoint's weight.
    let Ok(ShardStart::Job(mut job)) =
        store.start_shard(plan(features()), shard_plan(&store, "2/2", &at("e")))
    else {
        panic!()
    };
    compute(&mut job, &rows, usize::MAX);
    let mut update = run_update();
    update.checkpoints[0].weight = Some(1.0);
    job.finish(Some(update)).unwrap();
    refused(&["a", "e"], &["do not agree about checkpoint \"checkpoint-7\" of run \"warmup\""]);

    // One damaged bit in each file, and each file missing.
    for name in files(&at("b")) {
        let path = at("b").join(&name);
        let name = name.display().to_string();
        if ["job.json", "lock"].contains(&&*name) || name.ends_with("encoding.json") {
            continue;
        }
        let good = fs_err::read(&path).unwrap();
        for place in [good.len() / 2, good.len() - 1, 3] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs_err::write(&path, bad).unwrap();
            refused(
                &["a", "b"],
                &[if name == "receipt.json" { "receipt.json cannot be used" } else { "is damaged" }, &name],
            );
        }
        fs_err::write(&path, &good[..good.len() - 1]).unwrap();
        refused(&["a", "b"], &[&name]);
        fs_err::remove_file(&path).unwrap();
        refused(&["a", "b"], &[if name == "receipt.json" { "is not finished" } else { "no such file" }]);
        fs_err::write(&path, good).unwrap();
    }
    attach(&store, &[at("a"), at("b")]).unwrap();

    // Rows that are there from elsewhere: the same ones do no harm, others are refused by name.
    let report = attach(&store, &[at("c")]).unwrap();
    assert_eq!((report.snapshot, report.shards[0].outcome), (None, ShardOutcome::Already));
    let Ok(ShardStart::Job(mut job)) =
        origin.start_shard(plan(features()), shard_plan(&origin, "2/3", &at("f")))
    else {
        panic!()
    };
    let mut w = job.segment_writer(0).unwrap();
    for row in 5000..5010 {
        let mut v = vector(row, 3);
        v[1] += f32::from(u8::from((5003..5006).contains(&row)));
        w.push(row, &v, RowFlags::empty()).unwrap();
    }
    job.seal(0, w).unwrap();
    let rows = job.plan().rows().clone();
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    match attach(&store, &[at("f")]) {
        Err(AttachError::Present { rows, .. }) => assert_eq!(rows, RowSet::from_range(5003..5006)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shard_is_recognised_after_rows_were_deleted_and_files_compacted() {
    let dir = tempdir().unwrap();
    let store = store_of(&dir.path().join("s"), FEW);
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("{i}"))).collect();
    for i in 1..=2 {
        shard(&store, &format!("{i}/2"), &out[i - 1]);
    }
    attach(&store, &out).unwrap();
    let gone = RowSet::from_ranges([100..1500, CELL_ROWS + 1..CELL_ROWS + 9]);
    store.delete("pool", &gone, DeleteOptions::default()).unwrap();
    // Samples are cheap to keep, so their file stays: it is the vectors that go.
    let options = CompactOptions { max_dead_share: 0.1, ..CompactOptions::default() };
    assert!(store.compact(options, &mut |_| {}).unwrap().rows_dropped > 0);
    let before = content(&store).features;
    let again = attach(&store, &out).unwrap();
    assert_eq!(again.snapshot, None, "{again:?}");
    assert!(again.shards.iter().all(|s| s.outcome == ShardOutcome::Already), "{again:?}");
    assert!(again.features.iter().all(|f| f.complete && f.missing == 0), "{again:?}");
    assert_eq!(content(&store).features, before);
}

#[test]
fn rows_that_a_repair_lost_come_back_from_the_shard() {
    let dir = tempdir().unwrap();
    let expected = by_one_process_of(&dir.path().join("whole"), FEW);
    let path = dir.path().join("s");
    let store = store_of(&path, FEW);
    let out = dir.path().join("o");
    shard(&store, "1/1", &out);
    attach(&store, std::slice::from_ref(&out)).unwrap();
    let segments = path.join("segments");
    let name =
        files(&segments).into_iter().max_by_key(|f| segments.join(f).metadata().unwrap().len()).unwrap();
    let mut bytes = fs_err::read(segments.join(&name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(segments.join(&name), bytes).unwrap();
    drop(store);
    Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    let store = Store::open(&path).unwrap();
    let lacks = |store: &Store| {
        let snapshot = store.snapshot().unwrap();
        snapshot.features().iter().map(|f| FEW - f.rows()).collect::<Vec<_>>()
    };
    let lost: u64 = lacks(&store).iter().sum();
    assert!(lost > 0 && lost < FEW, "a part of one feature is lost, not {lost} rows");
    let report = attach(&store, std::slice::from_ref(&out)).unwrap();
    assert_eq!(report.features.iter().map(|f| f.added).sum::<u64>(), lost);
    assert!(report.features.iter().all(|f| f.complete), "{report:?}");
    assert_eq!(content(&store).features, expected.features);
    assert!(verify(&store).is_sound());
    assert_eq!(attach(&store, &[out]).unwrap().snapshot, None);
}

#[test]
fn rows_that_are_other_samples_in_a_restored_store_are_refused() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = store_of(&at("s"), 20);
    copy(store.path(), &at("backup"));
    add(&store, 20..40).unwrap();
    shard(&store, "1/1", &at("o"));
    let restored = |name: &str| {
        copy(&at("backup"), &at(name));
        Store::open(at(name)).unwrap()
    };
    let refused = |store: &Store, says: &str| {
        let before = bytes(store.path());
        for dry_run in [true, false] {
            let options = AttachOptions { command: "attach".into(), dry_run };
            match store.attach(&[at("o")], &options, &mut |_| {}) {
                Err(AttachError::Dataset { detail, .. }) => assert!(detail.contains(says), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes(store.path()), before);
    };

    // As many others, and the same ones in another order: dataset, rows and numbers of snapshots are alike.
    let others = restored("others");
    add(&others, 50..70).unwrap();
    assert_eq!(others.snapshot().unwrap().number(), store.snapshot().unwrap().number());
    refused(&others, "row 20 was another sample than \"s50\"");
    let turned = restored("turned");
    add(&turned, 30..40).unwrap();
    add(&turned, 20..30).unwrap();
    refused(&turned, "row 20 was another sample than \"s30\"");

    // The same samples again, some of them deleted by now: whatever is stored of them agrees.
    let same = restored("same");
    add(&same, 20..40).unwrap();
    same.delete("pool", &RowSet::from_range(3..7), DeleteOptions::default()).unwrap();
    let report = attach(&same, &[at("o")]).unwrap();
    assert!(report.features.iter().all(|f| f.complete && f.missing == 0), "{report:?}");
    assert!(verify(&same).is_sound());
    attach(&store, &[at("o")]).unwrap();
}

#[test]
fn a_crash_at_any_operation_of_an_attach_leaves_all_or_nothing() {
    let dir = tempdir().unwrap();
    let expected = by_one_process_of(&dir.path().join("whole"), FEW);
    let origin = store_of(&dir.path().join("origin"), FEW);
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("shard{i}"))).collect();
    for i in 1..=2 {
        shard(&origin, &format!("{i}/2"), &out[i - 1]);
    }
    let (mut crashes, mut resumed) = (0, 0);
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        copy(origin.path(), &path);
        let vfs = CrashVfs::new(n);
        let result = Store::open_on(Arc::new(vfs.clone()), &path)
            .map_err(AttachError::from)
            .and_then(|s| attach(&s, &out));
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        crashes += 1;
        let store = Store::open(&path).unwrap();
        let report = verify(&store);
        assert!(report.is_sound(), "after {n} operations: {:?}", report.problems);
        let there = store.snapshot().unwrap().features().len();
        assert!(there == 0 || there == 2, "after {n} operations: {there} features");
        assert!(result.is_err() || there == 2, "after {n} operations: acknowledged and gone");
        resumed +=
            usize::from(files(&path.join("tmp")).iter().any(|f| f.extension().is_some_and(|e| e == "arrow")));
        attach(&store, &out).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        assert_eq!(content(&store), expected, "after {n} operations");
        let tmp = files(&path.join("tmp"));
        assert!(tmp.iter().all(|f| f == Path::new("start.lock")), "after {n} operations: {tmp:?}");
        let unreferenced = verify(&store).unreferenced;
        assert!(unreferenced.iter().all(|f| f.starts_with("manifests/")), "{n}: {unreferenced:?}");
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(crashes > 50 && resumed > 5, "{crashes} {resumed}");
}

#[test]
fn one_failing_operation_of_an_attach_changes_nothing() {
    let dir = tempdir().unwrap();
    let origin = store_of(&dir.path().join("origin"), 30);
    let out = dir.path().join("o");
    shard(&origin, "1/1", &out);
    let mut failures = 0;
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        copy(origin.path(), &path);
        let vfs = CrashVfs::once(n);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let result = attach(&store, std::slice::from_ref(&out));
        if vfs.left() >= 0 {
            result.unwrap();
            break;
        }
        if let Err(e) = &result {
            failures += 1;
            assert!(e.to_string().contains("injected"), "operation {n}: {e}");
        }
        attach(&store, std::slice::from_ref(&out)).unwrap_or_else(|e| panic!("operation {n}: {e}"));
        assert_eq!(content(&store).features.len(), 2);
        assert!(verify(&store).is_sound(), "operation {n}");
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn an_attach_and_an_ingest_of_one_feature_exclude_each_other() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let out = dir.path().join("o");
    shard(&store, "1/1", &out);
    let job = store.start_job(plan(vec![features().remove(1)])).unwrap();
    match attach(&store, std::slice::from_ref(&out)) {
        Err(AttachError::Job(JobError::Busy { job: other, .. })) => assert_eq!(other, job.id()),
        other => panic!("{other:?}"),
    }
    drop(job);
    // While files are copied, an ingest of one of the features is refused before it computes anything.
    let mut refused = 0;
    let options = AttachOptions { command: "attach".into(), dry_run: false };
    store
        .attach(&[out], &options, &mut |_| {
            let other = JobPlan { identity: json!("other"), ..plan(vec![features().remove(0)]) };
            refused += usize::from(matches!(store.start_job(other), Err(JobError::Busy { .. })));
            // One of another feature runs beside it.
            store.start_job(plan(vec![feature("loss", 1, DType::F32)])).unwrap().abandon().unwrap();
        })
        .unwrap();
    assert!(refused > 2);
}

#[test]
fn two_attaches_at_once_end_with_everything() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let out: Vec<PathBuf> = (1..=3).map(|i| dir.path().join(format!("{i}"))).collect();
    for i in 1..=3 {
        shard(&store, &format!("{i}/3"), &out[i - 1]);
    }
    std::thread::scope(|scope| {
        for folder in &out {
            let store = Store::open(store.path()).unwrap();
            scope.spawn(move || {
                loop {
                    match attach(&store, std::slice::from_ref(folder)) {
                        Ok(report) => break assert_eq!(report.shards[0].outcome, ShardOutcome::Attached),
                        Err(AttachError::Job(JobError::Busy { .. })) => std::thread::yield_now(),
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn the_snapshot_of_somebody_else_is_not_that_of_an_attach() {
    let dir = tempdir().unwrap();
    let store = store_of(&dir.path().join("s"), 30);
    let out = dir.path().join("o");
    shard(&store, "1/1", &out);
    // An ingest made the same rows, and has yet to name the checkpoint.
    let mut job = store.start_job(plan(features())).unwrap();
    compute(&mut job, &RowSet::from_range(0..30), usize::MAX);
    job.publish(None, true).unwrap();
    let mut calls = 0;
    let options = AttachOptions { command: "attach".into(), dry_run: false };
    let report = store
        .attach(&[out], &options, &mut |_| {
            calls += 1;
            let job = store.start_job(plan(vec![feature("loss", 1, DType::F32)])).unwrap();
            job.publish(Some(run_update()), false).unwrap();
        })
        .unwrap();
    assert_eq!((calls, report.snapshot), (1, None), "{report:?}");
    assert_eq!(store.snapshot().unwrap().info().command, "ingest");
}

#[test]
fn shards_work_on_a_store_that_cannot_be_written() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    // Whatever would change a file below the store fails.
    let vfs = Arc::new(common::readonly::ReadOnly::new(store.path()));
    let reader = Store::open_on(vfs, store.path()).unwrap();
    for i in 1..=2 {
        shard(&reader, &format!("{i}/2"), &dir.path().join(format!("{i}")));
    }
    attach(&store, &[dir.path().join("1"), dir.path().join("2")]).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn any_bytes_are_a_receipt_or_an_error() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let out = dir.path().join("o");
    let receipt = shard(&store, "2/3", &out);
    let good = fs_err::read(out.join("receipt.json")).unwrap();
    assert_eq!(Receipt::parse(&good).unwrap(), receipt);
    for len in 0..good.len() {
        assert!(Receipt::parse(&good[..len]).is_err(), "cut to {len}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Receipt::parse(&bad).is_err(), "bit {bit}");
    }
    // With a digest that fits, what it says is looked at.
    let text = String::from_utf8(good).unwrap();
    let changed = |from: &str, to: &str| {
        let (body, _) = text.rsplit_once(",\n  \"digest\": \"").unwrap();
        let body = format!("{},\n  \"digest\": \"", body.replacen(from, to, 1));
        Receipt::parse(format!("{body}{}\"\n}}\n", xxh3_hex(body.as_bytes())).as_bytes())
    };
    assert!(
        changed("\"command\": \"ingest\"", "\"command\": \"x\", \"later\": 1")
            .unwrap()
            .extra
            .contains_key("later")
    );
    for (from, to, says) in [
        ("\"version\": 1", "\"version\": 2", "newer"),
        ("\"requires\": []", "\"requires\": [\"wings\"]", "newer"),
        ("\"name\": \"f0-", "\"name\": \"../f0-", "should be called"),
        ("\"index\": 2", "\"index\": 4", "numbered from 1"),
        ("\"count\": 3", "\"count\": 100000", "parts of the split"),
        ("\"dataset\": \"pool\"", "\"dataset\": \"../x\"", ""),
        ("\"feature\": 0", "\"feature\": 18446744073709551615", "should be called"),
        ("\"end_row\": 8192", "\"end_row\": 8191", "do not fit"),
        ("\"tail_len\": ", "\"tail_len\": 99", "a tail of"),
        ("\"next_row\": 11588", "\"next_row\": 4100", "not in the shard's part"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(says), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_live_job_whose_note_is_damaged_is_not_written_over() {
    let dir = tempdir().unwrap();
    let store = empty_store(&dir.path().join("s"));
    let job = store.start_job(plan(vec![features().remove(0)])).unwrap();
    fs_err::write(store.path().join("tmp").join(job.id()).join("job.json"), "{").unwrap();
    let other = || store.start_job(plan(vec![features().remove(1)]));
    assert!(matches!(other(), Err(JobError::Busy { pid: 0, .. })));
    drop(job);
    other().unwrap();
}
