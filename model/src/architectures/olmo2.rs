//! OLMo 2: Llama with norms after each half in place of before, and a norm of all queries and of all keys.

use super::blocks::{self, ATTENTION};
use super::decoder::{Decoder, Mlp, NormPlace, QkNorm};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family =
    Family { architecture: "Olmo2ForCausalLM", model_type: "olmo2", settings: &["attention_bias"], read };

const NORMS: [(&str, NormPlace); 2] = [
    ("post_attention_layernorm", NormPlace::AfterAttention),
    ("post_feedforward_layernorm", NormPlace::AfterMlp),
];

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes =
        ModelSizes::read(config, SizeDefaults { kv_heads: None, head_dim: None, max_positions: 2048 })?;
    let positions = rope::read(config, &RopeSettings::WHOLE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-5)?;
    let decoder = Decoder {
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        head_norm: QkNorm::Whole,
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    Ok(blocks::finish(decoder, &NORMS, |tensors, layer| {
        tensors.attention(layer, biased);
        tensors.gated_mlp(layer, false);
    }))
}
