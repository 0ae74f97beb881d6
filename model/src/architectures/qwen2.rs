//! Qwen 2 and 2.5: Llama with biases on queries, keys and values; the upper layers may have a sliding window.

use super::blocks::{self, PRE_NORMS};
use super::decoder::{Decoder, LinearKind};
use super::family::Family;
use super::options::{self, SizeDefaults};
use super::rope::RopeSettings;
use super::windows;
use crate::files::ModelError;
use crate::files::json::JsonObject;

pub(super) const FAMILY: Family = Family {
    architecture: "Qwen2ForCausalLM",
    model_type: "qwen2",
    settings: &["sliding_window", "use_sliding_window"],
    read,
};

fn read(config: JsonObject<'_>) -> Result<Decoder, ModelError> {
    let defaults = SizeDefaults { kv_heads: Some(32), head_dim: None, max_positions: 32_768 };
    let decoder = blocks::configured(config, FAMILY.architecture, defaults, &RopeSettings::WHOLE, 1e-6)?;
    let decoder = Decoder { windows: layer_windows(config, decoder.layers)?, ..decoder };
    Ok(blocks::finish_unfused(decoder, &PRE_NORMS, &[LinearKind::Q, LinearKind::K, LinearKind::V]))
}

/// `sliding_window` counts only with `use_sliding_window`, and where `layer_types` is missing only from layer
/// `max_window_layers` on.
pub(super) fn layer_windows(config: JsonObject<'_>, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = match config.bool("use_sliding_window")? {
        true => options::size_or_null(config, "sliding_window", Some(4096))?,
        false => None,
    };
    let first = config.count("max_window_layers")?.unwrap_or(28);
    windows::read(config, layers, window, |layer| window.is_some() && layer >= first)
}
