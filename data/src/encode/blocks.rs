//! Long texts cut into samples of so many tokens.

use std::ops::Range;

use super::TextEncoder;
use crate::Content;
use crate::encode_error::EncodeError;
use crate::tokenizer::tokenize_with_places;

impl TextEncoder {
    /// Byte ranges of a text, one after the other, each of at most `tokens` tokens when it is encoded by
    /// itself (with those that the tokenizer puts around every text) and as long as that allows, about: a
    /// text that begins within another has a few other tokens. A text of no tokens is one range.
    ///
    /// # Errors
    /// A tokenizer that fails, and a number that leaves no room for a token of the text.
    pub fn blocks(&self, text: &str, tokens: usize) -> Result<Vec<Range<usize>>, EncodeError> {
        let whole = self.ids(text, true)?;
        if whole.len() <= tokens {
            return Ok(vec![0..text.len()]);
        }
        let alone = tokenize_with_places(self.tokenizer_for(text)?, text)?;
        let starts: Vec<usize> = alone.get_offsets().iter().map(|(start, _)| *start).collect();
        let added = whole.len().saturating_sub(starts.len());
        let room = tokens.checked_sub(added).filter(|room| *room > 0);
        let room = room.ok_or(EncodeError::BlockTooShort { block: tokens, added })?;
        let (mut blocks, mut first) = (Vec::new(), 0);
        while first < starts.len() {
            let start = if first == 0 { 0 } else { starts[first] };
            let mut size = room;
            let (next, end) = loop {
                let next = boundary(text, &starts, first, (first + size).min(starts.len()));
                let end = starts.get(next).copied().unwrap_or(text.len());
                // By itself it may have more tokens than as a part of the whole.
                let length = self.ids(&text[start..end], true)?.len();
                if length <= tokens {
                    break (next, end);
                }
                if size == 1 {
                    // What cannot be cut further, such as the bytes of one character, has more tokens.
                    return Err(EncodeError::PartTooLong { block: tokens, length });
                }
                size = size.saturating_sub(length - tokens).max(1);
            };
            blocks.push(start..end);
            first = next;
        }
        Ok(blocks)
    }

    /// The parts of a text, if it is longer than the block that was asked for; of any other content none.
    pub(crate) fn cut(&self, content: &Content) -> Result<Vec<String>, EncodeError> {
        let (Some(tokens), Content::Text(text)) = (self.block, content) else { return Ok(Vec::new()) };
        let blocks = self.blocks(text, tokens)?;
        match blocks.len() {
            1 => Ok(Vec::new()),
            _ => Ok(blocks.into_iter().map(|block| text[block].to_owned()).collect()),
        }
    }
}

/// The last token at or before `wanted`, but after `first`, that begins at a character of its own; the end of
/// the text where a token after `first` does not.
fn boundary(text: &str, starts: &[usize], first: usize, wanted: usize) -> usize {
    let begins = |at: &usize| match (starts.get(*at), starts.get(at - 1)) {
        (Some(start), Some(before)) => start > before && text.is_char_boundary(*start),
        _ => true,
    };
    let before = (first + 1..=wanted).rev().find(begins);
    before.or_else(|| (wanted + 1..starts.len()).find(begins)).unwrap_or(starts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TemplateKind, TextOptions};

    #[test]
    fn blocks_are_the_text_and_no_longer_than_asked_for() {
        let model = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model"));
        let encoder = TextOptions::new(TemplateKind::Plain, 512).encoder(model).unwrap();
        let long = "Größe 12, naïve façade; 日本語の文 and plain words.\n".repeat(40);
        for text in ["", "short", long.as_str()] {
            for tokens in [8, 33, 200] {
                let blocks = encoder.blocks(text, tokens).unwrap();
                let joined: String = blocks.iter().map(|block| &text[block.clone()]).collect();
                assert_eq!(joined, text);
                for block in &blocks {
                    assert!(encoder.ids(&text[block.clone()], true).unwrap().len() <= tokens, "{block:?}");
                }
                let most = encoder.ids(text, true).unwrap().len().div_ceil(tokens / 2).max(1);
                assert!(blocks.len() <= most, "{} blocks of {tokens}", blocks.len());
            }
        }
    }

    #[test]
    fn a_cut_is_no_further_than_wanted_where_it_can_be() {
        let text = "aéb";
        // The two bytes of é are tokens of their own, which the tokenizer places at the character.
        let starts = [0, 1, 1, 3];
        assert_eq!(boundary(text, &starts, 0, 1), 1);
        assert_eq!(boundary(text, &starts, 0, 2), 1);
        assert_eq!(boundary(text, &starts, 1, 2), 3);
        assert_eq!(boundary(text, &starts, 3, 4), 4);
    }
}
