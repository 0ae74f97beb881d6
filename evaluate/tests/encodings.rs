//! Promise: models are asked the same with the same examples: in the same words where they share a tokenizer,
//! and with room for answers.

use std::path::{Path, PathBuf};

use crate::common::{asking, demo, folder, support};
use gstore_core::{Cancel, Silent};
use gstore_data::TextOptions;
use gstore_evaluate::tasks::{AnswerRule, Layout, TasksSource, read};
use gstore_evaluate::{EvaluateError, System, TaskOutcome, evaluate_tasks};
use gstore_generate::ModelSource;
use serde_json::Value;
use tempfile::TempDir;

const QUESTIONS: &str = r#"{"id": "a", "task": "odd", "question": "Is 7 odd?", "choices": ["yes", "no"], "answer": 0}
{"id": "c", "task": "words", "question": "Say yes", "answers": ["yes"]}
"#;

fn own(questions: PathBuf, max_new_tokens: usize) -> TasksSource {
    let rule = AnswerRule { max_new_tokens: Some(max_new_tokens), ..AnswerRule::default() };
    TasksSource { rule, ..TasksSource::new(Layout::Own, vec![questions]) }
}

fn ask(models: &[&Path], template: &str, source: &TasksSource) -> Result<TaskOutcome, EvaluateError> {
    let text = TextOptions { template: template.parse().expect("a template"), ..TextOptions::default() };
    let system = |(number, model): (usize, &&Path)| System {
        name: format!("model{number}"),
        weights: ModelSource { text: text.clone(), ..ModelSource::new(*model) },
    };
    let questions = read(source, &Cancel::new()).expect("questions");
    let request = asking(questions, models.iter().enumerate().map(system).collect());
    evaluate_tasks(request, &mut Silent, &Cancel::new())
}

/// The demo's model in another folder, with a file changed.
fn changed(name: &str, change: impl FnOnce(String) -> String) -> TempDir {
    let folder = folder(&[]);
    for entry in fs_err::read_dir(demo()).expect("listed") {
        let entry = entry.expect("an entry");
        fs_err::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let path = folder.path().join(name);
    let text = fs_err::read_to_string(&path).expect("read");
    fs_err::write(&path, change(text)).expect("written");
    folder
}

#[test]
fn a_template_that_writes_other_prompts_for_the_same_tokenizer_is_refused() {
    let data = folder(&[("questions.jsonl", QUESTIONS)]);
    let source = own(data.path().join("questions.jsonl"), 4);
    let base = demo();
    let other = changed("chat_template.jinja", |text| text.replace("<|user|>", "Question:"));
    let models = [base.as_path(), other.path()];
    let refused = ask(&models, "chat", &source).err().expect("other prompts");
    let message = refused.to_string();
    assert!(refused.is_usage() && message.contains("model1 has the tokenizer of model0"), "{message}");
    assert!(message.contains("template") && message.contains("tokenizer=DIR"), "{message}");
    // A template for all models goes before those of their folders.
    let found = ask(&models, "tulu", &source).expect("the same prompts");
    assert!(found.report.made.is_empty() && found.answers[0] == found.answers[1]);
    // The end token of a fine-tune stands in no prompt here.
    let ends = changed("tokenizer_config.json", |text| text.replace("</s>", "<pad>"));
    let found = ask(&[base.as_path(), ends.path()], "tulu", &source).expect("the same prompts");
    assert_eq!(found.report.systems.len(), 2);
}

#[test]
fn models_of_other_tokenizers_are_compared_and_their_tokenizers_named() {
    let data = folder(&[("questions.jsonl", QUESTIONS)]);
    let source = own(data.path().join("questions.jsonl"), 4);
    let other = changed("tokenizer.json", |text| {
        let mut tokenizer: Value = serde_json::from_str(&text).expect("JSON");
        tokenizer["model"]["merges"].as_array_mut().expect("merges").pop();
        tokenizer.to_string()
    });
    // Its template is its own too.
    fs_err::write(
        other.path().join("chat_template.jinja"),
        fs_err::read_to_string(demo().join("chat_template.jinja"))
            .expect("read")
            .replace("<|user|>", "Question:"),
    )
    .expect("written");
    let base = demo();
    let found = ask(&[base.as_path(), other.path(), base.as_path()], "chat", &source).expect("compared");
    let encodings = found.report.made["encodings"].as_array().expect("one for each model");
    let of = |number: usize, key: &str| encodings[number][key].as_str().expect("a text").to_owned();
    assert_eq!((encodings.len(), of(1, "system").as_str()), (3, "model1"));
    assert_eq!(of(1, "tokenizer"), other.path().display().to_string());
    for key in ["tokenizer_digest", "template_digest"] {
        assert!(of(0, key) != of(1, key) && of(0, key) == of(2, key), "{key}: {encodings:?}");
    }
}

/// A tokenizer of three words.
const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"hello": 0, "there": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}"#;

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn examples_leave_room_for_an_answer_where_positions_end() {
    let shared = support::shared();
    let from = shared.join("models/zoo/gpt2");
    let config = support::json(&from.join("config.json"));
    let positions = config["n_positions"].as_u64().expect("a number") as usize;
    // Next to a short answer there is room for some of these, and for fewer next to a long one.
    let words = positions / 4 - 8;
    let example =
        |words: usize| format!("{{\"question\": \"{}\", \"answers\": [\"hello\"]}}\n", "so ".repeat(words));
    let shots: String = (words..words + 5).map(example).collect();
    let question = "{\"question\": \"hello\", \"answers\": [\"there\"]}\n";
    let model = folder(&[("tokenizer.json", WORDS), ("shots.jsonl", &shots), ("questions.jsonl", question)]);
    for file in ["config.json", "model.safetensors"] {
        fs_err::copy(from.join(file), model.path().join(file)).expect("copied");
    }
    let encoder = TextOptions::default().encoder(model.path()).expect("a tokenizer");
    let left_out = [6, positions / 2 - 4].map(|answer| {
        let shots = vec![model.path().join("shots.jsonl")];
        let source = TasksSource { shots, ..own(model.path().join("questions.jsonl"), answer) };
        let found = ask(&[model.path()], "tulu", &source).expect("answered");
        let prompt = &found.prompts[0];
        let tokens = encoder.encode_begun(&prompt.content, &prompt.begun).expect("encoded").len();
        assert!(tokens + answer <= positions + 1, "{tokens} tokens of a prompt for {answer}");
        prompt.left_out
    });
    assert!(0 < left_out[0] && left_out[0] < left_out[1] && left_out[1] < 5, "{left_out:?}");
}
