//! Promise: systems and models are compared by one command, whose report comes in every format, and whose
//! work continues after a stop.

use std::path::Path;
use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

const BASE: &str = r#"{"id": "a", "completion": "the cat is on mat", "expected": "the cat sat on the mat"}
{"id": "b", "completion": "no", "expected": "yes"}
"#;

const TUNED: &str = r#"{"id": "a", "completion": "the cat sat on the mat"}
{"id": "b", "completion": "yes"}
"#;

const QUESTIONS: &str = r#"{"id": "a", "task": "odd", "question": "Is 7 odd?", "choices": ["yes", "no"], "answer": 0}
{"id": "b", "task": "odd", "question": "Is 8 odd?", "choices": ["yes", "no"], "answer": 1}
{"id": "c", "task": "words", "question": "Say yes", "answers": ["yes"]}
"#;

fn tasks(place: &Place, args: &[&str]) -> Command {
    let line = "evaluate tasks --data questions.jsonl --resamples 200 --max-new-tokens 8";
    let mut command = place.with_model(line);
    command.arg("--checkpoints");
    command.arg(format!("tuned={}", world::demo().join("warmup/checkpoint-104").display()));
    command.args(args);
    command
}

#[test]
fn texts_of_two_systems_are_compared() {
    let place = Place::new();
    place.write("base.jsonl", BASE);
    place.write("tuned.jsonl", TUNED);
    let text = ["evaluate", "text", "--data", "base.jsonl", "better=tuned.jsonl", "--resamples", "200"];
    let with = |more: &[&str]| place.ok(&[&text[..], more].concat());
    let printed = with(&[]);
    assert!(printed.contains("BLEU1") && printed.contains("better - base"), "{printed}");
    with(&["-o", "report.json", "--rows", "rows.csv", "--report", "report"]);
    let report = place.read_json("report.json");
    let bleu = &report["measures"][0];
    assert_eq!((&bleu["metric"], &bleu["rows"]), (&"bleu1".into(), &2.into()));
    // The first of base is 0.654985, the second has no word in common.
    let mean = bleu["values"][0]["mean"].as_f64().expect("a number");
    assert!((mean - 0.654985 / 2.0).abs() < 1e-6, "{mean}");
    assert_eq!(bleu["values"][1]["mean"], 1.0);
    assert_eq!(report["charts"][0]["name"], "model_comparison_chart");
    let read_from = &report["made"]["systems"][1];
    assert_eq!(read_from["name"], "better");
    assert!(read_from["data"][0]["path"].as_str().is_some_and(|path| path.ends_with("tuned.jsonl")));
    assert_eq!(read_from["data"][0]["digest"].as_str().map(str::len), Some(32));
    assert!(place.read("report/evaluation_report.md").contains("## How it was made"));
    assert_eq!(place.read("rows.csv").lines().count(), 5);
    for name in ["evaluation_report.md", "model_comparison.csv", "model_comparison_summary.csv"] {
        assert!(place.path("report").join(name).exists(), "{name}");
    }

    place.run(&[&text[..], &["-o", "report.json"]].concat()).says(2, &["--force"]);
    place.run(&[&text[..], &["--report", "report"]].concat()).says(2, &["--force"]);
    // What is read is not replaced by a result, whatever may be.
    for more in [["--rows", "tuned.jsonl"], ["-o", "base.jsonl"]] {
        let refused = place.run(&[&text[..], &more, &["--force", "--format", "csv"]].concat());
        refused.says(2, &["is read by this command"]);
    }
    assert_eq!((place.read("base.jsonl").as_str(), place.read("tuned.jsonl").as_str()), (BASE, TUNED));
    with(&["--report", "report", "--force"]);
    for picture in ["model_comparison_chart", "combined_improvements"] {
        let png = fs_err::read(place.path("report").join(picture).with_extension("png")).expect("a picture");
        assert!(png.starts_with(b"\x89PNG"), "{picture}");
        assert!(place.read(&format!("report/{picture}.svg")).contains("<svg"), "{picture}");
    }
    // What somebody else put there is not thrown away.
    place.write("report/notes.txt", "mine\n");
    for force in [&[][..], &["--force"]] {
        let again = place.run(&[&text[..], &["--report", "report"], force].concat());
        again.says(2, &["notes.txt"]).lacks(&["--force"]);
    }
    assert!(place.path("report/evaluation.json").exists());
    fs_err::remove_file(place.path("report/notes.txt")).expect("removed");
    for (more, words) in [
        (["--report", "none/report", "--seed", "1"], "no such folder"),
        (["--report", "new", "--with", "report"], "other kind"),
        (["--report", "report", "--force", "-oreport/own.json"], "would be in"),
        (["--resamples", "10000001", "--seed", "1"], "at most 10000000"),
    ] {
        place.run(&[&text[..5], &more[..]].concat()).says(2, &[words]);
    }
    let worse = with(&["--against", "better", "--format", "markdown"]);
    assert!(worse.contains("No metric improved"), "{worse}");
    let csv = with(&["--format", "csv"]);
    assert!(csv.starts_with("group,metric,system,rows,mean,"), "{csv}");

    place.run(&[&text[..], &["--against", "third"]].concat()).says(2, &["base, better"]);
    place.run(&[&text[..], &["-o", "report.pdf"]].concat()).says(2, &[".json"]);
    place.write("bad.jsonl", "{\"id\": \"a\"}\n");
    place.run(&["evaluate", "text", "--data", "bad.jsonl"]).says(1, &["bad.jsonl: line 1"]);
}

