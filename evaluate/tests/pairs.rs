//! Promise: predictions are joined with their references by id, whatever layout they are in, and systems are
//! compared over the same rows.

use std::path::Path;

use crate::common::folder;
use gstore_core::{Cancel, Silent};
use gstore_data::{FieldNames, IdAllocator};
use gstore_evaluate::statistics::Bootstrap;
use gstore_evaluate::{PairSource, Pairs, PairsRequest, SystemSource, evaluate_texts, read_pairs};

fn files(folder: &Path, names: &[&str]) -> PairSource {
    PairSource::Files(names.iter().map(|name| folder.join(name)).collect())
}

fn request(folder: &Path, names: &[&str]) -> PairsRequest {
    let system = |name: &&str| SystemSource { name: None, source: files(folder, &[*name]) };
    PairsRequest {
        systems: names.iter().map(system).collect(),
        references: None,
        predictions: Vec::new(),
        reference: None,
    }
}

/// The same with references of their own.
fn with_references(folder: &Path, references: &str, names: &[&str]) -> PairsRequest {
    PairsRequest { references: Some(files(folder, &[references])), ..request(folder, names) }
}

fn read(request: &PairsRequest) -> Result<Pairs, String> {
    read_pairs(request, &Cancel::new()).map_err(|error| error.to_string())
}

