//! Text options: how records become tokens, for training, ingest and generation alike.

use std::path::PathBuf;

use gstore_store::EncodingSpec;

use crate::template::TemplateKind;

/// How records become tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Folder of the tokenizer; none: the model's own.
    pub tokenizer: Option<PathBuf>,
    /// How a conversation becomes text.
    pub template: TemplateKind,
    /// System message of conversations that have none.
    pub system: Option<String>,
    /// Tokens after which a sample is cut off.
    pub max_length: u32,
    /// Tokens of the samples that a long text is cut into; none: it is one sample.
    pub block: Option<u32>,
}

impl TextOptions {
    /// Tokens of a sample at most, unless another number is asked for.
    pub const MAX_LENGTH: u32 = 2048;

    /// A template with a maximum length, and everything else as it is by default.
    pub fn new(template: TemplateKind, max_length: u32) -> Self {
        Self { template, max_length, ..Self::default() }
    }

    /// What an encoding was made with, but for its tokenizer; none of a template that is not known here.
    pub fn of_spec(spec: &EncodingSpec) -> Option<Self> {
        let template = match &spec.template_source {
            Some(source) => TemplateKind::Jinja(source.clone()),
            None => spec.template.parse().ok()?,
        };
        Some(Self { system: spec.system.clone(), ..Self::new(template, spec.max_length) })
    }
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            tokenizer: None,
            template: TemplateKind::Tulu,
            system: None,
            max_length: Self::MAX_LENGTH,
            block: None,
        }
    }
}
