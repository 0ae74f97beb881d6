//! Promise: a store's content is listed for people and programs, and what tidying it saves is known before.

use std::path::{Path, PathBuf};

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use serde_json::Value;

/// A pool that was added in three files.
fn place() -> Place {
    let place = Place::new();
    for (at, rows) in [("a", 40), ("b", 40), ("c", 2)] {
        let line = |i: usize| {
            let text = format!("{at}{i} ").repeat(50);
            format!("{{\"id\": \"{at}{i}\", \"text\": \"{text}\"}}\n")
        };
        let lines: Vec<String> = (0..rows).map(line).collect();
        place.write("more.jsonl", lines.concat());
        place.ok(&["add", "--dataset", "pool", "--data", "more.jsonl"]);
    }
    place
}

/// What a folder has first.
fn first(folder: &Path) -> PathBuf {
    fs_err::read_dir(folder).expect("listed").next().expect("one").expect("an entry").path()
}

fn text(finished: &Finished) -> String {
    finished.says(0, &[]);
    format!("{}{}", finished.stdout, finished.stderr)
}

#[test]
fn lists_are_objects_with_json() {
    let place = place();
    place.ok(&["view", "create", "best", "SELECT id FROM pool"]);
    place.ok(&["tag", "first"]);
    for (list, key, first) in [
        (&["ls"][..], "name", Value::from("pool")),
        (&["snapshots"], "number", Value::from(5)),
        (&["tag"], "tag", Value::from("first")),
        (&["view", "list"], "name", Value::from("best")),
    ] {
        let short = place.ok(&[list, &["--json"]].concat());
        assert_eq!(short, place.ok(&[list, &["--format", "json"]].concat()), "{list:?}");
        let line = short.lines().next().expect("a line");
        let object: Value = serde_json::from_str(line).expect("an object");
        assert_eq!(object[key], first, "{list:?}");
    }
    assert_eq!(place.ok(&["factors", "list", "--json"]), "");
    let query = ["query", "SELECT id, row FROM pool WHERE row < 2 ORDER BY row"];
    let rows = "{\"id\":\"a0\",\"row\":0}\n{\"id\":\"a1\",\"row\":1}\n";
    assert_eq!(place.ok(&[&query[..], &["--json"]].concat()), rows);
    place.ok(&[&query[..], &["--json", "-o", "rows"]].concat());
    assert_eq!(place.read("rows"), rows);
    for list in [&["ls"][..], &query] {
        place.run(&[list, &["--json", "--format", "csv"]].concat()).says(2, &["--format"]);
    }
}

#[test]
fn failures_are_text_on_standard_error_whatever_the_format() {
    let place = place();
    place.write("bad.jsonl", "{\"text\": 1\n");
    for (args, code) in [
        (&["query", "SELECT nothing FROM pool"][..], 1),
        (&["info", "nothing"], 1),
        (&["view", "drop", "nothing"], 1),
        (&["add", "--dataset", "pool", "--data", "bad.jsonl"], 1),
        (&["index", "--dataset", "nothing", "--sketch"], 1),
        (&["query", "--with", "labels=none.csv", "SELECT 1"], 2),
        (&["snapshots", "--no-such-flag"], 2),
    ] {
        let done = place.run(&[args, &["--json"]].concat());
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.lines().any(|line| line.starts_with("error: ")), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn commands_that_are_proposed_run_as_they_stand() {
    let place = place();
    let words = ["delete", "--dataset", "pool", "--where", "id LIKE 'b%'"];
    let deleted = text(&place.run(&words));
    let proposed = deleted.split('`').nth(1).expect("a command");
    assert_eq!(proposed, format!("gstore revert --to 3 --store {}", place.path("store").display()));
    let pasted = binary::ok(place.bare(&[]).args(proposed.split(' ').skip(1)));
    assert!(pasted.contains(&proposed.replace("--to 3", "--to 4")));
    assert_eq!(place.value("SELECT count(*) FROM pool"), "82");
    // The environment is still there for the next command.
    let told = binary::run(place.bare(&words).env("GSTORE_STORE", place.path("store")));
    assert!(text(&told).contains("`gstore revert --to 5`"));
}

#[test]
fn the_check_that_is_proposed_for_damage_finds_that_of_older_snapshots() {
    let place = place();
    let roots = fs_err::read_dir(place.path("store/manifests")).expect("listed");
    let mut roots = roots.map(|entry| entry.expect("an entry").path());
    let is_older =
        |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"root-1-"));
    fs_err::write(roots.find(|path| is_older(path)).expect("a root"), "{}").expect("written");
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
    for command in [&["snapshots"][..], &["gc"], &["query", "--snapshot", "1", "SELECT 1"]] {
        let told = place.run(command);
        told.says(3, &["manifests/root-1-", " for the full list"]);
        let proposed = told.stderr.split('`').nth(1).expect("a command");
        let found = binary::run(place.bare(&[]).args(proposed.split(' ').skip(1)));
        found.told(3, &["manifests/root-1-", " 1 problem\n"]);
    }
}

