//! Promise: what is trained on the command line can be merged, generated with and ingested, a killed training
//! loses nothing that was saved, contradictory options are refused, and a dry run writes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gstore_store::vfs::{OsVfs, Vfs};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

fn train(place: &Place, args: &[&str]) -> Command {
    let mut command =
        place.with_model("train --data pool.jsonl --output tuned --max-length 64 --max-steps 3");
    command.args(args);
    command
}

/// Whether the store has samples.
fn has_samples(place: &Place) -> bool {
    let snapshot = place.snapshot();
    !snapshot.datasets().is_empty()
}

fn place() -> Place {
    Place::of(&[("pool", 12)])
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = place();
    let told = binary::ok(&mut train(&place, &["--dry-run", "--packing", "--max-memory", "1GB"]));
    for word in ["samples", "sequences", "tokens", "steps        3", "time", "memory", "disk"] {
        assert!(told.contains(word), "no {word} in {told}");
    }
    assert!(!place.path("tuned").exists() && !place.path("store").exists());
}

#[test]
fn a_dry_run_counts_the_disk_of_all_checkpoints_with_their_logs() {
    let place = place();
    for (output, method) in [("adapted", &[][..]), ("tuned", &["--full"])] {
        let line = format!("train --data pool.jsonl --output {output} --max-length 64 --max-steps 40 --json");
        let saved = [&["--save-steps", "1", "--logging-steps", "1"][..], method].concat();
        let told = binary::json(place.with_model(&line).args(&saved).arg("--dry-run"));
        binary::ok(place.with_model(&line).args(&saved));
        let written: usize = world::bytes(&place.path(output)).values().map(Vec::len).sum();
        let disk = told["disk"].as_u64().expect("a number") as usize;
        assert!(
            written <= disk && disk < written * 5 / 4,
            "{method:?}: {disk} were told, {written} are there"
        );
    }
}

#[test]
fn a_random_share_has_the_seed_that_help_says() {
    let place = place();
    let losses = |output: &str, more: &[&str]| {
        let line = format!("train --data pool.jsonl --output {output} --max-length 64 --max-steps 1 --json");
        binary::json(place.with_model(&line).args(["--percentage", "0.2"]).args(more))["loss"].clone()
    };
    assert_eq!(losses("usual", &[]), losses("given", &["--data-seed", "42"]));
    assert_ne!(losses("other", &["--data-seed", "1"]), losses("last", &["--data-seed", "42"]));
}

#[test]
fn devices_change_no_bit_and_go_on_for_each_other() {
    let place = place();
    let run = |output: &str, more: &[&str]| {
        let line = format!("train --data pool.jsonl --output {output} --max-length 64 --max-steps 3 --json");
        binary::json(place.with_model(&line).args(["--save-steps", "1"]).args(more))
    };
    for (method, name) in [(&[][..], "adapter_model.safetensors"), (&["--full"][..], "model.safetensors")] {
        let several = [&["--devices", "cpu,cpu", "--threads", "1"][..], method].concat();
        let [one, other] = [("one", method), ("several", &several[..])].map(|(output, more)| {
            let output = format!("{output}-{name}");
            run(&output, more);
            place.path(&output).join("checkpoint-3")
        });
        let weights = |folder: &Path| fs_err::read(folder.join(name)).expect("read");
        let expected = weights(&one);
        assert!(weights(&other) == expected, "{name}");
        // Begun on one, and finished on two.
        fs_err::remove_dir_all(&one).expect("removed");
        assert_eq!(run(&format!("one-{name}"), &several)["steps_before"], 2);
        assert!(weights(&one) == expected, "{name}");
    }
    // Each device has a thread and the weights, and the limit is one for all.
    let told = |more: &[&str]| run("none", &[&["--dry-run", "--threads", "1"][..], more].concat());
    let memory = |told: &Value| told["memory"].as_u64().expect("a number");
    let (one, several) = (told(&[]), told(&["--devices", "cpu,cpu,cpu"]));
    assert_eq!([&one, &several].map(|told| told["threads"].as_u64()), [Some(1), Some(3)]);
    assert!(memory(&several) > memory(&one), "{one} and {several}");
    let limit = (memory(&several) - 1).to_string();
    let less = told(&["--devices", "cpu,cpu,cpu", "--max-memory", &limit]);
    assert!(memory(&less) < memory(&several) && less["threads"] == 3, "{less}");
}

