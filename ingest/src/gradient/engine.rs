//! One checkpoint, loaded and merged, that answers batches.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::lora::{HostFactors, LoraFactors, LoraSink};
use crate::checkpoint::{Adapter, CheckpointId, LinearId, LlamaConfig, ModelError, ModelFolder};
use crate::model::{Backend, BackendError, LastRows, Layout, Llama, LoadError, PackedSample, SampleRows};
use crate::params::{TensorSpec, total_len};

/// Where a checkpoint's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSource {
    /// Hugging Face folder of the base model.
    pub base: PathBuf,
    /// PEFT LoRA folder.
    pub adapter: Option<PathBuf>,
}

/// What to compute for each sample of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// Mean cross-entropy over scored tokens.
    pub loss: bool,
    /// Mean of the final hidden states (after the final norm) of all tokens.
    pub embed_mean: bool,
    /// Final hidden state of the last token.
    pub embed_last: bool,
    /// Gradient of the loss in parameter order.
    pub grad: bool,
}

/// The results of one sample; slices of what was not wanted are empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOutput<'a> {
    /// Mean cross-entropy over scored tokens; 0 without any, or if neither loss nor gradient was wanted.
    pub loss: f32,
    /// Number of scored tokens.
    pub scored: u32,
    /// Mean of the final hidden states.
    pub embed_mean: &'a [f32],
    /// Final hidden state of the last token.
    pub embed_last: &'a [f32],
    /// Gradient in parameter order; zeros without a scored token.
    pub grad: &'a [f32],
}

/// Why a batch could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A sample has no tokens.
    #[error("sample {index} of the batch has no tokens")]
    EmptySample {
        /// Place in the batch.
        index: usize,
    },
    /// A sample's flags do not match its tokens.
    #[error("sample {index} of the batch has {tokens} tokens and {flags} flags")]
    FlagCount {
        /// Place in the batch.
        index: usize,
        /// Number of tokens.
        tokens: usize,
        /// Number of flags.
        flags: usize,
    },
    /// A token that the model does not know.
    #[error(
        "sample {index} of the batch holds token {token}, the model's vocabulary has {vocab}: the tokenizer belongs to another model"
    )]
    UnknownToken {
        /// Place in the batch.
        index: usize,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// Gradients of a checkpoint without trainable parameters.
    #[error("the checkpoint has no adapter, so there are no parameters to differentiate by")]
    NoParameters,
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// One checkpoint. Calls may run side by side from any number of threads; each runs on its own thread only.
pub struct Engine {
    id: CheckpointId,
    config: LlamaConfig,
    params: Vec<TensorSpec>,
    runner: Box<dyn Runner>,
}

impl Engine {
    /// Loads a base model, merges the adapter into it and computes the checkpoint's identity.
    pub fn load<B: Backend>(source: &CheckpointSource, backend: B) -> Result<Engine, LoadError> {
        let folder = ModelFolder::open(&source.base)?;
        let adapter = source.adapter.as_deref().map(Adapter::open).transpose()?;
        let params = adapter.as_ref().map_or(Ok(Vec::new()), |adapter| adapter.params(&folder))?;
        let id = CheckpointId::compute(&folder, adapter.as_ref())?;
        let host = adapter.as_ref().map(HostFactors::read).transpose()?;
        let mut merge = |id: LinearId, weights: &mut _| {
            if let Some(host) = &host {
                host.merge(id, weights);
            }
            Ok::<_, ModelError>(())
        };
        let model = Llama::load(&folder, backend, &mut merge)?;
        let factors = host.map_or(Ok(BTreeMap::new()), |host| host.upload(model.backend()))?;
        let config = folder.config().clone();
        let width = total_len(&params);
        Ok(Engine { id, config, params, runner: Box::new(LoraRunner { model, factors, width }) })
    }

    /// Identity of the checkpoint.
    pub fn checkpoint_id(&self) -> &CheckpointId {
        &self.id
    }

    /// The trainable tensors in `named_parameters()` order: what a gradient consists of.
    pub fn params(&self) -> &[TensorSpec] {
        &self.params
    }

    /// Length of a gradient.
    pub fn grad_len(&self) -> usize {
        total_len(&self.params)
    }

    /// Width of an embedding.
    pub fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Number of tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    /// Positions that the model was made for. Longer samples are computed as the reference implementation does, by going on rotating.
    pub fn max_positions(&self) -> usize {
        self.config.max_positions
    }

    /// Runs a batch and hands each sample's results to `out`, in batch order. Memory is linear in the batch's tokens, plus one gradient per
    /// sample.
    pub fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: Want,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        for (index, sample) in batch.iter().enumerate() {
            self.check(index, sample)?;
        }
        if want.grad && self.params.is_empty() {
            return Err(EngineError::NoParameters);
        }
        self.runner.run(batch, want, out)
    }

    fn check(&self, index: usize, sample: &PackedSample<'_>) -> Result<(), EngineError> {
        let (tokens, flags, vocab) = (sample.ids.len(), sample.scored.len(), self.config.vocab_size);
        if tokens == 0 {
            return Err(EngineError::EmptySample { index });
        }
        if flags != tokens {
            return Err(EngineError::FlagCount { index, tokens, flags });
        }
        match sample.ids.iter().find(|token| **token as usize >= vocab) {
            Some(token) => Err(EngineError::UnknownToken { index, token: *token, vocab }),
            None => Ok(()),
        }
    }
}

