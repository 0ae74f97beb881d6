//! OLMo 2: Llama with norms after each half in place of before, and a norm of all queries and of all keys.

use super::blocks::{self, ATTENTION};
use super::decoder::{Decoder, NormPlace, QkNorm};
use super::family::Family;
use super::options::{self, SizeDefaults};
use super::rope::RopeSettings;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family =
    Family { architecture: "Olmo2ForCausalLM", model_type: "olmo2", settings: &["attention_bias"], read };

const NORMS: [(&str, NormPlace); 2] = [
    ("post_attention_layernorm", NormPlace::AfterAttention),
    ("post_feedforward_layernorm", NormPlace::AfterMlp),
];

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: None, head_dim: None, max_positions: 2048 };
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &RopeSettings::WHOLE, 1e-5)?;
    let padding_row = options::padding_row(config, decoder.vocab_size, Some(1))?;
    let decoder = Decoder { padding_row, head_norm: QkNorm::Whole, ..decoder };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    Ok(blocks::finish_unfused(decoder, &NORMS, biased))
}
