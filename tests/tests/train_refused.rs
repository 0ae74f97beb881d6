//! Promise: a training that cannot begin or continue says so before anything is written, also in a dry run.

use gstore_tests::place::Place;
use gstore_tests::{binary, world};

fn place() -> Place {
    Place::of(&[("pool", 12)])
}

fn train(place: &Place, more: &[&str]) -> binary::Finished {
    binary::run(place.with_model("train --data pool.jsonl --max-length 64").args(more))
}

#[test]
fn a_dry_run_looks_at_the_checkpoint_that_a_training_would_go_on_from() {
    let place = place();
    let words = ["--output", "tuned", "--max-steps", "3"];
    train(&place, &words).says(0, &[]);
    // The lowest bit of the last value.
    world::flip(&place.path("tuned/checkpoint-3/adapter_model.safetensors"), 4);
    for more in [&[][..], &["--dry-run"]] {
        train(&place, &[&words[..], more].concat()).says(1, &["adapter_model.safetensors is damaged"]);
    }
    // What is to be overwritten is not gone on from.
    let other = ["--dry-run", "--overwrite-output-dir", "--seed", "3", "--run", "other"];
    train(&place, &[&words[..], &other].concat()).says(0, &[]);
}

#[test]
fn what_a_training_cannot_begin_with_leaves_no_folder() {
    let place = place();
    train(&place, &["--output", "tuned", "--max-steps", "2"]).says(0, &[]);
    let folder = place.path("tuned/checkpoint-2");
    // As of another program, which says no digests.
    fs_err::remove_file(folder.join("gstore_state.json")).expect("removed");
    let weights = fs_err::read(folder.join("adapter_model.safetensors")).expect("read");
    let mut unsound = weights.clone();
    let at = unsound.len() - 4;
    unsound[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    let optimizer = fs_err::read(folder.join("optimizer.pt")).expect("read");
    for (weights, optimizer, start) in [
        (&unsound[..], &optimizer[..], "--adapter"),
        (&unsound[..], &optimizer[..], "--resume-from-checkpoint"),
        (&weights[..], &optimizer[..optimizer.len() / 2], "--resume-from-checkpoint"),
    ] {
        fs_err::write(folder.join("adapter_model.safetensors"), weights).expect("written");
        fs_err::write(folder.join("optimizer.pt"), optimizer).expect("written");
        let onward = ["--output", "onward", "--max-steps", "4", start, "tuned/checkpoint-2"];
        train(&place, &onward).says(1, &[]);
        assert!(!place.path("onward").exists(), "{start}");
    }
}

#[test]
fn an_adapter_whose_base_has_moved_is_gone_on_from() {
    let place = place();
    train(&place, &["--output", "tuned", "--max-steps", "2"]).says(0, &[]);
    let path = place.path("tuned/checkpoint-2/adapter_config.json");
    let text = fs_err::read_to_string(&path).expect("read");
    let written: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let onward = ["--output", "onward", "--max-steps", "3", "--resume-from-checkpoint", "tuned/checkpoint-2"];
    let edit = |key: &str, value: serde_json::Value| {
        let mut config = written.clone();
        assert_ne!(config[key], value);
        config[key] = value;
        fs_err::write(&path, config.to_string()).expect("written");
    };
    edit("lora_alpha", 3.into());
    train(&place, &onward).says(1, &["adapter_config.json is damaged: its digest is"]);
    fs_err::write(&path, &text[..text.len() / 2]).expect("written");
    train(&place, &onward).says(1, &["adapter_config.json is damaged: EOF"]);
    assert!(!place.path("onward").exists());
    edit("base_model_name_or_path", "/models/elsewhere".into());
    for more in [&onward[..], &["--output", "tuned", "--max-steps", "2"]] {
        train(&place, more).says(0, &[]);
    }
    assert!(place.path("onward/checkpoint-3").exists());
}

#[test]
fn what_is_missing_of_checkpoints_is_told_with_what_to_do() {
    let place = place();
    let words = ["--output", "tuned", "--max-steps", "4", "--save-steps", "2"];
    train(&place, &words).says(0, &[]);
    // The folder of the training in place of a checkpoint.
    let says = "name one, such as tuned/checkpoint-4";
    let onward = train(&place, &["--output", "onward", "--max-steps", "1", "--adapter", "tuned"]);
    let mut ask = place.with_model("generate --prompt A --max-new-tokens 1 --adapter tuned");
    for refused in [onward, binary::run(&mut ask)] {
        refused.says(1, &[says]);
    }
    // A checkpoint without its optimizer.
    let last = place.path("tuned/checkpoint-4");
    fs_err::remove_file(last.join("optimizer.pt")).expect("removed");
    fs_err::create_dir(last.join("global_step4")).expect("made");
    train(&place, &words).says(
        1,
        &[
            "neither optimizer.pt nor",
            "--adapter tuned/checkpoint-4",
            "checkpoint-2, the one before it",
            "global_step4 has the state of DeepSpeed in parts",
        ],
    );
    // And one without anything.
    fs_err::remove_dir_all(&last).expect("removed");
    fs_err::create_dir(&last).expect("made");
    let refused = train(&place, &words);
    let says =
        "tuned/checkpoint-4: it is empty, and a checkpoint of its name would take its place: remove it";
    refused.says(1, &[says]);
    let from = ["--output", "onward", "--max-steps", "4", "--resume-from-checkpoint", "tuned/checkpoint-4"];
    let refused = train(&place, &from);
    refused.says(1, &["it is empty, and not a checkpoint: the last one next to it is tuned/checkpoint-2"]);
    let mut inside = place.with_model("train --data ../pool.jsonl --output ../onward");
    inside.args(["--resume-from-checkpoint", "checkpoint-4"]).current_dir(place.path("tuned"));
    let refused = binary::run(&mut inside);
    let says = "it is empty, and not a checkpoint: the last one next to it is ./checkpoint-2";
    refused.says(1, &[says]);
    fs_err::remove_dir(&last).expect("removed");
    // Empty folders that no checkpoint of it is to have the names of.
    for name in ["tuned/checkpoint-1", "tuned/checkpoint-5"] {
        fs_err::create_dir(place.path(name)).expect("made");
    }
    train(&place, &words).says(0, &["continuing after step 2 of 4"]);
    // What is damaged of the last one is told with the one before it.
    let state = fs_err::read_to_string(last.join("trainer_state.json")).expect("read");
    let counted = state.replace("\"global_step\": 4", "\"global_step\": 3");
    assert_ne!(counted, state);
    for (name, text, says) in [
        ("adapter_model.safetensors", None, "adapter_model.safetensors is damaged: it is not there"),
        ("trainer_state.json", Some("{}"), "trainer_state.json is damaged: global_step is missing"),
        (
            "trainer_state.json",
            Some(&counted[..]),
            "its optimizer has taken 4 steps, trainer_state.json counts 3",
        ),
    ] {
        let sound = fs_err::read(last.join(name)).expect("read");
        match text {
            Some(text) => fs_err::write(last.join(name), text).expect("written"),
            None => fs_err::remove_file(last.join(name)).expect("removed"),
        }
        for more in [&[][..], &["--dry-run"]] {
            train(&place, &[&words[..], more].concat()).says(1, &[says, "2, the one before it"]);
        }
        fs_err::write(last.join(name), sound).expect("written");
    }
    train(&place, &words).says(0, &["already trained"]);
    // Data without a record.
    place.write("pool.jsonl", "");
    let refused = train(&place, &["--output", "none", "--max-steps", "2"]);
    refused.says(1, &["pool.jsonl: there is no record in it; give files with samples"]);
}

#[test]
fn options_that_leave_others_without_effect_are_told() {
    let place = place();
    let words = ["--output", "tuned", "--max-steps", "2", "--dry-run"];
    for (more, says) in [
        (&["--num-train-epochs", "3"][..], "note: --max-steps 2 overrides --num-train-epochs 3"),
        (
            &["--warmup-steps", "500"][..],
            "the warm-up takes 500 steps, and the training has 2 steps: the rate",
        ),
    ] {
        train(&place, &[&words[..], more].concat()).says(0, &[says]);
    }
    train(&place, &[&words[..], &["--warmup-steps", "1"]].concat()).says(0, &[]).lacks(&["never reaches"]);
    for name in [".", ".."] {
        train(&place, &[&words[..], &["--run", name]].concat()).says(2, &["cannot name a run"]);
    }
}

#[test]
fn devices_that_do_not_belong_together_are_refused() {
    let place = place();
    for (devices, code, says) in [
        ("cpu,candle", 1, "`cpu` and `candle` do not compute the same bits"),
        ("all", 2, "made without the feature `cuda`"),
        ("cpu,all", 2, "made without the feature `cuda`"),
        ("cpu,gpu", 2, "no backend `gpu`"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let refused = train(&place, &[&["--output", "tuned", "--devices", devices][..], more].concat());
            refused.says(code, &[says]);
            assert!(!place.path("tuned").exists(), "{devices}");
        }
    }
}
