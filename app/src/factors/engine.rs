//! Curvature engines of a request's checkpoint, and samples as they take them.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use gstore_core::parallel::each;
use gstore_core::{CheckpointId, Unit};
use gstore_curvature::{Module, ModuleFactors};
use gstore_data::Encoded;
use gstore_ingest::curvature::{CurvatureEngine, Directions, Labels, PassError, TargetSample};
use gstore_ingest::gradient::{CheckpointSource, ModuleSelection};
use gstore_ingest::pipeline::{CheckpointArg, EncodedRow, IngestRequest, check_devices};
use gstore_model::architectures::{Decoder, TensorRole};
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use gstore_model::{Device, LoadError, SavedActivations, with_backend};

use super::error::FactorJobError;
use crate::work::JobContext;

/// A checkpoint on each device of a request, of which there is at least one. What is asked of the checkpoint
/// is asked of the first.
pub(super) struct Engines(Vec<(Device, CurvatureEngine)>);

impl Deref for Engines {
    type Target = CurvatureEngine;

    fn deref(&self) -> &CurvatureEngine {
        self.of(0)
    }
}

impl Engines {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// That of a worker: workers are divided among the devices by their numbers.
    pub(super) fn of(&self, worker: usize) -> &CurvatureEngine {
        &self.at(worker).1
    }

    fn at(&self, worker: usize) -> &(Device, CurvatureEngine) {
        &self.0[worker % self.0.len()]
    }

    /// An error of a worker; where its device failed, with the device's name.
    pub(super) fn failed(&self, worker: usize, error: PassError) -> PassError {
        error.on(self.at(worker).0)
    }

    /// What a user should know of devices that had too little memory for batches.
    pub(super) fn note(&self) -> Option<String> {
        let devices = self.count();
        self.0.iter().find_map(|(_, engine)| engine.backoff().note_of(Some("batch_tokens"), devices))
    }

    /// Puts eigenbases on all devices: [`CurvatureEngine::set_bases`].
    pub(super) fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError> {
        each(&mut self.0, |(device, engine)| engine.set_bases(factors).map_err(|error| error.on(*device)))?;
        Ok(())
    }

    /// Directions on each of the devices: [`CurvatureEngine::directions`].
    pub(super) fn directions(&self, values: &[&[f64]]) -> Result<Vec<Box<dyn Directions + '_>>, PassError> {
        each(&self.0, |(device, engine)| engine.directions(values).map_err(|error| error.on(*device)))
    }
}

/// Loads the request's first checkpoint, its adapter merged, onto all devices. What layers keep is as the
/// request's limit on memory says: with one they are computed twice.
pub(super) fn load(request: &IngestRequest, selection: &ModuleSelection) -> Result<Engines, FactorJobError> {
    check_devices(request)?;
    let source = source(request);
    let keep = match request.max_memory {
        Some(_) => SavedActivations::Inputs,
        None => SavedActivations::All,
    };
    let on = |device: Device| -> Result<(Device, CurvatureEngine), FactorJobError> {
        let loaded = with_backend!(
            (device, request.compute), |error| FactorJobError::other(LoadError::from(error)),
            backend => CurvatureEngine::load(&source, backend, selection, keep),
        );
        Ok((device, loaded.map_err(|error| FactorJobError::other(error.on(device)))?))
    };
    let engines = Engines(each(std::iter::once(request.device).chain(request.beside.iter().copied()), on)?);
    match engines.0.iter().all(|(_, engine)| engine.checkpoint_id() == engines.checkpoint_id()) {
        true => Ok(engines),
        false => Err(FactorJobError::Refused(format!(
            "the weights in {} were changed while they were read: run the command again",
            source.model.display()
        ))),
    }
}

