//! Settings that families share: sizes, norms, activations, and unsupported values.

use serde_json::Value;

use super::family::Family;
use crate::backend::{Activation, Heads, NormForm, NormKind};
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// More layers than any published decoder has; bounds the memory of a description.
const MAX_LAYERS: usize = 1024;

/// Settings by which some architecture changes its mathematics. A family that does not understand one refuses
/// any value that does something.
const MATHEMATICS: [&str; 44] = [
    "add_cross_attention",
    "alibi",
    "attention_bias",
    "attention_chunk_size",
    "attention_multiplier",
    "attn_logit_softcapping",
    "clip_qkv",
    "embedding_multiplier",
    "final_logit_softcapping",
    "is_encoder_decoder",
    "kv_lora_rank",
    "logit_scale",
    "logits_scaling",
    "mlp_bias",
    "mup_width_multiplier",
    "n_routed_experts",
    "no_rope_layer_interval",
    "no_rope_layers",
    "num_experts",
    "num_kv_shared_layers",
    "num_local_experts",
    "parallel_attn",
    "partial_rotary_factor",
    "per_layer_config",
    "pruned_heads",
    "qk_layernorm",
    "qk_norm",
    "qkv_bias",
    "query_pre_attn_scalar",
    "reorder_and_upcast_attn",
    "residual_multiplier",
    "rotary_emb_base",
    "rotary_pct",
    "scale_attn_by_inverse_layer_idx",
    "scale_depth",
    "scale_emb",
    "sliding_window",
    "use_alibi",
    "use_bidirectional_attention",
    "use_mrope",
    "use_parallel_residual",
    "use_qk_norm",
    "use_sliding_window",
    "vision_config",
];

/// Whether a setting is there and not null, false, zero, one or empty.
pub(super) fn is_set(config: JsonObject<'_>, key: &str) -> bool {
    match config.get(key) {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::Object(o)) => !o.is_empty(),
        Some(Value::Number(n)) => n.as_f64().is_none_or(|n| n != 0.0 && n != 1.0),
        Some(_) => true,
    }
}

/// The error of a setting whose value is not implemented.
pub(super) fn unsupported(config: JsonObject<'_>, key: &str, supported: &str) -> ModelError {
    let value = config.get(key).unwrap_or(&Value::Null);
    ModelError::UnsupportedOption {
        path: config.path.to_owned(),
        setting: format!("{key} {value}"),
        supported: supported.to_owned(),
    }
}

/// Refuses what changes the mathematics of some architecture, but is unknown to this one.
pub(super) fn refuse_unknown_mathematics(config: JsonObject<'_>, family: &Family) -> Result<(), ModelError> {
    for key in ["quantization_config", "compression_config"] {
        if config.get(key).is_some() {
            let what = format!("the model ({key})");
            return Err(ModelError::Quantised { path: config.path.to_owned(), what });
        }
    }
    // Transformers takes any value that Python counts as false for one that is not causal, null among them.
    if config.value.get("is_causal").is_some_and(|value| value.as_bool() != Some(true)) {
        return Err(unsupported(config, "is_causal", "only causal attention is"));
    }
    let file = "transformers_weights";
    if config.get(file).is_some_and(|named| named != "model.safetensors") {
        return Err(unsupported(config, file, "weights are read from model.safetensors or its shards"));
    }
    let no_window = config.get("use_sliding_window").is_some_and(|v| v.as_bool() == Some(false));
    for key in MATHEMATICS {
        let unused = match key {
            "sliding_window" => no_window,
            // A family that does not ask for it has the window of `sliding_window` anyway.
            "use_sliding_window" => family.settings.contains(&"sliding_window"),
            _ => false,
        };
        if !family.settings.contains(&key) && !unused && is_set(config, key) {
            let supported = format!("{} is implemented without it", family.architecture);
            return Err(unsupported(config, key, &supported));
        }
    }
    Ok(())
}

/// `true` or `false`, with the family's default.
pub(super) fn flag(config: JsonObject<'_>, key: &str, default: bool) -> Result<bool, ModelError> {
    if config.get(key).is_some() { config.bool(key) } else { Ok(default) }
}

pub(super) fn positive(object: JsonObject<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    match object.number(key)? {
        Some(v) if !(v.is_finite() && v > 0.0) => {
            Err(object.error(format!("{key} must be a positive number, not {v}")))
        }
        other => Ok(other),
    }
}

