//! Promise: what a new user tripped over in adding, undoing and selecting data stays fixed.
//!
//! Names of tests refer to the finding: `d12_...` a defect, `s10_...` a stumbling block of the trial.

use std::process::Stdio;

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::{Value, json};

use crate::served::{Served, token};

/// A pool and a target with gradients of the demo's model.
pub fn scored() -> Place {
    let place = Place::new();
    for (dataset, rows, features) in [("pool", 40, "grad-sgd,loss"), ("target", 6, "grad-sgd")] {
        place.samples(dataset, rows);
        ingest(&place, &["--dataset", dataset, "--data", &format!("{dataset}.jsonl")], features).says(0, &[]);
    }
    place
}

/// An ingest with the demo's model and one of its checkpoints.
pub fn ingest(place: &Place, args: &[&str], features: &str) -> Finished {
    let checkpoint = world::demo_adapter(0);
    let dim = if features.contains("grad") { " --dim 64" } else { "" };
    let mut command = place.with_model(&format!("ingest{dim} --run warmup"));
    binary::run(command.args(["--features", features]).args(args).arg("--checkpoints").arg(checkpoint))
}

pub fn add(place: &Place, dataset: &str, file: &str, more: &[&str]) -> Finished {
    place.run(&[&["add", "--dataset", dataset, "--data", file], more].concat())
}

/// Content of the messages of a stored row.
pub fn record(place: &Place, dataset: &str, row: u64) -> Value {
    let sql = format!("SELECT record FROM {dataset} WHERE row = {row}");
    let line = place.ok(&["query", "--format", "json", &sql]);
    let line: Value = serde_json::from_str(line.trim()).expect("JSON");
    serde_json::from_str(line["record"].as_str().expect("a text")).expect("a record")
}

#[test]
fn d10_a_stopped_ingest_says_what_it_keeps() {
    let place = Place::of(&[("pool", 6000)]);
    let line =
        "ingest --dataset pool --data pool.jsonl --max-length 64 --features grad-sgd --projection none";
    let child = place.with_model(line).stderr(std::process::Stdio::piped()).spawn().expect("started");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    binary::interrupt(&child);
    let finished = Finished::from(child.wait_with_output().expect("ends"));
    // Wherever it was: what it says is there, is there.
    let text = &finished.stderr;
    if finished.code == 130 && text.contains("vectors of") {
        assert!(text.contains(" of 6000 rows are kept: run the same command again to continue"), "{text}");
    } else {
        let known = ["nothing was added", "to begin again", "again to continue", "published"];
        assert!(known.iter().any(|words| text.contains(words)), "{text}");
    }
}

/// Ctrl-C arrives while a lock that the test holds lets no job begin.
#[cfg(unix)]
#[test]
fn a_first_ingest_that_is_stopped_early_says_what_it_left() {
    let place = Place::of(&[("pool", 20)]);
    add(&place, "other", "pool.jsonl", &[]).told(0, &[]);
    fs_err::create_dir_all(place.path("store/tmp")).expect("a folder");
    let path = place.path("store/tmp/start.lock");
    for seconds in [1, 2, 4, 8, 16] {
        // A try that came too late has done the work.
        let pool = format!("pool{seconds}");
        add(&place, &pool, "pool.jsonl", &[]).told(0, &[]);
        let mut command = place.with_model(&format!("ingest --dataset {pool} --features loss"));
        // Long enough for the command to get there; if not, it is tried again.
        let finished = binary::interrupted_at(&path, &mut command, seconds);
        if finished.code == 130 {
            let says = "stopped before new vectors were sealed: run the same command again to continue";
            finished.told(130, &["stopping", says]);
            return;
        }
    }
    panic!("the command never got to its work");
}

#[test]
fn d12_rows_that_can_never_be_scored_are_counted_when_they_are_added() {
    let place = Place::new();
    let user = json!({ "role": "user", "content": "q" });
    let lines = [
        json!({ "id": "a", "messages": [user, { "role": "assistant", "content": "a" }] }),
        json!({ "id": "b", "messages": [user] }),
        json!({ "id": "c", "text": "" }),
    ];
    place.write("o.jsonl", lines.map(|line| format!("{line}\n")).concat());
    let finished = add(&place, "o", "o.jsonl", &[]);
    finished.told(0, &["2 of 3 records have nothing to score", "empty text: line 3", "assistant: line 2"]);
    assert_eq!(place.json(&["add", "--dataset", "p", "--data", "o.jsonl", "--json"])["unscorable"], 2);
    // What an encoding cuts off, the ingest counts.
    let long = format!("{}\n", json!({ "text": "seven ".repeat(300) }));
    place.write("long.jsonl", long);
    let finished = ingest(&place, &["--dataset", "l", "--data", "long.jsonl", "--max-length", "64"], "loss");
    finished.told(0, &["1 of 1 row is longer than 64 tokens", "--max-length"]);
}