#[test]
fn what_is_read_is_not_replaced() {
    let place = Place::new();
    world::copy_files(&world::demo().join("model"), &place.path("m"));
    world::copy_files(&world::demo().join("warmup/checkpoint-104"), &place.path("a"));
    place.write("data/questions.jsonl", QUESTIONS);
    place.write("shots.jsonl", QUESTIONS.replace("odd?", "even?"));
    place.write("mmlu/dev/zoo_dev.csv", "Lion?,yes,no,so,la,D\n");
    place.write("mmlu/test/zoo_test.csv", "Bear?,1,2,3,4,A\n");
    place.write("texts/base.jsonl", BASE);
    place.ok(&["evaluate", "text", "--data", "texts/base.jsonl", "--report", "report"]);
    let tasks = ["tasks", "--model", "m", "--checkpoints", "tuned=a", "--data"];
    let own = [&tasks[..], &["data/questions.jsonl"]].concat();
    let shots = [&own[..], &["--shots", "shots.jsonl"]].concat();
    let folder = [&tasks[..], &["data"]].concat();
    let pattern = [&tasks[..], &["data/*.jsonl"]].concat();
    let mmlu = [&tasks[..], &["mmlu", "--layout", "mmlu"]].concat();
    let combined = [&own[..], &["--report", "new", "--with", "report"]].concat();
    let targets = ["tasks", "--layout", "mmlu", "--data", "mmlu"];
    let text = |data| ["text", "--data", data];
    for (ask, to, read) in [
        (&own[..], "-o", "m/config.json"),
        (&own, "--rows", "m/model.safetensors"),
        (&own, "--rows", "a/adapter_model.safetensors"),
        (&own, "--rows", "data/questions.jsonl"),
        (&shots, "--rows", "shots.jsonl"),
        (&folder, "--rows", "data/questions.jsonl"),
        (&pattern, "--rows", "data/questions.jsonl"),
        (&mmlu, "-o", "mmlu/dev/zoo_dev.csv"),
        (&mmlu, "--rows", "mmlu/test/zoo_test.csv"),
        (&combined, "-o", "report/evaluation.json"),
        (&targets, "--targets", "mmlu/dev/zoo_dev.csv"),
        (&text("texts"), "--rows", "texts/base.jsonl"),
        (&text("texts/*.jsonl"), "--rows", "texts/base.jsonl"),
        (&text("report/rows.csv"), "--report", "report"),
    ] {
        let refused = place.run(&[&["evaluate"][..], ask, &[to, read, "--force"]].concat());
        refused.says(2, &[&format!("{read} is read by this command")]);
    }
    assert_eq!(
        (place.read("texts/base.jsonl").as_str(), place.read("data/questions.jsonl").as_str()),
        (BASE, QUESTIONS)
    );
    // A file next to what is read, and the same again.
    for _ in 0..2 {
        place.ok(&["evaluate", "text", "--data", "texts/*.jsonl", "-o", "texts/report.md", "--force"]);
    }
}

