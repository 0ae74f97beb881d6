//! Errors of reading optimizer moments.

use std::path::PathBuf;

use crate::files::TorchError;

/// Why optimizer moments could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MomentsError {
    /// The folder has no optimizer state.
    #[error(
        "{0} has neither optimizer.pt nor optimizer.bin; the Adam feature needs the moments that the trainer saved"
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error(transparent)]
    Archive(#[from] TorchError),
    /// The file is readable but not an optimizer state.
    #[error("{path} is not an optimizer state: {message}")]
    NotAState {
        /// The file.
        path: PathBuf,
        /// What is missing.
        message: String,
    },
    /// The state belongs to other parameters.
    #[error("the moments in {path} do not fit the trained tensors: {message}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The first difference.
        message: String,
    },
    /// A moment that no optimizer can have produced.
    #[error("{path}: {moment} of {name} holds {value}")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// `exp_avg`, `exp_avg_sq` or one of the latter's factors.
        moment: &'static str,
        /// The parameter.
        name: String,
        /// The first bad value.
        value: f32,
    },
}
