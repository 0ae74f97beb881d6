//! Promise: what a new user tripped over in files, datasets of the Hub and messages stays fixed.
//!
//! Names of tests refer to the finding: `s16_...` is a stumbling block of the trial.

use std::path::Path;
use std::process::Command;

use crate::findings_data::{add, ingest, record, scored};
use gstore_data::TextOptions;
use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::{shared, world};
use serde_json::{Value, json};

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
        (
            "trl",
            json!({ "prompt": [{ "role": "user", "content": "q" }], "completion": [{ "role": "assistant", "content": "a" }] }),
        ),
        (
            "openai",
            json!({ "messages": r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]"# }),
        ),
    ];
    for (layout, record) in &cases {
        let file = format!("{layout}.jsonl");
        place.write(&file, format!("{record}\n"));
        add(&place, layout, &file, &[]).told(0, &[&format!("--layout {layout}"), "1 sample added"]);
        // The same without a word where it was said.
        add(&place, layout, &file, &["--layout", layout]).says(0, &[]).lacks(&["read as"]);
        let report = place.json(&["add", "--dataset", layout, "--data", &file, "--json"]);
        assert_eq!((report["layout"].as_str(), report["unchanged"].as_u64()), (Some(*layout), Some(1)));
    }
    let mixed = place.run(&["add", "--dataset", "mixed", "--data", "alpaca.jsonl", "flan.jsonl"]);
    mixed.told(0, &[
            "read as alpaca data (--layout alpaca), others as flan data and are stored and exported as `messages` or `prompt` and `completion`",
        ]);
    let alpaca = record(&place, "alpaca", 0);
    assert_eq!(alpaca["messages"][0]["content"], "Add\n\n1 2");
    assert_eq!(place.value("SELECT rejected FROM preference"), "b");
    let turns = json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": "a" }]);
    assert_eq!(record(&place, "trl", 0)["messages"], turns);
    assert_eq!(record(&place, "openai", 0)["messages"], turns);
    // A list under `messages` is gstore's own shape.
    place.write("own.jsonl", format!("{}\n", json!({ "messages": turns })));
    add(&place, "own", "own.jsonl", &[]).says(0, &[]).lacks(&["--layout"]);
    // Calls of tools are read and stored as they are.
    let calls = json!([{ "id": "1", "type": "function", "function": { "name": "add", "arguments": "{}" } }]);
    let tools = json!({ "messages": [
        { "role": "user", "content": "1 + 2?" },
        { "role": "assistant", "content": null, "tool_calls": calls },
        { "role": "tool", "content": "3", "tool_call_id": "1" },
        { "role": "assistant", "content": "3" },
    ] });
    place.write("tools.jsonl", format!("{tools}\n"));
    ingest(&place, &["--dataset", "tools", "--data", "tools.jsonl"], "loss").told(0, &["1 sample added"]);
    assert_eq!(record(&place, "tools", 0), tools);
    let scored: u64 = place.value("SELECT scored_tokens FROM tools").parse().expect("a number");
    assert!((2..8).contains(&scored), "{scored}");
    // Conversations under other keys, and with others.
    let shared = json!([{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }]);
    for (dataset, record_of) in [
        ("listed", json!({ "conversations": turns })),
        ("wild", json!({ "conversation": turns })),
        ("shared", json!({ "messages": shared })),
    ] {
        let file = format!("{dataset}.jsonl");
        place.write(&file, format!("{record_of}\n"));
        add(&place, dataset, &file, &[]).told(
            0,
            &["read as sharegpt data", "and are stored and exported as `messages`", "1 sample added"],
        );
        assert_eq!(record(&place, dataset, 0), json!({ "messages": turns }));
    }
    // A table of text has their lists as text.
    let quoted = |list: &Value| format!("\"{}\"", list.to_string().replace('"', "\"\""));
    let cells =
        [("conversations", &shared), ("conversation", &turns), ("messages", &turns), ("messages", &shared)];
    for (i, (key, list)) in cells.into_iter().enumerate() {
        let dataset = format!("cells{i}");
        place.write("cells.csv", format!("id,{key},source\nx,{},wild\n", quoted(list)));
        add(&place, &dataset, "cells.csv", &[]).told(0, &["1 sample added"]);
        let want = json!({ "id": "x", "messages": turns, "source": "wild" });
        assert_eq!(record(&place, &dataset, 0), want, "{key}");
    }
    // A record of no known layout is told with its keys; skipping is not offered for the only record.
    place.write("qa.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n");
    let finished = add(&place, "qa", "qa.jsonl", &[]);
    finished.told(1, &["1 record cannot be read", "`question`, `answer`", "--field"]).lacks(&["--skip-bad"]);
    place.write("talk.jsonl", format!("{}\n", json!({ "dialog": turns })));
    add(&place, "talk", "talk.jsonl", &[]).told(1, &["--field messages=dialog"]);
    add(&place, "qa", "qa.jsonl", &["--layout", "qa"])
        .told(2, &["openai, sharegpt, alpaca, preference, flan, trl"]);
}

