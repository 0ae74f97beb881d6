//! Promise: a ground truth that a store keeps says what its folders say.

use std::path::Path;

use gstore_core::{Cancel, DatasetName, RowFlags};
use gstore_data::{Content, TextSample};
use gstore_evaluate::attribution::{
    QueryLoss, Truth, TruthFolder, TruthPlan, artifacts_naming, random_subsets,
};
use gstore_store::{AppendOptions, EnsembleUpdate, LossColumns, Member, NewSample, OffsetOf, RowSet, Store};
use serde_json::{Value, json};

/// What the losses of a row are stored relative to.
const OFFSET: f32 = 1.25;

fn samples(ids: &[&str]) -> Vec<TextSample> {
    let sample = |(row, id): (usize, &&str)| TextSample {
        row: row as u64,
        id: (*id).to_owned(),
        content: Content::Text(format!("text of {id}")),
        begun: String::new(),
        metadata: Vec::new(),
    };
    ids.iter().enumerate().map(sample).collect()
}

/// A store with queries `q0` and `q1`, in another order than they are asked in.
fn store(folder: &Path) -> Store {
    let store = Store::create(folder.join("store")).expect("made");
    let name = DatasetName::try_from("queries").expect("a name");
    let mut append = store.append(&name, vec![], AppendOptions::default()).expect("begun");
    for id in ["x", "q1", "q0"] {
        append.push(NewSample { id, record: Some(b"{}".as_slice()), metadata: vec![] }).expect("taken");
    }
    append.finish().expect("added");
    store
}

/// Three subsets of a pool, each retrained twice, but for those runs that are left out.
fn folder(place: &Path, pool: &[&str], seed: u64, undone: &[usize]) -> TruthFolder {
    let (pool, queries) = (samples(pool), samples(&["q0", "q1"]));
    let subsets = random_subsets(pool.len(), 3, 0.5, seed, &Cancel::new()).expect("subsets");
    let design = json!({ "seed": seed });
    let plan = TruthPlan { pool: &pool, queries: &queries, subsets: &subsets, repeats: 2, design };
    let made = TruthFolder::create(place, &plan, &Cancel::new()).expect("made");
    let recipe = json!({ "model": "theta", "seed": 7, "learning rate": 1e-3 });
    let recipe = made.agree_on_recipe(&recipe).expect("the first");
    for run in (0..made.runs()).filter(|run| !undone.contains(run)) {
        let loss = |query: usize| 1.0 + (seed as f64 + 0.1) * (run as f64 + 0.7).sin() / (3.0 + query as f64);
        let of = |query: usize| QueryLoss { id: format!("q{query}"), loss: loss(query), tokens: 3 };
        made.record(run, &[of(0), of(1)], &recipe).expect("kept");
    }
    made
}