/// The same as a stage of its work, with a note of tensors that the model has no place for.
pub(super) fn load_as_stage(
    request: &IngestRequest,
    selection: &ModuleSelection,
    work: &mut JobContext<'_>,
) -> Result<Engines, FactorJobError> {
    work.progress.start("reading weights", 1, Unit::Checkpoints);
    let engines = load(request, selection)?;
    work.progress.advance(1);
    work.progress.finish();
    folder(request)?.unused_note().iter().for_each(|note| work.progress.note(note));
    Ok(engines)
}

/// Where the request's first checkpoint is.
fn source(request: &IngestRequest) -> CheckpointSource {
    let base = CheckpointArg::base();
    let arg = request.checkpoints.first().unwrap_or(&base);
    CheckpointSource {
        model: arg.model(&request.model).to_owned(),
        adapter: arg.adapter().map(std::path::Path::to_owned),
        tracked: Vec::new(),
    }
}

/// The request's model at its first checkpoint, whose weights are not read.
pub(super) fn folder(request: &IngestRequest) -> Result<ModelFolder, FactorJobError> {
    ModelFolder::open(&source(request).model).map_err(FactorJobError::other)
}

/// The first of some modules that the request's model does not have; its weights are not read.
pub(super) fn unknown_module<'a>(
    request: &IngestRequest,
    modules: &'a [Module],
) -> Result<Option<&'a Module>, FactorJobError> {
    let folder = folder(request)?;
    let is_known = |module: &&Module| {
        let patterns = vec![module.name.clone()];
        ModuleSelection { patterns, biases: false }.resolve(folder.decoder()).is_ok()
    };
    Ok(modules.iter().find(|module| !is_known(module)))
}

/// Identity of the request's first checkpoint, whose weights are read and not kept.
pub(super) fn checkpoint(request: &IngestRequest) -> Result<CheckpointId, FactorJobError> {
    id(&source(request), &folder(request)?)
}

fn id(source: &CheckpointSource, folder: &ModelFolder) -> Result<CheckpointId, FactorJobError> {
    let adapter = source.adapter.as_deref().map(Adapter::open).transpose().map_err(FactorJobError::other)?;
    checkpoint_id(folder, adapter.as_ref()).map_err(FactorJobError::other)
}

/// The same, of a checkpoint next to that of an engine.
pub(super) fn identity(
    request: &IngestRequest,
    engine: &CurvatureEngine,
) -> Result<CheckpointId, FactorJobError> {
    let (source, folder) = (source(request), folder(request)?);
    if let Some(module) = other_module(engine.modules(), [engine.decoder(), folder.decoder()]) {
        return Err(FactorJobError::Refused(format!(
            "module `{module}` of {} is not that of checkpoint {}: both have to be of one model",
            source.model.display(),
            engine.checkpoint_id().short()
        )));
    }
    id(&source, &folder)
}

/// Loads a checkpoint of this identity and of these modules.
pub(super) fn load_at(
    at: &IngestRequest,
    selection: &ModuleSelection,
    (id, modules): (&CheckpointId, &[Module]),
) -> Result<Engines, FactorJobError> {
    let engine = load(at, selection)?;
    if engine.checkpoint_id() != id {
        return Err(FactorJobError::Refused(format!(
            "checkpoint {} was changed since the work began: it is {} now",
            id.short(),
            engine.checkpoint_id().short()
        )));
    }
    if engine.modules() != modules {
        return Err(FactorJobError::Refused(format!(
            "checkpoint {} in {} has other modules than the first one: both have to be of one model",
            id.short(),
            source(at).model.display()
        )));
    }
    Ok(engine)
}

/// The first of some modules whose weight or bias two models do not have in the same sizes.
fn other_module<'a>(modules: &'a [Module], decoders: [&Decoder; 2]) -> Option<&'a str> {
    let mut names = modules.iter().map(|module| module.name.as_str());
    let sizes = |decoder: &Decoder, name: &str| -> Vec<(String, Vec<usize>)> {
        let params = decoder.params.iter().filter(|param| param.module() == name);
        params.map(|param| (param.name.clone(), param.shape.clone())).collect()
    };
    names.find(|name| sizes(decoders[0], name) != sizes(decoders[1], name))
}

