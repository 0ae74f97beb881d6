//! Promise: rows can be deleted, replaced, purged, merged, collected, tagged, backed up and repaired with the
//! real binary, and every answer is that of the requested snapshot.

use std::path::{Path, PathBuf};

use gstore_store::Store;
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::{Value, json};

/// Forty samples with every feature kind that the demo's checkpoints allow, and a target.
fn filled() -> Place {
    let place = Place::of(&[("pool", 40), ("target", 6)]);
    ingest(&place, "pool", Some("pool.jsonl"), "grad-sgd,loss");
    ingest(&place, "target", Some("target.jsonl"), "grad-sgd");
    place
}

/// Runs an ingest that must succeed; returns what it said.
fn ingest(place: &Place, dataset: &str, data: Option<&str>, features: &str) -> String {
    let data = data.map(|name| place.path(name));
    let finished = place.ingest(dataset, data.as_deref(), features);
    finished.says(0, &[]);
    finished.stderr
}

const COUNT: &str = "SELECT count(*) FROM pool";
const SCORES: &str = "SELECT count(*) FROM influence('pool', 'target')";

fn ids(place: &Place, snapshot: Option<&str>, from: &str) -> Vec<String> {
    let sql = format!("SELECT id FROM {from} ORDER BY id");
    let mut args = vec!["query", "--format", "csv", &sql];
    args.extend(snapshot.iter().flat_map(|s| ["--snapshot", s]));
    place.ok(&args).lines().skip(1).map(str::to_owned).collect()
}

fn digests(store: &Path) -> std::collections::BTreeMap<String, String> {
    world::digests(&Store::open(store).expect("opens"))
}

#[test]
fn deleted_rows_are_in_no_answer_and_in_every_older_one() {
    let place = filled();
    place.ok(&["tag", "before"]);
    let all = place.value(SCORES);

    let delete = ["delete", "--dataset", "pool", "--where", "source = 'a'", "--json"];
    let said = place.json(&[&delete[..], &["--dry-run"]].concat());
    assert_eq!(said["deleted"], 14);
    assert_eq!(place.value(COUNT), "40");
    let report = place.json(&[&delete[..], &["--id", "s1", "--id", "nobody"]].concat());
    assert_eq!((&report["deleted"], &report["missing"]), (&json!(15), &json!(["nobody"])));

    for table in ["pool", "influence('pool', 'target')", "vectors('pool', 'loss@checkpoint-26')"] {
        let left = ids(&place, None, table);
        assert!(!left.contains(&"s0".to_owned()) && !left.contains(&"s1".to_owned()), "{table}");
        assert!(ids(&place, Some("before"), table).contains(&"s1".to_owned()), "{table}");
    }
    assert_eq!(place.value(COUNT), "25");
    assert_eq!(place.value("SELECT rows FROM gstore.datasets WHERE dataset = 'pool'"), "25");
    assert_eq!(place.value("SELECT max(rows) FROM gstore.features WHERE dataset = 'pool'"), "25");
    assert_eq!(place.value_at(Some("before"), COUNT), "40");
    assert_eq!(place.value_at(Some("before"), SCORES), all);
    // A pool with holes is selected from like any other.
    place.ok(&["select", "--pool", "pool", "--target", "target", "--top", "100%", "-o", "all.jsonl"]);
    let lines = place.read("all.jsonl");
    assert!(!lines.contains("\"source\":\"a\"") && lines.contains("\"source\":\"b\""));

    let again = place.json(&["delete", "--dataset", "pool", "--where", "source = 'a'", "--json"]);
    assert_eq!(again["snapshot"], Value::Null, "nothing left to delete, nothing published");
    assert_eq!(place.run(&["verify", "--all"]).code, 0);
}

