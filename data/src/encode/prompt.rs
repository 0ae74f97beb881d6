//! Prompts as tokens, and tokens as text: what generation needs of a tokenizer.

use std::path::Path;

use super::{EncodeError, TextEncoder, guarded};
use crate::Content;
use crate::special::eos_ids;

impl TextEncoder {
    /// Tokens up to where the assistant is to speak: of a conversation without what it says last, of a prompt
    /// without its completion, of a text all. The first tokens are those of the whole record as a rule: its
    /// text begins with this text.
    ///
    /// An empty prompt is the token with which texts begin, else the one with which they end.
    ///
    /// # Errors
    /// A template that refuses the conversation, a tokenizer that fails, an empty prompt without such tokens.
    pub fn encode_prompt(&self, content: &Content) -> Result<Vec<u32>, EncodeError> {
        let rendered = self.template.prompt(&self.with_system(content))?;
        let mut ids = self.ids(&rendered.text, rendered.add_special)?;
        let trailing = if rendered.add_special { self.trailing } else { 0 };
        ids.truncate(ids.len().saturating_sub(trailing));
        if ids.is_empty() {
            let first = ["bos_token", "eos_token"].into_iter().find_map(|name| self.special_token(name));
            ids.push(first.ok_or_else(|| EncodeError::Tokenizer("an empty prompt has no token".into()))?);
        }
        Ok(ids)
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, EncodeError> {
        guarded(|| self.tokenizer.decode(ids, true).map_err(|error| error.to_string()))
            .map_err(EncodeError::Tokenizer)
    }

    /// A token as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The tokens that end an answer: those of the model's `generation_config.json` or `config.json`, and the
    /// tokenizer's own.
    ///
    /// # Errors
    /// A file that cannot be read or is not JSON.
    pub fn end_tokens(&self, model: &Path) -> Result<Vec<u32>, EncodeError> {
        let mut ids = eos_ids(model)?;
        ids.extend(self.special_token("eos_token"));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn special_token(&self, name: &str) -> Option<u32> {
        self.tokenizer.token_to_id(self.files.named(name)?)
    }
}