/// Bytes of the weights as the backends of all devices hold them.
pub(super) fn weight_bytes(engine: &CurvatureEngine, request: &IngestRequest) -> u64 {
    engine.decoder().weight_bytes(request.device, request.compute) * request.devices() as u64
}

/// Tokens of a batch at most: a longer sample is a batch of its own.
pub(super) fn batch_tokens(request: &IngestRequest) -> u64 {
    request.batch_tokens.max(request.text.max_length as usize) as u64
}

/// Bytes of a worker's activations with a batch of the most tokens.
pub(super) fn activation_bytes(engine: &CurvatureEngine, request: &IngestRequest, inside: u64) -> u64 {
    let [fixed, token] = activations(engine, request, inside);
    fixed + token * batch_tokens(request)
}

/// Bytes of a worker's activations, whatever its batch and for each token of it: what is kept of a token, and
/// the head; where that is one of the modules, the gradients of its outputs at every token. `inside`: of a
/// value inside a layer that is kept.
pub(super) fn activations(engine: &CurvatureEngine, request: &IngestRequest, inside: u64) -> [u64; 2] {
    let decoder = engine.decoder();
    let of_value = request.device.bytes_per_activation(request.compute);
    let of_head = |module: &Module| {
        let mut weights = decoder.params.iter().filter(|param| matches!(param.role, TensorRole::Weight(_)));
        weights.any(|param| param.module() == module.name && !param.is_map_of_layer())
    };
    let outputs = if engine.modules().iter().any(of_head) { decoder.vocab_size as u64 } else { 0 };
    let token = kept_per_token(decoder, request, inside) + of_value * outputs;
    [request.device.logits_bytes(decoder.vocab_size), token]
}

/// Bytes that are kept of a token; where layers are computed again, with such a layer and its gradients.
pub(super) fn kept_per_token(decoder: &Decoder, request: &IngestRequest, inside: u64) -> u64 {
    let of_value = request.device.bytes_per_activation(request.compute);
    let layers = decoder.layers as u64;
    let layer = (12 * decoder.hidden_size + 4 * decoder.intermediate_size) as u64;
    match request.max_memory {
        Some(_) => of_value * (layers * 2 * decoder.hidden_size as u64 + 2 * layer),
        None => {
            let narrow = decoder.values_inside_layer(&[]);
            let kept = layers * (of_value * layer.saturating_sub(narrow) + inside * narrow);
            // The backward of a layer may read its values in f32, and those of its gradients.
            kept + 2 * (of_value - inside) * narrow
        }
    }
}

/// A sample's tokens, and the one that each position is to predict.
#[derive(Debug, Clone)]
pub(super) struct SampleTokens {
    /// Number of the sample among those that labels are drawn for.
    pub row: u64,
    ids: Vec<u32>,
    targets: Vec<Option<u32>>,
}

impl SampleTokens {
    /// With the labels of the data.
    pub(super) fn new(row: u64, encoded: &Encoded) -> Self {
        let target = |(id, scored): (&u32, &bool)| scored.then_some(*id);
        let targets = encoded.ids.iter().zip(&encoded.scored).map(target).collect();
        Self { row, ids: encoded.ids.clone(), targets }
    }

    /// Whether the loss has a term of the sample: nothing predicts its first token.
    pub(super) fn is_scored(&self) -> bool {
        self.targets.iter().skip(1).any(Option::is_some)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// As the engine takes it.
    pub(super) fn sample(&self) -> TargetSample<'_> {
        TargetSample { ids: &self.ids, targets: &self.targets }
    }
}

/// Rows that passes have seen, and those of them without a scored token.
#[derive(Debug, Default)]
pub(super) struct RowCounters {
    rows: AtomicU64,
    unscored: AtomicU64,
}

impl RowCounters {
    /// Counts the rows of a batch.
    pub(super) fn add(&self, batch: &[SampleTokens]) {
        let unscored = batch.iter().filter(|sample| !sample.is_scored()).count();
        self.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.unscored.fetch_add(unscored as u64, Ordering::Relaxed);
    }