#[test]
fn a_dry_run_of_add_tells_what_it_would_do_and_changes_nothing() {
    let place = Place::new();
    place.write("a.jsonl", "{\"id\":\"a\",\"text\":\"a b\",\"n\":1}\n{\"id\":\"b\",\"text\":\"\",\"n\":2}\n");
    let dry = |file: &str, more: &[&str]| add(&place, "pool", file, &[&["--dry-run"], more].concat());
    let first = dry("a.jsonl", &[]);
    first.told(0, &["pool: 2 samples to add, 0 there already", "columns: n int", "nothing was changed"]);
    first.told(0, &["1 of 2 records has nothing to score"]);
    assert!(!place.path("store").exists());

    add(&place, "pool", "a.jsonl", &[]).told(0, &["2 samples added"]);
    let snapshot = || place.value("SELECT max(number) FROM gstore.snapshots");
    let before = snapshot();
    let lines = "{\"id\":\"a\",\"text\":\"a c\",\"n\":1}\n{\"id\":\"c\",\"text\":\"c\"}\n{\"id\":\"c\",\"text\":\"d\"}\n";
    place.write("b.jsonl", lines);
    // What add refuses, its dry run refuses.
    dry("b.jsonl", &[]).told(1, &["is in dataset \"pool\" already"]);
    dry("b.jsonl", &["--if-changed", "keep"]).told(1, &["occurs twice"]);
    let kept = ["--if-changed", "keep", "--duplicates", "first"];
    let words =
        "1 sample to add, 0 there already, 0 to replace, 1 changed line to skip, 1 repeats an earlier id";
    dry("b.jsonl", &kept).told(0, &[words]);
    place.write("wrong.jsonl", "{\"id\":\"d\",\"text\":\"d\",\"n\":\"many\"}\n");
    assert_eq!(dry("wrong.jsonl", &[]).code, add(&place, "pool", "wrong.jsonl", &[]).code);
    assert_eq!((snapshot(), place.value("SELECT count(*) FROM pool")), (before, "2".to_owned()));
}

#[test]
fn an_id_that_is_null_is_made_as_one_that_is_not_there() {
    let place = Place::new();
    let lines = "{\"id\": null, \"text\": \"a\"}\n{\"id\": null, \"text\": \"b\"}\n{\"text\": \"c\"}\n";
    place.write("pool.jsonl", lines);
    // The second time they are known by these ids.
    for _ in 0..2 {
        add(&place, "pool", "pool.jsonl", &[]).told(0, &[]);
        assert_eq!(place.value("SELECT count(*) FROM pool"), "3");
        assert_eq!(place.value("SELECT count(DISTINCT id) FROM pool WHERE id LIKE 'x%'"), "3");
    }
    place.write("wrong.jsonl", "{\"text\": \"a\"}\n{\"id\": false, \"text\": \"b\"}\n");
    let refused = add(&place, "wrong", "wrong.jsonl", &[]);
    refused.told(1, &["wrong.jsonl", "line 2", "`id` must be a string or an integer"]);
}

#[test]
fn datasets_before_one_that_cannot_be_added_stay_and_are_named() {
    let place = Place::new();
    place.write("new1.jsonl", "{\"text\":\"a b\"}\n");
    place.write("qa.csv", "uid,question,answer\n1,q,a\n");
    let files = ["add", "--data", "new1.jsonl", "qa.csv"];
    let finished = place.run(&files);
    let likely = "--field prompt=question --field completion=answer";
    finished.told(1, &["new1: 1 sample added", "added before the error and kept: new1;", likely]);
    place.write("qa.csv", "uid,prompt,completion\n1,q,a\n");
    place.run(&files).told(0, &["new1: nothing to add", "qa: 1 sample added"]);
    // So do those that a model has run over.
    place.write("none.jsonl", "{\"n\":1}\n");
    let finished = ingest(&place, &["--data", "new1.jsonl", "none.jsonl"], "loss");
    finished.told(1, &["ingested before the error and kept: new1; run the same command again"]);
    // Of one dataset it is all or nothing.
    place.write("more.jsonl", "{\"text\":\"c d\"}\n");
    place.write("bad.jsonl", "{\"n\":1}\n");
    let finished = place.run(&["add", "--dataset", "new1", "--data", "more.jsonl", "bad.jsonl"]);
    finished.told(1, &["as in --field prompt=KEY"]).lacks(&["kept"]);
    assert_eq!(place.value("SELECT count(*) FROM new1"), "1");
}

