//! Records to token ids and labels.
//!
//! Invariants
//! - a token is scored if it lies after the tokens of the text before a scored part and not after those
//!   of the text up to its end, both counted by tokenizing that text by itself, as LESS does; with a
//!   template in Jinja if it holds a character of a scored part, as in transformers
//! - position 0 is never scored: nothing predicts it
//! - at most `max_length` tokens, the first ones

use std::path::Path;

use gstore_core::many;
use gstore_store::{EncodingSpec, canonical_json, sha256_hex};
use serde_json::json;
use tokenizers::Tokenizer;

use super::Content;
use super::encode_error::EncodeError;
use super::options::TextOptions;
use super::special::{TokenizerFiles, eos_ids, if_there};
use super::template::{ChatTemplate, RenderedText, Template, TemplateKind};
use super::tokenizer::{add_missing, parse_tokenizer, tokenize, tokenize_with_places, tokenizer_digest};
use super::tuned::{self, ForeignToken};

mod blocks;
mod memory;
mod prompt;
mod system;

/// Label of a token that does not count.
const IGNORED: i64 = -100;

/// Vocabularies are padded to a multiple of so many rows, or of fewer.
const PADDING: usize = 128;

/// A sample as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether the token counts for the loss, as a label; the first never does.
    pub scored: Vec<bool>,
    /// Whether tokens beyond the maximum length were left out.
    pub truncated: bool,
}

impl Encoded {
    /// Tokens that count for the loss. Zero also where truncation took all of them.
    pub fn scored_tokens(&self) -> usize {
        self.scored.iter().filter(|s| **s).count()
    }

    /// Labels as PyTorch has them: the id where it is scored, -100 elsewhere; not shifted.
    pub fn labels(&self) -> Vec<i64> {
        let label = |(id, scored): (&u32, &bool)| if *scored { i64::from(*id) } else { IGNORED };
        self.ids.iter().zip(&self.scored).map(label).collect()
    }
}

/// Turns records into tokens: a tokenizer, a template and a maximum length.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    template: Template,
    spec: EncodingSpec,
    max_length: usize,
    /// Tokens of the samples that long texts are cut into.
    block: Option<usize>,
    /// Tokens that the tokenizer adds after every text.
    trailing: usize,
    files: TokenizerFiles,
    /// Tokens that are not the same in a fine-tune's tokenizer and this one; no text may contain one.
    foreign: Vec<ForeignToken>,
    /// Bytes of memory that a text may take; none: what is available.
    max_memory: Option<u64>,
}

impl TextOptions {
    /// The encoder, with the tokenizer of `model` unless another is named.
    ///
    /// # Errors
    /// Files of a tokenizer that cannot be used, a template that they lack, lengths that exclude each other.
    pub fn encoder(&self, model: &Path) -> Result<TextEncoder, EncodeError> {
        let TextOptions { tokenizer, template, system, max_length, block } = self;
        let folder = tokenizer.as_deref().unwrap_or(model);
        if *max_length == 0 {
            return Err(EncodeError::NoLength);
        }
        if let Some(block) = block.filter(|block| block > max_length) {
            return Err(EncodeError::BlockTooLong { block, max_length: *max_length });
        }
        let path = folder.join("tokenizer.json");
        let Some(bytes) = if_there(fs_err::read(&path))? else { return Err(missing_tokenizer(folder)) };
        let bad = |message: String| EncodeError::BadFile { path: path.clone(), message };
        let mut tokenizer = parse_tokenizer(&bytes).map_err(bad)?;
        let mut files = TokenizerFiles::read(folder)?;
        let settings = files.settings.apply(&mut tokenizer);
        add_missing(&mut tokenizer, &mut files.added)?;
        let (prepared, digest) = prepare(template, &files, &tokenizer, folder)?;
        let spec = EncodingSpec {
            tokenizer: tokenizer_digest(&bytes, &files.added, settings),
            template: template.name().to_owned(),
            template_source: match template {
                TemplateKind::Jinja(source) => Some(source.clone()),
                _ => None,
            },
            system: system.clone(),
            template_digest: Some(digest),
            max_length: *max_length,
        };
        Ok(TextEncoder {
            trailing: trailing_tokens(&tokenizer)?,
            tokenizer,
            template: prepared,
            spec,
            max_length: *max_length as usize,
            block: block.map(|block| block as usize),
            files,
            foreign: Vec::new(),
            max_memory: None,
        })
    }
}

impl TextEncoder {
    /// Takes a fine-tune's folder for one more model of this encoding. What its folder lacks of a
    /// tokenizer is the base's.
    ///
    /// From then on a text with a token that the two do not share is an error: they would read it
    /// differently.
    ///
    /// # Errors
    /// A tokenizer or template that would give other tokens.
    pub fn share_with(&mut self, tuned: &Path) -> Result<(), EncodeError> {
        let own = TokenizerFiles::read(tuned)?;
        tuned::check_template(&self.template, &self.files, &own, tuned)?;
        let foreign = tuned::foreign_tokens(&self.tokenizer, &self.files, tuned, own)?;
        self.foreign.extend(foreign);
        Ok(())
    }

