//! Preparation of a training: model, samples and steps, checked before anything is computed.

use gstore_core::{Cancel, available_memory, many};
use gstore_data::TextEncoder;
use gstore_model::architectures::{Decoder, LinearId, LinearKind, Param, TensorRole};
use gstore_model::weights::{Adapter, ModelFolder};

use crate::checkpoint::{check_config, lora_dropout, model_config};
use crate::data::{TextSizes, TrainingSamples, load, load_held_out};
use crate::error::TrainError;
use crate::memory::{MemoryPlan, TrainedModels, TrainingSizes, values_of};
use crate::order::{LeftoverBatches, StepPlan};
use crate::packing::sequences;
use crate::pieces::{SHARES, largest};
use crate::request::{LossMean, TrainMethod, TrainRequest};
use crate::resumption::resumed_method;
use crate::sample::Sample;

/// A training before its weights are read.
pub(crate) struct PreparedTraining {
    /// With what follows from the folders: the method of a checkpoint that is gone on from, what is given up
    /// for the memory.
    pub request: TrainRequest,
    /// The model that it starts from; none from scratch.
    pub base: Option<ModelFolder>,
    pub decoder: Decoder,
    pub samples: Vec<Sample>,
    /// Number of each in the data.
    pub rows: Vec<u64>,
    /// Samples that no step is taken on.
    pub held_out: Vec<Sample>,
    /// The samples of each sequence; none: each is its own.
    pub sequences: Option<Vec<Vec<usize>>>,
    pub steps: StepPlan,
    models: TrainedModels,
    pub memory: MemoryPlan,
    /// The texts of all samples.
    texts: TextSizes,
}

pub(crate) struct TrainedSizes {
    pub values: u64,
    pub tensors: u64,
    /// Maps of layers that have factors next to them.
    pub adapted: Vec<LinearKind>,
}

impl PreparedTraining {
    /// Reads the data, and of the model all but its weights; `tell` hears what the user should know.
    pub fn new(
        request: &TrainRequest,
        models: TrainedModels,
        tell: &mut dyn FnMut(&str),
        cancel: &Cancel,
    ) -> Result<PreparedTraining, TrainError> {
        request.check()?;
        let mut request = request.clone();
        if let Some(from) = &request.saving.resume_from {
            request.method = resumed_method(from, &request.method)?;
        }
        let base = match request.method {
            TrainMethod::FromScratch => None,
            _ => Some(ModelFolder::open(&request.model)?),
        };
        let decoder = match &base {
            Some(base) => base.decoder().clone(),
            None => Decoder::read(&request.model.join("config.json"))?,
        };
        if let (TrainMethod::Full, Some(from)) = (&request.method, &request.saving.resume_from) {
            check_config(from, &Decoder::read(&from.join("config.json"))?, &decoder)?;
        }
        check_dropout(&request, &decoder, tell)?;
        let mut encoder = request.batching.text.encoder(&request.model)?;
        encoder.limit_memory(request.compute.max_memory);
        let of_tokenizer = encoder.check_vocabulary(decoder.vocab_size)?;
        let of_weights = base.as_ref().and_then(ModelFolder::unused_note);
        of_weights.into_iter().chain(of_tokenizer).for_each(|note| tell(&note));
        let TrainingSamples { samples, rows, texts, .. } =
            samples(&request, &encoder, &decoder, tell, cancel)?;
        let TrainingSamples { samples: held_out, texts: more, .. } =
            load_held_out_samples(&request, &encoder, &decoder, tell, cancel)?;
        let batching = &request.batching;
        let sequences = batching.packing.then(|| {
            let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
            sequences(&lengths, batching.text.max_length as usize)
        });
        let units = sequences.as_ref().map_or(samples.len(), Vec::len);
        if sequences.is_some() {
            let (samples, sequences) = (many(samples.len() as u64, "sample"), many(units as u64, "sequence"));
            tell(&format!("{samples} in {sequences}"));
        }
        let size = (batching.micro, batching.accumulate);
        let leftover = match request.steps.mean {
            LossMean::MicroBatches => LeftoverBatches::Carried,
            LossMean::Tokens => LeftoverBatches::Step,
        };
        let steps =
            StepPlan::new(request.plan(), units, size, leftover, batching.epochs, batching.max_steps)?;
        if let Some(warmup) = request.steps.warmup_steps.filter(|warmup| *warmup >= steps.total()) {
            let (warmup, total) = (many(warmup, "step"), many(steps.total(), "step"));
            let never = "the rate never reaches its peak";
            tell(&format!("the warm-up takes {warmup}, and the training has {total}: {never}"));
        }
        let mut prepared = PreparedTraining {
            models,
            memory: MemoryPlan::default(),
            request,
            base,
            decoder,
            samples,
            rows,
            held_out,
            sequences,
            steps,
            texts: texts.and(more),
        };
        prepared.plan_memory(tell)?;
        Ok(prepared)
    }