#[test]
fn what_changes_nothing_says_why() {
    let place = Place::new();
    place.write("a.jsonl", "{\"id\":\"a\",\"text\":\"a b\"}\n");
    place.write("b.jsonl", "{\"id\":\"a\",\"text\":\"a c\"}\n");
    add(&place, "pool", "a.jsonl", &[]).told(0, &["1 sample added"]);
    let kept = add(&place, "pool", "b.jsonl", &["--if-changed", "keep"]);
    kept.told(0, &["pool: nothing to add; 1 changed line skipped"]);
    add(&place, "pool", "b.jsonl", &["--if-changed", "replace"]).told(0, &["1 replaced"]);
    place
        .run(&["gc", "--keep", "1"])
        .told(0, &["0 snapshots went", "stay, as one of the last 1 state or younger"]);
    place
        .run(&["delete", "--dataset", "pool", "--id", "a", "--purge"])
        .told(2, &["it removes 1 row of \"pool\""]);
    // A flag is proposed as help lists it.
    for args in [&["train", "--lora-targts", "q_proj"][..], &["evaluate", "retrain", "--target", "x"]] {
        place.run(args).says(2, &[]).lacks(&["lora_targets"]);
    }
}

#[test]
fn gradients_of_a_pool_at_a_checkpoint_that_no_target_has_do_not_hide_the_others() {
    let place = scored();
    let mut command = place.with_model("ingest --dataset pool --features grad-adam --dim 64 --run later");
    let checkpoint = world::demo_adapter(1);
    binary::ok(command.arg("--checkpoints").arg(checkpoint));
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "x.jsonl"];
    let note = "grad-adam at no checkpoint where every target has grad-sgd, so its grad-sgd is compared";
    place.run(&select).told(0, &["3 of 40 rows selected", note]);
    place.run(&[&select[..], &["--force", "--pool-kind", "grad-adam"]].concat()).told(
        1,
        &[
            "no checkpoint has features of every",
            "`pool` has grad-adam@",
            "`target` has grad-sgd@",
            "`gstore ingest --run later --dataset target --features grad-sgd --store ",
            "`--pool-kind KIND` and `--target-kind KIND`",
        ],
    );
}

#[test]
fn d13_options_and_conditions_are_named_as_the_command_line_has_them() {
    let place = scored();
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "x.jsonl"];
    let finished = place.run(&[&select[..], &["--quota", "math"]].concat());
    assert!(
        finished.stderr.contains("--quota math: ") && !finished.stderr.contains("=>"),
        "{}",
        finished.stderr
    );
    let delete =
        |condition: &str| place.run(&["delete", "--dataset", "pool", "--dry-run", "--where", condition]);
    delete("sorce='x'").told(1, &["--where", "sorce", "(line 1, column 1)", "source"]);
    delete("").told(2, &["--where", "is empty"]);
    delete("1=1) or (1=1").told(2, &["--where", "syntax error at ): the condition ends before it"]);
    delete("source = 'a' -- of the first").told(0, &["14 rows would be deleted"]);
}

#[test]
fn d14_a_tokenizer_that_is_too_large_is_found_before_anything_is_written() {
    let place = Place::of(&[("pool", 3)]);
    // A model of fewer tokens than its tokenizer has.
    let model = place.path("model");
    world::copy_files(&world::demo().join("model"), &model);
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs_err::read(&path).expect("read")).expect("JSON");
    let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    let most = vocab.values().filter_map(Value::as_u64).max().expect("tokens");
    vocab.insert("beyond-the-model".to_owned(), json!(most + 1));
    fs_err::write(&path, tokenizer.to_string()).expect("written");
    let mut command =
        place.gstore(&["ingest", "--dataset", "pool", "--data", "pool.jsonl", "--features", "loss"]);
    let finished = binary::run(command.args(["--max-length", "64", "--model"]).arg(&model));
    finished.told(1, &["belongs to another model", &format!("token {}", most + 1)]);
    assert!(!place.path("store").exists());
}