/// Takes in what a folder exports, as an import does: an offset for each row, and differences to it.
fn take_in(store: &Store, made: &TruthFolder, around: &Path) -> Vec<Value> {
    let files = tempfile::tempdir_in(around).expect("a folder");
    let to = ("retrained", "queries");
    let path = made.export((store, "retrain"), to, files.path(), &Cancel::new()).expect("exported");
    let manifest: Value = serde_json::from_slice(&fs_err::read(path).expect("written")).expect("JSON");
    assert_eq!((&manifest["base"], &manifest["rows"]), (&json!("theta"), &json!(["q0", "q1"])));
    assert_eq!((&manifest["orientation"], &manifest["dtype"]), (&json!("model_major"), &json!("f64")));
    let bytes = fs_err::read(files.path().join("losses.bin")).expect("written");
    let losses: Vec<f64> = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let models = manifest["models"].as_array().expect("models").clone();
    assert_eq!(losses.len(), models.len() * 2);
    let member = |model: &Value| {
        let mut member = Member::new(model["id"].as_str().expect("an id"), "theta");
        for key in ["retraining", "run"] {
            member.provenance.insert(key.to_owned(), model[key].clone());
        }
        member
    };
    let before = store.snapshot().expect("a snapshot");
    let known = before.ensemble("retrained").map_or(0, |ensemble| ensemble.members.len());
    let update = EnsembleUpdate::new("retrained", "theta", models.iter().map(member));
    let snapshot = store.update_ensemble(&update, "retrain").expect("members");
    let columns = LossColumns::new(snapshot.ensemble("retrained").expect("it"), "queries", "");
    let mut features = vec![columns.members(known..known + models.len(), 0)];
    let with_offset = known == 0;
    if with_offset {
        features.push(columns.offset(OffsetOf::Mean));
    }
    let mut job = store.start_job(LossColumns::plan("retrain", features, &Value::Null)).expect("begun");
    let mut writer = job.segment_writer(0).expect("a writer");
    // Row 1 is q1, row 2 is q0.
    for (row, query) in [(1, 1), (2, 0)] {
        let delta = |model: usize| (losses[model * 2 + query] - f64::from(OFFSET)) as f32;
        let deltas: Vec<f32> = (0..models.len()).map(delta).collect();
        writer.push(row, &deltas, RowFlags::empty()).expect("taken");
    }
    job.seal(0, writer).expect("sealed");
    if with_offset {
        let mut writer = job.segment_writer(1).expect("a writer");
        for row in [1, 2] {
            writer.push(row, &[OFFSET], RowFlags::empty()).expect("taken");
        }
        job.seal(1, writer).expect("sealed");
    }
    job.publish(None, false).expect("published");
    models
}

/// The losses are there to the precision of the differences that are stored.
fn same_outputs(stored: &[Vec<Vec<f64>>], of_folder: &[Vec<Vec<f64>>]) {
    let flat =
        |outputs: &[Vec<Vec<f64>>]| -> Vec<f64> { outputs.iter().flatten().flatten().copied().collect() };
    let runs = |outputs: &[Vec<Vec<f64>>]| -> Vec<usize> { outputs.iter().map(Vec::len).collect() };
    assert_eq!(runs(stored), runs(of_folder));
    for (stored, of_folder) in flat(stored).into_iter().zip(flat(of_folder)) {
        let most = (of_folder + f64::from(OFFSET)).abs() * f64::from(f32::EPSILON) / 2.0 + 1e-15;
        assert!((stored - of_folder).abs() <= most, "{stored} {of_folder}");
    }
}

