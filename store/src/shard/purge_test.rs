//! Promise: rows that are purged while a job runs, or after a shard was computed, do not come back with it.

use super::{AttachOptions, ShardOutcome, ShardPlan, ShardStart};
use crate::append::AppendOptions;
use crate::encodings::TokenCount;
use crate::job::{JobFeature, JobPlan, published_rows};
use crate::manifest::DatasetPart;
use crate::samples::NewSample;
use crate::store::{Store, WriterLock, change_of, publish};
use crate::{AttachReport, Job};
use gstore_core::{
    CheckpointId, DType, DatasetName, EncodingSpec, Family, FeatureAttrs, FeatureDesc, RowFlags, RowSet,
    Space, sha256_hex,
};
use serde_json::json;
use std::ops::Range;
use std::path::Path;

fn add(store: &Store, rows: Range<u64>) {
    let options = AppendOptions { command: "add".into(), ..AppendOptions::default() };
    let name = DatasetName::try_from("pool").unwrap();
    let mut append = store.append(&name, Vec::new(), options).unwrap();
    for i in rows {
        append.push(NewSample { id: &format!("s{i}"), record: Some(b"{}"), metadata: Vec::new() }).unwrap();
    }
    append.finish().unwrap();
}

/// Rows 10..20 of 30 go, as a purge takes a whole file of samples out.
fn purge(store: &Store) {
    let lock = WriterLock::take(store).unwrap();
    let now = store.snapshot().unwrap();
    let mut part = DatasetPart::clone(now.dataset("pool").unwrap());
    assert_eq!(part.files.remove(1).range(), 10..20);
    part.rows -= 10;
    let mut change = change_of(&now, "delete --purge");
    change.datasets.push(part);
    publish(store, &lock, &now, change).unwrap();
}

fn encoding() -> EncodingSpec {
    EncodingSpec {
        tokenizer: sha256_hex(b"t"),
        template: "plain".into(),
        template_source: None,
        system: None,
        template_digest: None,
        max_length: 8,
    }
}

fn feature(dtype: DType) -> JobFeature {
    let id = CheckpointId::try_from(format!("{:064x}", 7)).unwrap();
    let space = Space { modules: sha256_hex(b"m"), ..Space::new(Family::Gradient, Some(id), 5) };
    let desc = FeatureDesc::new("pool", encoding().key(), "grad-sgd", space, dtype);
    JobFeature { desc, attrs: FeatureAttrs::new(format!("g-{dtype}"), 5) }
}

fn plan() -> JobPlan {
    JobPlan {
        command: "ingest".into(),
        identity: json!("job"),
        features: DType::ALL.map(feature).to_vec(),
        detail: json!(null),
    }
}

/// Seals all but the first five rows of each feature, in two segments, and the counts of all.
fn compute(job: &mut Job, keep: &RowSet) {
    for i in 0..DType::ALL.len() {
        for part in [5..17, 17..30] {
            let mut w = job.segment_writer(i).unwrap();
            for row in part.filter(|r| keep.contains(*r)) {
                let x = row as f32 + 0.3;
                w.push(row, &[x, -x / 3.0, 1e-3 * x, 0.0, x * x], RowFlags::empty()).unwrap();
            }
            job.seal(i, w).unwrap();
        }
    }
    let mut w = job.encoding_writer("pool", encoding(), "plain").unwrap();
    for row in 0..30 {
        w.push(TokenCount { row, tokens: row as u32 + 1, scored: 1, truncated: true }).unwrap();
    }
    job.seal_encoding(w).unwrap();
}

fn digests(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    snapshot.features().iter().map(|p| snapshot.open_feature(p).unwrap().content_digest().unwrap()).collect()
}

/// What a store has to be in which the rows were never computed.
fn check(store: &Store, path: &Path) {
    let kept = RowSet::from_ranges([5..10, 20..30]);
    let plain = Store::create(path).unwrap();
    add(&plain, 0..30);
    let mut job = plain.start_job(plan()).unwrap();
    compute(&mut job, &kept);
    job.publish(None, false).unwrap();
    assert_eq!(digests(store), digests(&plain), "the other rows keep every bit");
    let snapshot = store.snapshot().unwrap();
    for p in snapshot.features() {
        assert_eq!(published_rows(&snapshot, &p.key).unwrap(), kept);
    }
    let part = snapshot.dataset("pool").unwrap();
    let counts = snapshot.encoding(&part.encodings[0]).unwrap().counts(0..30).unwrap();
    for c in counts {
        assert!(!(10..20).contains(&c.row), "nothing is counted of what is gone");
        assert_eq!(c, TokenCount { row: c.row, tokens: c.row as u32 + 1, scored: 1, truncated: true });
    }
}

#[test]
fn a_job_that_ran_during_a_purge_publishes_the_other_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    [0..10, 10..20, 20..30].into_iter().for_each(|rows| add(&store, rows));
    let mut job = store.start_job(plan()).unwrap();
    compute(&mut job, &RowSet::from_range(0..30));
    purge(&store);
    job.publish(None, true).unwrap();
    check(&store, &dir.path().join("plain"));
}

#[test]
fn a_shard_from_before_a_purge_is_attached_without_the_purged_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("s")).unwrap();
    [0..10, 10..20, 20..30].into_iter().for_each(|rows| add(&store, rows));
    // The first five rows are published, so that the shard has all that is left.
    let mut job = store.start_job(plan()).unwrap();
    for i in 0..DType::ALL.len() {
        let mut w = job.segment_writer(i).unwrap();
        (0..5).for_each(|row| w.push(row, &[row as f32; 5], RowFlags::empty()).unwrap());
        job.seal(i, w).unwrap();
    }
    job.publish(None, false).unwrap();
    let out = dir.path().join("o");
    let shard = ShardPlan::new(store.snapshot().unwrap(), "pool", "1/1".parse().unwrap(), &out).unwrap();
    let Ok(ShardStart::Job(mut job)) = store.start_shard(plan(), shard) else { panic!() };
    compute(&mut job, &RowSet::from_range(0..30));
    job.finish(None).unwrap();
    purge(&store);
    let attach = || -> AttachReport {
        store.attach(std::slice::from_ref(&out), &AttachOptions::default(), &mut |_| {}).unwrap()
    };
    let report = attach();
    assert_eq!(report.shards[0].outcome, ShardOutcome::Attached);
    for f in &report.features {
        assert_eq!((f.added, f.rows, f.missing, f.complete), (15, 20, 0, true));
    }
    let snapshot = store.snapshot().unwrap();
    for p in snapshot.features() {
        let rows = published_rows(&snapshot, &p.key).unwrap();
        assert_eq!(rows, RowSet::from_ranges([0..10, 20..30]));
    }
    let again = attach();
    assert_eq!((again.snapshot, again.shards[0].outcome), (None, ShardOutcome::Already));
}
