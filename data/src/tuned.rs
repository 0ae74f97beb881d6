//! Tokenizer compatibility: whether a fine-tune reads its samples as the tokens of its base's tokenizer.
//!
//! All checkpoints of a run share one encoding, that of the base. A fine-tune that was trained on other
//! tokens would be asked about samples that it never saw, so it is refused. Tokens that were only added (a
//! `<pad>`, the marks of a chat) change nothing in a text that does not contain them: such a tokenizer is
//! accepted, and then every text is looked through for them. So are those that only other files of one of the
//! folders have.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::encode_error::EncodeError;
use super::special::{TokenizerFiles, if_there};
use super::template::Template;
use super::tokenizer::{OtherToken, add_missing, parse_tokenizer};

/// Parts of a `tokenizer.json` that decide the tokens of a text, other than added tokens.
const PARTS: [&str; 5] = ["model", "normalizer", "pre_tokenizer", "post_processor", SPLIT];
/// The name of a setting that the library does not write with a tokenizer.
const SPLIT: &str = "split_special_tokens";

/// A token that a fine-tune's tokenizer and its base's do not share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignToken {
    pub(super) text: String,
    /// The fine-tune's folder.
    pub(super) of: std::path::PathBuf,
}

/// The added tokens that a fine-tune's tokenizer and its base's do not share.
///
/// The base's has what its files say, of which `base_files` has the tokens that were added; the fine-tune's is to
/// have what is in `own_files`. What its folder lacks is the base's.
pub(super) fn foreign_tokens(
    base: &Tokenizer,
    base_files: &TokenizerFiles,
    tuned: &Path,
    own_files: TokenizerFiles,
) -> Result<Vec<ForeignToken>, EncodeError> {
    let (base_others, mut own_others) = (base_files.added.as_slice(), own_files.added);
    let path = tuned.join("tokenizer.json");
    let bad = |message: String| EncodeError::BadFile { path: path.clone(), message };
    let mut own = match if_there(fs_err::read(&path))? {
        Some(bytes) => {
            let mut own = parse_tokenizer(&bytes).map_err(bad)?;
            let settings = if own_files.has_config { &own_files.settings } else { &base_files.settings };
            settings.apply(&mut own);
            own
        }
        None if own_others.is_empty() => return Ok(Vec::new()),
        None => base.clone(),
    };
    if own_others.is_empty() {
        own_others = base_others.to_vec();
    }
    add_missing(&mut own, &mut own_others)?;
    let (base, own) = (as_json(base).map_err(bad)?, as_json(&own).map_err(bad)?);
    let differs = |what: String| EncodeError::OtherTokenizer { path: path.clone(), what };
    if let Some(part) = other_part(&base, &own) {
        return Err(differs(format!("in its {part}")));
    }
    let is_normalizing = !own["normalizer"].is_null();
    let (base, own) = (listed(&base), listed(&own));
    let foreign = |token: &Value| ForeignToken { text: content(token).to_owned(), of: tuned.to_owned() };
    let (mut found, changed): (Vec<&Value>, Vec<&Value>) =
        base.iter().filter(|token| !own.contains(token)).partition(|token| is_one_of(base_others, token));
    if let Some(token) = changed.first() {
        return Err(differs(format!("in the token {:?}", content(token))));
    }
    // Every text contains an empty token, and no tokenizer finds one.
    found.extend(own.iter().filter(|token| !base.contains(token) && !content(token).is_empty()));
    // Where a text is normalised first, looking for the token in the text does not tell whether it is found.
    let is_normalized = |token: &Value| token["normalized"].as_bool() != Some(false);
    if let Some(token) = found.iter().find(|token| is_normalizing && is_normalized(token)) {
        let what = format!("by the token {:?}, which is looked for in normalised text", content(token));
        return Err(differs(what));
    }
    Ok(found.into_iter().map(foreign).collect())
}

fn is_one_of(others: &[OtherToken], token: &Value) -> bool {
    others.iter().any(|other| other.token.content == content(token))
}

/// Whether two tokenizers give the same tokens for every text without tokens that were added to one of them.
pub(super) fn share_parts(one: &Tokenizer, other: &Tokenizer) -> Result<bool, String> {
    Ok(other_part(&as_json(one)?, &as_json(other)?).is_none())
}

/// A tokenizer as the library writes it, since releases of it spell the same one differently.
fn as_json(tokenizer: &Tokenizer) -> Result<Value, String> {
    let mut parts = serde_json::to_value(tokenizer).map_err(|error| error.to_string())?;
    if let Some(parts) = parts.as_object_mut() {
        parts.insert(SPLIT.to_owned(), tokenizer.get_encode_special_tokens().into());
    }
    Ok(parts)
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
    own: &TokenizerFiles,
    tuned: &Path,
) -> Result<(), EncodeError> {
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