#[test]
fn the_truth_of_a_store_is_that_of_its_folders() {
    let around = tempfile::tempdir().expect("a folder");
    let place = |name: &str| around.path().join(name);
    let (store, cancel) = (store(around.path()), Cancel::new());
    let pool = ["a", "b", "c", "d"];
    // Of the second subset one of two runs is done: it has no outputs yet.
    let one = folder(&place("one"), &pool, 1, &[3]);
    let models = take_in(&store, &one, around.path());
    assert_eq!((models.len(), &models[3]["run"], &models[3]["seed"]), (5, &json!(4), &json!(7)));
    assert_eq!((&models[1]["seed"], &models[1]["subset_size"]), (&json!(8), &json!(2)));
    let of_folder = one.read(&cancel).expect("read");
    let of_store = || Truth::of_ensemble(&store.snapshot().expect("a snapshot"), "retrained", &cancel);
    let stored = of_store().expect("read");
    assert_eq!((&stored.pool, &stored.queries), (&of_folder.pool, &of_folder.queries));
    assert_eq!((&stored.subsets, stored.signal), (&of_folder.subsets, of_folder.signal));
    assert_eq!(stored.done(|_| true), [0, 2]);
    same_outputs(&stored.outputs, &of_folder.outputs);

    let two = folder(&place("two"), &pool, 2, &[]);
    take_in(&store, &two, around.path());
    let (both, second) = (of_store().expect("read"), two.read(&cancel).expect("read"));
    assert_eq!(both.subsets, [of_folder.subsets, second.subsets].concat());
    same_outputs(&both.outputs, &[of_folder.outputs, second.outputs].concat());
    assert_eq!(both.done(|_| true), [0, 2, 3, 4, 5]);

    let snapshot = store.snapshot().expect("a snapshot");
    // Rows 0 to 2 are x, q1 and q0: both artifacts have the last two as queries.
    let naming = |rows: std::ops::Range<u64>| -> Vec<u64> {
        let dataset = snapshot.dataset("queries").expect("it");
        let found = artifacts_naming(&snapshot, dataset, &RowSet::from_range(rows), &cancel).expect("read");
        found.into_iter().map(|(_, ids)| ids).collect()
    };
    assert_eq!([naming(0..3), naming(1..2), naming(0..1)], [vec![2, 2], vec![1, 1], vec![]]);
    let refused = |made: &TruthFolder, dataset: &str, words: &str| {
        let error = made.check_ensemble(&snapshot, ("retrained", dataset), &cancel).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    two.check_ensemble(&snapshot, ("retrained", "queries"), &Cancel::new())
        .expect("the same but for its subsets");
    two.check_ensemble(&snapshot, ("another", "queries"), &cancel).expect("there is none of this name");
    refused(&two, "x", "queries are of dataset \"x\"");
    refused(&folder(&place("none"), &["v", "w", "y", "z"], 1, &[]), "queries", "share no row with its pool");
    refused(&folder(&place("some"), &["a", "b", "y", "z"], 1, &[]), "queries", "the ids of 2 of 4 rows");
    let recipe = json!({ "model": "theta", "seed": 7, "learning rate": 2e-3 });
    fs_err::write(place("one/recipe.json"), recipe.to_string()).expect("written");
    refused(&one, "queries", "trained otherwise: learning_rate=0.002, was 0.001");
}

#[test]
fn subsets_that_were_dropped_are_taken_in_again() {
    let around = tempfile::tempdir().expect("a folder");
    let place = |name: &str| around.path().join(name);
    let store = store(around.path());
    let pool = ["a", "b", "c", "d"];
    let one = folder(&place("one"), &pool, 1, &[]);
    take_in(&store, &one, around.path());
    let before = store.snapshot().expect("a snapshot");
    let names = before.artifacts().expect("read");
    assert_eq!(names.len(), 1);
    store.drop_artifact(&before, &names[0], "drop").expect("dropped");
    let snapshot = store.snapshot().expect("a snapshot");
    let other = folder(&place("other"), &pool, 2, &[]);
    let refused = [
        Truth::of_ensemble(&snapshot, "retrained", &Cancel::new()).map(|_| ()),
        other.check_ensemble(&snapshot, ("retrained", "queries"), &Cancel::new()),
    ];
    for error in refused.map(Result::unwrap_err).map(|error| error.to_string()) {
        assert!(error.contains(&names[0]) && error.contains("a drop of ensemble retrained"), "{error}");
    }
    one.check_ensemble(&snapshot, ("retrained", "queries"), &Cancel::new())
        .expect("its own is published again");
    let files = tempfile::tempdir_in(around.path()).expect("a folder");
    let to = ("retrained", "queries");
    one.export((&store, "retrain"), to, files.path(), &Cancel::new()).expect("exported");
    let snapshot = store.snapshot().expect("a snapshot");
    let stored = Truth::of_ensemble(&snapshot, "retrained", &Cancel::new()).expect("read");
    same_outputs(&stored.outputs, &one.read(&Cancel::new()).expect("read").outputs);
}

#[test]
fn queries_are_looked_for_in_their_dataset() {
    let around = tempfile::tempdir().expect("a folder");
    let made = folder(&around.path().join("one"), &["a", "b", "c", "d"], 1, &[]);
    made.check_queries("queries", &samples(&["x", "q1", "q0"])).expect("all of them");
    let error = made.check_queries("queries", &samples(&["q0"])).unwrap_err().to_string();
    assert!(error.contains("query \"q1\"") && error.contains("is not there"), "{error}");
    let mut other = samples(&["q0", "q1"]);
    other[0].content = Content::Text("another text".to_owned());
    let error = made.check_queries("queries", &other).unwrap_err().to_string();
    assert!(error.contains("query \"q0\"") && error.contains("another text"), "{error}");
}
