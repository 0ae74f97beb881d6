//! Promise: retraining continues run by run, with the same bits in whatever order runs are done.

use gstore_tests::binary;
use gstore_tests::place::Place;
use serde_json::Value;

use crate::retrained::{DRAW, retrain};

#[test]
fn models_are_retrained_run_by_run_to_the_same_bits() {
    let place = Place::of(&[("pool", 12), ("queries", 3)]);
    binary::ok(&mut retrain(&place, "one", &DRAW));
    binary::ok(&mut retrain(&place, "jobs", &[&DRAW[..], &["--draw-only"]].concat()));
    assert!(!place.path("jobs/recipe.json").exists());
    for runs in ["2..3", "0..2"] {
        binary::ok(&mut retrain(&place, "jobs", &["--runs", runs, "--threads", "1"]));
    }
    for file in ["subsets.jsonl", "recipe.json", "outputs/00000.parquet", "outputs/00002.parquet"] {
        let bytes = |truth: &str| fs_err::read(place.path(truth).join(file)).expect("written");
        assert_eq!(bytes("one"), bytes("jobs"), "{file}");
    }
    assert!(!place.path("one/models/00000").exists());
    // What a kill between the record of a run and the removal of its model has left.
    fs_err::create_dir_all(place.path("one/models/00001.done/checkpoint-2")).expect("made");
    let again = binary::run(&mut retrain(&place, "one", &[]));
    assert!(!place.path("one/models/00001.done").exists());
    again.says(0, &["3 of 3 runs done, 0 to do"]);
    let report = place.json(&["evaluate", "lds", "--truth", "one", "--random", "--format", "json"]);
    assert_eq!((&report["kind"], &report["rows"]), (&"lds".into(), &3.into()));

    // The store's own scores, by a statement.
    place.add("pool");
    let statement = "long=SELECT id, row * 1.5 AS score FROM pool";
    let report = place.json(&["evaluate", "lds", "--truth", "one", "--sql", statement, "--format", "json"]);
    assert_eq!(report["systems"][0]["name"], "long");

    let other = binary::run(&mut retrain(&place, "one", &[&DRAW[..], &["--subset-seed", "1"]].concat()));
    other.says(1, &["other subsets", "rows: --subset-seed 1, was 0\n"]);
    let queries = ["--data", "pool.jsonl", "--query-data", "pool.jsonl", "--count", "3"];
    let leave_out = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--design", "leave-one-out"];
    for (asked, words) in [
        ([&DRAW[..], &["--repeats", "2"]].concat(), "rows: --repeats 2, was 1\n"),
        (queries.to_vec(), "rows: its queries differ from those given\n"),
        (leave_out.to_vec(), "rows: --design leave-one-out, was random; no --count, was 3\n"),
    ] {
        binary::run(&mut retrain(&place, "one", &asked)).says(1, &[words]);
    }
    fs_err::remove_file(place.path("one/outputs/00001.parquet")).expect("removed");
    binary::run(&mut retrain(&place, "one", &["--seed", "7"])).says(1, &["--seed 7, was 42"]);
    for (more, words) in [
        (&["--runs", "3..4"][..], "there are only 3 runs"),
        (&["--runs", "4"][..], "A..B"),
        (&["--data", "pool.jsonl"][..], "--query-data"),
        (
            &["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--fraction", "0.001"][..],
            "a share of 0.001 of 12 rows is 1 row",
        ),
    ] {
        binary::run(&mut retrain(&place, "one", more)).says(2, &[words]);
    }
}

#[test]
fn losses_of_queries_are_computed_in_f32_whatever_models_are_trained_in() {
    let place = Place::of(&[("pool", 12), ("queries", 3)]);
    place.add("pool");
    let more = ["--compute", "bf16", "--keep-models", "--runs", "0..1"];
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &more].concat()));
    let losses = |file: &str, id: &str| {
        let statement = format!("SELECT {id} AS id, loss FROM t ORDER BY id");
        place.ok(&["query", "--with", &format!("t={file}"), "--format", "json", &statement])
    };
    let kept = losses("one/outputs/00000.parquet", "query");
    for (compute, is_kept) in [("f32", true), ("bf16", false)] {
        let file = format!("{compute}.parquet");
        let mut ask = place.with_model("generate --perplexity --data queries.jsonl --max-length 64");
        ask.args(["--adapter", "one/models/00000/checkpoint-2", "--compute", compute, "-o", &file]);
        binary::ok(&mut ask);
        assert_eq!(losses(&file, "id") == kept, is_kept, "{compute}: {kept}");
    }
    // As of a version that computed them as the models are trained: two precisions are not mixed.
    let path = place.path("one/recipe.json");
    let mut recipe: Value =
        serde_json::from_str(&fs_err::read_to_string(&path).expect("read")).expect("JSON");
    let noted = recipe.as_object_mut().expect("an object").remove("precision of losses");
    assert_eq!(noted, Some("f32".into()));
    fs_err::write(&path, recipe.to_string()).expect("written");
    let refused = binary::run(&mut retrain(&place, "one", &["--compute", "bf16", "--runs", "1..2"]));
    refused.says(1, &["its precision of losses is \"bf16\", not \"f32\""]);
}

