//! Texts of training records in each layout: prompt and completion, a conversation, or a plain text.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use gstore_core::content::CALLS;
use gstore_core::json::{Step, find, parts, text};
use serde_json::Value;

use super::error::FunctionError;

/// A text of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPart {
    /// The prompt, or the messages before the last answer.
    Prompt,
    /// The completion, or the last answer.
    Completion,
    /// All of it.
    Text,
}

/// A column of texts, one for each record; null where the record has none.
///
/// # Errors
/// An internal one when `records` are no texts.
pub fn record_texts(part: RecordPart, records: &ArrayRef) -> Result<ArrayRef, FunctionError> {
    let records =
        records.as_string_opt::<i32>().ok_or_else(|| FunctionError::internal("type of a record"))?;
    let texts: StringArray = records.iter().map(|record| record_text(part, record?)).collect();
    Ok(Arc::new(texts))
}

fn record_text(part: RecordPart, record: &str) -> Option<String> {
    let messages = || field(record, "messages").map(|list| messages(&list)).filter(|all| !all.is_empty());
    match part {
        RecordPart::Prompt => match field(record, "prompt") {
            Some(prompt) => content_text(&prompt),
            None => {
                let all = messages()?;
                let last = all.iter().rposition(|(role, _)| role == "assistant")?;
                let (before, _) = all.split_at(last);
                match before {
                    [] => None,
                    [(_, only)] => Some(only.clone()),
                    several => Some(messages_text(several)),
                }
            }
        },
        RecordPart::Completion => match field(record, "completion") {
            Some(completion) => content_text(&completion),
            None => messages()?.into_iter().rfind(|(role, _)| role == "assistant").map(|(_, text)| text),
        },
        RecordPart::Text => match field(record, "text") {
            Some(whole) => content_text(&whole),
            None => match messages() {
                Some(all) => Some(messages_text(&all)),
                None => {
                    let prompt = field(record, "prompt").and_then(|part| content_text(&part));
                    let completion = field(record, "completion").and_then(|part| content_text(&part));
                    match (prompt, completion) {
                        (Some(prompt), Some(completion)) => Some(format!("{prompt}\n{completion}")),
                        (one, other) => one.or(other),
                    }
                }
            },
        },
    }
}

/// Messages one a line, each after its role.
fn messages_text(messages: &[(String, String)]) -> String {
    let lines: Vec<String> = messages.iter().map(|(role, text)| format!("{role}: {text}")).collect();
    lines.join("\n")
}

/// Role and text of each message, and the calls of tools that it makes as a message of their own: as a model
/// reads them.
fn messages(list: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (_, message) in parts(list) {
        let said = field(message, "content").and_then(|said| content_text(&said)).unwrap_or_default();
        let calls = CALLS.into_iter().find_map(|key| calls(&field(message, key)?));
        if calls.is_none() || !said.is_empty() {
            all.push((field(message, "role").and_then(|role| content_text(&role)).unwrap_or_default(), said));
        }
        all.extend(calls.map(|calls| ("tool".to_owned(), calls)));
    }
    all
}

/// Calls of tools, as they are read; none where there are none in what holds them.
fn calls(json: &str) -> Option<String> {
    let calls: Value = serde_json::from_str(json).ok()?;
    let any = match &calls {
        Value::Null => false,
        Value::Array(calls) => !calls.is_empty(),
        _ => true,
    };
    any.then(|| calls.to_string())
}

fn field<'a>(json: &'a str, key: &str) -> Option<Cow<'a, str>> {
    find(json, &[Step::Key(key.to_owned())])
}

/// A text as it is, or the texts of its parts where it is a list of them.
fn content_text(value: &str) -> Option<String> {
    match value.starts_with('[') {
        true => {
            let part = |part: &str| match part.starts_with('{') {
                true => field(part, "text").and_then(|t| text(&t).map(|t| t.into_owned())),
                false => text(part).map(|text| text.into_owned()),
            };
            Some(parts(value).filter_map(|(_, p)| part(p)).collect())
        }
        false => text(value).map(|text| text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_record_are_found_in_each_layout() {
        let pair = r#"{"prompt": "Q\"?", "completion": "A"}"#;
        let chat = r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
            {"role": "assistant", "content": [{"type": "text", "text": "A"}, "B"]}]}"#;
        let short =
            r#"{"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]}"#;
        for (record, prompt, completion, text) in [
            (pair, Some("Q\"?"), Some("A"), Some("Q\"?\nA")),
            (chat, Some("system: S\nuser: U"), Some("AB"), Some("system: S\nuser: U\nassistant: AB")),
            (short, Some("U"), Some("A"), Some("user: U\nassistant: A")),
            (
                r#"{"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": null,
                    "tool_calls": [{"name": "f"}]}, {"role": "tool", "content": "R"},
                    {"role": "assistant", "content": "A", "tool_calls": []}]}"#,
                Some("user: U\ntool: [{\"name\":\"f\"}]\ntool: R"),
                Some("A"),
                Some("user: U\ntool: [{\"name\":\"f\"}]\ntool: R\nassistant: A"),
            ),
            (r#"{"text": "T"}"#, None, None, Some("T")),
            (r#"{"messages": []}"#, None, None, None),
            ("no JSON", None, None, None),
        ] {
            let get = |part| record_text(part, record);
            assert_eq!(get(RecordPart::Prompt).as_deref(), prompt, "{record}");
            assert_eq!(get(RecordPart::Completion).as_deref(), completion, "{record}");
            assert_eq!(get(RecordPart::Text).as_deref(), text, "{record}");
        }
    }
}
