//! Promise: perturbed copies are trained on the command line with the same bits after a kill and in parts,
//! and flags that contradict each other are refused before anything is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

fn train(place: &Place, more: &[&str]) -> Command {
    let train = ["daunce", "train", "--data", "pool.jsonl", "--batch-size", "4", "--max-length", "64"];
    let mut command = place.bare(&train);
    command.arg("--model").arg(world::demo().join("model")).args(more);
    command
}

/// A training of small copies.
fn small(place: &Place, more: &[&str]) -> Command {
    let rates = ["--steps", "2", "--lora-rank", "2", "--learning-rate", "1e-2"];
    train(place, &[&rates[..], more].concat())
}

fn place() -> Place {
    Place::of(&[("pool", 40)])
}

/// Weights of the copies of a folder, by their names.
fn weights(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(folder.join("members")).expect("members") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            found.insert(name, fs_err::read(path.join("adapter_model.safetensors")).expect("weights"));
        }
    }
    found
}

#[test]
fn copies_are_trained_and_go_on_after_a_kill() {
    let place = place();
    let models = ["--models", "12", "--round", "3", "--threads", "2"];
    let forecast = [&models[..], &["--output", "whole", "--dry-run", "--json"]].concat();
    let forecast = binary::json(&mut small(&place, &forecast));
    let told =
        ["models", "there", "rows", "rows_of_model", "steps", "at_once"].map(|key| forecast[key].as_u64());
    assert_eq!(told, [12, 0, 40, 8, 2, 2].map(Some), "{forecast}");
    assert!(!place.path("whole").exists(), "a dry run wrote something");
    let report = binary::json(&mut small(&place, &[&models[..], &["--output", "whole", "--json"]].concat()));
    assert_eq!(
        (&report["models"], &report["steps"], &report["finished"]),
        (&12.into(), &2.into(), &true.into())
    );
    assert_eq!(report["refused"], serde_json::json!([]));
    let whole = weights(&place.path("whole"));
    assert_eq!(whole.len(), 12);
    let mut distinct: Vec<&Vec<u8>> = whole.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 12);

    let mut killed = small(&place, &[&models[..], &["--output", "killed"]].concat());
    binary::killed_once(&mut killed, || place.path("killed/members/00001.json").exists());
    binary::ok(&mut small(&place, &["--models", "12", "--threads", "1", "--output", "killed"]));
    assert_eq!(weights(&place.path("killed")), whole);

    // A finished training that is repeated says so, and nothing of copies that are not trained.
    let done = binary::run(&mut small(&place, &["--models", "12", "--threads", "2", "--output", "killed"]));
    done.says(0, &["nothing to train: 12 copies are complete"]).lacks(&["copies at once", "copy 12 of 12"]);

    // Jobs that share the numbers.
    for part in ["0..5", "5..9", "9..12"] {
        let folder = format!("part-{}", part.replace('.', "-"));
        binary::ok(&mut small(&place, &["--models", part, "--output", &folder]));
        for (name, values) in weights(&place.path(&folder)) {
            assert_eq!(values, whole[&name], "{part} {name}");
        }
    }
    let parts = ["part-0--5", "part-5--9", "part-9--12"];
    let attach = |folders: &[&str]| {
        place.json(&[&["daunce", "attach", "--ensemble", "copies", "--json"], folders].concat())
    };
    let first = attach(&parts);
    assert_eq!((&first["registered"], &first["added"]), (&12.into(), &12.into()));
    // The whole is the same ensemble.
    let mut of_whole: Vec<&str> = parts.to_vec();
    of_whole.reverse();
    let again = attach(&of_whole);
    assert_eq!((&again["registered"], &again["added"]), (&12.into(), &0.into()));
    let told = place.run(&[&["daunce", "attach", "--ensemble", "copies"], &parts[..]].concat());
    told.says(0, &["0 of 12 copies added to ensemble copies of the store, which has 12"]);
}

#[test]
fn copies_on_several_devices_are_those_of_one() {
    let place = place();
    let train = |output: &str, more: &[&str]| {
        binary::ok(&mut small(&place, &[&["--models", "5", "--output", output][..], more].concat()));
        weights(&place.path(output))
    };
    let one = train("one", &["--threads", "1"]);
    assert!(one.len() == 5 && place.path("one/base/hidden.states").is_file());
    assert!(train("several", &["--threads", "1", "--devices", "cpu,cpu"]) == one);
    // Where each has a forward pass of its own for the starting point, too.
    assert!(train("forward", &["--devices", "cpu,cpu", "--base-states", "forward"]) == one);
    // Others go on.
    fs_err::remove_file(place.path("one/members/00003.json")).expect("removed");
    assert!(train("one", &["--devices", "cpu,cpu"]) == one);
    let refused =
        binary::run(&mut small(&place, &["--models", "2", "--output", "none", "--devices", "cpu,candle"]));
    refused.says(1, &["`cpu` and `candle` do not compute the same bits"]);
}

