//! Work plan of a request: its checkpoints, its features, and the windows that are missing.
//!
//! Planning reads the weights once (to identify the checkpoints) and writes nothing but a lease.

use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::Kind;
use gstore_store::{
    CheckpointId, DatasetPart, EncodingSpec, FeatureAttrs, FeatureDesc, FeatureState, Granularity,
    JobFeature, JobPlan, Lease, RowSet, RunCheckpoint, RunUpdate, SignRotation, Snapshot, Store,
};
use serde_json::{Map, json};

use super::column::Column;
use super::describe::Setting;
use super::foreign::check_stored;
use super::label::label;
use super::memory::MemoryPlan;
use super::request::{CheckpointArg, CheckpointWeights, IngestRequest};
use super::tracked::{Measure, Tracked};
use super::window::BatchLimits;
use super::{IngestError, Progress, Unit};
use crate::gradient::module_shapes;
use crate::projection::{Explanation, ModuleShape, NOMINAL_TOKENS, ProjectionSpec, explain};
use gstore_data::TextEncoder;
use gstore_model::architectures::Decoder;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{ModelFolder, TrainerState, checkpoint_id, peak_rate};

/// Everything that an ingest will do.
pub struct IngestPlan {
    /// The request.
    pub request: IngestRequest,
    /// The dataset as it is now.
    pub dataset: Arc<DatasetPart>,
    /// The state of the store that was planned on.
    pub snapshot: Arc<Snapshot>,
    /// Tokenizer and template.
    pub encoder: TextEncoder,
    /// Description of the encoding.
    pub encoding: EncodingSpec,
    /// The checkpoints, in the order of the run.
    pub checkpoints: Vec<CheckpointPlan>,
    /// Rows asked for.
    pub rows: RowSet,
    /// Keeps the snapshot from being collected as long as the plan is there.
    pub lease: Option<Lease>,
    /// What its losses are relative to, where they become a column of an ensemble.
    pub(super) column: Option<Column>,
}

/// One checkpoint of a plan.
pub struct CheckpointPlan {
    /// As the user named it.
    pub arg: CheckpointArg,
    /// Its identity.
    pub id: CheckpointId,
    /// What the model computes.
    pub decoder: Decoder,
    /// Differentiated tensors of the model itself, as indices into the decoder's params; none with an
    /// adapter.
    pub tracked: Vec<usize>,
    /// Differentiated tensors in order; empty without gradients.
    pub tensors: Vec<TensorSpec>,
    /// Projection of the gradients.
    pub projection: ProjectionSpec,
    /// Optimizer step, if its trainer state says so.
    pub step: Option<u64>,
    /// Weight in the run.
    pub weight: Option<f64>,
    /// Digest of the optimizer moments, if a feature needs them.
    pub moments: Option<String>,
    /// Its features.
    pub features: Vec<PlannedFeature>,
    /// Where a batch ends.
    pub limits: BatchLimits,
    /// Peak memory, and how the checkpoint is computed to stay below the request's limit.
    pub memory: MemoryPlan,
}

impl CheckpointPlan {
    /// Modules as a projection module by module sees them.
    pub fn modules(&self) -> Vec<ModuleShape> {
        module_shapes(&self.decoder, &self.tracked, &self.tensors)
    }

    /// Each module's projection with its cost and noise; none without a gradient.
    ///
    /// # Errors
    /// A projection that is not sound.
    pub fn explanation(&self) -> Result<Option<Explanation>, IngestError> {
        let mut forms = self.features.iter().filter(|feature| feature.kind.is_gradient()).peekable();
        if forms.peek().is_none() {
            return Ok(None);
        }
        let formed = self.tracked.is_empty() || forms.all(|feature| feature.kind != Kind::GradSgd);
        Ok(Some(explain(&self.projection, &self.modules(), NOMINAL_TOKENS, formed)?))
    }
}

/// One feature of a plan.
pub struct PlannedFeature {
    /// Its content.
    pub kind: Kind,
    /// Its identity.
    pub desc: FeatureDesc,
    /// What else is said of it.
    pub attrs: FeatureAttrs,
    /// Rows already published.
    pub published: RowSet,
    /// Whether the store counts it as complete.
    pub complete: bool,
}

impl IngestPlan {
    /// Plans an ingest of registered samples.
    ///
    /// # Errors
    /// Anything that would stop the run: an unknown dataset, a folder that does not fit,
    /// moments that are missing.
    pub fn new(
        store: &Store,
        request: IngestRequest,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        // Computing takes hours: the samples must not be collected meanwhile.
        let (snapshot, lease) = store.snapshot_leased(None, &format!("ingest into run {}", request.run))?;
        Ok(Self { lease, ..Self::at(snapshot, request, progress)? })
    }

