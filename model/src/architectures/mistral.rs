//! Mistral: Llama without biases whose layers may all have a sliding window.

use super::blocks::{self, PRE_NORMS};
use super::decoder::Decoder;
use super::family::Family;
use super::options::{self, SizeDefaults};
use super::rope::RopeSettings;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family =
    Family { architecture: "MistralForCausalLM", model_type: "mistral", settings: &["sliding_window"], read };

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: Some(8), head_dim: None, max_positions: 131_072 };
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &RopeSettings::WHOLE, 1e-6)?;
    let window = options::size_or_null(config, "sliding_window", Some(4096))?;
    let decoder = Decoder { windows: vec![window; decoder.layers], ..decoder };
    Ok(blocks::finish_unfused(decoder, &PRE_NORMS, &[]))
}
