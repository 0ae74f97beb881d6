//! What verifying says while it works and when it is done.

use super::catalog::Catalog;
use crate::error::StorageError;
use crate::ident::RowSet;
use serde::Serialize;

/// What to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyOptions {
    /// All snapshots that the chain of parents reaches, not only the current one; then files that none of them refers to
    /// are listed as well.
    pub all_snapshots: bool,
}

/// How far verifying is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The file that is read next.
    pub file: String,
    /// Files done.
    pub files_done: u64,
    /// Files there are.
    pub files_total: u64,
    /// Bytes of the files done.
    pub bytes_done: u64,
    /// Bytes there are.
    pub bytes_total: u64,
    /// Problems so far.
    pub problems: u64,
}

/// Rows that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AffectedRows {
    /// `dataset pool`, `feature pool/grad-adam@checkpoint-112`, `encoding 1 of dataset pool`.
    pub of: String,
    /// How many.
    pub count: u64,
    /// Which, as [first, one past the last].
    pub ranges: Vec<[u64; 2]>,
}

impl AffectedRows {
    pub(super) fn new(of: impl Into<String>, rows: &RowSet) -> Self {
        AffectedRows {
            of: of.into(),
            count: rows.len(),
            ranges: rows.ranges().iter().map(|r| [r.start, r.end]).collect(),
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file, relative to the store.
    pub file: String,
    /// Which part of it.
    pub what: String,
    /// Where in it, in bytes.
    pub offset: Option<u64>,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What cannot be read because of it.
    pub rows: Option<AffectedRows>,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Number of the current snapshot.
    pub snapshot: u64,
    /// How many snapshots were looked at.
    pub snapshots: u64,
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of segments whose checks were recomputed, and samples.
    pub rows: u64,
    /// What is wrong. Empty: the store is sound.
    pub problems: Vec<Problem>,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
    /// Files that no snapshot refers to; only with `all_snapshots`.
    pub unreferenced: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Collects the report and keeps the progress.
pub(super) struct Tally<'a> {
    progress: &'a mut dyn FnMut(VerifyProgress),
    files: (u64, u64),
    bytes: (u64, u64),
    pub(super) rows: u64,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
    pub(super) unreferenced: Vec<String>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(progress: &'a mut dyn FnMut(VerifyProgress)) -> Self {
        Tally {
            progress,
            files: (0, 0),
            bytes: (0, 0),
            rows: 0,
            problems: Vec::new(),
            notes: Vec::new(),
            unreferenced: Vec::new(),
        }
    }

    /// Learns how much there is to do.
    pub(super) fn expect(&mut self, catalog: &Catalog) {
        for len in catalog.lengths() {
            self.files.1 += 1;
            self.bytes.1 += len;
        }
    }

    /// A data file is read next.
    pub(super) fn file(&mut self, name: &str) {
        (self.progress)(VerifyProgress {
            file: name.to_owned(),
            files_done: self.files.0,
            files_total: self.files.1,
            bytes_done: self.bytes.0,
            bytes_total: self.bytes.1,
            problems: self.problems.len() as u64,
        });
    }

    /// A data file is done.
    pub(super) fn done(&mut self, len: u64) {
        self.files.0 += 1;
        self.bytes.0 += len;
    }

    /// Something is wrong with a file.
    pub(super) fn problem(&mut self, file: &str, e: &StorageError, rows: Option<AffectedRows>) {
        self.problems.push(match e {
            StorageError::Damaged(d) => Problem {
                file: d.file.clone(),
                what: d.what.clone(),
                offset: d.offset,
                expected: d.expected.clone(),
                found: d.found.clone(),
                rows,
            },
            StorageError::Io { action, source } => Problem {
                file: file.to_owned(),
                what: format!("could not {action}"),
                offset: None,
                expected: "a readable file".into(),
                found: source.to_string(),
                rows,
            },
            StorageError::Newer { file, detail } => Problem {
                file: file.clone(),
                what: "format".into(),
                offset: None,
                expected: "a format that this gstore knows".into(),
                found: detail.clone(),
                rows,
            },
        });
    }

    pub(super) fn finish(self, catalog: &Catalog) -> VerifyReport {
        VerifyReport {
            snapshot: catalog.current.snapshot,
            snapshots: catalog.snapshots,
            files: self.files.0,
            bytes: self.bytes.0,
            rows: self.rows,
            problems: self.problems,
            notes: self.notes,
            unreferenced: self.unreferenced,
        }
    }
}
