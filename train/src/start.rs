//! Starting point of a training: settings that decide its bits, and its last checkpoint.

use gstore_core::CheckpointId;
use gstore_model::Backend;
use gstore_model::architectures::Decoder;
use gstore_model::weights::{Adapter, BaseDigest, ModelFolder, check_written};
use serde_json::{Value, json};

use crate::checkpoint::{
    Checkpoint, FolderLock, ResumedTraining, check_files, check_step, checkpoints, is_empty, last_checkpoint,
    model_config, numbered_checkpoints, remove_replaced, remove_unfinished, resume, start_digests,
    stored_identity, superseded_checkpoints, unfinished_paths,
};
use crate::difference::{START_DIGESTS, difference};
use crate::error::TrainError;
use crate::optimizer::Optimizer;
use crate::order::StepPlan;
use crate::parameters::Parameters;
use crate::request::{TrainMethod, TrainRequest};
use crate::resumption::check_steps_left;
use crate::sample::Sample;

/// What decides the bits of the checkpoints, and the model that is begun with, if not with new weights.
pub(crate) fn identity(
    request: &TrainRequest,
    base: Option<&ModelFolder>,
    (samples, held_out): (&[Sample], &[Sample]),
    steps: &StepPlan,
) -> Result<(Value, Option<CheckpointId>), TrainError> {
    let (model, base) = match base {
        Some(base) => {
            check_weights(request)?;
            let digest = BaseDigest::new(base)?;
            digest.check_finite()?;
            check_base(request, &digest)?;
            let adapter = request.method.adapter().map(|folder| Adapter::open(folder)).transpose()?;
            (digest.checkpoint(adapter.as_ref())?.to_string(), Some(digest.checkpoint(None)?))
        }
        None => {
            let config = fs_err::read(request.model.join("config.json"))?;
            (blake3::hash(&config).to_hex().to_string(), None)
        }
    };
    let mut identity = request.identity(steps.total());
    identity["model"] = json!(model);
    identity["samples"] = json!(digest(samples));
    // Null where none has, as in checkpoints that do not know of it.
    identity["steps of two epochs"] = json!(steps.spans_epochs().then_some(true));
    // None where there are none, which is also what checkpoints say that know of no held-out samples.
    let evaluation = request.evaluation.as_ref();
    identity["held-out samples"] = json!(evaluation.map(|_| digest(held_out)));
    identity["steps between two losses of held-out samples"] = json!(evaluation.and_then(|e| e.every));
    let from = request.saving.resume_from.as_deref();
    identity["resumed from"] = json!(from);
    identity[START_DIGESTS] = json!(from.map(start_digests).transpose()?);
    Ok((identity, base))
}

/// An error if weights that are begun with are not those that were written. A checkpoint that is gone on from
/// is checked as a whole by [`start_digests`].
fn check_weights(request: &TrainRequest) -> Result<(), TrainError> {
    let from = request.saving.resume_from.as_ref();
    let mut read = [Some(&request.model), request.method.adapter()].into_iter().flatten();
    Ok(read.try_for_each(|folder| if from == Some(folder) { Ok(()) } else { check_written(folder) })?)
}

/// An error if what is gone on from was trained on another model.
fn check_base(request: &TrainRequest, base: &BaseDigest) -> Result<(), TrainError> {
    if let TrainMethod::Adapter(folder) = &request.method {
        return Ok(base.check_trained_on(folder)?);
    }
    let Some(from) = &request.saving.resume_from else { return Ok(()) };
    // A checkpoint of all weights may be named as the model, too: it has the tokenizer that it was trained
    // with.
    if fs_err::canonicalize(from)? == fs_err::canonicalize(&request.model)? {
        return Ok(());
    }
    Ok(base.check_trained_on(from)?)
}

