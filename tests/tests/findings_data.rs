//! Promise: what a new user tripped over in reading, adding, undoing and selecting data stays mended.
//!
//! Names of tests say the finding: `d12_...` a defect, `s16_...` a stumbling block of the trial.

use std::path::Path;
use std::process::Command;

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::{shared, world};
use serde_json::{Value, json};

/// A pool and a target with gradients of the demo's model.
fn scored() -> Place {
    let place = Place::new();
    for (dataset, rows, features) in [("pool", 40, "grad-sgd,loss"), ("target", 6, "grad-sgd")] {
        let data = place.path(&format!("{dataset}.jsonl"));
        world::write_samples(&data, rows);
        let finished =
            ingest(&place, &["--dataset", dataset, "--data", &format!("{dataset}.jsonl")], features);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
    }
    place
}

/// An ingest with the demo's model and one of its checkpoints.
fn ingest(place: &Place, args: &[&str], features: &str) -> Finished {
    let mut command = place.gstore(&[&["ingest", "--features", features, "--dim", "64"], args].concat());
    let checkpoint = world::demo_checkpoints().swap_remove(0).folder().expect("an adapter").to_owned();
    command.args(["--run", "warmup", "--model"]).arg(world::demo().join("model"));
    binary::run(command.arg("--checkpoints").arg(checkpoint))
}

fn write(place: &Place, name: &str, text: &str) {
    let path = place.path(name);
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("created");
    fs_err::write(path, text).expect("written");
}

fn add(place: &Place, dataset: &str, file: &str, more: &[&str]) -> Finished {
    place.run(&[&["add", "--dataset", dataset, "--data", file], more].concat())
}

#[track_caller]
fn said(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, code, "{}{}", finished.stdout, finished.stderr);
    for word in words {
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(all.contains(word), "no {word:?} in: {all}");
    }
}

/// Content of the messages of a stored row.
fn record(place: &Place, dataset: &str, row: u64) -> Value {
    let sql = format!("SELECT record FROM {dataset} WHERE row = {row}");
    let line = place.ok(&["query", "--format", "json", &sql]);
    let line: Value = serde_json::from_str(line.trim()).expect("JSON");
    serde_json::from_str(line["record"].as_str().expect("a text")).expect("a record")
}

#[test]
fn d10_a_stopped_ingest_says_what_it_keeps() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 6000);
    let mut command =
        place.gstore(&["ingest", "--dataset", "pool", "--data", "pool.jsonl", "--max-length", "64"]);
    command
        .args(["--features", "grad-sgd", "--projection", "none", "--model"])
        .arg(world::demo().join("model"));
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("started");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let finished = Finished::from(child.wait_with_output().expect("ends"));
    // Wherever it was: what it says is there, is there.
    let text = &finished.stderr;
    if finished.code == 130 && text.contains("vectors of") {
        assert!(text.contains(" of 6000 rows are kept, and the same command goes on from there"), "{text}");
    } else {
        let known = ["nothing was added", "begins again", "goes on from there", "published"];
        assert!(known.iter().any(|words| text.contains(words)), "{text}");
    }
}