/// A positive number: `None` if it is null, and the family's default if it is missing.
pub(super) fn positive_or_null(
    config: JsonObject<'_>,
    key: &str,
    default: Option<f64>,
) -> Result<Option<f64>, ModelError> {
    if config.value.get(key).is_some() { positive(config, key) } else { Ok(default) }
}

/// A size: `None` if it is null, and the family's default if it is missing.
pub(super) fn size_or_null(
    config: JsonObject<'_>,
    key: &str,
    default: Option<usize>,
) -> Result<Option<usize>, ModelError> {
    if config.value.get(key).is_some() { config.size(key) } else { Ok(default) }
}

/// The row of the embedding whose lookups have no gradient: that of `pad_token_id`, as `padding_idx` in
/// PyTorch, which counts a negative one from the end. `default` holds where the setting is missing.
pub(super) fn padding_row(
    config: JsonObject<'_>,
    vocab: usize,
    default: Option<i64>,
) -> Result<Option<u32>, ModelError> {
    let key = "pad_token_id";
    let id = if config.value.get(key).is_some() { config.integer(key)? } else { default };
    let row = id.map(|id| if id < 0 { id + vocab as i64 } else { id });
    Ok(row.and_then(|row| u32::try_from(row).ok()).filter(|row| (*row as usize) < vocab))
}

/// A norm whose epsilon is the setting `key`.
pub(super) fn norm(
    config: JsonObject<'_>,
    kind: NormKind,
    key: &str,
    default: f64,
) -> Result<NormForm, ModelError> {
    Ok(NormForm { kind, eps: positive(config, key)?.unwrap_or(default) as f32 })
}

/// The activation that the setting `key` names as transformers does.
pub(super) fn activation(config: JsonObject<'_>, key: &str, default: &str) -> Result<Activation, ModelError> {
    Ok(match config.string(key)?.unwrap_or(default) {
        "silu" | "swish" => Activation::Silu,
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        _ => {
            let supported = "silu, swish, gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, \
                             gelu_python_tanh and relu are";
            return Err(unsupported(config, key, supported));
        }
    })
}

pub(super) struct ModelSizes {
    pub vocab: usize,
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: Heads,
    pub max_positions: usize,
}

/// What a family assumes where its configuration has no entry.
#[derive(Clone, Copy)]
pub(super) struct SizeDefaults {
    /// Key and value heads; none: as many as query heads.
    pub kv_heads: Option<usize>,
    /// Width of a head; none: that of the residual stream over the heads.
    pub head_dim: Option<usize>,
    pub max_positions: usize,
}

impl ModelSizes {
    /// Reads the names that most families share.
    pub fn read(config: JsonObject<'_>, defaults: SizeDefaults) -> Result<ModelSizes, ModelError> {
        let hidden = config.required_size("hidden_size")?;
        let query = config.required_size("num_attention_heads")?;
        let kv = size_or_null(config, "num_key_value_heads", defaults.kv_heads)?.unwrap_or(query);
        if query % kv != 0 {
            return Err(config.error(format!(
                "num_attention_heads {query} is not a multiple of num_key_value_heads {kv}"
            )));
        }
        let dim = match size_or_null(config, "head_dim", defaults.head_dim)? {
            Some(size) => size,
            None => head_width(config, ("hidden_size", hidden), ("num_attention_heads", query))?,
        };
        Ok(ModelSizes {
            vocab: config.required_size("vocab_size")?,
            hidden,
            inner: config.required_size("intermediate_size")?,
            layers: layers(config, "num_hidden_layers")?,
            heads: Heads { query, kv, dim },
            max_positions: config.size("max_position_embeddings")?.unwrap_or(defaults.max_positions),
        })
    }
}

/// Width of a head where all heads together have the width of the residual stream.
pub(super) fn head_width(
    config: JsonObject<'_>,
    (hidden_key, hidden): (&str, usize),
    (heads_key, heads): (&str, usize),
) -> Result<usize, ModelError> {
    if hidden % heads != 0 {
        return Err(config.error(format!("{hidden_key} {hidden} is not a multiple of {heads_key} {heads}")));
    }
    Ok(hidden / heads)
}

pub(super) fn layers(config: JsonObject<'_>, key: &str) -> Result<usize, ModelError> {
    let layers = config.required_size(key)?;
    if layers > MAX_LAYERS {
        return Err(
            config.error(format!("{key} {layers} is above {MAX_LAYERS}, the most that are supported"))
        );
    }
    Ok(layers)
}
