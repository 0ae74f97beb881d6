//! Samples as tokens, and what a step makes of them.

use gstore_model::PackedSample;
use gstore_model::architectures::{Decoder, PositionEncoding};

use crate::error::TrainError;

/// A tokenised sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each token is scored; the first never is.
    pub scored: Vec<bool>,
}

impl Sample {
    /// The sample as the passes take it.
    pub fn packed(&self) -> PackedSample<'_> {
        PackedSample::new(&self.ids, &self.scored)
    }

    /// Tokens that are scored.
    pub fn scored_tokens(&self) -> usize {
        self.packed().scored_tokens()
    }

    /// An error unless a model can compute the sample, which is number `sample`.
    pub(crate) fn check(&self, sample: usize, decoder: &Decoder) -> Result<(), TrainError> {
        let Decoder { vocab_size: vocab, max_positions, .. } = *decoder;
        let tokens = self.ids.len();
        if tokens != self.scored.len() {
            return Err(TrainError::Option(format!("sample {sample} has {tokens} tokens and other flags")));
        }
        if decoder.positions == PositionEncoding::Learned && tokens > max_positions {
            return Err(TrainError::TooLong { sample, tokens, max_positions });
        }
        match self.ids.iter().find(|token| **token as usize >= vocab) {
            Some(token) => Err(TrainError::UnknownToken { sample, token: *token, vocab }),
            None => Ok(()),
        }
    }
}

/// A sample of a step and the weight of each of its tokens' losses.
#[derive(Clone, Copy)]
pub(crate) struct WeightedSample<'a> {
    pub sample: &'a Sample,
    pub weight: f32,
    /// What a perturbed objective needs of it.
    pub term: Option<PerturbationTerm>,
}

/// What a perturbed objective needs of a sample in addition to its tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PerturbationTerm {
    /// Its number among those of the ensemble.
    pub number: usize,
    /// Its noise.
    pub xi: f64,
    /// Number of tokens that its loss is divided by.
    pub tokens: f64,
}
