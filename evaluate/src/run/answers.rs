//! One model's answers to all questions: choices scored, answers generated and read.

use std::path::Path;
use std::sync::Arc;

use gstore_core::{Cancel, Cancelled, Progress, Unit, many};
use gstore_data::TextSample;
use gstore_generate::{
    ChoiceQuestion, ChoiceRequest, GenerateError, GenerateObserver, GenerateRequest, Journal, PromptSource,
    SamplingOptions, StopStrings, StoppingCriteria, choices, generate,
};
use serde_json::Value;

use super::{ModelAnswer, System, TasksRequest};
use crate::error::EvaluateError;
use crate::metrics::f1;
use crate::tasks::{Ask, FittedPrompt, Question, Rule};

/// One model at work.
pub(super) struct ModelRun<'a> {
    pub request: &'a TasksRequest,
    pub prompts: &'a [FittedPrompt],
    pub system: &'a System,
    /// Folder that keeps what is done.
    pub folder: Option<&'a Path>,
}

impl ModelRun<'_> {
    /// The answers to all questions, and the digest of the weights.
    pub fn answers(
        &self,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<(Vec<ModelAnswer>, String), EvaluateError> {
        if let Some(folder) = self.folder {
            fs_err::create_dir_all(folder)?;
        }
        let questions = &self.request.questions;
        let mut found: Vec<Option<ModelAnswer>> = vec![None; questions.len()];
        let mut model = String::new();
        let choosing: Vec<usize> =
            (0..questions.len()).filter(|row| matches!(questions[*row].ask, Ask::Choose { .. })).collect();
        if !choosing.is_empty() {
            let questions = many(choosing.len() as u64, "question");
            progress.part(&format!("{}: {questions} with choices", self.system.name));
            model = self.choose(&choosing, &mut found, progress, cancel)?;
        }
        for (number, (rule, rows)) in by_rule(questions).into_iter().enumerate() {
            let answers = many(rows.len() as u64, "answer");
            progress.part(&format!("{}: {answers} to generate", self.system.name));
            model = self.generate(number, rule, &rows, &mut found, progress, cancel)?;
        }
        let found: Option<Vec<ModelAnswer>> = found.into_iter().collect();
        // What is missing was not asked for in time.
        Ok((found.ok_or(Cancelled)?, model))
    }

    fn failed(&self, error: GenerateError) -> EvaluateError {
        match error {
            GenerateError::Stopped(stopped) => stopped.into(),
            source => EvaluateError::Model { system: self.system.name.clone(), source },
        }
    }

    fn id(&self, row: usize) -> String {
        // Unique by the number, and the same for every model.
        let question = &self.request.questions[row];
        format!("{}: {} ({} of {})", question.task, question.id, row + 1, self.request.questions.len())
    }

    fn choose(
        &self,
        rows: &[usize],
        found: &mut [Option<ModelAnswer>],
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<String, EvaluateError> {
        let choice = |row: &usize| {
            let options = match &self.request.questions[*row].ask {
                Ask::Choose { options, .. } => options.clone(),
                Ask::Answer { .. } => Vec::new(),
            };
            let FittedPrompt { content, begun, .. } = &self.prompts[*row];
            ChoiceQuestion { id: self.id(*row), content: content.clone(), begun: begun.clone(), options }
        };
        let request = ChoiceRequest {
            weights: self.system.weights.clone(),
            questions: rows.iter().map(choice).collect(),
            compute: self.request.compute.clone(),
            journal: self.folder.map(|folder| folder.join("choices")),
            overwrite: self.request.overwrite,
        };
        let mut scored = choices(&request, progress, cancel).map_err(|error| self.failed(error))?;
        if !scored.finished {
            return Err(Cancelled.into());
        }
        for (row, record) in rows.iter().zip(records(&mut scored.answers)?) {
            let values = record["log_likelihoods"].as_array().map(Vec::as_slice).unwrap_or_default();
            let values: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
            found[*row] = chosen(&self.request.questions[*row].ask, &values);
        }
        Ok(scored.model.to_string())
    }

    fn generate(
        &self,
        number: usize,
        rule: &Rule,
        rows: &[usize],
        found: &mut [Option<ModelAnswer>],
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<String, EvaluateError> {
        let prompt = |row: &usize| {
            let FittedPrompt { content, begun, .. } = &self.prompts[*row];
            TextSample::begun(self.id(*row), content, begun)
        };
        let strings = StopStrings::new(rule.stop.clone()).map_err(|error| self.failed(error))?;
        let request = GenerateRequest {
            weights: self.system.weights.clone(),
            prompts: PromptSource::Begun(rows.iter().map(prompt).collect()),
            sampling: SamplingOptions::default(),
            stopping: StoppingCriteria { max_new_tokens: rule.max_new_tokens, strings, ignore_end: false },
            compute: self.request.compute.clone(),
            journal: self.folder.map(|folder| folder.join(format!("answers-{number}"))),
            overwrite: self.request.overwrite,
        };
        let mut observer = Reported(&mut *progress);
        let generated = generate(&request, &mut observer, cancel);
        progress.finish();
        let mut generated = generated.map_err(|error| self.failed(error))?;
        if !generated.finished {
            return Err(Cancelled.into());
        }
        for (row, record) in rows.iter().zip(records(&mut generated.answers)?) {
            let text = record["completion"].as_str();
            let last = record["messages"].as_array().and_then(|messages| messages.last());
            let text = text.or_else(|| last?["content"].as_str()).unwrap_or_default();
            if let Ask::Answer { expected, rule } = &self.request.questions[*row].ask {
                found[*row] = Some(answered(text, expected, rule));
            }
        }
        Ok(generated.model.to_string())
    }
}

/// A generation's progress as rows.
struct Reported<'a>(&'a mut dyn Progress);

impl GenerateObserver for Reported<'_> {
    // Other notes are about all questions, and were made before.
    fn damaged(&mut self, message: &str) {
        self.0.note(message);
    }

    fn begin(&mut self, answered: u64, total: u64) -> Result<(), GenerateError> {
        self.0.start("answering", total.saturating_sub(answered), Unit::Rows);
        Ok(())
    }

    fn advance(&mut self, _tokens: u64, answers: u64) {
        self.0.advance(answers);
    }
}

