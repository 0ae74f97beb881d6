//! Promise: a pipeline can be continued after a failure, Ctrl-C or kill -9.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstore_store::vfs::{OsVfs, Vfs};
use gstore_tests::binary;
use gstore_tests::place::Place;
use serde_json::json;

use crate::staged::{FILE, alone, go, place, ran, write, write_target};

#[test]
fn a_failure_ends_the_run_and_the_same_command_goes_on() {
    let place = place();
    place.write("target.jsonl", "{\"id\": \"a\"\n");
    let failed = place.run(&["run", "p.toml"]);
    failed.says(1, &["stage add-target failed: exit code ", ", error: ", " up to date, 1 failed, "]);
    assert!(!place.path("out").exists());

    // What does not need it can go on.
    let summary = place.run(&["run", "p.toml", "--keep-going", "--json"]).says(1, &[]).json();
    let outcome = |name: &str| {
        let stages = summary["stages"].as_array().expect("stages").iter();
        stages.into_iter().find(|stage| stage["name"] == name).expect("there")["outcome"].clone()
    };
    assert_eq!(outcome("add-pool"), "up to date");
    assert_eq!(outcome("features-pool"), "done");
    assert_eq!(outcome("best"), "not run, since it needs add-target");
    // A stage that needs one that was not run for a failure is not run either.
    let left = ["features-target", "best", "score"];
    assert!(left.iter().all(|name| outcome(name).to_string().contains("not run, ")), "{summary:#}");
    assert_eq!((&summary["failed"], &summary["not_run"]), (&json!(1), &json!(left.len())));
    assert_eq!((&summary["refused"], &summary["finished"]), (&json!(0), &json!(false)));

    write_target(&place, 5);
    assert_eq!(ran(&go(&place, &[])), ["add-target", "best", "features-target", "score"]);
}

/// The pipeline's training alone, long enough to be interrupted.
fn long() -> Place {
    let place = place();
    write(&place, &FILE.replace("\nsteps = 2", "\nsteps = 60"));
    place
}

/// Starts the pipeline, and waits until its training has written a checkpoint.
fn started(place: &Place) -> Child {
    let mut command = place.gstore(&["run", "p.toml", "--only", "warm"]);
    let mut child = binary::start(&mut command);
    let begun = Instant::now();
    while !place.path("out/warm/checkpoint-2").exists() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        if child.try_wait().expect("a state").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// What the training gives that nothing interrupts.
fn uninterrupted(place: &Place) -> Vec<u8> {
    let mut train = place.with_model("train --data pool.jsonl --lora-rank 2 --max-steps 60 --save-steps 2");
    binary::ok(train.args(["--max-length", "64", "--output", "whole", "--run", "whole"]));
    fs_err::read(place.path("whole/checkpoint-60/adapter_model.safetensors")).expect("written")
}

#[test]
fn a_killed_pipeline_goes_on() {
    let place = long();
    let mut child = started(&place);
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(place.path("out/warm/checkpoint-2").exists(), "no checkpoint before the kill");
    let ended = place.path("out/warm/checkpoint-60").exists();
    let again = place.done(&["run", "p.toml", "--only", "warm"]);
    // On a machine so fast that the training was over before it could be told there is nothing to go on with.
    if !ended {
        let told = "stage warm of a killed run is still running; stopping it";
        assert!(again.stderr.contains(told), "{}", again.stderr);
        let log = place.read("p.state/logs/warm.log");
        let (_, second) = log[1..].split_once("# gstore ").expect("two runs");
        assert!(second.contains("continuing after step"), "{log}");
    }
    let trained = fs_err::read(place.path("out/warm/checkpoint-60/adapter_model.safetensors"));
    assert_eq!(trained.expect("written"), uninterrupted(&place));
    assert!(ran(&go(&place, &["--only", "warm"])).is_empty());
}

#[test]
fn an_interrupted_pipeline_goes_on() {
    let place = long();
    let child = started(&place);
    let pid = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
    // On a machine so fast that the training was over before it could be told there is nothing to go on with.
    if !place.path("out/warm/checkpoint-60").exists() {
        stopped.says(130, &[]);
        let plan = place.ok(&["run", "p.toml", "--only", "warm", "--dry-run"]);
        assert!(plan.contains("since its last run was stopped"), "{plan}");
    }
    assert_eq!(place.run(&["run", "p.toml", "--only", "warm"]).code, 0);
    let trained = fs_err::read(place.path("out/warm/checkpoint-60/adapter_model.safetensors"));
    assert_eq!(trained.expect("written"), uninterrupted(&place));
}

#[test]
fn an_interrupt_while_the_run_of_a_former_training_is_dropped_is_no_failure() {
    let place = place();
    go(&place, &["--only", "warm"]);
    // The drop waits for another process that writes to the store.
    let writer = OsVfs.lock(&place.path("store/LOCK"), false).expect("opened").expect("free");
    let other = ["run", "p.toml", "--only", "warm", "--set", "steps=3"];
    let mut command = place.gstore(&other);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    let (log, begun) = (place.path("p.state/logs/warm.log"), Instant::now());
    while !fs_err::read_to_string(&log).expect("a log").contains("# gstore drop run") {
        assert!(begun.elapsed() < Duration::from_secs(300), "no drop");
        assert!(child.try_wait().expect("a state").is_none(), "ended before it was told to");
        std::thread::sleep(Duration::from_millis(5));
    }
    binary::interrupt(&child);
    let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
    stopped.says(130, &["\nstopped; "]).lacks(&["failed"]);
    drop(writer);
    place.ok(&other);
    assert!(place.path("out/warm/checkpoint-3").exists());
    assert!(ran(&go(&place, &other[2..])).is_empty());
}

#[test]
fn an_interrupt_ends_the_wait_for_a_stage_of_a_killed_run() {
    let place = place();
    fs_err::create_dir(place.path("p.state")).expect("made");
    // As the stage holds it.
    let stage = fs_err::File::create(place.path("p.state/stage.lock")).expect("made").into_file();
    stage.lock().expect("locked");
    let mut command = place.gstore(&["run", "p.toml"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("waiting for a stage of a killed run to end")));
    binary::interrupt(&child);
    let ended = child.wait().expect("ends");
    let said: Vec<String> = said.collect();
    assert_eq!(ended.code(), Some(130), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("stopped; a stage")), "{said:?}");
}

