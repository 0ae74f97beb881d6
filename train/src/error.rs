//! Errors of training.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::io;
use std::path::{Path, PathBuf};

use gstore_core::{Cancelled, Remedy, is_of_full_disk};
use gstore_data::{EncodeError, SampleError};
use gstore_model::weights::{
    ModelError, ModelFolder, MomentsError, NOT_NUMBERS, TorchError, TrainerError, unsound_model,
};
use gstore_model::{BackendError, LoadError, OutOfMemory};

/// Why a training could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Options that cannot be used, or not together.
    #[error("{0}")]
    Option(String),
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Moments(#[from] MomentsError),
    #[error(transparent)]
    Torch(#[from] TorchError),
    #[error(transparent)]
    State(#[from] TrainerError),
    #[error(transparent)]
    Samples(#[from] SampleError),
    #[error(transparent)]
    Encoder(#[from] EncodeError),
    #[error(transparent)]
    Job(#[from] gstore_store::JobError),
    #[error(transparent)]
    Open(#[from] gstore_store::OpenError),
    #[error(transparent)]
    Commit(#[from] gstore_store::CommitError),
    #[error(
        "sample {sample} holds token {token}, the model's vocabulary has {vocab}: the tokenizer belongs to another model"
    )]
    UnknownToken { sample: usize, token: u32, vocab: usize },
    #[error(
        "sample {sample} has {tokens} tokens, the model knows {max_positions} positions: shorten samples to {max_positions} tokens"
    )]
    TooLong { sample: usize, tokens: usize, max_positions: usize },
    #[error(
        "about {} MB of memory are needed, and {} MB are available: {} has layers computed twice on fewer threads; less \
         {} takes less too, and so do LoRA factors of a low rank",
        needed / 1_000_000,
        available / 1_000_000,
        Remedy::Option("max_memory", "SIZE"),
        Remedy::Option("batch_tokens", "")
    )]
    Memory {
        /// Bytes at the peak, about.
        needed: u64,
        /// Bytes that there are for it.
        available: u64,
    },
    #[error("there is no sample with a scored token to train on")]
    NoSamples,
    #[error("{files}: there is no record in {}; give files with samples", if *.several { "them" } else { "it" })]
    NoRecords {
        files: String,
        /// Whether there are several.
        several: bool,
    },
    #[error("there is no sample with a scored token to watch the loss on")]
    NothingHeldOut,
    #[error("none of the samples of step {step} has a scored token, so there is nothing to learn from it")]
    NothingScored {
        /// The step, counted from 1.
        step: u64,
    },
    /// The loss or the gradient is no number any more.
    #[error(
        "{found} is {value}, so training stops; {last}\n  a lower learning rate, a longer warm-up or clipping may help"
    )]
    NotFinite {
        /// What, and of or after which step, counted from 1.
        found: String,
        value: f64,
        /// Which checkpoint is the last one, and which was removed.
        last: String,
    },
    /// A loss or a gradient that is no number before the first step changed a weight: no rate is at fault.
    #[error(
        "{found} is {value} before any weight was changed: {model}\n  \
         its weights are damaged, or it was trained with a rate that was too high: give another model, or a checkpoint before it"
    )]
    Unsound {
        found: String,
        value: f64,
        /// What is said of the model: which of its tables has such values.
        model: String,
    },
    /// No space is left. What was unfinished is removed.
    #[error("{source}\n  the disk is full; {safe}")]
    Full { safe: String, source: Box<TrainError> },
    #[error(
        "{folder} holds another training: {what}\n  give another folder, or {}",
        Remedy::Option("overwrite_output_dir", "")
    )]
    OtherTraining { folder: PathBuf, what: String },
    #[error(
        "run {run} of the store has {checkpoint}, which this training does not have; its checkpoints are written\n  {}, or drop that \
         run, and give the same command again: it registers them",
        Remedy::Option("run", "")
    )]
    OtherRun { run: String, checkpoint: String },
    /// A checkpoint that cannot be gone on from.
    #[error("{folder}: {what}")]
    Checkpoint { folder: PathBuf, what: String },
    #[error("{} is being written by another training", .0.display())]
    Busy(PathBuf),
    /// Another process trains or removes this copy of an ensemble, whose folder this is.
    #[error(
        "{folder}: another process is training or removing copy {model}; wait until it has ended and give the same \
         command again, or train copies of other numbers, or in another folder"
    )]
    BusyCopy { folder: PathBuf, model: u64 },
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

impl TrainError {
    /// A checkpoint that cannot be gone on from.
    pub(crate) fn checkpoint(folder: &Path, what: impl Into<String>) -> Self {
        TrainError::Checkpoint { folder: folder.to_owned(), what: what.into() }
    }

    pub(crate) fn not_finite_after(step: u64, what: &str, value: f64) -> Self {
        TrainError::NotFinite { found: format!("after step {step} {what}"), value, last: String::new() }
    }

    pub(crate) fn not_finite_before_training(found: String, value: f64) -> Self {
        TrainError::Unsound { found, value, model: NOT_NUMBERS.to_owned() }
    }

    /// The same with the table of the model that training begins with, if it is at fault; none from scratch.
    pub(crate) fn with_base_table(self, base: Option<&ModelFolder>) -> Self {
        match (self, base) {
            (TrainError::Unsound { found, value, .. }, Some(base)) => {
                TrainError::Unsound { found, value, model: unsound_model(base) }
            }
            (error, _) => error,
        }
    }

    /// The same with what is there and what to do, if the disk is full.
    pub(crate) fn with_disk_full_hint(self, safe: impl FnOnce() -> String) -> Self {
        match is_of_full_disk(&self) {
            true => TrainError::Full { safe: safe(), source: Box::new(self) },
            false => self,
        }
    }
}

impl OutOfMemory for TrainError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, TrainError::Backend(error) if error.is_out_of_memory())
    }
}