#[test]
fn no_store_is_made_inside_another_one() {
    let place = Place::with_store();
    place.samples("x", 3);
    let names = world::files(&place.path("store")).len();
    for command in [
        "add --dataset p --data x.jsonl --store store/segments/new",
        "add --dry-run --dataset p --data x.jsonl --store store/segments/new",
        "restore --from store --store store/new",
    ] {
        let refused = binary::run(&mut place.bare(&command.split(' ').collect::<Vec<_>>()));
        refused.says(2, &["is inside the store", "/store; name a place outside it"]);
    }
    assert_eq!(world::files(&place.path("store")).len(), names);
}

#[test]
fn merging_and_collecting_change_no_content() {
    let place = filled();
    for part in 0..4 {
        let path = place.path("more.jsonl");
        world::write_samples(&path, 40 + 5 * (part + 1));
        ingest(&place, "pool", Some("more.jsonl"), "grad-sgd,loss");
    }
    place.ok(&["tag", "before"]);
    place.ok(&["delete", "--dataset", "pool", "--id", "s3", "--id", "s41"]);
    let before = digests(&place.path("store"));
    let files = "SELECT sum(files) FROM gstore.datasets WHERE dataset = 'pool'";
    assert_eq!(place.value(files), "5");

    place.json(&["compact", "--json"]);
    assert_eq!(place.value(files), "1");
    assert_eq!(place.value("SELECT count(*) FROM gstore.segments WHERE label = 'loss@checkpoint-26'"), "1");
    assert_eq!(digests(&place.path("store")), before);
    assert_eq!(place.value(COUNT), "58");
    assert_eq!(place.value_at(Some("before"), COUNT), "60");

    // A foreign file stays, whatever is collected.
    place.write("store/segments/notes.txt", "mine");
    let dry = place.json(&["gc", "--keep", "1", "--keep-within", "0s", "--dry-run", "--json"]);
    let done = place.json(&["gc", "--keep", "1", "--keep-within", "0s", "--json"]);
    assert_eq!(dry["files"], done["files"]);
    assert!(place.path("store/segments/notes.txt").exists());
    assert_eq!(place.value_at(Some("before"), COUNT), "60", "a tag keeps its snapshot");
    place.run(&["query", "--snapshot", "1", COUNT]).says(1, &["there is no snapshot 1"]);
    assert_eq!(digests(&place.path("store")), before);
    let report = place.json(&["verify", "--all", "--json"]);
    assert_eq!((&report["problems"], &report["unreferenced"]), (&json!([]), &json!([])));
}

#[test]
fn a_replaced_line_is_a_new_row_and_the_only_one_computed() {
    let place = filled();
    let text = place.read("pool.jsonl");
    place.write("pool.jsonl", text.replacen("Is 7 odd?", "Is seven odd?", 1));

    place.run(&["add", "--dataset", "pool", "--data", "pool.jsonl"]).says(1, &["--if-changed replace"]);
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl", "--if-changed", "replace"]);
    assert_eq!(place.value(COUNT), "40");
    assert_eq!(place.value("SELECT \"row\" FROM pool WHERE id = 's7'"), "40");

    let missing = place.run(&["query", SCORES]);
    assert_ne!(missing.code, 0, "the new row has no vector yet, and the old one is no stand-in");
    let said = ingest(&place, "pool", None, "grad-sgd,loss");
    assert!(!said.contains("interrupted"), "{said}");
    let segments = place.value("SELECT min(rows) FROM gstore.segments WHERE dataset = 'pool'");
    assert_eq!(segments, "1", "only the new row was computed");
    assert_eq!(
        ids(&place, None, "influence('pool', 'target')").len(),
        place.value(SCORES).parse::<usize>().expect("a number")
    );

    let fresh = Place::new();
    fs_err::copy(place.path("pool.jsonl"), fresh.path("pool.jsonl")).expect("copied");
    ingest(&fresh, "pool", Some("pool.jsonl"), "grad-sgd,loss");
    let loss = "SELECT arrow_cast(vector, 'Utf8') FROM vectors('pool', 'loss@checkpoint-26') WHERE id = 's7'";
    assert_eq!(place.value(loss), fresh.value(loss));
}

