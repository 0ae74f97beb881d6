//! Options and outcome of a compaction.

use gstore_core::Cancel;
use serde::Serialize;
use std::sync::Arc;

/// How a store is compacted.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// The command, for the history.
    pub command: String,
    /// Size that files should have. One that has at least half of it is left alone, unless too many of its
    /// rows are dead. Sample files have at most 1 GiB all the same, and segments are merged while their
    /// footers have at most 64 MiB together.
    pub target_bytes: u64,
    /// A file with a greater share of rows that are not live is written again, however large it is.
    pub max_dead_share: f64,
    /// Only these datasets, with their features. With neither datasets nor features: everything.
    pub datasets: Vec<String>,
    /// Only these features.
    pub features: Vec<String>,
    /// Set to true from outside, it makes the call publish what it has and return.
    pub cancel: Option<Arc<Cancel>>,
}

impl CompactOptions {
    /// Whether the call is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.is_raised())
    }
}

impl Default for CompactOptions {
    fn default() -> Self {
        CompactOptions {
            command: "compact".into(),
            target_bytes: 256 << 20,
            max_dead_share: 0.2,
            datasets: Vec::new(),
            features: Vec::new(),
            cancel: None,
        }
    }
}

/// How far compacting is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// The current dataset or feature.
    pub of: String,
    /// Bytes of files that were read.
    pub bytes_done: u64,
    /// Bytes of files to read.
    pub bytes_total: u64,
}

/// Outcome for a dataset or feature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactedPart {
    /// `dataset pool`, `feature pool/grad-adam@checkpoint-112`.
    pub of: String,
    /// Files that were replaced.
    pub files_before: u64,
    /// Files that replaced them.
    pub files_after: u64,
    /// Bytes of the former.
    pub bytes_before: u64,
    /// Bytes of the latter.
    pub bytes_after: u64,
    /// Rows that were in the former, not as shells, and are not in the latter, or only as shells.
    pub rows_dropped: u64,
}

impl CompactedPart {
    /// Adds what became of other files.
    fn add(&mut self, other: &Self) {
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.rows_dropped += other.rows_dropped;
    }
}

/// Files that were left as they are, because one of them cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkippedFiles {
    /// `dataset pool`, `feature pool/grad-adam@checkpoint-112`.
    pub of: String,
    /// The files, relative to the store.
    pub files: Vec<String>,
    /// What is wrong.
    pub reason: String,
}

/// What compacting did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Nothing was changed: this is what would happen, with sizes of new files about those of the rows in
    /// them and of what a file has besides. Small files compress better as one, which no footer tells.
    pub dry_run: bool,
    /// The last snapshot that was published; `None` if there was nothing to do.
    pub snapshot: Option<u64>,
    /// Datasets and features that changed.
    pub changed: Vec<CompactedPart>,
    /// Groups of files that could not be read.
    pub skipped: Vec<SkippedFiles>,
    /// Groups of files whose new files were not used, because the old ones were replaced or dropped
    /// meanwhile.
    pub discarded: u64,
    /// Whether it was stopped before the end.
    pub stopped: bool,
    /// All of `changed` together.
    pub files_before: u64,
    /// All of `changed` together.
    pub files_after: u64,
    /// All of `changed` together.
    pub bytes_before: u64,
    /// All of `changed` together.
    pub bytes_after: u64,
    /// All of `changed` together.
    pub rows_dropped: u64,
}

impl CompactReport {
    /// Adds what a commit did.
    pub(super) fn add(&mut self, part: CompactedPart) {
        self.files_before += part.files_before;
        self.files_after += part.files_after;
        self.bytes_before += part.bytes_before;
        self.bytes_after += part.bytes_after;
        self.rows_dropped += part.rows_dropped;
        match self.changed.iter_mut().find(|c| c.of == part.of) {
            Some(known) => known.add(&part),
            None => self.changed.push(part),
        }
    }
}
