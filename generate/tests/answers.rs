//! Promise: an answer depends on its prompt and the request alone: on no batch, no thread, no stop and no
//! crash.

use std::path::Path;

use crate::common::{demo, load};
use gstore_core::Cancel;
use gstore_data::{Content, Message, Role, TextSample};
use gstore_generate::{
    ComputeOptions, FinishReason, GenerateError, GenerateObserver, GenerateOutcome, GenerateRequest,
    ModelSource, PromptSource, SamplingOptions, SilentObserver, StopStrings, StoppingCriteria, generate,
};
use gstore_model::{ComputePrecision, Device, NextTokens};
use serde_json::{Value, json};

/// Prompts of different lengths and kinds.
fn prompts() -> Vec<Content> {
    let message = |content: String| Message::new(Role::User, content);
    let of = |i: usize| {
        let text = format!("Is {i} odd? {}", "Say why. ".repeat(i * i % 17));
        match i % 3 {
            0 => Content::Messages(vec![message(text)]),
            1 => Content::PromptCompletion { prompt: text, completion: "unused".into() },
            _ => Content::Text(text),
        }
    };
    (0..11).map(of).collect()
}

fn request() -> GenerateRequest {
    let sampling = SamplingOptions {
        temperature: 0.9,
        top_p: Some(0.95),
        repetition_penalty: 1.1,
        no_repeat_ngram: 4,
        ..SamplingOptions::default()
    };
    let stopping = StoppingCriteria { max_new_tokens: 24, ..StoppingCriteria::default() };
    GenerateRequest { sampling, stopping, ..GenerateRequest::new(demo(), PromptSource::Given(prompts())) }
}

