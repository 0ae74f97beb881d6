//! Promise: a ground truth is created, or replaces another one, once a training of its models could begin; a
//! refusal leaves everything as it was.

use gstore_tests::place::Place;
use gstore_tests::{binary, world};

fn place() -> Place {
    let place = Place::of(&[("pool", 12), ("queries", 3)]);
    // An adapter of another program, of which the last value is no number.
    let (from, to) = (world::demo_checkpoints().remove(0), place.path("adapter"));
    fs_err::create_dir(&to).expect("made");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let folder = from.folder().expect("an adapter");
        fs_err::copy(folder.join(name), to.join(name)).expect("copied");
    }
    let weights = to.join("adapter_model.safetensors");
    let mut bytes = fs_err::read(&weights).expect("read");
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs_err::write(&weights, bytes).expect("written");
    place
}

fn retrain(place: &Place, more: &[&str]) -> binary::Finished {
    let draw = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--count", "2", "--fraction", "0.5"];
    let mut command = place.with_model("evaluate retrain --truth truth --max-length 64 --max-steps 1");
    binary::run(command.args(draw).args(more))
}

/// What a command leaves that was killed before its ground truth had its place.
fn leave(place: &Place) {
    let folder = place.path(".truth.killed.part");
    fs_err::create_dir_all(folder.join("content/outputs")).expect("made");
    fs_err::write(folder.join("lock"), "").expect("written");
}

fn has_left(place: &Place) -> bool {
    place.names().iter().any(|name| name.starts_with(".truth."))
}

const REFUSED: [(&[&str], &str); 4] = [
    (&["--lora-targets", "nothing"], "no linear map of a layer of LlamaForCausalLM ends in nothing"),
    (&["--lora-rank", "5000"], "a LoRA rank of 5000 is too high"),
    (&["--dropout", "0.5"], "LlamaForCausalLM has no dropout of hidden states"),
    (&["--adapter", "adapter"], "are not finite"),
];

#[test]
fn a_training_that_cannot_begin_leaves_no_folder() {
    let place = place();
    leave(&place);
    for (more, says) in REFUSED {
        retrain(&place, more).fails(&[says]);
        assert!(!place.path("truth").exists(), "{more:?}");
    }
    assert!(!has_left(&place));
    // A folder that was drawn before: no recipe of what was refused keeps the corrected command out.
    assert_eq!(retrain(&place, &["--draw-only"]).code, 0);
    let drawn = world::bytes(&place.path("truth"));
    for (more, says) in REFUSED {
        retrain(&place, more).fails(&[says]);
        assert_eq!(world::bytes(&place.path("truth")), drawn, "{more:?}");
    }
    retrain(&place, &["--lora-rank", "2"]).says(0, &["2 to do here"]);
}

#[test]
fn a_training_that_cannot_begin_replaces_no_ground_truth() {
    let place = place();
    retrain(&place, &["--lora-rank", "2"]).says(0, &[]);
    let before = world::bytes(&place.path("truth"));
    leave(&place);
    for (more, says) in REFUSED {
        retrain(&place, &[more, &["--force"]].concat()).fails(&[says]);
        assert_eq!(world::bytes(&place.path("truth")), before, "{more:?}");
    }
    assert!(!has_left(&place));
    retrain(&place, &["--lora-rank", "4", "--force"]).says(0, &["replaces another one"]);
    assert!(!has_left(&place));
}

#[test]
fn what_is_wrong_with_any_model_is_refused_before_one_is_downloaded() {
    let place = place();
    let draw = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--count", "2"];
    for (more, says) in [
        (["--runs", "5..6"], "--runs 5..6: there are only 2 runs"),
        (["--group", "topic"], "--group has no effect with --design random"),
        (["--rows", "none.txt"], "none.txt"),
    ] {
        let model =
            ["evaluate", "retrain", "--truth", "truth", "--model", "nobody/nothing", "--max-steps", "1"];
        place.run(&[&model[..], &draw, &more].concat()).fails(&[says]);
    }
}

#[test]
fn queries_of_another_layout_than_the_rows_have_a_way_in() {
    let place = Place::new();
    let of = |keys: [&str; 2], rows: u64| -> String {
        let [question, answer] = keys;
        (0..rows).map(|i| format!("{{\"{question}\":\"Is {i} odd?\",\"{answer}\":\"no\"}}\n")).collect()
    };
    place.write("tickets.jsonl", of(["question", "answer"], 4));
    place.write("eval.jsonl", of(["prompt", "completion"], 2));
    let names = ["--field", "prompt=question,completion=answer"];
    let drawn = |more: &[&str]| {
        let draw = ["evaluate", "retrain", "--truth", "truth", "--count", "2", "--draw-only"];
        place.run(&[&draw[..], more].concat())
    };
    let hint = "give --dataset and --query-dataset";
    let refused = drawn(&[&["--data", "tickets.jsonl", "--query-data", "eval.jsonl"], &names[..]].concat());
    refused.says(1, &["eval.jsonl, line 1: no key \"question\"", hint]);
    let refused = drawn(&[&["--data", "eval.jsonl", "--query-data", "tickets.jsonl"], &names[..]].concat());
    refused.says(1, &[]).lacks(&[hint]);
    place.ok(&[&["add", "--dataset", "tickets", "--data", "tickets.jsonl"], &names[..]].concat());
    place.add("eval");
    drawn(&["--dataset", "tickets", "--query-dataset", "eval"]).says(0, &[]);
}
