//! Samples that lm-evaluation-harness writes (`samples_TASK_TIME.jsonl`): its prompts, as they are.
//!
//! A record has `arguments`: for each choice its context and continuation, or one context and the settings of
//! a generation; and `target`, the number of the right choice or the answer.

use std::sync::Arc;

use gstore_core::Cancel;
use serde_json::Value;

use super::{Ask, Question, Rule, TasksSource};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::pairs::PairSource;
use crate::records::{At, each_record};

/// Tokens of an answer where the settings name none, as in the harness.
const MAX_NEW_TOKENS: usize = 256;

/// The questions of the files.
pub(super) fn read(source: &TasksSource, cancel: &Cancel) -> Result<Vec<Question>, EvaluateError> {
    if source.few_shot.is_some() || !source.shots.is_empty() {
        return Err(EvaluateError::Option(
            "the samples of lm-evaluation-harness have their examples in them already".to_owned(),
        ));
    }
    let mut questions = Vec::new();
    let empty: Arc<str> = Arc::from("");
    each_record(&PairSource::Files(source.paths.clone()), cancel, &mut |at, record| {
        let requests = requests(&record).ok_or_else(|| {
            at.error("`arguments` is no list of a context and a continuation for each choice, as the harness writes it")
        })?;
        let Some((context, _)) = requests.first() else {
            return Err(at.error("`arguments` is empty"));
        };
        if requests.iter().any(|(other, _)| other != context) {
            return Err(at.error("its choices have different contexts; such tasks cannot be evaluated here"));
        }
        let ask = match &requests[0].1 {
            Value::String(_) => choose(&at, &record, &requests)?,
            settings => answer(&at, &record, settings, source)?,
        };
        let id = record.get("doc_id").map_or_else(|| at.number.to_string(), Value::to_string);
        questions.push(Question {
            id,
            task: Arc::from(task(&at.name())),
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

fn choose(at: &At<'_>, record: &Value, requests: &[(String, Value)]) -> Result<Ask, EvaluateError> {
    let options: Option<Vec<String>> =
        requests.iter().map(|(_, option)| option.as_str().map(str::to_owned)).collect();
    let options = options.ok_or_else(|| at.error("a continuation is no text"))?;
    let number = match record.get("target") {
        Some(Value::Number(number)) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Some(Value::String(text)) => {
            let same = |option: &String| option.trim() == text.trim();
            text.trim().parse().ok().or_else(|| options.iter().position(same))
        }
        _ => None,
    };
    match number.filter(|number| *number < options.len()) {
        Some(answer) => Ok(Ask::Choose { options, answer }),
        None => Err(at.error("`target` is none of its choices")),
    }
}

fn answer(at: &At<'_>, record: &Value, settings: &Value, source: &TasksSource) -> Result<Ask, EvaluateError> {
    let expected = match record.get("target") {
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
        pattern: None,
        normal: Normal::WithArticles,
    };
    Ok(Ask::Answer { expected, rule: rule.with(&source.rule) })
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