    /// Whether another encoder's tokenizer gives the same tokens, but for those that were only added to one.
    ///
    /// # Errors
    /// A tokenizer that the library cannot write.
    pub fn shares_tokenizer(&self, other: &Self) -> Result<bool, EncodeError> {
        if self.spec.tokenizer == other.spec.tokenizer {
            return Ok(true);
        }
        tuned::share_parts(&self.tokenizer, &other.tokenizer).map_err(EncodeError::Tokenizer)
    }

    /// Whether the tokenizer of a fine-tune has other tokens.
    pub fn has_foreign_tokens(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// What is wrong with a record whose text has a token that a fine-tune's tokenizer does not have alike. What
    /// else may be wrong with it, [`Self::encode`] says.
    pub fn foreign_token(&self, content: &Content) -> Option<EncodeError> {
        let rendered = self.template.render(&self.with_system(content)).ok()?;
        self.foreign_in(&rendered.text)
    }

    fn foreign_in(&self, text: &str) -> Option<EncodeError> {
        let token = self.foreign.iter().find(|token| text.contains(&token.text))?;
        Some(EncodeError::TokenOfFineTune { token: token.text.clone(), of: token.of.clone() })
    }

    /// Checks that a model of so many tokens has a row for all that the tokenizer was made with. Tokens that
    /// were added to it later may lack one, as of some published models: a text with such a token is refused
    /// when it is read, and a note that is given back says so. A tokenizer that has far fewer tokens than the
    /// model has a note too, and one that transformers reads differently.
    ///
    /// # Errors
    /// A tokenizer that was made for a larger model.
    pub fn check_vocabulary(&self, vocabulary: usize) -> Result<Vec<String>, EncodeError> {
        let tokens = self.tokenizer.get_vocab_size(false);
        if tokens > vocabulary {
            return Err(EncodeError::OtherVocabulary { tokens, vocabulary });
        }
        let mut notes: Vec<String> = self.files.settings.note(&self.tokenizer).into_iter().collect();
        let added = self.tokenizer.get_added_tokens_decoder().into_keys();
        let tokens = self.tokenizer.get_vocab_size(true);
        if let Some(last) = added.max().filter(|last| *last as usize >= vocabulary) {
            notes.push(format!(
                "the tokenizer has added tokens up to token {last}, and the model's vocabulary has {vocabulary}: a text \
                 with one beyond it is refused"
            ));
        } else if is_far_below(tokens, vocabulary) {
            notes.push(format!(
                "the tokenizer has {}, and the model's vocabulary {vocabulary}: it is probably that of another model",
                many(tokens as u64, "token")
            ));
        }
        Ok(notes)
    }

    /// Tokens of the samples that long texts are cut into; none: they are not.
    pub fn block(&self) -> Option<usize> {
        self.block
    }

    /// What identifies the encoding. The template's digest covers the chat template and the special tokens
    /// that it may write, for the other templates the end token.
    pub fn spec(&self) -> EncodingSpec {
        self.spec.clone()
    }

    /// Encodes one record. An empty text has no tokens at all.
    pub fn encode(&self, content: &Content) -> Result<Encoded, EncodeError> {
        let rendered = self.template.render(&self.with_system(content))?;
        if let Some(error) = self.foreign_in(&rendered.text) {
            return Err(error);
        }
        let (mut ids, mut scored) = match rendered.add_special {
            true => self.scored_by_count(&rendered)?,
            false => self.scored_by_character(&rendered)?,
        };
        let truncated = ids.len() > self.max_length;
        ids.truncate(self.max_length);
        scored.truncate(self.max_length);
        if let Some(first) = scored.first_mut() {
            *first = false;
        }
        Ok(Encoded { ids, scored, truncated })
    }

    /// Tokens, and which of the first `max_length` are scored: told by the number of tokens before a part.
    fn scored_by_count(&self, rendered: &RenderedText) -> Result<(Vec<u32>, Vec<bool>), EncodeError> {
        let ids = self.ids(&rendered.text, true)?;
        let mut scored = vec![false; ids.len().min(self.max_length)];
        for range in &rendered.scored {
            let start = self.tokens_before(&rendered.text, range.start, scored.len())?;
            if start >= scored.len() {
                break;
            }
            let end = self.tokens_before(&rendered.text, range.end, scored.len())?;
            if let Some(part) = scored.get_mut(start..end) {
                part.fill(true);
            }
        }
        Ok((ids, scored))
    }

    /// Tokens, and which of them are scored: those with a character of a part.
    fn scored_by_character(&self, rendered: &RenderedText) -> Result<(Vec<u32>, Vec<bool>), EncodeError> {
        let tokens = tokenize_with_places(self.tokenizer_for(&rendered.text)?, &rendered.text)?;
        let mut parts = rendered.scored.iter().filter(|part| !part.is_empty()).peekable();
        let mut before = 0;
        let is_scored = |&(start, end): &(usize, usize)| {
            // Some tokenizers leave spaces at the ends of a token out of its place: it may have none.
            let start = if start == end { start.min(before) } else { start };
            before = end;
            while parts.next_if(|part| part.end <= start).is_some() {}
            parts.peek().is_some_and(|part| part.start < end)
        };
        let scored = tokens.get_offsets().iter().map(is_scored).collect();
        Ok((tokens.get_ids().to_vec(), scored))
    }

    /// The text of each token: one after the other they are the decoded sample. A token that ends within a
    /// character has none; the one that completes the character has it.
    ///
    /// # Errors
    /// Ids that the tokenizer does not have.
    pub fn texts(&self, encoded: &Encoded) -> Result<Vec<String>, EncodeError> {
        let mut stream = self.tokenizer.decode_stream(false);
        let failed = |error: tokenizers::Error| EncodeError::Tokenizer(error.to_string());
        encoded.ids.iter().map(|id| Ok(stream.step(*id).map_err(failed)?.unwrap_or_default())).collect()
    }

    fn ids(&self, text: &str, add_special: bool) -> Result<Vec<u32>, EncodeError> {
        tokenize(self.tokenizer_for(text)?, text, add_special)
    }

    /// Tokens of the text before byte `end`, at most `limit`.
    fn tokens_before(&self, text: &str, end: usize, limit: usize) -> Result<usize, EncodeError> {
        if end == 0 {
            return Ok(0);
        }
        if end == text.len() {
            return Ok(limit);
        }
        Ok(self.ids(&text[..end], true)?.len().saturating_sub(self.trailing).min(limit))
    }
}

/// Why a folder without `tokenizer.json` cannot be used, and how it gets one.
fn missing_tokenizer(folder: &Path) -> EncodeError {
    let others = ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"];
    let hint = match others.into_iter().find(|name| folder.join(name).exists()) {
        Some(other) => {
            let path = folder.display();
            format!(
                "\n  {other} alone is not read; transformers writes the file from it: \
                 AutoTokenizer.from_pretrained({path:?}).save_pretrained({path:?})"
            )
        }
        None => "\n  copy these files from the model that this one was made from".to_owned(),
    };
    EncodeError::NoTokenizer { folder: folder.to_owned(), hint }
}

/// Whether a vocabulary is larger than that of a tokenizer by more than padding and tokens that are kept
/// free. Of a tokenizer of bytes padding alone may be a third.
fn is_far_below(tokens: usize, vocabulary: usize) -> bool {
    tokens < vocabulary / 4 * 3 && tokens.next_multiple_of(PADDING) < vocabulary
}

/// How many tokens the tokenizer's post-processor puts behind a text.
fn trailing_tokens(tokenizer: &Tokenizer) -> Result<usize, EncodeError> {
    let (with, without) = (tokenize(tokenizer, "a", true)?, tokenize(tokenizer, "a", false)?);
    let added = with.len().saturating_sub(without.len());
    let leading = (0..=added).find(|at| with.get(*at..).is_some_and(|rest| rest.starts_with(&without)));
    Ok(added - leading.unwrap_or(added))
}

/// The template and the digest of the text that it adds to the record's own.
fn prepare(
    kind: &TemplateKind,
    files: &TokenizerFiles,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<(Template, String), EncodeError> {
    let digest = |description| sha256_hex(canonical_json(&description).as_bytes());
    let source = match kind {
        TemplateKind::Chat => Some(
            files.chat_template.as_deref().ok_or_else(|| EncodeError::NoChatTemplate(folder.to_owned()))?,
        ),
        kind => kind.source(),
    };
    if let Some(source) = source {
        let special = files.special_for(source);
        let named: serde_json::Map<String, serde_json::Value> =
            special.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
        let atoms = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content);
        let atoms = atoms.filter(|text| !text.is_empty()).collect();
        let template = ChatTemplate::new(source, &special, atoms)?;
        let mut written = json!({ "template": source, "special_tokens": named });
        // Other tokens of such answers are scored in stores of earlier versions: features of both are not
        // to be mixed.
        if template.has_marks() || template.opens_with_space() {
            written["scored"] = "by character".into();
        }
        return Ok((Template::Chat(Box::new(template)), digest(written)));
    }
    let eos = match files.eos() {
        Some(eos) => Some(eos.to_owned()),
        None => eos_ids(folder)?.first().and_then(|id| tokenizer.id_to_token(*id)),
    };
    let eos = eos.ok_or_else(|| EncodeError::NoEos(folder.to_owned()))?;
    let digest = digest(json!({ "eos_token": eos }));
    let template = match kind {
        TemplateKind::Plain => Template::Plain { eos },
        TemplateKind::TuluChat => Template::TuluChat { eos },
        _ => Template::Tulu { eos },
    };
    Ok((template, digest))
}
