//! Promise: log-likelihoods of choices are those of transformers on prompts cut into tokens as
//! lm-evaluation-harness does it, on any number of threads and after any stop.

use crate::common::{demo, fixture, numbers, texts};
use gstore_core::{Cancel, Silent};
use gstore_data::Content;
use gstore_generate::{ChoiceQuestion, ChoiceRequest, ComputeOptions, GenerateError, ModelSource, choices};
use serde_json::Value;

/// Tolerance for each token: sums of terms in f32.
const TOLERANCE: f64 = 1e-3;

fn request() -> ChoiceRequest {
    let of = |(number, case): (usize, &Value)| ChoiceQuestion {
        id: number.to_string(),
        content: Content::PromptCompletion {
            prompt: case["prompt"].as_str().expect("a prompt").to_owned(),
            completion: String::new(),
        },
        begun: String::new(),
        options: texts(case, "options"),
    };
    let cases = fixture("likelihoods.json");
    ChoiceRequest {
        weights: ModelSource::new(demo()),
        questions: cases.as_array().expect("cases").iter().enumerate().map(of).collect(),
        compute: ComputeOptions::default(),
        journal: None,
        overwrite: false,
    }
}

fn records(request: &ChoiceRequest) -> Vec<Value> {
    let mut scored = choices(request, &mut Silent, &Cancel::new()).expect("scored");
    assert!(scored.finished);
    let mut out = Vec::new();
    scored.answers.write_to(&mut out).expect("written");
    let text = String::from_utf8(out).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn values_are_those_of_transformers() {
    let cases = fixture("likelihoods.json");
    for (record, case) in records(&request()).iter().zip(cases.as_array().expect("cases")) {
        let tokens = numbers(record, "tokens");
        let found = numbers(record, "log_likelihoods");
        let expected = numbers(case, "log_likelihoods");
        assert_eq!(found.len(), expected.len());
        for ((found, expected), tokens) in found.iter().zip(&expected).zip(tokens) {
            assert!(
                (found - expected).abs() <= TOLERANCE * tokens,
                "{}: {found}, not {expected}",
                case["prompt"]
            );
        }
    }
}

#[test]
fn threads_change_no_bit_and_a_journal_goes_on() {
    let alone = records(&request());
    let compute = ComputeOptions { threads: 3, ..ComputeOptions::default() };
    assert_eq!(records(&ChoiceRequest { compute, ..request() }), alone);

    let folder = tempfile::tempdir().expect("a folder");
    let kept = ChoiceRequest { journal: Some(folder.path().join("choices")), ..request() };
    assert_eq!(records(&kept), alone);
    // The last record is taken away, as a stop would have left it.
    let path = folder.path().join("choices");
    let text = fs_err::read_to_string(&path).expect("kept");
    let cut: String = text.split_inclusive('\n').take(text.lines().count() - 1).collect();
    fs_err::write(&path, cut).expect("cut");
    assert_eq!(records(&kept), alone);

    let mut other = kept;
    other.questions[0].options.pop();
    match choices(&other, &mut Silent, &Cancel::new()) {
        Err(GenerateError::OtherRequest { what, .. }) => assert!(what.contains("prompts"), "{what}"),
        _ => panic!("results of another request were taken"),
    }
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let refused = |change: &dyn Fn(&mut ChoiceRequest), words: &str| {
        let mut request = request();
        change(&mut request);
        let error = choices(&request, &mut Silent, &Cancel::new()).err().expect(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&|request| request.questions.clear(), "no sample");
    refused(&|request| request.questions[0].options[1].clear(), "has no token");
    refused(&|request| request.questions[0].options.clear(), "no choices");
    refused(&|request| request.weights.text.max_length = 4, "tokens, 4 are allowed");
    refused(&|request| request.questions[1].id = "0".to_owned(), "two prompts");
}
