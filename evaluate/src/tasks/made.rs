//! Provenance of a report of tasks: its files, its questions, and the options of prompts and answers.

use gstore_core::Digest;
use gstore_data::{TemplateKind, TextOptions};
use serde_json::{Value, json};

use super::{Ask, Choices, Layout, Question, TasksSource};
use crate::error::EvaluateError;
use crate::report::{RunParameters, files};

impl TasksSource {
    /// The same of the `questions` that were read from it, which become prompts with `text`.
    ///
    /// # Errors
    /// Files that are not there any more.
    pub fn made(&self, questions: &[Question], text: &TextOptions) -> Result<RunParameters, EvaluateError> {
        let data = match self.layout {
            Layout::Own | Layout::Harness => files(&self.paths)?,
            // Folders of published files, of which the digest of the questions says more.
            Layout::Mmlu | Layout::Bbh | Layout::Tydiqa => {
                self.paths.iter().map(|path| json!({ "path": path.display().to_string() })).collect()
            }
        };
        let shots = if self.shots.is_empty() { Value::Null } else { files(&self.shots)? };
        let choices = match self.choices {
            Choices::Text => "text",
            Choices::Letters => "letters",
        };
        let is_own = self.layout == Layout::Own;
        // A text that stands as it is has no template.
        let is_written = questions.iter().any(|question| !question.verbatim);
        let source = match &text.template {
            TemplateKind::Jinja(source) => Some(Digest::of(source.as_bytes())),
            _ => None,
        };
        let made = [
            ("layout", json!(self.layout.name())),
            ("data", data),
            ("questions", json!({ "number": questions.len(), "digest": digest(questions) })),
            ("limit", json!(self.limit)),
            ("shots", shots),
            ("few_shot", json!(questions.iter().map(|question| question.shots.len()).max())),
            ("choices", json!(is_own.then_some(choices))),
            ("no_cot", json!((self.layout == Layout::Bbh).then_some(self.without_thoughts))),
            ("template", json!(is_written.then(|| text.template.name()))),
            ("template_digest", json!(source.filter(|_| is_written))),
            ("system", json!(text.system)),
            ("tokenizer", json!(text.tokenizer.as_ref().map(|folder| folder.display().to_string()))),
            ("max_length", json!(text.max_length)),
            ("answers", rules(questions)),
        ];
        Ok(made.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// How generated answers end and are read, each way once; null where none is generated.
fn rules(questions: &[Question]) -> Value {
    let mut rules: Vec<Value> = Vec::new();
    for question in questions {
        let Ask::Answer { rule, .. } = &question.ask else { continue };
        let rule = json!({
            "stop": rule.stop,
            "max_new_tokens": rule.max_new_tokens,
            "pattern": rule.pattern.as_ref().map(|pattern| pattern.as_str()),
        });
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    if rules.is_empty() { Value::Null } else { Value::Array(rules) }
}

/// The digest of everything that models are asked, and of what is right.
fn digest(questions: &[Question]) -> Digest {
    let of = |question: &Question| {
        let ask = match &question.ask {
            Ask::Choose { options, answer } => json!([options, answer]),
            Ask::Answer { expected, .. } => json!([expected]),
        };
        let all = json!([
            question.id,
            &*question.task,
            &*question.header,
            &question.shots[..],
            question.text,
            &*question.begun,
            &*question.plain_end,
            question.verbatim,
            ask,
        ]);
        Digest::of(all.to_string().as_bytes()).to_string()
    };
    Digest::of(questions.iter().map(of).collect::<String>().as_bytes())
}
