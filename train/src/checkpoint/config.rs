//! `adapter_config.json` of a new adapter, and the configuration files of a whole model.

use std::path::{Path, PathBuf};

use gstore_core::python_json;
use gstore_model::architectures::Decoder;
use gstore_model::weights::Adapter;
use serde_json::{Value, json};

use super::json::write_json;
use crate::error::TrainError;
use crate::lora::LoraChoice;

/// The configuration of a new adapter, as PEFT reads it.
pub(super) fn adapter(
    choice: &LoraChoice,
    dropout: f64,
    base: &Path,
    decoder: &Decoder,
) -> Result<Value, TrainError> {
    let transposed = choice.resolve(decoder)?.iter().any(|param| param.transposed);
    Ok(json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": std::path::absolute(base).unwrap_or_else(|_| base.to_owned()),
        "bias": "none",
        "exclude_modules": null,
        "fan_in_fan_out": transposed,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": whole_number(choice.alpha),
        "lora_dropout": dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": choice.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": target_names(choice, decoder)?,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    }))
}

/// A whole number without a fraction, as PEFT's configurations have it.
fn whole_number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 1e9 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// The shortest names that mean exactly the chosen modules: their last part, else all behind the layer's
/// number.
fn target_names(choice: &LoraChoice, decoder: &Decoder) -> Result<Vec<String>, TrainError> {
    let chosen: Vec<&str> = choice.resolve(decoder)?.iter().map(|param| param.module()).collect();
    let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_owned();
    let behind_layer = |module: &str| {
        let parts: Vec<&str> = module.split('.').collect();
        let number = parts.iter().position(|part| part.parse::<usize>().is_ok()).map_or(0, |at| at + 1);
        parts[number..].join(".")
    };
    for name_of in [&last as &dyn Fn(&str) -> String, &behind_layer] {
        let mut names: Vec<String> = Vec::new();
        for name in chosen.iter().map(|module| name_of(module)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let same = LoraChoice { targets: names.clone(), ..choice.clone() };
        if same.resolve(decoder)?.len() == chosen.len() {
            return Ok(names);
        }
    }
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// Files of a tokenizer that a checkpoint of all tensors has too, where they are there.
const OF_TOKENIZER: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.json",
];

/// Copies the configuration of a model, which then says that weights are f32, and the files of a tokenizer.
pub(crate) fn copy_model_files(model: &Path, tokenizer: &Path, folder: &Path) -> Result<(), TrainError> {
    let mut config = read(model, "config.json")?;
    for key in ["dtype", "torch_dtype"] {
        if let Some(dtype) = config.get_mut(key) {
            *dtype = json!("float32");
        }
    }
    write_json(&folder.join("config.json"), &config)?;
    for (from, name) in copied_files(model, tokenizer) {
        // Without the permissions, which `fs::copy` takes over: a model may be read-only.
        let mut file = fs_err::File::create(folder.join(name))?;
        std::io::copy(&mut fs_err::File::open(from)?, &mut file)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Files of a model and of a tokenizer that are copied as they are, and their names.
fn copied_files<'a>(model: &'a Path, tokenizer: &'a Path) -> impl Iterator<Item = (PathBuf, &'static str)> {
    let of_tokenizer = OF_TOKENIZER.map(|name| (tokenizer, name));
    let all = [(model, "generation_config.json")].into_iter().chain(of_tokenizer);
    all.map(|(of, name)| (of.join(name), name)).filter(|(from, _)| from.is_file())
}

/// Bytes of what [`copy_model_files`] writes, about.
pub(super) fn copied_bytes(model: &Path, tokenizer: &Path) -> u64 {
    let length = |path: &Path| fs_err::metadata(path).map_or(0, |file| file.len());
    // Written with a line for each value, whatever lines it had.
    let config = length(&model.join("config.json")).saturating_mul(2);
    copied_files(model, tokenizer).fold(config, |sum, (from, _)| sum.saturating_add(length(&from)))
}

/// The dropout of LoRA factors that the configuration of an adapter says.
pub(crate) fn lora_dropout(adapter: &Path) -> Result<Option<f64>, TrainError> {
    if !super::is_adapter(adapter) {
        // What the folder is instead is told as for any other use.
        Adapter::open(adapter)?;
    }
    Ok(read(adapter, ADAPTER)?.get("lora_dropout").and_then(Value::as_f64))
}

pub(crate) fn model_config(model: &Path) -> Result<Value, TrainError> {
    read(model, "config.json")
}

/// Copies the configuration of an adapter, with the dropout that it is trained with.
pub(super) fn copy_adapter(from: &Path, dropout: f64, folder: &Path) -> Result<(), TrainError> {
    let mut config = read(from, ADAPTER)?;
    if let Some(config) = config.as_object_mut() {
        config.insert("lora_dropout".to_owned(), json!(dropout));
    }
    write_json(&folder.join(ADAPTER), &config)
}

const ADAPTER: &str = "adapter_config.json";

fn read(folder: &Path, name: &str) -> Result<Value, TrainError> {
    let invalid = |error: serde_json::Error| TrainError::checkpoint(folder, format!("{name}: {error}"));
    python_json(&fs_err::read(folder.join(name))?).map_err(invalid)
}
