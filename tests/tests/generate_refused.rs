//! Promise: input that a generation cannot use is refused, with the reason, before a model runs.

use crate::generate::{TWO_TYPES, generate, lines};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::{Value, json};

#[test]
fn a_line_that_is_no_sample_is_named_with_its_file() {
    let place = Place::of(&[("pool", 2)]);
    let good = r#"{"id": "a", "text": "b"}"#;
    place.write("bad.jsonl", format!("{good}\n{{\"id\": \"c\", \"what\": 1}}\n"));
    let files = ["--data", "pool.jsonl", "bad.jsonl"];
    let mut trained = place.with_model("train --output tuned --max-steps 1");
    trained.args(files);
    let scored = [&files[..], &["--perplexity", "--format", "csv"]].concat();
    for mut command in [generate(&place, &files), generate(&place, &scored), trained] {
        let refused = binary::run(&mut command);
        refused.says(1, &["bad.jsonl, line 2: "]);
        // Not even the header of a table.
        assert!(refused.stdout.is_empty(), "{command:?}: {}", refused.stdout);
    }
}

#[test]
fn keys_that_fit_into_no_column_are_refused_before_a_prompt_is_answered() {
    let place = Place::new();
    place.write("two.jsonl", TWO_TYPES);
    let ask = |more: &[&str]| {
        let refused =
            binary::run(&mut generate(&place, &[&["--data", "two.jsonl", "--as"][..], more].concat()));
        assert!(!place.path(&format!("store.{}.part", more[0])).exists(), "{more:?}");
        refused
    };
    let held = "the answers for answers: column \"difficulty\" holds int in line 1 and utf8 in line 2";
    ask(&["answers"]).says(1, &[held, "--column difficulty:utf8"]);
    ask(&["answers", "--column", "difficulty:int"]).says(1, &["is int as asked, but line 2 holds utf8"]);
    ask(&["answers", "--column", "difficulty"]).says(2, &["--column: ", "write name:type"]);
    // No store for answers that there are not.
    assert!(!place.path("store").exists());

    // Columns that the dataset has, of a key of the samples and of one that answers have themselves.
    for (dataset, key) in [("hard", "difficulty"), ("ended", "finish")] {
        place.write(
            &format!("{dataset}.jsonl"),
            format!("{{\"id\": \"c\", \"text\": \"x\", \"{key}\": 1}}\n"),
        );
        place.add(dataset);
        let held = format!("column \"{key}\" is int in the dataset, but line ");
        let more = [dataset, "--column", "difficulty:utf8"];
        let more = if key == "finish" { &more[..] } else { &more[..1] };
        ask(more).says(1, &[&held, &format!("--column {key}:utf8")]);
        assert_eq!(place.value(&format!("SELECT count(*) FROM {dataset}")), "1");
    }
}

#[test]
fn what_an_adapter_lacks_is_its_model_and_no_store() {
    let place = Place::new();
    let mut command = place.bare(&["generate", "--adapter", "x", "--prompt", "hi"]);
    let refused = binary::run(command.env("GSTORE_STORE", place.path("store")));
    refused.says(2, &["Usage: gstore generate --model <DIR|REPO> --adapter <DIR|REPO> --prompt <TEXT>\n"]);
}

