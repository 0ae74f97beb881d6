//! Progress and report of a verification.

use crate::error::{Damage, StorageError, is_unreadable};
use gstore_core::{Cancel, RowSet};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The whole history and the tagged snapshots, not only the current one; then files that none of them
    /// refers to are listed as well.
    pub all_snapshots: bool,
    /// Set from outside, it ends the work after the current file, or at once while ids are compared.
    pub cancel: Option<Arc<Cancel>>,
}

/// How far verifying is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Bytes of the files done, and of what was read of the one at hand.
    pub bytes_done: u64,
    /// Bytes there are; those of the current samples twice, as their ids are compared with the index of ids.
    pub bytes_total: u64,
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
    pub(crate) fn new(of: impl Into<String>, rows: &RowSet) -> Self {
        AffectedRows { of: of.into(), count: rows.len(), ranges: rows.pairs() }
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
    /// Whether something else is in the place of the file or folder, which no repair moves away.
    #[serde(skip)]
    pub in_the_way: bool,
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
    /// Files in the store's folders that no gstore made; only with `all_snapshots`.
    pub strangers: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Collects the report and keeps the progress.
pub(crate) struct Tally<'a> {
    progress: &'a mut dyn FnMut(VerifyProgress),
    cancel: Option<Arc<Cancel>>,
    files: u64,
    bytes: (u64, u64),
    pub(super) rows: u64,
    pub(crate) problems: Vec<Problem>,
    /// Files with a problem.
    pub(crate) bad: HashSet<String>,
    /// What the system said first that was not about the medium: too many open files, no
    /// permission, a newer format.
    pub(crate) refused: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(super) unreferenced: Vec<String>,
    pub(super) strangers: Vec<String>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(progress: &'a mut dyn FnMut(VerifyProgress), cancel: Option<Arc<Cancel>>) -> Self {
        Tally {
            progress,
            cancel,
            files: 0,
            bytes: (0, 0),
            rows: 0,
            problems: Vec::new(),
            bad: HashSet::new(),
            refused: None,
            notes: Vec::new(),
            unreferenced: Vec::new(),
            strangers: Vec::new(),
        }
    }

    /// Whether it was cancelled.
    pub(crate) fn stopped(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.is_raised())
    }

    /// Learns how much there is to do, by the lengths of the files.
    pub(super) fn expect(&mut self, lengths: impl Iterator<Item = u64>) {
        self.bytes.1 += lengths.sum::<u64>();
    }

    /// A data file is read next; false if it should not be.
    pub(super) fn next_file(&mut self) -> bool {
        if self.stopped() {
            return false;
        }
        self.read(0);
        true
    }

    /// So many bytes of the file at hand were read.
    pub(super) fn read(&mut self, bytes: u64) {
        (self.progress)(VerifyProgress {
            bytes_done: self.bytes.0.saturating_add(bytes),
            bytes_total: self.bytes.1,
        });
    }

    /// A data file is done.
    pub(super) fn done(&mut self, len: u64) {
        self.files += 1;
        self.bytes.0 += len;
        self.read(0);
    }

    /// Whether a file had a problem.
    pub(crate) fn is_bad(&self, file: &str) -> bool {
        self.bad.contains(file)
    }

    /// Something is wrong with a file.
    pub(crate) fn problem(&mut self, file: &str, e: &StorageError, rows: Option<AffectedRows>) {
        let refused = match e {
            StorageError::Io { source, .. } => !is_unreadable(source),
            StorageError::Newer { .. } | StorageError::NoFile(_) => true,
            _ => false,
        };
        if refused {
            self.refused.get_or_insert_with(|| e.to_string());
        }
        let problem = Problem::new(file, e, rows);
        self.bad.insert(problem.file.clone());
        self.problems.push(problem);
    }

    /// Something else is in the place of a file or folder that only writers need.
    pub(super) fn in_the_way(&mut self, name: &str, wanted: &str, found: &str) {
        let damage = Damage::new(name, "what it is", wanted, found);
        self.bad.insert(name.to_owned());
        self.problems.push(Problem { in_the_way: true, ..Problem::new(name, &damage.into(), None) });
    }

    /// Adds what another one has.
    pub(super) fn take_in(&mut self, other: Tally<'_>) {
        self.problems.extend(other.problems);
        self.bad.extend(other.bad);
        self.notes.extend(other.notes);
        if self.refused.is_none() {
            self.refused = other.refused;
        }
    }

    /// What was found at snapshot `snapshot`, and at `snapshots` of them in all.
    pub(super) fn finish(self, snapshot: u64, snapshots: u64) -> VerifyReport {
        VerifyReport {
            snapshot,
            snapshots,
            files: self.files,
            bytes: self.bytes.0,
            rows: self.rows,
            problems: self.problems,
            notes: self.notes,
            unreferenced: self.unreferenced,
            strangers: self.strangers,
        }
    }
}

impl Problem {
    fn new(file: &str, e: &StorageError, rows: Option<AffectedRows>) -> Problem {
        match e {
            StorageError::Damaged(d) | StorageError::NoFile(d) => Problem {
                file: d.file.clone(),
                what: d.what.clone(),
                offset: d.offset,
                expected: d.expected.clone(),
                found: match e {
                    StorageError::NoFile(_) => format!("{}; move it away before a repair", d.found),
                    _ => d.found.clone(),
                },
                rows,
                in_the_way: matches!(e, StorageError::NoFile(_)),
            },
            StorageError::Io { action, source } => Problem {
                file: file.to_owned(),
                what: format!("could not {action}"),
                offset: None,
                expected: "a readable file".into(),
                found: source.to_string(),
                rows,
                in_the_way: false,
            },
            StorageError::Newer { file, detail } => Problem {
                file: file.clone(),
                what: "format".into(),
                offset: None,
                expected: "a format that this gstore knows".into(),
                found: detail.clone(),
                rows,
                in_the_way: false,
            },
        }
    }
}
