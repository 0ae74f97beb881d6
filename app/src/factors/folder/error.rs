//! Errors of files of factors and scores.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use gstore_curvature::CurvatureError;
use gstore_model::weights::ModelError;

/// Why files of factors or scores cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactorError {
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Tensors(#[from] ModelError),
    #[error(transparent)]
    Curvature(#[from] CurvatureError),
    /// A file that cannot be what it should be.
    #[error("{}: {detail}", path.display())]
    File { path: PathBuf, detail: String },
    /// A folder without a file that it must have.
    #[error("{} has no {what}", folder.display())]
    Missing {
        folder: PathBuf,
        /// The file, or what it has.
        what: String,
    },
    #[error(
        "{} has {argument} {found} where {expected} was asked for; the folder holds other factors or scores: name another, or remove it",
        path.display()
    )]
    OtherArguments { path: PathBuf, argument: String, found: String, expected: String },
}

impl FactorError {
    /// A file with something wrong.
    pub(super) fn file(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::File { path: path.into(), detail: detail.into() }
    }
}
