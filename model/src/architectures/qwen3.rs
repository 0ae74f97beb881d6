//! Qwen 3: Llama with a norm of each query and key head, and an explicit width of heads.

use super::blocks::{self, ATTENTION, PRE_NORMS};
use super::decoder::{Decoder, QkNorm};
use super::family::Family;
use super::options::SizeDefaults;
use super::qwen2;
use super::rope::RopeSettings;
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
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &RopeSettings::WHOLE, 1e-6)?;
    let windows = qwen2::layer_windows(config, decoder.layers)?;
    let decoder = Decoder { head_norm: QkNorm::Each, windows, ..decoder };
    let biased = if config.bool("attention_bias")? { &ATTENTION[..] } else { &[] };
    Ok(blocks::finish_unfused(decoder, &PRE_NORMS, biased))
}