#[test]
fn a_model_whose_losses_could_not_be_written_is_not_trained_again() {
    let place = Place::of(&[("pool", 6), ("queries", 2)]);
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
    // Nothing can be written to the folder of the outputs, which is none.
    fs_err::remove_dir(place.path("one/outputs")).expect("removed");
    place.write("one/outputs", "");
    binary::run(&mut retrain(&place, "one", &["--runs", "0..1"])).says(1, &[]);
    let adapter = |model: &str| {
        let path = place.path("one/models").join(model).join("checkpoint-2/adapter_model.safetensors");
        fs_err::metadata(path).and_then(|file| file.modified()).expect("a model")
    };
    let trained = adapter("00000.done");
    fs_err::remove_file(place.path("one/outputs")).expect("removed");
    fs_err::create_dir(place.path("one/outputs")).expect("made");
    binary::ok(&mut retrain(&place, "one", &["--runs", "0..1", "--keep-models"]));
    assert_eq!(adapter("00000"), trained);
    assert!(
        place.path("one/outputs/00000.parquet").exists() && !place.path("one/models/00000.done").exists()
    );
}

#[test]
fn rows_and_groups_are_left_out_and_the_best_are_removed() {
    let place = Place::of(&[("pool", 6), ("queries", 2)]);
    let data = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--design"];
    let groups = ["leave-group-out", "--group", "source"];
    binary::ok(&mut retrain(&place, "groups", &[&data[..], &groups].concat()));
    let report = place.json(&["evaluate", "loo", "--truth", "groups", "--random", "--format", "json"]);
    assert_eq!(report["measures"][0]["metric"], "leave_out_spearman");
    place.write("best.csv", "id,score\ns0,6\ns1,5\ns2,4\ns3,3\ns4,2\ns5,1\n");
    let removal = ["removal", "--scores", "best.csv", "--shares", "0.2", "--draws", "1", "--count", "1"];
    binary::ok(&mut retrain(&place, "removed", &[&data[..], &removal].concat()));
    let report = place.json(&["evaluate", "brittleness", "--truth", "removed", "--format", "json"]);
    assert_eq!((&report["systems"][1]["name"], &report["rows"]), (&"best".into(), &1.into()));
    let said = place.read("removed/subsets.jsonl");
    assert!(said.contains(r#""method":"best","query":"s0","share":0.2,"without":["s0"]"#), "{said}");
    // What is of another design is said first, whether its models are there or not.
    binary::ok(&mut retrain(&place, "rows", &[&data[..], &["leave-one-out", "--draw-only"]].concat()));
    for (what, truth, words) in [
        ("brittleness", "rows", "rows is of the design leave-one-out, and models of the design removal are"),
        (
            "brittleness",
            "groups",
            "groups is of the design leave-group-out, and models of the design removal",
        ),
        ("lds", "rows", "rows is of the design leave-one-out, and models of the design random are needed"),
        ("loo", "removed", "removed is of the design removal, and models of the design leave-one-out or"),
    ] {
        let args = ["evaluate", what, "--truth", truth, "--random"];
        let told = place.run(if what == "brittleness" { &args[..4] } else { &args });
        told.says(1, &[words]).lacks(&["tables", "--runs"]);
    }
}

#[test]
fn models_are_retrained_with_all_their_weights() {
    let place = Place::of(&[("pool", 8), ("queries", 2)]);
    let full = |truth: &str, more: &[&str]| {
        let line =
            format!("evaluate retrain --truth {truth} --max-length 64 --full --max-steps 2 --batch-size 4");
        binary::ok(place.with_model(&line).args(["--learning-rate", "0.001"]).args(more))
    };
    let draw = [&DRAW[..4], &["--count", "2", "--repeats", "2"]].concat();
    full("whole", &[&draw[..], &["--keep-models"]].concat());
    full("parts", &[&draw[..], &["--draw-only"]].concat());
    for runs in ["3..4", "0..3"] {
        full("parts", &["--runs", runs]);
    }
    let bytes = |truth: &str, file: &str| fs_err::read(place.path(truth).join(file)).expect("written");
    let outputs: Vec<String> = (0..4).map(|run| format!("outputs/{run:05}.parquet")).collect();
    for file in ["recipe.json", "subsets.jsonl"].into_iter().chain(outputs.iter().map(String::as_str)) {
        assert_eq!(bytes("whole", file), bytes("parts", file), "{file}");
    }
    // The models are whole ones, each other weights, whose losses of the queries are those that were kept.
    let weights = |run: usize| bytes("whole", &format!("models/{run:05}/checkpoint-2/model.safetensors"));
    assert!(!place.path("whole/models/00000/checkpoint-2/adapter_model.safetensors").exists());
    assert!(weights(0) != weights(1) && weights(0) != weights(2));
    let report = place.json(&["evaluate", "lds", "--truth", "whole", "--random", "--format", "json"]);
    assert_eq!((&report["kind"], &report["rows"]), (&"lds".into(), &2.into()));
}
