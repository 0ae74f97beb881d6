//! Promise: a reader that closes its pipe ends a command without an error; anything else that prevents a
//! result from being written is one.

use std::process::{Command, Stdio};

use gstore_tests::binary::{self, Finished};
use gstore_tests::made::Numbers;
use gstore_tests::place::Place;
use gstore_tests::{made, world};

use crate::factors;

/// Commands that print, with more than a pipe holds or less.
const COMMANDS: &[&[&str]] = &[
    &["query", "--format", "csv", "SELECT * FROM pool"],
    &["query", "--format", "json", "SELECT * FROM pool"],
    &["query", "--format", "table", "SELECT * FROM pool"],
    &["query", "--format", "arrow", "SELECT * FROM pool"],
    &["query", "--format", "parquet", "SELECT * FROM pool"],
    &["query", "--format", "csv", "SELECT 1"],
    &["select", "--pool", "pool", "--target", "target", "--top", "100%", "-o", "-"],
    &["select", "--pool", "pool", "--target", "target", "--top", "1", "-o", "-"],
    &["ls"],
    &["info"],
    &["info", "--json"],
    &["snapshots"],
    &["plot", "scores", "--pool", "pool", "--target", "target"],
    &["verify"],
    &["verify", "--json"],
    &["completions", "bash"],
    &["query", "--help"],
];

/// Runs a command whose standard output is not read.
fn unread(mut command: Command) -> Finished {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("gstore runs");
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn a_closed_pipe_ends_a_command_without_a_word() {
    let place = made::place(3000, 2);
    for args in COMMANDS {
        let finished = unread(place.gstore(args));
        assert_eq!(finished.code, 0, "{args:?}: {}", finished.stderr);
        assert!(
            !finished.stderr.contains("rror") && !finished.stderr.contains("pipe"),
            "{args:?}: {}",
            finished.stderr
        );
    }
}

#[test]
fn head_takes_its_lines_and_the_pipeline_succeeds() {
    let place = made::place(3000, 2);
    for round in 0..40 {
        let args = COMMANDS[round % 3];
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", "\"$@\" | head -1", "-"]);
        let command = place.gstore(args);
        shell.arg(command.get_program()).args(command.get_args());
        let finished = binary::run(&mut shell);
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{args:?} in round {round}");
        assert_eq!(finished.stdout.lines().count(), 1);
    }
}

#[test]
fn damage_keeps_its_exit_code_without_a_reader() {
    let place = made::place(3000, 2);
    let segments = world::files(&place.path("store/segments"));
    let mut bytes = fs_err::read(&segments[0]).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&segments[0], bytes).expect("written");
    for args in [&["verify"][..], &["verify", "--json"], &["verify", "--repair", "--dry-run"]] {
        assert_eq!(unread(place.gstore(args)).code, 3, "{args:?}");
    }
}

#[test]
fn work_that_is_left_is_done_without_a_reader() {
    let place = Place::with_store();
    let store = place.store();
    made::append(&store, "pool", 300);
    let mut numbers = Numbers(1);
    made::gradients(&store, "pool", 300, 64, |_| numbers.vector(64));
    drop(store);
    place.ok(&["index", "--sketch", "--dataset", "pool", "--quiet"]);
    place.ok(&["delete", "--dataset", "pool", "--where", "id LIKE '%1%'"]);
    assert_eq!(unread(place.gstore(&["compact", "--max-deleted", "0"])).code, 0);
    place.ok(&["gc", "--keep", "1", "--keep-within", "0s"]);
    let sketches = fs_err::read_dir(place.path("store/indexes")).expect("a folder").count();
    assert_ne!(sketches, 0, "the sketch of the new segment");

    place.write("bad.jsonl", "{");
    let stage = "[[stage]]\nname = \"add\"\ncommand = \"add\"\ndataset = \"bad\"\ndata = \"bad.jsonl\"\n";
    place.write("p.toml", format!("store = \"s\"\n{stage}"));
    let pipeline = place.path("p.toml");
    let args = ["run", pipeline.to_str().expect("UTF-8"), "--json"];
    assert_eq!(unread(place.gstore(&args)).code, 1, "a stage fails");
}

#[test]
fn other_results_appear_without_the_reader_of_one() {
    let place = factors::place();
    factors::fit(&place, "f", &["--strategy", "diagonal"]);
    let score = ["score", "--factors", "f", "--pool", "pool", "--target", "q", "-o", "-", "--format", "csv"];
    let finished =
        unread(place.gstore(&[&score[..], &["--kronfluence", "kept", "--report", "f.md"]].concat()));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(place.path("kept/pairwise_scores.safetensors").exists() && place.path("f.md").exists());

    let select = ["select", "--pool", "pool", "--target", "target", "--top", "100%"];
    let place = made::place(3000, 2);
    let finished = unread(place.gstore(&[&select[..], &["-o", "-", "--scores", "s.csv"]].concat()));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(place.read("s.csv").lines().count(), 3001);
    let finished = unread(place.gstore(&[&select[..], &["-o", "-", "--plot", "s.svg"]].concat()));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(place.path("s.svg").exists());
    let args = ["-o", "rows.jsonl", "--scores", "/dev/stdout"];
    let finished = unread(place.gstore(&[&select[..], &args].concat()));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(place.read("rows.jsonl").lines().count(), 3000);

    let answer = |id: &str| format!(r#"{{"id": "{id}", "completion": "yes", "expected": "yes"}}"#);
    place.write("answers.jsonl", format!("{}\n{}\n", answer("a"), answer("b")));
    let text = ["evaluate", "text", "--data", "answers.jsonl", "--rows", "/dev/stdout"];
    let finished = unread(place.gstore(&[&text[..], &["-o", "texts.md", "--report", "texts"]].concat()));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(place.path("texts.md").exists() && place.path("texts").is_dir());
}

/// A device to which nothing can be written.
fn full_device() -> std::fs::File {
    fs_err::OpenOptions::new().write(true).open("/dev/full").expect("a device").into_parts().0
}

#[test]
fn a_full_device_is_an_error() {
    let place = made::place(3000, 2);
    for args in COMMANDS.iter().filter(|args| !args.contains(&"--help")) {
        let mut command = place.gstore(args);
        command.stdout(full_device());
        binary::run(&mut command).says(1, &["No space left"]);
    }
    let mut command = place.gstore(&["tag", "first"]);
    let said = binary::run(command.stdout(full_device())).stderr;
    assert!(said.contains("standard output cannot be written") && !said.contains("again"), "{said}");
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_outcome() {
    let place = made::place(3000, 2);
    let run = |args: &[&str]| {
        let mut command = place.gstore(args);
        command.stderr(full_device());
        binary::run(&mut command).code
    };
    assert_eq!(run(&["query", "SELECT nothing FROM gstore.datasets"]), 1);
    assert_eq!(run(&["query", "--with", "nothing", "SELECT 1"]), 2);
    assert_eq!(run(&["view", "create", "sizes", "SELECT dataset, rows FROM gstore.datasets"]), 0);
    assert_eq!(run(&["query", "SELECT * FROM sizes"]), 0);
}