fn text(outcome: &mut GenerateOutcome) -> String {
    let mut out = Vec::new();
    outcome.answers.write_to(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn answers(request: &GenerateRequest) -> String {
    let mut outcome = generate(request, &mut SilentObserver, &Cancel::new()).unwrap();
    assert!(outcome.finished && outcome.tokens > 0);
    text(&mut outcome)
}

#[test]
fn batches_and_threads_change_no_answer() {
    for precision in [ComputePrecision::F32, ComputePrecision::Bf16] {
        let with = |threads, batch| {
            let compute = ComputeOptions { threads, batch, precision, ..ComputeOptions::default() };
            answers(&GenerateRequest { compute, ..request() })
        };
        let alone = with(1, 1);
        assert_eq!(alone.lines().count(), prompts().len());
        for (threads, batch) in [(1, 64), (1, 3), (2, 4), (3, 64), (2, usize::MAX)] {
            assert_eq!(with(threads, batch), alone, "{threads} threads, {batch} at a time");
        }
    }
    let other = GenerateRequest { sampling: SamplingOptions { seed: 1, ..request().sampling }, ..request() };
    assert_ne!(answers(&other), answers(&request()));
}

#[test]
fn devices_change_no_answer_and_go_on_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let on = |devices: usize| {
        let beside = vec![Device::Cpu; devices - 1];
        GenerateRequest {
            compute: ComputeOptions { beside, threads: 2, batch: 4, ..ComputeOptions::default() },
            ..request()
        }
    };
    let expected = answers(&on(1));
    for devices in [2, 3, 30] {
        assert_eq!(answers(&on(devices)), expected, "{devices} devices");
    }
    let journal = Some(folder.path().join("answers.part"));
    let cancel = Cancel::new();
    let mut stop = StopAfter { steps: 40, cancel: &cancel, begun_with: 0 };
    let stopped =
        generate(&GenerateRequest { journal: journal.clone(), ..on(3) }, &mut stop, &cancel).unwrap();
    drop(stopped);
    let mut outcome =
        generate(&GenerateRequest { journal, ..on(2) }, &mut SilentObserver, &Cancel::new()).unwrap();
    assert_eq!(text(&mut outcome), expected);
}

/// A prompt has the answer that it has alone, if it keeps its row.
#[test]
fn other_prompts_change_no_answer() {
    let all = answers(&request());
    let mut fewer = prompts();
    fewer.truncate(4);
    let some = answers(&GenerateRequest { prompts: PromptSource::Given(fewer), ..request() });
    assert!(all.starts_with(&some), "{some}");
}

/// With positions that are scaled by the length: where an answer grows beyond it, all of the text turns
/// otherwise.
#[test]
fn answers_are_those_of_passes_over_all_of_the_text() {
    let factors = |factor: f64| vec![factor; 16];
    for scaling in [
        json!({"type": "dynamic", "factor": 2.0}),
        json!({"type": "longrope", "factor": 2.0, "short_factor": factors(1.0), "long_factor": factors(2.0)}),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for file in fs_err::read_dir(demo()).unwrap() {
            let path = file.unwrap().path();
            fs_err::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        config["rope_parameters"] = scaling;
        config["max_position_embeddings"] = json!(ORIGINAL);
        fs_err::write(&path, config.to_string()).unwrap();
        check_against_whole_passes(&ModelSource::new(folder.path()));
    }
}

/// Positions that the model of the test above was made for.
const ORIGINAL: usize = 12;

fn check_against_whole_passes(weights: &ModelSource) {
    let (model, encoder) = (load(weights), weights.text.encoder(&weights.model).unwrap());
    let prompt = |i: usize| Content::PromptCompletion {
        prompt: format!("Is {i} odd?{}", " Say why.".repeat(i)),
        completion: "unused".into(),
    };
    let prompts: Vec<Content> = (0..12).map(prompt).collect();
    let request = GenerateRequest {
        stopping: StoppingCriteria { max_new_tokens: 24, ..StoppingCriteria::default() },
        compute: ComputeOptions { threads: 2, batch: 5, ..ComputeOptions::default() },
        ..GenerateRequest::new(&weights.model, PromptSource::Given(prompts.clone()))
    };
    let mut lengths = Vec::new();
    for (line, prompt) in answers(&request).lines().zip(&prompts) {
        let record: Value = serde_json::from_str(line).unwrap();
        let mut ids = encoder.encode_begun(prompt, "").unwrap();
        let (before, tokens) = (ids.len(), record["new_tokens"].as_u64().unwrap() as usize);
        for _ in 0..tokens {
            let all = NextTokens { slot: 0, ids: &ids, length: ids.len(), wanted: true };
            let logits = model.extend(&mut model.key_values(), &[all]).unwrap();
            let top = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            ids.push(top as u32);
        }
        // A token that ends the answer is not shown.
        let shown = [ids.len(), ids.len() - 1].map(|end| encoder.decode(&ids[before..end]).unwrap());
        let answer = record["completion"].as_str().unwrap();
        assert!(shown.iter().any(|text| text == answer), "{shown:?}, not {answer:?}");
        lengths.push((before, ids.len()));
    }
    let crosses = |(before, after): &(usize, usize)| *before <= ORIGINAL && *after > ORIGINAL + 1;
    assert!(lengths.iter().any(crosses), "none grows beyond {ORIGINAL}: {lengths:?}");
}

/// Stops after so many steps.
struct StopAfter<'a> {
    steps: u32,
    cancel: &'a Cancel,
    begun_with: u64,
}

impl GenerateObserver for StopAfter<'_> {
    fn begin(&mut self, answered: u64, _: u64) -> Result<(), GenerateError> {
        self.begun_with = answered;
        Ok(())
    }

    fn advance(&mut self, _: u64, _: u64) {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 {
            self.cancel.raise();
        }
    }
}

#[test]
fn a_stopped_run_goes_on_and_ends_with_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Some(folder.path().join("answers.part"));
    let compute = ComputeOptions { threads: 2, batch: 4, ..ComputeOptions::default() };
    let request = GenerateRequest { journal: journal.clone(), compute, ..request() };
    let expected = answers(&GenerateRequest { journal: None, ..request.clone() });
    let mut went_on = 0;
    for steps in [5, 20, 40] {
        let cancel = Cancel::new();
        let mut stop = StopAfter { steps, cancel: &cancel, begun_with: 0 };
        let outcome = generate(&request, &mut stop, &cancel).unwrap();
        went_on = went_on.max(stop.begun_with);
        assert!(!outcome.finished || steps == 40);
        assert!(outcome.answers.answered() as u64 >= stop.begun_with);
    }
    let mut outcome = generate(&request, &mut SilentObserver, &Cancel::new()).unwrap();
    assert_eq!(text(&mut outcome), expected);
    drop(outcome);

    let other =
        GenerateRequest { sampling: SamplingOptions { seed: 7, ..request.sampling.clone() }, ..request };
    match generate(&other, &mut SilentObserver, &Cancel::new()) {
        Err(GenerateError::OtherRequest { what, .. }) => assert!(what.contains("options"), "{what}"),
        _ => panic!("answers to another request were taken"),
    }
    let other = GenerateRequest { overwrite: true, ..other };
    assert!(generate(&other, &mut SilentObserver, &Cancel::new()).unwrap().finished);
}

