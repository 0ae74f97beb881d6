//! Promise: the key of a client's write is known as long as its feature is there, or the dataset of its
//! samples, and no purge has taken a row of it.

use crate::common::{
    add, columns, created, dataset, delete, feature, options, plan, pool, purge, seal, verify, warmup,
    with_samples,
};
use gstore_store::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn write(key: &str, digest: &str) -> ClientWrite {
    ClientWrite::new(key, digest).unwrap()
}

/// Adds one sample as a client's write.
fn append(store: &Store, key: &str, id: &str) -> AppendReport {
    let mut append = store.append(&dataset(), columns(), options("put")).unwrap();
    append.name(write(key, id));
    let metadata = vec![MetaValue::Null, MetaValue::Null];
    append.push(NewSample { id, record: Some(id.as_bytes()), metadata }).unwrap();
    append.finish().unwrap()
}

/// Publishes rows of a feature as a client's write.
fn put(
    store: &Store,
    rows: std::ops::Range<u64>,
    key: &str,
    digest: &str,
) -> Result<Arc<Snapshot>, CommitError> {
    let mut job = store.start_job(plan(vec![feature("embed-mean", 4, DType::F32)])).unwrap();
    seal(&mut job, 0, rows);
    let told: Map<String, Value> = [("rows".to_owned(), json!(3))].into_iter().collect();
    job.publish_write(None, "pool", Some((write(key, digest), told)))
}

#[test]
fn an_append_is_noted_with_its_samples_also_where_nothing_is_new() {
    let (dir, store) = created();
    let first = append(&store, "a", "x");
    let note = pool(&store).written("a").unwrap();
    assert_eq!((Some(note.snapshot), &note.result["added"]), (first.snapshot, &json!(1)));
    assert_eq!(write("a", "x").done(&pool(&store), &[]).unwrap().unwrap(), note);
    assert!(matches!(write("a", "y").done(&pool(&store), &[]), Err(KeyError::Used { .. })));
    // Dropped before it is finished, it is not known.
    let mut left = store.append(&dataset(), columns(), options("put")).unwrap();
    left.name(write("b", "z"));
    drop(left);
    assert_eq!(pool(&store).written("b"), None);
    let nothing = append(&store, "c", "x");
    assert_eq!((nothing.added, nothing.unchanged), (0, 1));
    assert_eq!(pool(&store).written("c").unwrap().result["unchanged"], json!(1));
    // Other writers keep what is noted.
    add(&store, 0..5).unwrap();
    delete(&store, [0]);
    let again = Store::open(dir.path().join("s")).unwrap();
    assert!(pool(&again).written("a").is_some() && pool(&again).written("c").is_some());
    assert!(verify(&store).problems.is_empty());
}

#[test]
fn a_job_is_published_once_for_a_key_and_complete_with_all_rows() {
    let (dir, _, store) = with_samples(6);
    let first = put(&store, 0..3, "a", "1").unwrap();
    assert_eq!(first.features()[0].state, FeatureState::Building);
    assert_eq!(pool(&store).written("a").unwrap().snapshot, first.number());
    // The same key: nothing is published, and the files go.
    assert_eq!(put(&store, 3..6, "a", "1").unwrap().number(), first.number());
    assert!(matches!(put(&store, 3..6, "a", "2"), Err(CommitError::Key(KeyError::Used { .. }))));
    let jobs = fs_err::read_dir(dir.path().join("s/tmp")).unwrap();
    let jobs = jobs.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("job-"));
    assert_eq!(jobs.count(), 0);
    let all = put(&store, 3..6, "b", "2").unwrap();
    assert_eq!(all.features()[0].state, FeatureState::Complete);
    assert!(verify(&store).problems.is_empty());
}

#[test]
fn a_key_whose_feature_was_dropped_is_free_and_known_again_when_that_comes_back() {
    let (_dir, _, store) = with_samples(6);
    let first = put(&store, 0..3, "a", "1").unwrap();
    let numbers = pool(&store).written("a").unwrap().features;
    assert_eq!(numbers, [first.features()[0].number]);
    store.drop_feature(&first.features()[0], "drop").unwrap();
    let known = |snapshot: &Snapshot| {
        snapshot.dataset("pool").unwrap().written_among("a", snapshot.features()).map(|note| note.snapshot)
    };
    assert_eq!(known(&store.snapshot().unwrap()), None);
    let again = put(&store, 0..3, "a", "1").unwrap();
    assert_eq!(known(&again), Some(again.number()));
    let part = again.features()[0].clone();
    assert_eq!(again.open_feature(&part).unwrap().row_set().unwrap(), RowSet::from_range(0..3));
    // Another feature of that name is not the one of the key.
    store.drop_feature(&part, "drop").unwrap();
    put(&store, 0..6, "b", "2").unwrap();
    assert_eq!(known(&store.snapshot().unwrap()), None);
    store.revert(&again, &RevertOptions::default()).unwrap();
    assert_eq!(known(&store.snapshot().unwrap()), Some(again.number()));
    assert!(matches!(put(&store, 3..6, "a", "2"), Err(CommitError::Key(KeyError::Used { .. }))));
    assert!(verify(&store).problems.is_empty());
}

