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
