//! Resumption from a checkpoint, our own or another trainer's.

use std::path::Path;

use gstore_core::Remedy;
use gstore_model::Backend;
use gstore_model::architectures::Decoder;
use gstore_model::weights::{
    Adapter, GstoreState, ModelFolder, Moments, MomentsError, MomentsFile, MomentumFile, SavedOptimizer,
    TorchArchive, TrainerError, TrainerState, is_maximizing,
};
use serde_json::Value;

use super::digests::check_files;
use super::json::{damaged_file_error, earlier_checkpoint_hint, read_gstore_state, read_json, recovery_hint};
use super::settings::OptimizerSettings;
use super::{Checkpoint, EvaluationLoss, LogLine, is_adapter};
use crate::error::TrainError;
use crate::optimizer::{Optimizer, OptimizerKind, TensorState};
use crate::parameters::Parameters;
use crate::trainer::{Trainer, TrainerOptions};

/// What a checkpoint holds.
pub(crate) struct ResumedTraining<B: Backend> {
    pub parameters: Parameters<B>,
    pub optimizer: Optimizer,
    pub log: Vec<LogLine>,
    /// Losses of the samples that no step is taken on.
    pub evaluations: Vec<EvaluationLoss>,
    /// Losses since the last entry of the log.
    pub pending: Vec<f64>,
    /// What the optimizer was set to, where it keeps something.
    pub settings: Option<OptimizerSettings>,
}

/// Reads parameters, optimizer and log of a checkpoint of `base`, whose files were checked. `decoder`: the
/// model that is trained.
pub(crate) fn resume<B: Backend + Clone>(
    folder: &Path,
    base: Option<&ModelFolder>,
    decoder: &Decoder,
    kind: OptimizerKind,
    backend: B,
) -> Result<ResumedTraining<B>, TrainError> {
    check_json(folder)?;
    let none = || TrainError::checkpoint(folder, "it has no trainer_state.json");
    let state = trainer_state(folder)?.ok_or_else(none)?;
    let parameters = match base.filter(|_| is_adapter(folder)) {
        Some(base) => Parameters::from_adapter(base, &Adapter::open(folder)?, backend)?,
        None => {
            let own = ModelFolder::open(folder)?;
            check_config(folder, own.decoder(), decoder)?;
            Parameters::full(&own, backend)?
        }
    };
    let ResumedOptimizer { step, states, settings } = read_optimizer(folder, &parameters, kind)?;
    let step = step.unwrap_or(state.global_step);
    if step != state.global_step {
        let what = format!(
            "its optimizer has taken {step} steps, trainer_state.json counts {}\n  {}",
            state.global_step,
            recovery_hint(folder)
        );
        return Err(TrainError::checkpoint(folder, what));
    }
    let optimizer = Optimizer::resumed(kind, step, states);
    let pending = read_gstore_state(folder)?.and_then(|own| {
        Some(own.get("losses_to_log")?.as_array()?.iter().filter_map(Value::as_f64).collect())
    });
    let (log, evaluations) = read_log(folder)?;
    let pending = pending.unwrap_or_default();
    Ok(ResumedTraining { parameters, optimizer, log, evaluations, pending, settings })
}

/// An error if a checkpoint of all weights is computed with in another way than the model that is trained,
/// whose configuration is written with the weights. `own`: what the checkpoint's config.json says.
pub(crate) fn check_config(folder: &Path, own: &Decoder, decoder: &Decoder) -> Result<(), TrainError> {
    if own == decoder {
        return Ok(());
    }
    let differs = match own.vocab_size == decoder.vocab_size {
        true => String::new(),
        false => format!(": it has {} tokens, and that {}", own.vocab_size, decoder.vocab_size),
    };
    let model = Remedy::Option("model", &folder.display().to_string()).to_string();
    let what = format!(
        "its config.json is not that of the model to be trained{differs}; name it as the model too: {model}"
    );
    Err(TrainError::checkpoint(folder, what))
}