#[test]
fn an_answer_of_weight_zero_is_context_that_is_not_scored() {
    let place = Place::new();
    let talk = |id: &str, weight: Value| {
        json!({ "id": id, "messages": [
            { "role": "user", "content": "1 + 2?" },
            { "role": "assistant", "content": "4", "weight": weight },
            { "role": "user", "content": "No." },
            { "role": "assistant", "content": "3" },
        ] })
    };
    let lines = [talk("one", json!(1)), talk("zero", json!(0))].map(|line| format!("{line}\n"));
    place.write("talks.jsonl", lines.concat());
    ingest(&place, &["--dataset", "talks", "--data", "talks.jsonl"], "loss").told(0, &["2 samples added"]);
    let count = |id: &str, what: &str| -> u64 {
        place.value(&format!("SELECT {what} FROM talks WHERE id = '{id}'")).parse().expect("a number")
    };
    assert_eq!(count("one", "tokens"), count("zero", "tokens"));
    // Both answers are one digit with what closes it.
    assert_eq!(count("one", "scored_tokens"), 2 * count("zero", "scored_tokens"));
    // Answers in a prompt are such context.
    let split = json!({ "id": "split", "completion": [{ "role": "assistant", "content": "3" }], "prompt": [
        { "role": "user", "content": "1 + 2?" },
        { "role": "assistant", "content": "4" },
        { "role": "user", "content": "No." },
    ] });
    place.write("split.jsonl", format!("{split}\n"));
    ingest(&place, &["--dataset", "talks", "--data", "split.jsonl"], "loss").told(0, &["1 sample added"]);
    assert_eq!(
        ["tokens", "scored_tokens"].map(|what| count("split", what)),
        ["tokens", "scored_tokens"].map(|what| count("zero", what))
    );
    place.write("half.jsonl", format!("{}\n", talk("half", json!(0.5))));
    let refused = ["half.jsonl", "line 1", "`messages[1].weight` must be 0 (not scored) or 1, found 0.5"];
    add(&place, "half", "half.jsonl", &[]).told(1, &refused);
}

#[test]
fn a_column_without_any_value_is_named_and_kept_if_it_has_a_type() {
    let place = Place::new();
    place.write("e.csv", "id,text,e,instruction,n\n1,a b,,,3\n2,c d,,,\n");
    let said_of = "no record has a value of `e`, `instruction`";
    add(&place, "empty", "e.csv", &[]).told(0, &[said_of, "--column e:utf8 makes it one", "2 samples added"]);
    place.run(&["query", "SELECT e FROM empty"]).told(1, &["e"]);
    add(&place, "f", "e.csv", &["--column", "e:int"]).told(0, &["no record has a value of `instruction`"]);
    assert_eq!(place.value("SELECT count(*) FROM f WHERE e IS NULL"), "2");
    // A column that the dataset has already, and one of the text of a layout, go without a word.
    place.write("more.csv", "id,text,e,instruction,n\n3,e f,,x,\n");
    add(&place, "f", "more.csv", &[]).told(0, &["1 sample added"]);
    place.write("asked.csv", "instruction,input,output,system,kind\nAdd,,3,,\n");
    let finished = add(&place, "asked", "asked.csv", &[]);
    finished.told(0, &["no record has a value of `kind`, so", "1 sample added"]);
    // JSON names its keys itself.
    place.write("null.jsonl", "{\"text\":\"a\",\"e\":null}\n");
    add(&place, "nulls", "null.jsonl", &[]).told(0, &["no record has a value of `e`"]);
}

