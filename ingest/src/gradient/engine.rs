//! Gradient engine of one checkpoint, loaded and merged.

use std::path::PathBuf;
use std::sync::Arc;

use super::device::GradientBackend;
use super::error::EngineError;
use super::features::GradFeatures;
use super::kurtosis::KurtosisCheck;
use super::options::{EngineOptions, LossForm, RequestedOutputs, SampleOutput};
use super::runner::{BatchRunner, GradientSource, Runner};
use super::tracked::tensor_specs;
use super::weights::WeightGradients;
use gstore_core::{Cancel, CheckpointId};
use gstore_model::architectures::{Decoder, PositionEncoding};
use gstore_model::gradients::HostFactors;
use gstore_model::params::{TensorSpec, total_len};
use gstore_model::weights::{Adapter, ModelFolder, NOT_NUMBERS, checkpoint_id, unsound_model};
use gstore_model::{LoadError, Model, OomBackoff, PackedSample};

/// Where a checkpoint's weights are, and which of them are differentiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSource {
    /// Hugging Face folder of the model.
    pub model: PathBuf,
    /// PEFT LoRA folder; its factors are then what is differentiated.
    pub adapter: Option<PathBuf>,
    /// Without an adapter, the differentiated tensors, as indices into the decoder's params.
    pub tracked: Vec<usize>,
}

/// One checkpoint. Calls may run side by side from any number of threads; each runs on its own thread only.
pub struct Engine {
    id: CheckpointId,
    source: CheckpointSource,
    options: EngineOptions,
    features: Option<Arc<GradFeatures>>,
    decoder: Decoder,
    tensors: Vec<TensorSpec>,
    backoff: OomBackoff,
    runner: Box<dyn Runner>,
}

impl Engine {
    /// Loads a model, merges the adapter into it and computes the checkpoint's identity. Without `features`
    /// no gradient can be asked for.
    ///
    /// Memory: the weights as the backend holds them, a second time for [`LossForm::KlToBase`], and
    /// the projection's tables.
    pub fn load<B: GradientBackend>(
        source: &CheckpointSource,
        backend: B,
        options: EngineOptions,
        features: Option<GradFeatures>,
    ) -> Result<Engine, LoadError> {
        // The gradient of an adapter's factors lies whole in memory.
        let features = match &source.adapter {
            Some(_) => features.map(|f| GradFeatures { projector: f.projector.of_formed(), ..f }),
            None => features,
        };
        Engine::with(source.clone(), backend, options, features.map(Arc::new))
    }