#[test]
fn a_training_that_is_given_again_says_that_it_is_finished() {
    let place = place();
    let run = |words: &[&str]| binary::run(&mut train(&place, words));
    let report = |printed: &str| serde_json::from_str::<Value>(printed).expect("JSON");
    let first = run(&["--json"]);
    first.says(0, &[]).lacks(&["already trained"]);
    assert_eq!(report(&first.stdout)["steps_before"], 0);
    let again = run(&["--json"]);
    again.says(0, &["already trained, 3 steps: "]);
    let again = report(&again.stdout);
    assert_eq!((&again["steps"], &again["steps_before"]), (&3.into(), &3.into()));
}

#[test]
fn what_a_training_reads_is_not_overwritten_by_it() {
    let place = place();
    binary::ok(&mut train(&place, &[]));
    let inside = place.path("tuned/checkpoint-3/pool.jsonl");
    fs_err::rename(place.path("pool.jsonl"), &inside).expect("moved");
    let line = "train --data tuned/checkpoint-3/pool.jsonl --output tuned --max-steps 2 --max-length 64";
    binary::run(place.with_model(line).arg("--overwrite-output-dir")).says(2, &["is to overwrite: move it"]);
    assert!(inside.is_file());
}

#[test]
fn a_run_names_the_checkpoints_of_one_training() {
    let place = place();
    let store = ["--store", "store", "--run", "tuned", "--save-steps", "1"];
    binary::ok(&mut train(&place, &store));
    // Fewer than the run names would be left.
    let fewer = binary::run(train(&place, &store).args(["--save-total-limit", "2"]));
    fewer.says(2, &["would remove some of them"]);
    assert!(place.path("tuned/checkpoint-1").is_dir());
    // The same folder by another way.
    let line = "train --data pool.jsonl --output store/../tuned --max-length 64 --max-steps 3";
    binary::ok(place.with_model(line).args(store));
    fs_err::remove_dir_all(place.path("tuned")).expect("removed");
    let other = binary::run(train(&place, &store[..4]).args(["--save-steps", "2"]));
    other.fails(&["has checkpoint-1, which this training does not have"]);
    binary::ok(&mut train(&place, &["--store", "store", "--run", "other", "--save-steps", "2"]));
    // What cannot name a run is found before a step is taken.
    for name in ["", "bad name/x", "two\nlines"] {
        let line = "train --data pool.jsonl --output unnamed --max-length 64 --max-steps 1";
        binary::run(place.with_model(line).args(["--run", name])).says(2, &["cannot name a run"]);
    }
    // Nor is a store made for it, and a dry run tells it as well.
    for more in [&[][..], &["--dry-run"]] {
        let line = "train --data pool.jsonl --output unnamed --run bad/x --store new";
        binary::run(place.with_model(line).args(more)).says(2, &["cannot name a run"]);
    }
    let line = "ingest --data pool.jsonl --dataset pool --run bad/x --features loss --store new";
    binary::run(&mut place.with_model(line)).says(2, &["cannot name a run"]);
    assert!(!place.path("unnamed").exists() && !place.path("new").exists());
}

