//! Promise: the description of a run's checkpoints does not change, and one checkpoint counts once.

use gstore_ingest::pipeline::{IngestError, Kind};
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::{RunCheckpoint, Store};
use gstore_tests::world;
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::create(dir.path().join("store")).expect("created");
    for name in ["pool", "target"] {
        let data = dir.path().join(format!("{name}.jsonl"));
        world::write_samples(&data, 6);
        world::register(&store, name, &data).expect("registered");
    }
    (dir, store)
}

fn checkpoints(store: &Store) -> Vec<RunCheckpoint> {
    store.snapshot().expect("readable").run("warmup").expect("the run").checkpoints.clone()
}

fn weights(store: &Store) -> Vec<Option<f64>> {
    checkpoints(store).iter().map(|c| c.weight).collect()
}

#[test]
fn weights_given_once_stay_until_others_are_given() {
    let (_dir, store) = store();
    let mut request = world::request("pool", &[Kind::Loss]);
    request.weights = vec![3.0, 1.0];
    world::run(&store, request.clone()).expect("ingested");
    assert_eq!(weights(&store), [Some(3.0), Some(1.0)]);
    world::run(&store, world::request("target", &[Kind::Loss])).expect("ingested");
    assert_eq!(weights(&store), [Some(3.0), Some(1.0)], "the trainer's state does not replace what was said");
    request.weights = vec![1.0, 2.0];
    world::run(&store, request).expect("nothing to compute, and still something to publish");
    assert_eq!(weights(&store), [Some(1.0), Some(2.0)]);
}

#[test]
fn a_checkpoint_has_one_name_in_a_run_and_a_name_one_checkpoint() {
    let (_dir, store) = store();
    world::run(&store, world::request("pool", &[Kind::Loss])).expect("ingested");
    let before = store.snapshot().expect("readable").number();
    let mut renamed = world::request("target", &[Kind::Loss]);
    renamed.checkpoints[0].name = "first".to_owned();
    assert!(matches!(world::run(&store, renamed), Err(IngestError::RunConflict { same_name: false, .. })));
    let mut swapped = world::request("target", &[Kind::Loss]);
    swapped.checkpoints[0].weights = world::demo_checkpoints().pop().expect("a checkpoint").weights;
    swapped.checkpoints.truncate(1);
    assert!(matches!(world::run(&store, swapped), Err(IngestError::RunConflict { same_name: true, .. })));
    assert_eq!(store.snapshot().expect("readable").number(), before);
    assert_eq!(checkpoints(&store).len(), 2);
}

#[test]
fn another_projection_gets_a_label_of_its_own() {
    let (_dir, store) = store();
    world::run(&store, world::request("pool", &[Kind::GradSgd])).expect("ingested");
    let mut other = world::request("pool", &[Kind::GradSgd]);
    other.projection = ProjectionSpec { dim: 64, ..ProjectionSpec::default() }.into();
    world::run(&store, other.clone()).expect("ingested");
    let names: Vec<String> = other.checkpoints.iter().map(|c| c.name.clone()).collect();
    other.limit = Some(3);
    world::run(&store, other).expect("nothing to do");
    let snapshot = store.snapshot().expect("readable");
    let labels: Vec<&str> = snapshot.features().iter().map(|f| f.attrs.label.as_str()).collect();
    let [a, b] = [&names[0], &names[1]].map(|name| format!("grad-sgd@{name}"));
    assert_eq!(labels, [&a, &b, &format!("{a}:sjlt_64"), &format!("{b}:sjlt_64")]);
}
