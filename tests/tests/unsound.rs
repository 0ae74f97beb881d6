//! Promise: a model with weights that are not finite is refused, and nothing of it is stored as a number.

use std::path::{Path, PathBuf};

use gstore_tests::place::Place;
use gstore_tests::{binary, world};

fn place() -> Place {
    Place::of(&[("pool", 12)])
}

/// A copy of the demo's model, which is in half precision, with a tensor of which each value is no number.
fn unsound(place: &Place, name: &str, tensor: &str) -> PathBuf {
    let folder = place.path(name);
    world::copy_files(&world::demo().join("model"), &folder);
    let weights = folder.join("model.safetensors");
    let mut bytes = fs_err::read(&weights).expect("read");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    assert_eq!(tensors[tensor]["dtype"], "F16");
    let place =
        |end: usize| 8 + header + tensors[tensor]["data_offsets"][end].as_u64().expect("a place") as usize;
    for value in bytes[place(0)..place(1)].chunks_exact_mut(2) {
        value.copy_from_slice(&0x7e00u16.to_le_bytes());
    }
    fs_err::write(&weights, bytes).expect("written");
    folder
}

fn ingest(place: &Place, model: &Path, more: &[&str]) -> binary::Finished {
    binary::run(place.gstore(&["ingest", "--dataset", "pool", "--model"]).arg(model).args(more))
}

fn train(place: &Place, model: &Path) -> binary::Finished {
    let args = ["train", "--data", "pool.jsonl", "--output", "tuned", "--max-steps", "2", "--model"];
    binary::run(place.gstore(&args).arg(model))
}

fn generate(place: &Place, model: &Path, more: &[&str]) -> binary::Finished {
    let args = ["generate", "--data", "pool.jsonl", "--threads", "1", "--model"];
    binary::run(place.gstore(&args).arg(model).args(more))
}

#[test]
fn weights_that_every_sample_reads_are_refused_before_samples_are_registered() {
    let place = place();
    let model = unsound(&place, "norm", "model.norm.weight");
    let data = ["--data", "pool.jsonl", "--features", "loss"];
    let answered = generate(&place, &model, &[]);
    let scored = generate(&place, &model, &["--perplexity"]);
    for refused in [ingest(&place, &model, &data), train(&place, &model), answered, scored] {
        refused.says(1, &["the weights are not finite: model.norm.weight has the value NaN"]);
        refused.lacks(&["learning rate"]);
    }
    assert!(!place.path("tuned").exists() && !place.path("store").exists());
}

#[test]
fn a_training_that_is_refused_with_its_first_step_leaves_nothing() {
    let place = place();
    let model = unsound(&place, "tokens", "model.embed_tokens.weight");
    for (output, store) in [("tuned", "store"), ("runs/tuned", "stores/own"), ("tuned", "empty")] {
        if store == "empty" {
            fs_err::create_dir(place.path(store)).expect("made");
        }
        let args =
            ["train", "--data", "pool.jsonl", "--output", output, "--max-steps", "2", "--store", store];
        let refused = binary::run(place.gstore(&args).arg("--model").arg(&model));
        refused.says(1, &["step 1: the loss is NaN before any weight was changed"]);
    }
    let mut left = place.names();
    left.retain(|name| place.path(name) != model && name != "pool.jsonl");
    assert_eq!(left, ["empty"]);
    assert!(fs_err::read_dir(place.path("empty")).expect("listed").next().is_none());
    // A place that no store can have is told before the first step.
    place.write("empty/notes.txt", "mine");
    let args = ["train", "--data", "pool.jsonl", "--output", "tuned", "--max-steps", "2", "--store", "empty"];
    binary::run(place.gstore(&args).arg("--model").arg(&model)).fails(&["notes.txt"]);
}

#[test]
fn copies_whose_start_gives_no_numbers_leave_nothing() {
    let place = place();
    let model = unsound(&place, "tokens", "model.embed_tokens.weight");
    let args = ["daunce", "train", "--data", "pool.jsonl", "--models", "2", "--steps", "2"];
    let more = ["--batch-size", "4", "--max-length", "64", "--output", "runs/copies", "--model"];
    let refused = binary::run(place.gstore(&args).args(more).arg(&model));
    let says = "is NaN before any weight was changed: the model gives values that are not numbers: \
                model.embed_tokens.weight of ";
    refused.fails(&[says]);
    assert!(!place.path("runs").exists() && !place.path("store").exists());
}

#[test]
fn a_loss_that_is_no_number_is_told_with_its_sample_and_not_stored() {
    let place = place();
    let model = unsound(&place, "tokens", "model.embed_tokens.weight");
    place.add("pool");
    let is_empty = || {
        let snapshot = place.snapshot();
        snapshot.features().is_empty()
    };
    for (features, what) in [
        (&["--features", "loss"][..], "the loss"),
        (&["--features", "loss", "--per-token"][..], "the loss"),
        (&["--features", "grad-sgd", "--module-dim", "16"][..], "the loss"),
        (&["--features", "entropy"][..], "the entropy"),
        (&["--features", "embed-mean"][..], "the embedding"),
    ] {
        let refused = ingest(&place, &model, features);
        let says = format!(
            "row 0 (id \"s0\") of dataset `pool`: {what} is NaN at checkpoint `base`: the model gives values that are not \
             numbers: model.embed_tokens.weight of "
        );
        refused.says(1, &[&says]);
        assert!(is_empty(), "{features:?}");
    }
    let table = format!("model.embed_tokens.weight of {} has the value NaN", model.display());
    for (more, at) in [(&[][..], "token 1 of its answer"), (&["--perplexity"][..], "token 2 of it")] {
        let refused = generate(&place, &model, more);
        let says =
            format!("sample \"s0\" (row 0), {at}: the model gives values that are not numbers: {table}");
        refused.says(1, &[&says]);
    }
    let refused = train(&place, &model);
    let says = "step 1: the loss is NaN before any weight was changed: the model gives values that are not numbers: ";
    refused.says(1, &[&format!("{says}{table}")]).lacks(&["lower learning rate"]);
}
