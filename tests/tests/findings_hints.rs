//! Promise: what a new user tripped over in hints, which led to other errors, stays mended.

use std::process::Command;

use gstore_tests::binary;
use gstore_tests::place::Place;
use gstore_tests::world;

use crate::findings_data::{add, said, scored, write};
use crate::terminal::Terminal;

#[test]
fn all_stores_of_a_folder_are_named_and_backups_last() {
    let place = Place::new();
    write(&place, "pool.jsonl", "{\"text\":\"a\"}\n");
    said(&add(&place, "pool", "pool.jsonl", &[]), 0, &[]);
    place.ok(&["backup", "--to", "a.bak"]);
    let mut other = binary::gstore(&place.path("other"));
    binary::ok(other.args(["add", "--dataset", "pool", "--data", "pool.jsonl"]).current_dir(place.path("")));
    let mut command = Command::new(binary::path());
    command.arg("ls").env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG").current_dir(place.path(""));
    said(&binary::run(&mut command), 2, &["; there are other, store, a.bak (a backup) here"]);
}

#[test]
fn a_narrow_list_says_what_is_missing() {
    let place = scored();
    // What the ingest of more rows has not reached.
    world::write_samples(&place.path("pool.jsonl"), 60);
    said(&add(&place, "pool", "pool.jsonl", &[]), 0, &["20 samples added"]);
    let Some(mut terminal) = Terminal::run(&place.gstore(&["ls"]), 80, 60) else { return };
    let shown = terminal.until("columns: ");
    let heading = shown.lines().find(|line| line.starts_with("name")).expect("a heading");
    assert!(heading.contains("state") && heading.contains("missing"), "{heading}");
    assert_eq!(terminal.end(), 0);
    let Some(mut terminal) = Terminal::run(&place.gstore(&["info", "pool"]), 70, 60) else { return };
    let shown = terminal.until("--json has all");
    assert!(shown.contains("left out for room: type, dim") && shown.contains("missing"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 70), "{shown}");
    assert_eq!(terminal.end(), 0);
}

/// A pool with complete gradients of one run, and of a newer one with losses and a few gradients.
fn with_two_runs() -> Place {
    let place = scored();
    let newer = world::demo_checkpoints().swap_remove(1).folder().expect("an adapter").to_owned();
    for features in [&["loss"][..], &["grad-sgd", "--dim", "64", "--limit", "5"]] {
        let mut command = place.gstore(&["ingest", "--dataset", "pool", "--run", "newer", "--features"]);
        command.args(features).arg("--model").arg(world::demo().join("model"));
        binary::ok(command.arg("--checkpoints").arg(&newer));
    }
    world::write_samples(&place.path("bare.jsonl"), 4);
    said(&add(&place, "bare", "bare.jsonl", &[]), 0, &[]);
    place
}

#[test]
fn a_hint_names_the_run_that_is_complete_elsewhere_and_no_kind_that_there_is_not() {
    let place = with_two_runs();
    let asked = |sql: &str| place.run(&["query", &format!("SELECT * FROM {sql} LIMIT 1")]);
    let select = |more: &[&str]| {
        let select =
            ["select", "--pool", "pool", "--target", "bare", "--top", "3", "--force", "-o", "rows.jsonl"];
        place.run(&[&select[..], more].concat())
    };
    let lacks = "ingest --dataset bare --run warmup --features grad-sgd`";
    said(&select(&[]), 1, &[lacks]);
    said(&asked("influence('pool', 'bare')"), 1, &[lacks]);
    for (sql, lacks) in [
        ("influence('pool', 'target', per_token => true)", "--run warmup --per-token --features grad-adam`"),
        ("self_influence('pool', kind => 'grad-sign')", "--run warmup --features grad-sign`"),
        ("nearest('pool', id => 's1', kind => 'embed-mean')", "--run warmup --features embed-mean`"),
    ] {
        said(&asked(sql), 1, &[lacks]);
    }
    // What it says helps.
    let mut command =
        place.gstore(&["ingest", "--dataset", "bare", "--run", "warmup", "--features", "grad-sgd"]);
    binary::ok(command.args(["--dim", "64"]));
    said(&select(&[]), 0, &[]);

    let plot =
        ["plot", "scores", "--pool", "pool", "--target", "target", "-o", "s.svg", "--kind", "grad-sdg"];
    for (finished, meant) in [
        (select(&["--kind", "grad-sdg"]), "grad-sgd"),
        (asked("influence('pool', 'target', kind => 'grad-adm')"), "grad-adam"),
        (asked("nearest('pool', id => 's1', kind => 'embed-maen')"), "embed-mean"),
        (place.run(&plot), "grad-sgd"),
    ] {
        said(&finished, 1, &["there is no feature kind", &format!("did you mean \"{meant}\"?")]);
        assert!(!finished.stderr.contains("--features"), "{}", finished.stderr);
    }
}

#[test]
fn a_value_that_stands_by_itself_is_told_so() {
    let place = Place::new();
    let refused = place.run(&["merge", "--model", "M", "--adapter", "w/checkpoint-4", "-o", "m"]);
    said(&refused, 2, &["there is no --adapter; ADAPTER stands by itself, without an option before it"]);
    assert!(!refused.stderr.contains("-- --adapter"), "{}", refused.stderr);
}

#[test]
fn a_report_of_one_system_has_no_empty_findings() {
    let place = Place::new();
    write(&place, "one.jsonl", "{\"id\":\"a\",\"completion\":\"the cat\",\"expected\":\"the cat sat\"}\n");
    let text = ["evaluate", "text", "--resamples", "200", "--force", "-o", "report.md", "--data"];
    for (files, has) in [(&["one.jsonl"][..], false), (&["one.jsonl", "again=one.jsonl"], true)] {
        place.ok(&[&text[..], files].concat());
        let report = fs_err::read_to_string(place.path("report.md")).expect("written");
        assert_eq!(report.contains("## Findings\n\n- "), has, "{report}");
        assert_eq!(report.contains("## Findings"), has, "{report}");
    }
}