#[test]
fn answers_in_the_store_are_compared_with_a_dataset() {
    let place = Place::new();
    place.write("gold.jsonl", "{\"id\": \"a\", \"prompt\": \"p\", \"completion\": \"one two\"}\n");
    place.write("answers.jsonl", "{\"id\": \"a\", \"prompt\": \"p\", \"completion\": \"one three\"}\n");
    for name in ["gold", "answers"] {
        place.add(name);
    }
    let text =
        ["evaluate", "text", "--dataset", "answers", "--reference-dataset", "gold", "--format", "json"];
    let report: Value = serde_json::from_str(&place.ok(&text)).expect("JSON");
    assert_eq!(report["systems"][0]["name"], "answers");
    let mean = report["measures"][0]["values"][0]["mean"].as_f64().expect("a number");
    assert!((mean - 0.5).abs() < 1e-12, "{mean}");
}

#[test]
fn models_do_tasks_and_go_on_after_a_stop() {
    let place = Place::new();
    place.write("questions.jsonl", QUESTIONS);
    let report = binary::json(&mut tasks(&place, &["--format", "json", "--threads", "1"]));
    let measures = report["measures"].as_array().expect("measures");
    let metrics: Vec<&str> = measures.iter().filter_map(|measure| measure["metric"].as_str()).collect();
    assert_eq!(metrics, ["acc", "acc_norm", "exact_match", "f1"].map(|metric| [metric; 2]).concat());
    assert_eq!((&measures[0]["group"], &measures[1]["group"]), (&"odd".into(), &"all".into()));
    let made = &report["made"];
    assert_eq!((&made["layout"], &made["template"]), (&"own".into(), &"tulu".into()));
    assert_eq!((&made["few_shot"], &made["compute"]), (&0.into(), &"f32".into()));
    assert_eq!(
        made["answers"],
        serde_json::json!([{ "stop": ["\n"], "max_new_tokens": 8, "pattern": null }])
    );
    for digest in [&made["data"][0]["digest"], &made["questions"]["digest"]] {
        assert_eq!(digest.as_str().map(str::len), Some(32), "{made}");
    }
    for value in measures.iter().flat_map(|measure| measure["values"].as_array().expect("values")) {
        let [low, mean, high] = ["low", "mean", "high"].map(|key| value[key].as_f64());
        match value["interval"] == "wilson" {
            true => assert!(low <= mean && mean <= high && low.is_some(), "{value}"),
            // Too few for a bootstrap.
            false => assert_eq!((low, high), (None, None), "{value}"),
        }
    }
    binary::ok(&mut tasks(&place, &["-o", "report.json", "--report", "report", "--threads", "2"]));
    let written = place.read_json("report.json");
    assert_eq!(written, report);
    assert!(!place.path("report.json.part").exists());
    let markdown = place.read("report/evaluation_report.md");
    assert!(markdown.contains("| layout | own |\n") && markdown.contains("max_new_tokens 8"), "{markdown}");
    let scores = place.path("report/deepeval_results/run_1/task_model_scores.json");
    assert!(scores.exists());

    // Both kinds in one report, text metrics first.
    place.write("base.jsonl", BASE);
    let text = ["evaluate", "text", "--data", "base.jsonl", "--report", "both", "--with"];
    place.ok(&[&text[..], &["report"]].concat());
    let both = place.read("both/combined_evaluation_report.md");
    let (texts, benchmarks) = (both.find("## Text metrics"), both.find("## Benchmarks"));
    assert!(texts.is_some() && texts < benchmarks, "{both}");
    for picture in [
        "report/benchmark_comparison_chart.png",
        "report/combined_improvements.png",
        "both/combined_improvements.png",
    ] {
        assert!(place.path(picture).exists(), "{picture}");
    }
    assert!(!both.contains("## Influential examples"), "{both}");
    let examples: String = (1..=30).map(|row| format!("row {row}\n")).collect();
    place.write("found.md", &examples);
    place.ok(&[&text[..], &["report", "--force", "--influential", "found.md"]].concat());
    let both = place.read("both/combined_evaluation_report.md");
    let (benchmarks, rows) = (both.find("## Benchmarks"), both.find("## Influential examples"));
    assert!(benchmarks.is_some() && benchmarks < rows, "{both}");
    assert!(both.contains("](influential_examples.md)") && both.contains("row 20\n"), "{both}");
    assert!(!both.contains("row 21"), "{both}");
    assert_eq!(place.read("both/influential_examples.md"), examples);
    for (more, words) in [
        (["--with", "report", "--influential", "no.md"], "not a file"),
        (["--seed", "1", "--influential", "found.md"], "--with"),
    ] {
        let ask = ["evaluate", "text", "--data", "base.jsonl", "--report", "new"];
        place.run(&[&ask[..], &more].concat()).says(2, &[words]);
    }
    let none =
        place.run(&["evaluate", "text", "--data", "base.jsonl", "--report", "more", "--with", "both/none"]);
    none.says(2, &["evaluation.json"]);

    // What a stop leaves is gone on with; another request is refused.
    let part = place.path("other.json.part");
    binary::killed_once(&mut tasks(&place, &["-o", "other.json"]), || part.join("0/answers-0").exists());
    if !place.path("other.json").exists() {
        place.write("questions.jsonl", QUESTIONS.replace("7 odd", "9 odd"));
        let refused = tasks(&place, &["-o", "other.json"]).output().expect("run");
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && stderr.contains("another request"), "{stderr}");
        assert!(part.exists() && !place.path("other.json").exists());
        place.write("questions.jsonl", QUESTIONS);
        binary::ok(&mut tasks(&place, &["-o", "other.json"]));
        assert!(!part.exists());
    }
    let other = place.read_json("other.json");
    assert_eq!(other, report);
}