const BASE: &str = r#"{"id": "a", "prompt": "p?", "completion": "x y", "expected": "x z"}
{"id": "b", "messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "u"}], "expected": ["u", "v"]}
"#;

const TUNED: &str = r#"{"id": "b", "prediction": "v"}
{"id": "a", "prediction": "x z"}
"#;

#[test]
fn answers_of_two_models_are_joined() {
    let folder = folder(&[
        ("base.jsonl", BASE),
        ("tuned.jsonl", TUNED),
        ("short.jsonl", "{\"id\":\"a\",\"prediction\":\"\"}\n"),
    ]);
    let pairs = read(&request(folder.path(), &["base.jsonl", "tuned.jsonl"])).expect("joined");
    assert_eq!(pairs.systems, ["base", "tuned"]);
    assert_eq!(pairs.rows[0].predictions, ["x y", "x z"]);
    assert_eq!(pairs.rows[1].references, ["u", "v"]);
    assert_eq!(pairs.rows[1].prompt.as_deref(), Some("q?"));

    let short = read(&request(folder.path(), &["base.jsonl", "short.jsonl"])).expect_err("a row is missing");
    assert!(short.contains("short has no prediction for \"b\""), "{short}");
    let alone = read(&request(folder.path(), &["tuned.jsonl"])).expect_err("no reference");
    assert!(alone.contains("no reference for \"b\""), "{alone}");
    assert!(alone.contains("reference, references, expected,"), "{alone}");
    let other = PairsRequest { reference: Some("zz".to_owned()), ..request(folder.path(), &["base.jsonl"]) };
    let other = read(&other).expect_err("no such key");
    assert!(other.ends_with("its record has none in `zz`"), "{other}");
    let with = with_references(folder.path(), "base.jsonl", &["tuned.jsonl"]);
    assert_eq!(read(&with).expect("joined").rows[0].references, ["u", "v"]);
}

#[test]
fn a_system_without_rows_is_no_part_of_a_comparison() {
    let folder = folder(&[("base.jsonl", BASE), ("empty.jsonl", ""), ("list.json", "[]")]);
    for (names, empty) in [
        (["base.jsonl", "empty.jsonl"], "empty.jsonl"),
        (["empty.jsonl", "base.jsonl"], "empty.jsonl"),
        (["base.jsonl", "list.json"], "list.json"),
    ] {
        let error = read(&request(folder.path(), &names)).expect_err("a system without rows");
        assert!(error.contains("nothing to evaluate in") && error.contains(empty), "{error}");
    }
    let mut named = request(folder.path(), &["base.jsonl", "empty.jsonl"]);
    named.systems[1].name = Some("tuned".to_owned());
    let error = read(&named).expect_err("a system without rows");
    assert!(error.contains("empty.jsonl (tuned): it has no rows"), "{error}");
}

#[test]
fn samples_without_ids_are_references_of_the_answers_to_them() {
    // The ids are `x` and the first 16 hex digits of the BLAKE3 hashes of the lines.
    let samples = r#"{"messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "u"}]}
{"prompt": "p?", "completion": "x z"}
"#;
    let answers = r#"{"id": "x1d889b8c46e8e7d6", "prompt": "p?", "completion": "x y"}
{"id": "x75c6fe5770586d2b", "prompt": "q?", "completion": "v"}
"#;
    let by_place = "{\"prediction\": \"v\"}\n{\"prediction\": \"x y\"}\n";
    let null = "{\"id\": null, \"prediction\": \"v\"}\n{\"id\": null, \"prediction\": \"x y\"}\n";
    let folder = folder(&[
        ("gsm8k.jsonl", samples),
        ("answers.jsonl", answers),
        ("by_place.jsonl", by_place),
        ("null.jsonl", null),
    ]);
    let references = |name| {
        let pairs = read(&with_references(folder.path(), "gsm8k.jsonl", &[name])).expect("joined");
        pairs.rows.into_iter().map(|row| row.references).collect::<Vec<_>>()
    };
    assert_eq!(references("answers.jsonl"), [["x z"], ["u"]]);
    assert_eq!(references("by_place.jsonl"), [["u"], ["x z"]]);
    assert_eq!(references("null.jsonl"), [["u"], ["x z"]]);
}

#[test]
fn a_position_is_never_taken_for_an_id() {
    let folder = folder(&[
        ("places.jsonl", "{\"prediction\": \"v\"}\n{\"prediction\": \"w\"}\n"),
        ("ids.jsonl", "{\"id\": \"1\", \"expected\": \"w\"}\n{\"id\": 0, \"expected\": \"v\"}\n"),
        ("answers.jsonl", "{\"id\": \"1\", \"prediction\": \"w\", \"expected\": \"w\"}\n"),
        (
            "texts.jsonl",
            "{\"expected\": \"v\", \"prediction\": \"v\"}\n{\"expected\": \"w\", \"prediction\": \"w\"}\n",
        ),
        (
            "late.jsonl",
            "{\"id\": \"1\", \"prediction\": \"w\", \"expected\": \"w\"}\n{\"prediction\": \"v\", \"expected\": \"v\"}\n",
        ),
        (
            "early.jsonl",
            "{\"prediction\": \"v\", \"expected\": \"v\"}\n{\"id\": \"0\", \"prediction\": \"w\", \"expected\": \"w\"}\n",
        ),
    ]);
    let place = folder.path();
    let refused = |request: &PairsRequest, words: &[&str]| {
        let error = read(request).expect_err("ids on one side alone");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let by_id = ["places.jsonl: line 1: it has no id", "ids.jsonl have ids", "leave out"];
    refused(&with_references(place, "ids.jsonl", &["places.jsonl"]), &by_id);
    let by_place = ["answers.jsonl: line 1: it has an id", "texts.jsonl have none"];
    refused(&with_references(place, "texts.jsonl", &["answers.jsonl"]), &by_place);
    refused(&request(place, &["texts.jsonl", "answers.jsonl"]), &by_place);
    refused(&request(place, &["late.jsonl"]), &["late.jsonl: line 2: it has no id, and others have one"]);
    refused(&request(place, &["early.jsonl"]), &["early.jsonl: line 1: it has no id, and others have one"]);
    let rows = read(&with_references(place, "ids.jsonl", &["answers.jsonl"])).expect("joined").rows;
    assert_eq!((rows[0].id.as_str(), rows[0].references[0].as_str()), ("1", "w"));
}

#[test]
fn references_that_contradict_each_other_are_refused() {
    let row = |id: &str, expected: &str| format!("{{{id}\"prediction\": \"a\", \"expected\": {expected}}}\n");
    for (id, named) in [("\"id\": \"2\", ", "\"2\""), ("", "\"0\"")] {
        let folder = folder(&[
            ("one.jsonl", &row(id, "\"the dog\"")),
            ("other.jsonl", &row(id, "\"another\"")),
            ("list.jsonl", &row(id, "[\"the dog\", \"a dog\"]")),
            ("turned.jsonl", &row(id, "[\"a dog\", \"the dog\"]")),
            ("none.jsonl", &format!("{{{id}\"prediction\": \"b\"}}\n")),
        ]);
        for names in [["one.jsonl", "other.jsonl"], ["other.jsonl", "one.jsonl"], ["list.jsonl", "one.jsonl"]]
        {
            let refused = read(&request(folder.path(), &names)).expect_err("two references");
            let said = format!("the reference of {named} in ");
            assert!(refused.contains(&said) && names.iter().all(|name| refused.contains(name)), "{refused}");
            // References of their own take the place of all others.
            let pairs = read(&with_references(folder.path(), "one.jsonl", &names)).expect("joined");
            assert_eq!(pairs.rows[0].references, ["the dog"]);
        }
        for names in [["list.jsonl", "turned.jsonl"], ["one.jsonl", "none.jsonl"]] {
            read(&request(folder.path(), &names)).expect("they agree");
        }
    }
}

#[test]
fn references_without_a_prediction_are_counted() {
    let sample = |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"completion\": \"x\"}}\n");
    let folder = folder(&[
        ("references.jsonl", &[sample("p"), sample("q"), sample("r")].concat()),
        ("some.jsonl", "{\"prediction\": \"x\"}\n"),
        ("all.jsonl", &"{\"prediction\": \"x\"}\n".repeat(3)),
    ]);
    let compared = |name: &str| {
        let pairs = read(&with_references(folder.path(), "references.jsonl", &[name])).expect("joined");
        let bootstrap = Bootstrap { resamples: 100, seed: 1 };
        evaluate_texts(pairs, 0, bootstrap, &mut Silent, (1, &Cancel::new())).expect("compared").report
    };
    let some = compared("some.jsonl");
    assert_eq!(some.json()["references_without_prediction"], 2);
    assert!(some.text().contains("2 references without a prediction"), "{}", some.text());
    let all = compared("all.jsonl");
    assert_eq!(all.json()["references_without_prediction"], 0);
    assert!(!all.text().contains("without a prediction"), "{}", all.text());
}

#[test]
fn references_in_a_list_are_joined_as_those_in_lines() {
    let list = r#"[
      {"prompt": "p?", "completion": "x z"},
      {"prompt": "q?", "completion": "u"}
    ]"#;
    // As an item gets it where it is answered.
    let id = |item: &str| {
        let (json, record) = FieldNames::default().read_prompt(item.as_bytes()).expect("a sample");
        IdAllocator::new().id_of(&record, &json)
    };
    let answer = |item: &str| format!("{{\"id\": \"{}\", \"prediction\": \"v\"}}\n", id(item));
    let answers =
        answer(r#"{"prompt":"q?","completion":"u"}"#) + &answer(r#"{"prompt":"p?","completion":"x z"}"#);
    let folder = folder(&[("list.json", list), ("answers.jsonl", &answers), ("bad.json", "[{}, 1]")]);
    let of = |references| with_references(folder.path(), references, &["answers.jsonl"]);
    let rows = read(&of("list.json")).expect("joined").rows;
    assert_eq!(rows.into_iter().map(|row| row.references).collect::<Vec<_>>(), [["u"], ["x z"]]);
    let bad = read(&of("bad.json")).expect_err("no reference");
    assert!(bad.contains("bad.json: item 1: there is no reference"), "{bad}");
}

#[test]
fn a_made_id_that_another_record_states_is_refused() {
    // The id of the second line of the samples above.
    let made = r#"{"prompt": "p?", "completion": "x z"}"#;
    let stated = r#"{"id": "x1d889b8c46e8e7d6", "prompt": "q?", "completion": "u"}"#;
    for lines in [[stated, made], [made, stated]] {
        let folder = folder(&[
            ("references.jsonl", lines.join("\n").as_str()),
            ("answers.jsonl", r#"{"id": "x1d889b8c46e8e7d6", "prediction": "v"}"#),
        ]);
        let refused = read(&with_references(folder.path(), "references.jsonl", &["answers.jsonl"]));
        let refused = refused.expect_err("one id is of two records");
        assert!(refused.contains("\"x1d889b8c46e8e7d6\" comes twice in"), "{refused}");
    }
}

#[test]
fn a_list_of_answers_of_several_models_is_read() {
    let list = r#"[
      {"prompt": "p", "expected_completion": " e f", "base_completion": " e", "finetuned_completion": " e f"},
      {"prompt": "q", "expected_completion": "g", "base_completion": "h", "finetuned_completion": "g"}
    ]"#;
    let folder = folder(&[("generated_answers.json", list)]);
    let pairs = read(&request(folder.path(), &["generated_answers.json"])).expect("read");
    assert_eq!(pairs.systems, ["base", "finetuned"]);
    assert_eq!((pairs.rows.len(), pairs.rows[1].references[0].as_str()), (2, "g"));

    let bootstrap = Bootstrap { resamples: 200, seed: 1 };
    let found = evaluate_texts(pairs, 0, bootstrap, &mut Silent, (2, &Cancel::new())).expect("compared");
    let text = found.report.markdown();
    assert!(text.contains("| ROUGEL | 2 |") && text.contains("finetuned - base"), "{text}");
    let files = found.files().expect("files");
    let of = |name: &str| {
        let file = files.iter().find(|file| file.path == name).expect(name);
        String::from_utf8(file.content.clone()).expect("text")
    };
    let header = "prompt_idx,prompt,expected,base_completion,finetuned_completion,base_bleu1,base_bleu2,base_rouge1,base_rouge2,base_rougeL,finetuned_bleu1,finetuned_bleu2,finetuned_rouge1,finetuned_rouge2,finetuned_rougeL";
    assert_eq!(of("model_comparison.csv").lines().next(), Some(header));
    let summary = of("model_comparison_summary.csv");
    let header = "Metric,Base Model,Fine-tuned Model,Improvement,Relative Improvement (%)";
    assert_eq!(summary.lines().next(), Some(header));
    assert_eq!(summary.lines().count(), 6);
    // What was given, and the answers of the tuned model with their prompts.
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(read(&of("generated_answers.json")), read(list));
    let tuned = r#"[{"prompt": "p", "completion": " e f"}, {"prompt": "q", "completion": "g"}]"#;
    assert_eq!(read(&of("finetuned_generated_answers.json")), read(tuned));
    let json = read(&of("evaluation.json"));
    let names: Vec<&str> = json["charts"]
        .as_array()
        .expect("charts")
        .iter()
        .filter_map(|chart| chart["name"].as_str())
        .collect();
    assert_eq!(names, ["model_comparison_chart", "combined_improvements"]);
}

#[test]
fn answers_of_a_report_can_be_compared_again() {
    let folder = folder(&[("one.jsonl", BASE), ("two.jsonl", TUNED), ("three.jsonl", TUNED)]);
    let names = ["two.jsonl", "three.jsonl", "one.jsonl"];
    // The base may stand anywhere, and of two systems it is called so.
    for (names, base, systems) in
        [(&names[1..], 1, &["base", "finetuned"][..]), (&names[..], 2, &["one", "three", "two"][..])]
    {
        let pairs = read(&with_references(folder.path(), "one.jsonl", names)).expect("joined");
        let bootstrap = Bootstrap { resamples: 100, seed: 1 };
        let found =
            evaluate_texts(pairs, base, bootstrap, &mut Silent, (1, &Cancel::new())).expect("compared");
        let written = found.files().expect("files");
        let answers = written.iter().filter(|file| file.path.ends_with("generated_answers.json"));
        assert_eq!(answers.clone().count(), systems.len());
        for file in answers {
            fs_err::write(folder.path().join(&file.path), &file.content).expect("written");
        }
        let again = read(&request(folder.path(), &["generated_answers.json"])).expect("read");
        let mut found_again: Vec<&str> = again.systems.iter().map(String::as_str).collect();
        found_again.sort_unstable();
        assert_eq!(found_again, systems);
        // `v` was right of the second row, whose references are a list.
        assert_eq!(again.rows[0].references, ["u", "v"]);
    }
    let tuned =
        read(&request(folder.path(), &["three_generated_answers.json", "two_generated_answers.json"]));
    assert!(tuned.expect_err("no references").contains("no reference"));
}

#[test]
fn completions_belong_to_the_model_that_their_key_names() {
    let list = r#"{"expected_completion": "x", "base_completion": "b0", "finetuned_completion": "f0"}
{"finetuned_completion": "f1", "expected_completion": "x", "base_completion": "b1"}
"#;
    let folder = folder(&[
        ("pairs.jsonl", list),
        ("other.jsonl", &list.replace("\"base_completion\": \"b1\"", "\"third_completion\": \"b1\"")),
        ("same.jsonl", "{\"id\": 0, \"prediction\": \"a\", \"expected\": \"a\"}\n"),
    ]);
    let pairs = read(&request(folder.path(), &["pairs.jsonl"])).expect("read");
    let second: Vec<(&str, &str)> = pairs
        .systems
        .iter()
        .map(String::as_str)
        .zip(pairs.rows[1].predictions.iter().map(String::as_str))
        .collect();
    assert!(second.contains(&("base", "b1")) && second.contains(&("finetuned", "f1")), "{second:?}");
    let other = read(&request(folder.path(), &["other.jsonl"])).expect_err("another model");
    assert!(other.contains("line 2: it has other completions than the first record"), "{other}");
    let same = read(&request(folder.path(), &["same.jsonl", "same.jsonl"])).expect_err("one name");
    assert!(same.contains("two systems are called same") && !same.contains("name=file"), "{same}");
}

#[test]
fn the_files_of_a_source_are_one_system() {
    let line = |id: &str| format!("{{\"id\": \"{id}\", \"prediction\": \"a\", \"expected\": \"a\"}}\n");
    let folder = folder(&[("one.jsonl", &line("a")), ("two.jsonl", &line("b"))]);
    let system = SystemSource { name: None, source: files(folder.path(), &["one.jsonl", "two.jsonl"]) };
    let pairs = read(&PairsRequest { systems: vec![system], ..request(folder.path(), &[]) }).expect("read");
    assert_eq!((pairs.systems.as_slice(), pairs.rows.len()), (&["one".to_owned()][..], 2));
}

#[test]
fn no_improvement_is_said() {
    let folder = folder(&[
        ("base.jsonl", BASE),
        ("empty.jsonl", "{\"id\":\"a\",\"prediction\":\"\",\"expected\":\"x z\"}\n"),
    ]);
    let compared = |file: &str| {
        let system =
            |name: &str| SystemSource { name: Some(name.to_owned()), source: files(folder.path(), &[file]) };
        let systems = ["one", "two"].map(system).to_vec();
        let pairs = read(&PairsRequest { systems, ..request(folder.path(), &[]) }).expect("joined");
        let bootstrap = Bootstrap { resamples: 100, seed: 1 };
        evaluate_texts(pairs, 0, bootstrap, &mut Silent, (1, &Cancel::new())).expect("compared")
    };
    let nothing = compared("empty.jsonl").report.findings;
    assert_eq!(nothing, ["two against one: No metric improved: all values of both are 0."]);
    let found = compared("base.jsonl");
    assert_eq!(found.report.findings, ["two against one: No metric improved."]);
    assert!(found.report.text().contains("No metric improved"));
}

#[test]
fn records_that_cannot_be_used_are_named() {
    for (text, words) in [
        ("{\"id\": 1, \"expected\": \"x\"}\n", "line 1: there is no prediction"),
        ("{\"prediction\": \"x\", \"expected\": \"y\"}\n[1]\n", "line 2: expected a JSON object, found"),
        (
            "{\"id\": 1, \"prediction\": \"x\", \"expected\": \"y\"}\n{\"id\": 1, \"prediction\": \"x\", \"expected\": \"y\"}\n",
            "comes twice",
        ),
        ("{\"prediction\": \"x\"", "malformed JSON"),
        ("{\"id\": 1, \"id\": 2}\n", "the key \"id\" appears twice"),
    ] {
        let folder = folder(&[("rows.jsonl", text)]);
        let error = read(&request(folder.path(), &["rows.jsonl"])).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
}
