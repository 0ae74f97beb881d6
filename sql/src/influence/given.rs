//! Samples that a call gives as text: `prompt => ..., completion => ...`, `messages => ...` or `text => ...`, as in a data file. Lists give several.

use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};

use crate::args::{Arguments, elements};
use crate::error::SqlError;

/// The records of a call, JSON objects; none if the target is a dataset.
pub(super) fn records(args: &Arguments) -> Result<Vec<String>, SqlError> {
    let prompts = texts(args, "prompt")?;
    let completions = texts(args, "completion")?;
    let records = match (prompts, completions) {
        (None, None) => Vec::new(),
        (Some(prompts), Some(completions)) if prompts.len() == completions.len() => {
            let pairs = prompts.iter().zip(&completions);
            pairs.map(|(prompt, completion)| json!({ "prompt": prompt, "completion": completion })).collect()
        }
        (Some(prompts), Some(completions)) => {
            return Err(SqlError::invalid(format!(
                "{} prompts and {} completions; each prompt has one",
                prompts.len(),
                completions.len()
            ))
            .about("completion"));
        }
        (prompts, _) => {
            let (there, lacks) =
                if prompts.is_some() { ("prompt", "completion") } else { ("completion", "prompt") };
            return Err(SqlError::invalid(format!(
                "`{there}` needs `{lacks}` beside it; a text without either is given as `text`"
            ))
            .about(there));
        }
    };
    let messages = texts(args, "messages")?.unwrap_or_default();
    let messages = messages.iter().map(|text| match serde_json::from_str::<Value>(text) {
        Ok(list) if list.is_array() => Ok(json!({ "messages": list })),
        _ => Err(SqlError::invalid(
            r#"`messages` takes a conversation as a JSON list: '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'"#
                .to_owned(),
        )
        .about("messages")),
    });
    let messages = messages.collect::<Result<Vec<Value>, _>>()?;
    let plain = texts(args, "text")?.unwrap_or_default().into_iter().map(|text| json!({ "text": text }));
    Ok(records.into_iter().chain(messages).chain(plain).map(|record| record.to_string()).collect())
}

/// One text or a list of them, as they are: a comma or a space is part of a text.
fn texts(args: &Arguments, name: &'static str) -> Result<Option<Vec<String>>, SqlError> {
    let Some(value) = args.option(name) else { return Ok(None) };
    let text =
        |value: &ScalarValue| match value.try_as_str() {
            Some(Some(text)) => Ok(text.to_string()),
            _ => Err(SqlError::invalid(format!("`{name}` must be text, or a list of texts, not {value}"))
                .about(name)),
        };
    let texts = match elements(value) {
        None => vec![text(value)?],
        Some(list) => (0..list.len())
            .map(|i| {
                let element =
                    ScalarValue::try_from_array(&list, i).map_err(|e| SqlError::from_datafusion(e, &[]))?;
                text(&element)
            })
            .collect::<Result<Vec<_>, _>>()?,
    };
    match texts.is_empty() {
        true => Err(SqlError::invalid(format!("`{name}` is an empty list")).about(name)),
        false => Ok(Some(texts)),
    }
}
