//! Llama: grouped queries, RMS norms before each half, a gated MLP, rotary positions with scaling.

use super::blocks::{self, ATTENTION, PRE_NORMS};
use super::decoder::{Decoder, Mlp};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "LlamaForCausalLM",
    model_type: "llama",
    settings: &["attention_bias", "mlp_bias"],
    read,
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes =
        ModelSizes::read(config, SizeDefaults { kv_heads: None, head_dim: None, max_positions: 2048 })?;
    let positions = rope::read(config, &RopeSettings::WHOLE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-6)?;
    let decoder = Decoder {
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    let mlp_bias = config.bool("mlp_bias")?;
    Ok(blocks::finish(decoder, &PRE_NORMS, |tensors, layer| {
        tensors.attention(layer, biased);
        tensors.gated_mlp(layer, mlp_bias);
    }))
}