    /// Rows without a scored token, where each of so many rows was seen in so many passes; none where some
    /// were not, or there was no pass.
    pub(super) fn unscored(&self, rows: u64, passes: u64) -> Option<u64> {
        let [seen, unscored] = [&self.rows, &self.unscored].map(|count| count.load(Ordering::Relaxed));
        unscored.checked_div(passes).filter(|_| seen == rows * passes)
    }
}

pub(super) fn tokens(batch: &[EncodedRow]) -> Vec<SampleTokens> {
    batch.iter().map(|row| SampleTokens::new(row.row, &row.encoded)).collect()
}

/// Whose labels the loss of a fit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fisher {
    /// Labels that are drawn from the model's own predictions.
    True {
        /// Seed of the draws.
        seed: u64,
    },
    /// Those of the data.
    Empirical,
}

impl Fisher {
    /// Name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Fisher::True { .. } => "true",
            Fisher::Empirical => "empirical",
        }
    }

    /// Seed of the draws, if there are any.
    pub fn seed(self) -> Option<u64> {
        match self {
            Fisher::True { seed } => Some(seed),
            Fisher::Empirical => None,
        }
    }

    /// The labels of a batch of these rows in a pass of the data: each pass draws its own.
    pub(super) fn labels(self, pass: u64, rows: &[u64]) -> Labels<'_> {
        match self {
            Fisher::True { seed } => Labels::Sampled { seed, pass, rows },
            Fisher::Empirical => Labels::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstore_model::ComputePrecision;

    #[test]
    fn layers_are_kept_with_values_of_bf16_on_a_gpu_or_by_their_inputs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
            "vocab_size": 37, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
            "max_position_embeddings": 64, "tie_word_embeddings": true
        });
        fs_err::write(&path, config.to_string()).expect("written");
        let decoder = Decoder::read(&path).expect("a model");
        let kept = |device: Device, compute: ComputePrecision, max_memory: Option<u64>| {
            let mut request = IngestRequest::new("pool", "model");
            (request.device, request.compute, request.max_memory) = (device, compute, max_memory);
            kept_per_token(&decoder, &request, device.bytes_inside_layer(compute))
        };
        // Gate, up and their product; queries, keys and values.
        let (all, inside) = (12 * 16 + 4 * 24, 3 * 24 + 16 + 2 * 8);
        for compute in [ComputePrecision::F32, ComputePrecision::Bf16] {
            assert_eq!(kept(Device::Cpu, compute, None), 2 * 4 * all);
        }
        assert_eq!(kept(Device::Cuda(0), ComputePrecision::F32, None), 2 * 4 * all);
        let gpu = |max_memory| kept(Device::Cuda(0), ComputePrecision::Bf16, max_memory);
        // With one layer and its gradients in f32.
        assert_eq!(gpu(None), 2 * (6 * all - 4 * inside) + 2 * 4 * inside);
        // Inputs of the layers, and one layer twice.
        assert_eq!(gpu(Some(1)), 6 * (2 * 2 * 16 + 2 * all));
        assert_eq!(kept(Device::Cpu, ComputePrecision::F32, Some(1)), 4 * (2 * 2 * 16 + 2 * all));
    }

    #[test]
    fn rows_without_a_scored_token_are_counted_once() {
        let sample =
            |row, targets: Vec<Option<u32>>| SampleTokens { row, ids: vec![1; targets.len()], targets };
        let batch = [sample(0, vec![None, Some(3)]), sample(1, vec![None, None]), sample(2, vec![Some(1)])];
        let seen = RowCounters::default();
        for _ in 0..2 {
            seen.add(&batch);
        }
        assert_eq!((seen.unscored(3, 2), seen.unscored(4, 2), seen.unscored(3, 1)), (Some(2), None, None));
        assert_eq!(seen.unscored(3, 0), None);
    }
}
