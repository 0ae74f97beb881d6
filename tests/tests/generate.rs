//! Promise: answers of a model become a file or a dataset that can be a target at once, and a stopped command
//! can be continued.

use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

use crate::terminal::Terminal;

/// `gstore generate` with the demo's model; answers have 12 tokens.
pub fn generate(place: &Place, args: &[&str]) -> Command {
    let short: &[&str] = if args.contains(&"--perplexity") { &[] } else { &["--max-new-tokens", "12"] };
    let mut command = place.with_model("generate");
    command.args(short).args(args);
    command
}

/// The records of a file.
pub fn lines(place: &Place, name: &str) -> Vec<Value> {
    let text = place.read(name);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Prompts with a key that needs a column of text.
pub const TWO_TYPES: &str = concat!(
    r#"{"id": "a", "prompt": "What is 7 times 8?", "completion": "56", "difficulty": 1}"#,
    "\n",
    r#"{"id": "b", "prompt": "Name a colour.", "completion": "red", "difficulty": "hard"}"#,
    "\n",
);

#[test]
fn a_terminal_has_answers_as_text() {
    let place = Place::new();
    for prompts in [&["--prompt", "Is 7 odd?"][..], &["--prompt", "Is 7 odd?", "--prompt", "Is 8 odd?"]] {
        let args = [prompts, &["--chat", "--ignore-eos"]].concat();
        let piped = binary::ok(&mut generate(&place, &args));
        let last: Value = piped.lines().last().map(serde_json::from_str).expect("a line").expect("JSON");
        let answer = last["messages"][1]["content"].as_str().expect("an answer");
        let line = answer.lines().find(|line| !line.trim().is_empty()).expect("a text").trim();
        let Some(mut terminal) = Terminal::run(&generate(&place, &args), 100, 40) else { return };
        // Several have their ids.
        if prompts.len() > 2 {
            let id = last["id"].as_str().expect("an id");
            terminal.until(&format!("id {id}"));
        }
        let shown = terminal.until(line);
        assert!(!shown.contains("\"messages\""), "{shown}");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn answers_become_a_file() {
    let place = Place::of(&[("pool", 9)]);
    let first = binary::run(&mut generate(&place, &["--data", "pool.jsonl", "-o", "answers.jsonl"]));
    first.says(0, &["answers written to answers.jsonl"]);
    let answers = lines(&place, "answers.jsonl");
    assert_eq!(answers.len(), 9);
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], format!("s{i}"));
        assert_eq!(answer["source"], ["a", "b", "c"][i % 3]);
        assert_eq!(answer["messages"].as_array().map(Vec::len), Some(2));
    }
    assert!(!place.path("answers.jsonl.part").exists());

    // The same prompts on the other number of threads, printed.
    let printed = binary::ok(&mut generate(&place, &["--data", "pool.jsonl", "--threads", "1"]));
    assert_eq!(printed, place.read("answers.jsonl"));

    binary::run(&mut generate(&place, &["-o", "other.jsonl"])).says(2, &["--prompt"]);
    binary::run(&mut generate(&place, &["--text", "a"]))
        .says(2, &["give what is to be answered as --prompt"]);
    binary::run(&mut generate(&place, &["--prompt", "a", "-o", "answers.csv"])).says(2, &[".jsonl"]);
    // Before anything is read.
    for ask in [&["--data", "missing.jsonl"][..], &["--data", "missing.jsonl", "--perplexity"]] {
        for name in ["answers.foo", "answers.foo.gz"] {
            let ask = [ask, &["-o", name]].concat();
            binary::run(&mut generate(&place, &ask)).says(2, &[name, " .jsonl"]);
        }
    }
    let cold = ["--prompt", "a", "--temperature", "0", "--top-k", "5"];
    binary::run(&mut generate(&place, &cold)).says(2, &["top-k"]);
}