#[test]
fn a_template_that_leaves_out_what_is_said_is_refused_with_the_row() {
    let place = Place::new();
    let row = |number: usize| {
        let asked = json!({ "role": "user", "content": format!("How many stars, {number}?") });
        let answer = json!({ "role": "assistant", "content": "Forty." });
        format!("{}\n", json!({ "messages": [asked, answer] }))
    };
    place.write("rows.jsonl", (0..4).map(row).collect::<Vec<String>>().concat());
    let turns = "{% for m in messages %}<{{ m.role }}>WORDS</s>{% endfor %}\
                 {% if add_generation_prompt %}<assistant>{% endif %}";
    let of = |words: &str| turns.replace("WORDS", words);
    place.write("all.jinja", of("{{ m.content }}"));
    place.write("asked.jinja", of("{% if m.role == 'user' %}{{ m.content }}{% endif %}"));
    place.write("constant.jinja", of("words"));
    let with = |words: &[&str], template: &str| {
        let mut command = place.gstore(words);
        command.args(["--template", template, "--max-length", "64", "--model"]);
        binary::run(command.arg(world::demo().join("model")))
    };
    let output = |template: &str| format!("tuned-{template}");
    for (template, says) in [
        ("asked.jinja", "leaves out turn 1 (from 0) of the conversation, the assistant's"),
        ("constant.jinja", "leaves out turn 1"),
    ] {
        let trained = with(
            &["train", "--data", "rows.jsonl", "--max-steps", "1", "--output", &output(template)],
            template,
        );
        let ingested =
            with(&["ingest", "--dataset", "pool", "--data", "rows.jsonl", "--features", "loss"], template);
        for refused in [trained, ingested] {
            refused.fails(&[says, "row "]);
        }
        assert!(!place.path(&output(template)).exists());
    }
    let asked = ["generate", "--prompt", "How many?", "--max-new-tokens", "1"];
    let refused = with(&asked, "constant.jinja");
    let says = "leaves out turn 0 (from 0) of the conversation, the user's";
    refused.fails(&[says]);
    for template in ["all.jinja", "asked.jinja"] {
        with(&asked, template).says(0, &[]);
    }
    let trained =
        with(&["train", "--data", "rows.jsonl", "--max-steps", "1", "--output", "tuned"], "all.jinja");
    trained.says(0, &[]);
}

#[test]
fn a_model_of_other_sizes_is_no_fine_tune() {
    let place = Place::of(&[("pool", 2)]);
    world::copy_files(&world::demo().join("model"), &place.path("wide"));
    let config = place.path("wide/config.json");
    let mut sizes: Value =
        serde_json::from_str(&fs_err::read_to_string(&config).expect("read")).expect("JSON");
    let layers = sizes["num_hidden_layers"].take();
    sizes["num_hidden_layers"] = json!(1);
    fs_err::write(&config, sizes.to_string()).expect("written");
    let trained = ["train", "--model", "wide", "--from-scratch", "--data", "pool.jsonl", "--max-steps", "1"];
    binary::ok(place.gstore(&trained).args(["--output", "other"]));
    let refused = binary::run(&mut generate(&place, &["--prompt", "a", "--adapter", "other/checkpoint-1"]));
    let difference = format!("num_hidden_layers is 1 there, {layers} in the base");
    refused.fails(&["is not a fine-tune of", &difference, "compute it by itself with --model"]);
}

