//! Prompts as tokens, and tokens as text: what generation needs of a tokenizer.

use std::path::Path;

use super::TextEncoder;
use crate::Content;
use crate::encode_error::EncodeError;
use crate::special::eos_ids;
use crate::template::RenderedText;
use crate::tokenizer::guarded;

impl TextEncoder {
    /// Tokens up to where the assistant is to speak: of a conversation without what it says last, of a prompt
    /// without its completion, of a text all. The first tokens are those of the whole record as a rule: its
    /// text begins with this text. What is given of the answer follows, after a space unless the prompt ends
    /// with white space.
    ///
    /// An empty prompt is the token with which texts begin, else the one with which they end.
    ///
    /// # Errors
    /// A template that refuses the conversation, a tokenizer that fails, an empty prompt without such tokens.
    pub fn encode_begun(&self, content: &Content, begun: &str) -> Result<Vec<u32>, EncodeError> {
        let (text, add_special) = self.begun(content, begun)?;
        let mut ids = self.prompt_ids(&text, add_special)?;
        if ids.is_empty() {
            ids.push(self.first_token()?);
        }
        Ok(ids)
    }

    /// The text of a prompt as [`Self::encode_begun`] has it.
    ///
    /// # Errors
    /// A template that refuses the conversation.
    pub fn prompt_text(&self, content: &Content, begun: &str) -> Result<String, EncodeError> {
        Ok(self.begun(content, begun)?.0)
    }

    /// Tokens of a prompt as [`Self::encode_begun`] has it, with what the answer goes on with; and how many
    /// of them stand before that. White space at the end of the prompt counts with what follows, which is
    /// where most tokenizers put it.
    ///
    /// # Errors
    /// As [`Self::encode_begun`].
    pub fn encode_answer(
        &self,
        content: &Content,
        begun: &str,
        answer: &str,
    ) -> Result<(Vec<u32>, usize), EncodeError> {
        let (mut text, add_special) = self.begun(content, begun)?;
        let mut before = self.prompt_ids(text.trim_end(), add_special)?.len();
        text.push_str(answer);
        let mut ids = self.prompt_ids(&text, add_special)?;
        if before == 0 {
            ids.insert(0, self.first_token()?);
            before = 1;
        }
        Ok((ids, before))
    }

    fn begun(&self, content: &Content, begun: &str) -> Result<(String, bool), EncodeError> {
        let RenderedText { mut text, add_special, .. } = self.template.prompt(&self.with_system(content))?;
        if !begun.is_empty() && !text.is_empty() && !text.ends_with([' ', '\n']) {
            text.push(' ');
        }
        text.push_str(begun);
        Ok((text, add_special))
    }

    /// Tokens of a text that something is to follow.
    fn prompt_ids(&self, text: &str, add_special: bool) -> Result<Vec<u32>, EncodeError> {
        let mut ids = self.ids(text, add_special)?;
        let trailing = if add_special { self.trailing } else { 0 };
        ids.truncate(ids.len().saturating_sub(trailing));
        Ok(ids)
    }

    fn first_token(&self) -> Result<u32, EncodeError> {
        let first = ["bos_token", "eos_token"].into_iter().find_map(|name| self.special_token(name));
        first.ok_or_else(|| EncodeError::Tokenizer("an empty prompt has no token".into()))
    }

    /// The text of tokens, without special ones.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, EncodeError> {
        self.decoded(ids, true)
    }

    /// Whether [`Self::decode`] leaves a token out.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.tokenizer.get_added_vocabulary();
        added.simple_id_to_token(id).is_some_and(|text| added.is_special_token(&text))
    }

    /// The text of tokens, with that of special ones.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn decode_all(&self, ids: &[u32]) -> Result<String, EncodeError> {
        self.decoded(ids, false)
    }

    fn decoded(&self, ids: &[u32], skip_special: bool) -> Result<String, EncodeError> {
        guarded(|| self.tokenizer.decode(ids, skip_special).map_err(|error| error.to_string()))
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