#[test]
fn weights_that_cannot_be_used_are_found_before_the_first_model_answers() {
    let place = Place::new();
    place.write("questions.jsonl", QUESTIONS);
    place.samples("pool", 6);
    let line = "train --data pool.jsonl --output tuned --max-steps 1 --max-length 64";
    binary::ok(&mut place.with_model(line));
    let (sound, last) = (world::demo().join("warmup/checkpoint-104"), place.path("tuned/checkpoint-1"));
    let of_all = |model: &Path, others: &[(&str, &Path)]| {
        let mut command = place.gstore(&["evaluate", "tasks", "--data", "questions.jsonl", "-o", "r.json"]);
        command
            .args(["--resamples", "200", "--max-new-tokens", "1", "--model"])
            .arg(model)
            .arg("--checkpoints");
        command.args(others.iter().map(|(name, folder)| format!("{name}={}", folder.display())));
        binary::run(&mut command)
    };
    let of_both = |model: &Path| of_all(model, &[("sound", &sound), ("last", &last)]);
    let is_refused = |told: binary::Finished, says: &str| {
        told.says(1, &[says]);
        assert!(
            !told.stderr.contains("with choices") && !place.path("r.json.part").exists(),
            "{}",
            told.stderr
        );
    };
    let refused = |model: &Path, says: &str| is_refused(of_both(model), says);
    let other = place.path("other");
    world::copy_files(&world::demo().join("model"), &other);
    let change = |path: &Path, value: f32| {
        let mut bytes = fs_err::read(path).expect("read");
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&value.to_le_bytes());
        fs_err::write(path, bytes).expect("written");
    };
    change(&other.join("model.safetensors"), 0.5);
    refused(&other, "last: ");
    refused(&other, "was trained on");
    let model = world::demo().join("model");
    // As of a training that was given a path from where it ran: the message has one from here.
    world::copy_files(&model, &place.path("base"));
    let config = last.join("adapter_config.json");
    let mut named: Value = serde_json::from_slice(&fs_err::read(&config).expect("read")).expect("JSON");
    named["base_model_name_or_path"] = "base".into();
    fs_err::write(&config, named.to_string()).expect("written");
    refused(&other, &format!("was trained on {}, when", place.path("base").display()));
    change(&last.join("adapter_model.safetensors"), f32::NAN);
    refused(&model, "adapter_model.safetensors is damaged");
    fs_err::remove_file(last.join("gstore_state.json")).expect("removed");
    refused(&model, "are not finite: base_model.model.");
    // A whole fine-tune of another program, behind models that could answer.
    change(&other.join("model.safetensors"), f32::NAN);
    is_refused(of_all(&model, &[("sound", &sound), ("whole", &other)]), "whole: ");
    is_refused(of_all(&model, &[("whole", &other)]), "are not finite: model.norm.weight has the value NaN");
    change(&last.join("adapter_model.safetensors"), 0.0);
    of_both(&model).says(0, &[]);
}

