//! Errors of encoding records as tokens.

use std::path::PathBuf;

use gstore_core::Remedy;

/// Why a tokenizer cannot be loaded, or a record not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Not a template.
    #[error("there is no template {name:?}: there are {known}, and files in Jinja")]
    UnknownTemplate {
        /// What was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A maximum length of zero.
    #[error("the maximum length must be at least 1 token")]
    NoLength,
    /// A block that samples cannot hold.
    #[error(
        "blocks of {block} tokens are longer than samples of {max_length}: also give {}",
        Remedy::Option("max_length", &block.to_string())
    )]
    BlockTooLong {
        /// Tokens of a block.
        block: u32,
        /// Tokens of a sample at most.
        max_length: u32,
    },
    /// A part of a text that cannot be cut and has more tokens than a block.
    #[error("blocks of {block} tokens are too short: a part of the text that cannot be cut has {length}")]
    PartTooLong {
        /// Tokens of a block.
        block: usize,
        /// Those of the part.
        length: usize,
    },
    /// A block that holds no token of a text.
    #[error("blocks of {block} tokens are too short: the tokenizer puts {added} around every text")]
    BlockTooShort {
        /// Tokens of a block.
        block: usize,
        /// Those that the tokenizer adds.
        added: usize,
    },
    /// A tokenizer that is larger than the model.
    #[error(
        "the tokenizer has {tokens} tokens, up to token {}, and the model's vocabulary has {vocabulary}: the tokenizer belongs to another model",
        tokens - 1
    )]
    OtherVocabulary {
        /// Tokens that the tokenizer was made with.
        tokens: usize,
        /// Tokens that the model knows.
        vocabulary: usize,
    },
    /// A file cannot be read; the error names it.
    #[error(transparent)]
    Read(std::io::Error),
    /// A file does not hold what it should.
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No tokenizer.
    #[error(
        "{}: no tokenizer.json, which is what the tokenizer is read from (with tokenizer_config.json, special_tokens_map.json and \
         chat_template.jinja next to it, where they are there){hint}", folder.display()
    )]
    NoTokenizer {
        /// The model folder.
        folder: PathBuf,
        /// What to do.
        hint: String,
    },
    /// No end token is named anywhere.
    #[error(
        "{}: no end-of-sequence token; name it as eos_token in tokenizer_config.json, since the template closes answers with it",
        .0.display()
    )]
    NoEos(PathBuf),
    /// `chat` without a template.
    #[error(
        "{}: the tokenizer has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); \
         use {} or {}", .0.display(), Remedy::Option("template", "tulu"), Remedy::Option("template", "plain")
    )]
    NoChatTemplate(PathBuf),
    /// The chat template is not valid Jinja.
    #[error("the chat template cannot be used: {0}")]
    TemplateSyntax(String),
    /// The chat template raised an exception or failed.
    #[error("the chat template refuses the conversation: {0}")]
    Render(String),
    /// The chat template leaves out or moves a turn.
    #[error(
        "the chat template does not show where turn {0} (from 0) of the conversation stands; use {tulu}",
        tulu = Remedy::Option("template", "tulu")
    )]
    TurnNotFound(usize),
    /// The chat template writes nothing of what a user or the assistant says.
    #[error(
        "the chat template leaves out turn {turn} (from 0) of the conversation, the {role}'s; correct it, or use {}",
        Remedy::Option("template", "tulu")
    )]
    LeftOut {
        /// Index of the message.
        turn: usize,
        /// Whose it is.
        role: &'static str,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// A fine-tune with another tokenizer than its base.
    #[error("{} differs from the tokenizer.json of the base {what}", path.display())]
    OtherTokenizer {
        /// The fine-tune's tokenizer.
        path: PathBuf,
        /// Where it differs.
        what: String,
    },
    /// A fine-tune whose samples were written differently.
    #[error("{}: {what}", folder.display())]
    OtherTemplate {
        /// The fine-tune's folder.
        folder: PathBuf,
        /// What differs.
        what: String,
    },
    /// A text with a token that only a fine-tune has.
    #[error(
        "{token:?} is one token in {} and several in the base's tokenizer; leave out samples that contain it, \
         or compute that fine-tune by itself: give its folder as {}", of.display(), Remedy::Option("model", "")
    )]
    TokenOfFineTune {
        /// The token.
        token: String,
        /// The fine-tune's tokenizer.
        of: PathBuf,
    },
}
