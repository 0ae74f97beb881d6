//! Errors of reading and writing data files.

use super::catalog::did_you_mean;
use super::{LookupError, OpenError, StorageError};
use gstore_core::RowSet;
use std::ops::Range;
use uuid::Uuid;

/// Stored data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("dataset {dataset:?} has no row {row}")]
    NoRow { dataset: String, row: u64 },
    #[error("dataset {dataset:?} has no column {name:?}{}", did_you_mean(.nearest, .known))]
    NoColumn { dataset: String, name: String, nearest: Option<String>, known: Vec<String> },
    #[error("the {rows} rows of {dataset:?} hold more text than one batch can; ask for fewer rows at a time")]
    TooLarge { dataset: String, rows: usize },
    /// One vector was asked for where a row has several.
    #[error("{feature} has a vector for each scored token, not one for each row")]
    PerToken {
        /// The feature, as `dataset/label`.
        feature: String,
    },
    #[error("block {block} of segment {segment} does not belong to this reader")]
    NoBlock { segment: u32, block: u32 },
    #[error("segment {segment} does not belong to this reader")]
    NoSegment { segment: Uuid },
    /// The index has no such section.
    #[error("{file} has no section {name:?}; it has {}", .known.join(", "))]
    NoSection { file: String, name: String, known: Vec<String> },
    #[error("artifact {artifact} has no file {name:?}{}", files_known(.known))]
    NoFile { artifact: String, name: String, known: Vec<String> },
    #[error("bytes {}..{} of section {section} of {file} were asked for; it has {len}", .range.start, .range.end)]
    NoRange { file: String, section: String, range: Range<u64>, len: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The files that an artifact has, as the end of a message.
fn files_known(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("; it has {}", known.join(", ")),
    }
}

/// What any operation on a store can fail with, besides what is its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Rows could not be written to a new file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    #[error("row {row} was written after row {last}; the rows of a file ascend")]
    Order { row: u64, last: u64 },
    #[error("position {pos} of row {row} was written after position {last}; the positions of a row ascend")]
    Position { row: u64, pos: u32, last: u32 },
    #[error("row {row} has {found} values, the feature has {expected}")]
    Dim { row: u64, expected: usize, found: usize },
    #[error("a file needs at least one row")]
    Empty,
    /// An earlier error left the file in an unknown state.
    #[error("an earlier write to {0} failed; the file was abandoned")]
    Poisoned(String),
    /// No reader would open the file.
    #[error(
        "{name} has {blocks} blocks, whose footer would take {bytes} bytes, more than the {limit} that readers \
         take; put fewer rows into a file"
    )]
    Footer { name: String, blocks: usize, bytes: u64, limit: u64 },
    #[error("the writer does not belong to feature {0} of this job")]
    WrongFeature(usize),
    #[error("file {0} of token counts does not belong to this job")]
    WrongEncoding(Uuid),
    #[error("the feature cannot be stored: {0}")]
    Description(String),
    /// The sealed rows overlap those of the job.
    #[error("the job has {rows} already")]
    Overlap { rows: RowSet },
    #[error(transparent)]
    Storage(#[from] StorageError),
}
