//! An attach concurrent with other writers.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use serde_json::json;
use std::path::PathBuf;

#[test]
fn an_attach_and_an_ingest_of_one_feature_exclude_each_other() {
    let (dir, _, store) = placed(empty_store);
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
            // One of another feature runs concurrently.
            store.start_job(plan(vec![feature("loss", 1, DType::F32)])).unwrap().abandon().unwrap();
        })
        .unwrap();
    assert!(refused > 2);
}

#[test]
fn two_attaches_at_once_end_with_everything() {
    let (dir, _, store) = placed(empty_store);
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
    let (dir, _, store) = placed(|path| store_of(path, 30));
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
