//! Our own layout of questions, which the datasets of the Hub in this form have too (MMLU, ARC).
//!
//! | key | value |
//! |---|---|
//! | `question` or `input` | what is asked |
//! | `choices` | two to ten texts, none empty and no two the same, or lists `text` and `label` as in ARC |
//! | `answer` or `answerKey` | of choices the number of the right one from 0, or its label, letter or text |
//! | `answers`, `answer` or `target` | without choices: a text or a list of texts, any of which is right |
//! | `task` or `subject` | the task [default: the file's name] |
//! | `instruction` | what stands before all examples |
//! | `id` | once in a task; without it the number of the record |
//!
//! A key whose value is null counts as one that is not there.
//!
//! In CSV, the list or lists under `choices` and the list under `answers` are JSON text.
//!
//! A label goes before a letter or a text; a text that is one choice and the letter of another is refused.

mod shots;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gstore_core::{Cancel, Remedy, shortened};
use serde_json::{Number, Value};

use self::shots::Shots;
use super::mmlu::{BEGUN, LETTERS, lettered};
use super::{Ask, Choices, Question, Rule, TasksSource};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::records::{PairSource, RecordLocation, each_record, text_of};

/// A record.
struct Entry {
    task: String,
    /// Whether the record names its task, which otherwise is the file's name.
    names_task: bool,
    question: String,
    instruction: Option<String>,
    right: ExpectedAnswer,
}

enum ExpectedAnswer {
    Choice { choices: Vec<String>, answer: usize },
    Texts(Vec<String>),
}

