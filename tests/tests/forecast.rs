//! Promise: `--dry-run` forecasts at least the memory that the ingest, the fit or the training then takes,
//! but not many times more, and approximately the space of vectors.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
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
fn peak(command: Command) -> f64 {
    most(command, "VmHWM:")
}

/// The most MiB that a line of a command's status says.
fn most(mut command: Command, line: &str) -> f64 {
    let mut child = binary::start(&mut command);
    let mut most: f64 = 0.0;
    loop {
        let status = fs_err::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let found = status.lines().find_map(|found| found.strip_prefix(line));
        let kilobytes = found.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
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
    let checkpoint = world::demo_adapter(0);
    let checkpoint = checkpoint.to_str().expect("text");
    let cases: [(&str, &str, &[&str]); 8] = [
        ("whole", "100", &["--features", "grad-sgd", "--threads", "1", "--projection", "none"]),
        ("wholes", "100", &["--features", "grad-sgd", "--threads", "2", "--projection", "none"]),
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

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().expect("a file").len() })
        .sum()
}

#[test]
fn vectors_of_many_modules_take_the_room_that_is_forecast() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = world::demo().join("data/pool.jsonl");
    for (name, more) in [
        ("signs", "--features grad-sgd --module-dim 64 --dtype i1"),
        ("halves", "--features grad-sgd --module-dim 16 --dtype f16"),
        ("tokens", "--features loss --per-token"),
        ("losses", "--features loss"),
    ] {
        let more: Vec<&str> = more.split(' ').chain(["--limit", "500"]).collect();
        let store = dir.path().join(name);
        let forecast = binary::json(ingest(&store, &data, &more).args(["--dry-run", "--json"]));
        let forecast = forecast["disk"].as_f64().expect("bytes");
        binary::ok(&mut ingest(&store, &data, &more));
        let taken = size_of(&store.join("segments")) as f64;
        println!("{name}: forecast {forecast} bytes, taken {taken}");
        // A file begins and ends with some of its own.
        assert!((0.8..1.1).contains(&(forecast / taken)), "{name}: {taken} bytes, {forecast} forecast");
    }
}

#[test]
fn rows_of_every_length_are_counted_where_the_long_ones_come_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("growing.jsonl");
    world::write_growing_texts(&data, 600);
    let store = dir.path().join("store");
    let more = ["--features", "loss", "--per-token", "--json"];
    let forecast = binary::json(ingest(&store, &data, &more).arg("--dry-run"));
    let done = binary::json(&mut ingest(&store, &data, &more));
    let (tokens, bytes) = (done["tokens"].as_f64(), size_of(&store.join("segments")) as f64);
    for (name, taken) in [("tokens", tokens.expect("a number")), ("disk", bytes)] {
        let forecast = forecast[name].as_f64().expect("a number");
        println!("{name}: forecast {forecast}, taken {taken}");
        assert!((0.8..1.1).contains(&(forecast / taken)), "{name}: {taken} taken, {forecast} forecast");
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

#[test]
fn a_small_fit_takes_about_what_is_forecast() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = dir.path().join("store");
    let pool = world::demo().join("data/pool.jsonl");
    binary::ok(binary::gstore(&store).args(["add", "--dataset", "pool", "--data"]).arg(pool));
    for (name, more) in [
        ("kfac", "--strategy kfac --threads 1"),
        ("ekfac", "--strategy ekfac --threads 1"),
        ("in_parts", "--strategy ekfac --threads 1 --compute bf16x3"),
        ("by_two", "--strategy ekfac --threads 2"),
        ("diagonal", "--strategy diagonal --threads 1"),
    ] {
        let fit = || {
            let mut command = binary::gstore(&store);
            command.args([
                "factors",
                "fit",
                name,
                "--dataset",
                "pool",
                "--limit",
                "60",
                "--max-length",
                "512",
            ]);
            command.arg("--model").arg(world::demo().join("model")).args(more.split(' '));
            command
        };
        // Pages of the program and of files that are read in place depend on the build.
        let (forecast, peak) = (forecast(fit()), most(fit(), "RssAnon:"));
        println!("{name}: forecast {forecast} MiB, taken {peak:.1} MiB");
        assert!(peak <= forecast, "{name}: {peak:.1} MiB taken, {forecast} forecast");
        assert!(forecast <= 3.0 * peak, "{name}: {peak:.1} MiB taken, {forecast} forecast");
    }
}

/// A copy of the demo's model whose configuration says that it is much larger.
fn write_huge_model(folder: &Path) {
    fs_err::create_dir(folder).expect("a folder");
    for entry in fs_err::read_dir(world::demo().join("model")).expect("the model") {
        let entry = entry.expect("an entry");
        fs_err::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
    }
    let path = folder.join("config.json");
    let config = fs_err::read(&path).expect("the configuration");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    for (key, value) in [("hidden_size", 1 << 17), ("intermediate_size", 1 << 17), ("num_hidden_layers", 64)]
    {
        config[key] = value.into();
    }
    fs_err::write(&path, config.to_string()).expect("written");
}

#[test]
fn a_training_that_memory_has_no_room_for_is_refused_before_it_takes_any() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, output) = (dir.path().join("huge"), dir.path().join("out"));
    write_huge_model(&model);
    let run = |model: &Path, more: &[&str]| {
        let mut command = binary::gstore(&dir.path().join("store"));
        command.args(["train", "--max-steps", "1", "--data"]).arg(world::demo().join("data/pool.jsonl"));
        command.arg("--model").arg(model).arg("--output").arg(&output).args(more);
        let output = command.output().expect("started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, printed, said) = run(&model, &["--from-scratch", "--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("MB of memory are needed, and ") && said.contains("--max-memory"), "{said}");
    let told: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let of_maps = 64 * 3 * (1u64 << 34);
    assert!(told["parameters"].as_u64().is_some_and(|values| values > of_maps), "{told}");
    assert!(told["seconds"].is_null() && told["memory"].as_u64() > told["parameters"].as_u64(), "{told}");
    let (code, _, said) = run(&model, &["--from-scratch"]);
    assert!(code == Some(1) && said.contains("MB of memory are needed, and "), "{code:?} {said}");
    assert!(!output.exists());

    // Each adapted weight of the demo's model has 128 columns.
    for more in [&["--lora-rank", "100000000000", "--dry-run"][..], &["--lora-rank", "129"]] {
        let (code, _, said) = run(&world::demo().join("model"), more);
        assert!(code == Some(2) && said.contains("use at most --lora-rank 128"), "{code:?} {said}");
    }
}
