//! Environment variables of the Hugging Face tools: folder of the cache, and token.

use std::path::PathBuf;

/// A variable that says something.
pub(super) fn variable(name: &str) -> Option<String> {
    let text = std::env::var(name).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

pub(super) fn cache() -> PathBuf {
    let named = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
    named.unwrap_or_else(|| home().join("hub"))
}

/// What shows who asks: a variable, or what `hf auth login` wrote.
pub(super) fn token() -> Option<String> {
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| super::is_true(&value)) {
        return None;
    }
    let file = || path("HF_TOKEN_PATH").unwrap_or_else(|| home().join("token"));
    let token = variable("HF_TOKEN").or_else(|| fs_err::read_to_string(file()).ok())?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn home() -> PathBuf {
    let cache = || path("XDG_CACHE_HOME").unwrap_or_else(|| user().join(".cache"));
    path("HF_HOME").unwrap_or_else(|| cache().join("huggingface"))
}

fn path(name: &str) -> Option<PathBuf> {
    let text = variable(name)?;
    Some(text.strip_prefix("~/").map_or_else(|| text.clone().into(), |below| user().join(below)))
}

fn user() -> PathBuf {
    std::env::home_dir().unwrap_or_else(std::env::temp_dir)
}
