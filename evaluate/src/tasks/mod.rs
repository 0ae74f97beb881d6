//! Tasks: questions of a benchmark, from their published files or a layout of our own.
//!
//! A question's prompt is a header, examples, and the question itself. In a conversation all of it is one
//! message of the user, and the assistant's answer begins with a text of the layout (`The answer is:`).

mod bbh;
mod fit;
mod harness;
mod mmlu;
mod own;
mod tydiqa;

use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_data::{Content, Message, Role};
use regex::Regex;
use serde_json::{Value, json};

use crate::error::EvaluateError;
use crate::metrics::Normal;

pub use fit::{Fitted, fit};

/// How the files of a benchmark are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Records of `question` with `choices` and `answer`, or with `answers`.
    Own,
    /// Samples that lm-evaluation-harness writes.
    Harness,
    /// A folder of MMLU: `dev/*_dev.csv` and `test/*_test.csv`.
    Mmlu,
    /// A folder of BIG-Bench Hard: `bbh/*.json` and `cot-prompts/*.txt`; of LESS also `bbh-three-shot.json`.
    Bbh,
    /// A folder of TyDi QA: `tydiqa-goldp-v1.1-dev.json` and LESS's `tydiqa-one-shot.json`.
    Tydiqa,
}

impl Layout {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Own => "own",
            Layout::Harness => "harness",
            Layout::Mmlu => "mmlu",
            Layout::Bbh => "bbh",
            Layout::Tydiqa => "tydiqa",
        }
    }
}

/// How choices are put to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choices {
    /// The likelihood of each choice's text.
    #[default]
    Text,
    /// Choices are listed behind letters, and the likelihood is that of the letter.
    Letters,
}

/// Files to read, and how.
#[derive(Debug, Clone)]
pub struct TasksSource {
    /// The layout.
    pub layout: Layout,
    /// Files, folders and patterns; of MMLU, BBH and TyDi QA one folder.
    pub paths: Vec<PathBuf>,
    /// Records of the own layout that examples are taken from.
    pub shots: Vec<PathBuf>,
    /// Examples before a question, at most; none: as many as the layout has (of our own, none).
    pub few_shot: Option<usize>,
    /// How choices are put.
    pub choices: Choices,
    /// How generated answers end and are read; of a published layout what differs from its own rule.
    pub rule: AnswerRule,
    /// Of BBH: examples without their chains of thought.
    pub without_thoughts: bool,
    /// Questions of each task at most, the first ones.
    pub limit: Option<usize>,
}

impl TasksSource {
    /// A source with everything as the command line has it by default.
    pub fn new(layout: Layout, paths: Vec<PathBuf>) -> TasksSource {
        TasksSource {
            layout,
            paths,
            shots: Vec::new(),
            few_shot: None,
            choices: Choices::default(),
            rule: AnswerRule::default(),
            without_thoughts: false,
            limit: None,
        }
    }
}

/// What is asked for of generated answers, where it is not left to the layout.
#[derive(Debug, Clone, Default)]
pub struct AnswerRule {
    /// Texts that end an answer.
    pub stop: Option<Vec<String>>,
    /// Tokens at most.
    pub max_new_tokens: Option<usize>,
    /// What of an answer counts: the first group of the first match, or all of it.
    pub pattern: Option<Regex>,
}

/// A regular expression for [`AnswerRule::pattern`].
///
/// # Errors
/// What is none.
pub fn pattern(text: &str) -> Result<Regex, EvaluateError> {
    Regex::new(text).map_err(|error| EvaluateError::Option(format!("the pattern of answers: {error}")))
}

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
            let message = Message { role: Role::User, content: text };
            return (Content::Messages(vec![message]), self.begun.to_string());
        }
        text.push_str(&self.plain_end);
        (Content::PromptCompletion { prompt: text, completion: String::new() }, String::new())
    }
}

/// Reads the questions of a benchmark, those of a task next to each other.
///
/// # Errors
/// Files that are not there or not of this layout, by file and line.
pub fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    let mut questions = match source.layout {
        Layout::Own => own::read(source, cancel)?,
        Layout::Harness => harness::read(source, cancel)?,
        Layout::Mmlu => mmlu::read(source)?,
        Layout::Bbh => bbh::read(source)?,
        Layout::Tydiqa => tydiqa::read(source)?,
    };
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

/// The target samples that LESS makes of a benchmark, as records of `id`, `dataset`, `subtask`, `prompt` and
/// `completion`. With `chat` the prompt has LESS's role tags in it.
///
/// # Errors
/// A layout that LESS has none for, and files that are not there or not of it.
pub fn targets(layout: Layout, folder: &std::path::Path, chat: bool) -> Result<Vec<Value>, EvaluateError> {
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

/// The only folder that was given.
fn folder(source: &TasksSource) -> Result<&std::path::Path, EvaluateError> {
    match source.paths.as_slice() {
        [folder] => Ok(folder),
        _ => Err(EvaluateError::Option(format!("layout {} takes one folder", source.layout.name()))),
    }
}

/// The first of these places below a folder that is there.
fn place(folder: &std::path::Path, places: &[&str], what: &str) -> Result<PathBuf, EvaluateError> {
    let found = places.iter().map(|place| folder.join(place)).find(|path| path.exists());
    found.ok_or_else(|| EvaluateError::File {
        path: folder.to_owned(),
        what: format!("there is no {what} here (looked for {})", places.join(", ")),
    })
}