#[test]
fn a_purge_forgets_the_keys_of_writes_that_may_have_had_its_rows() {
    let (_dir, store) = created();
    append(&store, "early", "w");
    put(&store, 0..1, "early vectors", "1").unwrap();
    append(&store, "gone", "x");
    append(&store, "other", "y");
    append(&store, "same", "x");
    put(&store, 2..3, "vectors", "2").unwrap();
    let known = || -> Vec<&str> {
        let all = ["early", "early vectors", "gone", "other", "same", "vectors"];
        all.into_iter().filter(|key| pool(&store).written(key).is_some()).collect()
    };
    delete(&store, [1]);
    assert_eq!(known().len(), 6);
    purge(&store, []).unwrap();
    assert_eq!(known(), ["early", "early vectors", "other"]);
    assert_eq!(purge(&store, []).unwrap().snapshot, None, "nothing is left to forget");
    assert!(verify(&store).is_sound());
}

/// A feature of a space that was made elsewhere.
fn elsewhere(space: &str) -> JobFeature {
    let mut feature = feature("embed-mine", 4, DType::F32);
    feature.desc.space.projection = space.to_owned();
    feature
}

#[test]
fn of_two_first_writes_of_a_label_the_second_is_refused_and_joins_when_it_is_done_again() {
    let (_dir, _, store) = with_samples(6);
    let begin = |feature: JobFeature, rows: std::ops::Range<u64>| {
        let mut job = store.start_job(plan(vec![feature])).unwrap();
        seal(&mut job, 0, rows);
        job
    };
    let publish = |job: Job, key: &str| job.publish_write(None, "pool", Some((write(key, key), Map::new())));
    let (one, other) = (begin(elsewhere("external:one"), 0..3), begin(elsewhere("external:other"), 3..6));
    let first = publish(one, "a").unwrap();
    let refused = publish(other, "b").unwrap_err();
    let CommitError::LabelTaken { label, dataset } = &refused else { panic!("{refused}") };
    assert_eq!((label.as_str(), dataset.as_str()), ("embed-mine@checkpoint-7", "pool"));
    let now = store.snapshot().unwrap();
    assert_eq!((now.number(), now.features().len()), (first.number(), 1));
    assert_eq!(pool(&store).written("b"), None);
    // A lookup by label finds the space that it has now.
    let joined = publish(begin(elsewhere("external:one"), 3..6), "b").unwrap();
    assert_eq!((joined.features().len(), joined.features()[0].state), (1, FeatureState::Complete));
    // Features that are computed are known by what they are, and get another label.
    let computed = begin(elsewhere("external:computed"), 0..6).publish(None, true).unwrap();
    assert_eq!(computed.features().len(), 2);
    assert!(computed.features()[1].attrs.label.starts_with("embed-mine@checkpoint-7:"));
    assert!(verify(&store).problems.is_empty());
}

#[test]
fn of_two_writes_that_say_other_weights_of_a_checkpoint_the_second_is_refused() {
    let (_dir, _, store) = with_samples(3);
    let begin = |name: &str| {
        let mut job = store.start_job(plan(vec![feature(name, 4, DType::F32)])).unwrap();
        seal(&mut job, 0, 0..3);
        job
    };
    let publish = |job: Job, weight: f64| {
        let run = RunUpdate { replace_weights: false, ..warmup("checkpoint-7", 7, weight) };
        job.publish_write(Some(run), "pool", None)
    };
    // All begin before the run is there.
    let [one, other, same] = ["embed-one", "embed-other", "embed-same"].map(begin);
    let first = publish(one, 0.5).unwrap();
    assert_eq!(
        publish(other, 0.25).unwrap_err().to_string(),
        "`weight` is 0.25, but that of checkpoint \"checkpoint-7\" of run \"warmup\" is 0.5, and an upload \
         does not change it; leave `weight` out, or name another checkpoint"
    );
    assert_eq!(store.snapshot().unwrap().number(), first.number());
    assert_eq!(publish(same, 0.5).unwrap().number(), first.number() + 1);
}
