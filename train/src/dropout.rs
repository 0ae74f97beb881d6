//! Dropout rates of a training, and the keys of the rows of a step.

use gstore_model::architectures::Decoder;
use gstore_model::{Dropout, Layout};

use crate::error::TrainError;
use crate::random::Stream;

/// Shares of values that are dropped in training, each in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DropoutRates {
    /// Of the inputs of LoRA factors.
    pub lora: f64,
    /// Of what embedding, attention and MLP add to the residual stream, in the families that have it; Phi-3
    /// keeps its embedding.
    pub hidden: f64,
}

/// Architectures whose implementation in transformers drops hidden states.
const WITH_HIDDEN: [&str; 3] = ["GPT2LMHeadModel", "GPTNeoXForCausalLM", PHI3];

/// Has a rate for its embedding in its configuration, which transformers never applies.
const PHI3: &str = "Phi3ForCausalLM";

impl DropoutRates {
    /// Whether nothing is dropped.
    pub fn is_none(&self) -> bool {
        *self == DropoutRates::default()
    }

    /// An error unless the rates are shares, and the model and the method have places for them.
    pub(crate) fn check(&self, decoder: &Decoder, has_factors: bool) -> Result<(), TrainError> {
        let DropoutRates { lora, hidden } = *self;
        let refuse = |what: String| Err(TrainError::Option(what));
        if let Some(rate) = [lora, hidden].into_iter().find(|rate| !(0.0..1.0).contains(rate)) {
            return refuse(format!("a dropout of {rate} cannot be used: at least 0 and below 1"));
        }
        if lora > 0.0 && !has_factors {
            return refuse("a dropout of LoRA factors where none are trained".to_owned());
        }
        if hidden > 0.0 && !WITH_HIDDEN.contains(&decoder.architecture) {
            return refuse(format!(
                "{} has no dropout of hidden states; {} have it",
                decoder.architecture,
                WITH_HIDDEN.join(", ")
            ));
        }
        Ok(())
    }

    /// The dropout of a layout whose first sample is number `first` of its step; `stream` is the step's.
    pub(crate) fn of_rows(
        &self,
        decoder: &Decoder,
        layout: &Layout,
        first: usize,
        stream: Stream,
    ) -> Dropout {
        let mut keys = Vec::with_capacity(layout.rows());
        for (sample, span) in (first as u64..).zip(&layout.spans) {
            keys.extend((0..span.len() as u64).map(|position| stream.bits((sample << 32) | position)));
        }
        let hidden = self.hidden as f32;
        let embedding = if decoder.architecture == PHI3 { 0.0 } else { hidden };
        Dropout { lora: self.lora as f32, embedding, hidden, keys }
    }
}
