//! Encoder of given samples, with a cache of loaded models.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use gstore_core::{Cancel, Cancelled, Kind, locked, parallel};
use gstore_store::{
    EncodeFeature, EncodedSamples, EncodingSpec, FeaturePart, Granularity, RowFlags, Snapshot,
};

use super::SampleEncoderError;
use super::locate::{CheckpointFolders, WeightFolders};
use super::reproduce;
use super::texts;
use super::texts::Tokenizers;
use crate::gradient::EngineError;
use crate::pipeline::compute::FeatureComputer;
use crate::pipeline::plan::{CheckpointPlan, describe_checkpoint, encoder};
use crate::pipeline::prepare::{BatchRow, TokenBatch};
use crate::pipeline::request::{CheckpointArg, IngestRequest};
use crate::pipeline::tracked::TrackedTensors;
use crate::pipeline::{IngestError, Progress, Unit, computer};
use gstore_data::{Content, Encoded, TextEncoder, parse_record};
use gstore_model::Device;
use gstore_model::weights::ModelFolder;

/// How long a question that waits for another goes without looking whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(10);

/// How given samples are computed.
#[derive(Debug, Clone, Default)]
pub struct SampleEncoderOptions {
    /// Folder of the base model; none: where it was when the store saw it.
    pub model: Option<PathBuf>,
    /// Where the checkpoints are; empty: where they were.
    pub checkpoints: Vec<CheckpointArg>,
    /// What computes, and where.
    pub device: Device,
    /// Threads; at least one is used, and no more than there are samples.
    pub threads: usize,
    /// Bytes of models that are kept for the next question; with 0 each is dropped after use.
    pub keep: u64,
}

/// Computes the vectors of samples that are in no dataset, and keeps models for the next ones.
pub struct SampleEncoder {
    options: SampleEncoderOptions,
    /// A question holds it to its end, so that only one question's models are in memory.
    state: Mutex<EncoderState>,
    /// Numbers of the questions that wait for it, ascending as they came.
    waiting: Mutex<BTreeSet<u64>>,
    tokenizers: Tokenizers,
}

struct EncoderState {
    places: WeightFolders,
    loaded: Vec<Arc<LoadedCheckpoint>>,
}

/// A checkpoint ready to compute one kind of vector.
struct LoadedCheckpoint {
    /// What it gives: everything that decides a vector.
    key: String,
    computer: FeatureComputer,
    encoder: TextEncoder,
    /// Bytes that it holds.
    bytes: u64,
}

impl fmt::Debug for SampleEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleEncoder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl SampleEncoder {
    /// Loads nothing yet.
    pub fn new(options: SampleEncoderOptions) -> Self {
        let places = WeightFolders::new(options.model.clone(), options.checkpoints.clone());
        Self {
            options,
            state: Mutex::new(EncoderState { places, loaded: Vec::new() }),
            waiting: Mutex::default(),
            tokenizers: Tokenizers::default(),
        }
    }