#[test]
fn ids_that_are_made_are_told_where_a_key_may_have_them() {
    let place = Place::new();
    let told = "no record has an `id`, so ids are made from their contents";
    place.write("t.csv", "ticket,text\n1,a\n2,b\n");
    add(&place, "t", "t.csv", &[]).told(0, &[told, "--field id=KEY names", "2 samples added"]);
    place.write("own.csv", "id,text,n\n1,a,x\n,b,y\n");
    place.write("bare.jsonl", "{\"text\":\"a\"}\n");
    place.write("part.jsonl", "{\"text\":\"a\",\"subtask\":\"x\"}\n");
    place.write("asked.jsonl", "{\"instruction\":\"Add\",\"input\":\"\",\"output\":\"3\",\"n\":1}\n");
    for (dataset, file, given) in [
        ("named", "t.csv", &["--field", "id=ticket"][..]),
        // Nothing is new.
        ("t", "t.csv", &[]),
        ("own", "own.csv", &[]),
        ("bare", "bare.jsonl", &[]),
        ("part", "part.jsonl", &[]),
        ("asked", "asked.jsonl", &[]),
    ] {
        add(&place, dataset, file, given).says(0, &[]).lacks(&["no record has an `id`"]);
    }
}

#[test]
fn columns_of_a_table_stand_in_the_order_of_its_header() {
    let place = Place::new();
    let columns = |dataset: &str| {
        let table = place.csv(&format!("SELECT * FROM {dataset}"));
        table.lines().next().map(str::to_owned)
    };
    let want = Some("row,id,a,b,record".to_owned());
    place.write("h.csv", "id,text,a,b\n1,x,,p\n2,y,5,q\n");
    add(&place, "h", "h.csv", &[]).told(0, &["2 samples added"]);
    assert_eq!(columns("h"), want);
    place.ok(&["query", "-o", "h.parquet", "SELECT id, text, a, b FROM h ORDER BY row"]);
    add(&place, "p", "h.parquet", &[]).told(0, &["2 samples added"]);
    assert_eq!(columns("p"), want);
    // A column without values that has a type, and one whose name is taken.
    place.write("t.csv", "n,text,content,b\n,,x,p\n,q,y,r\n");
    let given = ["--field", "text=content", "--column", "n:int"];
    add(&place, "t", "t.csv", &given).told(0, &["2 samples added"]);
    assert_eq!(columns("t"), Some("row,id,n,text_,b,record".to_owned()));
    // Keys of JSON come as they appear, and those that a table adds behind them.
    place.write("first.jsonl", "{\"text\":\"s\",\"b\":\"x\"}\n{\"text\":\"t\",\"c\":1}\n");
    place.run(&["add", "--dataset", "m", "--data", "first.jsonl", "h.csv"]).told(0, &["4 samples added"]);
    assert_eq!(columns("m"), Some("row,id,b,c,a,record".to_owned()));
}

#[test]
fn s15_a_file_that_is_one_list_is_read_item_by_item() {
    let place = Place::new();
    let list = json!([{ "text": "a", "n": 1 }, { "text": "b", "n": 2 }]);
    place.write("list.json", format!("{list:#}"));
    add(&place, "pool", "list.json", &[]).told(0, &["2 samples added"]);
    assert_eq!(place.value("SELECT sum(n) FROM pool"), "3");
    place.write("cut.json", "[{\"text\": \"a\"},\n {\"text\": ");
    add(&place, "cut", "cut.json", &[]).told(1, &["cut.json, line 2", "ends inside its list"]);
    place.write("items.json", "[{\"text\": \"a\"}, {\"text\": 3}, 4]");
    add(&place, "items", "items.json", &[]).told(1, &["item 2", "item 3", "--skip-bad 2"]);
    // Without an object around all records, nothing is left.
    place.write("around.json", format!("{}\n", json!({ "data": [{ "text": "a" }] })));
    let finished = add(&place, "around", "around.json", &[]);
    finished.told(1, &["the list under \"data\"", "jq -c"]).lacks(&["--skip-bad"]);
    place.write("frame.json", "{\"prompt\":{\"0\":\"q\"},\"completion\":{\"0\":\"a\"}}");
    let finished = add(&place, "frame", "frame.json", &[]);
    finished.told(1, &["pandas wrote as one object", "orient='records', lines=True"]).lacks(&["--skip-bad"]);
    // Records that are none are listed before columns whose types differ.
    place.write("clash.jsonl", "{\"n\":1}\n4\n{\"text\":\"a\",\"n\":1}\n{\"text\":\"a\",\"n\":\"x\"}\n");
    add(&place, "clash", "clash.jsonl", &[]).told(1, &["2 records cannot be read", "--skip-bad 2"]);
    add(&place, "clash", "clash.jsonl", &["--skip-bad", "2"]).told(1, &["column \"n\" holds int"]);
}

