//! Phi 3 and Phi 4: Llama with fused projections, partial rotary positions, optional sliding window.

use super::blocks::{self, PRE_NORMS};
use super::decoder::{Decoder, LinearKind, Mlp, RowRuns};
use super::family::Family;
use super::options::{self, ModelSizes, SizeDefaults};
use super::rope::{self, RopeSettings};
use crate::backend::NormKind;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "Phi3ForCausalLM",
    model_type: "phi3",
    settings: &["partial_rotary_factor", "sliding_window"],
    read,
};

const ROPE: RopeSettings = RopeSettings {
    kinds: &["default"],
    theta_key: "rope_theta",
    share: Some(("partial_rotary_factor", 1.0)),
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let sizes =
        ModelSizes::read(config, SizeDefaults { kv_heads: None, head_dim: None, max_positions: 4096 })?;
    let positions = rope::read(config, &ROPE, sizes.heads.dim, sizes.max_positions)?;
    let norm = options::norm(config, NormKind::Rms, "rms_norm_eps", 1e-5)?;
    let decoder = Decoder {
        mlp: Mlp::Gated(options::activation(config, "hidden_act", "silu")?),
        tied: options::flag(config, "tie_word_embeddings", false)?,
        windows: vec![options::size_or_null(config, "sliding_window", None)?; sizes.layers],
        ..blocks::plain(FAMILY.architecture, &sizes, positions, norm)
    };
    let (q, kv) = (sizes.heads.query * sizes.heads.dim, sizes.heads.kv * sizes.heads.dim);
    let attention = [
        (LinearKind::Q, RowRuns::range(0, q)),
        (LinearKind::K, RowRuns::range(q, kv)),
        (LinearKind::V, RowRuns::range(q + kv, kv)),
    ];
    let mlp = [
        (LinearKind::Gate, RowRuns::range(0, sizes.inner)),
        (LinearKind::Up, RowRuns::range(sizes.inner, sizes.inner)),
    ];
    Ok(blocks::finish(decoder, &PRE_NORMS, |tensors, layer| {
        let module = |name: &str| format!("model.layers.{layer}.{name}");
        tensors.linear(module("self_attn.o_proj"), layer, LinearKind::O, false);
        tensors.fused(module("self_attn.qkv_proj"), layer, &attention, false);
        tensors.fused(module("mlp.gate_up_proj"), layer, &mlp, false);
        tensors.linear(module("mlp.down_proj"), layer, LinearKind::Down, false);
    }))
}
