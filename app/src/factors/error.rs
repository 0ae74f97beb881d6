//! Errors of fitting factors of curvature and of scoring with them.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::error::Error;
use std::path::{Path, PathBuf};

use arrow_schema::ArrowError;
use gstore_core::{Cancelled, Remedy};
use gstore_curvature::CurvatureError;
use gstore_data::{EncodeError, SampleError};
use gstore_ingest::curvature::PassError;
use gstore_ingest::pipeline::IngestError;
use gstore_model::OutOfMemory;
use gstore_sql::SqlError;
use gstore_store::{ArtifactError, LookupError, OpenError, ReadError, vfs::NoRoom};

use super::folder::FactorError;

/// Why factors could not be fitted, or rows not be scored with them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactorJobError {
    #[error(transparent)]
    Ingest(Box<IngestError>),
    #[error(transparent)]
    Samples(Box<SampleError>),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Curvature(#[from] CurvatureError),
    /// A batch that could not be computed.
    #[error("{place}: {}", why.detail())]
    Batch {
        /// The sample that it is of, or all of them.
        place: String,
        /// First and last of the batch's rows.
        rows: [u64; 2],
        /// Why; the message has what it says.
        why: Box<PassError>,
    },
    #[error(
        "row {row} (id {id:?}) of the pool: module `{module}`: its score is {value}: use a larger damping or another filter"
    )]
    Score { row: u64, id: String, module: String, value: f32 },
    /// The engine, or files of factors.
    #[error("{0}")]
    Other(#[source] Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("{0}")]
    Table(#[from] SqlError),
    #[error(transparent)]
    Columns(#[from] ArrowError),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error(
        "{folder} holds factors that {why}\n  remove that folder if they are not to be finished, or name another with {}; without a named one, {} begins again",
        Remedy::Option("folder", ""),
        Remedy::Option("force", "")
    )]
    OtherFactors { folder: String, why: String },
    /// Another process fits factors in the folder.
    #[error(
        "{}: another gstore process is working there; wait until it has ended, or fit factors of another name",
        .0.display()
    )]
    Busy(PathBuf),
    /// Another job of an array computes the same partition, of this number from 1.
    #[error(
        "{}: another gstore process is computing partition {number} there; wait until it has ended, or compute another one",
        .folder.display()
    )]
    BusyPartition { folder: PathBuf, number: usize },
    #[error("factors `{name}` are stale: {why}; {} uses them anyway", Remedy::Option("stale", ""))]
    Stale { name: String, why: String },
    #[error(
        "{what} takes about {} MB, and {} MB are available ({}): {proposal}",
        needed.div_ceil(1_000_000),
        limit / 1_000_000,
        Remedy::Option("max_memory", "")
    )]
    Memory {
        what: &'static str,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        limit: u64,
        proposal: String,
    },
    #[error(
        "{0}, or fit fewer modules\n  {dry_run} shows what is needed; {force} begins anyway",
        dry_run = Remedy::Option("dry_run", ""),
        force = Remedy::Option("force", "")
    )]
    NoRoom(NoRoom),
    /// Factors of rows without a scored token.
    #[error(
        "no token of these rows is scored, so the loss has no curvature: look at the template, and at the length after which rows are cut"
    )]
    NothingScored,
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
    /// Something that was asked for and cannot be had.
    #[error("{0}")]
    Refused(String),
    #[error("stopped")]
    Stopped(#[from] Cancelled),
}

impl FactorJobError {
    pub(super) fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }

    /// An error of an inverse of curvature, with the option that helps where eigenvalues have none.
    pub(super) fn of_inverse(error: CurvatureError) -> Self {
        let CurvatureError::Singular { zeros, all, .. } = &error else { return error.into() };
        let of_auto = if zeros == all { " (auto is a fraction of their mean, which is 0 here)" } else { "" };
        let option = Remedy::Option("damping", "");
        Self::Refused(format!("{error}: a {option} above 0 is needed{of_auto}"))
    }

    /// An error of the documents that say what a folder's factors are: of one that cannot be read they may be any.
    pub(super) fn of_begun(folder: &Path, error: FactorError) -> Self {
        match error {
            FactorError::File { path, detail } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let why = format!("cannot be gone on with: {name} cannot be read: {detail}");
                Self::OtherFactors { folder: folder.display().to_string(), why }
            }
            error => error.into(),
        }
    }

    /// Whether the command line is at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Option(_) | Self::Artifact(ArtifactError::Exists(_)) => true,
            Self::Ingest(error) => error.is_usage(),
            _ => false,
        }
    }

    /// Whether factors of something else are in the folder.
    pub(super) fn is_of_other_factors(&self) -> bool {
        match self {
            Self::OtherFactors { .. } => true,
            Self::Other(error) => matches!(error.downcast_ref(), Some(FactorError::OtherArguments { .. })),
            _ => false,
        }
    }
}

impl OutOfMemory for FactorJobError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Batch { why, .. } if why.is_out_of_memory())
    }
}

impl From<IngestError> for FactorJobError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Stopped(stopped) => stopped.into(),
            error => Self::Ingest(Box::new(error)),
        }
    }
}

impl From<SampleError> for FactorJobError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Stopped(stopped) => stopped.into(),
            error => Self::Samples(Box::new(error)),
        }
    }
}

impl From<FactorError> for FactorJobError {
    fn from(error: FactorError) -> Self {
        Self::other(error)
    }
}
