//! Request for answers or scores, as plain values.

use std::path::{Path, PathBuf};

use gstore_core::parallel::each;
use gstore_data::{SampleSource, TemplateKind, TextOptions};
use gstore_model::{ComputePrecision, Device, MultiDevice, gpu_names};
use gstore_store::EncodingSpec;
use serde_json::{Value, json};

use crate::error::GenerateError;
use crate::sampling::SamplingOptions;
use crate::stop::StopStrings;

/// Where the weights are, and how texts become tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSource {
    /// Folder of the model.
    pub model: PathBuf,
    /// A LoRA adapter for it.
    pub adapter: Option<PathBuf>,
    /// How records become tokens; a prompt that is longer than its maximum length is refused, a text that is
    /// scored is cut off.
    pub text: TextOptions,
}

/// When an answer ends.
#[derive(Debug, Clone, PartialEq)]
pub struct StoppingCriteria {
    /// After so many tokens.
    pub max_new_tokens: usize,
    /// At one of these texts.
    pub strings: StopStrings,
    /// Whether tokens that end answers are taken as any other.
    pub ignore_end: bool,
}

/// What computes, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputeOptions {
    /// The backend.
    pub device: Device,
    /// More devices of the same sort, each with the model in its memory: they take prompts as the first does.
    pub beside: Vec<Device>,
    /// Precision of the factors of matrix products.
    pub precision: ComputePrecision,
    /// Threads, which are divided among the devices: at least one for each. Each answers prompts of its own.
    pub threads: usize,
    /// Prompts that are answered at a time, over all threads and devices: at least one on each.
    pub batch: usize,
}

/// Prompts to answer.
#[derive(Clone)]
pub struct GenerateRequest {
    /// The model.
    pub weights: ModelSource,
    /// The prompts.
    pub prompts: SampleSource,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// When answers end.
    pub stopping: StoppingCriteria,
    /// What computes.
    pub compute: ComputeOptions,
    /// File that keeps answers that are done, so that the same request goes on; none: they are kept in
    /// memory.
    pub journal: Option<PathBuf>,
    /// Whether answers to another request in that file are thrown away.
    pub overwrite: bool,
}

impl ModelSource {
    /// The folders of the model, its adapter and its tokenizer.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let others = [&self.adapter, &self.text.tokenizer].into_iter().flatten();
        std::iter::once(&self.model).chain(others).map(PathBuf::as_path)
    }

    /// A model with everything as the command line has it by default.
    pub fn new(model: impl Into<PathBuf>) -> ModelSource {
        ModelSource { model: model.into(), adapter: None, text: TextOptions::default() }
    }
}

impl StoppingCriteria {
    /// Tokens of an answer at most, unless another number is asked for.
    pub const MAX_NEW_TOKENS: usize = 256;
}

impl Default for StoppingCriteria {
    fn default() -> Self {
        let strings = StopStrings::default();
        StoppingCriteria { max_new_tokens: Self::MAX_NEW_TOKENS, strings, ignore_end: false }
    }
}

impl ComputeOptions {
    /// Prompts at a time, unless another number is asked for.
    pub const BATCH: usize = 64;

    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        std::iter::once(self.device).chain(self.beside.iter().copied())
    }

    /// Their backends, of which the first is open.
    pub(crate) fn backends<B: MultiDevice>(&self, first: B) -> Result<Vec<B>, GenerateError> {
        self.device.check_beside(&self.beside, || gpu_names!())?;
        let others = each(&self.beside, |device| first.beside(device.number()))?;
        Ok(std::iter::once(first).chain(others).collect())
    }
}

impl Default for ComputeOptions {
    fn default() -> Self {
        ComputeOptions {
            device: Device::Cpu,
            beside: Vec::new(),
            precision: ComputePrecision::F32,
            threads: 1,
            batch: Self::BATCH,
        }
    }
}

impl GenerateRequest {
    /// A request with everything as the command line has it by default.
    pub fn new(model: impl Into<PathBuf>, prompts: SampleSource) -> GenerateRequest {
        GenerateRequest {
            weights: ModelSource::new(model),
            prompts,
            sampling: SamplingOptions::default(),
            stopping: StoppingCriteria::default(),
            compute: ComputeOptions::default(),
            journal: None,
            overwrite: false,
        }
    }

    /// An error unless the numbers can be used.
    pub(crate) fn check(&self) -> Result<(), GenerateError> {
        self.sampling.check()?;
        if self.stopping.max_new_tokens == 0 || self.compute.batch == 0 {
            return Err(GenerateError::Option("answers of no tokens, or none at a time".to_owned()));
        }
        Ok(())
    }

    /// How answers are made, for their records; `encoding` is what their prompts were encoded by.
    pub(crate) fn options(&self, encoding: &EncodingSpec) -> Value {
        let SamplingOptions { temperature, top_k, top_p, repetition_penalty, no_repeat_ngram, seed } =
            &self.sampling;
        let mut options = json!({
            "temperature": temperature,
            "max_new_tokens": self.stopping.max_new_tokens,
            "template": self.weights.text.template.name(),
        });
        let draws = self.sampling.draws();
        let text = &self.weights.text;
        let EncodingSpec { tokenizer, template_digest, .. } = encoding;
        let is_named = text.template != TemplateKind::default();
        let others = [
            ("template_digest", json!(template_digest), is_named && template_digest.is_some()),
            ("tokenizer", json!(tokenizer), text.tokenizer.is_some()),
            ("system", json!(text.system), text.system.is_some()),
            ("top_k", json!(top_k), top_k.is_some()),
            ("top_p", json!(top_p), top_p.is_some()),
            ("seed", json!(seed), draws),
            ("repetition_penalty", json!(repetition_penalty), *repetition_penalty != 1.0),
            ("no_repeat_ngram", json!(no_repeat_ngram), *no_repeat_ngram != 0),
            ("stop", json!(self.stopping.strings.texts()), !self.stopping.strings.texts().is_empty()),
            ("ignore_end", json!(true), self.stopping.ignore_end),
            (
                "compute",
                json!(self.compute.precision.name()),
                self.compute.precision != ComputePrecision::F32,
            ),
            // Devices of one sort go on for each other.
            ("backend", json!(self.compute.device.first().to_string()), self.compute.device != Device::Cpu),
        ];
        for (name, value, said) in others {
            if said {
                options[name] = value;
            }
        }
        options
    }
}