/// Step, states and settings of a checkpoint's optimizer.
struct ResumedOptimizer {
    /// Steps, where they are said.
    step: Option<u64>,
    /// The state of each tensor, which is empty for an optimizer that keeps nothing.
    states: Vec<TensorState>,
    settings: Option<OptimizerSettings>,
}

fn read_optimizer<B: Backend + Clone>(
    folder: &Path,
    parameters: &Parameters<B>,
    kind: OptimizerKind,
) -> Result<ResumedOptimizer, TrainError> {
    let trained = parameters.trained();
    let asked = saved_as(kind);
    let stateless = || {
        let states = vec![TensorState::default(); trained.len()];
        ResumedOptimizer { step: None, states, settings: None }
    };
    let file = match Moments::find(folder) {
        Err(MomentsError::Missing { instead: None, .. }) if asked == SavedOptimizer::PlainSgd => {
            return Ok(stateless());
        }
        found => found.map_err(|error| no_optimizer_error(folder, error))?,
    };
    let archive = TorchArchive::open(&file)?;
    if let Some(saved) = SavedOptimizer::of(&archive).filter(|saved| *saved != asked) {
        if saved == SavedOptimizer::Other
            && let Err(error @ MomentsError::Bitsandbytes { .. }) =
                MomentsFile::of(archive, trained.to_vec(), |_| true)
        {
            return Err(error.into());
        }
        return Err(other_optimizer_error(folder, saved, asked));
    }
    if is_maximizing(&archive) {
        let what = "its optimizer had maximize set, which steps up the gradient; a training here steps down \
        it, so it cannot continue from it";
        return Err(TrainError::checkpoint(folder, what));
    }
    match kind {
        OptimizerKind::AdamW(_) => {
            let file = MomentsFile::of(archive, trained.to_vec(), |_| true)?;
            if file.is_amsgrad() {
                let what = "its optimizer was AMSGrad, which steps by the maximum of second moments; AdamW here \
                            keeps none, so the training cannot continue from it";
                return Err(TrainError::checkpoint(folder, what));
            }
            let read = |index| {
                let moments = file.read(index)?;
                let what = "its optimizer keeps no first moment, so it was not AdamW";
                let first = moments.exp_avg.ok_or_else(|| TrainError::checkpoint(folder, what))?;
                Ok::<_, TrainError>(TensorState { first, second: moments.exp_avg_sq })
            };
            let states = (0..trained.len()).map(read).collect::<Result<_, _>>()?;
            let settings = Some(OptimizerSettings::of_adamw(folder, &file));
            Ok(ResumedOptimizer { step: file.step()?, states, settings })
        }
        OptimizerKind::Sgd(_) if asked == SavedOptimizer::PlainSgd => Ok(stateless()),
        OptimizerKind::Sgd(_) => {
            let file = MomentumFile::of(archive, trained.to_vec())?;
            if !file.is_plain() {
                let what = "its optimizer was SGD with Nesterov's momentum or dampening, which SGD here has \
                not, so the training cannot continue from it";
                return Err(TrainError::checkpoint(folder, what));
            }
            let state = |first| TensorState { first, second: Vec::new() };
            let states = file.read()?.into_iter().map(state).collect();
            let settings = Some(OptimizerSettings::of_sgd(folder, &file));
            Ok(ResumedOptimizer { step: None, states, settings })
        }
    }
}

/// An optimizer as its state is told.
fn saved_as(kind: OptimizerKind) -> SavedOptimizer {
    match kind {
        OptimizerKind::AdamW(_) => SavedOptimizer::AdamW,
        OptimizerKind::Sgd(sgd) if sgd.momentum == 0.0 => SavedOptimizer::PlainSgd,
        OptimizerKind::Sgd(_) => SavedOptimizer::MomentumSgd,
    }
}

