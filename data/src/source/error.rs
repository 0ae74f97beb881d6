//! Errors of reading training data.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::{Path, PathBuf};

use gstore_core::many;

use super::super::jsonl::ReadError;
use super::Place;
use super::format::conversion_hint;

/// What is understood, for errors and help.
pub(crate) const UNDERSTOOD: &str = ".jsonl .ndjson .json (one object a line, or one list), .parquet, .arrow .feather .ipc, .csv .tsv, each also with .gz or .zst; \
     folders of them; datasets saved by save_to_disk";

/// Why training data cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    #[error("{pattern}: there is no such file or folder{}", if *glob { ", and nothing matches it as a pattern" } else { "" })]
    Missing {
        pattern: String,
        /// Whether it was also tried as a pattern.
        glob: bool,
    },
    #[error("{pattern}: not a pattern: {message}")]
    Pattern { pattern: String, message: String },
    #[error("{}: the folder has no data files; supported: {UNDERSTOOD}", .0.display())]
    EmptyFolder(PathBuf),
    #[error("{}: a saved dataset without rows; save it again with those that it should have", .0.display())]
    NoRows(PathBuf),
    #[error("{}: a pipe or a device can be read only once; write what it gives to a file, and name that", .0.display())]
    NoFile(PathBuf),
    #[error("{}: unknown format; supported: {UNDERSTOOD}{}", .0.display(), conversion_hint(.0))]
    Unknown(PathBuf),
    #[error("{}: named twice", .0.display())]
    Twice(PathBuf),
    #[error(
        "{}: a saved dataset with the splits {}; name one, for example {}",
        path.display(), splits.join(", "), path.join(splits.first().map_or("train", String::as_str)).display()
    )]
    Splits { path: PathBuf, splits: Vec<String> },
    #[error("{}: not the description of a saved dataset: {message}", path.display())]
    Saved { path: PathBuf, message: String },
    /// Opening or listing; the error names the path.
    #[error(transparent)]
    Open(#[from] std::io::Error),
    #[error(transparent)]
    Lines(#[from] ReadError),
    #[error("{}{}: {message}", path.display(), place.as_ref().map(|p| format!(", {p}")).unwrap_or_default())]
    Damaged {
        path: PathBuf,
        /// Where, if that is known.
        place: Option<Place>,
        message: String,
    },
    #[error("{}, {place}: {}, and the header has {header}; is a quote or a line missing?", place.file.display(), many(*fields as u64, "field"))]
    FieldCount {
        place: Place,
        fields: usize,
        header: usize,
        /// Whether it stands on one line, so that it is certain where the next begins.
        is_line: bool,
    },
    /// A value that a record cannot hold.
    #[error("{}, {place}, column {column:?}: {message}", place.file.display())]
    Value {
        place: Place,
        /// The column, with the path to a nested value.
        column: String,
        message: String,
    },
}

impl DataError {
    pub(super) fn damaged(path: &Path, place: Option<Place>, message: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), place, message: message.into() }
    }

    /// Whether one record is at fault, and the next may be read.
    pub fn is_of_record(&self) -> bool {
        match self {
            Self::Lines(error) => error.is_of_line(),
            Self::FieldCount { is_line, .. } => *is_line,
            _ => false,
        }
    }
}