    /// The same on a given state of the store.
    ///
    /// # Errors
    /// As [`IngestPlan::new`].
    pub fn at(
        snapshot: Arc<Snapshot>,
        request: IngestRequest,
        progress: &mut dyn Progress,
    ) -> Result<Self, IngestError> {
        check_request(&request)?;
        let dataset = Arc::clone(snapshot.dataset(&request.dataset)?);
        if dataset.rows == 0 {
            return Err(IngestError::EmptyDataset { dataset: request.dataset });
        }
        // The model goes first: of a folder of another architecture that is what the user should hear.
        let base = ModelFolder::open(&request.model)?;
        let encoder = encoder(&request)?;
        check_vocabulary(&encoder, base.decoder())?;
        let encoding = encoder.spec();
        let live = snapshot.live_rows(&dataset)?;
        let rows = match &request.rows {
            Some(chosen) => first_rows(&live.intersection(chosen), request.limit),
            None => first_rows(&live, request.limit),
        };
        check_stored(&encoder, &snapshot, &dataset, &rows, progress)?;
        let mut checkpoints = Vec::with_capacity(request.checkpoints.len());
        progress.start("reading weights", request.checkpoints.len() as u64, Unit::Checkpoints);
        for (i, arg) in request.checkpoints.iter().enumerate() {
            let weight = request.weights.get(i).copied();
            checkpoints.push(plan_checkpoint(&request, &snapshot, &base, arg, weight, &encoding)?);
            progress.advance(1);
        }
        progress.finish();
        refuse_twins(&checkpoints)?;
        let features = checkpoints.iter().flat_map(|checkpoint| &checkpoint.features);
        features
            .filter_map(|feature| unrotated_note(&snapshot, feature))
            .for_each(|note| progress.note(&note));
        let (lease, column) = (None, None);
        Ok(Self { request, dataset, snapshot, encoder, encoding, checkpoints, rows, lease, column })
    }

    /// Whether there is nothing to compute and nothing to publish.
    pub fn is_done(&self) -> bool {
        let stored = |f: &PlannedFeature| {
            self.rows.difference(&f.published).is_empty() && (f.complete || self.request.is_partial())
        };
        self.features().all(stored) && self.is_counted() && self.run_is_current()
    }

    /// Whether every row has its token counts. Features may be complete without them after a repair.
    fn is_counted(&self) -> bool {
        let entry = self.dataset.encoding(&self.encoding.key());
        entry.is_some_and(|entry| self.rows.difference(&entry.rows()).is_empty())
    }

    /// Whether the run in the store has these checkpoints, with these weights if they were given.
    fn run_is_current(&self) -> bool {
        let Ok(run) = self.snapshot.run(&self.request.run) else { return false };
        self.checkpoints.iter().all(|checkpoint| {
            run.checkpoint(&checkpoint.arg.name).is_some_and(|stored| {
                stored.checkpoint == checkpoint.id
                    && (self.request.weights.is_empty() || stored.weight == checkpoint.weight)
            })
        })
    }

    /// The rows that batches are cut over, where they are not all of a cell.
    pub(super) fn chosen(&self) -> Option<&RowSet> {
        self.request.rows.is_some().then_some(&self.rows)
    }

    /// All features, checkpoint by checkpoint.
    pub fn features(&self) -> impl Iterator<Item = &PlannedFeature> {
        self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.features)
    }

    /// What the store needs to know of the job.
    pub fn job(&self) -> JobPlan {
        let features: Vec<JobFeature> = self
            .features()
            .map(|feature| JobFeature { desc: feature.desc.clone(), attrs: feature.attrs.clone() })
            .collect();
        let keys: Vec<String> = features.iter().map(|feature| feature.desc.key()).collect();
        JobPlan {
            command: self.request.command.clone(),
            // Threads, batches and memory change no bit, so one job may go on from another that had others.
            identity: json!({ "features": keys }),
            detail: json!({ "dataset": self.request.dataset, "rows": self.rows.len() }),
            features,
        }
    }

    /// What the run gets.
    pub fn run_update(&self) -> RunUpdate {
        RunUpdate {
            name: self.request.run.clone(),
            checkpoints: self.run_checkpoints(),
            replace_weights: !self.request.weights.is_empty(),
        }
    }

    /// The checkpoints as the run keeps them.
    pub fn run_checkpoints(&self) -> Vec<RunCheckpoint> {
        let origin = |folder: &PathBuf| self.request.origins.get(folder);
        let base = origin(&self.request.model).cloned();
        let base = base.unwrap_or_else(|| folder_name(&self.request.model));
        // A later search for the weights may start in another folder.
        let place = |folder: &PathBuf| json!(std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        self.checkpoints
            .iter()
            .map(|checkpoint| {
                let mut provenance = Map::new();
                provenance.insert("model".to_owned(), place(&self.request.model));
                if let Some(origin) = origin(&self.request.model) {
                    provenance.insert("model_origin".to_owned(), json!(origin));
                }
                if let Some(tokenizer) = &self.request.text.tokenizer {
                    provenance.insert("tokenizer".to_owned(), place(tokenizer));
                }
                match &checkpoint.arg.weights {
                    CheckpointWeights::Base => {}
                    CheckpointWeights::Adapter(folder) => {
                        provenance.insert("adapter".to_owned(), place(folder));
                        if let Some(origin) = origin(folder) {
                            provenance.insert("adapter_origin".to_owned(), json!(origin));
                        }
                    }
                    CheckpointWeights::Model(folder) => {
                        provenance.insert("weights".to_owned(), place(folder));
                    }
                }
                RunCheckpoint {
                    name: checkpoint.arg.name.clone(),
                    step: checkpoint.step,
                    weight: checkpoint.weight,
                    checkpoint: checkpoint.id.clone(),
                    base: base.clone(),
                    provenance,
                    extra: Map::new(),
                }
            })
            .collect()
    }
}