/// Ctrl-C arrives while a lock that the test holds lets no job begin.
#[cfg(unix)]
#[test]
fn a_first_ingest_that_is_stopped_early_says_what_it_left() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 20);
    said(&add(&place, "other", "pool.jsonl", &[]), 0, &[]);
    fs_err::create_dir_all(place.path("store/tmp")).expect("a folder");
    let path = place.path("store/tmp/start.lock");
    for seconds in [1, 2, 4, 8, 16] {
        // A try that came too late has done the work.
        let pool = format!("pool{seconds}");
        said(&add(&place, &pool, "pool.jsonl", &[]), 0, &[]);
        let lock =
            fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(&path).expect("opened");
        lock.file().lock().expect("locked");
        let mut command = place.gstore(&["ingest", "--dataset", &pool, "--features", "loss", "--model"]);
        command.arg(world::demo().join("model")).stderr(std::process::Stdio::piped());
        let child = command.spawn().expect("started");
        // Long enough for the command to get there; if not, it is tried again.
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(lock);
        let finished = Finished::from(child.wait_with_output().expect("ends"));
        if finished.code == 130 {
            let says = "stopped before the first vectors were sealed; the same command begins again";
            return said(&finished, 130, &["stopping", says]);
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
    write(&place, "o.jsonl", &lines.map(|line| format!("{line}\n")).concat());
    let finished = add(&place, "o", "o.jsonl", &[]);
    said(&finished, 0, &["2 of 3 records have nothing to score", "empty text: line 3", "assistant: line 2"]);
    assert_eq!(place.json(&["add", "--dataset", "p", "--data", "o.jsonl", "--json"])["unscorable"], 2);
    // What an encoding cuts off, the ingest counts.
    let long = format!("{}\n", json!({ "text": "seven ".repeat(300) }));
    write(&place, "long.jsonl", &long);
    let finished = ingest(&place, &["--dataset", "l", "--data", "long.jsonl", "--max-length", "64"], "loss");
    said(&finished, 0, &["1 of 1 row is longer than 64 tokens", "--max-length"]);
}

#[test]
fn an_id_that_is_null_is_made_as_one_that_is_not_there() {
    let place = Place::new();
    let lines = "{\"id\": null, \"text\": \"a\"}\n{\"id\": null, \"text\": \"b\"}\n{\"text\": \"c\"}\n";
    write(&place, "pool.jsonl", lines);
    // The second time they are known by these ids.
    for _ in 0..2 {
        said(&add(&place, "pool", "pool.jsonl", &[]), 0, &[]);
        assert_eq!(place.value("SELECT count(*) FROM pool"), "3");
        assert_eq!(place.value("SELECT count(DISTINCT id) FROM pool WHERE id LIKE 'x%'"), "3");
    }
    write(&place, "wrong.jsonl", "{\"text\": \"a\"}\n{\"id\": false, \"text\": \"b\"}\n");
    let refused = add(&place, "wrong", "wrong.jsonl", &[]);
    said(&refused, 1, &["wrong.jsonl", "line 2", "`id` must be a string or an integer"]);
}

#[test]
fn datasets_before_one_that_cannot_be_added_stay_and_are_named() {
    let place = Place::new();
    write(&place, "new1.jsonl", "{\"text\":\"a b\"}\n");
    write(&place, "qa.csv", "uid,question,answer\n1,q,a\n");
    let files = ["add", "--data", "new1.jsonl", "qa.csv"];
    let finished = place.run(&files);
    let likely = "--field prompt=question --field completion=answer";
    said(&finished, 1, &["new1: 1 sample added", "added before and kept: new1;", likely]);
    write(&place, "qa.csv", "uid,prompt,completion\n1,q,a\n");
    said(&place.run(&files), 0, &["new1: nothing to add", "qa: 1 sample added"]);
    // Of one dataset it is all or nothing.
    write(&place, "more.jsonl", "{\"text\":\"c d\"}\n");
    write(&place, "bad.jsonl", "{\"n\":1}\n");
    let finished = place.run(&["add", "--dataset", "new1", "--data", "more.jsonl", "bad.jsonl"]);
    said(&finished, 1, &["as in --field prompt=KEY"]);
    assert!(!finished.stderr.contains("kept"), "{}", finished.stderr);
    assert_eq!(place.value("SELECT count(*) FROM new1"), "1");
}

#[test]
fn what_changes_nothing_says_why() {
    let place = Place::new();
    write(&place, "a.jsonl", "{\"id\":\"a\",\"text\":\"a b\"}\n");
    write(&place, "b.jsonl", "{\"id\":\"a\",\"text\":\"a c\"}\n");
    said(&add(&place, "pool", "a.jsonl", &[]), 0, &["1 sample added"]);
    let kept = add(&place, "pool", "b.jsonl", &["--if-changed", "keep"]);
    said(&kept, 0, &["pool: nothing to add; 1 changed line skipped"]);
    said(&add(&place, "pool", "b.jsonl", &["--if-changed", "replace"]), 0, &["1 replaced"]);
    said(
        &place.run(&["gc", "--keep", "1"]),
        0,
        &["0 snapshots went", "stay, as one of the last 1 state or younger"],
    );
    said(
        &place.run(&["delete", "--dataset", "pool", "--id", "a", "--purge"]),
        2,
        &["it removes 1 row of \"pool\""],
    );
    // A flag is proposed as help lists it.
    for args in [&["train", "--lora-targts", "q_proj"][..], &["evaluate", "retrain", "--target", "x"]] {
        let finished = place.run(args);
        assert!(finished.code == 2 && !finished.stderr.contains("lora_targets"), "{}", finished.stderr);
    }
}

#[test]
fn gradients_of_a_pool_at_a_checkpoint_that_no_target_has_do_not_hide_the_others() {
    let place = scored();
    let mut command =
        place.gstore(&["ingest", "--dataset", "pool", "--features", "grad-adam", "--dim", "64"]);
    let checkpoint = world::demo_checkpoints().swap_remove(1).folder().expect("an adapter").to_owned();
    command.args(["--run", "later", "--model"]).arg(world::demo().join("model"));
    binary::ok(command.arg("--checkpoints").arg(checkpoint));
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "x.jsonl"];
    let note = "grad-adam at no checkpoint where every target has grad-sgd, so its grad-sgd is compared";
    said(&place.run(&select), 0, &["3 of 40 rows selected", note]);
    said(
        &place.run(&[&select[..], &["--force", "--pool-kind", "grad-adam"]].concat()),
        1,
        &["no checkpoint has features of every", "`pool` has grad-adam@", "`target` has grad-sgd@"],
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
    said(&delete("sorce='x'"), 1, &["--where", "sorce", "(line 1, column 1)", "source"]);
    said(&delete(""), 2, &["--where", "is empty"]);
    said(&delete("1=1) or (1=1"), 2, &["--where", "closes a parenthesis that it does not open"]);
    said(&delete("source = 'a' -- of the first"), 0, &["14 rows would be deleted"]);
}

#[test]
fn d14_a_tokenizer_that_is_too_large_is_found_before_anything_is_written() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 3);
    // A model of fewer tokens than its tokenizer has.
    let model = place.path("model");
    fs_err::create_dir(&model).expect("made");
    for entry in fs_err::read_dir(world::demo().join("model")).expect("listed") {
        let path = entry.expect("an entry").path();
        fs_err::copy(&path, model.join(path.file_name().expect("a name"))).expect("copied");
    }
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs_err::read(&path).expect("read")).expect("JSON");
    let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    let most = vocab.values().filter_map(Value::as_u64).max().expect("tokens");
    vocab.insert("beyond-the-model".to_owned(), json!(most + 1));
    fs_err::write(&path, tokenizer.to_string()).expect("written");
    let mut command =
        place.gstore(&["ingest", "--dataset", "pool", "--data", "pool.jsonl", "--features", "loss"]);
    let finished = binary::run(command.args(["--max-length", "64", "--model"]).arg(&model));
    said(&finished, 1, &["belongs to another model", &format!("token {}", most + 1)]);
    assert!(!place.path("store").exists());
}