#[test]
fn a_merged_adapter_answers_as_base_and_adapter() {
    let place = place();
    let rate = ["--learning-rate", "0.01", "--lora-dropout", "0.1", "--lora-targets", "all-linear"];
    binary::ok(&mut train(&place, &rate));
    let checkpoint = "tuned/checkpoint-3";
    place.ok(&["merge", checkpoint, "-o", "merged"]);
    place.run(&["merge", "nope", "-o", "other"]).says(1, &["error: no folder matches nope"]);
    place.run(&["merge", checkpoint, "-o", "merged"]).says(2, &["merged exists; --force replaces it"]);
    let weights = || fs_err::read(place.path("merged/model.safetensors")).expect("written");
    let first = weights();
    place.write("merged/model.safetensors", "of another adapter");
    // What killed merges left goes with the next one, unless a process holds it.
    for name in ["killed", "locked"] {
        let folder = place.path(&format!(".merged.{name}.part"));
        fs_err::create_dir_all(folder.join("content")).expect("made");
        fs_err::write(folder.join("lock"), "").expect("written");
    }
    let lock = OsVfs.lock(&place.path(".merged.locked.part/lock"), false).expect("opened").expect("free");
    let left =
        || -> Vec<String> { place.names().into_iter().filter(|name| name.starts_with(".merged.")).collect() };
    place.ok(&["merge", checkpoint, "-o", "merged", "--force"]);
    assert_eq!(weights(), first);
    assert_eq!(left(), [".merged.locked.part"]);
    drop(lock);
    place.ok(&["merge", checkpoint, "-o", "merged", "--force"]);
    assert!(left().is_empty(), "{:?}", left());
    // A model that somebody else has put there stays.
    let foreign = place.path("foreign");
    fs_err::create_dir(&foreign).expect("made");
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(place.path("merged").join(name), foreign.join(name)).expect("copied");
    }
    for force in [&[][..], &["--force"]] {
        let merge = [&["merge", checkpoint, "-o", "foreign"], force].concat();
        place.run(&merge).says(2, &["foreign has no gstore_merged.json, which marks a merged model"]);
    }
    place
        .run(&["merge", checkpoint, "-o", ".", "--force"])
        .says(2, &[". is read by this command: give its result another name"]);

    place.run(&["merge", "tuned", "-o", "above"]).says(1, &["tuned/checkpoint-3", "name one"]);

    let losses = |more: &[&str]| -> Vec<f64> {
        let ask = ["generate", "--perplexity", "--data", "pool.jsonl", "--format", "json"];
        let text = place.ok(&[&ask[..], more].concat());
        let loss = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["loss"].as_f64();
        text.lines().filter_map(loss).collect()
    };
    let model = world::demo().join("model").display().to_string();
    let apart = losses(&["--model", &model, "--adapter", checkpoint]);
    let (merged, base) = (losses(&["--model", "merged"]), losses(&["--model", &model]));
    assert_eq!(merged.len(), 12);
    for ((merged, apart), base) in merged.iter().zip(&apart).zip(&base) {
        assert!((merged - apart).abs() < 1e-4 * apart && merged != base, "{merged} {apart} {base}");
    }
    // The demo's adapters name a folder next to them.
    let adapter = world::demo().join("warmup/checkpoint-26").display().to_string();
    let lost = place.run(&["merge", &adapter, "-o", "lost"]);
    lost.says(1, &["adapter_config.json names the base model `model`: model: there is no such folder"]);
    lost.says(1, &["; if it is elsewhere, give it with --model"]);
    place.run(&["merge", "merged", "-o", "twice"]).says(2, &["nothing to merge"]);
}