/// Losses come with the copies, whose weights are then gone, and end the training where they agree.
#[test]
fn losses_are_computed_round_by_round() {
    let place = place();
    place.samples("target", 5);
    let target = place.read("target.jsonl");
    place.write("target.jsonl", target.replace("odd?", "odd or even?"));
    place.add("pool");
    place.add("target");
    let run = |more: &[&str]| {
        let mut command = place.with_model("daunce train --dataset pool --steps 2 --batch-size 4 --json");
        command.args("--max-length 64 --lora-rank 2 --learning-rate 1e-2 --round 2".split(' ')).args(more);
        binary::json(&mut command)
    };
    for unknown in [
        &["--models", "4", "--losses", "nope"][..],
        &["--until", "agreement=1", "--target", "nope", "--max-models", "4"],
    ] {
        let line = "daunce train --dataset pool --steps 2 --output refused";
        binary::run(place.with_model(line).args(unknown)).says(1, &["no dataset \"nope\""]);
        assert!(!place.path("refused").exists(), "{unknown:?}");
    }
    let report = run(&["--models", "4", "--losses", "pool,target", "--keep", "none", "--output", "gone"]);
    assert_eq!((&report["models"], &report["ensemble"]), (&4.into(), &"gone".into()));
    assert!(weights(&place.path("gone")).is_empty() && place.path("gone/members/00003.json").is_file());
    let query = |ensemble| {
        place.ok(&["daunce", "query", "--ensemble", ensemble, "--pool", "pool", "--target", "target"])
    };
    run(&["--models", "4", "--losses", "pool,target", "--output", "several", "--devices", "cpu,cpu"]);
    assert_eq!(query("several"), query("gone"));
    // The same again trains and computes nothing, and removes weights that a killed process left.
    let left = place.path("gone/members/00001");
    fs_err::create_dir(&left).expect("made");
    fs_err::write(left.join("adapter_model.safetensors"), "left").expect("written");
    let again = run(&["--models", "4", "--losses", "pool,target", "--keep", "none", "--output", "gone"]);
    assert!(again["models"] == 4 && !left.exists());
    assert!(weights(&place.path("gone")).is_empty());

    let until = ["--until", "agreement=1", "--target", "target", "--max-models", "6", "--output", "enough"];
    let report = run(&until);
    assert_eq!(report["finished"], true);
    let (models, agreement) = (report["models"].as_u64().expect("a number"), report["agreement"].as_f64());
    assert!(agreement.is_some_and(|found| found >= 1.0 || models == 6), "{report}");
    assert_eq!(weights(&place.path("enough")).len() as u64, models);
}

#[test]
fn hidden_states_are_made_once() {
    let place = place();
    let prepare =
        ["daunce", "prepare", "--data", "pool.jsonl", "--max-length", "64", "--output", "start.states"];
    let mut prepare = place.bare(&prepare);
    prepare.args(["--full", "--quiet", "--json", "--model"]).arg(world::demo().join("model"));
    let report = binary::json(&mut prepare);
    assert_eq!(report["rows"], 40);
    let written = fs_err::metadata(place.path("start.states")).expect("there").modified().expect("a time");
    binary::ok(&mut prepare);
    assert_eq!(
        fs_err::metadata(place.path("start.states")).expect("there").modified().expect("a time"),
        written
    );

    let full = |output: &str, more: &[&str]| {
        let whole =
            ["--steps", "2", "--full", "--models", "2", "--learning-rate", "1e-4", "--output", output];
        binary::ok(train(&place, &whole).args(more));
        fs_err::read(place.path(&format!("{output}/members/00001/model.safetensors"))).expect("weights")
    };
    let stored = full("stored", &["--hidden-states", "start.states"]);
    assert!(!place.path("stored/base").exists());
    assert_eq!(full("passes", &["--base-states", "forward"]), stored);

    // Hidden states of other texts are no start.
    place.samples("pool", 30);
    binary::run(&mut prepare).fails(&["other texts"]);
    assert_eq!(binary::json(prepare.arg("--overwrite-output-dir"))["rows"], 30);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = place();
    for (flags, words) in [
        (&["--models", "1"][..], "no covariance"),
        (&["--models", "4..4"], "contains no model"),
        (&["--models", "0..18446744073709551615", "--dry-run"], "at most 1000000"),
        (&[], "--models"),
        (&["--models", "4", "--until", "agreement=0.8"], "--until"),
        (&["--until", "agreement=0.8"], "--max-models"),
        (&["--models", "4", "--max-models", "6", "--target", "pool"], "cannot be used with"),
        (&["--models", "4", "--keep", "none"], "--losses"),
        (&["--models", "4", "--losses", "pool"], "--store"),
        (&["--models", "4", "--ensemble", "e"], "--store"),
        (&["--models", "4", "--variant", "subset", "--rho", "2"], "--rho"),
        (&["--models", "4", "--variant", "trak"], "trak"),
        (&["--models", "4", "--rho", "nan"], "rho"),
        (&["--models", "4", "--rho", "0"], "no noise"),
        (&["--models", "4", "--epochs", "2"], "--epochs"),
        (&["--models", "4", "--full", "--lora-rank", "4"], "--full"),
        (&["--models", "4", "--subset", "41"], "41 rows"),
        (&["--models", "4", "--subset", "0"], "--subset"),
        (&["--models", "4", "--subset", "41"], "several times, as with --subset 20"),
    ] {
        binary::run(train(&place, &["--steps", "2", "--output", "refused"]).args(flags)).says(2, &[words]);
        assert!(!place.path("refused/members").exists(), "{flags:?}");
    }
    // All of them diverge, and their folder takes others by the flag that is named.
    let wild = |more: &[&str]| {
        let own = ["--models", "2", "--steps", "4", "--output", "wild", "--learning-rate"];
        binary::run(train(&place, &own).args(more))
    };
    wild(&["1e38"]).says(1, &["copy 0 is refused", "--overwrite-output-dir"]);
    wild(&["1e-3"]).says(1, &["--overwrite-output-dir"]);
    wild(&["1e-3", "--overwrite-output-dir"]).says(0, &[]);
}

