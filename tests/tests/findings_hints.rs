//! Promise: what a new user tripped over in hints, which led to other errors, stays mended.

use std::process::Command;

use gstore_tests::binary;
use gstore_tests::place::Place;

use crate::findings_data::{add, said, write};

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