/// The records of a job that is done.
fn records(journal: &mut Journal) -> Result<Vec<Value>, EvaluateError> {
    let mut lines = Vec::new();
    journal.write_to(&mut lines)?;
    let records = serde_json::Deserializer::from_slice(&lines).into_iter::<Value>();
    records.map(|record| record.map_err(|error| EvaluateError::Io(error.into()))).collect()
}

/// Questions whose answers end alike, which can be answered together.
fn by_rule(questions: &[Question]) -> Vec<(&Rule, Vec<usize>)> {
    let mut groups: Vec<(&Rule, Vec<usize>)> = Vec::new();
    for (row, question) in questions.iter().enumerate() {
        let Ask::Answer { rule, .. } = &question.ask else { continue };
        let rule: &Rule = rule;
        let same = |other: &Rule| other.stop == rule.stop && other.max_new_tokens == rule.max_new_tokens;
        match groups.iter_mut().find(|(other, _)| same(other)) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((rule, vec![row])),
        }
    }
    groups
}

/// The likeliest of some choices, the first of equal ones; none unless each has a value.
fn chosen(ask: &Ask, log_likelihoods: &[f64]) -> Option<ModelAnswer> {
    let Ask::Choose { options, answer } = ask else { return None };
    if options.len() != log_likelihoods.len() {
        return None;
    }
    let best = |values: &[f64]| {
        let better = |best: usize, next: usize| if values[next] > values[best] { next } else { best };
        (0..values.len()).reduce(better).unwrap_or(0)
    };
    let length = |option: &String| option.trim_start().chars().count().max(1) as f64;
    let normalised: Vec<f64> =
        log_likelihoods.iter().zip(options).map(|(value, option)| value / length(option)).collect();
    let (best, best_normalised) = (best(log_likelihoods), best(&normalised));
    let right = |choice: usize| f64::from(u8::from(choice == *answer));
    Some(ModelAnswer {
        prediction: options[best].trim_start().to_owned(),
        raw: serde_json::json!(log_likelihoods).to_string(),
        values: [right(best), right(best_normalised)],
    })
}

fn answered(text: &str, expected: &[String], rule: &Arc<Rule>) -> ModelAnswer {
    let prediction = rule.read(text);
    let right: Vec<&str> = expected.iter().map(String::as_str).collect();
    let values = [rule.normal.exact_match(&prediction, &right), f1(rule.normal, &prediction, &right)];
    ModelAnswer { prediction, raw: text.to_owned(), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_choice_by_sum_and_by_character() {
        let ask = Ask::Choose { options: vec![" ab".into(), " abcdef".into(), " x".into()], answer: 1 };
        let found = chosen(&ask, &[-2.0, -3.0, -9.0]).expect("three values");
        assert_eq!((found.prediction.as_str(), found.values), ("ab", [0.0, 1.0]));
        // The first of equal ones.
        assert_eq!(chosen(&ask, &[-1.0, -1.0, -1.0]).expect("three values").values[0], 0.0);
        assert!(chosen(&ask, &[-1.0]).is_none());
    }
}
