//! Qwen 3: Llama with a norm of each query and key head, and an explicit width of heads.

use super::blocks::{self, ATTENTION, PRE_NORMS};
use super::decoder::{Decoder, Mlp, QkNorm};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::qwen2;
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "Qwen3ForCausalLM",
    model_type: "qwen3",
    settings: &["attention_bias", "sliding_window", "use_sliding_window"],
    read,
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: Some(32), head_dim: Some(128), max_positions: 32_768 };
    let sizes = ModelSizes::read(config, defaults)?;
    let positions = rope::read(config, &RopeSettings::WHOLE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-6)?;
    let decoder = Decoder {
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        head_norm: QkNorm::Each,
        windows: qwen2::layer_windows(config, sizes.layers)?,
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    Ok(blocks::finish(decoder, &PRE_NORMS, |tensors, layer| {
        tensors.attention(layer, biased);
        tensors.gated_mlp(layer, false);
    }))
}
