//! Checkpoints of a plan: what they are, and what is missing of their features.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gstore_core::{Kind, many};
use gstore_store::{
    CheckpointId, EncodingSpec, FeatureAttrs, FeatureDesc, FeatureState, RowSet, SignRotation, Snapshot,
};

use super::super::describe::FeatureContext;
use super::super::label::label;
use super::super::memory::MemoryPlan;
use super::super::request::{CheckpointArg, IngestRequest};
use super::super::tracked::{GradientSizes, TrackedTensors};
use super::super::window::BatchLimits;
use super::super::{IngestError, Progress, Unit};
use super::inputs::StepAndWeight;
use crate::gradient::{AdamParams, module_shapes};
use crate::projection::{ModuleShape, NOMINAL_TOKENS, ProjectionSpec, ProjectionSummary, explain};
use gstore_model::architectures::Decoder;
use gstore_model::gradients::HostFactors;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{AdamConstants, Adapter, BaseDigests, ModelFolder, MomentsFile, unused_note};

/// One checkpoint of a plan.
pub struct CheckpointPlan {
    /// As the user named it.
    pub arg: CheckpointArg,
    /// Its identity.
    pub id: CheckpointId,
    /// What the model computes.
    pub decoder: Decoder,
    /// Weights that the model has no place for, as a note names them.
    pub(super) unused: Option<String>,
    /// The optimizer's state and the constants that Adam had, where the Adam form takes others.
    pub(super) other_adam: Option<(PathBuf, AdamConstants)>,
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
    /// Whether the training's log has too few rates to tell that weight.
    pub(super) weight_is_guess: bool,
    /// Digest of the optimizer moments, if a feature needs them.
    pub moments: Option<String>,
    /// Its features.
    pub features: Vec<PlannedFeature>,
    pub(crate) limits: BatchLimits,
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
    pub fn explanation(&self) -> Result<Option<ProjectionSummary>, IngestError> {
        let mut forms = self.features.iter().filter(|feature| feature.kind.takes_gradient()).peekable();
        if forms.peek().is_none() {
            return Ok(None);
        }
        let formed = self.tracked.is_empty()
            || forms.all(|feature| !matches!(feature.kind, Kind::GradSgd | Kind::Residual));
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
    /// The label that it has if no other feature has that.
    pub(super) plain_label: String,
}

impl PlannedFeature {
    /// Bytes of a vector in its file.
    pub fn vector_bytes(&self) -> u64 {
        self.attrs.vector_bytes(self.desc.dtype, self.desc.granularity)
    }
}

pub(super) fn plan_checkpoint(
    request: &IngestRequest,
    snapshot: &Snapshot,
    base: &ModelFolder,
    arg: &CheckpointArg,
    StepAndWeight { step, weight, is_guess }: StepAndWeight,
    encoding: &EncodingSpec,
    bases: &mut BaseDigests,
) -> Result<CheckpointPlan, IngestError> {
    let tracked = TrackedTensors::find(request, base, arg)?;
    let id = bases.checkpoint(&tracked.folder, tracked.adapter.as_ref())?;
    if let Some(basis) = tracked.projection.basis.as_ref().filter(|_| !request.forms().is_empty()) {
        basis.check_checkpoint(&id)?;
    }
    check_run(snapshot, &request.run, arg, &id)?;
    let mut plan = describe_checkpoint(request, tracked, arg, id, &encoding.key())?;
    (plan.step, plan.weight, plan.weight_is_guess) = (step, weight, is_guess);
    for feature in &mut plan.features {
        let part = snapshot.feature_by_key(&feature.desc.key());
        let (described, plain) = ((&feature.desc, encoding), &feature.plain_label);
        feature.attrs.label = label(snapshot, request, feature.kind, &plan.projection, described, plain);
        if let Some(part) = part {
            feature.published = snapshot.open_feature(part)?.row_set()?;
            feature.complete = part.state == FeatureState::Complete;
        }
    }
    Ok(plan)
}

/// A checkpoint of known identity and its features, as if none were in any store.
pub(in super::super) fn describe_checkpoint(
    request: &IngestRequest,
    tracked: TrackedTensors,
    arg: &CheckpointArg,
    id: CheckpointId,
    encoding: &str,
) -> Result<CheckpointPlan, IngestError> {
    let state = tracked.moments(request, arg)?;
    let moments = state.as_ref().map(MomentsFile::digest).transpose()?;
    let of_adam = state.as_ref().filter(|_| request.kinds.contains(&Kind::GradAdam));
    let other_adam = of_adam.and_then(|state| other_adam(state, &request.adam));
    let measure = tracked.measure(request, arg, &id)?;
    let decoder = tracked.folder.decoder().clone();
    let unused = tracked.folder.unused_weights();
    let setting = FeatureContext {
        request,
        encoding,
        checkpoint: &id,
        checkpoint_name: &arg.name,
        tracked: &tracked,
        measure: &measure,
        moments: moments.as_deref(),
    };
    let features = request
        .kinds
        .iter()
        .map(|kind| {
            let (desc, attrs) = setting.describe(*kind);
            let (published, plain_label) = (RowSet::new(), attrs.label.clone());
            PlannedFeature { kind: *kind, desc, attrs, published, complete: false, plain_label }
        })
        .collect();
    let TrackedTensors { indices, tensors, projection, .. } = tracked;
    let GradientSizes { limits, memory, .. } = measure;
    Ok(CheckpointPlan {
        arg: arg.clone(),
        id,
        decoder,
        unused,
        other_adam,
        tracked: indices,
        tensors,
        projection,
        step: None,
        weight: None,
        weight_is_guess: false,
        moments,
        features,
        limits,
        memory,
    })
}

/// The file of an optimizer's state and the constants that Adam had, if those of the form are others.
fn other_adam(state: &MomentsFile, form: &AdamParams) -> Option<(PathBuf, AdamConstants)> {
    let taken = constants(form);
    let had = state.constants().into_iter().find(|had| *had != taken)?;
    Some((state.path().to_owned(), had))
}

fn constants(form: &AdamParams) -> AdamConstants {
    AdamConstants { betas: [form.b1, form.b2], eps: form.eps, amsgrad: false }
}

/// Reads the weights of checkpoints of a run, and refuses those that are not what the run was registered
/// with, changed since they were written, not numbers, or cannot be used with the model. `bases` keeps what
/// was read. Gives the identities of the checkpoints.
///
/// # Errors
/// Such weights; folders that cannot be read.
pub fn check_weights(
    snapshot: &Snapshot,
    run: &str,
    (model, checkpoints): (&Path, &[CheckpointArg]),
    bases: &mut BaseDigests,
    progress: &mut dyn Progress,
) -> Result<Vec<CheckpointId>, IngestError> {
    let mut ids = Vec::with_capacity(checkpoints.len());
    progress.start("checking weights", checkpoints.len() as u64, Unit::Checkpoints);
    for arg in checkpoints {
        let folder = ModelFolder::open(arg.model(model))?;
        let adapter = arg.adapter().map(Adapter::open).transpose()?;
        let id = bases.checkpoint(&folder, adapter.as_ref())?;
        bases.check_finite(&folder)?;
        if let Some(adapter) = &adapter {
            HostFactors::read(adapter, &folder)?;
        }
        check_run(snapshot, run, arg, &id)?;
        ids.push(id);
        progress.advance(1);
    }
    progress.finish();
    Ok(ids)
}

/// Names in a run are settled before any work is done for them.
fn check_run(
    snapshot: &Snapshot,
    run: &str,
    arg: &CheckpointArg,
    id: &CheckpointId,
) -> Result<(), IngestError> {
    let (Ok(part), name) = (snapshot.run(run), &arg.name) else { return Ok(()) };
    for stored in &part.checkpoints {
        if (stored.name == *name) != (stored.checkpoint == *id) {
            return Err(IngestError::RunConflict {
                run: run.to_owned(),
                name: name.clone(),
                stored: stored.name.clone(),
                same_name: stored.name == *name,
            });
        }
    }
    Ok(())
}

/// Two names for the same weights would write the same features twice. `checkpoints`: names and identities.
pub(in super::super) fn refuse_twins<'a>(
    checkpoints: impl IntoIterator<Item = (&'a String, &'a CheckpointId)>,
) -> Result<(), IngestError> {
    let mut known = BTreeMap::new();
    for (name, id) in checkpoints {
        if let Some(first) = known.insert(id, name) {
            return Err(IngestError::SameCheckpoint { a: first.clone(), b: name.clone() });
        }
    }
    Ok(())
}