#[test]
fn a_stop_string_ends_an_answer() {
    let whole = answers(&request());
    let record: serde_json::Value = serde_json::from_str(whole.lines().nth(1).unwrap()).unwrap();
    let answer = record["completion"].as_str().unwrap();
    // Some text in the middle of an answer, wherever its tokens end.
    let middle: String = answer.chars().skip(answer.chars().count() / 2).take(3).collect();
    assert!(!middle.is_empty(), "{answer:?}");
    let strings = StopStrings::new(vec![middle.clone()]).unwrap();
    let stopping = StoppingCriteria { strings, ..request().stopping };
    let cut = answers(&GenerateRequest { stopping, ..request() });
    let record: serde_json::Value = serde_json::from_str(cut.lines().nth(1).unwrap()).unwrap();
    assert_eq!(record["finish"], FinishReason::StopString.name());
    assert_eq!(record["completion"], answer[..answer.find(&middle).unwrap()]);
}

#[test]
fn the_text_of_a_special_token_ends_an_answer() {
    let whole = answers(&request());
    assert!(whole.contains("\"finish\":\"end\""), "{whole}");
    let strings = StopStrings::new(vec!["</s>".to_owned()]).unwrap();
    let stopping = StoppingCriteria { strings, ignore_end: true, ..request().stopping };
    let stopped = answers(&GenerateRequest { stopping, ..request() });
    for lines in whole.lines().zip(stopped.lines()) {
        let [ended, stopped] =
            <[&str; 2]>::from(lines).map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        for key in ["completion", "messages", "new_tokens"] {
            assert_eq!(ended[key], stopped[key]);
        }
        assert_eq!(ended["finish"] == "end", stopped["finish"] == "stop");
    }
}

/// What is begun is part of the prompt, in the assistant's turn.
#[test]
fn an_answer_goes_on_after_what_it_begins_with() {
    let answer = |prompts: PromptSource| -> serde_json::Value {
        serde_json::from_str(&answers(&GenerateRequest { prompts, ..request() })).unwrap()
    };
    let message = Message::new(Role::User, "Is 7 odd?");
    let content = Content::Messages(vec![message]);
    let begun = TextSample::begun("a".to_owned(), &content, "The answer is:");
    let begun = answer(PromptSource::Begun(vec![begun]));
    let whole = "<|user|>\nIs 7 odd?\n<|assistant|>\nThe answer is:".to_owned();
    let whole = answer(PromptSource::Given(vec![Content::Text(whole)]));
    assert_eq!(begun["id"], "a");
    assert_eq!(begun["messages"][1]["content"], whole["completion"]);
}

#[test]
fn answers_are_records_that_can_be_read_again() {
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    let lines = [
        r#"{"id": "a", "prompt": "One?", "subtask": "x", "model": "mine"}"#,
        r#"{"id": "b", "messages": [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]}"#,
    ];
    fs_err::write(file.path(), lines.join("\n")).unwrap();
    let prompts = PromptSource::Files { paths: vec![file.path().to_owned()], fields: Vec::new() };
    let answers = answers(&GenerateRequest { prompts, ..request() });
    let records: Vec<serde_json::Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&records[0]["id"], &records[0]["subtask"]), (&"a".into(), &"x".into()));
    assert_eq!(records[0]["model"].as_str().map(str::len), Some(64));
    assert_eq!(
        (&records[1]["messages"][0]["content"], &records[1]["expected"]),
        (&"Two?".into(), &"2".into())
    );
    assert_eq!(records[1]["messages"][1]["role"], "assistant");
    assert_eq!(records[1]["generation"]["top_p"], 0.95);
    for line in answers.lines() {
        gstore_data::parse_record(line.as_bytes()).unwrap();
    }
}

#[test]
fn what_cannot_be_answered_is_refused_before_any_answer() {
    let refused = |request: GenerateRequest, words: &str| {
        let error = generate(&request, &mut SilentObserver, &Cancel::new()).err().expect(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    let base = request();
    let mut weights = base.weights.clone();
    weights.text.max_length = 3;
    refused(GenerateRequest { weights, ..request() }, "tokens, 3 are allowed");
    refused(GenerateRequest { prompts: PromptSource::Given(Vec::new()), ..request() }, "no sample");
    let mut weights = base.weights;
    weights.adapter = Some(Path::new("nowhere").to_owned());
    refused(GenerateRequest { weights, ..request() }, "adapter_config.json");
    let stopping = StoppingCriteria { max_new_tokens: 0, ..StoppingCriteria::default() };
    refused(GenerateRequest { stopping, ..request() }, "no tokens");
}
