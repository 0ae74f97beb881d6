//! Errors of writing a matrix.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::io;
use std::path::{Path, PathBuf};

use gstore_core::Cancelled;
use parquet::errors::ParquetError;

use crate::error::QueryError;

/// Errors of making a matrix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A file could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The same once work is begun, which the next run continues.
    #[error("{0}; finished parts are kept: run the same command again to continue")]
    Begun(#[source] io::Error),
    /// A part could not be written, or was damaged from outside.
    #[error("{path}: {error}")]
    Parquet { path: String, error: ParquetError },
    /// A file with something else is there, and may not be replaced.
    #[error("{} exists, but does not have this matrix", .0.display())]
    Exists(PathBuf),
    /// The output is something else, or cannot be as it was asked for.
    #[error("{0}")]
    Refused(String),
}

impl From<Cancelled> for MatrixError {
    fn from(stopped: Cancelled) -> Self {
        Self::Query(stopped.into())
    }
}

impl MatrixError {
    /// The same error, where work is begun.
    pub(super) fn of_begun_work(self) -> Self {
        match self {
            Self::Io(error) => Self::Begun(error),
            other => other,
        }
    }

    /// A failure of the Parquet library, as one of the file or of the operating system.
    pub(super) fn parquet(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(other) => {
                    Self::Parquet { path: path.display().to_string(), error: ParquetError::External(other) }
                }
            },
            error => Self::Parquet { path: path.display().to_string(), error },
        }
    }
}