    /// The vectors of records (JSON objects, as in a data file) for each feature. Features are computed one
    /// after the other, so that one model is in memory at a time in addition to those that are kept.
    ///
    /// # Errors
    /// A record that is invalid, is cut or has no scored token; weights, tokenizer, projection or anything
    /// else that is not what the stored feature was computed with.
    pub fn encode(
        &self,
        snapshot: &Snapshot,
        records: &[&[u8]],
        wanted: &[EncodeFeature<'_>],
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<EncodedSamples, SampleEncoderError> {
        let contents = parse_contents(records)?;
        let mut state = self.wait(cancel)?;
        let keys: Vec<String> = wanted.iter().map(key).collect();
        // What this question does not use makes room.
        let used: u64 = state.loaded.iter().map(|loaded| loaded.bytes).sum();
        if used > 0 && keys.iter().any(|key| state.loaded.iter().all(|loaded| loaded.key != *key)) {
            state.loaded.retain(|loaded| keys.contains(&loaded.key));
        }
        let mut given = EncodedSamples { vectors: Vec::new(), tokens: Vec::new() };
        progress.start("computing the given samples", wanted.len() as u64, Unit::Checkpoints);
        let mut all = || -> Result<(), SampleEncoderError> {
            for (feature, key) in wanted.iter().zip(&keys) {
                cancel.check()?;
                let loaded = self.load(&mut state, snapshot, feature, key)?;
                let encoded = encode(&loaded.encoder, &contents)?;
                let counts = |sample: &Encoded| (sample.ids.len() as u32, sample.scored_tokens() as u32);
                given.tokens = encoded.iter().map(counts).collect();
                given.vectors.push(self.compute(&loaded, feature, encoded, cancel)?);
                progress.advance(1);
            }
            Ok(())
        };
        let result = all();
        progress.finish();
        result.map(|()| given)
    }

    /// The text of each token of records (JSON objects, as in a data file), as an encoding cuts them; none of
    /// a record that cannot be cut. `None` where the encoding's tokenizer is in none of the folders that the
    /// user gave or the store saw.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn token_texts(
        &self,
        snapshot: &Snapshot,
        encoding: &EncodingSpec,
        records: &[&str],
    ) -> Result<Option<Vec<Vec<String>>>, SampleEncoderError> {
        let tokenizer = self.tokenizers.find(snapshot, encoding, self.options.model.as_deref());
        tokenizer.map(|tokenizer| texts::of_records(&tokenizer, records)).transpose()
    }

    /// The models, once no other question has them and none waits that came before.
    fn wait(&self, cancel: &Cancel) -> Result<MutexGuard<'_, EncoderState>, Cancelled> {
        let waiting = || locked(&self.waiting);
        let own = {
            let mut all = waiting();
            let own = all.last().map_or(0, |last| last + 1);
            all.insert(own);
            own
        };
        let waited = loop {
            let is_first = waiting().first() == Some(&own);
            match is_first.then(|| self.state.try_lock()) {
                Some(Ok(state)) => break Ok(state),
                Some(Err(TryLockError::Poisoned(poisoned))) => break Ok(poisoned.into_inner()),
                Some(Err(TryLockError::WouldBlock)) | None => {}
            }
            if let Err(cancelled) = cancel.check() {
                break Err(cancelled);
            }
            std::thread::sleep(GLANCE);
        };
        waiting().remove(&own);
        waited
    }

