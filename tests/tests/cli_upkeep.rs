//! Promise: what a store has is listed for people and for programs, and what tidying it saves is told before.

use gstore_tests::binary::Finished;
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
        fs_err::write(place.path("more.jsonl"), lines.concat()).expect("written");
        place.ok(&["add", "--dataset", "pool", "--data", "more.jsonl"]);
    }
    place
}

fn text(finished: &Finished) -> String {
    assert_eq!(finished.code, 0, "{}", finished.stderr);
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
    let both = place.run(&["ls", "--json", "--format", "csv"]);
    assert!(both.code == 2 && both.stderr.contains("--format"), "{}", both.stderr);
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
}