#[test]
fn a_purge_leaves_nothing_behind() {
    let place = filled();
    place.ok(&["tag", "before"]);
    let nothing =
        place.json(&["delete", "--dataset", "pool", "--id", "nobody", "--purge", "--yes", "--json"]);
    assert_eq!(nothing["snapshot"], Value::Null);
    assert_eq!(place.value_at(Some("before"), COUNT), "40", "a wrong id costs no history");
    place.ok(&["delete", "--dataset", "pool", "--id", "s4"]);
    place.run(&["delete", "--dataset", "pool", "--id", "s5", "--purge"]).says(2, &["--yes"]);
    assert_eq!(place.value(COUNT), "39");

    let report = place.json(&["delete", "--dataset", "pool", "--id", "s5", "--purge", "--yes", "--json"]);
    assert_eq!(report["purged"], 2, "with the row that was deleted before: {report}");
    assert_eq!(place.value(COUNT), "38");
    assert_eq!(place.ok(&["tag", "--format", "csv"]).lines().count(), 1, "no tag is left");
    let history = place.ok(&["snapshots", "--format", "csv"]);
    assert!(!history.contains("s5") && !history.contains("s4"), "{history}");
    assert!(!place.path("store/ledger.redb").exists());
    let report = place.json(&["verify", "--all", "--json"]);
    assert_eq!((&report["problems"], &report["unreferenced"]), (&json!([]), &json!([])));
    // What one that was cut short has left goes with the command that its message names.
    let samples = fs_err::read_dir(place.path("store/samples")).expect("listed").next();
    let samples = samples.expect("a folder").expect("an entry").path();
    let left = samples.join("00000000-0000-4000-8000-000000000000.parquet");
    fs_err::write(&left, "rows").expect("written");
    let finished = place.ok(&["delete", "--dataset", "pool", "--purge", "--yes"]);
    assert!(
        finished.contains("pool: nothing to delete; 1 file that nothing needs was removed"),
        "{finished}"
    );
    assert!(!left.exists());
    // The id can be used again, and what comes under it is another row.
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl", "--restore-deleted"]);
    assert_eq!(place.value("SELECT \"row\" FROM pool WHERE id = 's5'"), "41");
}

#[test]
fn a_backup_is_a_store_and_comes_back_whole() {
    let place = filled();
    place.ok(&["tag", "first"]);
    place.ok(&["delete", "--dataset", "pool", "--id", "s1"]);
    place.ok(&["backup", "--to", "saved", "--snapshot", "first"]);
    let mut command = gstore_tests::binary::gstore(&place.path("saved"));
    let text = gstore_tests::binary::ok(command.args(["query", "--format", "csv", COUNT]));
    assert_eq!(text.lines().nth(1), Some("40"));

    // The snapshot has a row less than the backup that it replaces.
    let replaced = place.run(&["backup", "--to", "saved", "--json"]);
    let note = "note: the backup in saved has rows that this snapshot lacks";
    replaced.says(0, &[note, "name another folder: pool: 39 rows, was 40"]);
    let report = replaced.json();
    assert!(report["files_kept"].as_u64() > Some(0), "only what is new is copied: {report}");
    place.run(&["backup", "--to", "saved"]).says(0, &[]).lacks(&["note: "]);
    let mut restore = gstore_tests::binary::gstore(&place.path("again"));
    binary::ok(restore.args(["restore", "--from"]).arg(place.path("saved")));
    assert_eq!(digests(&place.path("again")), digests(&place.path("store")));
    let mut verify = gstore_tests::binary::gstore(&place.path("again"));
    gstore_tests::binary::ok(verify.args(["verify", "--all"]));

    let over = place.run(&["restore", "--from", "saved"]);
    over.says(2, &["is a store already; give a missing or empty folder"]);
    let stranger = place.run(&["backup", "--to", "."]);
    assert_ne!(stranger.code, 0, "a folder with other things is not a backup");

    // What is refused is not said to be replaced: a backup of another store, and one that went on.
    let other = Place::of(&[("theirs", 2)]);
    other.add("theirs");
    let theirs = other.path("theirs").display().to_string();
    other.ok(&["backup", "--to", &theirs]);
    let mut more = gstore_tests::binary::gstore(&place.path("saved"));
    let data = other.path("theirs.jsonl");
    gstore_tests::binary::ok(more.args(["add", "--dataset", "more", "--data"]).arg(data));
    for (to, says) in
        [(theirs.as_str(), "holds a backup of store "), ("saved", "was changed after it was made")]
    {
        place.run(&["backup", "--to", to]).fails(&[says]).lacks(&["note: "]);
    }
}