trait Runner: Send + Sync {
    fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: Want,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError>;
}

struct LoraRunner<B: Backend> {
    model: Llama<B>,
    factors: BTreeMap<LinearId, LoraFactors<B>>,
    /// Length of a gradient.
    width: usize,
}

impl<B: Backend> Runner for LoraRunner<B> {
    fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: Want,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        let embeds = want.embed_mean || want.embed_last;
        let layout = Layout::new(batch, embeds);
        let scored_spans = layout.scored_spans.clone();
        let spans = layout.spans.clone();
        let differentiates = (want.loss || want.grad) && !layout.scored_rows.is_empty();
        let mut grads = vec![0.0; if want.grad { batch.len() * self.width } else { 0 }];
        let (mut means, mut lasts, mut losses) = (Vec::new(), Vec::new(), Vec::new());

        if layout.rows() > 0 && (embeds || differentiates) {
            let mut sink = LoraSink {
                factors: &self.factors,
                out: SampleRows { values: &mut grads, width: self.width },
            };
            let backward = differentiates && want.grad;
            let keep_from = if backward { self.model.lowest_wanted(&sink) } else { None };
            let last_rows = if embeds { LastRows::All } else { LastRows::Scored };
            let forward = self.model.forward(layout, last_rows, keep_from)?;
            let backend = self.model.backend();
            if want.embed_mean {
                means = backend.span_means(&forward.hidden, &spans)?;
            }
            if want.embed_last {
                let rows: Vec<u32> = spans.iter().map(|span| span.end.saturating_sub(1) as u32).collect();
                lasts = backend.to_host(&backend.gather(&forward.hidden, &rows)?)?;
            }
            if backward {
                losses = self.model.backward(forward, &mut sink)?;
            } else if differentiates {
                losses = self.model.losses(&forward)?;
            }
        }

        let hidden = self.model.config().hidden_size;
        for (index, span) in scored_spans.iter().enumerate() {
            let of_sample = losses.get(span.clone()).unwrap_or_default();
            let sum: f64 = of_sample.iter().map(|loss| f64::from(*loss)).sum();
            let result = SampleOutput {
                loss: (sum / of_sample.len().max(1) as f64) as f32,
                scored: span.len() as u32,
                embed_mean: row(&means, index, hidden),
                embed_last: row(&lasts, index, hidden),
                grad: row(&grads, index, self.width),
            };
            out(index, result);
        }
        Ok(())
    }
}

fn row(values: &[f32], index: usize, width: usize) -> &[f32] {
    values.get(index * width..(index + 1) * width).unwrap_or_default()
}
