//! Options of a gradient engine, what is wanted of a batch, and the results of a sample.

use gstore_model::{Reduction, SavedActivations};

/// What a loss is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossForm {
    /// Cross-entropy, with this share of a uniform distribution mixed into the target.
    CrossEntropy {
        /// 0 for plain cross-entropy.
        smoothing: f32,
    },
    /// Minus the log-odds of the token, `-ln(p / (1 - p))`: the output function of TRAK (arXiv 2303.14186).
    Margin,
    /// Divergence `KL(p || q)` of the adapted model's predictions p from those of its base, q.
    KlToBase,
}

impl Default for LossForm {
    fn default() -> Self {
        LossForm::CrossEntropy { smoothing: 0.0 }
    }
}

/// How an engine computes; the same for all batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EngineOptions {
    /// What the loss of a token is.
    pub loss: LossForm,
    /// How a sample's losses become one.
    pub reduction: Reduction,
    /// Embeddings are the residual stream after this many layers; none: the final norm's outputs.
    pub embed_layer: Option<usize>,
    /// Embeddings are divided by their L2 norm.
    pub embed_unit: bool,
    /// What layers keep for their backward.
    pub keep: SavedActivations,
}

/// What to compute for each sample of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestedOutputs {
    /// The loss over scored tokens.
    pub loss: bool,
    /// The entropy of the predictions of scored tokens.
    pub entropy: bool,
    /// Mean of the hidden states of all tokens.
    pub embed_mean: bool,
    /// Hidden state of the last token.
    pub embed_last: bool,
    /// Mean of the hidden states, that of the n-th token weighted by n.
    pub embed_weighted: bool,
    /// The features of the gradient.
    pub grad: bool,
}

/// The results of one sample; slices of what was not wanted are empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOutput<'a> {
    /// The loss; 0 without a scored token, or if neither loss nor gradient was wanted.
    pub loss: f32,
    /// Number of scored tokens whose losses count.
    pub scored: u32,
    /// The part of each of these in the loss; empty if neither loss nor gradient was wanted.
    pub token_losses: &'a [f32],
    /// The entropy, reduced as the loss is; 0 without a scored token, or if it was not wanted.
    pub entropy: f32,
    /// The part of each of these tokens in it; empty if it was not wanted.
    pub token_entropies: &'a [f32],
    /// Mean of the hidden states.
    pub embed_mean: &'a [f32],
    /// Hidden state of the last token.
    pub embed_last: &'a [f32],
    /// Mean of the hidden states, weighted by position.
    pub embed_weighted: &'a [f32],
    /// The gradient's projected forms, one after the other.
    pub grads: &'a [f32],
    /// For each module the length of what its block of an eigenbasis leaves out of the gradient, and of the
    /// gradient there; empty unless the projector was asked for it.
    pub residual: &'a [f32],
    /// Whether each form was computed from finite values.
    pub sound: &'a [bool],
}