/// That a feature of signs begins anew beside one from before signs were rotated.
fn unrotated_note(snapshot: &Snapshot, feature: &PlannedFeature) -> Option<String> {
    if feature.desc.rotation.is_none() || !feature.published.is_empty() {
        return None;
    }
    let older = FeatureDesc { rotation: SignRotation::None, ..feature.desc.clone() };
    let older = snapshot.feature_by_key(&older.key())?;
    Some(format!(
        "{} has signs of vectors that were not rotated; those of new ones are, so {} is a feature of its own, and every \
         row is computed for it",
        older.display_name(),
        feature.attrs.label
    ))
}

/// Reads everything that a request names but the weights' bytes and the store: what would stop the ingest
/// shows before samples are registered.
///
/// # Errors
/// A model, tokenizer, adapter, optimizer state or projection that cannot be used.
pub fn check_inputs(request: &IngestRequest) -> Result<(), IngestError> {
    check_request(request)?;
    let base = ModelFolder::open(&request.model)?;
    check_vocabulary(&encoder(request)?, base.decoder())?;
    for arg in &request.checkpoints {
        let tracked = Tracked::find(request, &base, arg)?;
        tracked.projection.check()?;
        tracked.moments(request, arg)?;
        // Matrices that differ by checkpoint have the same sizes.
        tracked.measure(request, arg, "")?;
        if let Some(folder) = arg.folder() {
            step_and_weight(folder)?;
        }
    }
    Ok(())
}

/// Refuses a tokenizer with tokens that the model has no row for. Tokens that were added to it later may lack
/// one: a text that has such a token is refused when it is read.
pub(super) fn check_vocabulary(encoder: &TextEncoder, decoder: &Decoder) -> Result<(), IngestError> {
    let (tokens, vocabulary) = (encoder.vocabulary(), decoder.vocab_size);
    if tokens > vocabulary { Err(IngestError::OtherVocabulary { tokens, vocabulary }) } else { Ok(()) }
}

/// The base's tokenizer and template, which all checkpoints share.
pub(super) fn encoder(request: &IngestRequest) -> Result<TextEncoder, IngestError> {
    let mut encoder = request.text.encoder(&request.model)?;
    for arg in &request.checkpoints {
        if let CheckpointWeights::Model(folder) = &arg.weights {
            encoder.share_with(folder).map_err(|source| IngestError::OtherTokens {
                checkpoint: arg.name.clone(),
                folder: folder.clone(),
                base: request.model.clone(),
                source,
            })?;
        }
    }
    Ok(encoder)
}

fn check_request(request: &IngestRequest) -> Result<(), IngestError> {
    if request.kinds.is_empty() {
        return Err(IngestError::NoKinds);
    }
    request.device.check(request.compute).map_err(gstore_model::LoadError::from)?;
    if let Some(kind) = request.kinds.iter().find(|kind| kind.is_embedding())
        && request.granularity == Granularity::Token
    {
        return Err(IngestError::EmbeddingPerToken { kind: kind.name() });
    }
    if !request.weights.is_empty() && request.weights.len() != request.checkpoints.len() {
        return Err(IngestError::WeightCount {
            weights: request.weights.len(),
            checkpoints: request.checkpoints.len(),
        });
    }
    if let Some(weight) = request.weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
        return Err(IngestError::BadWeight { weight: *weight });
    }
    Ok(())
}

