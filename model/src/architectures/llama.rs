//! Llama: grouped queries, RMS norms before each half, a gated MLP, rotary positions with scaling.

use super::blocks::{self, ATTENTION, PRE_NORMS};
use super::decoder::{Decoder, LinearKind};
use super::family::Family;
use super::options::SizeDefaults;
use super::rope::RopeSettings;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "LlamaForCausalLM",
    model_type: "llama",
    settings: &["attention_bias", "mlp_bias"],
    read,
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: None, head_dim: None, max_positions: 2048 };
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &RopeSettings::WHOLE, 1e-6)?;
    let mut biased = if config.bool("attention_bias")? { ATTENTION.to_vec() } else { Vec::new() };
    if config.bool("mlp_bias")? {
        biased.extend([LinearKind::Gate, LinearKind::Up, LinearKind::Down]);
    }
    Ok(blocks::finish_unfused(decoder, &PRE_NORMS, &biased))
}
