//! Tokenizer compatibility: whether a fine-tune reads its samples as the tokens of its base's tokenizer.
//!
//! All checkpoints of a run share one encoding, that of the base. A fine-tune that was trained on other
//! tokens would be asked about samples that it never saw, so it is refused. Tokens that were only added (a
//! `<pad>`, the marks of a chat) change nothing in a text that does not contain them: such a tokenizer is
//! accepted, and then every text is looked through for them.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::encode_error::EncodeError;
use super::special::{TokenizerFiles, if_there};
use super::template::Template;
use super::tokenizer::parse_tokenizer;

/// Parts of a `tokenizer.json` that decide the tokens of a text, other than added tokens.
const PARTS: [&str; 4] = ["model", "normalizer", "pre_tokenizer", "post_processor"];

/// A token that a fine-tune's tokenizer has and its base's lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) text: String,
    /// The `tokenizer.json` that has it.
    pub(super) of: std::path::PathBuf,
}

/// The tokens that a fine-tune's `tokenizer.json` adds to its base's; none if it has no such file.
pub(super) fn added_tokens(base: &Tokenizer, tuned: &Path) -> Result<Vec<AddedToken>, EncodeError> {
    let path = tuned.join("tokenizer.json");
    let Some(bytes) = if_there(fs_err::read(&path))? else { return Ok(Vec::new()) };
    let bad = |message: String| EncodeError::BadFile { path: path.clone(), message };
    let own = parse_tokenizer(&bytes).map_err(bad)?;
    let (base, own) = (as_json(base).map_err(bad)?, as_json(&own).map_err(bad)?);
    let differs = |what: String| EncodeError::OtherTokenizer { path: path.clone(), what };
    if let Some(part) = other_part(&base, &own) {
        return Err(differs(format!("in its {part}")));
    }
    let (base, own) = (listed(&base), listed(&own));
    if let Some(token) = base.iter().find(|token| !own.contains(token)) {
        return Err(differs(format!("in the token {:?}", content(token))));
    }
    // Every text contains an empty token, and no tokenizer finds one.
    let new = own.iter().filter(|token| !base.contains(token) && !content(token).is_empty());
    new.map(|token| {
        // Where a text is normalised first, looking for the token in the text does not
        // tell whether it is found.
        match token.get("normalized").and_then(Value::as_bool) {
            Some(false) => Ok(AddedToken { text: content(token).to_owned(), of: path.clone() }),
            _ => Err(differs(format!(
                "by the token {:?}, which it looks for in normalised text",
                content(token)
            ))),
        }
    })
    .collect()
}

/// Whether two tokenizers give the same tokens for every text without tokens that were added to one of them.
pub(super) fn share_parts(one: &Tokenizer, other: &Tokenizer) -> Result<bool, String> {
    Ok(other_part(&as_json(one)?, &as_json(other)?).is_none())
}

/// A tokenizer as the library writes it, since releases of it spell the same one differently.
fn as_json(tokenizer: &Tokenizer) -> Result<Value, String> {
    serde_json::to_value(tokenizer).map_err(|error| error.to_string())
}

fn other_part(base: &Value, own: &Value) -> Option<&'static str> {
    PARTS.into_iter().find(|part| base.get(part) != own.get(part))
}

fn listed(tokenizer: &Value) -> &[Value] {
    tokenizer.get("added_tokens").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn content(token: &Value) -> &str {
    token.get("content").and_then(Value::as_str).unwrap_or_default()
}

/// Checks that a fine-tune's folder, as far as it says so, has the base's template write the same text.
pub(super) fn check_template(
    template: &Template,
    base: &TokenizerFiles,
    tuned: &Path,
) -> Result<(), EncodeError> {
    let own = TokenizerFiles::read(tuned)?;
    let differs = |what: String| Err(EncodeError::OtherTemplate { folder: tuned.to_owned(), what });
    let source = match template {
        Template::Plain { eos } | Template::Tulu { eos } | Template::TuluChat { eos } => {
            return match own.eos() {
                Some(own) if own != eos => {
                    differs(format!("names {own:?} as eos_token, the base has {eos:?}"))
                }
                _ => Ok(()),
            };
        }
        Template::Chat(chat) => chat.source.as_str(),
    };
    // A template that the user gives goes before those of the folders.
    let is_of_base = base.chat_template.as_deref() == Some(source);
    if is_of_base && own.chat_template.as_deref().is_some_and(|own| own != source) {
        return differs("has a chat template that differs from the base's".to_owned());
    }
    for (name, own) in own.special.iter().filter(|(name, _)| source.contains(name)) {
        let text = base.special.iter().find(|(known, _)| known == name).map(|(_, text)| text);
        if text != Some(own) {
            let text = text.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
            return differs(format!(
                "names {own:?} as {name}, which the chat template writes; the base has {text}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