#[test]
fn what_is_damaged_in_a_backup_is_looked_for_there() {
    let place = place();
    place.ok(&["backup", "--to", "a backup"]);
    fs_err::write(first(&first(&place.path("a backup/samples"))), "x").expect("written");
    let told = binary::run(&mut place.bare(&["restore", "--from", "a backup", "--store", "new"]));
    told.says(3, &["samples/1/", "run `gstore verify --all --store 'a backup'` for"]);
    fs_err::write(place.path("a backup/backup.json"), "{").expect("written");
    let words = ["a backup/backup.json is damaged", "`gstore restore` does not need this file"];
    place.run(&["backup", "--to", "a backup"]).says(3, &words);
}

#[test]
fn unfinished_files_that_gc_leaves_are_named() {
    let place = place();
    let samples = place.path("store/samples");
    let folder = first(&samples);
    let unfinished = folder.join("67e55044-10b1-426f-9247-bb680e5fe0c8.parquet.new");
    let needed = first(&folder);
    fs_err::rename(&needed, place.path("aside")).expect("moved");
    fs_err::write(&unfinished, "half of it").expect("written");
    let said = place.ok(&["gc"]);
    let ways = format!("`gstore verify --all{}` lists what is missing", place.at_store());
    for words in ["1 unfinished file stays: samples/", "bb680e5fe0c8.parquet.new\n", &ways] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    fs_err::rename(place.path("aside"), &needed).expect("moved back");
    let said = place.ok(&["gc"]);
    assert!(said.contains("leftovers of work that was cut short: 1 file"), "{said}");
    assert!(!unfinished.exists() && !said.contains("unfinished"), "{said}");
}

#[test]
fn what_is_in_the_way_of_writers_is_not_said_to_be_repaired() {
    let place = place();
    fs_err::write(place.path("store/server"), "").expect("written");
    let says = "server: what it is: expected a folder, found a file; move it away\n";
    let helps = format!("which no repair does; then `gstore verify{}` tells", place.at_store());
    let told = place.run(&["verify"]);
    told.told(3, &[says, &helps]);
    for not_so in ["verify --repair", "cannot be read"] {
        assert!(!told.stdout.contains(not_so), "{}", told.stdout);
    }
}

#[test]
fn a_dry_run_of_compact_tells_what_the_real_one_does() {
    let place = place();
    place.ok(&["delete", "--dataset", "pool", "--where", "id LIKE 'b%'"]);
    let before = fs_err::read(place.path("store/CURRENT")).expect("a store");
    let said = text(&place.run(&["compact", "--dry-run"]));
    for words in ["dataset pool: 3 files would become 1, ", "40 deleted rows left out", "dry run; about "] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let dry = place.json(&["compact", "--dry-run", "--json"]);
    assert_eq!(fs_err::read(place.path("store/CURRENT")).expect("a store"), before);
    let done = place.json(&["compact", "--json"]);
    for exact in ["files_before", "files_after", "bytes_before", "rows_dropped"] {
        assert_eq!(dry[exact], done[exact], "{exact}");
    }
    let bytes = |report: &Value, key: &str| report[key].as_u64().expect("bytes");
    assert!(bytes(&dry, "bytes_after") < bytes(&dry, "bytes_before"), "{dry}");
    assert_eq!((&dry["dry_run"], &done["dry_run"]), (&Value::from(true), &Value::from(false)));
    assert!(text(&place.run(&["compact", "--dry-run"])).contains("nothing to compact"));
    // What is left of purged rows is left out of no file.
    place.ok(&["delete", "--dataset", "pool", "--id", "a1", "--purge", "--yes"]);
    place.write("more.jsonl", "{\"id\": \"d0\", \"text\": \"d\"}\n");
    place.ok(&["add", "--dataset", "pool", "--data", "more.jsonl"]);
    for compact in [&["compact", "--dry-run"][..], &["compact"]] {
        let said = text(&place.run(compact));
        assert!(
            said.contains("dataset pool: 2 files ") && said.contains(" 0 deleted rows left out"),
            "{said}"
        );
    }
}
