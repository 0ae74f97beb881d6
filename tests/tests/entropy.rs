//! Promise: the entropy of a model's predictions is a feature like their loss: computed in the same pass,
//! stored with it, and read as a column and by prefilters.

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::json;

/// Computes features of the base model, of samples that the first call adds.
fn ingest(place: &Place, dataset: &str, features: &str, more: &[&str]) {
    let data = place.path(&format!("{dataset}.jsonl"));
    let mut command = place.with_model(&format!("ingest --dataset {dataset} --features {features}"));
    command.args(more);
    if !data.exists() {
        world::write_samples(&data, if dataset == "pool" { 60 } else { 4 });
        command.arg("--data").arg(data);
    }
    binary::ok(&mut command);
}

fn numbers(place: &Place, sql: &str) -> Vec<f64> {
    let text = place.csv(sql);
    text.lines().skip(1).map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn entropies_are_those_of_the_predictions() {
    let place = Place::new();
    ingest(&place, "pool", "loss,entropy", &[]);
    // Summed by other code in full precision, from the logits themselves.
    binary::ok(&mut place.with_model("generate --dataset pool --perplexity -o all.csv"));
    let table = place.read("all.csv");
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().expect("a header");
    let rows: Vec<Vec<&str>> = lines.collect();
    assert_eq!(rows.len(), 60);
    for column in ["loss", "entropy"] {
        let place_of = names.iter().position(|name| *name == column).expect("a column");
        let stored = numbers(&place, &format!("SELECT {column} FROM pool ORDER BY row"));
        for (stored, row) in stored.iter().zip(&rows) {
            let expected: f64 = row[place_of].parse().expect("a number");
            assert!((stored - expected).abs() < 1e-3 * (1.0 + expected), "{column}: {stored}, {row:?}");
        }
    }
    // Of each token its share, so that they sum to that of the sample.
    ingest(&place, "pool", "entropy", &["--per-token"]);
    let sums = "SELECT sum(vector[1]) FROM vectors('pool', 'entropy@base:token') GROUP BY row ORDER BY row";
    let whole = numbers(&place, "SELECT entropy FROM pool ORDER BY row");
    for (sum, whole) in numbers(&place, sums).iter().zip(&whole) {
        assert!((sum - whole).abs() < 1e-4, "{sum} and {whole}");
    }
    // A picture shows each token's own.
    let drawn = ["plot", "tokens", "--dataset", "pool", "--id", "s3", "--feature", "entropy@base:token"];
    place.ok(&[&drawn[..], &["-o", "tokens.svg"]].concat());
    let own = "SELECT max(vector[1]) * count(*) FROM vectors('pool', 'entropy@base:token') WHERE row = 3";
    let largest = numbers(&place, own)[0];
    let svg = place.read("tokens.svg");
    let shown = svg.split("The largest is ").nth(1).and_then(|rest| rest.split(' ').next()).expect("told");
    let shown: f64 = shown.parse().expect("a number");
    assert!((shown - largest).abs() <= 0.02 * largest, "{shown} of {largest}");
    let refused = place
        .run(&["select", "--pool", "pool", "--target", "pool", "--kind", "entropy", "--top", "5", "-o", "-"]);
    refused.fails(&["single number"]);
}

#[test]
fn a_prefilter_reads_entropies() {
    let place = Place::new();
    ingest(&place, "pool", "loss,entropy", &[]);
    ingest(&place, "pool", "grad-sgd", &["--module-dim", "16", "--limit", "20"]);
    ingest(&place, "q", "grad-sgd", &["--module-dim", "16"]);
    let args = ["prefilter", "fit", "cheap", "--pool", "pool", "--target", "q", "--budget", "30%", "--json"];
    // So small a pool may save nothing; what was learned from is told all the same.
    let fitted = place.run(&[&args[..], &["--inputs", "tokens,loss,entropy", "--resamples", "100"]].concat());
    let report = fitted.json();
    assert_eq!(report["report"]["features"], json!(["tokens", "loss", "entropy"]));
    assert_eq!(report["report"]["cost"]["feature"], 1.0, "one pass for both: {report:#}");
}

#[test]
fn labels_of_embeddings_cost_what_embeddings_do() {
    let place = Place::new();
    ingest(&place, "pool", "loss", &[]);
    ingest(&place, "pool", "embed-mean", &["--limit", "15"]);
    ingest(&place, "q", "embed-mean", &[]);
    let args = ["prefilter", "fit", "cheap", "--pool", "pool", "--target", "q", "--kind", "embed-mean"];
    // Embeddings take passes of their own, unless they are themselves what is looked at.
    for (inputs, shared) in [("tokens,loss", 0.0), ("tokens,embed-mean", 1.0)] {
        let more = ["--inputs", inputs, "--budget", "30%", "--resamples", "100", "--json"];
        let report = place.run(&[&args[..], &more].concat()).says(4, &[]).json();
        for (part, passes) in [("feature", 1.0), ("gradient", 1.0), ("shared", shared)] {
            assert_eq!(report["report"]["cost"][part], passes, "{inputs}, {part}: {report:#}");
        }
        assert!(report["saving"].as_f64().expect("a number") < 0.0, "{report:#}");
    }
}