#[test]
fn s16_bad_lines_are_listed_ten_at_a_time_and_may_be_left_out() {
    let place = Place::new();
    let mut lines: Vec<String> = (0..20).map(|i| format!("{{\"id\":\"s{i}\",\"text\":\"x\"}}")).collect();
    lines.extend((0..12).map(|i| format!("{{\"id\":\"b{i}\",")));
    place.write("bad.jsonl", lines.join("\n"));
    let finished = add(&place, "pool", "bad.jsonl", &[]);
    finished.told(1, &["12 records cannot be read", "line 21", "line 30", "and 2 more", "--skip-bad 12"]);
    assert!(!finished.stderr.contains("line 31") && !place.path("store").exists(), "{}", finished.stderr);
    add(&place, "pool", "bad.jsonl", &["--skip-bad", "11"]).told(1, &["12 records"]);
    let finished = add(&place, "pool", "bad.jsonl", &["--skip-bad", "12"]);
    finished.told(
        0,
        &[
            "20 samples added",
            "next: `gstore ingest --dataset pool",
            "12 records that cannot be read",
            "line 21",
        ],
    );
    place.write("none.jsonl", "{\"text\":\n");
    let finished = add(&place, "none", "none.jsonl", &["--skip-bad", "1"]);
    finished.told(1, &["1 record cannot be read", "line 1: malformed JSON"]).lacks(&["has no samples"]);
    // Rows of a table, whose values say nothing of its columns then.
    let rows = "id,prompt,completion,note\n1,a,b,1\n2,a,c,x,4\n3,a,\"d\ne\",2\n4,a\n";
    place.write("rows.csv", rows);
    let wrong = ["line 3: 5 fields, and the header has 4", "line 6: 2 fields"];
    let refused = add(&place, "sheet", "rows.csv", &[]);
    refused.told(1, &[&wrong[..], &["2 records cannot be read", "--skip-bad 2"]].concat());
    let left_out = add(&place, "sheet", "rows.csv", &["--skip-bad", "2"]);
    left_out.told(0, &[&wrong[..], &["2 samples added", "left out 2 records"]].concat());
    assert_eq!(place.value("SELECT sum(note) FROM sheet"), "3");
    // Where the row ends is certain on one line alone.
    for (more, says) in [("5,a,\"b\n6,a\",c,7\n", "line 7: 5 fields"), ("5,a,\"b\n", "line 7: the quote")] {
        place.write("quote.csv", format!("{rows}{more}"));
        add(&place, "quote", "quote.csv", &["--skip-bad", "9"]).told(1, &[says]).lacks(&["--skip-bad"]);
    }
    // A table without columns that are known.
    place.write("own.csv", "q,a\n1,2\n3,4\n");
    let finished = add(&place, "own", "own.csv", &[]);
    finished.told(1, &["`q`, `a`", "--field prompt=q --field completion=a", "1 more like it"]);
    finished.lacks(&["--skip-bad"]);
    // Its columns are told once, whichever of them a row lacks.
    let rows = ["1,help,,", "2,,done,", "3,help,done,", "4,,,x", "5,help,,y"];
    place.write("tickets.csv", format!("Ticket,Customer Message,Agent Reply,Tag\n{}\n", rows.join("\n")));
    let columns = "the table has the columns `Ticket`, `Customer Message`, `Agent Reply`, `Tag`";
    let options = "--field prompt=COLUMN --field completion=COLUMN --field id=COLUMN";
    let finished = add(&place, "tickets", "tickets.csv", &[]);
    finished.told(1, &["5 records cannot be read", "tickets.csv, ", columns, options, "4 more like it"]);
    assert_eq!(finished.stderr.matches("this record has no text").count(), 1, "{}", finished.stderr);
    let finished = add(&place, "tickets", "tickets.csv", &["--field", "prompt=Customer Msg,completion=Tag"]);
    finished.told(1, &["no column \"Customer Msg\"", "did you mean `Customer Message`?", "4 more like it"]);
    let given = ["--field", "prompt=Customer Message,completion=Agent Reply,id=Tickt"];
    add(&place, "tickets", "tickets.csv", &given)
        .told(1, &["no record has a key \"Tickt\"", "did you mean `Ticket`?"]);
    // Of records, all keys that any of them has.
    place.write("odd.jsonl", "{\"x\":1}\n{\"y\":1,\"x\":2}\n{\"z\":1}\n");
    add(&place, "odd", "odd.jsonl", &[]).told(1, &["it has `x`, `y`, `z`;", "2 more like it"]);
    // A key whose name means something else in the table.
    place.write("score.jsonl", "{\"text\":\"a\",\"score\":1}\n");
    for says in ["`score` is the column `score_` of the table", "nothing to add"] {
        let finished = add(&place, "scores", "score.jsonl", &[]);
        finished.told(0, &[says]);
        assert_eq!(finished.stderr.contains("score_"), says.contains("score_"), "{}", finished.stderr);
    }
    // Ids that are there already.
    let twice =
        "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n";
    place.write("twice.jsonl", twice);
    add(&place, "twice", "twice.jsonl", &[]).told(1, &["2 records cannot be added", "line 2", "line 3"]);
    let first = ["add", "--dataset", "twice", "--data", "twice.jsonl", "--duplicates", "first", "--json"];
    // Once more, the first of each id is the stored sample: the others are as little looked at as before.
    for (changed, [added, unchanged, replaced]) in
        [("refuse", [1u64, 0, 0]), ("refuse", [0, 1, 0]), ("replace", [0, 1, 0])]
    {
        let report = place.json(&[&first[..], &["--if-changed", changed]].concat());
        let counts = ["added", "unchanged", "replaced", "duplicates"].map(|key| report[key].as_u64());
        assert_eq!(counts, [added, unchanged, replaced, 2].map(Some), "{changed}: {report}");
    }
    assert_eq!(record(&place, "twice", 0)["text"], "x");
    add(&place, "twice", "twice.jsonl", &["--if-changed", "replace"]).told(1, &["line 2", "line 3"]);
    // A sample whose line is missing from the file stays as it is.
    place.write("next.jsonl", "{\"id\":\"b\",\"text\":\"x\"}\n{\"id\":\"c\",\"text\":\"x\"}\n");
    add(&place, "twice", "next.jsonl", &[]).told(0, &["2 samples added"]);
    place.write("next.jsonl", "{\"id\":\"a\",\"text\":\"z\"}\n{\"id\":\"c\",\"text\":\"x\"}\n");
    let replaced = add(&place, "twice", "next.jsonl", &["--if-changed", "replace"]);
    replaced.told(0, &["twice: 0 samples added, 1 was there already, 1 replaced"]);
    assert_eq!(place.value("SELECT count(*) FROM twice"), "3");
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
pub const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"hello": 0, "there": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}"#;

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn s21_a_model_with_few_positions_takes_what_it_can() {
    let test = "s21_a_model_with_few_positions_takes_what_it_can";
    let Some(shared) = shared::folder(test, "models/zoo/gpt2") else { return };
    let place = Place::new();
    place.write("a.jsonl", "{\"text\":\"hello there\"}\n");
    let model = shared.join("models/zoo/gpt2");
    let config: Value =
        serde_json::from_slice(&fs_err::read(model.join("config.json")).expect("read")).expect("JSON");
    let positions = config["n_positions"].as_u64().expect("a table of positions");
    let default = u64::from(TextOptions::MAX_LENGTH);
    if positions >= default {
        eprintln!("skipped: {test} needs a model with less than {default} positions");
        return;
    }
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
    finished.says(1, &[]).lacks(&[&note]);
    place.write("model/tokenizer.json", WORDS);
    for finished in [ingest("missing.jsonl", &[]), ingest("a.jsonl", &["--checkpoints", "missing/*"])] {
        finished.told(1, &["missing"]).lacks(&[&note]);
    }
    ingest("a.jsonl", &[]).told(0, &[&note, &format!("--max-length {positions}")]);
    // The same of a training.
    let train = |more: &[&str]| {
        let words =
            ["train", "--data", "a.jsonl", "--model", "model", "--output", "tuned", "--max-steps", "1"];
        place.run(&[&words[..], more].concat())
    };
    // Also where it is the default that is given.
    for beyond in [positions + 1, default] {
        let beyond = ["--max-length", &beyond.to_string()];
        train(&beyond).told(2, &[&format!("--max-length {positions} or less")]);
    }
    let beyond = (positions + 1).to_string();
    let block = format!("--block {positions} or less");
    for more in [&["--block", &beyond][..], &["--block", &beyond, "--max-length", &beyond]] {
        train(more).told(2, &[&block]);
    }
    assert!(!place.path("tuned").exists());
    train(&[]).told(0, &[&note]);
    // And of texts that are scored.
    place.write("long.jsonl", format!("{{\"text\":\"{}\"}}\n", "hello ".repeat(positions as usize + 9)));
    let score = |more: &[&str]| {
        let words = ["generate", "--perplexity", "--data", "long.jsonl", "--model", "model"];
        place.run(&[&words[..], more].concat())
    };
    score(&["--max-length", &beyond]).told(2, &[&format!("--max-length {positions} or less")]);
    score(&["--block", &beyond]).told(2, &[&block]);
    let scored = score(&[]);
    scored.told(0, &[&note]);
    assert!(scored.stdout.contains(&format!(",{positions},true,")), "{}", scored.stdout);
    // Answers and tasks cut nothing off: a length that no answer could have is refused there, too.
    place.write("tasks.jsonl", format!("{}\n", world::QUESTION));
    for command in [&["generate", "--prompt", "hello"][..], &["evaluate", "tasks", "--data", "tasks.jsonl"]] {
        let given = [command, &["--model", "model", "--max-length", &beyond]].concat();
        place.run(&given).told(2, &[&format!("--max-length {positions} or less")]);
    }
    // A larger length is named where it helps, and not where the positions end.
    let ask = |tokens: u64, more: &[&str]| {
        let prompt = "hello ".repeat(tokens as usize);
        let words = ["generate", "--prompt", &prompt, "--template", "plain", "--model", "model"];
        place.run(&[&words[..], more].concat())
    };
    ask(positions - 1, &["--max-length", "8"]).told(1, &["8 are allowed; --max-length allows more"]);
    for more in [&[][..], &["--max-length", "8"]] {
        let refused = ask(default + 52, more);
        refused.told(1, &[&format!("{positions} are allowed, as many as the model has positions")]);
        refused.lacks(&["allows more"]);
    }
    // And of trainings of many models.
    let long = |id: &str| format!("{{\"id\": \"{id}\", \"text\": \"{}\"}}\n", "hello there ".repeat(100));
    place.write("long.jsonl", ["a", "b", "c", "d"].map(long).concat());
    let of = ["--data", "long.jsonl", "--model", "model"];
    let copies = ["daunce", "train", "--models", "2", "--steps", "1", "--batch-size", "1"];
    let copies = [&copies[..], &of, &["--output", "copies", "--dry-run"]].concat();
    let retrain = ["evaluate", "retrain", "--truth", "truth", "--query-data", "long.jsonl", "--count", "2"];
    let retrain =
        [&retrain[..], &of, &["--fraction", "0.5", "--max-steps", "1", "--batch-size", "1"]].concat();
    for command in [copies, retrain] {
        place.run(&command).told(0, &[&note]);
        let given = place.run(&[&command[..], &["--max-length", "2048"]].concat());
        given.told(2, &[&format!("--max-length {positions} or less")]);
    }
}