/// Notes of weights that models have no place for: one of all folders that have the same.
pub(super) fn unused_notes(
    request: &IngestRequest,
    base: &ModelFolder,
    checkpoints: &[CheckpointPlan],
) -> Vec<String> {
    let mut folders: BTreeMap<String, BTreeSet<&Path>> = BTreeMap::new();
    let of_checkpoints = checkpoints.iter().map(|plan| (plan.arg.model(&request.model), plan.unused.clone()));
    for (folder, weights) in of_checkpoints.chain([(base.path(), base.unused_weights())]) {
        if let Some(weights) = weights {
            folders.entry(weights).or_default().insert(folder);
        }
    }
    let note = |(weights, folders): (&String, &BTreeSet<&Path>)| {
        Some(unused_note(weights, folders.first()?, folders.len() - 1))
    };
    folders.iter().filter_map(note).collect()
}

/// Notes of optimizers whose Adam had other constants than the form takes: one of all that had the same.
pub(super) fn adam_notes(request: &IngestRequest, checkpoints: &[CheckpointPlan]) -> Vec<String> {
    let mut files: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for (file, had) in checkpoints.iter().filter_map(|plan| plan.other_adam.as_ref()) {
        files.entry(had.to_string()).or_default().push(file);
    }
    let taken = constants(&request.adam);
    let note = |(had, files): (&String, &Vec<&Path>)| {
        let (first, others) = files.split_first()?;
        let others = match others.len() as u64 {
            0 => String::new(),
            n => format!(" and {}", many(n, "other file")),
        };
        Some(format!("{}{others}: Adam had {had}; grad-adam takes {taken}", first.display()))
    };
    files.iter().filter_map(note).collect()
}

/// A note where a new one-bit feature starts next to an older one whose signs were not rotated.
pub(super) fn unrotated_note(snapshot: &Snapshot, feature: &PlannedFeature) -> Option<String> {
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
