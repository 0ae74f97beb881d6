//! Stop conditions of an answer: a token that ends it, a text that does, or its length.

use gstore_core::{Remedy, named};

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

/// Texts that end an answer, wherever their characters lie among tokens, special ones too.
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
            return Err(GenerateError::Option(format!(
                "an empty text would end every answer at once: give {} another one, or leave it out",
                Remedy::Option("stop", "")
            )));
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
    /// Asked after each token. `decode` gives the text of tokens with that of special ones, which may end an
    /// answer too but is not part of its text.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn cut(
        &self,
        answer: &[u32],
        is_special: impl Fn(u32) -> bool,
        decode: impl Fn(&[u32]) -> Result<String, GenerateError>,
    ) -> Result<Option<String>, GenerateError> {
        if self.texts.is_empty() {
            return Ok(None);
        }
        let shown = |ids: &[u32]| {
            let ids: Vec<u32> = ids.iter().copied().filter(|id| !is_special(*id)).collect();
            decode(&ids)
        };
        let tail = &answer[answer.len().saturating_sub(self.tail)..];
        let found = match self.first_in(&decode(tail)?) {
            // Without special tokens both texts are the same.
            None if tail.iter().any(|id| is_special(*id)) => self.first_in(&shown(tail)?),
            found => found,
        };
        if found.is_none() {
            return Ok(None);
        }
        let text = shown(answer)?;
        if let Some(at) = self.first_in(&text) {
            return Ok(Some(text[..at].to_owned()));
        }
        let Some(at) = self.first_in(&decode(answer)?) else { return Ok(None) };
        // The text begins in the token behind these.
        let mut before = answer.len();
        while before > 0 && decode(&answer[..before])?.len() > at {
            before -= 1;
        }
        let with_it = &answer[..answer.len().min(before + 1)];
        let (kept, text) = (shown(&answer[..before])?, shown(with_it)?);
        // What it has of a token that is not special is cut off; of a special one there is nothing.
        let cut = text.len().saturating_sub(decode(with_it)?.len() - at).max(kept.len());
        Ok(Some(text.get(..cut).unwrap_or(&kept).to_owned()))
    }

    fn first_in(&self, text: &str) -> Option<usize> {
        self.texts.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens are characters, `_` for a special token.
    fn cut(stops: &[&str], answer: &str) -> Option<String> {
        let stops = StopStrings::new(stops.iter().map(|text| (*text).to_owned()).collect()).unwrap();
        let ids: Vec<u32> = answer.chars().map(u32::from).collect();
        let decode = |ids: &[u32]| -> Result<String, GenerateError> {
            Ok(ids.iter().filter_map(|id| char::from_u32(*id)).collect::<String>().replace('_', "<user>"))
        };
        stops.cut(&ids, |id| id == u32::from('_'), decode).unwrap()
    }

    #[test]
    fn the_end_of_an_answer_is_decoded_once_for_each_token() {
        let stops = StopStrings::new(vec!["stop".to_owned()]).unwrap();
        for (special, decoded) in [(None, vec![8]), (Some(0), vec![8]), (Some(99), vec![8, 7])] {
            let lengths = std::cell::RefCell::new(Vec::new());
            let decode = |ids: &[u32]| -> Result<String, GenerateError> {
                lengths.borrow_mut().push(ids.len());
                Ok(String::new())
            };
            let answer: Vec<u32> = (0..100).collect();
            assert_eq!(stops.cut(&answer, |id| Some(id) == special, decode).unwrap(), None);
            assert_eq!(lengths.take(), decoded);
        }
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
    fn the_text_of_a_special_token_ends_an_answer() {
        for stop in ["<user>", "user", "r>"] {
            assert_eq!(cut(&[stop], "so_").as_deref(), Some("so"), "{stop}");
            assert_eq!(cut(&[stop], "so"), None, "{stop}");
        }
        assert_eq!(cut(&["\n<user>"], "é\n_").as_deref(), Some("é"));
        assert_eq!(cut(&["<user>\n"], "so_"), None);
        assert_eq!(cut(&["<user>\n"], "so_\n").as_deref(), Some("so"));
        // One before the stop has no text.
        assert_eq!(cut(&["b<user>"], "a_b_").as_deref(), Some("a"));
        assert_eq!(cut(&["<user>"], "_").as_deref(), Some(""));
        let long = "x".repeat(100);
        assert_eq!(cut(&["<user>"], &format!("{long}_")), Some(long));
    }

    #[test]
    fn an_empty_text_is_refused() {
        assert!(StopStrings::new(vec![String::new()]).is_err());
    }
}