/// The error of a checkpoint whose optimizer is not the one that is asked for, with what to do about it.
fn other_optimizer_error(folder: &Path, saved: SavedOptimizer, asked: SavedOptimizer) -> TrainError {
    let (sgd, momentum) = (Remedy::Option("optim", "sgd"), Remedy::Option("momentum", ""));
    let go_on = match saved {
        SavedOptimizer::AdamW => format!("{} continues it, and ", Remedy::Option("optim", "adamw")),
        SavedOptimizer::MomentumSgd => format!("{sgd} with {momentum} continues it, and "),
        SavedOptimizer::PlainSgd => format!("{sgd} without {momentum} continues it, and "),
        SavedOptimizer::Other => String::new(),
    };
    let what = format!(
        "its optimizer was {saved}, so a training by {asked} cannot continue from it: {go_on}{}",
        new_optimizer_hint(folder)
    );
    TrainError::checkpoint(folder, what)
}

/// How to begin a training with a checkpoint's weights alone.
fn new_optimizer_hint(folder: &Path) -> String {
    let name = if is_adapter(folder) { "adapter" } else { "model" };
    let folder = folder.display().to_string();
    let start = Remedy::Option(name, &folder);
    format!("{start} begins one with its weights and a new optimizer, in another output folder")
}

fn no_optimizer_error(folder: &Path, error: MomentsError) -> TrainError {
    match error {
        MomentsError::Missing { instead, .. } => {
            let back =
                earlier_checkpoint_hint(folder).map_or_else(String::new, |back| format!("\n  or {back}"));
            let parts = instead.map_or_else(String::new, |parts| format!("\n  {parts}"));
            let what = format!(
                "it has neither optimizer.pt nor optimizer.bin, so a training cannot continue from it: {}{back}{parts}",
                new_optimizer_hint(folder)
            );
            TrainError::checkpoint(folder, what)
        }
        other => other.into(),
    }
}

/// What our own training was asked for; none of another trainer's checkpoint.
pub(crate) fn stored_identity(folder: &Path) -> Result<Option<Value>, TrainError> {
    Ok(read_gstore_state(folder)?.map(|own| own.get("asked").cloned().unwrap_or(Value::Null)))
}

/// Whether a checkpoint only keeps what was done when its training was told to stop.
pub(super) fn is_interim(folder: &Path) -> Result<bool, TrainError> {
    Ok(read_gstore_state(folder)?
        .is_some_and(|own| own.get("interim").and_then(Value::as_bool) == Some(true)))
}

/// `trainer_state.json` of a checkpoint; none where it has no such file.
pub(crate) fn trainer_state(folder: &Path) -> Result<Option<TrainerState>, TrainError> {
    TrainerState::read(folder).map_err(|error| match error {
        TrainerError::Invalid { message, .. } => damaged_file_error(folder, "trainer_state.json", &message),
        other => other.into(),
    })
}

/// An error if a checkpoint of a training's own folder counts other steps than its name.
pub(crate) fn check_step(checkpoint: &Checkpoint, taken: u64) -> Result<(), TrainError> {
    match taken == checkpoint.step {
        true => Ok(()),
        false => Err(damaged_file_error(
            &checkpoint.folder,
            "trainer_state.json",
            &format!("it counts {taken} steps"),
        )),
    }
}

/// An error, with what to do, if a file of JSON of a checkpoint cannot be read, factors have no
/// configuration, or the weights that were written are gone.
pub(crate) fn check_json(folder: &Path) -> Result<(), TrainError> {
    const CONFIG: &str = "adapter_config.json";
    for name in ["trainer_state.json", GstoreState::FILE, CONFIG] {
        if folder.join(name).is_file() {
            read_json(folder, name)?;
        }
    }
    if folder.join("adapter_model.safetensors").is_file() && !is_adapter(folder) {
        return Err(damaged_file_error(folder, CONFIG, "it is not there, and the checkpoint is an adapter"));
    }
    // Another program may have its weights in files of other names.
    let Some(own) = read_gstore_state(folder)? else { return Ok(()) };
    let is_gone = |name: &str| own["files"].get(name).is_some() && !folder.join(name).is_file();
    match GstoreState::WEIGHTS.into_iter().find(|&name| is_gone(name)) {
        Some(name) => Err(damaged_file_error(folder, name, "it is not there")),
        None => Ok(()),
    }
}

