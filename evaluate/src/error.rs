//! Errors of an evaluation.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use gstore_core::{Cancelled, Remedy};
use gstore_data::{DataError, EncodeError, Place, SampleError};
use gstore_generate::GenerateError;
use gstore_store::{ArtifactError, LookupError, LossError, ReadError};

use crate::keys::REFERENCE;

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// Options that cannot be used, or not together.
    #[error("{0}")]
    Option(String),
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Data(#[from] DataError),
    /// A record of a file.
    #[error("{}: {place}: {what}", place.file.display())]
    Record { place: Place, what: String },
    /// A sample of a dataset.
    #[error("row {row} of {dataset}: {what}")]
    Sample { dataset: String, row: u64, what: String },
    /// A file that is not what it should be.
    #[error("{}: {what}", path.display())]
    File { path: PathBuf, what: String },
    #[error(
        "{system} has no prediction for {id:?}, which {base} has: systems are compared over the same rows"
    )]
    Missing { system: String, id: String, base: String },
    #[error(
        "the reference of {id:?} in {other} is not the one in {first}: systems are compared with the same \
         references; give these with {}",
        Remedy::Option("references", "PATH")
    )]
    OtherReference {
        /// The row: its id, or its number from 0.
        id: String,
        first: String,
        other: String,
    },
    #[error("there is no reference for {id:?}: {}", to_have_one(.key.as_deref()))]
    NoReference {
        id: String,
        /// The key of its record that was to hold it, where one was named.
        key: Option<String>,
    },
    #[error("the id {id:?} comes twice in {of}, and rows are joined by it")]
    RepeatedId { id: String, of: String },
    #[error(
        "two systems are called {name}, and each needs a name of its own, as with {}",
        Remedy::Option("data", "NAME=PATH")
    )]
    SameName { name: String },
    #[error("there is nothing to evaluate in {0}")]
    Nothing(String),
    /// Scores that cannot be compared with retraining.
    #[error("scores of {method}: {what}")]
    Scores { method: String, what: String },
    /// Results of retraining that say nothing of what is asked.
    #[error("the results of retraining: {0}")]
    Truth(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Loss(#[from] LossError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Models that would be asked in different words.
    #[error(
        "{system} has the tokenizer of {base} and another template, which writes other prompts: give one for \
         all models with {}, or the files of one of them with {}",
        Remedy::Option("template", "NAME|FILE.jinja"),
        Remedy::Option("tokenizer", "DIR")
    )]
    OtherTemplate { system: String, base: String },
    #[error(transparent)]
    Samples(#[from] SampleError),
    /// The model.
    #[error("{system}: {source}")]
    Model { system: String, source: GenerateError },
    /// Told to stop; what is done is kept where there is a place for it.
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

/// What gives a row a reference, or why the `key` that was named does not.
fn to_have_one(key: Option<&str>) -> String {
    match key {
        Some(key) => format!("its record has none in `{key}`"),
        None => format!(
            "give records that have one of the keys {}, or {} that do",
            REFERENCE.join(", "),
            Remedy::Option("references", "")
        ),
    }
}

impl EvaluateError {
    /// Whether what was asked for cannot be done as it was asked.
    pub fn is_usage(&self) -> bool {
        match self {
            EvaluateError::Option(_)
            | EvaluateError::SameName { .. }
            | EvaluateError::OtherTemplate { .. }
            | EvaluateError::Model { source: GenerateError::Option(_), .. } => true,
            EvaluateError::Samples(error) => error.is_usage(),
            _ => false,
        }
    }
}
