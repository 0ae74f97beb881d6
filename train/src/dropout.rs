//! Dropout rates of a training, and the keys of the rows of a step.

use gstore_model::architectures::Decoder;
use gstore_model::{Dropout, Layout};
use serde_json::{Value, json};

use crate::error::TrainError;
use crate::random::RandomStream;

/// Shares of values that are dropped in training, each in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DropoutRates {
    /// Of the inputs of LoRA factors.
    pub lora: f64,
    /// Of what embedding, attention and MLP add to the residual stream, in the families that have it; Phi-3
    /// keeps its embedding.
    pub hidden: f64,
    /// Of attention's weights.
    pub attention: f64,
}

/// Keys of a `config.json` under which transformers finds rates of dropout that it trains with.
const OF_ATTENTION: [&str; 2] = ["attention_dropout", "attn_pdrop"];
const OF_HIDDEN: [&str; 3] = ["hidden_dropout", "resid_pdrop", "embd_pdrop"];

/// Architectures whose implementation in transformers drops hidden states.
const WITH_HIDDEN: [&str; 3] = ["GPT2LMHeadModel", "GPTNeoXForCausalLM", PHI3];

/// Has a rate for its embedding in its configuration, which transformers never applies.
const PHI3: &str = "Phi3ForCausalLM";

impl DropoutRates {
    /// Whether nothing is dropped.
    pub fn is_none(&self) -> bool {
        *self == DropoutRates::default()
    }

    /// The rates as a part of what decides a training; that of attention's weights only where it is one.
    pub(crate) fn identity(&self) -> Value {
        let mut rates = json!({ "lora": self.lora, "hidden": self.hidden });
        if self.attention > 0.0 {
            rates["attention"] = json!(self.attention);
        }
        rates
    }

    /// An error unless the rates are shares, and the model and the method have places for them.
    pub(crate) fn check(&self, decoder: &Decoder, has_factors: bool) -> Result<(), TrainError> {
        let DropoutRates { lora, hidden, attention } = *self;
        let refuse = |what: String| Err(TrainError::Option(what));
        if let Some(rate) = [lora, hidden, attention].into_iter().find(|rate| !(0.0..1.0).contains(rate)) {
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

    /// What the configuration of a model says of dropout in training, where these rates are others.
    pub(crate) fn differ(&self, config: &Value, decoder: &Decoder) -> Vec<String> {
        let is_applied = |key: &str| {
            WITH_HIDDEN.contains(&decoder.architecture)
                && (decoder.architecture != PHI3 || key != "embd_pdrop")
        };
        let hidden = OF_HIDDEN.into_iter().filter(|key| is_applied(key)).map(|key| (key, self.hidden));
        let keys = OF_ATTENTION.into_iter().map(|key| (key, self.attention)).chain(hidden);
        let differs = |(key, own): (&str, f64)| {
            let says = config.get(key)?.as_f64().filter(|says| *says > 0.0 && *says != own)?;
            Some(format!(
                "the model's configuration has {key} {says}, which transformers trains with; here it is {own}"
            ))
        };
        keys.filter_map(differs).collect()
    }

    /// The dropout of a layout whose first sample is number `first` of its step; `stream` is the step's.
    pub(crate) fn of_rows(
        &self,
        decoder: &Decoder,
        layout: &Layout,
        first: usize,
        stream: RandomStream,
    ) -> Dropout {
        let mut keys = Vec::with_capacity(layout.rows());
        for (sample, span) in (first as u64..).zip(&layout.spans) {
            keys.extend((0..span.len() as u64).map(|position| stream.bits((sample << 32) | position)));
        }
        let hidden = self.hidden as f32;
        let embedding = if decoder.architecture == PHI3 { 0.0 } else { hidden };
        Dropout { lora: self.lora as f32, embedding, hidden, attention: self.attention as f32, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_transformers_would_drop_is_said() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model/config.json");
        let llama = Decoder::read(std::path::Path::new(path)).unwrap();
        let mut config = json!({ "attention_dropout": 0.0, "hidden_dropout": 0.1 });
        let rates = DropoutRates::default();
        assert!(rates.differ(&config, &llama).is_empty(), "it has no dropout of hidden states");
        config["attention_dropout"] = json!(0.1);
        let [said]: [String; 1] = rates.differ(&config, &llama).try_into().unwrap();
        assert!(said.contains("attention_dropout 0.1") && said.ends_with("here it is 0"), "{said}");
        let same = DropoutRates { attention: 0.1, ..rates };
        assert!(same.differ(&config, &llama).is_empty());
    }
}