    /// The model of a feature: kept from before, or loaded.
    fn load(
        &self,
        state: &mut EncoderState,
        snapshot: &Snapshot,
        feature: &EncodeFeature<'_>,
        key: &str,
    ) -> Result<Arc<LoadedCheckpoint>, SampleEncoderError> {
        if let Some(kept) = state.loaded.iter().find(|loaded| loaded.key == key) {
            return Ok(Arc::clone(kept));
        }
        let loaded = Arc::new(load(&mut state.places, snapshot, feature, key, self.options.device)?);
        let held: u64 = state.loaded.iter().map(|loaded| loaded.bytes).sum();
        if held.saturating_add(loaded.bytes) <= self.options.keep {
            state.loaded.push(Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// The vectors of the samples, in their order, whichever thread computes which.
    fn compute(
        &self,
        loaded: &LoadedCheckpoint,
        feature: &EncodeFeature<'_>,
        samples: Vec<Encoded>,
        cancel: &Cancel,
    ) -> Result<Vec<Vec<f32>>, SampleEncoderError> {
        let samples: Vec<(usize, Arc<Encoded>)> = samples.into_iter().map(Arc::new).enumerate().collect();
        parallel::map(&samples, 1, self.options.threads.max(1), cancel, |(number, sample)| {
            vector((loaded, feature), *number, sample, cancel)
        })
    }
}

/// Everything that decides a vector, but for what `reproduce` refuses or compares when it is loaded.
fn key(feature: &EncodeFeature<'_>) -> String {
    let desc = &feature.pool.desc;
    let adam = serde_json::Value::Object(desc.kind.params.clone());
    format!(
        "{} {} {} {} {} {adam}",
        desc.space.id(),
        desc.encoding,
        desc.compute,
        desc.kind.name,
        feature.kind
    )
}

fn parse_contents(records: &[&[u8]]) -> Result<Vec<Content>, SampleEncoderError> {
    let read = |(i, record): (usize, &&[u8])| match parse_record(record) {
        Ok(record) => Ok(record.content),
        Err(source) => Err(SampleEncoderError::Record { sample: i + 1, source }),
    };
    records.iter().enumerate().map(read).collect()
}

/// The tokens of every sample; one that would be cut or not count is refused.
fn encode(encoder: &TextEncoder, contents: &[Content]) -> Result<Vec<Encoded>, SampleEncoderError> {
    let mut all = Vec::with_capacity(contents.len());
    for (i, content) in contents.iter().enumerate() {
        let sample = i + 1;
        let encoded =
            encoder.encode(content).map_err(|source| SampleEncoderError::Encode { sample, source })?;
        if encoded.truncated {
            return Err(SampleEncoderError::Truncated { sample, max_length: encoder.spec().max_length });
        }
        if encoded.scored_tokens() == 0 {
            return Err(SampleEncoderError::NoScored { sample, why: why_unscored(content, &encoded) });
        }
        all.push(encoded);
    }
    Ok(all)
}

/// Why nothing of a sample is scored. A token's loss is that of its prediction from the tokens before it, so
/// the first one has none.
fn why_unscored(content: &Content, encoded: &Encoded) -> &'static str {
    match content {
        Content::Text(_) if encoded.ids.len() < 2 => {
            "a token is predicted from those before it, so a text needs two tokens at least, and this one has fewer; give it as a completion with \
             a prompt, or give more of it"
        }
        Content::Text(_) => "the text has none whose loss training could change",
        Content::PromptCompletion { .. } => "its completion has none, whose loss training could change",
        Content::Messages(_) => "there is no answer of the assistant, whose loss training could change",
    }
}

/// Loads a checkpoint and makes sure that it gives vectors of the feature's space.
fn load(
    places: &mut WeightFolders,
    snapshot: &Snapshot,
    feature: &EncodeFeature<'_>,
    key: &str,
    device: Device,
) -> Result<LoadedCheckpoint, SampleEncoderError> {
    let ReproducedFeature { located, request, plan, encoder } = find(places, snapshot, feature, device)?;
    let computer = computer(&request, &plan).map_err(|error| match error {
        IngestError::WeightsChanged { .. } => other_weights(&located, plan.id.short()),
        other => other.into(),
    })?;
    Ok(LoadedCheckpoint { key: key.to_owned(), computer, encoder, bytes: plan.memory.shared })
}

/// What gives vectors of a feature's space.
struct ReproducedFeature {
    located: CheckpointFolders,
    request: IngestRequest,
    plan: CheckpointPlan,
    encoder: TextEncoder,
}

/// Finds the weights of a feature and makes its request again, without reading the weights.
fn find(
    places: &mut WeightFolders,
    snapshot: &Snapshot,
    feature: &EncodeFeature<'_>,
    device: Device,
) -> Result<ReproducedFeature, SampleEncoderError> {
    let part = feature.pool;
    let refuse =
        |what: &str| SampleEncoderError::Feature { feature: part.display_name(), what: what.to_owned() };
    let id = part.desc.checkpoint.as_ref().ok_or_else(|| refuse("they belong to no single checkpoint"))?;
    let kind = feature.kind.parse::<Kind>().map_err(IngestError::from)?;
    let encoding = stored_encoding(snapshot, part).ok_or_else(|| {
        refuse("nothing says which tokenizer, template and maximum length its encoding stands for")
    })?;
    let located = places.find(snapshot, feature, id)?;
    let request = reproduce::request(part, kind, &encoding, &located, device)?;
    let base = ModelFolder::open(&located.model).map_err(IngestError::from)?;
    let encoder = encoder(&request)?;
    let tracked = TrackedTensors::find(&request, &base, &located.arg)?;
    let plan = describe_checkpoint(&request, tracked, &located.arg, id.clone(), &encoding.key())?;
    reproduce::check(part, &plan, (&encoding, &encoder.spec()))?;
    Ok(ReproducedFeature { located, request, plan, encoder })
}

/// The request that computes of a dataset what can be compared with stored features, one for each checkpoint.
/// The run, and what the first feature is made with, hold for all of them.
///
/// # Errors
/// Weights, tokenizer, projection or anything else that is not what a stored feature was computed with.
pub fn request_like(
    snapshot: &Snapshot,
    features: &[EncodeFeature<'_>],
    dataset: &str,
    options: SampleEncoderOptions,
) -> Result<IngestRequest, SampleEncoderError> {
    let SampleEncoderOptions { model, checkpoints, device, threads, .. } = options;
    let mut places = WeightFolders::new(model, checkpoints);
    let mut like: Option<IngestRequest> = None;
    for feature in features {
        let ReproducedFeature { request, .. } = find(&mut places, snapshot, feature, device)?;
        match &mut like {
            None => like = Some(request),
            Some(like) => like.checkpoints.extend(request.checkpoints),
        }
    }
    let like = like.ok_or(SampleEncoderError::Ingest(IngestError::NoKinds))?;
    Ok(IngestRequest { dataset: dataset.to_owned(), threads: threads.max(1), ..like })
}

fn other_weights(located: &CheckpointFolders, id: &str) -> SampleEncoderError {
    SampleEncoderError::OtherWeights {
        checkpoint: located.arg.name.clone(),
        folder: located.arg.folder().unwrap_or(&located.model).to_owned(),
        id: id.to_owned(),
    }
}

/// The description of a feature's encoding: its dataset's, or another's that has the same.
fn stored_encoding(snapshot: &Snapshot, part: &FeaturePart) -> Option<EncodingSpec> {
    let of_dataset = |name: &str| snapshot.dataset(name).ok()?.encoding(&part.desc.encoding);
    let any = || snapshot.datasets().iter().find_map(|dataset| dataset.encoding(&part.desc.encoding));
    of_dataset(&part.desc.dataset).or_else(any).map(|entry| entry.spec.clone())
}

fn vector(
    (loaded, feature): (&LoadedCheckpoint, &EncodeFeature<'_>),
    index: usize,
    encoded: &Arc<Encoded>,
    cancel: &Cancel,
) -> Result<Vec<f32>, SampleEncoderError> {
    debug_assert_eq!(loaded.computer.granularity, Granularity::Sample);
    let row = BatchRow { row: index as u64, pos: None, encoded: Arc::clone(encoded) };
    let computed = match loaded.computer.compute(&TokenBatch { rows: vec![row] }, cancel) {
        Err(IngestError::Engine(EngineError::Cancelled(stopped))) => return Err(stopped.into()),
        computed => computed?,
    };
    let Some(vectors) = computed.first().map(|computed| &computed.vectors) else {
        return Err(IngestError::NoResult.into());
    };
    let vector = vectors.get(0);
    if vectors.flags(0).contains(RowFlags::NON_FINITE) || vector.iter().any(|x| !x.is_finite()) {
        return Err(SampleEncoderError::NotFinite {
            sample: index + 1,
            kind: loaded.computer.kinds.first().map_or("vector", |kind| kind.name()),
            checkpoint: feature.checkpoint.to_owned(),
        });
    }
    Ok(vector.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_waits_for_another_can_be_cancelled() {
        let encoder = SampleEncoder::new(SampleEncoderOptions::default());
        let cancel = Cancel::new();
        let held = encoder.wait(&cancel).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| encoder.wait(&cancel).is_err());
            cancel.raise();
            assert!(waiting.join().unwrap());
        });
        drop(held);
        assert!(encoder.wait(&Cancel::new()).is_ok());
    }

    #[test]
    fn questions_have_their_turn_in_the_order_in_which_they_came() {
        let encoder = SampleEncoder::new(SampleEncoderOptions::default());
        let go = Cancel::new();
        let held = encoder.wait(&go).unwrap();
        let turns = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (encoder, go, turns) = (&encoder, &go, &turns);
                scope.spawn(move || {
                    let _held = encoder.wait(go).unwrap();
                    turns.lock().unwrap().push(number);
                });
                while encoder.waiting.lock().unwrap().len() <= number {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        assert_eq!(turns.into_inner().unwrap(), [0, 1, 2, 3]);
    }
}
