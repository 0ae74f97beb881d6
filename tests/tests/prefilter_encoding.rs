//! Promise: a prefilter reads exactly the features that it has learned from, whatever similar ones exist
//! since.

use std::fmt::Write as _;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::{Value, json};

/// Computes features of the base model.
fn ingest(place: &Place, dataset: &str, features: &str, more: &[&str]) {
    let line = format!("ingest --dataset {dataset} --features {features}");
    binary::ok(place.with_model(&line).args(more));
}

/// A dataset with a column that numbers its rows.
fn add(place: &Place, dataset: &str) {
    let file = place.path(&format!("{dataset}.jsonl"));
    world::write_samples(&file, 60);
    let mut text = String::new();
    for (number, line) in fs_err::read_to_string(&file).expect("written").lines().enumerate() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        line["n"] = json!(number);
        writeln!(text, "{line}").expect("written");
    }
    fs_err::write(&file, text).expect("written");
    place.add(dataset);
}

#[test]
fn what_comes_later_changes_nothing_and_another_encoding_is_refused() {
    let place = Place::new();
    for dataset in ["pool", "q", "other", "short"] {
        add(&place, dataset);
    }
    ingest(&place, "pool", "loss", &[]);
    ingest(&place, "pool", "grad-sgd", &["--module-dim", "16", "--limit", "14"]);
    ingest(&place, "q", "grad-sgd", &["--module-dim", "16"]);
    let fit = ["prefilter", "fit"];
    let more = ["--pool", "pool", "--target", "q", "--budget", "30%", "--resamples", "100", "--inputs"];
    let prefilters = [("losses", "loss,n"), ("counts", "tokens,n"), ("both", "tokens,loss,n")];
    for (name, inputs) in prefilters {
        place.ok(&[&fit[..], &[name], &more, &[inputs]].concat());
    }
    let said = |name: &str, dataset: &str| {
        let args = ["prefilter", "apply", name, "--pool", dataset, "-o", "-"];
        place.run(&args)
    };
    let before = prefilters.map(|(name, _)| said(name, "pool").stdout);
    assert!(before.iter().all(|lines| !lines.is_empty()));

    // Losses at two checkpoints, and those of another encoding with its counts.
    let checkpoints = world::demo().join("warmup/checkpoint-*").display().to_string();
    ingest(&place, "pool", "loss", &["--checkpoints", &checkpoints]);
    ingest(&place, "pool", "loss", &["--max-length", "32"]);
    let after = prefilters.map(|(name, _)| said(name, "pool"));
    for ((was, is), (name, _)) in before.iter().zip(&after).zip(prefilters) {
        assert!(is.code == 0 && is.stdout == *was, "{name}: {}", is.stderr);
        let count = place.value(&format!("SELECT count(*) FROM predicted('pool', '{name}') WHERE kept"));
        assert_eq!(count, was.lines().count().to_string(), "{name}");
    }

    // Of several losses one is named, and its perplexity likewise.
    let refused = place.run(&[&fit[..], &["p"], &more, &["perplexity,n"]].concat());
    refused.says(
        1,
        &["feature `perplexity`: feature `loss`: dataset `pool` has several: ", "`perplexity@base`"],
    );
    place.ok(&[&fit[..], &["p"], &more, &["loss@base,perplexity@base,n"]].concat());

    // Other datasets: of the same encoding, and of another one alone.
    ingest(&place, "other", "loss", &[]);
    ingest(&place, "short", "loss", &["--max-length", "32"]);
    for (name, _) in prefilters {
        said(name, "other").says(0, &[]);
        let words = ["of another encoding (tokenizer ", "at most 32 tokens) than what was learned from ("];
        said(name, "short").fails(&words);
        let asked = format!("SELECT count(*) FROM predicted('short', '{name}')");
        place.run(&["query", &asked]).fails(&["at most 32 tokens"]);
    }
}