/// Lists, objects and long integers, too, which are texts in the columns of a dataset.
#[test]
fn other_keys_of_a_record_come_out_as_they_were() {
    let place = Place::new();
    let keys = concat!(
        r#""meta":{"a":1,"n":null,"f":0.5},"tags":["x","y"],"big":12345678901234567890,"#,
        r#""huge":[340282366920938463463374607431768211455],"none":null,"word":"[1]""#
    );
    let record = format!("{{\"id\":\"1\",\"prompt\":\"Hi\",\"completion\":\"yes\",{keys}}}\n");
    place.write("nest.jsonl", record);
    place.add("nest");
    let printed = binary::ok(&mut generate(&place, &["--data", "nest.jsonl"]));
    assert!(printed.contains(&format!(",\"expected\":\"yes\",{keys},\"finish\":")), "{printed}");
    assert_eq!(binary::ok(&mut generate(&place, &["--dataset", "nest"])), printed);
    let to_both = ["--data", "nest.jsonl", "-o", "answers.jsonl", "--as", "answers"];
    for says in ["answers: 1 answer added", "nothing to do: answers.jsonl has the 1 answer"] {
        binary::run(&mut generate(&place, &to_both)).says(0, &[says]);
        assert_eq!(place.read("answers.jsonl"), printed);
    }
    let stored = |sql| place.ok(&["query", "--format", "lines", sql]);
    assert_eq!(stored("SELECT record FROM answers"), printed);
    let columns = stored("SELECT big || tags FROM answers WHERE word = '[1]'");
    assert_eq!(columns.trim(), r#"12345678901234567890["x","y"]"#);
}

#[test]
fn columns_of_answers_have_the_types_that_are_asked_for_or_known() {
    let place = Place::new();
    place.write("two.jsonl", TWO_TYPES);
    place.write("plain.jsonl", "{\"id\": \"c\", \"prompt\": \"Hi\", \"completion\": \"x\", \"finish\": 7}\n");
    let is_text = ["--column", "difficulty:utf8"];
    place.ok(&[&["add", "--dataset", "two", "--data", "two.jsonl"][..], &is_text].concat());
    place.add("plain");
    let ask = |args: &[&str], says: &str| {
        binary::run(&mut generate(&place, args)).says(0, &[says]);
    };
    let given = ["--data", "two.jsonl", "--as", "given"];
    ask(&[&given[..], &is_text].concat(), "given: 2 answers added");
    ask(&given, "given: 0 answers added, 2 there already");
    // Of what is in a dataset, with the types that it has there: also where one row alone would say another,
    // and beside the columns of other answers. Keys that answers have themselves are another matter.
    ask(&["--dataset", "two", "--where", "id = 'a'", "--as", "stored"], "stored: 1 answer added");
    ask(&["--dataset", "two", "--as", "stored"], "stored: 1 answer added, 1 there already");
    ask(&["--dataset", "plain", "--as", "mixed"], "mixed: 1 answer added");
    ask(&["--dataset", "two", "--as", "mixed"], "mixed: 2 answers added");
    for dataset in ["given", "stored", "mixed"] {
        let sql = format!("SELECT count(*) FROM {dataset} WHERE difficulty IN ('1', 'hard')");
        assert_eq!(place.value(&sql), "2");
    }
}

#[test]
fn finished_answers_are_registered_once_a_type_is_given() {
    let place = Place::new();
    let record = |id: &str, votes: &str| {
        format!("{{\"id\": \"{id}\", \"prompt\": \"Hi\", \"completion\": \"x\", \"votes\": {votes}}}\n")
    };
    // Only the registration looks at stored integers.
    place.write("votes.jsonl", record("a", "9007199254740993"));
    place.add("votes");
    place.write("half.jsonl", record("b", "0.5"));
    let ask = ["--data", "half.jsonl", "--as", "votes", "--json"];
    binary::run(&mut generate(&place, &ask)).says(1, &["--column votes:float"]);
    assert!(place.path("store.votes.part").exists());
    let report = binary::json(&mut generate(&place, &[&ask[..], &["--column", "votes:float"]].concat()));
    assert_eq!((&report["answers"], &report["tokens"]), (&Value::from(1), &Value::from(0)), "{report}");
    assert!(!place.path("store.votes.part").exists());
    assert_eq!(place.value("SELECT count(*) FROM votes"), "2");
}

#[test]
fn a_finished_command_that_is_repeated_has_nothing_to_do() {
    let place = Place::of(&[("pool", 9)]);
    for name in ["answers.jsonl", "answers.jsonl.gz", "answers.jsonl.zst"] {
        let ask = ["--data", "pool.jsonl", "--temperature", "0.7", "-o", name];
        binary::ok(&mut generate(&place, &ask));
        let written = fs_err::read(place.path(name)).expect("written");
        let again = |more: &[&str]| {
            let done = binary::run(&mut generate(&place, &[&ask[..], more].concat()));
            assert_eq!(fs_err::read(place.path(name)).expect("read"), written, "{more:?}");
            assert!(!place.path(&format!("{name}.part")).exists(), "{more:?}");
            done
        };
        let done = again(&["--threads", "1"]);
        let says = format!("nothing to do: {name} has the 9 answers; --force makes them again");
        done.says(0, &[&says]);
        for other in [["--seed", "7"], ["--stop", "x"], ["--top-k", "5"]] {
            again(&other).says(2, &[&format!("{name} exists; --force replaces it")]);
        }
        binary::ok(&mut generate(&place, &[&ask[..], &["--force"]].concat()));
        assert_eq!(fs_err::read(place.path(name)).expect("read"), written);
    }
    // What has other answers is not replaced: one too few or too many, another
    // order, another key of a sample.
    let ask = ["--data", "pool.jsonl", "--temperature", "0.7", "-o", "answers.jsonl"];
    let written = place.read("answers.jsonl");
    let lines: Vec<&str> = written.lines().collect();
    let turned: Vec<&str> = lines.iter().rev().copied().collect();
    for other in [
        lines[1..].join("\n"),
        format!("{written}{}\n", lines[0]),
        turned.join("\n"),
        written.replacen("\"source\":\"a\"", "\"source\":\"z\"", 1),
        written.replacen("\"finish\"", "\"finished\"", 1),
        "mine".to_owned(),
        String::new(),
    ] {
        assert_ne!(other, written);
        place.write("answers.jsonl", &other);
        binary::run(&mut generate(&place, &ask)).says(2, &["answers.jsonl exists; --force replaces it"]);
        assert_eq!(place.read("answers.jsonl"), other);
    }
    // The answers of a file are those of its dataset.
    place.write("answers.jsonl", &written);
    let done = binary::run(&mut generate(&place, &[&ask[..], &["--as", "answers"]].concat()));
    done.says(0, &["answers: 9 answers added"]);
}

#[test]
fn answers_become_a_target() {
    let place = Place::of(&[("pool", 20)]);
    place.ingested("pool", Some(&place.path("pool.jsonl")), "grad-sgd");
    let ask = ["--dataset", "pool", "--where", "source = 'a'", "--as", "answers", "--temperature", "0.7"];
    binary::ok(&mut generate(&place, &ask));
    assert_eq!(place.value("SELECT count(*) FROM answers"), "7");
    assert_eq!(place.value("SELECT count(DISTINCT model) FROM answers"), "1");
    // The same command answers the same, so nothing is added.
    binary::run(&mut generate(&place, &ask)).says(0, &["7 there already"]);
    let other = [&ask[..], &["--seed", "7"]].concat();
    let refused = binary::run(&mut generate(&place, &other));
    // Before anything is answered, which leaves nothing behind.
    refused.says(1, &["is in dataset \"answers\" already"]).lacks(&["answers.jsonl"]);
    assert!(!place.path("store.answers.part").exists());
    let own = ["--dataset", "pool", "--as", "pool"];
    let refused = binary::run(&mut generate(&place, &own));
    let says = "is in dataset \"pool\" already";
    refused.says(1, &[says]);
    assert!(!place.path("store.pool.part").exists());
    let kept = [&other[..], &["--if-changed", "keep"]].concat();
    binary::run(&mut generate(&place, &kept)).says(0, &["7 there already"]);

    place.ingested("answers", None, "grad-sgd");
    place.ok(&["select", "--pool", "pool", "--target", "answers", "--top", "3", "-o", "best.jsonl"]);
    assert_eq!(lines(&place, "best.jsonl").len(), 3);
}

/// Unfinished work of a command that was killed, as it lies on the disk.
#[test]
fn a_killed_command_goes_on() {
    let place = Place::of(&[("pool", 12)]);
    let ask = ["--data", "pool.jsonl", "-o", "answers.jsonl", "--batch-size", "2"];
    binary::ok(&mut generate(&place, &ask));
    let expected = place.read("answers.jsonl");
    fs_err::remove_file(place.path("answers.jsonl")).expect("removed");

    let part = place.path("answers.jsonl.part");
    let answered = || fs_err::read_to_string(&part).map_or(0, |text| text.lines().count());
    binary::killed_once(&mut generate(&place, &ask), || answered() >= 3);
    if !place.path("answers.jsonl").exists() {
        let other = [&ask[..], &["--stop", "x"]].concat();
        binary::run(&mut generate(&place, &other)).says(1, &["another request"]);
        binary::run(&mut generate(&place, &ask)).says(0, &["continuing after"]);
    }
    assert_eq!(place.read("answers.jsonl"), expected);
}

/// Answers as they are kept until they are in their file: a second name holds them when the first one goes.
fn kept_answers(place: &Place) -> Vec<u8> {
    let (part, kept) = (place.path("first.jsonl.part"), place.path("kept"));
    fs_err::write(&part, "").expect("written");
    fs_err::hard_link(&part, &kept).expect("linked");
    binary::ok(&mut generate(place, &["--data", "pool.jsonl", "-o", "first.jsonl"]));
    assert!(!part.exists());
    fs_err::read(kept).expect("kept")
}

#[test]
fn a_command_that_was_killed_behind_its_result_is_done() {
    let place = Place::of(&[("pool", 9)]);
    let kept = kept_answers(&place);
    for name in ["answers.jsonl", "answers.jsonl.gz", "answers.jsonl.zst"] {
        let ask = ["--data", "pool.jsonl", "-o", name];
        binary::ok(&mut generate(&place, &ask));
        let (file, part) = (place.path(name), place.path(&format!("{name}.part")));
        let written = fs_err::read(&file).expect("written");
        // As long as answers are missing, or the file has others, it is not replaced.
        let first = kept.iter().position(|byte| *byte == b'\n').expect("a first line") + 1;
        for (part_has, file_has) in [(&kept[..first], &written[..]), (&kept[..], &b"mine"[..])] {
            fs_err::write(&part, part_has).expect("written");
            fs_err::write(&file, file_has).expect("written");
            let refused = binary::run(&mut generate(&place, &ask));
            refused.says(2, &[&format!("{name} exists; --force replaces it")]);
            assert_eq!(fs_err::read(&file).expect("read"), file_has);
        }
        fs_err::write(&part, &kept).expect("written");
        fs_err::write(&file, &written).expect("written");
        let done = || {
            let done = binary::run(&mut generate(&place, &ask));
            done.says(0, &[&format!("nothing to do: {name} has the 9 answers")]);
            assert_eq!(fs_err::read(&file).expect("read"), written);
        };
        done();
        assert!(!part.exists());
        // Nothing is kept there.
        fs_err::write(&part, "").expect("written");
        done();
    }
}

#[test]
fn an_edited_answer_is_told_and_made_again() {
    let place = Place::of(&[("pool", 9)]);
    let kept = String::from_utf8(kept_answers(&place)).expect("text");
    let edited = kept.replacen("\"new_tokens\":", "\"new_tokens\":1", 1);
    assert_ne!(edited, kept);
    place.write("answers.jsonl.part", edited);
    let done = binary::run(&mut generate(&place, &["--data", "pool.jsonl", "-o", "answers.jsonl"]));
    done.says(0, &["answers.jsonl.part: 1 line is damaged or edited", "continuing after 8 of 9 answers"]);
    binary::ok(&mut generate(&place, &["--data", "pool.jsonl", "-o", "whole.jsonl"]));
    assert_eq!(lines(&place, "answers.jsonl"), lines(&place, "whole.jsonl"));
}

#[test]
fn perplexities_become_a_table() {
    let place = Place::of(&[("pool", 8)]);
    binary::ok(&mut generate(&place, &["--data", "pool.jsonl", "--perplexity", "-o", "texts.jsonl"]));
    binary::ok(&mut generate(
        &place,
        &["--data", "pool.jsonl", "--perplexity", "--per-token", "-o", "tokens.jsonl"],
    ));
    let (texts, tokens) = (lines(&place, "texts.jsonl"), lines(&place, "tokens.jsonl"));
    for text in &texts {
        let own = tokens.iter().filter(|token| token["id"] == text["id"] && token["scored"] == true);
        let losses: Vec<f64> = own.filter_map(|token| Some(-token["logprob"].as_f64()?)).collect();
        assert_eq!(losses.len() as u64, text["scored_tokens"].as_u64().expect("a count"));
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        assert!((mean - text["loss"].as_f64().expect("a loss")).abs() < 1e-9);
        assert!((mean.exp() - text["perplexity"].as_f64().expect("one")).abs() < 1e-6 * mean.exp());
    }
    // The feature `loss` of the store is the same number.
    binary::ok(&mut place.with_model("ingest --dataset pool --data pool.jsonl --features loss"));
    let sql = "SELECT vector[1] FROM vectors('pool', 'loss@base') ORDER BY row";
    let stored = place.csv(sql);
    let stored: Vec<f64> = stored.lines().skip(1).filter_map(|line| line.parse().ok()).collect();
    assert_eq!((stored.len(), texts.len()), (8, 8));
    for (stored, text) in stored.iter().zip(&texts) {
        let loss = text["loss"].as_f64().expect("a loss");
        assert!((stored - loss).abs() < 1e-4 * (1.0 + loss), "{stored} {text}");
    }
    let printed =
        binary::ok(&mut generate(&place, &["--dataset", "pool", "--perplexity", "--format", "csv"]));
    assert_eq!(printed.lines().count(), texts.len() + 1);
}

#[test]
fn devices_change_no_answer_and_no_perplexity() {
    let place = Place::of(&[("pool", 9)]);
    for ask in [&[][..], &["--perplexity", "--per-token", "--format", "csv"]] {
        let on = |devices: &str| {
            let options = ["--data", "pool.jsonl", "--threads", "1", "--devices", devices];
            binary::ok(&mut generate(&place, &[&options[..], ask].concat()))
        };
        let one = on("cpu");
        assert!(one.lines().count() >= 9, "{one}");
        assert!(on("cpu,cpu") == one && on("cpu,cpu,cpu") == one, "{ask:?}");
        let refused = ["--data", "pool.jsonl", "--devices", "cpu,candle"];
        let refused = binary::run(&mut generate(&place, &[&refused[..], ask].concat()));
        refused.says(1, &["`cpu` and `candle` do not compute the same bits"]);
        assert_eq!(refused.stdout, "");
    }
}

#[test]
fn an_empty_prompt_is_answered_freely() {
    let place = Place::new();
    binary::ok(&mut generate(&place, &["--prompt", "", "--ignore-eos", "-o", "free.jsonl"]));
    let answers = lines(&place, "free.jsonl");
    assert_eq!((answers.len(), answers[0]["new_tokens"].as_u64()), (1, Some(12)));
}

#[test]
fn templates_come_by_name_or_from_a_file() {
    let place = Place::new();
    let turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                 {% if add_generation_prompt %}<assistant>{% endif %}";
    place.write("mine.jinja", turns);
    let answer = |more: &[&str]| {
        let ask = [&["--prompt", "Is 7 odd?", "--chat", "--temperature", "1"], more].concat();
        let line = binary::json(&mut generate(&place, &ask));
        (line["messages"][1]["content"].clone(), line["generation"]["template"].clone())
    };
    let (mine, name) = answer(&["--template", "mine.jinja"]);
    assert_eq!(name, "jinja");
    assert_ne!(answer(&["--template", "llama3"]).0, mine);
    assert_ne!(answer(&["--template", "mine.jinja", "--system", "Be brief."]).0, mine);
    // A record says which tokenizer was given.
    let model = world::demo().join("model").display().to_string();
    let tokenizer = |more: &[&str]| {
        let line = binary::json(&mut generate(&place, &[&["--prompt", "Is 7 odd?"], more].concat()));
        line["generation"]["tokenizer"].as_str().map(str::len)
    };
    assert_eq!((tokenizer(&["--tokenizer", &model]), tokenizer(&[])), (Some(64), None));
    binary::run(&mut generate(&place, &["--prompt", "a", "--template", "lama3"])).says(2, &["llama3"]);
}

#[test]
fn a_prompt_without_roles_is_told_where_it_may_surprise() {
    let place = Place::new();
    for (more, is_told) in [
        (&[][..], true),
        (&["--chat"], false),
        (&["--template", "chat"], false),
        (&["--template", "tulu_chat"], false),
        (&["--template", "plain"], false),
    ] {
        let done = binary::done(&mut generate(&place, &[&["--prompt", "Is 7 odd?"], more].concat()));
        assert_eq!(done.stderr.contains("text without roles; --chat"), is_told, "{more:?}: {}", done.stderr);
    }
}

#[test]
fn answers_without_text_are_told_with_the_way_out() {
    let place = Place::new();
    let ask = "Rewrite in the past: Olga washes the car.";
    place.write("ask.jsonl", serde_json::json!({ "prompt": ask }).to_string());
    for (more, way) in [
        (&["--prompt", ask][..], Some("--chat gives")),
        (&["--data", "ask.jsonl"], Some("--template tulu_chat gives")),
        (&["--prompt", ask, "--chat"], None),
        (&["--data", "ask.jsonl", "--template", "tulu_chat"], None),
    ] {
        let done = binary::done(&mut generate(&place, more));
        let told = done.stderr.contains("note: 1 of 1 answers is empty");
        assert_eq!(told, way.is_some(), "{more:?}: {}", done.stderr);
        assert!(way.is_none_or(|way| done.stderr.contains(way)), "{more:?}: {}", done.stderr);
    }
}

#[test]
fn a_prompt_is_a_message_where_the_template_writes_prompts_so() {
    let place = Place::new();
    let said = |more: &[&str]| {
        let ask = [&["--prompt", "Is 7 odd?", "--temperature", "1"], more].concat();
        let line = binary::json(&mut generate(&place, &ask));
        match more.contains(&"--chat") {
            true => line["messages"][1]["content"].clone(),
            false => line["completion"].clone(),
        }
    };
    for template in ["llama3", "chatml"] {
        let with = ["--template", template];
        assert!(said(&with).is_string());
        assert_eq!(said(&with), said(&[&with[..], &["--chat"]].concat()), "{template}");
    }
    assert_ne!(said(&[]), said(&["--chat"]));
}

#[test]
fn long_texts_are_cut_into_blocks() {
    let place = Place::new();
    let long = "The river runs to the sea. ".repeat(40);
    let records =
        [serde_json::json!({ "id": "a", "text": long }), serde_json::json!({ "id": "b", "text": "Short." })];
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    place.write("texts.jsonl", text);
    let blocks = ["--data", "texts.jsonl", "--block", "32"];
    binary::ok(&mut generate(&place, &[&blocks[..], &["--perplexity", "-o", "scores.jsonl"]].concat()));
    let scores = lines(&place, "scores.jsonl");
    assert!(scores.len() > 5 && scores[0]["id"] == "a#0" && scores[1]["id"] == "a#1", "{scores:?}");
    assert!(scores.iter().all(|score| score["tokens"].as_u64().expect("a count") <= 32));
    binary::run(&mut generate(&place, &blocks)).says(2, &["--perplexity"]);

    place.samples("pool", 2);
    let talks = ["--data", "pool.jsonl", "--block", "32", "--perplexity", "-o", "talks.jsonl"];
    binary::run(&mut generate(&place, &talks)).says(2, &["--block cuts long texts"]);
    assert!(!place.path("talks.jsonl").exists());

    // An ingest registers the same samples.
    binary::ok(place.with_model("ingest --dataset texts --features loss").args(blocks));
    assert_eq!(place.value("SELECT count(*) FROM texts"), scores.len().to_string());
    assert_eq!(place.value("SELECT count(*) FROM texts WHERE id = 'a#1'"), "1");
    // An id that a part has too is refused, by the name of the file that was given.
    let clash = serde_json::json!({ "id": "a#1", "text": "Short, but called as a part." });
    place.write("clash.jsonl", format!("{}\n{clash}\n", records[0]));
    let line = "ingest --dataset clash --features loss --data clash.jsonl --block 32";
    binary::run(&mut place.with_model(line)).fails(&["clash.jsonl, its long texts cut"]);
    // The copy that was cut is gone.
    assert!(!place.names().iter().any(|name| name.contains("gstore-blocks")));
}

#[test]
fn perplexities_become_features() {
    let place = Place::of(&[("pool", 9)]);
    place.add("pool");
    let ask = ["--dataset", "pool", "--perplexity", "--per-token", "--as-features", "-o", "tokens.jsonl"];
    let said = binary::done(&mut generate(&place, &ask));
    let label = |token: bool| {
        let labels = said.stderr.lines().filter_map(|line| line.strip_prefix("feature ")?.split(' ').next());
        labels.into_iter().find(|label| label.contains("token") == token).expect("a feature").to_owned()
    };
    let tokens = lines(&place, "tokens.jsonl");
    let scored: Vec<f64> =
        tokens.iter().filter(|t| t["scored"] == true).filter_map(|t| t["logprob"].as_f64()).collect();
    let sql = format!("SELECT vector[1] FROM vectors('pool', '{}') ORDER BY row, pos", label(true));
    let stored = place.csv(&sql);
    let stored: Vec<f64> = stored.lines().skip(1).filter_map(|line| line.parse().ok()).collect();
    assert_eq!(stored.len(), scored.len());
    for (loss, logprob) in stored.iter().zip(&scored) {
        assert!((loss + logprob).abs() < 1e-4 * (1.0 + loss), "{loss} {logprob}");
    }
    let sql = format!("SELECT count(*) FROM vectors('pool', '{}')", label(false));
    assert_eq!(place.value(&sql), "9");
    // A label means the same whatever else was computed, and before which.
    assert_eq!(label(true), "loss@base:token:sum");
    let later = Place::new();
    fs_err::copy(place.path("pool.jsonl"), later.path("pool.jsonl")).expect("copied");
    binary::ok(&mut later.with_model("ingest --dataset pool --data pool.jsonl --features loss --per-token"));
    assert_eq!(binary::run(&mut generate(&later, &ask)).code, 0);
    let sql = "SELECT label, reduction FROM gstore.features WHERE granularity = 'token' ORDER BY label";
    let labels = later.csv(sql);
    let labels: Vec<&str> = labels.lines().skip(1).collect();
    assert!(
        matches!(labels[..], [mean, sum] if mean.ends_with(":token,mean") && sum.ends_with(":token:sum,sum"))
    );
    let sql = format!("SELECT vector[1] FROM vectors('pool', '{}') ORDER BY row, pos", label(true));
    let ask = ["query", "--format", "csv", &sql];
    assert_eq!(later.ok(&ask), place.ok(&ask));
    let files = ["--data", "pool.jsonl", "--perplexity", "--as-features"];
    assert_eq!(binary::run(&mut generate(&place, &files)).code, 2);
    // The rows of the dataset are no blocks.
    let blocks = ["--dataset", "pool", "--perplexity", "--as-features", "--block", "32"];
    assert_eq!(binary::run(&mut generate(&place, &blocks)).code, 2);
}