#[test]
fn what_has_no_rows_is_lost_by_its_name() {
    // Three snapshots, the second with a tag, and the manifest of this name damaged.
    let damaged = |name: &str| {
        let place = Place::new();
        for i in 1..=3 {
            let file = format!("{i}.jsonl");
            place.write(&file, format!("{{\"id\":\"a{i}\",\"text\":\"t\"}}\n"));
            place.ok(&["add", "--dataset", "pool", "--data", &file]);
        }
        place.ok(&["tag", "before", "--snapshot", "2"]);
        let manifests = fs_err::read_dir(place.path("store").join("manifests")).expect("there");
        let is_it =
            |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
        for path in manifests.map(|entry| entry.expect("read").path()).filter(is_it) {
            fs_err::write(path, "{}").expect("written");
        }
        place
    };
    // The tag goes with its snapshot.
    let told = damaged("root-2-").ok(&["verify", "--repair"]);
    assert!(told.contains("\nlost: tag before (snapshot 2)\n"), "{told}");
    assert!(told.contains("\nthe snapshots before 3 are given up\n"), "{told}");
    // Or outlives one that comes after it.
    let told = damaged("root-3-").ok(&["verify", "--repair"]);
    let of_tag = "of the snapshots before 4 only the tagged ones (before) can still be read";
    assert!(told.contains(of_tag) && !told.contains("lost: "), "{told}");
    // A part that cannot be read at all.
    let told = damaged("dataset-1-").run(&["verify"]);
    assert!(told.code == 3 && told.stdout.contains("\n  all of dataset pool cannot be read\n"), "{told:?}");
    // A sample file that is gone.
    let place = damaged("no manifest");
    let samples = fs_err::read_dir(place.path("store/samples/1")).expect("there").next().expect("a file");
    fs_err::remove_file(samples.expect("read").path()).expect("removed");
    let told = place.ok(&["verify", "--repair"]);
    assert!(told.contains("\nnote: nothing could be saved of samples/1/"), "{told}");
    assert!(told.contains("\nlost: 1 row of dataset pool") && !told.contains("rebuilt: samples/"), "{told}");
}

#[test]
fn what_a_repair_lost_the_same_command_brings_back() {
    let place = filled();
    let before = digests(&place.path("store"));
    let file = place.value(
        "SELECT file FROM gstore.segments WHERE label = 'grad-sgd@checkpoint-26' AND dataset = 'pool'",
    );
    let path = place.path("store").join(file);
    let mut bytes = fs_err::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs_err::write(&path, bytes).expect("written");

    assert_eq!(place.run(&["query", SCORES]).code, 3);
    assert_eq!(place.run(&["verify"]).code, 3);
    let told = place.run(&["verify", "--repair", "--dry-run"]).stdout;
    for part in ["\nlost: ", "\n  ids: s", "\n  that command: gstore ", " --features grad-sgd,loss "] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let dry = place.run(&["verify", "--repair", "--dry-run", "--json"]);
    assert_eq!(dry.code, 3, "nothing was repaired yet");
    let dry = dry.json();
    let report = place.json(&["verify", "--repair", "--json"]);
    assert_eq!(dry["lost"], report["lost"]);
    let command = report["lost"][0]["command"].as_str().unwrap_or_default();
    assert!(command.contains(" --features grad-sgd,loss "), "{report}");
    // The repair ends the history that had it.
    let changes = place.value("SELECT changes FROM gstore.snapshots ORDER BY number DESC LIMIT 1");
    assert!(changes.contains(&format!("what is lost was computed by {command}")), "{changes}");
    assert_eq!(place.run(&["verify"]).code, 0);
    ingest(&place, "pool", None, "grad-sgd,loss");
    assert_eq!(digests(&place.path("store")), before);
}