fn digest(samples: &[Sample]) -> String {
    let mut hasher = blake3::Hasher::new();
    for Sample { ids, scored } in samples {
        hasher.update(&(ids.len() as u64).to_le_bytes());
        for (id, scored) in ids.iter().zip(scored) {
            hasher.update(&id.to_le_bytes());
            hasher.update(&[u8::from(*scored)]);
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// An error unless the output can be a folder of its own.
fn check_folder(request: &TrainRequest) -> Result<(), TrainError> {
    let output = &request.output;
    if output.is_file() {
        return Err(TrainError::Option(format!("{} is a file: give a folder", output.display())));
    }
    // A folder that is not there yet holds no model.
    let same = match (fs_err::canonicalize(&request.model), fs_err::canonicalize(output)) {
        (Ok(model), Ok(output)) => model == output,
        _ => false,
    };
    if same {
        let what = "holds the model to train: give a folder of its own for what is trained";
        return Err(TrainError::Option(format!("{} {what}", output.display())));
    }
    Ok(())
}

/// An error if the training reads one of the checkpoints that it is to overwrite.
fn check_overwritten(request: &TrainRequest, own: &[Checkpoint]) -> Result<(), TrainError> {
    let adapter = request.method.adapter();
    let (from, tokenizer) = (request.saving.resume_from.as_ref(), request.batching.text.tokenizer.as_ref());
    for read in [Some(&request.model), adapter, from, tokenizer].into_iter().flatten() {
        // What is not there is told where it is opened.
        let Ok(read) = fs_err::canonicalize(read) else { continue };
        for Checkpoint { folder, .. } in own {
            if read.starts_with(fs_err::canonicalize(folder)?) {
                let what = "this training starts from it, and is to overwrite it: give another output folder";
                return Err(TrainError::checkpoint(folder, what));
            }
        }
    }
    Ok(())
}

/// Whether the checkpoints of the output folder are to be removed: those of another training, and of this one
/// if it is finished. A training that was stopped goes on, as without the permission to overwrite.
///
/// # Errors
/// A folder of another training that may not be overwritten, or of another program; an empty one in the place
/// of a checkpoint that this training may write. A checkpoint that this training reads and would remove, or
/// one to resume from that has already taken all steps.
pub(crate) fn check_output(request: &TrainRequest, identity: &Value, total: u64) -> Result<bool, TrainError> {
    check_folder(request)?;
    let (named, own) = (numbered_checkpoints(&request.output)?, checkpoints(&request.output)?);
    let saving = &request.saving;
    let (mut other, mut empty) = (None, Vec::new());
    // One that is not whole, too: a checkpoint of its name would take its place.
    for checkpoint in &named {
        let folder = checkpoint.folder.clone();
        let Some(stored) = stored_identity(&folder)? else {
            if is_empty(&folder) {
                empty.push(checkpoint);
                continue;
            }
            let what = "another program wrote it, and nothing of that is removed: give another folder";
            return Err(TrainError::checkpoint(&folder, what));
        };
        if own.contains(checkpoint) {
            other = other.or(difference(&stored, identity, &[]).map(|what| (folder, what)));
        }
    }
    let is_finished = own.last().is_some_and(|last| last.step >= total);
    let overwrites = saving.overwrite && (other.is_some() || is_finished);
    match other {
        _ if overwrites => check_overwritten(request, &own)?,
        Some((folder, what)) => return Err(TrainError::OtherTraining { folder, what }),
        None => {}
    }
    let begun = match &saving.resume_from {
        Some(from) if own.is_empty() || overwrites => check_steps_left(from, total)?,
        _ if overwrites => 0,
        _ => own.last().map_or(0, |last| last.step),
    };
    // Where it is told to stop, it writes one after any step.
    match empty.into_iter().find(|checkpoint| begun < checkpoint.step && checkpoint.step <= total) {
        None => Ok(overwrites),
        Some(Checkpoint { folder, .. }) => {
            let what = "it is empty, and a checkpoint of its name would take its place: remove it";
            Err(TrainError::checkpoint(folder, what))
        }
    }
}

/// The output folder of a training that is about to start.
pub(crate) struct OutputFolder {
    /// The right to write to it; none where the training is finished and left nothing to remove.
    pub lock: Option<FolderLock>,
    /// Whether its checkpoints are to be removed once nothing else can be refused.
    pub overwrites: bool,
}

/// Takes the output folder for a training of `total` steps, and removes what a killed one left there.
pub(crate) fn take_output_folder(
    request: &TrainRequest,
    identity: &Value,
    total: u64,
) -> Result<OutputFolder, TrainError> {
    let (output, limit) = (&request.output, request.saving.limit);
    let is_finished = |overwrites: bool| -> Result<bool, TrainError> {
        Ok(!overwrites && last_checkpoint(output)?.is_some_and(|last| last.step >= total))
    };
    let overwrites = check_output(request, identity, total)?;
    if is_finished(overwrites)?
        && unfinished_paths(output)?.is_empty()
        && superseded_checkpoints(output, total, limit)?.is_empty()
    {
        return Ok(OutputFolder { lock: None, overwrites });
    }
    let lock = Some(FolderLock::of(output)?);
    // Another one may have written there before it had the lock.
    let overwrites = check_output(request, identity, total)?;
    remove_unfinished(output)?;
    if is_finished(overwrites)? {
        // It was killed between its last checkpoint and this.
        remove_replaced(output, total, limit)?;
    }
    Ok(OutputFolder { lock, overwrites })
}

/// What a training starts from: its own last checkpoint unless that is overwritten, else what the request
/// says.
pub(crate) fn start<B: Backend + Clone>(
    request: &TrainRequest,
    overwrites: bool,
    base: Option<&ModelFolder>,
    decoder: &Decoder,
    backend: B,
) -> Result<ResumedTraining<B>, TrainError> {
    let (output, kind) = (&request.output, request.steps.optimizer);
    if let Some(last) = last_checkpoint(output)?.filter(|_| !overwrites) {
        check_files(&last.folder)?;
        let resumed = resume(&last.folder, base, decoder, kind, backend)?;
        check_step(&last, resumed.optimizer.steps())?;
        return Ok(resumed);
    }
    // Its files were checked for the identity.
    if let Some(from) = &request.saving.resume_from {
        return resume(from, base, decoder, kind, backend);
    }
    let parameters = new_parameters(request, base, decoder, backend)?;
    let optimizer = Optimizer::new(kind, parameters.trained().len());
    Ok(ResumedTraining {
        parameters,
        optimizer,
        log: Vec::new(),
        evaluations: Vec::new(),
        pending: Vec::new(),
        settings: None,
    })
}

/// The parameters of a training that has taken no step.
pub(crate) fn new_parameters<B: Backend + Clone>(
    request: &TrainRequest,
    base: Option<&ModelFolder>,
    decoder: &Decoder,
    backend: B,
) -> Result<Parameters<B>, TrainError> {
    let seed = request.batching.seed;
    match (&request.method, base) {
        (TrainMethod::Lora(choice), Some(base)) => Parameters::new_lora(base, choice, seed, backend),
        (TrainMethod::Adapter(folder), Some(base)) => {
            Parameters::from_adapter(base, &Adapter::open(folder)?, backend)
        }
        (TrainMethod::Full, Some(base)) => Parameters::full(base, backend),
        _ => Parameters::random(decoder, deviation(request)?, seed, backend),
    }
}

/// Deviation of new weights, as the configuration says it.
fn deviation(request: &TrainRequest) -> Result<f64, TrainError> {
    let config = model_config(&request.model)?;
    let deviation = config.get("initializer_range").and_then(Value::as_f64);
    Ok(deviation.filter(|d| *d > 0.0 && *d < 10.0).unwrap_or(0.02))
}
