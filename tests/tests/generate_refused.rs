//! Promise: what a generation cannot use is refused, with its reason, before a model runs.

use crate::generate::{generate, lines};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};

#[test]
fn a_line_that_is_no_sample_is_named_with_its_file() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 2);
    let good = r#"{"id": "a", "text": "b"}"#;
    fs_err::write(place.path("bad.jsonl"), format!("{good}\n{{\"id\": \"c\", \"what\": 1}}\n"))
        .expect("written");
    let files = ["--data", "pool.jsonl", "bad.jsonl"];
    let train = ["train", "--output", "tuned", "--max-steps", "1", "--model"];
    let mut trained = place.gstore(&train);
    trained.arg(world::demo().join("model")).args(files);
    let scored = [&files[..], &["--perplexity"]].concat();
    for mut command in [generate(&place, &files), generate(&place, &scored), trained] {
        let refused = binary::run(&mut command);
        let says = "bad.jsonl, line 2: ";
        assert!(refused.code == 1 && refused.stderr.contains(says), "{command:?}: {}", refused.stderr);
    }
}

#[test]
fn options_that_would_say_nothing_are_refused() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 2);
    // Next to the model and the options of an answer that `generate` gives.
    for ask in [
        &["--data", "pool.jsonl", "--per-token"][..],
        &["--data", "pool.jsonl", "--format", "csv"],
        &["--dataset", "pool", "--as-features"],
        &["--data", "pool.jsonl", "--checkpoint", "base"],
        &["--data", "pool.jsonl", "--seed", "7"],
        &["--data", "pool.jsonl", "--seed", "7", "--temperature", "0"],
        &["--data", "pool.jsonl", "--perplexity", "--if-changed", "keep"],
        &["--data", "pool.jsonl", "--chat"],
        &["--dataset", "pool", "--field", "prompt=question"],
    ] {
        let refused = binary::run(&mut generate(&place, &[ask, &["-o", "out.jsonl"]].concat()));
        let flag = ask.iter().rev().find(|word| word.starts_with("--") && **word != "--temperature");
        let flag = flag.expect("a flag");
        assert!(refused.code == 2 && refused.stderr.contains(flag), "{ask:?}: {}", refused.stderr);
        assert!(!place.path("out.jsonl").exists() && !place.path("out.jsonl.part").exists());
    }
    let drawn = ["--prompt", "a", "--seed", "7", "--top-k", "5", "-o", "out.jsonl"];
    binary::ok(&mut generate(&place, &drawn));
    assert_eq!(lines(&place, "out.jsonl")[0]["generation"]["seed"], 7);
}

#[test]
fn options_of_texts_that_change_no_sample_are_refused() {
    let place = Place::new();
    world::write_samples(&place.path("talks.jsonl"), 2);
    let pair = "{\"prompt\": \"Is 7 odd?\", \"completion\": \"Yes.\"}\n";
    fs_err::write(place.path("pairs.jsonl"), pair).expect("written");
    for (file, flag, value, says) in [
        ("talks.jsonl", "--block", "32", "--block cuts long texts, and no sample is one"),
        ("pairs.jsonl", "--system", "Be brief.", "--system has no effect: no sample is a conversation"),
    ] {
        let of_texts = ["--data", file, flag, value];
        let mut trained = place.gstore(&["train", "--output", "tuned", "--max-steps", "1", "--model"]);
        trained.arg(world::demo().join("model")).args(of_texts);
        let scored = generate(&place, &[&of_texts[..], &["--perplexity", "-o", "out.jsonl"]].concat());
        for mut command in [trained, scored] {
            let refused = binary::run(&mut command);
            assert!(refused.code == 2 && refused.stderr.contains(says), "{command:?}: {}", refused.stderr);
        }
        assert!(!place.path("out.jsonl").exists());
    }
}

#[test]
fn a_condition_is_on_rows_of_a_dataset() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 2);
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl"]);
    let none = ["--dataset", "pool", "--where", "source = 'z'"];
    let mut trained = place.gstore(&["train", "--output", "tuned", "--max-steps", "1", "--model"]);
    trained.arg(world::demo().join("model")).args(none);
    for mut command in [generate(&place, &none), trained] {
        let refused = binary::run(&mut command);
        let says = "--where: the condition is true for none of 2 rows";
        assert!(refused.code == 1 && refused.stderr.contains(says), "{}", refused.stderr);
    }
    for prompts in [&["--data", "pool.jsonl"][..], &["--prompt", "a"], &["--text", "a", "--perplexity"]] {
        let ask = [prompts, &["--where", "source = 'a'", "-o", "out.jsonl"]].concat();
        let refused = binary::run(&mut generate(&place, &ask));
        assert!(refused.code == 2 && refused.stderr.contains("--where"), "{}", refused.stderr);
        assert!(!place.path("out.jsonl").exists());
    }
}

#[test]
fn what_says_how_answers_are_made_is_refused_of_perplexities() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 2);
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
        let refused = binary::run(&mut generate(&place, &ask));
        assert!(refused.code == 2 && refused.stderr.contains(more[0]), "{}", refused.stderr);
    }
}
