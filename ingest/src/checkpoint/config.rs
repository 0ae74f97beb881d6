//! `config.json` of a Llama model: the sizes, and a clear refusal of everything that would change the mathematics.

use std::path::Path;

use super::error::ModelError;
use super::json::{self, Object};

/// Architectures whose forward and backward are implemented.
pub const SUPPORTED_ARCHITECTURES: &str = "LlamaForCausalLM";

/// How rotary frequencies are stretched for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    Default,
    /// All frequencies divided by the factor.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length before stretching.
        original: f64,
    },
}

/// The sizes and constants of a Llama model.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Added to the mean square inside the root of every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Stretching of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Positions that the model was made for.
    pub max_positions: usize,
    /// q, k, v and o carry biases.
    pub attention_bias: bool,
    /// gate, up and down carry biases.
    pub mlp_bias: bool,
    /// The head shares the embedding's weight.
    pub tied: bool,
}

impl LlamaConfig {
    /// Reads and checks `config.json`.
    pub fn read(path: &Path) -> Result<LlamaConfig, ModelError> {
        let value = json::read(path)?;
        if !value.is_object() {
            return Err(ModelError::Config { path: path.to_owned(), message: "not a JSON object".into() });
        }
        let config = Object { path, value: &value };
        check_architecture(config)?;
        check_options(config)?;

        let hidden_size = config.required_size("hidden_size")?;
        let heads = config.required_size("num_attention_heads")?;
        let kv_heads = config.size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(config.error(format!(
                "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )));
        }
        let head_dim = match config.size("head_dim")? {
            Some(size) => size,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => {
                return Err(config.error(format!(
                    "hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}"
                )));
            }
        };
        if head_dim % 2 != 0 {
            return Err(
                config.error(format!("head_dim {head_dim} is odd; rotary positions pair its coordinates"))
            );
        }
        let max_positions = config.size("max_position_embeddings")?.unwrap_or(2048);
        let (rope_theta, rope_scaling) = read_rope(config, max_positions)?;
        Ok(LlamaConfig {
            vocab_size: config.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: config.required_size("intermediate_size")?,
            layers: config.required_size("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            rms_norm_eps: positive(config, "rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta,
            rope_scaling,
            max_positions,
            attention_bias: config.bool("attention_bias")?,
            mlp_bias: config.bool("mlp_bias")?,
            tied: config.bool("tie_word_embeddings")?,
        })
    }
}

fn check_architecture(config: Object<'_>) -> Result<(), ModelError> {
    let listed: Vec<&str> = config
        .get("architectures")
        .and_then(|a| a.as_array())
        .map(|a| a.iter().filter_map(|v| v.as_str()).collect())
        .unwrap_or_default();
    let model_type = config.string("model_type")?;
    let supported = match listed.as_slice() {
        [] => model_type == Some("llama"),
        names => names.contains(&SUPPORTED_ARCHITECTURES),
    };
    if supported {
        return Ok(());
    }
    let found = if listed.is_empty() {
        model_type.map_or("(none named)".to_owned(), |t| format!("of model_type {t}"))
    } else {
        listed.join(", ")
    };
    Err(ModelError::UnsupportedArchitecture {
        path: config.path.to_owned(),
        found,
        supported: SUPPORTED_ARCHITECTURES,
    })
}

fn check_options(config: Object<'_>) -> Result<(), ModelError> {
    if config.get("quantization_config").is_some() {
        return Err(ModelError::Quantised {
            path: config.path.to_owned(),
            what: "the model (quantization_config)".into(),
        });
    }
    let act = config.string("hidden_act")?.unwrap_or("silu");
    if act != "silu" {
        return Err(ModelError::UnsupportedOption {
            path: config.path.to_owned(),
            setting: format!("hidden_act {act:?}"),
            supported: "only \"silu\" is".into(),
        });
    }
    Ok(())
}

/// Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before).
fn read_rope(config: Object<'_>, max_positions: usize) -> Result<(f64, RopeScaling), ModelError> {
    let parameters = config.object("rope_parameters")?;
    let scaling = match parameters {
        Some(p) => Some(p),
        None => config.object("rope_scaling")?,
    };
    let theta = match parameters.map(|p| positive(p, "rope_theta")).transpose()?.flatten() {
        Some(theta) => theta,
        None => positive(config, "rope_theta")?.unwrap_or(10_000.0),
    };
    let Some(scaling) = scaling else { return Ok((theta, RopeScaling::Default)) };
    let refuse = |setting: String| ModelError::UnsupportedOption {
        path: config.path.to_owned(),
        setting,
        supported: "rope types \"default\", \"linear\" and \"llama3\" are".into(),
    };
    if let Some(share) = scaling.number("partial_rotary_factor")?.filter(|s| *s != 1.0) {
        return Err(refuse(format!("partial_rotary_factor {share}")));
    }
    let kind = match scaling.string("rope_type")? {
        Some(kind) => kind,
        None => scaling.string("type")?.unwrap_or("default"),
    };
    let required = |key: &str| -> Result<f64, ModelError> {
        positive(scaling, key)?
            .ok_or_else(|| scaling.error(format!("{key} of the {kind} rope scaling is missing")))
    };
    let scaling = match kind {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: required("factor")? },
        "llama3" => {
            let low_freq_factor = required("low_freq_factor")?;
            let high_freq_factor = required("high_freq_factor")?;
            if high_freq_factor <= low_freq_factor {
                return Err(scaling.error("high_freq_factor must be above low_freq_factor"));
            }
            RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor,
                high_freq_factor,
                original: positive(scaling, "original_max_position_embeddings")?
                    .unwrap_or(max_positions as f64),
            }
        }
        other => return Err(refuse(format!("rope scaling {other:?}"))),
    };
    Ok((theta, scaling))
}

fn positive(object: Object<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    match object.number(key)? {
        Some(v) if !(v.is_finite() && v > 0.0) => {
            Err(object.error(format!("{key} must be a positive number, not {v}")))
        }
        other => Ok(other),
    }
}
