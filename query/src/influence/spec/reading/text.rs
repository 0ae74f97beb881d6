//! Samples of a question that are given as text.

use serde_json::{Value, json};

use super::super::values::{OptionError, Options, shown};

/// Samples that options give as text (`prompt` with `completion`, `messages` or `text`), as
/// records of a data file.
///
/// # Errors
/// What is no text, a prompt without a completion, messages that are no list.
pub fn records(options: &Options) -> Result<Vec<String>, OptionError> {
    let texts = |name: &'static str| options.value(name).map(|value| plain(name, value)).transpose();
    let records = match (texts("prompt")?, texts("completion")?) {
        (None, None) => Vec::new(),
        (Some(prompts), Some(completions)) if prompts.len() == completions.len() => {
            let pairs = prompts.iter().zip(&completions);
            pairs.map(|(prompt, completion)| json!({ "prompt": prompt, "completion": completion })).collect()
        }
        (Some(prompts), Some(completions)) => {
            let why = format!(
                "{} prompts and {} completions; each prompt has one",
                prompts.len(),
                completions.len()
            );
            return Err(OptionError::new("completion", why));
        }
        (prompts, _) => {
            let (there, lacks) =
                if prompts.is_some() { ("prompt", "completion") } else { ("completion", "prompt") };
            let why = format!("`{there}` needs `{lacks}` as well; a text without either is given as `text`");
            return Err(OptionError::new(there, why));
        }
    };
    let messages = texts("messages")?.unwrap_or_default();
    let messages = messages.iter().map(|text| match serde_json::from_str::<Value>(text) {
        Ok(list) if list.is_array() => Ok(json!({ "messages": list })),
        _ => Err(OptionError::new(
            "messages",
            r#"`messages` takes a conversation as a JSON list: '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'"#,
        )),
    });
    let messages = messages.collect::<Result<Vec<Value>, _>>()?;
    let plain = texts("text")?.unwrap_or_default().into_iter().map(|text| json!({ "text": text }));
    Ok(records.into_iter().chain(messages).chain(plain).map(|record| record.to_string()).collect())
}

/// One text or a list of them, as they are: a comma or a space is part of a text.
pub(super) fn plain(name: &'static str, value: &Value) -> Result<Vec<String>, OptionError> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => {
            let why = format!("`{name}` must be text, or a list of texts, not {}", shown(other));
            Err(OptionError::new(name, why))
        }
    };
    let texts = match value {
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        one => vec![text(one)?],
    };
    match texts.is_empty() {
        true => Err(OptionError::new(name, format!("`{name}` is an empty list"))),
        false => Ok(texts),
    }
}
