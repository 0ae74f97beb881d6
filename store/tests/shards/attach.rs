//! Attached shards make what one process makes.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use std::path::PathBuf;

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
    let (dir, _, store) = placed(empty_store);
    let (one, three) = (dir.path().join("1"), dir.path().join("3"));
    let third = SAMPLES.div_ceil(3);
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
        assert!(r.shards.iter().all(|s| s.outcome == ShardOutcome::Attached), "{r:?}");
        // The last one has rows of two cells.
        assert_eq!(r.shards.iter().map(|s| s.files).collect::<Vec<_>>(), [3, 5]);
        for f in &r.features {
            assert_eq!((f.complete, f.missing, f.added), (false, third, SAMPLES - third));
            assert_eq!(f.missing_rows, [[third, 2 * third]]);
            assert_eq!(f.missing_shards, ["2/3"]);
        }
    }
    assert!(store.snapshot().unwrap().features().iter().all(|f| f.state == FeatureState::Building));
    // An ingest fills the gap, and rows that are there are not taken twice.
    let mut job = store.start_job(plan(features())).unwrap();
    assert_eq!(job.rows_done(0).len(), SAMPLES - third);
    compute(&mut job, &RowSet::from_range(0..SAMPLES), usize::MAX);
    job.publish(Some(run_update()), true).unwrap();
    assert_eq!(content(&store), by_one_process(&dir.path().join("whole")));
}

#[test]
fn shards_have_equal_parts_and_more_shards_than_rows_leave_empty_ones() {
    for (rows, sizes) in [(FEW, [822, 821, 821, 821, 821]), (301, [61, 60, 60, 60, 60]), (3, [1, 1, 1, 0, 0])]
    {
        let (dir, _, store) = placed(|path| store_of(path, rows));
        let out: Vec<PathBuf> = (1..=5).map(|i| dir.path().join(format!("{i}"))).collect();
        let found: Vec<u64> =
            (0..5).map(|i| shard(&store, &format!("{}/5", i + 1), &out[i]).row_set().len()).collect();
        assert_eq!(found, sizes);
        assert_eq!(shard_plan(&store, "2/5", &out[1]).shards_with_rows(), rows.min(5) as u32);
        let report = attach(&store, &out).unwrap();
        let empty = report.shards.iter().filter(|s| s.outcome == ShardOutcome::Empty).count();
        assert_eq!(empty, sizes.iter().filter(|s| **s == 0).count());
        // Segments of several shards are in one cell, and every row is there once, bit for bit.
        assert_eq!(content(&store), by_one_process_of(&dir.path().join("whole"), rows));
        assert!(verify(&store).is_sound());
        store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(content(&store), by_one_process_of(&dir.path().join("again"), rows));
    }
}

#[test]
fn a_shard_that_an_older_gstore_began_is_not_gone_on_with() {
    let (dir, _, store) = placed(|path| store_of(path, FEW));
    let out = dir.path().join("o");
    let Ok(ShardStart::Job(job)) = store.start_shard(plan(features()), shard_plan(&store, "1/2", &out))
    else {
        panic!()
    };
    drop(job);
    let note = out.join("job.json");
    let text = fs_err::read_to_string(&note).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["shard"].as_object_mut().unwrap().remove("cut"), Some("rows".into()));
    fs_err::write(&note, value.to_string()).unwrap();
    match store.start_shard(plan(features()), shard_plan(&store, "1/2", &out)) {
        Err(ShardError::Other { wanted, found, .. }) => assert_eq!((&*wanted, &*found), ("rows", "cells")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shard_is_recognised_after_rows_were_deleted_and_files_compacted() {
    let (dir, _, store) = placed(|path| store_of(path, FEW));
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("{i}"))).collect();
    for i in 1..=2 {
        shard(&store, &format!("{i}/2"), &out[i - 1]);
    }
    attach(&store, &out).unwrap();
    let gone = RowSet::from_ranges([100..1500, CELL_ROWS + 1..CELL_ROWS + 9]);
    store.delete(&pool(&store), &gone, DeleteOptions::default()).unwrap();
    // Samples are cheap to keep, so their file stays: it is the vectors that go.
    let options = CompactOptions { max_dead_share: 0.1, ..CompactOptions::default() };
    assert!(store.compact(options, &mut |_| {}).unwrap().rows_dropped > 0);
    let before = content(&store).features;
    let again = attach(&store, &out).unwrap();
    assert_eq!(again.snapshot, None, "{again:?}");
    assert!(again.shards.iter().all(|s| s.outcome == ShardOutcome::Already), "{again:?}");
    assert!(again.features.iter().all(|f| f.complete && f.missing == 0), "{again:?}");
    assert_eq!(content(&store).features, before);
    // Token counts of deleted rows at the ends of a file go too.
    delete(&store, (0..5).chain(FEW - 3..FEW));
    let options = CompactOptions { max_dead_share: 0.0, ..CompactOptions::default() };
    store.compact(options, &mut |_| {}).unwrap();
    assert_eq!(attach(&store, &out).unwrap().snapshot, None);
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
    flip(&segments.join(name), |bytes| bytes.len() / 2);
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
fn zeros_of_deleted_rows_are_not_taken_for_counts_when_these_are_back() {
    let (dir, path, store) = placed(|path| store_of(path, 30));
    let before = store.snapshot().unwrap();
    delete(&store, 10..20);
    let out = dir.path().join("o");
    let Ok(ShardStart::Job(mut job)) = store.start_shard(plan(features()), shard_plan(&store, "1/1", &out))
    else {
        panic!()
    };
    let rows = job.plan().rows().clone();
    let mut w = job.encoding_writer("pool", encoding_spec(), "tulu").unwrap();
    for row in rows.iter() {
        assert!(w.fill_to(row, &rows).unwrap());
        w.push(TokenCount { row, tokens: 7, scored: 3, truncated: false }).unwrap();
    }
    job.seal_encoding(w).unwrap();
    compute(&mut job, &rows, usize::MAX);
    job.finish(None).unwrap();
    let still_deleted = dir.path().join("copy");
    copy(&path, &still_deleted);
    let still_deleted = Store::open(&still_deleted).unwrap();
    store.revert(&before, &RevertOptions::default()).unwrap();
    for (store, counted) in [(&still_deleted, 30), (&store, 0)] {
        attach(store, std::slice::from_ref(&out)).unwrap();
        assert!(store.snapshot().unwrap().features().iter().all(|f| f.rows() == 20));
        assert_eq!(pool(store).encodings.iter().map(|e| e.rows().len()).sum::<u64>(), counted);
    }
}