#[test]
fn a_refused_training_leaves_neither_a_store_nor_a_folder() {
    let place = place();
    let refused = |more: &[&str], says: &str| {
        let own = ["--models", "2", "--steps", "2", "--output", "runs/none", "--store", "store"];
        binary::run(train(&place, &own).args(more)).fails(&[says]);
        assert!(!place.path("runs").exists() && !place.path("store").exists(), "{more:?}");
    };
    refused(&["--losses", "pool"], "store");
    refused(&["--learning-rate", "0"], "no rate is above zero");
    refused(&["--variant", "subset", "--learning-rate", "1e-46"], "is still the one that it started from");
    // A place that no store can have is told before the first step.
    fs_err::create_dir(place.path("mine")).expect("made");
    place.write("mine/notes.txt", "mine");
    let own = ["--models", "2", "--steps", "2", "--output", "runs/none", "--store", "mine"];
    binary::run(&mut train(&place, &own)).fails(&["notes.txt"]);
    assert!(!place.path("runs").exists());
    // With the first copy there is a store.
    binary::ok(&mut small(&place, &["--models", "2", "--output", "runs/two", "--store", "store"]));
    assert_eq!(place.value("SELECT count(DISTINCT ensemble) FROM gstore.members"), "1");
}

/// A start that is noted wrongly would be what all losses are compared with.
#[test]
fn copies_of_another_start_are_not_registered() {
    let place = place();
    let subset = ["--variant", "subset", "--models", "2", "--steps", "2", "--learning-rate", "1e-2"];
    let of = |more: &[&str]| train(&place, &[&subset[..], &["--output", "dn"], more].concat());
    binary::ok(&mut of(&[]));
    let note = place.path("dn/ensemble.json");
    let before = fs_err::read_to_string(&note).expect("a note");
    binary::run(&mut of(&["--adapter", "dn/members/00000"])).fails(&["another training"]);
    assert_eq!(fs_err::read_to_string(&note).expect("a note"), before);

    let mut wrong: Value = serde_json::from_str(&before).expect("JSON");
    wrong["start"] = "another".into();
    fs_err::write(&note, wrong.to_string()).expect("written");
    let attach = ["daunce", "attach", "--ensemble", "dn", "dn"];
    place.run(&attach).fails(&["a different starting point"]);
    let new = place.path("new");
    let to_new = ["daunce", "attach", "--store", &new.display().to_string(), "--ensemble", "e", "nope"];
    binary::run(&mut place.bare(&to_new)).says(1, &["nope"]);
    assert!(!new.exists());
    binary::ok(&mut of(&[]));
    place.ok(&attach);
}

#[test]
fn a_refused_training_keeps_the_ensemble_before_it() {
    let place = place();
    place.add("pool");
    let of = |more: &[&str]| {
        let mut command =
            place.with_model("daunce train --dataset pool --models 4 --steps 2 --batch-size 4 --output dn");
        command.args(["--max-length", "64", "--losses", "pool", "--overwrite-output-dir"]).args(more);
        command
    };
    binary::ok(&mut of(&["--learning-rate", "1e-2"]));
    binary::run(&mut of(&["--learning-rate", "0"])).says(2, &["no rate is above zero"]);
    assert_eq!(weights(&place.path("dn")).len(), 4);
    let query = ["daunce", "query", "--ensemble", "dn", "--pool", "pool", "--target", "pool"];
    let before = place.ok(&query);
    binary::ok(&mut of(&["--learning-rate", "2e-2"]));
    assert_ne!(place.ok(&query), before);
}
