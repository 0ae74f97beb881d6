//! The tokenizer library: files that it reads, and texts as its tokens.

use tokenizers::Tokenizer;

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

/// A call into the tokenizer library, which panics on some invalid files; a panic must not end the process.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let message = "the tokenizer library gave up on what the file describes";
    gstore_store::caught(f).unwrap_or_else(|| Err(message.to_owned()))
}
