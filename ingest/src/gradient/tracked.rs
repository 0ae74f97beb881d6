//! Selection of the tensors that are differentiated.

use std::fmt;

use glob::{MatchOptions, Pattern};
use gstore_core::Remedy;

use gstore_model::architectures::{Decoder, Param, TensorRole};
use gstore_model::params::TensorSpec;

/// Which of a model's own weights are differentiated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModuleSelection {
    /// Globs over the names of modules (`*.mlp.*`, `lm_head`); empty: the linear layers of the blocks.
    pub patterns: Vec<String>,
    /// Biases of the chosen linear layers as well.
    pub biases: bool,
}

const BIASES_ALONE: &str = "biases of the blocks as well";
const WITH_BIASES: &str = ", with biases";

impl fmt::Display for ModuleSelection {
    /// The patterns, and whether biases go with them; nothing for the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.patterns.join(", "))?;
        match (self.biases, self.patterns.is_empty()) {
            (true, true) => f.write_str(BIASES_ALONE),
            (true, false) => f.write_str(WITH_BIASES),
            (false, _) => Ok(()),
        }
    }
}

impl ModuleSelection {
    /// The selection that prints like this.
    pub(crate) fn from_text(text: &str) -> Self {
        let (patterns, biases) = match text.strip_suffix(WITH_BIASES) {
            _ if text == BIASES_ALONE => ("", true),
            Some(patterns) => (patterns, true),
            None => (text, false),
        };
        // No pattern has a comma: the command line splits there.
        let patterns = patterns.split(", ").filter(|pattern| !pattern.is_empty()).map(str::to_owned);
        Self { patterns: patterns.collect(), biases }
    }
}

/// Why a selection of modules cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum SelectionError {
    /// A text that is no glob.
    #[error("{}: {message}", Remedy::Option("modules", pattern))]
    Pattern { pattern: String, message: String },
    #[error(
        "{} matches no module of this {architecture}; it has for example {examples}",
        Remedy::Option("modules", pattern)
    )]
    NoMatch { pattern: String, architecture: String, examples: String },
    #[error(
        "the head shares the weight of {embedding} in this model: ask for {}",
        Remedy::Option("modules", embedding)
    )]
    TiedHead { embedding: String },
}

impl ModuleSelection {
    /// The chosen tensors, as indices into `decoder.params`, ascending.
    ///
    /// # Errors
    /// An invalid glob, or one that matches nothing.
    pub fn resolve(&self, decoder: &Decoder) -> Result<Vec<usize>, SelectionError> {
        let mut chosen = vec![false; decoder.params.len()];
        if self.patterns.is_empty() {
            for (chosen, param) in chosen.iter_mut().zip(&decoder.params) {
                *chosen = param.is_map_of_layer();
            }
        }
        for text in &self.patterns {
            let pattern = Pattern::new(text).map_err(|error| SelectionError::Pattern {
                pattern: text.clone(),
                message: error.to_string(),
            })?;
            let mut found = false;
            for (chosen, param) in chosen.iter_mut().zip(&decoder.params) {
                if matches(&pattern, param) && !matches!(param.role, TensorRole::Bias(_)) {
                    (*chosen, found) = (true, true);
                }
            }
            if !found {
                return Err(no_match_error(text, &pattern, decoder));
            }
        }
        if self.biases {
            let modules: Vec<&str> = chosen_modules(decoder, &chosen).collect();
            let biases: Vec<bool> = decoder
                .params
                .iter()
                .map(|param| matches!(param.role, TensorRole::Bias(_)) && modules.contains(&param.module()))
                .collect();
            chosen.iter_mut().zip(biases).for_each(|(chosen, bias)| *chosen |= bias);
        }
        Ok((0..chosen.len()).filter(|i| chosen[*i]).collect())
    }
}

fn chosen_modules<'a>(decoder: &'a Decoder, chosen: &'a [bool]) -> impl Iterator<Item = &'a str> {
    decoder.params.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(param, _)| param.module())
}

/// A glob means a module or a tensor; letter case counts, `*` runs over dots.
fn matches(pattern: &Pattern, param: &Param) -> bool {
    let options = MatchOptions::new();
    // A tied head is another name of the embedding's file entry, not of the embedding.
    let aliases = param.aliases.iter().filter(|_| param.role != TensorRole::Embedding);
    let mut names = std::iter::once(&param.name).chain(aliases);
    names.any(|name| {
        let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
        pattern.matches_with(module, options) || pattern.matches_with(name, options)
    })
}

fn no_match_error(text: &str, pattern: &Pattern, decoder: &Decoder) -> SelectionError {
    let embedding = decoder.params.iter().find(|param| param.role == TensorRole::Embedding);
    let of_head = |name: &&str| pattern.matches(name) || pattern.matches(&format!("{name}.weight"));
    let means_head = ["lm_head", "embed_out"].iter().any(of_head);
    if let Some(embedding) = embedding.filter(|_| decoder.tied && means_head) {
        return SelectionError::TiedHead { embedding: embedding.module().to_owned() };
    }
    let mut modules: Vec<&str> = Vec::new();
    for param in &decoder.params {
        if modules.last() != Some(&param.module()) && modules.len() < 6 {
            modules.push(param.module());
        }
    }
    SelectionError::NoMatch {
        pattern: text.to_owned(),
        architecture: decoder.architecture.to_owned(),
        examples: modules.join(", "),
    }
}

/// The chosen tensors as vectors hold them: weights as `[out, input]`.
pub fn tensor_specs(decoder: &Decoder, tracked: &[usize]) -> Vec<TensorSpec> {
    let params = tracked.iter().filter_map(|index| decoder.params.get(*index));
    params.map(|param| TensorSpec { name: param.name.clone(), shape: param.shape.clone() }).collect()
}
