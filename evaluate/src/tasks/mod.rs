//! Tasks: questions of a benchmark, from their published files or a layout of our own.
//!
//! A question's prompt is a header, examples, and the question itself. In a conversation all of it is one
//! message of the user, and the assistant's answer begins with a text of the layout (`The answer is:`).

mod bbh;
mod fit;
mod harness;
mod made;
mod mmlu;
mod own;
mod source;
mod tydiqa;

use std::path::Path;
use std::sync::Arc;

use gstore_core::{Cancel, Remedy};
use gstore_data::{Content, Message, Role};
use regex::Regex;
use serde_json::{Value, json};

use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::report::Report;

pub use fit::FittedPrompt;
pub(crate) use fit::{Encoding, fit};
pub use source::{AnswerRule, Choices, Layout, TasksSource, pattern};
use source::{files_by_name, folder, place};

/// How a generated answer ends and is read.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Texts that end it.
    pub stop: Vec<String>,
    /// Tokens at most.
    pub max_new_tokens: usize,
    /// What of it counts; the whole answer if it does not match.
    pub pattern: Option<Regex>,
    /// How it is compared.
    pub normal: Normal,
}

impl Rule {
    /// A layout's rule with what the user asks for in its place.
    fn with(self, asked: &AnswerRule) -> Arc<Rule> {
        Arc::new(Rule {
            stop: asked.stop.clone().unwrap_or(self.stop),
            max_new_tokens: asked.max_new_tokens.unwrap_or(self.max_new_tokens),
            pattern: asked.pattern.clone().or(self.pattern),
            normal: self.normal,
        })
    }

    /// What of an answer counts.
    pub fn read(&self, answer: &str) -> String {
        let found = self.pattern.as_ref().and_then(|pattern| {
            let captures = pattern.captures(answer)?;
            captures.get(1).or_else(|| captures.get(0))
        });
        found.map_or(answer, |found| found.as_str()).trim().to_owned()
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Ask {
    /// The likeliest of these.
    Choose {
        /// The continuations, with the space before them.
        options: Vec<String>,
        /// Number of the right one.
        answer: usize,
    },
    /// An answer in words.
    Answer {
        /// Any of these is right.
        expected: Vec<String>,
        /// How it ends and is read.
        rule: Arc<Rule>,
    },
}

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its id, unique in its task.
    pub id: String,
    /// The task that it belongs to.
    pub task: Arc<str>,
    /// What stands before all examples.
    pub header: Arc<str>,
    /// Examples with their answers, each with what separates it from the next.
    pub shots: Arc<[String]>,
    /// The question itself.
    pub text: String,
    /// What the assistant's answer begins with in a conversation.
    pub begun: Arc<str>,
    /// What the text ends with where there is no conversation.
    pub plain_end: Arc<str>,
    /// Whether the text is all that the model sees, whatever the template.
    pub verbatim: bool,
    /// What is asked for.
    pub ask: Ask,
}

impl Question {
    /// What the model sees with the first `shots` examples, and what its answer begins with. `chat`: as a
    /// message.
    pub fn prompt(&self, shots: usize, chat: bool) -> (Content, String) {
        let mut text = String::from(&*self.header);
        self.shots.iter().take(shots).for_each(|shot| text.push_str(shot));
        text.push_str(&self.text);
        if chat && !self.verbatim {
            let message = Message::new(Role::User, text);
            return (Content::Messages(vec![message]), self.begun.to_string());
        }
        text.push_str(&self.plain_end);
        if self.verbatim {
            // A template in Jinja would write a prompt as a user's message.
            return (Content::Text(text), String::new());
        }
        (Content::PromptCompletion { prompt: text, completion: String::new() }, String::new())
    }
}

/// Reads the questions of a benchmark, those of a task next to each other.
///
/// # Errors
/// Files that are not there or not of this layout, by file and line.
pub fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    let mut questions = match source.layout {
        Layout::Own => own::read(source, cancel).map_err(|error| with_layout(error, source))?,
        Layout::Harness => harness::read(source, cancel)?,
        Layout::Mmlu => mmlu::read(source)?,
        Layout::Bbh => bbh::read(source)?,
        Layout::Tydiqa => tydiqa::read(source)?,
    };
    if let Some(question) = questions.iter().find(|question| Report::NAMES.contains(&&*question.task)) {
        return Err(EvaluateError::Option(format!(
            "a task cannot be called {}, which reports call their totals: give it another name",
            question.task
        )));
    }
    // Stable: the questions of a task stay in their order.
    questions.sort_by(|a, b| a.task.cmp(&b.task));
    if let Some(limit) = source.limit {
        let mut seen: Option<(Arc<str>, usize)> = None;
        questions.retain(|question| {
            let number = match &seen {
                Some((task, number)) if *task == question.task => number + 1,
                _ => 0,
            };
            seen = Some((Arc::clone(&question.task), number));
            number < limit
        });
    }
    if questions.is_empty() {
        return Err(EvaluateError::Nothing("what was given: it has no questions".to_owned()));
    }
    Ok(questions)
}