#[test]
fn every_file_makes_a_dataset_and_every_target_a_selection() {
    let place = scored();
    fs_err::create_dir(place.path("targets")).expect("made");
    place.samples("targets/Even-Odd", 4);
    place.samples("targets/second", 4);
    let finished = ingest(&place, &["--data", "targets/*.jsonl"], "grad-sgd");
    finished.told(0, &["even_odd: 4 samples added", "second: 4 samples added"]);
    let targets = ["--target", "even_odd", "second"];
    let select = |more: &[&str]| {
        place.run(&[&["select", "--pool", "pool", "--top", "3"], &targets[..], more].concat())
    };
    let drawn = ["--each", "target", "-o", "best.jsonl", "--plot", "best.svg"];
    select(&drawn).told(0, &["for even_odd", "for second"]);
    for target in ["even_odd", "second"] {
        let lines = place.read(&format!("best.{target}.jsonl"));
        let alone = place.run(&["select", "--pool", "pool", "--target", target, "--top", "3", "-o", "-"]);
        assert!(lines == alone.stdout && lines.lines().count() == 3, "{lines}");
        assert!(place.path(&format!("best.{target}.jsonl.scores.csv")).is_file());
        assert!(place.path(&format!("best.{target}.svg")).is_file());
    }
    // What is named of another target is for its own selection.
    let numbers = place.value(
        "SELECT string_agg(CAST(number AS VARCHAR), ',') FROM gstore.features WHERE dataset IN ('even_odd', 'second')",
    );
    let numbers = numbers.trim_matches('"');
    select(&["--features", numbers, "--each", "target", "-o", "named.jsonl"]).told(0, &["for second"]);
    for target in ["even_odd", "second"] {
        let lines =
            |name: &str| fs_err::read(place.path(&format!("{name}.{target}.jsonl"))).expect("written");
        assert_eq!(lines("named"), lines("best"));
    }
    // A place that is taken is found before the first is written.
    fs_err::remove_file(place.path("best.even_odd.jsonl")).expect("removed");
    fs_err::remove_file(place.path("best.even_odd.jsonl.scores.csv")).expect("removed");
    select(&["--each", "target", "-o", "best.jsonl"]).told(2, &["best.second.jsonl exists"]);
    assert!(!place.path("best.even_odd.jsonl").exists());
    select(&["--each", "target", "-o", "-"]).told(2, &["--each target"]);
    // Each file of a target is another one than those of the others.
    let crossed = ["-o", "even_odd{target}.csv", "--scores", "{target}second.csv", "--each", "target"];
    select(&crossed).told(2, &["two targets would be written to even_oddsecond.csv"]);
    // A pattern stands for the datasets that it matches.
    let of = |targets: &[&str], more: &[&str]| {
        place.run(&[&["select", "--pool", "pool", "--top", "3", "--target"], targets, more].concat())
    };
    let (both, named) = (of(&["*o*d*"], &["-o", "-"]), of(&["even_odd", "second"], &["-o", "-"]));
    assert!(both.code == 0 && both.stdout == named.stdout && !both.stdout.is_empty(), "{}", both.stderr);
    of(&["*o*d*"], &["--each", "target", "-o", "each.jsonl"]).told(0, &["for even_odd", "for second"]);
    assert!(["even_odd", "second"].iter().all(|name| place.path(&format!("each.{name}.jsonl")).is_file()));
    let says = ["there is no dataset like \"skill_*\"", "available: ", "even_odd"];
    of(&["skill_*"], &["-o", "-"]).told(1, &says);
    let each = "FROM influence('pool', '*o*d*', each => 'target', k => 2)";
    assert_eq!(place.value(&format!("SELECT count(DISTINCT target) {each}")), "2");
}

