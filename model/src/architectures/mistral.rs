//! Mistral: Llama without biases whose layers may all have a sliding window.

use super::blocks::{self, PRE_NORMS};
use super::decoder::{Decoder, Mlp};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family =
    Family { architecture: "MistralForCausalLM", model_type: "mistral", settings: &["sliding_window"], read };

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes =
        ModelSizes::read(config, SizeDefaults { kv_heads: Some(8), head_dim: None, max_positions: 131_072 })?;
    let positions = rope::read(config, &RopeSettings::WHOLE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-6)?;
    let decoder = Decoder {
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        windows: vec![options::size_or_null(config, "sliding_window", Some(4096))?; sizes.layers],
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    Ok(blocks::finish(decoder, &PRE_NORMS, |tensors, layer| {
        tensors.attention(layer, &[]);
        tensors.gated_mlp(layer, false);
    }))
}
