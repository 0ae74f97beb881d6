//! The weights of a Llama decoder on a backend.

use super::backend::{Backend, BackendError, Heads, LinearWeights};
use super::rope::Rope;
use crate::checkpoint::{LinearId, LinearKind, LlamaConfig, ModelError, ModelFolder};

/// A Llama decoder, loaded and packed.
pub struct Llama<B: Backend> {
    pub(super) backend: B,
    pub(super) config: LlamaConfig,
    pub(super) rope: Rope,
    pub(super) embedding: B::Tensor,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) norm: B::Tensor,
    pub(super) head: B::Linear,
}

pub(super) struct Layer<B: Backend> {
    pub norm1: B::Tensor,
    pub q: B::Linear,
    pub k: B::Linear,
    pub v: B::Linear,
    pub o: B::Linear,
    pub norm2: B::Tensor,
    pub gate: B::Linear,
    pub up: B::Linear,
    pub down: B::Linear,
}

/// Why a model could not be put on a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The folder is not usable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The backend refused.
    #[error("the backend could not take the weights: {0}")]
    Backend(#[from] BackendError),
}

/// Changes the weight of a layer before it is packed, e.g. merges an adapter into it.
pub type Merge<'a> = &'a mut dyn FnMut(LinearId, &mut LinearWeights) -> Result<(), ModelError>;

impl<B: Backend> Llama<B> {
    /// Reads and packs the weights of a checked folder.
    pub fn load(folder: &ModelFolder, backend: B, merge: Merge<'_>) -> Result<Llama<B>, LoadError> {
        let config = folder.config().clone();
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let tensors = folder.tensors();
        let norm = |name: &str| -> Result<B::Tensor, LoadError> {
            Ok(backend.tensor(tensors.read_f32(name)?, 1, hidden)?)
        };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut linear = |kind: LinearKind| -> Result<B::Linear, LoadError> {
                let id = LinearId::Layer { layer, kind };
                let module = id.module();
                let [out, input] = kind.shape(&config);
                let weight = tensors.read_f32(&format!("{module}.weight"))?;
                let bias = match kind.biased(&config) {
                    true => Some(tensors.read_f32(&format!("{module}.bias"))?),
                    false => None,
                };
                let mut weights = LinearWeights { weight, out, input, bias };
                merge(id, &mut weights)?;
                Ok(backend.pack(weights)?)
            };
            layers.push(Layer {
                q: linear(LinearKind::Q)?,
                k: linear(LinearKind::K)?,
                v: linear(LinearKind::V)?,
                o: linear(LinearKind::O)?,
                gate: linear(LinearKind::Gate)?,
                up: linear(LinearKind::Up)?,
                down: linear(LinearKind::Down)?,
                norm1: norm(&format!("model.layers.{layer}.input_layernorm.weight"))?,
                norm2: norm(&format!("model.layers.{layer}.post_attention_layernorm.weight"))?,
            });
        }
        let embedding = tensors.read_f32("model.embed_tokens.weight")?;
        let head = if config.tied { embedding.clone() } else { tensors.read_f32("lm_head.weight")? };
        let head = LinearWeights { weight: head, out: vocab, input: hidden, bias: None };
        Ok(Llama {
            rope: Rope::new(&config),
            norm: norm("model.norm.weight")?,
            embedding: backend.tensor(embedding, vocab, hidden)?,
            head: backend.pack(head)?,
            layers,
            backend,
            config,
        })
    }

    /// Sizes and constants.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { query: self.config.heads, kv: self.config.kv_heads, dim: self.config.head_dim }
    }
}
