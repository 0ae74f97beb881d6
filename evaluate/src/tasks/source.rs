//! Sources of questions: their files, and what is asked for beyond their layout.

use std::path::{Path, PathBuf};

use gstore_core::named;
use regex::Regex;

use crate::error::EvaluateError;

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

// Names in messages.
named!(Layout { Own = "own", Harness = "harness", Mmlu = "mmlu", Bbh = "bbh", Tydiqa = "tydiqa" });

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

/// The only folder that was given.
pub(super) fn folder(source: &TasksSource) -> Result<&Path, EvaluateError> {
    match source.paths.as_slice() {
        [folder] => Ok(folder),
        _ => Err(EvaluateError::Option(format!("layout {} takes one folder", source.layout.name()))),
    }
}

/// Files of a folder whose names end so, by what stands before that.
pub(super) fn files_by_name(folder: &Path, ending: &str) -> Result<Vec<(String, PathBuf)>, EvaluateError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ending));
        found.extend(name.map(str::to_owned).map(|name| (name, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The first of these places below a folder that is there.
pub(super) fn place(folder: &Path, places: &[&str], what: &str) -> Result<PathBuf, EvaluateError> {
    let found = places.iter().map(|place| folder.join(place)).find(|path| path.exists());
    found.ok_or_else(|| EvaluateError::File {
        path: folder.to_owned(),
        what: format!("there is no {what} here (looked for {})", places.join(", ")),
    })
}