    /// The same files on another device, read again. The two share what the host has of the projection and of
    /// the optimizer's moments.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn beside<B: GradientBackend>(&self, backend: B) -> Result<Engine, LoadError> {
        Engine::with(self.source.clone(), backend, self.options, self.features.clone())
    }

    fn with<B: GradientBackend>(
        source: CheckpointSource,
        backend: B,
        options: EngineOptions,
        features: Option<Arc<GradFeatures>>,
    ) -> Result<Engine, LoadError> {
        let folder = ModelFolder::open(&source.model)?;
        let decoder = folder.decoder().clone();
        if let Some(layer) = options.embed_layer.filter(|layer| *layer > decoder.layers) {
            return Err(LoadError::NoLayer { layer, layers: decoder.layers });
        }
        let adapter = source.adapter.as_deref().map(Adapter::open).transpose()?;
        let id = checkpoint_id(&folder, adapter.as_ref())?;
        let tensors = match &adapter {
            Some(adapter) => adapter.params(&folder)?,
            None => tensor_specs(&decoder, &source.tracked),
        };
        let host = adapter.as_ref().map(|adapter| HostFactors::read(adapter, &folder)).transpose()?;
        let reference = match options.loss {
            LossForm::KlToBase => Some(Model::load(&folder, backend.clone())?),
            LossForm::CrossEntropy { .. } | LossForm::Margin => None,
        };
        let model = HostFactors::load_merged(&folder, backend, host.as_ref())?;
        features.as_ref().map_or(Ok(()), |features| features.check(total_len(&tensors)))?;
        let gradients = match host {
            Some(host) => GradientSource::of_adapter(host.upload(&decoder, model.backend())?, &tensors),
            None => GradientSource::Weights(WeightGradients::new(
                model.backend(),
                &decoder,
                &source.tracked,
                features.as_deref(),
            )?),
        };
        let device = match &features {
            Some(features) => gradients.on_device(model.backend(), features, &tensors)?,
            None => None,
        };
        let runner = BatchRunner {
            model,
            reference,
            options,
            gradients,
            features: features.clone(),
            device,
            tensors: tensors.clone(),
        };
        let (backoff, runner) = (OomBackoff::default(), Box::new(runner));
        Ok(Engine { id, source, options, features, decoder, tensors, backoff, runner })
    }

    /// Identity of the checkpoint.
    pub fn checkpoint_id(&self) -> &CheckpointId {
        &self.id
    }

    /// What is said of the model where its outputs are no numbers.
    pub(crate) fn unsound_model(&self) -> String {
        let folder = ModelFolder::open(&self.source.model);
        folder.map_or_else(|_| NOT_NUMBERS.to_owned(), |folder| unsound_model(&folder))
    }

    /// What the model computes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The differentiated tensors in `named_parameters()` order: what a gradient consists of.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Where gradients are projected by a mask: the mean kurtosis of the coordinates of each tensor's
    /// gradients, or of the factors that they are projected from, in a batch. 0 where none was seen; empty
    /// with any other projection.
    pub(crate) fn kurtosis(&self, batch: &[PackedSample<'_>]) -> Result<Vec<f64>, EngineError> {
        let projector = self.features.as_ref().map(|features| &features.projector);
        let check = projector.and_then(|projector| KurtosisCheck::of(projector, self.tensors.len()));
        let Some(kurtosis_check) = check else { return Ok(Vec::new()) };
        let want = RequestedOutputs { grad: true, ..RequestedOutputs::default() };
        self.run_watched(batch, want, Some(&kurtosis_check), &Cancel::new(), &mut |_, _| {})?;
        Ok(kurtosis_check.means())
    }

    /// How much is computed at once.
    pub fn backoff(&self) -> &OomBackoff {
        &self.backoff
    }

    /// Runs a batch and hands each sample's results to `out`, in batch order. One that a device has too
    /// little memory for is computed in parts.
    ///
    /// Memory is linear in the batch's tokens, plus for each sample its adapter's gradient, or that of one
    /// layer and the tensors of no layer.
    pub fn run(
        &self,
        batch: &[PackedSample<'_>],
        want: RequestedOutputs,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        self.run_until(batch, want, &Cancel::new(), out)
    }

    /// The same until `cancel` is raised, at which the projections of gradients look again and again.
    ///
    /// # Errors
    /// Also [`EngineError::Cancelled`] once it is raised: then `out` has the results of the first samples, or
    /// of none.
    pub fn run_until(
        &self,
        batch: &[PackedSample<'_>],
        want: RequestedOutputs,
        cancel: &Cancel,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        self.run_watched(batch, want, None, cancel, out)
    }

    fn run_watched(
        &self,
        batch: &[PackedSample<'_>],
        want: RequestedOutputs,
        kurtosis_check: Option<&KurtosisCheck>,
        cancel: &Cancel,
        out: &mut dyn FnMut(usize, SampleOutput<'_>),
    ) -> Result<(), EngineError> {
        cancel.check()?;
        for (index, sample) in batch.iter().enumerate() {
            if sample.ids.is_empty() {
                return Err(EngineError::EmptySample { index });
            }
            check_sample(&self.decoder, index, sample)?;
        }
        if want.grad && (self.features.is_none() || self.tensors.is_empty()) {
            return Err(EngineError::NoParameters);
        }
        let lengths: Vec<usize> = batch.iter().map(|sample| sample.ids.len()).collect();
        self.backoff.in_parts(&lengths, |part| {
            let first = part.start;
            self.runner.run(&batch[part], want, kurtosis_check, cancel, &mut |index, output| {
                out(first + index, output)
            })
        })
    }
}

/// An error unless the model can compute the sample at place `index` of a batch.
pub(crate) fn check_sample(
    decoder: &Decoder,
    index: usize,
    sample: &PackedSample<'_>,
) -> Result<(), EngineError> {
    let (tokens, flags) = (sample.ids.len(), sample.scored.len());
    let Decoder { vocab_size: vocab, max_positions, .. } = *decoder;
    if flags != tokens {
        return Err(EngineError::FlagCount { index, tokens, flags });
    }
    if decoder.positions == PositionEncoding::Learned && tokens > max_positions {
        return Err(EngineError::TooLong { index, tokens, max_positions });
    }
    match sample.ids.iter().find(|token| **token as usize >= vocab) {
        Some(token) => Err(EngineError::UnknownToken { index, token: *token, vocab }),
        None => Ok(()),
    }
}