#[test]
fn d15_a_store_appears_with_its_first_commit_and_is_named() {
    let place = Place::new();
    // Found by reading all of it: an id that is used twice, a column of two types.
    place.write("late.jsonl", "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n");
    place.write("types.jsonl", "{\"text\":\"x\",\"n\":1}\n{\"text\":\"y\",\"n\":\"one\"}\n");
    for file in ["late.jsonl", "types.jsonl"] {
        assert_eq!(add(&place, "pool", file, &[]).code, 1);
        assert!(!place.path("store").exists());
    }
    place.write("good.jsonl", "{\"text\":\"x\"}\n");
    add(&place, "pool", "good.jsonl", &[]).told(0, &["new store ", "store", "pool: 1 sample added"]);
    assert!(!add(&place, "more", "good.jsonl", &[]).stderr.contains("new store"));
    // Nothing is left of the folder that it was made in.
    let names = place.names();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

#[test]
fn d16_a_feature_is_described_by_the_name_that_drop_and_index_take() {
    let place = scored();
    let label = place.value("SELECT label FROM gstore.features WHERE dataset = 'target' LIMIT 1");
    let of_target = place.json(&["info", &format!("target/{label}"), "--json"]);
    assert_eq!(
        (of_target["dataset"].as_str(), of_target["feature"].as_str()),
        (Some("target"), Some(&*label))
    );
}

#[test]
fn d19_a_store_inside_a_data_folder_is_no_data() {
    let place = Place::new();
    place.write("data/pool.jsonl", "{\"text\":\"x\"}\n");
    let inside = |args: &[&str]| {
        binary::run(binary::gstore(&place.path("data/store")).args(args).current_dir(place.path("")))
    };
    for text in ["x", "y"] {
        place.write("data/pool.jsonl", format!("{{\"text\":\"{text}\"}}\n"));
        inside(&["add", "--dataset", "pool", "--data", "data"]).told(0, &["pool: 1 sample added"]);
    }
    inside(&["add", "--dataset", "no", "--data", "data/store"]).told(1, &["no data files"]);
}

#[test]
fn d20_keys_of_json_have_no_blanks() {
    let place = scored();
    for name in [&["info", "--json"][..], &["info", "pool", "--json"], &["info", "1", "--json"]] {
        let mut left = vec![place.json(name)];
        while let Some(value) = left.pop() {
            match value {
                Value::Object(object) => {
                    for (key, value) in object {
                        assert!(!key.contains(' '), "{name:?}: {key}");
                        left.push(value);
                    }
                }
                Value::Array(items) => left.extend(items),
                _ => {}
            }
        }
    }
    let columns = &place.json(&["info", "pool", "--json"])["columns"];
    assert_eq!(*columns, json!([{ "name": "source", "type": "text" }]));
    assert!(place.ok(&["info", "pool"]).contains("source text"));
    assert!(place.ok(&["info"]).contains("bytes of vectors"));
}

#[test]
fn d22_blanks_between_features_and_silent_rules_are_no_trouble() {
    let place = scored();
    ingest(&place, &["--dataset", "pool", "--dry-run"], "grad-sgd, loss").told(0, &["loss"]);
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "x.jsonl"];
    let rules = ["--round-robin", "subtask", "--quota", "*=3"];
    place.run(&[&select[..], &rules[..]].concat()).says(0, &[]).lacks(&["passed over"]);
}