#[test]
fn a_target_that_was_emptied_is_refused_among_others_before_anything_is_written() {
    let place = scored();
    fs_err::create_dir(place.path("targets")).expect("made");
    place.samples("targets/first", 4);
    place.samples("targets/second", 4);
    ingest(&place, &["--data", "targets/*.jsonl"], "grad-sgd").told(0, &["second: 4 samples added"]);
    place.ok(&["delete", "--dataset", "second", "--where", "row >= 0"]);
    let before = place.names();
    let says = ["target second has no row that can be compared: it has none"];
    let select = ["select", "--pool", "pool", "--top", "3", "-o", "best.jsonl", "--target"];
    for targets in [["first", "second"], ["second", "first"]] {
        for more in [&[][..], &["--each", "target"], &["--round-robin", "target"]] {
            place.run(&[&select[..], &targets, more].concat()).told(1, &says);
        }
        let matrix = ["matrix", "--pool", "pool", "-o", "m", "--target"];
        place.run(&[&matrix[..], &targets].concat()).told(1, &says);
        let named = targets.join(",");
        for each in ["", ", each => 'target', k => 2"] {
            let sql = format!("SELECT count(*) FROM influence('pool', '{named}'{each})");
            place.run(&["query", &sql]).told(1, &says);
        }
    }
    assert_eq!(place.names(), before);
}