    /// The samples of the micro-batches of step `step`, counted from 0.
    pub fn batch(&mut self, step: u64) -> Vec<Vec<usize>> {
        let batch = self.steps.batch(step);
        match &self.sequences {
            None => batch,
            Some(sequences) => {
                let of = |micro: Vec<usize>| micro.into_iter().flat_map(|i| sequences[i].clone()).collect();
                batch.into_iter().map(of).collect()
            }
        }
    }

    /// How many of `models` copies are trained at once on the threads there are, in the memory that is
    /// allowed: one at least.
    pub(crate) fn copies_at_once(&self, models: usize) -> Result<usize, TrainError> {
        let compute = &self.request.compute;
        Ok(self.sizes()?.copies(compute.keep, compute.threads, models, compute.max_memory))
    }

    /// Bytes at the peak with so many copies at once, about.
    pub(crate) fn memory_of_copies(&self, copies: usize) -> Result<u64, TrainError> {
        let compute = &self.request.compute;
        let training = self.sizes()?.copies_bytes(compute.keep, compute.threads, copies);
        Ok(training.max(self.memory.encoding))
    }

    /// An error where the host has less memory than the training takes at its peak, of copies one at a time.
    pub fn check_memory(&self) -> Result<(), TrainError> {
        if !self.request.compute.device.is_host() {
            return Ok(());
        }
        match self.memory.lack(available_memory()) {
            None => Ok(()),
            Some((needed, available)) => Err(TrainError::Memory { needed, available }),
        }
    }

    /// What is trained, by the shapes of the weights.
    pub(crate) fn trained(&self) -> Result<TrainedSizes, TrainError> {
        let (mut values, mut tensors, mut adapted) = (0, 0, Vec::new());
        let mut add = |rank: usize, param: &Param| {
            tensors += 2;
            values += (rank * param.shape.iter().sum::<usize>()) as u64;
            if let TensorRole::Weight(pieces) = &param.role {
                adapted.extend(pieces.iter().filter_map(|piece| match piece.linear {
                    LinearId::Layer { kind, .. } => Some(kind),
                    LinearId::Head => None,
                }));
            }
        };
        match (&self.request.method, &self.base) {
            (TrainMethod::Lora(choice), _) => {
                choice.resolve(&self.decoder)?.into_iter().for_each(|param| add(choice.rank, param));
            }
            (TrainMethod::Adapter(folder), Some(base)) => {
                let adapter = Adapter::open(folder)?;
                adapter.fit(base)?.iter().for_each(|weight| add(weight.lora.rank, weight.param));
            }
            // Without a model to begin at, an adapter trains nothing.
            (TrainMethod::Adapter(_), None) => {}
            (TrainMethod::Full | TrainMethod::FromScratch, _) => {
                values = self.decoder.params.iter().map(values_of).sum();
                tensors = self.decoder.params.len() as u64;
            }
        }
        Ok(TrainedSizes { values, tensors, adapted })
    }

    fn sizes(&self) -> Result<TrainingSizes<'_>, TrainError> {
        let compute = &self.request.compute;
        let all = || self.samples.iter().chain(&self.held_out);
        let tokens: usize = all().map(|sample| sample.ids.len()).sum();
        let TextSizes { number, bytes, longest } = self.texts;
        // A text that is cut into blocks is there with them.
        let texts = if self.request.batching.text.block.is_some() { 2 * bytes } else { bytes };
        let TrainedSizes { values: trained, adapted, .. } = self.trained()?;
        let only_scored = match self.models {
            TrainedModels::States => &self.samples,
            TrainedModels::One | TrainedModels::Copies => &self.held_out,
        };
        Ok(TrainingSizes {
            decoder: &self.decoder,
            models: self.models,
            devices: compute.devices(),
            device: compute.device,
            precision: compute.precision,
            trained,
            is_full: matches!(self.request.method, TrainMethod::Full | TrainMethod::FromScratch),
            adapted,
            state: self.request.steps.optimizer.bytes_of_value(),
            piece: self.largest_piece() as u64,
            watched: largest_scored_piece(only_scored, compute.piece_tokens) as u64,
            samples: 5 * tokens as u64 + OF_SAMPLE * all().count() as u64 + OF_RECORD * number + texts,
            // One of the longest on each thread, or all of them.
            encoding: TextEncoder::memory_of_text(bytes.min(longest.saturating_mul(compute.threads as u64))),
        })
    }

    /// Tokens that no piece of a step has more of.
    fn largest_piece(&self) -> usize {
        let batching = &self.request.batching;
        let count = batching.micro.saturating_mul(batching.accumulate);
        let length = |sample: &Sample| sample.ids.len();
        let longest = self.samples.iter().map(length).max().unwrap_or(0);
        let units: Vec<usize> = match &self.sequences {
            // Each is a piece.
            None if count <= SHARES => return longest,
            None => self.samples.iter().map(length).collect(),
            Some(sequences) => {
                let of = |own: &Vec<usize>| own.iter().map(|i| length(&self.samples[*i])).sum::<usize>();
                sequences.iter().map(of).collect()
            }
        };
        largest(units, count, longest, self.request.compute.piece_tokens)
    }

    /// Chooses what is kept and how many threads run: for copies, so that one at least can be trained.
    fn plan_memory(&mut self, tell: &mut dyn FnMut(&str)) -> Result<(), TrainError> {
        let compute = &self.request.compute;
        let most = compute.max_memory;
        self.memory = self.sizes()?.plan(compute.keep, compute.threads, most);
        let peak = self.memory.peak();
        if most.is_some_and(|most| peak > most) {
            tell(&format!(
                "about {} MB are needed, more than was allowed; nothing more can be given up without changing the result",
                peak / 1_000_000
            ));
        }
        let compute = &mut self.request.compute;
        (compute.keep, compute.threads) = (self.memory.keep, self.memory.threads);
        Ok(())
    }
}

