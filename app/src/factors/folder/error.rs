//! Errors of files of factors and scores.

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
    /// A file of tensors that is damaged.
    #[error(transparent)]
    Tensors(#[from] ModelError),
    /// Curvature that cannot be used.
    #[error(transparent)]
    Curvature(#[from] CurvatureError),
    /// A file that cannot be what it should be.
    #[error("{}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A folder without a file that it must have.
    #[error("{} has no {what}", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file, or what it has.
        what: String,
    },
    /// A folder that was begun with other arguments.
    #[error(
        "{} has {argument} {found} where {expected} was asked for; it holds other factors or scores",
        path.display()
    )]
    OtherArguments {
        /// The file of arguments.
        path: PathBuf,
        /// The first that differs.
        argument: String,
        /// Its value there.
        found: String,
        /// Its value here.
        expected: String,
    },
}

impl FactorError {
    /// A file with something wrong.
    pub(super) fn file(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::File { path: path.into(), detail: detail.into() }
    }
}