fn plan_checkpoint(
    request: &IngestRequest,
    snapshot: &Snapshot,
    base: &ModelFolder,
    arg: &CheckpointArg,
    weight: Option<f64>,
    encoding: &EncodingSpec,
) -> Result<CheckpointPlan, IngestError> {
    let tracked = Tracked::find(request, base, arg)?;
    let id = checkpoint_id(&tracked.folder, tracked.adapter.as_ref())?;
    if let Some(basis) = tracked.projection.basis.as_ref().filter(|_| !request.forms().is_empty()) {
        basis.check_checkpoint(&id)?;
    }
    check_run(snapshot, &request.run, &arg.name, &id)?;
    let (step, derived) = arg.folder().map_or(Ok((None, None)), step_and_weight)?;
    let mut plan = describe_checkpoint(request, tracked, arg, id, &encoding.key())?;
    (plan.step, plan.weight) = (step, weight.or(derived));
    for feature in &mut plan.features {
        let part = snapshot.feature_by_key(&feature.desc.key());
        let plain = &feature.attrs.label;
        feature.attrs.label =
            label(snapshot, request, feature.kind, &plan.projection, (&feature.desc, encoding), plain);
        if let Some(part) = part {
            feature.published = snapshot.open_feature(part)?.row_set()?;
            feature.complete = part.state == FeatureState::Complete;
        }
    }
    Ok(plan)
}

/// A checkpoint of known identity and its features, as if none were in any store.
pub(super) fn describe_checkpoint(
    request: &IngestRequest,
    tracked: Tracked,
    arg: &CheckpointArg,
    id: CheckpointId,
    encoding: &str,
) -> Result<CheckpointPlan, IngestError> {
    let moments = tracked.moments(request, arg)?.map(|file| file.digest()).transpose()?;
    let measure = tracked.measure(request, arg, &id)?;
    let decoder = tracked.folder.decoder().clone();
    let setting = Setting {
        request,
        encoding,
        checkpoint: &id,
        checkpoint_name: &arg.name,
        tracked: &tracked,
        measure: &measure,
        hidden: u32::try_from(decoder.hidden_size).map_err(|_| IngestError::TooWide)?,
        moments: moments.as_deref(),
    };
    let features = request
        .kinds
        .iter()
        .map(|kind| {
            let (desc, attrs) = setting.describe(*kind);
            PlannedFeature { kind: *kind, desc, attrs, published: RowSet::new(), complete: false }
        })
        .collect();
    let Tracked { indices, tensors, projection, .. } = tracked;
    let Measure { limits, memory, .. } = measure;
    Ok(CheckpointPlan {
        arg: arg.clone(),
        id,
        decoder,
        tracked: indices,
        tensors,
        projection,
        step: None,
        weight: None,
        moments,
        features,
        limits,
        memory,
    })
}

/// Names in a run are settled before any work is done for them.
fn check_run(snapshot: &Snapshot, run: &str, name: &str, id: &CheckpointId) -> Result<(), IngestError> {
    let Ok(part) = snapshot.run(run) else { return Ok(()) };
    for stored in &part.checkpoints {
        if (stored.name == name) != (stored.checkpoint == *id) {
            return Err(IngestError::RunConflict {
                run: run.to_owned(),
                name: name.to_owned(),
                stored: stored.name.clone(),
                same_name: stored.name == name,
            });
        }
    }
    Ok(())
}

/// Step, and mean learning rate of the epoch that ends there, if the folder tells.
fn step_and_weight(folder: &std::path::Path) -> Result<(Option<u64>, Option<f64>), IngestError> {
    let Some(state) = TrainerState::read(folder)? else { return Ok((None, None)) };
    Ok((Some(state.global_step), state.mean_learning_rate(peak_rate(folder)?)))
}

/// Two names for the same weights would write the same features twice.
fn refuse_twins(checkpoints: &[CheckpointPlan]) -> Result<(), IngestError> {
    for (i, a) in checkpoints.iter().enumerate() {
        for b in &checkpoints[..i] {
            if a.arg.name == b.arg.name {
                return Err(IngestError::CheckpointNamedTwice { name: a.arg.name.clone() });
            }
            if a.id == b.id {
                return Err(IngestError::SameCheckpoint { a: b.arg.name.clone(), b: a.arg.name.clone() });
            }
        }
    }
    Ok(())
}

/// The first of some rows, or all of them.
pub(super) fn first_rows(live: &RowSet, limit: Option<u64>) -> RowSet {
    let Some(mut left) = limit else { return live.clone() };
    let mut rows = RowSet::new();
    for range in live.ranges() {
        let end = range.end.min(range.start.saturating_add(left));
        rows.insert(range.start..end);
        left -= end - range.start;
    }
    rows
}

fn folder_name(path: &std::path::Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
