//! Errors of encoding records as tokens.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use gstore_core::{Remedy, human_bytes};

/// Why a tokenizer cannot be loaded, or a record not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    #[error("there is no template {name:?}: name one of {known}, or a file in Jinja")]
    UnknownTemplate { name: String, known: String },
    #[error("the maximum length must be at least 1 token")]
    NoLength,
    #[error(
        "blocks of {block} tokens are longer than samples of {max_length}: also give {}",
        Remedy::Option("max_length", &block.to_string())
    )]
    BlockTooLong { block: u32, max_length: u32 },
    #[error("blocks of {block} tokens are too short: a part of the text that cannot be cut has {length}")]
    PartTooLong { block: usize, length: usize },
    #[error("blocks of {block} tokens are too short: the tokenizer puts {added} around every text")]
    BlockTooShort { block: usize, added: usize },
    #[error(
        "the tokenizer has {tokens} tokens, up to token {}, and the model's vocabulary has {vocabulary}: the tokenizer belongs to another model",
        tokens - 1
    )]
    OtherVocabulary { tokens: usize, vocabulary: usize },
    /// A file cannot be read; the error names it.
    #[error(transparent)]
    Read(std::io::Error),
    #[error("{}: {message}", path.display())]
    BadFile { path: PathBuf, message: String },
    #[error(
        "{}: no tokenizer.json, which is what the tokenizer is read from (with tokenizer_config.json, special_tokens_map.json, \
         added_tokens.json and chat_template.jinja next to it, where they are there){hint}", folder.display()
    )]
    NoTokenizer { folder: PathBuf, hint: String },
    #[error(
        "{}: no end-of-sequence token; name it as eos_token in tokenizer_config.json, since the template closes answers with it",
        .0.display()
    )]
    NoEos(PathBuf),
    #[error(
        "{}: the tokenizer has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); \
         use {} or {}", .0.display(), Remedy::Option("template", "tulu"), Remedy::Option("template", "plain")
    )]
    NoChatTemplate(PathBuf),
    #[error("the chat template cannot be used: {0}")]
    TemplateSyntax(String),
    #[error("the chat template refuses the conversation: {0}")]
    Render(String),
    #[error(
        "the chat template refuses the conversation up to turn {turn} (from 0), by which the end of that turn is found: \
         {reason}\n  a message of weight 0 is not scored"
    )]
    PartRefused { turn: usize, reason: String },
    /// The chat template leaves out or moves a turn.
    #[error(
        "the chat template does not show where turn {0} (from 0) of the conversation stands; use {tulu}",
        tulu = Remedy::Option("template", "tulu")
    )]
    TurnNotFound(usize),
    #[error(
        "the output of the chat template changes when characters are put at its {{% generation %}} marks: it may trim, count \
         or compare what they enclose; move the marks to where the words are written, or use {tulu}",
        tulu = Remedy::Option("template", "tulu")
    )]
    Marks,
    #[error(
        "the chat template leaves out turn {turn} (from 0) of the conversation, the {role}'s{}; correct it, or use {}",
        match takes_parts {
            true => ": it takes a content that is a list of parts, and here it is a text",
            false => "",
        },
        Remedy::Option("template", "tulu")
    )]
    LeftOut {
        turn: usize,
        role: &'static str,
        /// Whether it shows the turn if contents are lists of parts.
        takes_parts: bool,
    },
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    #[error(
        "its text of {bytes} bytes takes about {} of memory to become tokens, and {}\n  {}split it into several samples, or leave it out",
        human_bytes(*needed),
        match is_given {
            true => format!("{} allows {}", Remedy::Option("max_memory", ""), human_bytes(*limit)),
            false => format!("{} are available", human_bytes(*limit)),
        },
        match is_given {
            true => format!("give {}, ", Remedy::Option("max_memory", &format!("{}MB", needed.div_ceil(1_000_000)))),
            false => String::new(),
        }
    )]
    TooLarge {
        bytes: u64,
        needed: u64,
        limit: u64,
        /// Whether the limit was asked for, and is not what is available.
        is_given: bool,
    },
    #[error("{} differs from the tokenizer.json of the base {what}", path.display())]
    OtherTokenizer { path: PathBuf, what: String },
    /// A fine-tune whose samples were written differently.
    #[error("{}: {what}", folder.display())]
    OtherTemplate { folder: PathBuf, what: String },
    #[error(
        "{token:?} is not the same in the tokenizer of {} as in the base's; leave out samples that contain it, \
         or compute that fine-tune by itself: give its folder as {}", of.display(), Remedy::Option("model", "")
    )]
    TokenOfFineTune { token: String, of: PathBuf },
}