#[test]
fn an_interrupt_ends_a_dry_run_that_does_not_look_up_from_what_it_reads() {
    for more in [&[][..], &["--dry-run"]] {
        let place = place();
        gstore_tests::world::copy_files(&gstore_tests::world::demo().join("model"), &place.path("model"));
        place.write("p.toml", alone(2, "").replace("MODEL", "model"));
        let data = place.path("model/tokenizer.json");
        fs_err::remove_file(&data).expect("removed");
        assert!(Command::new("mkfifo").arg(&data).status().expect("mkfifo runs").success());
        let mut command = place.bare(&["run", "p.toml"]);
        command.args(more).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("started");
        // It can be opened once the training reads it, which then waits for a line.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let begun = Instant::now();
        let writer = loop {
            if let Ok(writer) = std::fs::File::options().write(true).custom_flags(flags).open(&data) {
                break writer;
            }
            assert!(begun.elapsed() < Duration::from_secs(300), "nothing is read");
            assert!(child.try_wait().expect("a state").is_none(), "ended before it was told to");
            std::thread::sleep(Duration::from_millis(5));
        };
        binary::interrupt(&child);
        let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
        stopped.says(130, &[]);
        drop(writer);
        assert!(!place.path("warm").exists());
    }
}

/// The child of a process that has a file of this name open.
#[cfg(target_os = "linux")]
fn child_with_open(parent: &Child, file: &str) -> Option<rustix::process::Pid> {
    let id = parent.id();
    let children = fs_err::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    let has_open = |child: &&str| {
        let opened = fs_err::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
        let mut files = opened.filter_map(|fd| fs_err::read_link(fd.path()).ok());
        files.any(|path| path.to_string_lossy().contains(file))
    };
    let child = children.split_whitespace().find(has_open)?;
    rustix::process::Pid::from_raw(child.parse().ok()?)
}

#[cfg(target_os = "linux")]
#[test]
fn a_dry_run_that_is_killed_leaves_no_copy_of_its_data() {
    let place = Place::new();
    let text = "The river runs to the sea. ".repeat(40);
    let lines = (0..400).map(|number| format!("{{\"text\": \"{number}. {text}\"}}\n"));
    place.write("texts.jsonl", lines.collect::<String>());
    let stage = "[[stage]]\nname = 'texts'\ncommand = 'ingest'\nmodel = 'MODEL'\ndataset = 'texts'\n\
                 data = 'texts.jsonl'\nblock = 32\nfeatures = 'loss'\n";
    write(&place, stage);
    fs_err::create_dir(place.path("temporary")).expect("made");
    let mut command = place.gstore(&["run", "p.toml", "--dry-run"]);
    command.env("TMPDIR", place.path("temporary")).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("started");
    let begun = Instant::now();
    let dry_run = loop {
        if let Some(found) = child_with_open(&child, "gstore-blocks-") {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "nothing is copied");
        assert!(child.try_wait().expect("a state").is_none(), "ended before it was told to");
        std::thread::sleep(Duration::from_millis(1));
    };
    // It heeds no signal, as one that reads a large model.
    let _ = rustix::process::kill_process(dry_run, rustix::process::Signal::STOP);
    binary::interrupt(&child);
    let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
    stopped.says(130, &[]);
    assert_eq!(place.names(), ["p.toml", "temporary", "texts.jsonl"]);
    assert_eq!(fs_err::read_dir(place.path("temporary")).expect("listed").count(), 0);
}
