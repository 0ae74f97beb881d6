//! Memory that the tokenizer library takes for a text, and texts that would take too much of it.

use gstore_core::{available_memory, release_freed_memory};
use tokenizers::Tokenizer;

use super::TextEncoder;
use crate::encode_error::EncodeError;

/// Bytes that the library takes, at its peak, for a byte of a text. Version 0.23.2 then holds
/// - of each piece, such as a word: a `Split` of 104 bytes, its text before and after normalisation, and 16
///   bytes for each byte of it that say where that came from
/// - of each token: a `Token` of 48 bytes, its text, and 64 bytes in the vectors of an `Encoding`
///
/// The least block of an allocator is 32 bytes, and the vectors of splits and of an encoding count half as
/// much again, as they grow. That is 160 where words of five bytes have two or three tokens, 280 where pieces
/// of three bytes have a token for each, and 440 where each byte is a piece, as digits may be. Measured on
/// texts of 2 to 4 MB: 140 to 240 for prose and code, with 768 to 13,500 tokens in the vocabulary, and up to
/// 430 for such digits.
const OF_BYTE: u64 = 300;
/// The most of them.
const MOST_OF_BYTE: u64 = 440;

/// Bytes of the shortest text for which freed memory is given back, and the system is asked what memory is
/// available.
const LONG: usize = 1 << 20;

impl TextEncoder {
    /// Sets how many bytes of memory a text may take while it becomes tokens; without a number it may take
    /// what is available then.
    pub fn limit_memory(&mut self, bytes: Option<u64>) {
        self.max_memory = bytes;
    }

    /// Bytes of memory that a text of so many bytes takes at most while it becomes tokens.
    pub fn memory_of_text(bytes: u64) -> u64 {
        bytes.saturating_mul(MOST_OF_BYTE)
    }

    /// The tokenizer, for a text that it has the memory for: the kernel kills a process that takes more.
    pub(super) fn tokenizer_for(&self, text: &str) -> Result<&Tokenizer, EncodeError> {
        let limit = match self.max_memory {
            None if text.len() >= LONG => {
                // What the last long text took is freed, and may be in pieces of which this one has no use.
                release_freed_memory();
                available_memory()
            }
            given => given,
        };
        let bytes = text.len() as u64;
        let needed = bytes.saturating_mul(OF_BYTE);
        match limit.filter(|limit| needed > *limit) {
            None => Ok(&self.tokenizer),
            Some(limit) => {
                Err(EncodeError::TooLarge { bytes, needed, limit, is_given: self.max_memory.is_some() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, TemplateKind, TextOptions};

    #[test]
    fn a_text_that_would_take_more_memory_than_is_allowed_is_refused() {
        let model = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model"));
        let options = TextOptions { block: Some(40), ..TextOptions::new(TemplateKind::Plain, 64) };
        let mut encoder = options.encoder(model).unwrap();
        let text = "one two three ".repeat(1000);
        let content = Content::Text(text.clone());
        encoder.limit_memory(Some(OF_BYTE * text.len() as u64));
        assert!(encoder.cut(&content).is_ok());
        encoder.limit_memory(Some(OF_BYTE * text.len() as u64 - 1));
        let refused = [
            encoder.encode(&content).map(drop),
            encoder.cut(&content).map(drop),
            encoder.encode_begun(&content, "").map(drop),
        ];
        for refused in refused {
            let said = refused.unwrap_err().to_string();
            assert!(
                said.contains("its text of 14000 bytes takes about 4.01 MiB")
                    && said.contains("max_memory allows 4.01 MiB\n  give max_memory=5MB, split it into"),
                "{said}"
            );
        }
        assert!(encoder.encode(&Content::Text("one two".to_owned())).is_ok());
        encoder.limit_memory(None);
        assert!(encoder.encode(&content).is_ok());
    }

    #[test]
    fn a_template_with_places_is_limited_as_well() {
        let model = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model"));
        let mut encoder = TextOptions::new(TemplateKind::Chat, 64).encoder(model).unwrap();
        let content = Content::PromptCompletion { prompt: "one".to_owned(), completion: "two".to_owned() };
        encoder.limit_memory(Some(OF_BYTE));
        assert!(matches!(encoder.encode(&content), Err(EncodeError::TooLarge { .. })));
    }
}