pub(super) fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    let few_shot = source.few_shot.unwrap_or(if source.shots.is_empty() { 0 } else { SHOTS });
    if few_shot > 0 && source.shots.is_empty() {
        return Err(EvaluateError::Option(format!(
            "{} needs {}: questions that are asked are not used as examples",
            Remedy::Option("few_shot", ""),
            Remedy::Option("shots", "FILES")
        )));
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
    let (mut questions, mut ids) = (Vec::new(), HashSet::new());
    each_record(&PairSource::Files(source.paths.clone()), cancel, &mut |at, record| {
        let entry = entry(&at, &record)?;
        let id = at.id_of(&record);
        if !ids.insert((entry.task.clone(), id.clone())) {
            return Err(EvaluateError::RepeatedId { id: id.to_string(), of: at.source() });
        }
        let text = text(&entry, letters);
        let choose = matches!(entry.right, ExpectedAnswer::Choice { .. });
        let Some(shots) = shots.of(&entry) else {
            return Err(at.error(&format!("there are no examples of its task, {}", entry.task)));
        };
        let ask = match entry.right {
            ExpectedAnswer::Choice { choices, answer } => {
                let letter = |(number, _): (usize, &String)| format!(" {}", LETTERS[number]);
                let options = match letters {
                    true => choices.iter().take(LETTERS.len()).enumerate().map(letter).collect(),
                    false => choices.iter().map(|choice| format!(" {choice}")).collect(),
                };
                Ask::Choose { options, answer }
            }
            ExpectedAnswer::Texts(expected) => Ask::Answer { expected, rule: Arc::clone(&rule) },
        };
        questions.push(Question {
            id: id.to_string(),
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
        ExpectedAnswer::Choice { choices, .. } if letters => lettered(&entry.question, choices),
        _ => format!("Question: {}\nAnswer:", entry.question),
    }
}

/// The right answer behind the question.
fn answered(entry: &Entry, letters: bool) -> String {
    match &entry.right {
        ExpectedAnswer::Choice { answer, .. } if letters => {
            format!(" {}", LETTERS.get(*answer).unwrap_or(&""))
        }
        ExpectedAnswer::Choice { choices, answer } => {
            format!(" {}", choices.get(*answer).map_or("", String::as_str))
        }
        ExpectedAnswer::Texts(texts) => format!(" {}", texts.first().map_or("", String::as_str)),
    }
}

fn entry(at: &RecordLocation<'_>, record: &Value) -> Result<Entry, EvaluateError> {
    // Tables have null where a record has no such key.
    let text = |keys: &[&str]| {
        let mut values = keys.iter().filter_map(|key| record.get(*key)).filter(|value| !value.is_null());
        values.next().and_then(Value::as_str).map(str::to_owned)
    };
    let question =
        text(&["question", "input"]).ok_or_else(|| at.error("there is no text under `question`"))?;
    let right = match record.get("choices").filter(|choices| !choices.is_null()) {
        Some(choices) => choice(record, choices).map_err(|what| at.error(&what))?,
        None => {
            let texts = ["answers", "answer", "target"].iter().find_map(|key| {
                let value = record.get(*key)?;
                let listed = listed(value).filter(|list| *key == "answers" && list.is_array());
                texts(listed.as_ref().unwrap_or(value))
            });
            let texts = texts.filter(|texts| !texts.is_empty());
            ExpectedAnswer::Texts(texts.ok_or_else(|| at.error("there are neither `choices` nor `answers`"))?)
        }
    };
    let task = text(&["task", "subject"]);
    Ok(Entry {
        names_task: task.is_some(),
        task: task.unwrap_or_else(|| at.name()),
        question,
        instruction: text(&["instruction"]),
        right,
    })
}

/// Choices, and which of them is right.
fn choice(record: &Value, choices: &Value) -> Result<ExpectedAnswer, String> {
    let listed = listed(choices);
    let choices = listed.as_ref().unwrap_or(choices);
    let labels = choices.get("label").and_then(texts);
    let list = texts(choices.get("text").unwrap_or(choices)).filter(|list| list.len() > 1);
    let list = list.ok_or_else(|| match choices {
        Value::String(_) => {
            "`choices` is a text, but not a list in JSON such as [\"yes\", \"no\"]".to_owned()
        }
        _ => "`choices` is not a list of at least two texts".to_owned(),
    })?;
    if list.len() > LETTERS.len() {
        return Err("there are more than ten choices".to_owned());
    }
    check_distinct(&list)?;
    let labels = labels.unwrap_or_default();
    if !labels.is_empty() && labels.len() != list.len() {
        return Err("`choices` must have as many labels as texts".to_owned());
    }
    let given = |key: &&str| record.get(*key).filter(|answer| !answer.is_null());
    let answer = ["answer", "answerKey"].iter().find_map(given);
    let answer = answer.ok_or("there is no `answer` that says which of the `choices` is right")?;
    let number = match answer {
        Value::Number(number) => whole(number),
        Value::String(text) => named(text.trim(), &list, &labels)?,
        _ => None,
    };
    match number.filter(|number| *number < list.len()) {
        Some(answer) => Ok(ExpectedAnswer::Choice { choices: list, answer }),
        None => Err(format!(
            "`answer` {} is not one of its choices: give the number from 0, the letter or the text",
            shortened(&answer.to_string(), 40)
        )),
    }
}

/// The number of a choice, also with a point: programs write a column of whole numbers with gaps like that.
fn whole(number: &Number) -> Option<usize> {
    let number = number.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0);
    number.map(|number| number as usize)
}

/// A list or an object that is written as JSON text, as it is in a cell of CSV.
fn listed(value: &Value) -> Option<Value> {
    let read: Value = serde_json::from_str(value.as_str()?).ok()?;
    (read.is_array() || read.is_object()).then_some(read)
}

/// The number of the choice that an answer in words is.
fn named(text: &str, choices: &[String], labels: &[String]) -> Result<Option<usize>, String> {
    if let Some(number) = labels.iter().position(|label| label.trim() == text) {
        return Ok(Some(number));
    }
    let by_text = choices.iter().position(|choice| choice.trim() == text);
    let by_letter = LETTERS.iter().take(choices.len()).position(|letter| *letter == text);
    match (by_text, by_letter) {
        (Some(own), Some(letter)) if own != letter => Err(format!(
            "`answer` {text:?} is the text of choice {own} and the letter of choice {letter} (from 0): give the number"
        )),
        (own, letter) => Ok(own.or(letter)),
    }
}

/// Refuses choices that are empty or equal, of which none can be told to be the right one.
fn check_distinct(choices: &[String]) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (number, choice) in choices.iter().enumerate() {
        let text = choice.trim();
        if text.is_empty() {
            return Err(format!("choice {number} (from 0) is empty"));
        }
        if let Some(other) = seen.insert(text, number) {
            return Err(format!("choices {other} and {number} (from 0) are the same: {text:?}"));
        }
    }
    Ok(())
}

/// A text or a number, or a list of them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| text_of(Some(item))).collect(),
        value => text_of(Some(value)).map(|text| vec![text]),
    }
}
