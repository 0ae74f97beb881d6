//! Registry of model families, by the names in a configuration.

use std::path::Path;

use super::decoder::Decoder;
use super::family::Family;
use super::{gemma2, gpt_neox, gpt2, llama, mistral, olmo2, options, phi3, qwen2, qwen3, windows};
use crate::files::ModelError;
use crate::files::json::{self, JsonObject};

const FAMILIES: [&Family; 9] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &gpt2::FAMILY,
    &gpt_neox::FAMILY,
    &gemma2::FAMILY,
    &phi3::FAMILY,
    &olmo2::FAMILY,
];

/// Names of the architectures whose forward and backward are implemented.
fn supported_architectures() -> String {
    FAMILIES.map(|family| family.architecture).join(", ")
}

impl Decoder {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// An architecture or a setting that is not implemented, and values that no model can have.
    pub fn read(path: &Path) -> Result<Decoder, ModelError> {
        let value = json::read(path)?;
        if !value.is_object() {
            return Err(ModelError::Config { path: path.to_owned(), message: "not a JSON object".into() });
        }
        let config = JsonObject { path, value: &value };
        let family = find(config)?;
        options::refuse_unknown_mathematics(config, family)?;
        let decoder = (family.read)(config)?;
        windows::check(config, family, &decoder.windows)?;
        Ok(decoder)
    }
}

/// The family that `architectures` names; where it is missing, that of `model_type`.
fn find(config: JsonObject<'_>) -> Result<&'static Family, ModelError> {
    let listed: Vec<&str> = config
        .get("architectures")
        .and_then(|a| a.as_array())
        .map(|a| a.iter().filter_map(|v| v.as_str()).collect())
        .unwrap_or_default();
    let model_type = config.string("model_type")?;
    let family = FAMILIES.into_iter().find(|family| match listed.as_slice() {
        [] => model_type == Some(family.model_type),
        names => names.contains(&family.architecture),
    });
    let Some(family) = family else {
        let found = if listed.is_empty() {
            model_type.map_or("(none named)".to_owned(), |t| format!("of model_type {t}"))
        } else {
            listed.join(", ")
        };
        return Err(ModelError::UnsupportedArchitecture {
            path: config.path.to_owned(),
            missing: missing_blocks(config, &listed),
            found,
            supported: supported_architectures(),
        });
    };
    match model_type {
        Some(other) if other != family.model_type => Err(config.error(format!(
            "architectures says {}, model_type says {other:?}; the model_type of {} is {:?}",
            listed.join(", "),
            family.architecture,
            family.model_type
        ))),
        _ => Ok(family),
    }
}

/// Settings that tell what an unknown architecture needs in addition to a description.
const SIGNS: [(&str, &str); 14] = [
    ("num_local_experts", "mixture-of-experts MLPs"),
    ("num_experts", "mixture-of-experts MLPs"),
    ("n_routed_experts", "mixture-of-experts MLPs"),
    ("kv_lora_rank", "latent attention"),
    ("is_encoder_decoder", "an encoder in addition to the decoder"),
    ("vision_config", "an encoder of images"),
    ("audio_config", "an encoder of sound"),
    ("alibi", "ALiBi positions"),
    ("state_size", "state-space layers"),
    ("mamba_d_state", "state-space layers"),
    ("linear_num_value_heads", "linear attention"),
    ("num_kv_shared_layers", "key-value heads shared between layers"),
    ("no_rope_layers", "layers without positions"),
    ("embedding_multiplier", "scaled residual streams"),
];

fn missing_blocks(config: JsonObject<'_>, listed: &[&str]) -> String {
    let mut missing = vec!["a description of its tensors and settings"];
    let causal = |name: &&str| name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel");
    if !listed.is_empty() && !listed.iter().any(causal) {
        missing.push("a language-model head");
    }
    for (key, what) in SIGNS {
        if options::is_set(config, key) && !missing.contains(&what) {
            missing.push(what);
        }
    }
    missing.join(", ")
}