#[test]
fn options_that_no_question_has_a_use_for_are_refused() {
    let place = Place::new();
    let line = |number: usize| format!("{}\n", QUESTIONS.lines().nth(number).expect("a question"));
    place.write("choices.jsonl", line(0));
    place.write("answers.jsonl", line(2));
    for (data, more) in [
        ("choices.jsonl", ["--stop", "x"]),
        ("choices.jsonl", ["--max-new-tokens", "8"]),
        ("choices.jsonl", ["--pattern", "x"]),
        ("answers.jsonl", ["--choices", "letters"]),
    ] {
        let tasks = ["evaluate", "tasks", "--data", data, "--model", "nowhere"];
        place.run(&[&tasks[..], &more].concat()).says(2, &[more[0], "has no effect here"]);
    }
    for name in ["", ".", ".."] {
        let tasks =
            ["evaluate", "tasks", "--data", "choices.jsonl", "--model", "nowhere", "--benchmark", name];
        place.run(&tasks).says(2, &["--benchmark", "the name of a folder"]);
    }
}

#[test]
fn targets_of_less_become_a_dataset() {
    let place = Place::new();
    place.write("mmlu/dev/zoo_dev.csv", "Lion?,yes,no,so,la,D\n");
    place.write("mmlu/test/zoo_test.csv", "Bear?,1,2,3,4,A\n");
    let targets = ["evaluate", "tasks", "--layout", "mmlu", "--data", "mmlu", "--targets", "target.jsonl"];
    place.ok(&targets);
    place.add("target");
    assert_eq!(place.value("SELECT subtask FROM target"), "zoo");
    place.run(&targets).says(2, &["--force"]);
    for more in [
        ["--limit", "1"],
        ["--few-shot", "2"],
        ["--choices", "letters"],
        ["--pattern", "x"],
        ["--system", "Be brief."],
        ["--tokenizer", "nowhere"],
        ["--max-length", "64"],
        ["--block", "64"],
        ["--with", "mmlu"],
        ["--influential", "target.jsonl"],
    ] {
        let path = ["--targets", "other.jsonl"];
        place.run(&[&targets[..6], &path, &more].concat()).says(2, &[more[0]]);
        assert!(!place.path("other.jsonl").exists());
    }
    for name in ["t.csv", "t.txt", "t.foo", "t.foo.gz"] {
        let none = place.run(&[&targets[..6], &["--targets", name]].concat());
        none.says(2, &["target samples are JSON lines"]);
        assert!(!place.path(name).exists());
    }
    for more in [["--shots", "target.jsonl"], ["--pattern", "x"], ["--choices", "letters"]] {
        let none = place.run(&[&targets[..6], &["--model", "nowhere"], &more].concat());
        none.says(2, &[more[0], "--layout mmlu"]);
    }
    let own = place.run(&["evaluate", "tasks", "--data", "mmlu", "--targets", "t.jsonl"]);
    own.says(2, &["mmlu, bbh or tydiqa"]);
    place.write("mmlu/test/zoo_test.csv", "Bear?,1,2,3,4,A\nWolf?,1,2,3,4,B\n");
    let own = place.run(&["evaluate", "tasks", "--data", "mmlu", "--model", "nowhere"]);
    let says = "there is no text under `question`; the folder is laid out as MMLU: give --layout mmlu";
    own.says(1, &[says]);
    let none = place.run(&["evaluate", "tasks", "--layout", "bbh", "--data", "mmlu", "--model", "nowhere"]);
    none.says(1, &["tasks of BBH"]);
}
