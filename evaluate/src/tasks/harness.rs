//! Samples that lm-evaluation-harness writes (`samples_TASK_TIME.jsonl`): its prompts, as they are.
//!
//! A record has `arguments`: for each choice its context and continuation, or one context and the settings of
//! a generation; and `target`, the number or the text of the right choice, or the answer. The harness writes
//! a record for each filter of a task, which differ in what it reads of the answers of its own model: they
//! are one question.

mod target;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use gstore_core::Cancel;
use regex::Regex;
use serde_json::Value;

use self::target::{RightChoice, Targets};
use super::{Ask, Question, Rule, TasksSource};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::records::{PairSource, RecordLocation, each_record};

/// Tokens of an answer where the settings name none, as in the harness.
const MAX_NEW_TOKENS: usize = 256;

/// What stands before the last words of a worked-out answer, as in GSM8K.
const CONCLUSION: &str = "#### ";

/// What counts of the answers to a question whose own answer has a conclusion.
const CONCLUDED: &str = r"####\s*(\S[^\n]*)";

pub(super) fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    if source.few_shot.is_some() || !source.shots.is_empty() {
        return Err(EvaluateError::Option(
            "the samples of lm-evaluation-harness have their examples in them already".to_owned(),
        ));
    }
    let (mut questions, mut targets) = (Vec::new(), Targets::default());
    let empty: Arc<str> = Arc::from("");
    let concluded = Regex::new(CONCLUDED).ok();
    let mut arguments: HashMap<(String, String), Value> = HashMap::new();
    each_record(&PairSource::Files(source.paths.clone()), cancel, &mut |at, mut record| {
        let requests = requests(&record).ok_or_else(|| {
            at.error("`arguments` is not a list of a context and a continuation for each choice, as the harness writes it")
        })?;
        let Some((context, _)) = requests.first() else {
            return Err(at.error("`arguments` is empty"));
        };
        if requests.iter().any(|(other, _)| other != context) {
            return Err(at.error("its choices have different contexts; such tasks cannot be evaluated here"));
        }
        let (ask, target) = match &requests[0].1 {
            Value::String(_) => {
                let options = options(&at, &requests)?;
                let target = RightChoice::of(&at, &record, &options)?;
                (Ask::Choose { options, answer: target.choice() }, Some(target))
            }
            settings => (answer(&at, &record, settings, (source, concluded.as_ref()))?, None),
        };
        let name = at.name();
        let task = task(&name);
        if let Some(target) = &target {
            targets.note(task, target);
        }
        let own = record.get("doc_id").map(Value::to_string);
        if let Some(id) = &own {
            let asked = record.get_mut("arguments").map(Value::take).unwrap_or_default();
            match arguments.entry((task.to_owned(), id.clone())) {
                Entry::Occupied(before) if *before.get() == asked => return Ok(()),
                Entry::Occupied(_) => {
                    return Err(at.error(&format!(
                        "`doc_id` {id} of task {task} came before with other `arguments`: give the samples of one run"
                    )));
                }
                Entry::Vacant(place) => place.insert(asked),
            };
        }
        if let Some(target) = &target {
            targets.postpone(questions.len(), target, &at, (task, &ask));
        }
        questions.push(Question {
            id: own.unwrap_or_else(|| at.number.to_string()),
            task: Arc::from(task),
            header: Arc::clone(&empty),
            shots: Arc::from(Vec::new()),
            text: context.clone(),
            begun: Arc::clone(&empty),
            plain_end: Arc::clone(&empty),
            verbatim: true,
            ask,
        });
        Ok(())
    })?;
    targets.decide(&mut questions)?;
    Ok(questions)
}

/// Contexts with what follows them, in either of the forms that versions of the harness write.
fn requests(record: &Value) -> Option<Vec<(String, Value)>> {
    let pair = |context: &Value, more: &Value| Some((context.as_str()?.to_owned(), more.clone()));
    match record.get("arguments")? {
        Value::Array(list) => list.iter().map(|item| pair(item.get(0)?, item.get(1)?)).collect(),
        Value::Object(list) => {
            list.values().map(|item| pair(item.get("arg_0")?, item.get("arg_1")?)).collect()
        }
        _ => None,
    }
}

/// The continuations of the choices.
fn options(at: &RecordLocation<'_>, requests: &[(String, Value)]) -> Result<Vec<String>, EvaluateError> {
    let options: Option<Vec<String>> =
        requests.iter().map(|(_, option)| option.as_str().map(str::to_owned)).collect();
    options.ok_or_else(|| at.error("a continuation is not text"))
}

fn answer(
    at: &RecordLocation<'_>,
    record: &Value,
    settings: &Value,
    (source, concluded): (&TasksSource, Option<&Regex>),
) -> Result<Ask, EvaluateError> {
    let expected: Vec<String> = match record.get("target") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    };
    if expected.is_empty() {
        return Err(at.error("there is no answer under `target`"));
    }
    let stop = match settings.get("until") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let most = ["max_gen_toks", "max_new_tokens"].iter().find_map(|key| settings.get(*key)?.as_u64());
    let rule = Rule {
        stop: stop.into_iter().filter(|text| !text.is_empty()).collect(),
        max_new_tokens: most.and_then(|most| usize::try_from(most).ok()).unwrap_or(MAX_NEW_TOKENS),
        pattern: concluded.filter(|_| expected.iter().any(|text| text.contains(CONCLUSION))).cloned(),
        normal: Normal::WithArticles,
    };
    let rule = rule.with(&source.rule);
    // What is right is read as answers are. A conclusion comes first: a pattern may match in the working-out.
    let read = |text: &String| match text.rsplit_once(CONCLUSION) {
        Some((_, end)) => end.trim().to_owned(),
        None => rule.read(text),
    };
    let expected = expected.iter().map(read).collect();
    Ok(Ask::Answer { expected, rule })
}

/// The task in the name of a file: without `samples_` and the time at its end.
fn task(name: &str) -> &str {
    let name = name.strip_prefix("samples_").unwrap_or(name);
    let is_time = |end: &str| end.len() >= 10 && end.starts_with("20") && end.contains('-');
    match name.rsplit_once('_') {
        Some((task, end)) if is_time(end) => task,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_is_in_the_name_of_the_file() {
        assert_eq!(task("samples_arc_easy_2024-07-02T10-11-12.123456"), "arc_easy");
        assert_eq!(task("samples_gsm8k"), "gsm8k");
        assert_eq!(task("mine_2"), "mine_2");
    }
}