#[test]
fn of_two_merges_into_one_folder_one_writes_it_and_the_other_is_refused_or_replaces_it() {
    let place = Place::new();
    let names = |begin: &str| -> Vec<String> {
        let entries = fs_err::read_dir(place.path("in")).expect("listed");
        let name = |entry: std::io::Result<fs_err::DirEntry>| entry.expect("an entry").file_name();
        let names = entries.map(|entry| name(entry).to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(begin)).collect()
    };
    for (output, force) in [("one", ""), ("two", ""), ("three", " --force"), ("four", " --force")] {
        let merges = ["26", "104"].map(|step| {
            let mut command = place.with_model(&format!("merge -o in/{output}{force}"));
            command.arg(world::demo().join(format!("warmup/checkpoint-{step}")));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
        });
        let mut ended = merges.map(|merge| binary::Finished::from(merge.wait_with_output().expect("ended")));
        ended.sort_by_key(|ended| ended.code);
        ended[0].says(0, &[]);
        // A whole model that found its name taken stays beside it, where the message says.
        let beside = names(&format!(".{output}."));
        if force.is_empty() {
            ended[1].fails(&[&format!("in/{output} exists; --force replaces it")]);
            let is_told = |name: &String| name.ends_with(".result") && ended[1].stderr.contains(name);
            assert!(beside.len() <= 1 && beside.iter().all(is_told), "{beside:?}: {}", ended[1].stderr);
        } else {
            ended[1].says(0, &[]);
            assert!(beside.is_empty(), "what was replaced is still there: {beside:?}");
        }
        for file in ["config.json", "tokenizer.json", "gstore_merged.json", "model.safetensors"] {
            assert!(place.path(&format!("in/{output}/{file}")).is_file(), "{file}");
        }
    }
    let left: Vec<String> = names("").into_iter().filter(|name| !name.ends_with(".result")).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn an_adapter_is_not_used_with_another_model_of_the_same_sizes() {
    let place = place();
    binary::ok(&mut train(&place, &[]));
    let (copied, other) = (place.path("copied"), place.path("other"));
    for folder in [&copied, &other] {
        world::copy_files(&world::demo().join("model"), folder);
    }
    world::flip(&other.join("model.safetensors"), 4);
    place.write("questions.jsonl", world::QUESTION);

    let checkpoint = "tuned/checkpoint-3";
    let onward = ["train", "--data", "pool.jsonl", "--max-length", "64", "--max-steps", "4", "--output"];
    let resumed = [&onward[..], &["resumed", "--resume-from-checkpoint", checkpoint, "--run"]].concat();
    let begun = [&onward[..], &["begun", "--adapter", checkpoint, "--run"]].concat();
    let ingest = ["ingest", "--dataset", "pool", "--data", "pool.jsonl", "--features", "loss"];
    let ingest = [&ingest[..], &["--checkpoints", checkpoint, "--run"]].concat();
    let commands = [
        &["merge", checkpoint, "-o"][..],
        &["generate", "--adapter", checkpoint, "--prompt", "A", "--max-new-tokens", "1", "-o"],
        &["generate", "--adapter", checkpoint, "--text", "A B", "--perplexity", "-o"],
        &["evaluate", "tasks", "--checkpoints", checkpoint, "--data", "questions.jsonl", "-o"],
        &ingest[..],
        &resumed[..],
        &begun[..],
    ];
    for (number, command) in commands.into_iter().enumerate() {
        let with = |model: &Path, output: &str| {
            let mut command = place.gstore(command);
            binary::run(command.args([output, "--model"]).arg(model))
        };
        let refused = with(&other, &format!("refused-{number}.json"));
        refused.says(1, &["was trained on", "the model that it was trained on: --model"]);
        assert!(command[0] != "ingest" || !has_samples(&place), "a refused ingest has added its samples");
        with(&copied, &format!("taken-{number}.json")).says(0, &[]);
    }
}

#[test]
fn constants_of_adam_that_an_ingest_does_not_take_are_told() {
    let place = place();
    let constants = ["--adam-beta1", "0.5", "--adam-epsilon", "1e-6"];
    let ingest = |training: &str, features: &str, adam: &[&str]| {
        let mut command = place.with_model("ingest --dataset pool --data pool.jsonl --dim 64");
        command.args(["--features", features, "--run", training]).args(adam).arg("--checkpoints");
        binary::run(command.args([1, 2].map(|step| format!("{training}/checkpoint-{step}"))))
    };
    for (training, betas) in [("usual", &[][..]), ("other", &constants[..])] {
        let line = format!("train --data pool.jsonl --output {training} --max-length 64 --max-steps 2");
        binary::ok(place.with_model(&line).args(["--save-steps", "1"]).args(betas));
    }
    let told = ingest("other", "grad-adam", &[]);
    told.says(
        0,
        &["checkpoint-1/optimizer.pt and 1 other file: Adam had betas 0.5 and 0.999, eps 1e-6; \
           grad-adam takes betas 0.9 and 0.999, eps 1e-8"],
    );
    assert_eq!(told.stderr.matches("Adam had").count(), 1, "{}", told.stderr);
    for quiet in [
        ingest("other", "grad-normalised", &[]),
        ingest("usual", "grad-adam", &[]),
        ingest("other", "grad-adam", &constants),
        ingest("other", "grad-normalised", &constants[2..]),
    ] {
        quiet.says(0, &[]).lacks(&["Adam had"]);
    }
    let named = "'grad-adam@checkpoint-1:b1_0.5+eps_1e-6', 'grad-normalised@checkpoint-1:eps_1e-6'";
    let count = format!("SELECT count(*) FROM gstore.features WHERE label IN ({named})");
    assert_eq!(place.value(&count), "2");
    let stray = ingest("usual", "grad-sgd", &["--adam-epsilon-outside"]);
    stray.says(2, &["--adam-epsilon-outside has no effect: no kind in --features is grad-adam"]);
}

#[test]
fn a_checkpoint_with_a_changed_bit_is_used_by_no_command() {
    let place = place();
    binary::ok(&mut train(&place, &[]));
    let model = world::demo().join("model").display().to_string();
    let short = ["train", "--data", "pool.jsonl", "--max-length", "64", "--max-steps"];
    place.ok(&[&short[..], &["3", "--full", "--output", "whole", "--model", &model]].concat());
    world::flip(&place.path("tuned/checkpoint-3/adapter_model.safetensors"), 4);
    world::flip(&place.path("whole/checkpoint-3/model.safetensors"), 4);
    let onward = [&short[..], &["4", "--output", "on"]].concat();
    let ingest = ["ingest", "--dataset", "pool", "--features", "loss", "--data", "pool.jsonl", "--run", "r"];
    let (merge, answer) = (["merge", "-o", "merged"], ["generate", "--prompt", "A", "--max-new-tokens", "1"]);
    let score = ["generate", "--text", "A B", "--perplexity"];
    let of_adapter = ["--model", &model, "--adapter", "tuned/checkpoint-3"];
    let of_whole = ["--model", "whole/checkpoint-3"];
    let resumed = ["--model", &model, "--resume-from-checkpoint", "tuned/checkpoint-3"];
    let computed = ["--model", &model, "--checkpoints", "tuned/checkpoint-3"];
    for (command, weights, file) in [
        (&merge[..], &["tuned/checkpoint-3"][..], "adapter_model"),
        (&answer[..], &of_adapter[..], "adapter_model"),
        (&score[..], &of_adapter[..], "adapter_model"),
        (&onward[..], &of_adapter[..], "adapter_model"),
        (&onward[..], &resumed[..], "adapter_model"),
        (&ingest[..], &computed[..], "adapter_model"),
        (&answer[..], &of_whole[..], "model"),
        (&score[..], &of_whole[..], "model"),
        (&onward[..], &of_whole[..], "model"),
        (&ingest[..], &of_whole[..], "model"),
    ] {
        let refused = place.run(&[command, weights].concat());
        refused.says(1, &[&format!("checkpoint-3: {file}.safetensors is damaged: its digest is ")]);
    }
    // Sound factors, and another number to multiply them with.
    world::flip(&place.path("tuned/checkpoint-3/adapter_model.safetensors"), 4);
    let config = place.path("tuned/checkpoint-3/adapter_config.json");
    let written = fs_err::read_to_string(&config).expect("read");
    let edited = written.replace("\"lora_alpha\": ", "\"lora_alpha\": 9");
    assert_ne!(edited, written);
    fs_err::write(&config, edited).expect("written");
    for (command, weights) in [
        (&merge[..], &["tuned/checkpoint-3"][..]),
        (&answer[..], &of_adapter[..]),
        (&score[..], &of_adapter[..]),
        (&onward[..], &of_adapter[..]),
        (&onward[..], &resumed[..]),
        (&ingest[..], &computed[..]),
    ] {
        let refused = place.run(&[command, weights].concat());
        refused.says(
            1,
            &["checkpoint-3: adapter_config.json is damaged: its digest is ", "put back what was edited"],
        );
    }
    assert!(!place.path("merged").exists() && !place.path("on").exists() && !has_samples(&place));
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_tensor() {
    let place = place();
    binary::ok(&mut train(&place, &[]));
    // As of another program, which says no digests.
    fs_err::remove_file(place.path("tuned/checkpoint-3/gstore_state.json")).expect("removed");
    let weights = place.path("tuned/checkpoint-3/adapter_model.safetensors");
    let mut bytes = fs_err::read(&weights).expect("read");
    let last = bytes.len() - 4;
    let onward =
        ["train", "--data", "pool.jsonl", "--max-length", "64", "--max-steps", "4", "--output", "onward"];
    for value in [f32::NAN, f32::INFINITY] {
        bytes[last..].copy_from_slice(&value.to_le_bytes());
        fs_err::write(&weights, &bytes).expect("written");
        let mut trained =
            place.gstore(&[&onward[..], &["--adapter", "tuned/checkpoint-3", "--model"]].concat());
        trained.arg(world::demo().join("model"));
        let mut merged = place.gstore(&["merge", "tuned/checkpoint-3", "-o", "merged"]);
        for command in [&mut trained, &mut merged] {
            let words = ["are not finite: base_model.model.", &format!(".weight has the value {value}")];
            binary::run(command).says(1, &words).lacks(&["learning rate"]);
        }
        assert!(!place.path("merged").exists() && !place.path("onward/checkpoint-1").exists());
    }
}

#[test]
fn weights_of_checkpoints_are_means_of_rates_whatever_is_logged() {
    let place = place();
    // An epoch is a step, and the last one alone is logged.
    let sparse = "--store store --per-device-train-batch-size 12 --warmup-steps 1 --learning-rate 1e-3 --logging-steps 50";
    binary::ok(&mut train(&place, &sparse.split(' ').collect::<Vec<_>>()));
    let weights = |run: &str| -> Vec<Option<f64>> {
        place.snapshot().run(run).expect("a run").checkpoints.iter().map(|found| found.weight).collect()
    };
    let expected = [Some(0.0), Some(1e-3), Some(5e-4)];
    assert_eq!(weights("tuned"), expected);
    let ingest = |run: &str| {
        let line = "ingest --data pool.jsonl --dataset pool --checkpoints tuned/checkpoint-* --features loss --max-length 64";
        binary::run(place.with_model(line).args(["--run", run]))
    };
    let says = "the log of its training has too few learning rates to tell the weights of checkpoint-1, checkpoint-2, which";
    ingest("again").says(0, &[]).lacks(&[says]);
    assert_eq!(weights("again"), expected);
    // As of another program.
    for step in 1..=3 {
        fs_err::remove_file(place.path(&format!("tuned/checkpoint-{step}/gstore_state.json")))
            .expect("removed");
    }
    ingest("foreign").says(0, &[&format!("run `foreign`: {says}"), "--weights"]);
}

#[test]
fn curves_are_drawn_into_the_folder_of_the_training() {
    let place = place();
    binary::ok(&mut train(&place, &["--plot", "tuned/curve.html"]));
    assert!(place.path("tuned/curve.html").is_file() && place.path("tuned/loss.svg").is_file());
    // What a kill left of such files goes with the next run, and nothing else does.
    let left = [".loss.svg.aB3dE6.part", ".curve.html.aB3dE6.part", ".loss.svg.mine.part", "loss.svg.part"];
    for name in left {
        place.write(&format!("tuned/{name}"), "");
    }
    binary::ok(&mut train(&place, &["--plot", "tuned/curve.html"]));
    assert_eq!(left.map(|name| place.path("tuned").join(name).exists()), [false, false, true, true]);
    // While another process has the folder, they may be its own.
    for name in left {
        place.write(&format!("tuned/{name}"), "");
    }
    let lock = fs_err::File::open(place.path("tuned/.lock")).expect("opened");
    lock.file().lock().expect("locked");
    binary::run(&mut train(&place, &["--plot", "curve.html"])).says(0, &["loss.svg could not be written"]);
    assert!(
        left.iter().all(|name| place.path("tuned").join(name).exists()) && place.path("curve.html").is_file()
    );
    drop(lock);
    binary::run(&mut train(&place, &["--plot", "missing/curve.html"])).says(2, &["no such folder"]);
}

/// The bytes of all files in checkpoints.
fn checkpoints(output: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = |folder: &Path| {
        let entries = fs_err::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let folders = files(output).into_iter().filter(|path| path.is_dir());
    let bytes = |path: PathBuf| {
        let bytes = fs_err::read(&path).expect("read");
        (path.strip_prefix(output).expect("inside").to_owned(), bytes)
    };
    folders.flat_map(|folder| files(&folder)).map(bytes).collect()
}

#[test]
fn a_killed_training_ends_as_one_that_was_not() {
    let place = place();
    let training = |output: &str| {
        let mut command =
            place.with_model("train --data pool.jsonl --lora-rank 2 --max-length 64 --max-steps 300");
        command.args(["--save-steps", "20", "--output", output]);
        command
    };
    binary::ok(&mut training("whole"));
    binary::killed_once(&mut training("killed"), || place.path("killed/checkpoint-20").exists());
    binary::ok(&mut training("killed"));
    let (whole, killed) = (checkpoints(&place.path("whole")), checkpoints(&place.path("killed")));
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    assert!(whole.len() >= 15 * 4, "{:?}", whole.keys());
    for (name, bytes) in &whole {
        assert!(killed[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn options_that_say_nothing_together_are_refused() {
    let place = place();
    for (options, says) in [
        (&["--optim", "sgd", "--adam-beta2", "0.9"][..], "--optim adamw"),
        (&["--optim", "adamw", "--momentum", "0.9"], "--optim sgd"),
        (&["--lr-scheduler-type", "constant", "--warmup-steps", "2"], "constant_with_warmup"),
        (&["--lr-scheduler-type", "constant", "--warmup-ratio", "0.1"], "constant_with_warmup"),
        (&["--lr-cycles", "2"], "cosine_with_restarts"),
        (&["--lr-scheduler-type", "warmup_stable_decay"], "num_decay_steps"),
        (&["--lr-scheduler-kwargs", r#"{"min_lr": 1e-6}"#], "--lr-scheduler-kwargs of linear"),
        (&["--save-strategy", "epoch", "--save-steps", "5"], "--save-strategy steps"),
        (&["--save-strategy", "no", "--save-steps", "5"], "--save-strategy steps"),
        (&["--save-strategy", "steps"], "--save-steps N"),
        // The samples are those of --data.
        (&["--where", "source = 'a'"], "--where <SQL>"),
    ] {
        binary::run(&mut train(&place, options)).says(2, &[says]);
        assert!(!place.path("tuned").exists());
    }
}

#[test]
fn options_of_files_are_refused_with_a_dataset() {
    let place = place();
    place.add("pool");
    let model = world::demo().join("model");
    for (words, more) in
        [(&["train"][..], &["--max-steps", "1"][..]), (&["daunce", "train"], &["--models", "2"])]
    {
        let of = |options: &[&str]| {
            let mut command = place.gstore(words);
            command
                .args(["--dataset", "pool", "--max-length", "64", "--output", "out", "--dry-run"])
                .args(more);
            binary::run(command.args(options).arg("--model").arg(&model))
        };
        for (options, says) in [
            (["--field", "text=nonsense"], "--field applies to files"),
            (["--duplicates", "first"], "--duplicates"),
        ] {
            of(&options).says(2, &[says]);
        }
        assert_eq!(of(&[]).code, 0, "{words:?}");
    }
    // Held-out samples may be a file.
    let mut watched =
        place.gstore(&["train", "--dataset", "pool", "--eval-data", "pool.jsonl", "--max-steps", "1"]);
    watched.args(["--field", "messages=messages", "--max-length", "64", "--output", "out", "--dry-run"]);
    assert_eq!(binary::run(watched.arg("--model").arg(&model)).code, 0);
}

#[test]
fn the_loss_of_held_out_samples_is_in_the_log() {
    let place = place();
    let watch = ["--eval-data", "pool.jsonl", "--eval-every", "1", "--json"];
    let report = binary::json(&mut train(&place, &watch));
    let state = fs_err::read(place.path("tuned/checkpoint-3/trainer_state.json")).expect("written");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    let history = state["log_history"].as_array().expect("a list");
    let watched: Vec<f64> = history.iter().filter_map(|entry| entry["eval_loss"].as_f64()).collect();
    assert_eq!((watched.len(), history.len()), (3, 6));
    assert_eq!(report["eval_loss"].as_f64(), watched.last().copied());
    for key in ["step", "loss", "grad_norm", "learning_rate"] {
        assert_eq!(history.iter().filter(|entry| entry.get(key).is_some()).count() % 3, 0, "{key}");
    }

    binary::run(&mut train(&place, &["--eval-every", "1"])).says(2, &["--eval-data"]);
}
