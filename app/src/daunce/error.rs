//! Errors of ensembles and their losses.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::{Path, PathBuf};

use gstore_core::{Cancelled, Remedy, many_of};
use gstore_data::{DataError, EncodeError};
use gstore_ingest::pipeline::IngestError;
use gstore_model::weights::ModelError;
use gstore_store::{
    CommitError, JobError, LookupError, LossError, OpenError, ReadError, StoreError, WriteError,
};

/// Losses of an ensemble could not be computed or taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaunceError {
    #[error(
        "the weights of {who} of ensemble {ensemble:?} are not those it was made with: {found} here, {expected} there"
    )]
    OtherWeights {
        ensemble: String,
        /// Id of the member, or `theta_0`.
        who: String,
        expected: String,
        found: String,
    },
    /// Rows lack losses under theta_0, whose adapter is gone.
    #[error(
        "theta_0 of ensemble {ensemble:?} is the adapter in {}, which no longer exists, and {} its losses; put the folder back",
        folder.display(),
        many_of(*rows, "row lacks", "rows lack")
    )]
    NoBase { ensemble: String, folder: PathBuf, rows: u64 },
    #[error("ensemble {ensemble:?} has {members} members, 0 to {}; {from}..{to} is not within them", members.saturating_sub(1))]
    NoMembers {
        ensemble: String,
        from: usize,
        /// One past the last.
        to: usize,
        members: usize,
    },
    /// A manifest or a file of losses that cannot be used.
    #[error("{}: {detail}", path.display())]
    File { path: PathBuf, detail: String },
    #[error(
        "{}: dataset {dataset:?} has no sample {first:?}{}; register the samples with {} first, under the ids of the losses",
        path.display(), and_more(*others), Remedy::Add
    )]
    NoIds {
        path: PathBuf,
        dataset: String,
        first: String,
        /// How many more are not.
        others: usize,
    },
    /// A loss that is no number, or too large for one of single precision, where nothing says that it is
    /// missing.
    #[error(
        "{}: the loss of {id:?} under {model:?} is {value:?}: {}",
        path.display(), if value.is_nan() { "mark a missing cell in a mask, or leave it out" } else { "the model diverged, or the file is damaged" }
    )]
    NotFinite { path: PathBuf, id: String, model: String, value: f64 },
    /// A value of the signal `prob` that is no probability.
    #[error(
        "{}: the probability of {id:?} under {model:?} is {value:?}, which is not between 0 and 1; if these are not probabilities, name another `signal`",
        path.display()
    )]
    NoProbability {
        path: PathBuf,
        id: String,
        /// Id of the member, or `theta_0`.
        model: String,
        value: f64,
    },
    #[error(
        "the loss of {id:?} under {model:?} is {stored} in the store, and {given} in {}; {} takes the new ones",
        path.display(), Remedy::Option("replace", "")
    )]
    Differs {
        path: PathBuf,
        id: String,
        /// Id of the member.
        model: String,
        stored: f64,
        given: f64,
    },
    #[error(
        "{}: the loss of {id:?} under theta_0 is {given}, but the losses of this dataset are stored relative to {}, which cannot be changed; import without `base_losses` to keep it, or remove the ensemble with {} and import all of its losses again, with `base_losses`",
        path.display(), stored_base(*stored), Remedy::DropEnsemble(ensemble)
    )]
    OtherBase {
        /// The file with the losses of theta_0.
        path: PathBuf,
        ensemble: String,
        id: String,
        /// Its loss under theta_0, where that is what its losses are relative to.
        stored: Option<f32>,
        given: f64,
    },
    #[error(
        "{}: the store has losses of {id:?} but has lost the losses that they are relative to, so new ones could not be compared with them; drop the ensemble and import all of its losses again",
        path.display()
    )]
    NoOffset { path: PathBuf, id: String },
    #[error(
        "another import (process {pid}) is writing losses of dataset {dataset:?} under ensemble {ensemble:?}; wait for it or stop it, then run the command again"
    )]
    Importing { ensemble: String, dataset: String, pid: u32 },
    #[error(
        "dataset {0:?} or its losses were changed by another process in the meantime; run the command again"
    )]
    Meanwhile(String),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Loss(#[from] LossError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("stopped")]
    Stopped(#[from] Cancelled),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn stored_base(loss: Option<f32>) -> String {
    match loss {
        Some(loss) => format!("a loss of {loss} under theta_0"),
        None => "other numbers than losses under theta_0".to_owned(),
    }
}

fn and_more(others: usize) -> String {
    match others {
        0 => String::new(),
        n => format!(" ({n} more)"),
    }
}

impl DaunceError {
    /// A manifest or a file of losses that cannot be used.
    pub(super) fn file(path: &Path, detail: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), detail: detail.into() }
    }

    /// Whether the request itself was wrong, whatever the files and the store hold.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoMembers { .. } => true,
            Self::Ingest(error) => error.is_usage(),
            _ => false,
        }
    }
}