#[test]
fn a_selection_is_a_saved_dataset_that_can_be_added_again() {
    let place = scored();
    let select = ["select", "--pool", "pool", "--target", "target", "--top", "5", "-o", "best/"];
    place.run(&select).told(0, &["5 of 40 rows selected", "best.scores.csv"]);
    for name in ["data-00000-of-00001.arrow", "state.json", "dataset_info.json"] {
        assert!(place.path("best").join(name).is_file(), "{name}");
    }
    add(&place, "again", "best", &[]).told(0, &["again: 5 samples added"]);
    place.run(&select).told(2, &["exists; --force replaces it"]);
    // `datasets` takes two with one fingerprint for the same.
    let fingerprint = || place.read_json("best/state.json")["_fingerprint"].clone();
    let plain = fingerprint();
    place.run(&[&select[..], &["--force", "--with-scores"]].concat()).told(0, &[]);
    assert_ne!(fingerprint(), plain);
    place.run(&[&select[..], &["--force"]].concat()).told(0, &[]);
    assert_eq!(fingerprint(), plain);
    // Of the one that was replaced nothing is left.
    assert!(!place.names().iter().any(|name| name.ends_with(".part")));
    place.write("mine/notes.txt", "mine");
    let over = ["select", "--pool", "pool", "--target", "target", "--top", "5", "--force", "-o", "mine/"];
    place.run(&over).told(2, &["holds something other"]);
    assert!(place.path("mine/notes.txt").is_file());
    // A folder in it is none of a saved dataset, whatever it is called.
    place.write("best/mine.arrow/notes.txt", "mine");
    place.run(&[&select[..], &["--force"]].concat()).told(2, &["holds something other"]);
    fs_err::remove_dir_all(place.path("best/mine.arrow")).expect("removed");
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
    finished.told(0, &["5 ['id', 'messages', 'source']"]);
}

