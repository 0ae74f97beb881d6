//! Our own layout of questions, which the datasets of the Hub in this form have too (MMLU, ARC).
//!
//! | key | value |
//! |---|---|
//! | `question` or `input` | what is asked |
//! | `choices` | a list of texts, or ARC's `text` and `label` lists |
//! | `answer` or `answerKey` | of choices the number of the right one from 0, its letter, label or text |
//! | `answers`, `answer` or `target` | without choices: a text or a list of texts, any of which is right |
//! | `task` or `subject` | the task [default: the file's name] |
//! | `instruction` | what stands before all examples |
//! | `id` | |

mod shots;

use std::sync::Arc;

use gstore_core::Cancel;
use serde_json::Value;

use self::shots::Shots;
use super::mmlu::{BEGUN, LETTERS, lettered};
use super::{Ask, Choices, Question, Rule, TasksSource};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::pairs::PairSource;
use crate::records::{At, each_record};

/// A record.
struct Entry {
    id: Option<String>,
    task: String,
    /// Whether the record names its task, which otherwise is the file's name.
    names_task: bool,
    question: String,
    instruction: Option<String>,
    right: Right,
}

enum Right {
    Choice { choices: Vec<String>, answer: usize },
    Texts(Vec<String>),
}

/// The questions of the files.
pub(super) fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    let few_shot = source.few_shot.unwrap_or(if source.shots.is_empty() { 0 } else { SHOTS });
    if few_shot > 0 && source.shots.is_empty() {
        return Err(EvaluateError::Option(
            "examples before a question, but no file of examples; questions that are asked are not shown"
                .into(),
        ));
    }
    let letters = source.choices == Choices::Letters;
    let shots = Shots::read(source, few_shot, letters, cancel)?;
    let rule = Rule {
        stop: vec!["\n".to_owned()],
        max_new_tokens: 256,
        pattern: None,
        normal: Normal::WithArticles,
    };
    let rule = rule.with(&source.rule);
    let mut questions = Vec::new();
    each_record(&PairSource::Files(source.paths.clone()), cancel, &mut |at, record| {
        let entry = entry(&at, &record)?;
        let text = text(&entry, letters);
        let choose = matches!(entry.right, Right::Choice { .. });
        let Some(shots) = shots.of(&entry) else {
            return Err(at.error(&format!("there are no examples of its task, {}", entry.task)));
        };
        let ask = match entry.right {
            Right::Choice { choices, answer } => {
                let letter = |(number, _): (usize, &String)| format!(" {}", LETTERS[number]);
                let options = match letters {
                    true => choices.iter().take(LETTERS.len()).enumerate().map(letter).collect(),
                    false => choices.iter().map(|choice| format!(" {choice}")).collect(),
                };
                Ask::Choose { options, answer }
            }
            Right::Texts(expected) => Ask::Answer { expected, rule: Arc::clone(&rule) },
        };
        questions.push(Question {
            id: entry.id.unwrap_or_else(|| at.number.to_string()),
            header: Arc::from(entry.instruction.map(|text| format!("{text}\n\n")).unwrap_or_default()),
            shots,
            task: Arc::from(entry.task),
            text,
            begun: Arc::from(if letters && choose { BEGUN } else { "" }),
            plain_end: Arc::from(""),
            verbatim: false,
            ask,
        });
        Ok(())
    })?;
    Ok(questions)
}

/// Examples before a question where no number is asked for.
pub(super) const SHOTS: usize = 5;

/// A question up to where its answer stands.
fn text(entry: &Entry, letters: bool) -> String {
    match &entry.right {
        Right::Choice { choices, .. } if letters => lettered(&entry.question, choices),
        _ => format!("Question: {}\nAnswer:", entry.question),
    }
}

/// The right answer behind the question.
fn answered(entry: &Entry, letters: bool) -> String {
    match &entry.right {
        Right::Choice { answer, .. } if letters => format!(" {}", LETTERS.get(*answer).unwrap_or(&"")),
        Right::Choice { choices, answer } => format!(" {}", choices.get(*answer).map_or("", String::as_str)),
        Right::Texts(texts) => format!(" {}", texts.first().map_or("", String::as_str)),
    }
}

fn entry(at: &At<'_>, record: &Value) -> Result<Entry, EvaluateError> {
    let text = |keys: &[&str]| {
        keys.iter().find_map(|key| record.get(*key)).and_then(Value::as_str).map(str::to_owned)
    };
    let question =
        text(&["question", "input"]).ok_or_else(|| at.error("there is no text under `question`"))?;
    let right = match record.get("choices").filter(|choices| !choices.is_null()) {
        Some(choices) => choice(record, choices).map_err(|what| at.error(what))?,
        None => {
            let texts = ["answers", "answer", "target"].iter().find_map(|key| texts(record.get(*key)?));
            let texts = texts.filter(|texts| !texts.is_empty());
            Right::Texts(texts.ok_or_else(|| at.error("there are neither `choices` nor `answers`"))?)
        }
    };
    let id = record.get("id").filter(|id| !id.is_null());
    let task = text(&["task", "subject"]);
    Ok(Entry {
        id: id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
        names_task: task.is_some(),
        task: task.unwrap_or_else(|| at.name()),
        question,
        instruction: text(&["instruction"]),
        right,
    })
}

/// Choices, and which of them is right.
fn choice(record: &Value, choices: &Value) -> Result<Right, &'static str> {
    let labels = choices.get("label").and_then(texts);
    let list = texts(choices.get("text").unwrap_or(choices)).filter(|list| list.len() > 1);
    let list = list.ok_or("`choices` is not a list of at least two texts")?;
    if list.len() > LETTERS.len() {
        return Err("there are more than ten choices");
    }
    let answer = record.get("answer").or_else(|| record.get("answerKey"));
    let by_text = |text: &str| {
        let labels = labels.as_deref().unwrap_or(&[]);
        let by_label = labels.iter().position(|label| label == text);
        let by_choice = || list.iter().position(|choice| choice == text);
        let by_letter = || LETTERS.iter().position(|letter| *letter == text);
        by_label.or_else(by_choice).or_else(by_letter)
    };
    let number = match answer {
        Some(Value::Number(number)) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Some(Value::String(text)) => by_text(text.trim()),
        _ => None,
    };
    match number.filter(|number| *number < list.len()) {
        Some(answer) => Ok(Right::Choice { choices: list, answer }),
        None => Err("`answer` is none of its choices: give the number from 0, the letter or the text"),
    }
}

/// A text or a number, or a list of them.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}
