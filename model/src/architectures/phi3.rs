//! Phi 3 and Phi 4: Llama with fused projections, partial rotary positions, optional sliding window.

use super::blocks::{self, PRE_NORMS};
use super::decoder::{Decoder, LinearKind, RowRuns};
use super::family::Family;
use super::options::{self, SizeDefaults};
use super::rope::RopeSettings;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "Phi3ForCausalLM",
    model_type: "phi3",
    settings: &["partial_rotary_factor", "sliding_window"],
    read,
};

const ROPE: RopeSettings = RopeSettings {
    kinds: &["default", "longrope"],
    names_of_longrope: &["su", "yarn"],
    original: Some(4096.0),
    share: Some(("partial_rotary_factor", 1.0)),
    ..RopeSettings::WHOLE
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: None, head_dim: None, max_positions: 4096 };
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &ROPE, 1e-5)?;
    let window = options::size_or_null(config, "sliding_window", None)?;
    let padding_row = options::padding_row(config, decoder.vocab_size, Some(32_000))?;
    let decoder = Decoder { padding_row, windows: vec![window; decoder.layers], ..decoder };
    let (heads, inner) = (decoder.heads, decoder.intermediate_size);
    let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
    let attention = [
        (LinearKind::Q, RowRuns::range(0, q)),
        (LinearKind::K, RowRuns::range(q, kv)),
        (LinearKind::V, RowRuns::range(q + kv, kv)),
    ];
    let mlp = [(LinearKind::Gate, RowRuns::range(0, inner)), (LinearKind::Up, RowRuns::range(inner, inner))];
    Ok(blocks::finish(decoder, &PRE_NORMS, |tensors, layer| {
        let module = |name: &str| format!("model.layers.{layer}.{name}");
        tensors.linear(module("self_attn.o_proj"), layer, LinearKind::O, false);
        tensors.fused(module("self_attn.qkv_proj"), layer, &attention, false);
        tensors.fused(module("mlp.gate_up_proj"), layer, &mlp, false);
        tensors.linear(module("mlp.down_proj"), layer, LinearKind::Down, false);
    }))
}