#[test]
fn datasets_of_the_hub_are_read_from_the_cache() {
    let place = Place::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = "hub/datasets--org--tiny";
    place.write(&format!("{repository}/refs/main"), commit);
    place.write(
        &format!("{repository}/snapshots/{commit}/data/train-00000-of-00001.jsonl"),
        "{\"text\":\"a\"}\n",
    );
    place.write(
        &format!("{repository}/snapshots/{commit}/data/test-00000-of-00001.jsonl"),
        "{\"text\":\"b\"}\n",
    );
    let offline = |args: &[&str]| {
        let mut command = place.gstore(args);
        binary::run(command.env("HF_HUB_CACHE", place.path("hub")).env("HF_HUB_OFFLINE", "1"))
    };
    offline(&["add", "--data", "hf://org/tiny"]).told(0, &["tiny: 1 sample added", commit]);
    offline(&["add", "--dataset", "held_out", "--data", "hf://org/tiny#test"]).told(0, &["1 sample added"]);
    assert_eq!(record(&place, "held_out", 0)["text"], "b");
    offline(&["add", "--data", "hf://org/other"]).told(1, &["HF_HUB_OFFLINE"]);
    offline(&["add", "--dataset", "x", "--data", "hf://other"]).told(1, &["hf://org/name"]);
}

#[test]
fn messages_are_plain_english() {
    let place = scored();
    place.write("p.pkl", "x");
    add(&place, "p", "p.pkl", &[]).told(1, &["unknown format; supported:"]);
    place.write("other/notes.txt", "x");
    place.run(&["backup", "--to", "other"]).told(1, &["is not a backup of this store"]);
    let ask = ["ask", "--pool", "pool", "--messages", "{"];
    place.run(&ask).told(2, &["not valid JSON at line 1"]);
    let help = place.ok(&["add", "--help"]);
    assert!(help.contains("lower-case letters") && !help.contains("small letters"), "{help}");
}
