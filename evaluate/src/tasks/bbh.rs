//! BIG-Bench Hard's published files (Suzgun et al. 2022): examples with chains of thought, and questions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::{Ask, Question, Rule, TasksSource, files_by_name, folder, place, target};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::records::read_json;

/// What an answer begins with.
const BEGUN: &str = "A:";

/// What a chain of thought ends with, and the answer behind it.
const CONCLUSION: &str = "So the answer is";

/// Lines of a file of examples that warn of its use for training.
const WARNING_LINES: usize = 2;

/// Examples of a task in LESS's file.
const TARGETS: usize = 3;

pub(super) fn read(source: &TasksSource) -> Result<Vec<Question>, EvaluateError> {
    let folder = folder(source)?;
    let tasks = place(folder, &["bbh/bbh", "bbh", "eval/bbh/bbh"], "folder of tasks of BBH")?;
    let examples = place(
        folder,
        &["cot-prompts", "bbh/cot-prompts", "eval/bbh/cot-prompts"],
        "folder of examples of BBH (cot-prompts)",
    )?;
    let pattern = Regex::new(r"So the answer is (.*?)\.").ok();
    let rule =
        Rule { stop: vec!["\n\n".to_owned()], max_new_tokens: 512, pattern, normal: Normal::WithArticles };
    let rule = rule.with(&source.rule);
    let mut questions = Vec::new();
    for (name, path) in files(&tasks)? {
        let prompt = fs_err::read_to_string(examples.join(format!("{name}.txt")))?;
        let (header, mut shots) = examples_of(&prompt);
        if source.without_thoughts {
            shots = shots.iter().map(|shot| without_thoughts(shot)).collect();
        }
        shots.truncate(source.few_shot.unwrap_or(usize::MAX));
        let (header, shots): (Arc<str>, Arc<[String]>) = (Arc::from(header), Arc::from(shots));
        let task: Arc<str> = Arc::from(name.as_str());
        for (number, (input, expected)) in questions_of(&path)?.into_iter().enumerate() {
            questions.push(Question {
                id: format!("{name}-{number}"),
                task: Arc::clone(&task),
                header: Arc::clone(&header),
                shots: Arc::clone(&shots),
                text: format!("Q: {input}"),
                begun: Arc::from(BEGUN),
                plain_end: Arc::from("\nA:"),
                verbatim: false,
                ask: Ask::Answer { expected: vec![expected], rule: Arc::clone(&rule) },
            });
        }
    }
    Ok(questions)
}

/// Tasks by name, with their files.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, EvaluateError> {
    let mut found = files_by_name(folder, ".json")?;
    found.retain(|(task, _)| task != "bbh-three-shot");
    let what = "there is no task here, a .json with `examples`".to_owned();
    match found.is_empty() {
        true => Err(EvaluateError::File { path: folder.to_owned(), what }),
        false => Ok(found),
    }
}

/// Questions and answers of a task's file.
fn questions_of(path: &Path) -> Result<Vec<(String, String)>, EvaluateError> {
    let bad = |what: String| EvaluateError::File { path: path.to_owned(), what };
    let file: Value = read_json(path)?;
    let examples = file.get("examples").and_then(Value::as_array);
    let examples = examples.ok_or_else(|| bad("there is no list under `examples`".to_owned()))?;
    let of = |(number, example): (usize, &Value)| {
        let text = |key: &str| example.get(key).and_then(Value::as_str).map(str::to_owned);
        text("input")
            .zip(text("target"))
            .ok_or_else(|| bad(format!("example {number} (from 0) has no texts under `input` and `target`")))
    };
    examples.iter().enumerate().map(of).collect()
}

/// What stands before the examples, and the examples, each with the empty line behind it.
fn examples_of(prompt: &str) -> (String, Vec<String>) {
    let prompt = prompt.replace("\r\n", "\n");
    let text: String = prompt.split_inclusive('\n').skip(WARNING_LINES).collect();
    let (mut header, mut shots) = (String::new(), Vec::<String>::new());
    for part in text.trim().split("\n\n") {
        let part = format!("{part}\n\n");
        if part.starts_with("Q:") {
            shots.push(part);
        } else if let Some(shot) = shots.last_mut() {
            shot.push_str(&part);
        } else {
            header.push_str(&part);
        }
    }
    (header, shots)
}

/// An example with its answer alone.
fn without_thoughts(shot: &str) -> String {
    match (shot.split("\nA:").next(), shot.rsplit_once(CONCLUSION)) {
        (Some(question), Some((_, answer))) => format!("{}\nA: {}\n\n", question.trim(), answer.trim()),
        _ => shot.to_owned(),
    }
}

/// LESS's target samples: each of the three examples of a task after the other two.
pub(super) fn targets(folder: &Path, chat: bool) -> Result<Vec<Value>, EvaluateError> {
    let places = ["bbh-three-shot.json", "bbh/bbh-three-shot.json", "eval/bbh/bbh-three-shot.json"];
    let path = place(folder, &places, "bbh-three-shot.json of LESS")?;
    let bad = |what: String| EvaluateError::File { path: path.clone(), what };
    let file: Value = read_json(&path)?;
    let tasks = file.as_object().ok_or_else(|| bad("it is not an object of tasks".to_owned()))?;
    let mut found = Vec::new();
    for (task, prompt) in tasks {
        let prompt = prompt.as_str().ok_or_else(|| bad(format!("{task} is not text")))?;
        let parts: Vec<&str> = prompt.split("\n\n").collect();
        let Some(first) = parts.len().checked_sub(TARGETS) else {
            return Err(bad(format!("{task} does not have three examples with empty lines between them")));
        };
        let (header, shots) = (parts[..first].join("\n\n"), &parts[first..]);
        for (number, shot) in shots.iter().enumerate() {
            let Some((question, answer)) = shot.split_once("\nA:") else {
                return Err(bad(format!("example {number} (from 0) of {task} has no answer after `A:`")));
            };
            let others = shots.iter().enumerate().filter(|(other, _)| *other != number);
            let others: String = others.map(|(_, other)| format!("{other}\n\n")).collect();
            // Without roles LESS leaves the other examples out.
            let others = if chat { others.as_str() } else { "" };
            let text = format!("{}\n\n{others}{question}", header.trim());
            found.push(target(("bbh", task, number), &text, (BEGUN, "\nA:"), answer, chat));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_what_begins_with_a_question() {
        let prompt = "Warning\n-----\nSort words.\n\nQ: b a\nA: Think.\n\nMore. So the answer is a b.\n\nQ: d c\nA: So the answer is c d.\n";
        let (header, shots) = examples_of(prompt);
        assert_eq!(examples_of(&prompt.replace('\n', "\r\n")), (header.clone(), shots.clone()));
        assert_eq!(header, "Sort words.\n\n");
        assert_eq!(shots[0], "Q: b a\nA: Think.\n\nMore. So the answer is a b.\n\n");
        assert_eq!(shots[1], "Q: d c\nA: So the answer is c d.\n\n");
        assert_eq!(without_thoughts(&shots[0]), "Q: b a\nA: a b.\n\n");
        assert_eq!(shots.len(), 2);
    }
}
