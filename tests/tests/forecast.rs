//! Promise: `--dry-run` forecasts no less memory than the ingest or the training then takes, and not many times more.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gstore_tests::{binary, world};

fn ingest(store: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = binary::gstore(store);
    command.args(["ingest", "--dataset", "pool", "--max-length", "512", "--data"]).arg(data);
    command.arg("--model").arg(world::demo().join("model")).args(more);
    command
}

/// MiB that a dry run prints.
fn forecast(mut command: Command) -> f64 {
    let printed = binary::ok(command.arg("--dry-run"));
    let line = printed.lines().find(|line| line.starts_with("memory")).expect("a forecast");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2], "MiB", "{line}");
    words[1].parse().expect("a number")
}

/// MiB at the peak of a command. The kernel keeps the maximum, so what is missed is only what is
/// taken in the last moments.
fn peak(mut command: Command) -> f64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let mut most: f64 = 0.0;
    loop {
        let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        most = most.max(kilobytes.unwrap_or(0.0) / 1024.0);
        if let Some(status) = child.try_wait().expect("a state") {
            assert!(status.success());
            return most;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_small_job_takes_about_what_is_forecast() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = world::demo().join("data/pool.jsonl");
    let checkpoint = world::demo_checkpoints().swap_remove(0).folder().expect("an adapter").to_owned();
    let checkpoint = checkpoint.to_str().expect("text");
    let cases: [(&str, &str, &[&str]); 6] = [
        ("losses", "150", &["--features", "loss,embed-mean", "--threads", "2"]),
        ("modules", "150", &["--features", "grad-sgd", "--threads", "1"]),
        ("two", "150", &["--features", "grad-sgd,loss", "--threads", "2", "--module-dim", "256"]),
        ("adapter", "150", &["--features", "grad-adam", "--threads", "2", "--checkpoints", checkpoint]),
        ("tokens", "20", &["--features", "grad-sgd", "--threads", "2", "--per-token"]),
        ("token_losses", "150", &["--features", "loss", "--threads", "2", "--per-token"]),
    ];
    for (name, limit, more) in cases {
        let more = [more, &["--limit", limit]].concat();
        let store = dir.path().join(name);
        let forecast = forecast(ingest(&store, &data, &more));
        let peak = peak(ingest(&store, &data, &more));
        println!("{name}: forecast {forecast} MiB, taken {peak:.1} MiB");
        assert!(peak <= forecast, "{name}: {peak:.1} MiB taken, {forecast} forecast");
        assert!(forecast <= 3.0 * peak, "{name}: {peak:.1} MiB taken, {forecast} forecast");
    }
}

/// MiB of the program itself that a debug build has in memory, and a release build has not.
const DEBUG_PAGES: f64 = if cfg!(debug_assertions) { 25.0 } else { 0.0 };

/// Long texts, which `--block` cuts up.
fn write_long_texts(path: &Path) {
    let sentence =
        |number: usize| format!("Number {number} is followed by {}, and then by others. ", number + 1);
    let text = |first: usize| (first..first + 400).map(sentence).collect::<String>();
    let line = |row: usize| format!("{{\"text\": {:?}}}\n", text(1000 * row));
    fs_err::write(path, (0..40).map(line).collect::<String>()).expect("written");
}

#[test]
fn a_small_training_takes_about_what_is_forecast() {
    let dir = tempfile::tempdir().expect("a folder");
    let pool = world::demo().join("data/pool.jsonl");
    let long = dir.path().join("long.jsonl");
    write_long_texts(&long);
    let cases: [(&str, &Path, &[&str]); 5] = [
        ("lora", &pool, &["--lora-rank", "8", "--threads", "2"]),
        ("full", &pool, &["--full", "--threads", "1"]),
        (
            "sgd",
            &pool,
            &["--full", "--optim", "sgd", "--threads", "2", "--eval-data", pool.to_str().expect("text")],
        ),
        ("packed", &pool, &["--full", "--packing", "--threads", "2", "--gradient-checkpointing"]),
        ("blocks", &long, &["--full", "--block", "256", "--threads", "2"]),
    ];
    for (name, data, more) in cases {
        let training = || {
            let mut command = binary::gstore(&dir.path().join("store"));
            command.args(["train", "--max-length", "512", "--max-steps", "4", "--save-steps", "2", "--data"]);
            command.arg(data).arg("--model").arg(world::demo().join("model")).args(more);
            command.arg("--output").arg(dir.path().join(name));
            command
        };
        let (forecast, peak) = (forecast(training()), peak(training()) - DEBUG_PAGES);
        println!("{name}: forecast {forecast} MiB, taken {peak:.1} MiB");
        assert!(peak <= forecast, "{name}: {peak:.1} MiB taken, {forecast} forecast");
        assert!(forecast <= 3.0 * peak, "{name}: {peak:.1} MiB taken, {forecast} forecast");
    }
}