#[test]
fn texts_without_a_token_to_score_are_told() {
    let place = Place::new();
    let cut = r#"{"prompt": "why are you here and what", "completion": "b"}"#;
    // Of the first nothing is scored, which is an error.
    for (text, code, says) in [
        (r#"{"text": "a"}"#, 1, "error: no perplexity: no text has a token after its first"),
        (cut, 0, "of all tokens; none of them is scored"),
    ] {
        place.write("one.jsonl", text);
        let ask = ["--data", "one.jsonl", "--perplexity", "--max-length", "6", "--force", "-o", "out.csv"];
        binary::run(&mut generate(&place, &ask)).says(code, &[says]);
        assert_eq!(place.path("out.csv").exists(), code == 0);
    }
    // Nor does the store get a feature.
    place.write("one.jsonl", r#"{"id": "x", "text": "a"}"#);
    place.add("one");
    let ask = ["--dataset", "one", "--perplexity", "--as-features", "-o", "features.csv"];
    binary::run(&mut generate(&place, &ask)).says(1, &["error: no perplexity: "]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "0");
    assert!(!place.path("features.csv").exists());
}

#[test]
fn options_that_would_say_nothing_are_refused() {
    let place = Place::of(&[("pool", 2)]);
    // Next to the model and the options of an answer that `generate` gives.
    for ask in [
        &["--data", "pool.jsonl", "--per-token"][..],
        &["--data", "pool.jsonl", "--format", "csv"],
        &["--dataset", "pool", "--as-features"],
        &["--data", "pool.jsonl", "--checkpoint", "base"],
        &["--data", "pool.jsonl", "--seed", "7"],
        &["--data", "pool.jsonl", "--seed", "7", "--temperature", "0"],
        &["--data", "pool.jsonl", "--perplexity", "--if-changed", "keep"],
        &["--data", "pool.jsonl", "--perplexity", "--column", "source:utf8"],
        &["--data", "pool.jsonl", "--column", "source:utf8"],
        &["--data", "pool.jsonl", "--chat"],
        &["--dataset", "pool", "--field", "prompt=question"],
    ] {
        let refused = binary::run(&mut generate(&place, &[ask, &["-o", "out.jsonl"]].concat()));
        let flag = ask.iter().rev().find(|word| word.starts_with("--") && **word != "--temperature");
        let flag = flag.expect("a flag");
        refused.says(2, &[flag]);
        assert!(!place.path("out.jsonl").exists() && !place.path("out.jsonl.part").exists());
    }
    let drawn = ["--prompt", "a", "--seed", "7", "--top-k", "5", "-o", "out.jsonl"];
    binary::ok(&mut generate(&place, &drawn));
    assert_eq!(lines(&place, "out.jsonl")[0]["generation"]["seed"], 7);
}

#[test]
fn options_of_texts_that_change_no_sample_are_refused() {
    let place = Place::of(&[("talks", 2)]);
    let pair = "{\"prompt\": \"Is 7 odd?\", \"completion\": \"Yes.\"}\n";
    place.write("pairs.jsonl", pair);
    for (file, flag, value, says) in [
        ("talks.jsonl", "--block", "32", "--block cuts long texts, and no sample is a text"),
        ("pairs.jsonl", "--system", "Be brief.", "--system has no effect: no sample is a conversation"),
    ] {
        let of_texts = ["--data", file, flag, value];
        let mut trained = place.with_model("train --output tuned --max-steps 1");
        trained.args(of_texts);
        let scored = generate(&place, &[&of_texts[..], &["--perplexity", "-o", "out.jsonl"]].concat());
        for mut command in [trained, scored] {
            binary::run(&mut command).says(2, &[says]);
        }
        assert!(!place.path("out.jsonl").exists());
    }
}

#[test]
fn what_is_read_is_not_replaced() {
    let place = Place::new();
    for (from, to) in [("model", "m"), ("model", "t"), ("warmup/checkpoint-104", "a")] {
        world::copy_files(&world::demo().join(from), &place.path(to));
    }
    fs_err::create_dir(place.path("data")).expect("made");
    place.samples("data/pool", 2);
    std::os::unix::fs::symlink("m/config.json", place.path("link.json")).expect("linked");
    fs_err::rename(place.path("t/tokenizer.json"), place.path("kept.json")).expect("renamed");
    std::os::unix::fs::symlink("../kept.json", place.path("t/tokenizer.json")).expect("linked");
    let prompt = &["--prompt", "a"][..];
    for (ask, read) in [
        (prompt, "m/config.json"),
        (prompt, "m/../m/tokenizer.json"),
        (prompt, "link.json"),
        (&["--prompt", "a", "--adapter", "a"], "a/adapter_config.json"),
        (&["--prompt", "a", "--adapter", "a"], "m/config.json"),
        (&["--prompt", "a", "--tokenizer", "t"], "t/tokenizer.json"),
        (&["--prompt", "a", "--tokenizer", "t"], "kept.json"),
        (&["--data", "data/pool.jsonl"], "data/pool.jsonl"),
        (&["--data", "data"], "data/pool.jsonl"),
        (&["--data", "data/*.jsonl"], "data/pool.jsonl"),
        (&["--data", "data", "--perplexity"], "data/pool.jsonl"),
    ] {
        let before = fs_err::read(place.path(read)).expect("read");
        let refused = place.run(&[&["generate", "--model", "m", "-o", read, "--force"][..], ask].concat());
        refused.says(2, &[&format!("{read} is read by this command")]);
        assert_eq!(fs_err::read(place.path(read)).expect("read"), before, "{ask:?}");
    }
    // A new file next to them, and the same again.
    for (ask, written) in [
        (prompt, "m/new.jsonl"),
        (&["--data", "data/*.jsonl"], "data/new.json"),
        (&["--data", "data/*.jsonl"], "data/new.json"),
    ] {
        let more = ["generate", "--model", "m", "--max-new-tokens", "1", "--force", "-o", written];
        place.ok(&[&more[..], ask].concat());
    }
}

#[test]
fn a_condition_is_on_rows_of_a_dataset() {
    let place = Place::of(&[("pool", 2)]);
    place.add("pool");
    let none = ["--dataset", "pool", "--where", "source = 'z'"];
    let mut trained = place.with_model("train --output tuned --max-steps 1");
    trained.args(none);
    for mut command in [generate(&place, &none), trained] {
        binary::run(&mut command).says(1, &["--where: the condition is true for none of 2 rows"]);
    }
    for prompts in [&["--data", "pool.jsonl"][..], &["--prompt", "a"], &["--text", "a", "--perplexity"]] {
        let ask = [prompts, &["--where", "source = 'a'", "-o", "out.jsonl"]].concat();
        binary::run(&mut generate(&place, &ask)).says(2, &["--where"]);
        assert!(!place.path("out.jsonl").exists());
    }
}

#[test]
fn what_says_how_answers_are_made_is_refused_of_perplexities() {
    let place = Place::of(&[("pool", 2)]);
    for more in [
        &["--repetition-penalty", "1.2"][..],
        &["--no-repeat-ngram-size", "3"],
        &["--seed", "1"],
        &["--ignore-eos"],
        &["--batch-size", "2"],
        &["--temperature", "1"],
        &["--max-new-tokens", "5"],
    ] {
        let ask = [&["--data", "pool.jsonl", "--perplexity"], more].concat();
        binary::run(&mut generate(&place, &ask)).says(2, &[more[0]]);
    }
}

#[test]
fn weights_that_the_model_has_no_place_for_are_told() {
    let place = Place::of(&[("pool", 2)]);
    world::copy_files(&world::demo().join("model"), &place.path("model"));
    place.write("questions.jsonl", world::QUESTION);
    let bytes = fs_err::read(place.path("model/model.safetensors")).expect("read");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
    let (header, values) = rest.split_at(length as usize);
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    let name = "model.layers.0.self_attn.q_norm.weight";
    let place_in_file = [values.len(), values.len() + 4];
    header[name] = json!({ "dtype": "F32", "shape": [1], "data_offsets": place_in_file });
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    place.write("model/model.safetensors", [&length[..], header.as_bytes(), values, &[0; 4]].concat());
    for words in [
        &["ingest", "--dataset", "pool", "--data", "pool.jsonl", "--features", "loss"][..],
        &["factors", "fit", "f", "--dataset", "pool", "--strategy", "diagonal", "--dry-run"],
        &["score", "--pool", "pool", "--self", "--dry-run"],
        &["train", "--data", "pool.jsonl", "--max-steps", "1", "--output", "tuned"],
        &["generate", "--prompt", "Is 7 odd?", "--max-new-tokens", "2"],
        &["generate", "--data", "pool.jsonl", "--perplexity"],
        &["evaluate", "tasks", "--data", "questions.jsonl", "--resamples", "100"],
    ] {
        let done = place.done(&[words, &["--max-length", "64", "--model", "model"]].concat());
        let told = format!("no place for 1 tensor of the weights, left out: {name}");
        assert_eq!(done.stderr.matches(&told).count(), 1, "{words:?}: {}", done.stderr);
    }
    // Factors that do not say which model they are of.
    let fit = ["factors", "fit", "f", "--dataset", "pool", "--strategy", "diagonal", "--model", "model"];
    place.ok(&[&fit[..], &["--max-length", "512"]].concat());
    place.ok(&["factors", "export", "f", "out"]);
    fs_err::remove_file(place.path("out/gstore.json")).expect("removed");
    let imported = place.done(&["factors", "import", "out", "g", "--model", "model"]);
    assert_eq!(imported.stderr.matches("no place for").count(), 1, "{}", imported.stderr);
    let adapter = world::demo().join("warmup/checkpoint-26").display().to_string();
    let merged = place.done(&["merge", &adapter, "--model", "model", "--output", "merged"]);
    assert!(merged.stderr.contains("no place for 1 tensor"), "{}", merged.stderr);
    let adapters = world::demo().join("warmup/checkpoint-*").display().to_string();
    let losses = ["daunce", "losses", "--ensemble", "e", "--dataset", "pool", "--max-length", "512"];
    let losses = place.done(&[&losses[..], &["--model", "model", "--adapters", &adapters]].concat());
    assert_eq!(losses.stderr.matches("no place for").count(), 1, "{}", losses.stderr);

    // Checkpoints of one training, which differ in a bit of a weight that the model has.
    for (name, from_end) in [("copies/a", 6), ("copies/b", 8)] {
        world::copy_files(&place.path("model"), &place.path(name));
        world::flip(&place.path(name).join("model.safetensors"), from_end);
    }
    let ingest =
        ["ingest", "--dataset", "pool", "--features", "loss", "--model", "model", "--max-length", "64"];
    let done = place.done(&[&ingest[..], &["--checkpoints", "copies/a", "copies/b"]].concat());
    let told = " and 2 other folders: the models that they describe have no place for 1 tensor";
    assert_eq!(done.stderr.matches("no place for").count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn a_tokenizer_of_a_larger_model_is_refused_before_a_text_is_read_and_others_are_told() {
    let place = Place::of(&[("pool", 2)]);
    place.add("pool");
    place.write("questions.jsonl", world::QUESTION);
    let model = world::demo().join("model");
    let tokenizer = |folder: &str, change: fn(&mut Value)| {
        fs_err::create_dir(place.path(folder)).expect("made");
        for name in ["tokenizer_config.json", "chat_template.jinja"] {
            fs_err::copy(model.join(name), place.path(folder).join(name)).expect("copied");
        }
        let bytes = fs_err::read(model.join("tokenizer.json")).expect("read");
        let mut value: Value = serde_json::from_slice(&bytes).expect("JSON");
        change(&mut value);
        place.write(&format!("{folder}/tokenizer.json"), value.to_string());
    };
    // The texts have none of these tokens.
    tokenizer("larger", |value| value["model"]["vocab"]["beyond-the-model"] = json!(768));
    tokenizer("added", |value| {
        let mut token = value["added_tokens"][0].clone();
        (token["id"], token["content"]) = (json!(768), json!("<beyond-the-model>"));
        value["added_tokens"].as_array_mut().expect("a list").push(token);
    });
    tokenizer("smaller", |value| {
        value["model"]["merges"] = json!([]);
        let vocab = value["model"]["vocab"].as_object_mut().expect("a vocabulary");
        vocab.retain(|_, id| id.as_u64() < Some(262));
    });
    let output = |tokenizer: &str| format!("{tokenizer}-tuned");
    let commands = |tokenizer: &str| {
        let with = |words: &[&str], more: &[&str]| {
            let mut command = place.gstore(&[words, &["--tokenizer", tokenizer], more].concat());
            command.args(["--max-length", "64", "--model"]).arg(&model);
            binary::run(&mut command)
        };
        [
            with(&["generate", "--prompt", "A"], &["--max-new-tokens", "1"]),
            with(&["generate", "--data", "pool.jsonl", "--perplexity"], &[]),
            with(&["train", "--data", "pool.jsonl"], &["--output", &output(tokenizer), "--max-steps", "1"]),
            with(&["evaluate", "tasks", "--data", "questions.jsonl"], &["--resamples", "100"]),
            with(&["ingest", "--dataset", tokenizer, "--data", "pool.jsonl"], &["--features", "loss"]),
            with(&["factors", "fit", "f", "--dataset", "pool"], &["--dry-run"]),
            with(&["score", "--pool", "pool", "--self"], &["--dry-run"]),
        ]
    };
    for refused in commands("larger") {
        refused.says(1, &["has 769 tokens, up to token 768, and the model's vocabulary has 768"]);
    }
    assert!(!place.path(&output("larger")).exists());
    for (tokenizer, says) in [
        ("added", "added tokens up to token 768, and the model's vocabulary has 768"),
        ("smaller", "has 262 tokens, and the model's vocabulary 768: it is probably that of another model"),
    ] {
        for taken in commands(tokenizer) {
            taken.says(0, &[]);
            assert_eq!(taken.stderr.matches(says).count(), 1, "{}", taken.stderr);
        }
    }
}
