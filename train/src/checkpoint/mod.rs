//! Checkpoint folders in the formats of torch, PEFT and transformers, written completely or not at all.
//!
//! | file | holds |
//! |---|---|
//! | `adapter_model.safetensors`, `adapter_config.json` | LoRA factors as PEFT saves them |
//! | `model.safetensors`, `config.json` | all tensors, named as in transformers; the tokenizer's files |
//! | `optimizer.pt`, `scheduler.pt` | the state dicts that the Hugging Face Trainer saves |
//! | `trainer_state.json` | steps and log |
//! | `gstore_state.json` | what the training was asked for, digests of weights and optimizer, and the weight in LESS |

mod config;
mod digests;
mod folder;
mod json;
mod read;
mod settings;
mod size;
mod state;
mod write;

use std::path::{Path, PathBuf};

use gstore_model::weights;

pub(crate) use config::{copy_model_files, lora_dropout, model_config};
pub(crate) use digests::{check_files, start_digests};
pub use folder::{CURVES, FolderLock};
pub(crate) use folder::{
    check_writable, make_json, remove, remove_all, remove_replaced, remove_unfinished,
    superseded_checkpoints, unfinished_paths,
};
pub(crate) use json::write_json;
pub(crate) use read::{
    ResumedTraining, check_config, check_json, check_step, resume, stored_identity, trainer_state,
};
pub(crate) use size::CheckpointsAtOnce;
pub(crate) use state::TrainingState;
pub(crate) use write::{write, write_weights};

use crate::error::TrainError;

/// A checkpoint of an output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Steps taken.
    pub step: u64,
    /// Its folder.
    pub folder: PathBuf,
}

/// An entry of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLine {
    /// The step, counted from 1.
    pub step: u64,
    /// Epochs that end with it.
    pub epoch: f64,
    /// Mean loss since the entry before.
    pub loss: f64,
    /// Norm of the step's gradient.
    pub grad_norm: f64,
    /// Rate of the step.
    pub learning_rate: f64,
}

/// The loss of samples that no step is taken on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluationLoss {
    /// Steps taken before.
    pub step: u64,
    /// Epochs that end with them.
    pub epoch: f64,
    /// Mean over their scored tokens.
    pub loss: f64,
}

/// Whether a checkpoint holds LoRA factors; otherwise it holds all tensors.
pub(crate) fn is_adapter(folder: &Path) -> bool {
    folder.join("adapter_config.json").is_file()
}

/// Whether nothing is in a folder.
pub(crate) fn is_empty(folder: &Path) -> bool {
    fs_err::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// The checkpoints of an output folder, by step.
pub(crate) fn checkpoints(output: &Path) -> Result<Vec<Checkpoint>, TrainError> {
    let mut found = numbered_checkpoints(output)?;
    found.retain(|checkpoint| checkpoint.folder.join("trainer_state.json").is_file());
    Ok(found)
}

/// What has the name of a checkpoint in an output folder, whatever it is, by step.
pub(crate) fn numbered_checkpoints(output: &Path) -> Result<Vec<Checkpoint>, TrainError> {
    let named = weights::numbered_checkpoints(output)?;
    Ok(named.into_iter().map(|(step, folder)| Checkpoint { step, folder }).collect())
}

/// The last checkpoint of an output folder.
///
/// # Errors
/// A folder that cannot be listed.
pub fn last_checkpoint(output: &Path) -> Result<Option<Checkpoint>, TrainError> {
    Ok(checkpoints(output)?.pop())
}