/// Bytes of a sample without its tokens, and of its places in sequences and orders.
const OF_SAMPLE: u64 = 96;

/// Bytes of a record without its text.
const OF_RECORD: u64 = 256;

/// Tokens that no piece of samples that no step is taken on has more of.
fn largest_scored_piece(samples: &[Sample], most: usize) -> usize {
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let count = lengths.len();
    largest(lengths, count, longest, most)
}

/// Checks that the model has what is dropped, and says where the dropout differs from that of the model's
/// or the adapter's training.
fn check_dropout(
    request: &TrainRequest,
    decoder: &Decoder,
    tell: &mut dyn FnMut(&str),
) -> Result<(), TrainError> {
    let dropout = &request.steps.dropout;
    let has_factors = matches!(request.method, TrainMethod::Lora(_) | TrainMethod::Adapter(_));
    dropout.check(decoder, has_factors)?;
    let config = model_config(&request.model)?;
    dropout.differ(&config, decoder).iter().for_each(|what| tell(what));
    if let TrainMethod::Adapter(from) = &request.method {
        let own = dropout.lora;
        if let Some(was) = lora_dropout(from)?.filter(|was| *was != own) {
            tell(&format!(
                "the adapter was trained with a dropout of {was} of the inputs of its factors; it continues with {own}"
            ));
        }
    }
    Ok(())
}

/// The samples that are trained on, checked against the model.
fn samples(
    request: &TrainRequest,
    encoder: &TextEncoder,
    decoder: &Decoder,
    tell: &mut dyn FnMut(&str),
    cancel: &Cancel,
) -> Result<TrainingSamples, TrainError> {
    let threads = request.compute.threads;
    let loaded = load(&request.data, &request.subset, encoder, threads, cancel)?;
    check(&loaded, decoder)?;
    note_left_out(&loaded, "sample", request.batching.text.max_length, tell);
    Ok(loaded)
}

/// The samples that the loss is watched on.
fn load_held_out_samples(
    request: &TrainRequest,
    encoder: &TextEncoder,
    decoder: &Decoder,
    tell: &mut dyn FnMut(&str),
    cancel: &Cancel,
) -> Result<TrainingSamples, TrainError> {
    let Some(evaluation) = &request.evaluation else { return Ok(TrainingSamples::default()) };
    let (repeats, threads) = (request.subset.repeats, request.compute.threads);
    let loaded = load_held_out(&evaluation.data, repeats, encoder, threads, cancel)?;
    if loaded.samples.is_empty() {
        return Err(TrainError::NothingHeldOut);
    }
    check(&loaded, decoder)?;
    note_left_out(&loaded, "held-out sample", request.batching.text.max_length, tell);
    Ok(loaded)
}

fn check(loaded: &TrainingSamples, decoder: &Decoder) -> Result<(), TrainError> {
    loaded.samples.iter().enumerate().try_for_each(|(number, sample)| sample.check(number, decoder))
}

/// Says what was left out of samples and cut; `noun`: what one of them is called.
fn note_left_out(loaded: &TrainingSamples, noun: &str, max_length: u32, tell: &mut dyn FnMut(&str)) {
    let TrainingSamples { repeated, without_scored, truncated, .. } = loaded;
    if *repeated > 0 {
        let repeats = many(*repeated as u64, noun);
        tell(&format!("{repeats} left out, as earlier ones have their ids"));
    }
    if *without_scored > 0 {
        tell(&format!("{} without a scored token left out", many(*without_scored as u64, noun)));
    }
    if *truncated > 0 {
        let length = many(max_length.into(), "token");
        tell(&format!("{} cut to {length}", many(*truncated as u64, noun)));
    }
}
