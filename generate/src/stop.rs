//! Stop conditions of an answer: a token that ends it, a text that does, or its length.

use gstore_core::named;

use crate::error::GenerateError;

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A token that ends answers.
    EndToken,
    /// A text that was to end it; neither is part of the answer's text.
    StopString,
    /// As many tokens as were asked for, or as many as the model has positions.
    Length,
    /// No token was left to choose.
    NoToken,
}

// Names in an answer's record.
named!(FinishReason { EndToken = "end", StopString = "stop", Length = "length", NoToken = "no-token" });

/// Texts that end an answer, wherever their characters lie among tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopStrings {
    texts: Vec<String>,
    /// Tokens at the end of an answer in which a text that is new must lie.
    tail: usize,
}

/// Tokens at the start of a tail whose text may differ from that within the answer: a space that a tokenizer
/// drops, the rest of a character.
const MARGIN: usize = 4;

impl StopStrings {
    /// Texts that end answers.
    ///
    /// # Errors
    /// An empty text.
    pub fn new(texts: Vec<String>) -> Result<StopStrings, GenerateError> {
        if texts.iter().any(String::is_empty) {
            return Err(GenerateError::Option("an empty text would end every answer at once".to_owned()));
        }
        // Each token of a text that is shown has at least a byte of it.
        let tail = texts.iter().map(String::len).max().unwrap_or(0) + MARGIN;
        Ok(StopStrings { texts, tail })
    }

    /// The texts.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The answer's text without the text that ends it and what follows; none if there is no such text yet.
    /// Asked after each token.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn cut(
        &self,
        answer: &[u32],
        decode: impl Fn(&[u32]) -> Result<String, GenerateError>,
    ) -> Result<Option<String>, GenerateError> {
        if self.texts.is_empty() {
            return Ok(None);
        }
        let tail = &answer[answer.len().saturating_sub(self.tail)..];
        if tail.len() < answer.len() && self.first_in(&decode(tail)?).is_none() {
            return Ok(None);
        }
        let text = decode(answer)?;
        Ok(self.first_in(&text).map(|at| text[..at].to_owned()))
    }

    fn first_in(&self, text: &str) -> Option<usize> {
        self.texts.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens are characters, `_` for a token without text.
    fn cut(stops: &[&str], answer: &str) -> Option<String> {
        let stops = StopStrings::new(stops.iter().map(|text| (*text).to_owned()).collect()).unwrap();
        let ids: Vec<u32> = answer.chars().map(u32::from).collect();
        let decode = |ids: &[u32]| -> Result<String, GenerateError> {
            Ok(ids.iter().filter_map(|id| char::from_u32(*id)).filter(|c| *c != '_').collect())
        };
        stops.cut(&ids, decode).unwrap()
    }

    #[test]
    fn a_text_ends_an_answer_across_the_borders_of_tokens() {
        assert_eq!(cut(&["\n\n"], "a\n"), None);
        assert_eq!(cut(&["\n\n"], "a\n\n").as_deref(), Some("a"));
        assert_eq!(cut(&["Question:", "Q:"], "so 4. Question:").as_deref(), Some("so 4. "));
        assert_eq!(cut(&["bc", "c"], "abc").as_deref(), Some("a"));
        assert_eq!(cut(&["\n\n"], "a\n_\n").as_deref(), Some("a"));
        assert_eq!(cut(&["é!"], "cafe café!").as_deref(), Some("cafe caf"));
        assert_eq!(cut(&[], "a"), None);
        let long = "x".repeat(100);
        assert_eq!(cut(&["stop"], &format!("{long}sto")), None);
        assert_eq!(cut(&["stop"], &format!("{long}stop")), Some(long));
    }

    #[test]
    fn an_empty_text_is_refused() {
        assert!(StopStrings::new(vec![String::new()]).is_err());
    }
}
