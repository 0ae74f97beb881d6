//! The tokenizer library: files that it reads, tokens that are added to these, and texts as its tokens.

use std::collections::HashSet;

use gstore_store::{canonical_json, sha256_hex};
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, Encoding, Tokenizer};

use super::encode_error::EncodeError;

/// A tokenizer that neither cuts nor pads.
pub(super) fn parse_tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    // The library panics on some files that are not JSON.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| error.to_string())?;
    guarded(|| {
        let unknown = |error: tokenizers::Error| format!("not a tokenizer that can be read here: {error}");
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(unknown)?;
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        Ok(tokenizer)
    })
}

/// A token that a file next to `tokenizer.json` has.
#[derive(Debug, Clone)]
pub(super) struct OtherToken {
    pub(super) token: AddedToken,
    /// An id that keeps it out where an added token of `tokenizer.json` has it.
    pub(super) taken_by: Option<u32>,
}

/// Adds those tokens that the tokenizer lacks, and leaves only these in the list.
///
/// As in transformers, a text of the vocabulary keeps its id, and the others get the next ones in the order
/// of the list, whatever ids their files state.
pub(super) fn add_missing(
    tokenizer: &mut Tokenizer,
    others: &mut Vec<OtherToken>,
) -> Result<(), EncodeError> {
    let own = tokenizer.get_added_tokens_decoder();
    let mut known: HashSet<String> = own.values().map(|token| token.content.clone()).collect();
    others.retain(|OtherToken { token, taken_by }| {
        let is_free = taken_by.is_none_or(|id| !own.contains_key(&id));
        is_free && !token.content.is_empty() && known.insert(token.content.clone())
    });
    // Even for an empty list the library rebuilds its search for added tokens.
    if others.is_empty() {
        return Ok(());
    }
    let tokens: Vec<AddedToken> = others.iter().map(|other| other.token.clone()).collect();
    guarded(|| tokenizer.add_tokens(tokens).map_err(|error| error.to_string()))
        .map(|_| ())
        .map_err(EncodeError::Tokenizer)
}

/// What identifies a tokenizer: the SHA-256 of its file or, where tokens were added to it or settings changed
/// it, of all of these.
pub(super) fn tokenizer_digest(file: &[u8], added: &[OtherToken], settings: Map<String, Value>) -> String {
    let file = sha256_hex(file);
    if added.is_empty() && settings.is_empty() {
        return file;
    }
    let added: Vec<&AddedToken> = added.iter().map(|other| &other.token).collect();
    let mut parts = json!({ "tokenizer": file, "added_tokens": added });
    if !settings.is_empty() {
        parts["settings"] = settings.into();
    }
    sha256_hex(canonical_json(&parts).as_bytes())
}

pub(super) fn tokenize(
    tokenizer: &Tokenizer,
    text: &str,
    add_special: bool,
) -> Result<Vec<u32>, EncodeError> {
    guarded(|| {
        let encoding = tokenizer.encode_fast(text, add_special).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    })
    .map_err(EncodeError::Tokenizer)
}

/// Tokens of a text, without those that the tokenizer puts around every one, and the bytes that each stands for.
pub(super) fn tokenize_with_places(tokenizer: &Tokenizer, text: &str) -> Result<Encoding, EncodeError> {
    guarded(|| tokenizer.encode(text, false).map_err(|error| error.to_string()))
        .map_err(EncodeError::Tokenizer)
}

/// A call into the tokenizer library, which panics on some invalid files; a panic must not end the process.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let message = "the tokenizer library gave up on what the file describes";
    gstore_store::caught(f).unwrap_or_else(|| Err(message.to_owned()))
}