#[test]
fn files_under_each_others_names_are_put_back() {
    let place = filled();
    let store = place.path("store");
    let (before, scores) = (digests(&store), place.value(SCORES));
    let history = place.value("SELECT count(*) FROM gstore.snapshots");
    let files = place.rows("SELECT file FROM gstore.segments ORDER BY file");
    let files: Vec<&str> = files.iter().filter_map(|row| row["file"].as_str()).collect();
    let [a, .., b] = files[..] else { panic!("{files:?}") };
    let aside = place.path("aside");
    for (from, to) in [(store.join(a), aside.clone()), (store.join(b), store.join(a)), (aside, store.join(b))]
    {
        fs_err::rename(from, to).expect("renamed");
    }

    assert_eq!(place.run(&["verify"]).code, 3);
    let told = place.run(&["verify", "--repair", "--dry-run"]);
    assert!(
        told.code == 3 && told.stdout.contains(&format!("\nto rebuild: {a} from {b}, which")),
        "{told:?}"
    );
    assert_eq!(place.run(&["verify"]).code, 3, "a dry run changed something");
    let told = place.ok(&["verify", "--repair"]);
    for (file, from) in [(a, b), (b, a)] {
        assert!(told.contains(&format!("\nrebuilt: {file} from {from}, which has its content\n")), "{told}");
    }
    assert!(told.ends_with("no snapshot had to be published\n") && !told.contains("lost: "), "{told}");
    assert_eq!(place.run(&["verify", "--all"]).code, 0);
    assert_eq!((digests(&store), place.value(SCORES)), (before, scores));
    assert_eq!(place.value("SELECT count(*) FROM gstore.snapshots"), history);
}

#[test]
fn deleted_and_purged_samples_do_not_come_back_with_the_same_command() {
    let place = Place::of(&[("pool", 5)]);
    let add = |more: &[&str]| {
        let args = [&["add", "--dataset", "pool", "--data", "pool.jsonl"], more].concat();
        place.done(&args)
    };
    add(&[]);
    place.ok(&["delete", "--dataset", "pool", "--id", "s2", "--purge", "--yes"]);
    let said = add(&[]).stderr;
    assert!(
        said.contains("pool: 0 samples added, 4 were there already, 1 was deleted before and left out (--restore-deleted adds it)"),
        "{said}"
    );
    place.write("ids.txt", "\u{feff}s3\ns3\n");
    place.ok(&["delete", "--dataset", "pool", "--ids", "ids.txt"]);
    let said = add(&[]).stderr;
    assert!(said.contains("2 were deleted before and left out (--restore-deleted adds them)"), "{said}");
    let report: Value = serde_json::from_str(&add(&["--json"]).stdout).expect("JSON");
    assert_eq!(
        (&report["added"], &report["unchanged"], &report["left_out"]),
        (&json!(0), &json!(3), &json!(2))
    );

    // With an ingest too, and in what it says beforehand.
    let line = "ingest --dataset pool --data pool.jsonl --features loss --dry-run";
    let dry = gstore_tests::binary::run(&mut place.with_model(line));
    dry.says(0, &["0 samples to add, 3 there already", "2 deleted before to leave out"]);
    let said = ingest(&place, "pool", Some("pool.jsonl"), "loss");
    assert!(said.contains("2 were deleted before and left out"), "{said}");
    assert_eq!(place.value(COUNT), "3");

    let said = add(&["--restore-deleted"]).stderr;
    assert!(said.contains("pool: 2 samples added, 3 were there already"), "{said}");
    assert_eq!(place.value(COUNT), "5");
    let said = add(&[]).stderr;
    assert!(said.contains("nothing to add; all 5 samples are there already"), "{said}");
    assert_eq!(place.run(&["verify", "--all"]).code, 0);
}
