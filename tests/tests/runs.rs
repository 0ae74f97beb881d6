//! Promise: the description of a run's checkpoints does not change, a checkpoint counts once, and later
//! computations of a run use the tokens of earlier ones.

use std::collections::BTreeSet;

use gstore_ingest::pipeline::{
    AddRequest, CheckpointArg, IngestError, IngestPlan, IngestRequest, Kind, Silent, add_until, ingest,
};
use gstore_ingest::projection::ProjectionSpec;
use gstore_model::weights::BaseDigests;
use gstore_store::{Cancel, RunCheckpoint, Store};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
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
fn weights_are_read_once_for_registering_and_planning() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, model) = (dir.path().join("pool.jsonl"), dir.path().join("model"));
    world::write_samples(&data, 5);
    world::copy_files(&world::demo().join("model"), &model);
    let store = Store::create(dir.path().join("store")).expect("created");
    let request = IngestRequest {
        checkpoints: vec![CheckpointArg::base()],
        model: model.clone(),
        ..world::request("pool", &[Kind::Loss])
    };
    let mut bases = BaseDigests::default();
    let (samples, then) = (AddRequest::new("pool", [data]), Some((&request, &mut bases)));
    add_until(&store, &samples, then, &mut Silent, &Cancel::new()).expect("registered");
    // The plan does not see what is changed now; computing does.
    world::flip(&model.join("model.safetensors"), 1);
    let plan =
        IngestPlan::with_base_digests(&store, request.clone(), &mut bases, &mut Silent).expect("planned");
    let anew = IngestPlan::new(&store, request, &mut Silent).expect("planned");
    assert_ne!(plan.checkpoints[0].id, anew.checkpoints[0].id);
    let refused = ingest(&store, &plan, &mut Silent, &Cancel::new());
    assert!(matches!(refused, Err(IngestError::WeightsChanged { .. })));
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
    let mut unnamed = world::request("target", &[Kind::Loss]);
    unnamed.run = "bad name/x".to_owned();
    let refused = world::run(&store, unnamed).expect_err("refused").to_string();
    assert!(refused.contains("\"bad name/x\" cannot name a run"), "{refused}");
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

#[test]
fn a_label_that_another_ingest_takes_meanwhile_is_not_given_twice() {
    let (_dir, store) = store();
    let mut other = world::request("pool", &[Kind::GradSgd]);
    other.projection = ProjectionSpec { dim: 64, ..ProjectionSpec::default() }.into();
    let names: Vec<String> = other.checkpoints.iter().map(|c| c.name.clone()).collect();
    // Both are planned before one is published.
    let plans = [world::request("pool", &[Kind::GradSgd]), other]
        .map(|request| IngestPlan::new(&store, request, &mut Silent).expect("planned"));
    for plan in &plans {
        ingest(&store, plan, &mut Silent, &Cancel::new()).expect("ingested");
    }
    let snapshot = store.snapshot().expect("readable");
    let labels: Vec<&str> = snapshot.features().iter().map(|f| f.attrs.label.as_str()).collect();
    let [a, b] = [&names[0], &names[1]].map(|name| format!("grad-sgd@{name}"));
    assert_eq!(labels, [&a, &b, &format!("{a}:sjlt_64"), &format!("{b}:sjlt_64")]);
}

#[test]
fn an_ingest_of_a_run_takes_over_its_tokenizer() {
    let place = Place::new();
    let model = world::demo().join("model");
    world::other_tokenizer(&place.path("tokenizer"));
    let model = model.to_str().expect("a path");
    let ingest = |dataset: &str, more: &[&str]| {
        place.samples(dataset, 6);
        let data = format!("{dataset}.jsonl");
        let args = ["ingest", "--dataset", dataset, "--data", &data, "--run", "base", "--features", "loss"];
        place.run(&[&args[..], more].concat())
    };
    let done = |finished: binary::Finished| {
        finished.says(0, &[]);
        finished.stderr
    };
    let encodings = || {
        let snapshot = place.snapshot();
        let all: BTreeSet<String> = snapshot.features().iter().map(|f| f.desc.encoding.clone()).collect();
        all.len()
    };
    done(ingest("pool", &["--model", model, "--tokenizer", "tokenizer"]));
    let told = done(ingest("target", &[]));
    let folder = place.path("tokenizer").display().to_string();
    assert!(
        told.contains("note: the tokenizer is the one that run base was registered with")
            && told.contains(&folder),
        "{told}"
    );
    assert_eq!(encodings(), 1);
    let answer = ["generate", "--run", "base", "--prompt", "A", "--max-new-tokens", "1"];
    let told = done(place.run(&answer));
    assert!(told.contains(&folder), "{told}");

    fs_err::rename(place.path("tokenizer"), place.path("elsewhere")).expect("renamed");
    ingest("third", &[]).says(2, &[&format!("--tokenizer {folder}")]);
    assert_eq!(place.run(&answer).code, 2);
    let own = done(ingest("third", &["--tokenizer", model]));
    assert!(!own.contains("note: the tokenizer"), "{own}");
    assert_eq!(encodings(), 2);
}

#[test]
fn a_run_is_used_with_the_weights_that_it_was_registered_with() {
    let place = Place::of(&[("pool", 6)]);
    place.write("questions.jsonl", world::QUESTION);
    let train = |output: &str, seed: &str| {
        let line =
            format!("train --data pool.jsonl --output {output} --seed {seed} --max-length 64 --max-steps 2");
        binary::ok(&mut place.with_model(&line));
    };
    train("tuned", "1");
    train("other", "2");
    place.run(&["ingest", "--dataset", "pool", "--features", "loss"]).says(2, &["--run tuned"]);
    let commands = [
        &["generate", "--run", "tuned", "--prompt", "A", "--max-new-tokens", "1"][..],
        &["generate", "--run", "tuned", "--text", "A text", "--perplexity"],
        &["evaluate", "tasks", "--run", "tuned", "--data", "questions.jsonl", "--resamples", "100"],
        &["ingest", "--run", "tuned", "--dataset", "pool", "--data", "pool.jsonl", "--features", "loss"],
    ];
    let refuse = |says: [&str; 2]| {
        for command in commands {
            place.run(command).says(1, &says);
        }
        // The samples of the refused ingest among them.
        let snapshot = place.snapshot();
        assert!(snapshot.datasets().is_empty());
    };
    // The lowest bit of the last value.
    world::flip(&place.path("tuned/checkpoint-2/adapter_model.safetensors"), 4);
    refuse(["adapter_model.safetensors is damaged", "remove gstore_state.json"]);
    // Another checkpoint, whole, in its place.
    let take = |from: &str| {
        for name in ["adapter_model.safetensors", "gstore_state.json"] {
            let [from, to] = [from, "tuned"].map(|run| place.path(run).join("checkpoint-2").join(name));
            fs_err::copy(from, to).expect("copied");
        }
    };
    take("other");
    refuse(["other weights under the name `checkpoint-2`", "put those back"]);
    train("again", "1");
    take("again");
    for command in commands {
        place.ok(command);
    }
}