#[test]
fn b1_a_target_that_decides_all_rows_is_named() {
    let place = scored();
    // The pool itself: no row is closer to anything than to itself.
    ingest(&place, &["--dataset", "same", "--data", "pool.jsonl"], "grad-sgd").told(0, &[]);
    let select = |top: &str, flags: &[&str]| {
        let targets = ["select", "--pool", "pool", "--target", "target", "same", "--within", "max"];
        let finished =
            place.done(&[&targets[..], &["--top", top, "-o", "x.jsonl", "--force"], flags].concat());
        finished.stderr
    };
    // Where both are as close, the first subtask by name decides, which is `same`.
    let note = "note: all 20 rows were taken for same; --round-robin target gives each target its share, \
        --each target makes a file for each";
    assert!(select("20", &[]).contains(note), "{}", select("20", &[]));
    for (top, flags) in [
        ("20", &["--round-robin", "target"][..]),
        ("20", &["--each", "target"]),
        ("20", &["--across", "mean"]),
        // Of a few rows it is no wonder.
        ("5", &[]),
    ] {
        let told = select(top, flags);
        assert!(!told.contains("were taken for"), "{flags:?}: {told}");
    }
    // Programs are told too, and a server's clients.
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let words = "select --pool pool --target target,same --within max -o x.jsonl --force";
    let here: Vec<&str> = words.split(' ').collect();
    let mut there = here.clone();
    there.extend(["--remote", &server.address, "--token", &token]);
    for asked in [&here[..], &there] {
        for (top, target, rows) in [("20", json!("same"), json!(20)), ("5", json!(null), json!(null))] {
            let finished = place.done(&[asked, &["--top", top, "--json"]].concat());
            let report = finished.json();
            assert_eq!((&report["decided_by"], &report["decided_rows"]), (&target, &rows), "{asked:?}");
            assert_eq!(finished.stderr.contains(note), target == "same", "{}", finished.stderr);
        }
    }
}

#[test]
fn d23_tags_that_follow_each_other_name_one_state() {
    let place = Place::new();
    place.write("a.jsonl", "{\"text\":\"x\"}\n");
    add(&place, "pool", "a.jsonl", &[]).told(0, &[]);
    for tag in ["a", "b", "c"] {
        assert_eq!(place.ok(&["tag", tag]), format!("{tag}: tagged snapshot 1\n"));
    }
    place.run(&["tag", "5"]).told(2, &["a tag must not be"]);
    add(&place, "more", "a.jsonl", &[]).told(0, &[]);
    assert_eq!(place.ok(&["tag", "d"]), "d: tagged snapshot 5\n");
    // As with views and tokens, `list` lists; it sets no tag.
    let listed = place.ok(&["tag", "--format", "csv"]);
    assert_eq!(place.ok(&["tag", "list", "--format", "csv"]), listed);
    assert_eq!(listed.lines().count(), 5);
    place.run(&["tag", "list", "--snapshot", "1"]).told(2, &["\"list\" cannot be a tag"]);
    place.run(&["tag", "drop"]).told(2, &["\"drop\" cannot be a tag", "--delete"]);
    place.run(&["tag", "d", "-d"]).told(2, &["--delete"]);
}