#[test]
fn d15_a_store_appears_with_its_first_commit_and_is_named() {
    let place = Place::new();
    // Found by reading all of it: an id that is used twice, a column of two types.
    write(&place, "late.jsonl", "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n");
    write(&place, "types.jsonl", "{\"text\":\"x\",\"n\":1}\n{\"text\":\"y\",\"n\":\"one\"}\n");
    for file in ["late.jsonl", "types.jsonl"] {
        assert_eq!(add(&place, "pool", file, &[]).code, 1);
        assert!(!place.path("store").exists());
    }
    write(&place, "good.jsonl", "{\"text\":\"x\"}\n");
    said(&add(&place, "pool", "good.jsonl", &[]), 0, &["new store ", "store", "pool: 1 sample added"]);
    assert!(!add(&place, "more", "good.jsonl", &[]).stderr.contains("new store"));
    // Nothing is left of the folder that it was made in.
    let names: Vec<String> = fs_err::read_dir(place.path(""))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
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
    write(&place, "data/pool.jsonl", "{\"text\":\"x\"}\n");
    let inside = |args: &[&str]| {
        binary::run(binary::gstore(&place.path("data/store")).args(args).current_dir(place.path("")))
    };
    for text in ["x", "y"] {
        write(&place, "data/pool.jsonl", &format!("{{\"text\":\"{text}\"}}\n"));
        said(&inside(&["add", "--dataset", "pool", "--data", "data"]), 0, &["pool: 1 sample added"]);
    }
    said(&inside(&["add", "--dataset", "no", "--data", "data/store"]), 1, &["no data files"]);
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
    said(&ingest(&place, &["--dataset", "pool", "--dry-run"], "grad-sgd, loss"), 0, &["loss"]);
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "x.jsonl"];
    let rules = ["--round-robin", "subtask", "--quota", "*=3"];
    let finished = place.run(&[&select[..], &rules[..]].concat());
    assert!(finished.code == 0 && !finished.stderr.contains("passed over"), "{}", finished.stderr);
}

