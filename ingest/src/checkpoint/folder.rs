//! A Hugging Face Llama folder: configuration and weights, checked against each other.

use std::path::{Path, PathBuf};

use super::config::LlamaConfig;
use super::error::ModelError;
use super::names::LinearKind;
use super::tensors::TensorSet;

/// A model folder whose tensors all exist with the right shapes and element types.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    config: LlamaConfig,
    tensors: TensorSet,
}

impl ModelFolder {
    /// Opens `config.json` and `model.safetensors` (or its shards) and checks every tensor; reads no weights yet.
    pub fn open(path: &Path) -> Result<ModelFolder, ModelError> {
        if !path.is_dir() {
            return Err(ModelError::MissingFile {
                folder: path.to_owned(),
                file: "such folder".into(),
                hint: "; a model is a folder with config.json and model.safetensors".into(),
            });
        }
        let config_path = path.join("config.json");
        if !config_path.exists() {
            return Err(ModelError::MissingFile {
                folder: path.to_owned(),
                file: "config.json".into(),
                hint: if path.join("adapter_config.json").exists() {
                    "; it is an adapter: give it as a checkpoint and its base as the model".into()
                } else {
                    String::new()
                },
            });
        }
        let config = LlamaConfig::read(&config_path)?;
        let tensors = TensorSet::open(path, "model")?;
        visit_weights(&config, &mut |name, shape| tensors.check(name, shape).map(drop))?;
        Ok(ModelFolder { path: path.to_owned(), config, tensors })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sizes and constants.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The weights.
    pub fn tensors(&self) -> &TensorSet {
        &self.tensors
    }

    /// Names of the tensors that the model uses, sorted by bytes.
    pub fn weight_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        // The visitor cannot fail: it only collects.
        let _ = visit_weights(&self.config, &mut |name, _| {
            names.push(name.to_owned());
            Ok(())
        });
        names.sort_unstable();
        names
    }
}

type WeightVisitor<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<(), ModelError>;

/// Visits the tensors that a configuration implies; stops at the first error, so an absurd layer count ends at the first missing layer.
fn visit_weights(config: &LlamaConfig, visit: WeightVisitor<'_>) -> Result<(), ModelError> {
    let hidden = config.hidden_size;
    visit("model.embed_tokens.weight", &[config.vocab_size, hidden])?;
    for layer in 0..config.layers {
        for kind in LinearKind::ALL {
            let shape = kind.shape(config);
            let module = format!("model.layers.{layer}.{}", kind.path());
            visit(&format!("{module}.weight"), &shape)?;
            if kind.biased(config) {
                visit(&format!("{module}.bias"), &shape[..1])?;
            }
        }
        visit(&format!("model.layers.{layer}.input_layernorm.weight"), &[hidden])?;
        visit(&format!("model.layers.{layer}.post_attention_layernorm.weight"), &[hidden])?;
    }
    visit("model.norm.weight", &[hidden])?;
    if !config.tied {
        visit("lm_head.weight", &[config.vocab_size, hidden])?;
    }
    Ok(())
}
