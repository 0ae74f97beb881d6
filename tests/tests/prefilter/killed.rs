//! Promise: a killed cascade continues with the same command, and selects and reports the same.

use gstore_tests::binary;
use gstore_tests::place::Place;
use serde_json::{Value, json};

fn args() -> Vec<&'static str> {
    let line = "select --pool pool --target q -o out.jsonl --top 50% --recall 80% --labels 60 --rounds 1";
    line.split(' ').chain(["--report", "r.json", "--cascade", "loss -> 1 checkpoint -> all"]).collect()
}

/// A pool without any features, and a target.
fn prepared() -> Place {
    let place = Place::of(&[("pool", 300), ("q", 4)]);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    place
}

/// How many rows of the pool have a feature.
fn rows(place: &Place, label: &str) -> u64 {
    let snapshot = place.snapshot();
    let Ok(part) = snapshot.feature(&format!("pool/{label}")) else { return 0 };
    snapshot.open_feature(part).expect("opens").row_set().expect("readable").len()
}

const LABELS: [&str; 3] = ["loss@base", "grad-adam@checkpoint-26", "grad-adam@checkpoint-104"];

/// Starts the cascade and kills it once a feature has more than so many rows; whether it
/// was killed before its end.
fn is_killed(place: &Place, label: &str, most: u64) -> bool {
    binary::killed_once(&mut place.gstore(&args()), || rows(place, label) > most)
}

/// What is decided: everything of a report but what a run computed, and how long it took.
fn decided(place: &Place) -> Value {
    let mut report = place.read_json("r.json");
    let told = report["report"].as_object_mut().expect("a report");
    told.retain(|key, _| !["time", "seconds"].contains(&key.as_str()));
    for stage in told["stages"].as_array_mut().expect("stages") {
        (stage["computed"], stage["seconds"]) = (json!(null), json!(null));
    }
    let last = told.get_mut("last").expect("the last stage");
    (last["computed"], last["seconds"]) = (json!(null), json!(null));
    report
}

#[test]
fn a_cascade_goes_on_after_a_kill_and_selects_the_same() {
    let whole = prepared();
    whole.ok(&args());
    let place = prepared();
    // While the sample is computed, while others get the gradients of one checkpoint, and while
    // those that are left get all.
    let kills = [(LABELS[0], 0), (LABELS[2], 0), (LABELS[1], 60), (LABELS[2], 60)];
    let killed = kills.iter().filter(|(label, most)| is_killed(&place, label, *most)).count();
    assert!(killed >= 3, "{killed} of 4: the cascade was done before");
    assert!(!place.path("out.jsonl").exists() && !place.path("r.json").exists());
    place.ok(&args());
    assert_eq!(decided(&place), decided(&whole));
    let bytes = |place: &Place| fs_err::read(place.path("out.jsonl")).expect("written");
    assert_eq!(bytes(&place), bytes(&whole));
    for label in LABELS {
        assert_eq!(
            rows(&place, label),
            rows(&whole, label),
            "{label}: nothing is computed that is not asked for"
        );
    }
    place.ok(&["verify"]);
}