#[test]
fn s10_a_wrong_delete_or_drop_is_undone_without_computing_again() {
    let place = scored();
    let before = world::digests(&place.store());
    let number = place.json(&["info", "--json"])["snapshot"].as_u64().expect("a number");
    let deleted = place.run(&["delete", "--dataset", "pool", "--where", "source = 'a'"]);
    deleted.told(0, &["14 rows deleted", &format!("gstore revert --to {number}")]);
    place.run(&["drop", "dataset", "target"]).told(0, &[&format!("gstore revert --to {}", number + 1)]);
    let to = number.to_string();
    let dry = place.run(&["revert", "--to", &to, "--dry-run"]);
    dry.told(0, &["pool: 14 rows come back", "dataset target comes back", "dry run"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "26");
    place.run(&["revert", "--to", &to]).told(0, &["has the content of snapshot"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");
    assert_eq!(world::digests(&place.store()), before);
    place.ok(&["verify"]);
    // Nothing to compute, and new rows get new numbers.
    ingest(&place, &["--dataset", "pool"], "grad-sgd,loss").told(0, &["nothing to compute"]);
    place.run(&["revert", "--to", "nowhere"]).told(1, &["nowhere"]);
    // By a tag, and back again.
    place.ok(&["tag", "good"]);
    place.run(&["delete", "--dataset", "pool", "--id", "s1", "s2"]).told(0, &["2 rows deleted"]);
    place.ok(&["revert", "--to", "good"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");
    place.run(&["revert", "--to", "good"]).told(0, &["nothing differs"]);
}

#[test]
fn a_damaged_record_of_deletes_costs_no_older_state() {
    let place = Place::of(&[("pool", 8)]);
    place.add("pool");
    let before = place.snapshot().number().to_string();
    place.ok(&["delete", "--dataset", "pool", "--id", "s1"]);
    let number = place.snapshot().number();
    let folder = fs_err::read_dir(place.path("store/tombstones/1")).expect("listed");
    let bitmaps: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    for bitmap in &bitmaps {
        let mut bytes = fs_err::read(bitmap).expect("readable");
        bytes[0] ^= 1;
        fs_err::write(bitmap, bytes).expect("written");
    }
    place.run(&["verify"]).told(3, &["gstore revert --to N", "gstore verify --repair --forget-deletes"]);
    place.run(&["verify", "--repair"]).told(3, &["still damaged", "nothing could be repaired"]);
    assert_eq!(place.snapshot().number(), number);
    place.run(&["revert", "--to", &before]).told(0, &["dataset pool has its earlier 8 rows"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "8");
    place.ok(&["verify"]);
}

#[test]
fn s11_work_is_sealed_by_time_and_changes_no_bit() {
    use gstore_ingest::pipeline::{IngestRequest, Kind};
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("pool.jsonl");
    world::write_samples(&data, 300);
    let digests = |name: &str, seal_after| {
        let store = gstore_store::Store::create(dir.path().join(name)).expect("created");
        world::register(&store, "pool", &data).expect("registered");
        let request = world::request("pool", &[Kind::GradSgd, Kind::Loss]);
        world::run(&store, IngestRequest { seal_after, ..request }).expect("ingested");
        let snapshot = store.snapshot().expect("opens");
        let files: usize = snapshot.features().iter().map(|feature| feature.segments.len()).sum();
        (world::digests(&store), files)
    };
    let (whole, files) = digests("whole", std::time::Duration::from_secs(300));
    let (parts, more) = digests("parts", std::time::Duration::ZERO);
    assert!(whole == parts && more > files, "{files} {more}");
}

#[test]
fn a_command_of_the_history_can_be_pasted() {
    let place = Place::new();
    place.write("pool.jsonl", "{\"text\":\"a\",\"source\":\"x y\"}\n{\"text\":\"b\",\"source\":\"z\"}\n");
    place.add("pool");
    place.ok(&["delete", "--dataset", "pool", "--where", "source = 'x y'"]);
    let command = place.value("SELECT command FROM gstore.snapshots ORDER BY number DESC LIMIT 1");
    let words = r"--where 'source = '\''x y'\'''";
    assert!(command.starts_with("gstore --store /") && command.ends_with(words), "{command}");
}

/// Folders in which stores are made, next to the place of a store.
fn unfinished(place: &Place) -> usize {
    place.names().iter().filter(|name| name.starts_with(".gstore-new-")).count()
}

#[test]
fn what_a_killed_first_add_leaves_goes_with_the_next() {
    let place = Place::of(&[("pool", 50_000)]);
    let add = ["add", "--dataset", "pool", "--data", "pool.jsonl"];
    let at_work = binary::killed_once(&mut place.gstore(&add), || unfinished(&place) > 0);
    assert!(at_work, "it ended before it was killed");
    assert!(unfinished(&place) == 1 && !place.path("store").exists());
    place.write("small.jsonl", "{\"text\":\"a\"}\n");
    place.add("small");
    assert_eq!(unfinished(&place), 0);
    place.ok(&add);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "50000");
}

#[test]
fn reasoning_that_is_no_part_of_the_text_is_counted() {
    let place = Place::new();
    let with = r#"{"role":"assistant","reasoning_content":"think hard","content":"y"}"#;
    let without = r#"{"role":"assistant","content":"y"}"#;
    let line = |turn: &str| format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}},{turn}]}}\n");
    place.write("some.jsonl", [line(with), line(without)].concat());
    place.write("none.jsonl", line(without));
    let add = |file: &str| place.run(&["add", "--dataset", "pool", "--data", file]);
    add("some.jsonl").told(0, &["1 sample has `reasoning_content` or `reasoning` in a message", "`content`"]);
    add("none.jsonl").told(0, &["there already"]).lacks(&["reasoning"]);
}

#[test]
fn two_first_adds_at_once_are_both_kept() {
    let place = Place::new();
    let mut running = Vec::new();
    for dataset in ["one", "two"] {
        place.samples(dataset, 5000);
        let file = format!("{dataset}.jsonl");
        let mut command = place.gstore(&["add", "--dataset", dataset, "--data", &file]);
        running.push(command.stderr(Stdio::piped()).spawn().expect("gstore runs"));
    }
    for child in running {
        Finished::from(child.wait_with_output().expect("ended")).told(0, &["5000 samples added"]);
    }
    assert_eq!(place.value("SELECT count(*) FROM gstore.datasets"), "2");
    assert_eq!(unfinished(&place), 0);
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
}