#[test]
fn d23_tags_that_follow_each_other_name_one_state() {
    let place = Place::new();
    write(&place, "a.jsonl", "{\"text\":\"x\"}\n");
    said(&add(&place, "pool", "a.jsonl", &[]), 0, &[]);
    for tag in ["a", "b", "c"] {
        assert_eq!(place.ok(&["tag", tag]), format!("{tag}: snapshot 1\n"));
    }
    said(&place.run(&["tag", "5"]), 2, &["a tag must not be"]);
    said(&add(&place, "more", "a.jsonl", &[]), 0, &[]);
    assert_eq!(place.ok(&["tag", "d"]), "d: snapshot 5\n");
}

#[test]
fn s10_a_wrong_delete_or_drop_is_undone_without_computing_again() {
    let place = scored();
    let before = world::digests(&gstore_store::Store::open(place.path("store")).expect("opens"));
    let number = place.json(&["info", "--json"])["snapshot"].as_u64().expect("a number");
    let deleted = place.run(&["delete", "--dataset", "pool", "--where", "source = 'a'"]);
    said(&deleted, 0, &["14 rows deleted", &format!("gstore revert --to {number}")]);
    said(&place.run(&["drop", "dataset", "target"]), 0, &[&format!("gstore revert --to {}", number + 1)]);
    let to = number.to_string();
    let dry = place.run(&["revert", "--to", &to, "--dry-run"]);
    said(&dry, 0, &["pool: 14 rows come back", "dataset target comes back", "dry run"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "26");
    said(&place.run(&["revert", "--to", &to]), 0, &["has the content of snapshot"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");
    assert_eq!(world::digests(&gstore_store::Store::open(place.path("store")).expect("opens")), before);
    place.ok(&["verify"]);
    // Nothing to compute, and new rows get new numbers.
    let again = ingest(&place, &["--dataset", "pool"], "grad-sgd,loss");
    said(&again, 0, &["nothing to compute"]);
    said(&place.run(&["revert", "--to", "nowhere"]), 1, &["nowhere"]);
    // By a tag, and back again.
    place.ok(&["tag", "good"]);
    place.ok(&["delete", "--dataset", "pool", "--id", "s1"]);
    place.ok(&["revert", "--to", "good"]);
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");
    said(&place.run(&["revert", "--to", "good"]), 0, &["nothing differs"]);
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
fn s15_instruction_data_is_recognised_and_that_is_said() {
    let place = Place::new();
    let cases = [
        ("alpaca", json!({ "instruction": "Add", "input": "1 2", "output": "3" })),
        (
            "sharegpt",
            json!({ "conversations": [{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }] }),
        ),
        ("preference", json!({ "prompt": "q", "chosen": "a", "rejected": "b" })),
        ("flan", json!({ "inputs": "q", "targets": "a", "task": "cola" })),
    ];
    for (layout, record) in &cases {
        let file = format!("{layout}.jsonl");
        write(&place, &file, &format!("{record}\n"));
        said(&add(&place, layout, &file, &[]), 0, &[&format!("--layout {layout}"), "1 sample added"]);
        // The same without a word where it was said.
        let finished = add(&place, layout, &file, &["--layout", layout]);
        assert!(finished.code == 0 && !finished.stderr.contains("read as"), "{}", finished.stderr);
        let report = place.json(&["add", "--dataset", layout, "--data", &file, "--json"]);
        assert_eq!((report["layout"].as_str(), report["unchanged"].as_u64()), (Some(*layout), Some(1)));
    }
    let mixed = place.run(&["add", "--dataset", "mixed", "--data", "alpaca.jsonl", "flan.jsonl"]);
    said(&mixed, 0, &["read as alpaca data (--layout alpaca), others as flan data"]);
    let alpaca = record(&place, "alpaca", 0);
    assert_eq!(alpaca["messages"][0]["content"], "Add\n\n1 2");
    assert_eq!(place.value("SELECT rejected FROM preference"), "b");
    // Calls of tools are read and stored as they are.
    let calls = json!([{ "id": "1", "type": "function", "function": { "name": "add", "arguments": "{}" } }]);
    let tools = json!({ "messages": [
        { "role": "user", "content": "1 + 2?" },
        { "role": "assistant", "content": null, "tool_calls": calls },
        { "role": "tool", "content": "3", "tool_call_id": "1" },
        { "role": "assistant", "content": "3" },
    ] });
    write(&place, "tools.jsonl", &format!("{tools}\n"));
    said(&ingest(&place, &["--dataset", "tools", "--data", "tools.jsonl"], "loss"), 0, &["1 sample added"]);
    assert_eq!(record(&place, "tools", 0), tools);
    let scored: u64 = place.value("SELECT scored_tokens FROM tools").parse().expect("a number");
    assert!((2..8).contains(&scored), "{scored}");
    // What is none of them is named with what it has.
    write(&place, "qa.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n");
    let says = ["`question`, `answer`", "--field", "--skip-bad 1 leaves it out"];
    said(&add(&place, "qa", "qa.jsonl", &[]), 1, &says);
    said(
        &add(&place, "qa", "qa.jsonl", &["--layout", "qa"]),
        2,
        &["openai, sharegpt, alpaca, preference, flan"],
    );
}

#[test]
fn s15_a_file_that_is_one_list_is_read_item_by_item() {
    let place = Place::new();
    let list = json!([{ "text": "a", "n": 1 }, { "text": "b", "n": 2 }]);
    write(&place, "list.json", &format!("{list:#}"));
    said(&add(&place, "pool", "list.json", &[]), 0, &["2 samples added"]);
    assert_eq!(place.value("SELECT sum(n) FROM pool"), "3");
    write(&place, "cut.json", "[{\"text\": \"a\"},\n {\"text\": ");
    said(&add(&place, "cut", "cut.json", &[]), 1, &["cut.json, line 2", "ends inside of its list"]);
    write(&place, "items.json", "[{\"text\": \"a\"}, {\"text\": 3}, 4]");
    said(&add(&place, "items", "items.json", &[]), 1, &["item 2", "item 3", "--skip-bad 2"]);
    // Records that are none are listed before columns whose types differ.
    write(&place, "clash.jsonl", "{\"n\":1}\n4\n{\"text\":\"a\",\"n\":1}\n{\"text\":\"a\",\"n\":\"x\"}\n");
    said(&add(&place, "clash", "clash.jsonl", &[]), 1, &["2 records cannot be read", "--skip-bad 2"]);
    said(&add(&place, "clash", "clash.jsonl", &["--skip-bad", "2"]), 1, &["column \"n\" holds int"]);
}

#[test]
fn s16_bad_lines_are_listed_ten_at_a_time_and_may_be_left_out() {
    let place = Place::new();
    let mut lines: Vec<String> = (0..20).map(|i| format!("{{\"id\":\"s{i}\",\"text\":\"x\"}}")).collect();
    lines.extend((0..12).map(|i| format!("{{\"id\":\"b{i}\",")));
    write(&place, "bad.jsonl", &lines.join("\n"));
    let finished = add(&place, "pool", "bad.jsonl", &[]);
    said(&finished, 1, &["12 records cannot be read", "line 21", "line 30", "and 2 more", "--skip-bad 12"]);
    assert!(!finished.stderr.contains("line 31") && !place.path("store").exists(), "{}", finished.stderr);
    said(&add(&place, "pool", "bad.jsonl", &["--skip-bad", "11"]), 1, &["12 records"]);
    let finished = add(&place, "pool", "bad.jsonl", &["--skip-bad", "12"]);
    said(
        &finished,
        0,
        &[
            "20 samples added",
            "next: `gstore ingest --dataset pool",
            "12 records that cannot be read",
            "line 21",
        ],
    );
    // A table without columns that are known.
    write(&place, "own.csv", "q,a\n1,2\n3,4\n");
    let finished = add(&place, "own", "own.csv", &[]);
    said(&finished, 1, &["`q`, `a`", "--field prompt=q --field completion=a", "1 more like it"]);
    assert!(!finished.stderr.contains("--skip-bad"), "{}", finished.stderr);
    // A key whose name means something else in the table.
    write(&place, "score.jsonl", "{\"text\":\"a\",\"score\":1}\n");
    for says in ["`score` is the column `score_` of the table", "nothing to add"] {
        let finished = add(&place, "scores", "score.jsonl", &[]);
        said(&finished, 0, &[says]);
        assert_eq!(finished.stderr.contains("score_"), says.contains("score_"), "{}", finished.stderr);
    }
    // Ids that are there already.
    let twice =
        "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n";
    write(&place, "twice.jsonl", twice);
    said(&add(&place, "twice", "twice.jsonl", &[]), 1, &["2 records cannot be added", "line 2", "line 3"]);
    let report = place.json(&[
        "add",
        "--dataset",
        "twice",
        "--data",
        "twice.jsonl",
        "--duplicates",
        "first",
        "--json",
    ]);
    let count = |key: &str| report[key].as_u64();
    assert_eq!((count("added"), count("duplicates"), count("unchanged")), (Some(1), Some(2), Some(0)));
    assert_eq!(record(&place, "twice", 0)["text"], "x");
}

#[test]
fn s18_one_is_alone() {
    let place = scored();
    let texts = [
        place.run(&["delete", "--dataset", "pool", "--id", "s1"]),
        place.run(&["delete", "--dataset", "pool", "--id", "nobody"]),
        place.run(&["drop", "feature", "1"]),
        place.run(&["verify"]),
        ingest(&place, &["--dataset", "target", "--limit", "1"], "loss"),
        place.run(&["select", "--pool", "pool", "--target", "target", "--top", "1", "-o", "x.jsonl"]),
    ];
    let nouns =
        ["rows", "samples", "features", "ids", "problems", "checkpoints", "segments", "files", "lines"];
    for finished in &texts {
        let all = format!("{}{}", finished.stdout, finished.stderr);
        let words: Vec<&str> = all.split_whitespace().collect();
        let wrong = words
            .windows(2)
            .find(|pair| pair[0] == "1" && nouns.contains(&pair[1].trim_end_matches([',', '.', ';'])));
        assert!(wrong.is_none(), "{wrong:?} in {all}");
    }
}

/// A tokenizer of three words.
const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"hello": 0, "there": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}"#;

#[test]
fn s21_a_model_with_few_positions_takes_what_it_can() {
    let Some(shared) = shared::folder("s21_a_model_with_few_positions_takes_what_it_can") else { return };
    let place = Place::new();
    write(&place, "a.jsonl", "{\"text\":\"hello there\"}\n");
    let model = shared.join("models/zoo/gpt2");
    let config: Value =
        serde_json::from_slice(&fs_err::read(model.join("config.json")).expect("read")).expect("JSON");
    let positions = config["n_positions"].as_u64().expect("a table of positions");
    let own = place.path("model");
    fs_err::create_dir(&own).expect("made");
    for file in ["config.json", "model.safetensors"] {
        fs_err::copy(model.join(file), own.join(file)).expect("copied");
    }
    let ingest = |file: &str, more: &[&str]| {
        let words = ["ingest", "--dataset", "a", "--data", file, "--features", "loss", "--model", "model"];
        place.run(&[&words[..], more].concat())
    };
    let note = format!("the model has {positions} positions");
    // Nothing is said of lengths where nothing is done.
    let finished = ingest("a.jsonl", &[]);
    assert!(finished.code == 1 && !finished.stderr.contains(&note), "{}", finished.stderr);
    write(&place, "model/tokenizer.json", WORDS);
    for finished in [ingest("missing.jsonl", &[]), ingest("a.jsonl", &["--checkpoints", "missing/*"])] {
        said(&finished, 1, &["missing"]);
        assert!(!finished.stderr.contains(&note), "{}", finished.stderr);
    }
    said(&ingest("a.jsonl", &[]), 0, &[&note, &format!("--max-length {positions}")]);
    // The same of a training.
    let train = |more: &[&str]| {
        let words =
            ["train", "--data", "a.jsonl", "--model", "model", "--output", "tuned", "--max-steps", "1"];
        place.run(&[&words[..], more].concat())
    };
    // Also where it is the default that is given.
    for beyond in [positions + 1, 2048] {
        let beyond = ["--max-length", &beyond.to_string()];
        said(&train(&beyond), 2, &[&format!("--max-length {positions} or less")]);
    }
    let beyond = (positions + 1).to_string();
    let block = format!("--block {positions} or less");
    for more in [&["--block", &beyond][..], &["--block", &beyond, "--max-length", &beyond]] {
        said(&train(more), 2, &[&block]);
    }
    assert!(!place.path("tuned").exists());
    said(&train(&[]), 0, &[&note]);
    // And of texts that are scored.
    write(&place, "long.jsonl", &format!("{{\"text\":\"{}\"}}\n", "hello ".repeat(positions as usize + 9)));
    let score = |more: &[&str]| {
        let words = ["generate", "--perplexity", "--data", "long.jsonl", "--model", "model"];
        place.run(&[&words[..], more].concat())
    };
    said(&score(&["--max-length", &beyond]), 2, &[&format!("--max-length {positions} or less")]);
    said(&score(&["--block", &beyond]), 2, &[&block]);
    let scored = score(&[]);
    said(&scored, 0, &[&note]);
    assert!(scored.stdout.contains(&format!(",{positions},true,")), "{}", scored.stdout);
    // And of trainings of many models.
    let long = |id: &str| format!("{{\"id\": \"{id}\", \"text\": \"{}\"}}\n", "hello there ".repeat(100));
    write(&place, "long.jsonl", &["a", "b", "c", "d"].map(long).concat());
    let of = ["--data", "long.jsonl", "--model", "model"];
    let copies = ["daunce", "train", "--models", "2", "--steps", "1", "--batch-size", "1"];
    let copies = [&copies[..], &of, &["--output", "copies", "--dry-run"]].concat();
    let retrain = ["evaluate", "retrain", "--truth", "truth", "--query-data", "long.jsonl", "--count", "2"];
    let retrain =
        [&retrain[..], &of, &["--fraction", "0.5", "--max-steps", "1", "--batch-size", "1"]].concat();
    for command in [copies, retrain] {
        said(&place.run(&command), 0, &[&note]);
        let given = place.run(&[&command[..], &["--max-length", "2048"]].concat());
        said(&given, 2, &[&format!("--max-length {positions} or less")]);
    }
}

#[test]
fn every_file_makes_a_dataset_and_every_target_a_selection() {
    let place = scored();
    for name in ["targets/Even-Odd.jsonl", "targets/second.jsonl"] {
        fs_err::create_dir_all(place.path("targets")).expect("made");
        world::write_samples(&place.path(name), 4);
    }
    let finished = ingest(&place, &["--data", "targets/*.jsonl"], "grad-sgd");
    said(&finished, 0, &["even_odd: 4 samples added", "second: 4 samples added"]);
    let targets = ["--target", "even_odd", "second"];
    let select = |more: &[&str]| {
        place.run(&[&["select", "--pool", "pool", "--top", "3"], &targets[..], more].concat())
    };
    said(&select(&["--each", "target", "-o", "best.jsonl"]), 0, &["for even_odd", "for second"]);
    for target in ["even_odd", "second"] {
        let lines = fs_err::read_to_string(place.path(&format!("best.{target}.jsonl"))).expect("written");
        let alone = place.run(&["select", "--pool", "pool", "--target", target, "--top", "3", "-o", "-"]);
        assert!(lines == alone.stdout && lines.lines().count() == 3, "{lines}");
        assert!(place.path(&format!("best.{target}.jsonl.scores.csv")).is_file());
    }
    // A place that is taken is found before the first is written.
    fs_err::remove_file(place.path("best.even_odd.jsonl")).expect("removed");
    fs_err::remove_file(place.path("best.even_odd.jsonl.scores.csv")).expect("removed");
    said(&select(&["--each", "target", "-o", "best.jsonl"]), 2, &["best.second.jsonl exists"]);
    assert!(!place.path("best.even_odd.jsonl").exists());
    said(&select(&["--each", "target", "-o", "-"]), 2, &["--each target"]);
}

#[test]
fn a_selection_is_a_saved_dataset_that_can_be_added_again() {
    let place = scored();
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "5", "-o", "best/"];
    said(&place.run(&select), 0, &["5 of 40 rows selected", "best.scores.csv"]);
    for name in ["data-00000-of-00001.arrow", "state.json", "dataset_info.json"] {
        assert!(place.path("best").join(name).is_file(), "{name}");
    }
    said(&add(&place, "again", "best", &[]), 0, &["again: 5 samples added"]);
    said(&place.run(&select), 2, &["exists; --force replaces it"]);
    said(&place.run(&[&select[..], &["--force"]].concat()), 0, &[]);
    write(&place, "mine/notes.txt", "mine");
    let over = ["select", "--pool", "pool", "--target", "target", "--top", "5", "--force", "-o", "mine/"];
    said(&place.run(&over), 2, &["holds something else"]);
    assert!(place.path("mine/notes.txt").is_file());
    open_with_datasets(&place.path("best"));
}

/// Where the library is there: it opens the folder.
fn open_with_datasets(folder: &Path) {
    let script = "import sys, datasets; d = datasets.load_from_disk(sys.argv[1]); print(d.num_rows, sorted(d.column_names))";
    let Ok(output) = Command::new("python3").args(["-c", script]).arg(folder).output() else { return };
    let finished = Finished::from(output);
    if finished.stderr.contains("ModuleNotFoundError") {
        return;
    }
    said(&finished, 0, &["5 ['id', 'messages', 'source']"]);
}

#[test]
fn datasets_of_the_hub_are_read_from_the_cache() {
    let place = Place::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = "hub/datasets--org--tiny";
    write(&place, &format!("{repository}/refs/main"), commit);
    write(
        &place,
        &format!("{repository}/snapshots/{commit}/data/train-00000-of-00001.jsonl"),
        "{\"text\":\"a\"}\n",
    );
    write(
        &place,
        &format!("{repository}/snapshots/{commit}/data/test-00000-of-00001.jsonl"),
        "{\"text\":\"b\"}\n",
    );
    let offline = |args: &[&str]| {
        let mut command = place.gstore(args);
        binary::run(command.env("HF_HUB_CACHE", place.path("hub")).env("HF_HUB_OFFLINE", "1"))
    };
    said(&offline(&["add", "--data", "hf://org/tiny"]), 0, &["tiny: 1 sample added", commit]);
    said(&offline(&["add", "--dataset", "held_out", "--data", "hf://org/tiny#test"]), 0, &["1 sample added"]);
    assert_eq!(record(&place, "held_out", 0)["text"], "b");
    said(&offline(&["add", "--data", "hf://org/other"]), 1, &["HF_HUB_OFFLINE"]);
    said(&offline(&["add", "--dataset", "x", "--data", "hf://other"]), 1, &["hf://org/name"]);
}

#[test]
fn messages_are_plain_english() {
    let place = scored();
    write(&place, "p.pkl", "x");
    said(&add(&place, "p", "p.pkl", &[]), 1, &["unknown format; supported:"]);
    write(&place, "other/notes.txt", "x");
    said(&place.run(&["backup", "--to", "other"]), 1, &["is not a backup of this store"]);
    let ask = ["ask", "--pool", "pool", "--messages", "{"];
    said(&place.run(&ask), 2, &["not valid JSON at line 1"]);
    let help = place.ok(&["add", "--help"]);
    assert!(help.contains("lower-case letters") && !help.contains("small letters"), "{help}");
}