/// An error of a record, with the layout that reads it where the files are those of MMLU.
fn with_layout(error: EvaluateError, source: &TasksSource) -> EvaluateError {
    match error {
        EvaluateError::Record { place, what } if folder(source).is_ok_and(mmlu::is_at) => {
            let layout = Remedy::Option("layout", "mmlu");
            EvaluateError::Record {
                place,
                what: format!("{what}; the folder is laid out as MMLU: give {layout}"),
            }
        }
        error => error,
    }
}

/// Which tasks have fewer examples than are asked for, in words; none if all have them.
pub fn too_few_examples(source: &TasksSource, questions: &[Question]) -> Option<String> {
    let asked = match source.layout {
        Layout::Own if !source.shots.is_empty() => source.few_shot.unwrap_or(own::SHOTS),
        Layout::Mmlu => source.few_shot.unwrap_or(mmlu::SHOTS),
        Layout::Tydiqa => source.few_shot.unwrap_or(tydiqa::SHOTS),
        // All that there are: a task has some.
        Layout::Bbh => source.few_shot.unwrap_or(1),
        Layout::Own | Layout::Harness => source.few_shot.unwrap_or(0),
    };
    // A question that is one of the examples has one less than others.
    let fewest = |questions: &[Question]| {
        let fewest = questions.iter().map(|question| question.shots.len()).min().unwrap_or(asked);
        questions.first().map(|question| (Arc::clone(&question.task), fewest))
    };
    let tasks = questions.chunk_by(|a, b| a.task == b.task).filter_map(fewest);
    let short = tasks.filter(|(_, shots)| *shots < asked);
    let short: Vec<String> = short.map(|(task, shots)| format!("{task} ({shots})")).collect();
    let fewer = if asked == 1 { "is no example" } else { &format!("are fewer than {asked} examples") };
    (!short.is_empty()).then(|| format!("there {fewer} for {}", short.join(", ")))
}

/// The target samples that LESS makes of a benchmark, as records of `id`, `dataset`, `subtask`, `prompt` and
/// `completion`. With `chat` the prompt has LESS's role tags in it.
///
/// # Errors
/// A layout that LESS has none for, and files that are not there or not of it.
pub fn targets(layout: Layout, folder: &Path, chat: bool) -> Result<Vec<Value>, EvaluateError> {
    match layout {
        Layout::Mmlu => mmlu::targets(folder, chat),
        Layout::Bbh => bbh::targets(folder, chat),
        Layout::Tydiqa => tydiqa::targets(folder, chat),
        Layout::Own | Layout::Harness => Err(EvaluateError::Option(format!(
            "layout {} has no target samples: give mmlu, bbh or tydiqa",
            layout.name()
        ))),
    }
}

/// A target sample: what the user says, what the assistant's answer begins with, and how it goes on.
fn target(
    (dataset, subtask, number): (&str, &str, usize),
    text: &str,
    (begun, plain_end): (&str, &str),
    completion: &str,
    chat: bool,
) -> Value {
    let joint = if text.ends_with('\n') { "" } else { "\n" };
    let prompt = match chat {
        true => format!("<|user|>\n{text}{joint}<|assistant|>\n{begun}"),
        false => format!("{text}{plain_end}"),
    };
    json!({
        "id": format!("{dataset}-{subtask}-{number}"),
        "dataset": dataset,
        "subtask": subtask,
        "prompt": prompt,
        "completion": completion,
    })
}