/// The log of a checkpoint, every digit of it, and its evaluations.
fn read_log(folder: &Path) -> Result<(Vec<LogLine>, Vec<EvaluationLoss>), TrainError> {
    let value = read_json(folder, "trainer_state.json")?;
    let line = |entry: &Value| {
        let number = |key: &str| entry.get(key).and_then(Value::as_f64);
        Some(LogLine {
            step: entry.get("step")?.as_u64()?,
            epoch: number("epoch")?,
            loss: number("loss")?,
            grad_norm: number("grad_norm").unwrap_or(0.0),
            learning_rate: number("learning_rate")?,
        })
    };
    let evaluated = |entry: &Value| {
        let number = |key: &str| entry.get(key).and_then(Value::as_f64);
        let step = entry.get("step")?.as_u64()?;
        Some(EvaluationLoss { step, epoch: number("epoch")?, loss: number("eval_loss")? })
    };
    let entries = || value.get("log_history").and_then(Value::as_array).into_iter().flatten();
    Ok((entries().filter_map(line).collect(), entries().filter_map(evaluated).collect()))
}

impl<B: Backend + Clone> Trainer<B> {
    /// A trainer that goes on from a checkpoint of `base`, our own or one of the Hugging Face Trainer.
    ///
    /// # Errors
    /// A folder that does not fit the model or the optimizer, and a damaged one.
    pub fn resume(
        folder: &Path,
        base: &ModelFolder,
        kind: OptimizerKind,
        options: TrainerOptions,
        backend: B,
    ) -> Result<Trainer<B>, TrainError> {
        check_files(folder)?;
        let ResumedTraining { parameters, optimizer, .. } =
            resume(folder, Some(base), base.decoder(), kind, backend)?;
        Ok(Trainer::new(parameters, optimizer, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_of_json_is_told_with_the_checkpoint_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let [before, last] = ["checkpoint-3", "checkpoint-6"].map(|name| folder.path().join(name));
        let whole = || {
            for checkpoint in [&before, &last] {
                fs_err::create_dir_all(checkpoint).unwrap();
                fs_err::write(checkpoint.join("adapter_model.safetensors"), b"").unwrap();
                for name in ["trainer_state.json", GstoreState::FILE, "adapter_config.json"] {
                    fs_err::write(checkpoint.join(name), "{\"loss\": NaN}").unwrap();
                }
            }
        };
        let told = || check_json(&last).unwrap_err().to_string();
        for name in ["trainer_state.json", GstoreState::FILE, "adapter_config.json"] {
            whole();
            check_json(&last).unwrap();
            for text in ["", "{\"loss\": "] {
                fs_err::write(last.join(name), text).unwrap();
                let ways = [format!("{name} is damaged: EOF"), format!("go on from {}", before.display())];
                assert!(ways.iter().all(|says| told().contains(says)), "{}", told());
            }
        }
        whole();
        fs_err::remove_file(last.join("adapter_config.json")).unwrap();
        assert!(told().contains("adapter_config.json is damaged: it is not there"), "{}", told());
        // Weights that were written, and a state without steps.
        whole();
        fs_err::remove_file(last.join("adapter_model.safetensors")).unwrap();
        check_json(&last).unwrap();
        let files = "{\"files\": {\"adapter_model.safetensors\": \"\"}}";
        fs_err::write(last.join(GstoreState::FILE), files).unwrap();
        let steps = trainer_state(&last).unwrap_err().to_string();
        let checkpoint = Checkpoint { step: 6, folder: last.clone() };
        check_step(&checkpoint, 6).unwrap();
        let counted = check_step(&checkpoint, 4).unwrap_err().to_string();
        for (told, says) in [
            (told(), "adapter_model.safetensors is damaged: it is not there"),
            (steps, "trainer_state.json is damaged: global_step is missing"),
            (counted, "trainer_state.json is damaged: it counts 4 steps"),
        ] {
            let way = format!("go on from {}", before.display());
            assert!(told.contains(says) && told.contains(&way), "{told}");
        }
        whole();
        fs_err::remove_file(last.join("adapter_config.json")).unwrap();
        // Without any before it.
        fs_err::remove_dir_all(&before).unwrap();
        assert!(told().contains("no checkpoint is before it"), "{}", told());
    }
}
