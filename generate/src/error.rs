//! Errors of computing answers or scores.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use gstore_core::{Cancelled, Remedy};
use gstore_data::{EncodeError, SampleError, SchemaError};
use gstore_model::weights::{ModelError, NOT_NUMBERS};
use gstore_model::{BackendError, Device, LoadError, OutOfMemory};
use gstore_store::AppendError;

/// Why answers or scores could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// Options that cannot be used, or not together.
    #[error("{0}")]
    Option(String),
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Samples(SampleError),
    #[error(transparent)]
    Encoder(#[from] EncodeError),
    #[error("there is nothing to run the model on: no sample was given")]
    NoSamples,
    #[error("no perplexity: no text has a token after its first")]
    NothingPredicted,
    #[error("two prompts have the id {0:?}, and answers are told apart by it")]
    RepeatedId(String),
    #[error(
        "{sample} holds token {token}, the model's vocabulary has {vocab}: the tokenizer belongs to another model"
    )]
    UnknownToken { sample: String, token: u32, vocab: usize },
    #[error("{sample} has {tokens} tokens, {most} are allowed{}", longer(.by_model))]
    TooLong {
        sample: String,
        tokens: usize,
        most: usize,
        /// Whether it is the model that has no more positions.
        by_model: bool,
    },
    /// Logits that are not numbers.
    #[error("{}", NOT_NUMBERS)]
    NotFinite,
    /// The same, of a sample.
    #[error("{sample}: {model}")]
    NotFiniteAt {
        sample: String,
        /// What is said of the model: which of its tables has such values.
        model: String,
    },
    #[error(
        "{path} holds answers to another request: {what}\n  give another file, remove it, or {}",
        Remedy::Option("force", "")
    )]
    OtherRequest { path: PathBuf, what: String },
    #[error("{0} is being written by another process")]
    Busy(PathBuf),
    /// An id that the place for the answers has with something else.
    #[error("{0}")]
    Taken(Box<AppendError>),
    /// Answers without common columns, or with others than the place for them has.
    #[error("the answers for {dataset}: {source}")]
    Columns { dataset: String, source: SchemaError },
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

fn longer(by_model: &bool) -> String {
    match by_model {
        true => ", as many as the model has positions".to_owned(),
        false => format!("; {} allows more", Remedy::Option("max_length", "")),
    }
}

impl GenerateError {
    pub(crate) fn not_finite_at(sample: String) -> Self {
        GenerateError::NotFiniteAt { sample, model: NOT_NUMBERS.to_owned() }
    }

    /// The same; where a device failed, with its name.
    pub(crate) fn on(self, device: Device) -> Self {
        match self {
            GenerateError::Backend(error) => GenerateError::Backend(device.failed(error)),
            GenerateError::Load(error) => GenerateError::Load(error.on(device)),
            other => other,
        }
    }
}

impl OutOfMemory for GenerateError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, GenerateError::Backend(error) if error.is_out_of_memory())
    }
}

impl From<SampleError> for GenerateError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Stopped(stopped) => stopped.into(),
            error => GenerateError::Samples(error),
        }
    }
}
