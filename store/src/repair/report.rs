//! Options and report of a repair.

use crate::verify::{AffectedRows, Problem};
use gstore_core::RowSet;
use serde::Serialize;

/// How to repair.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    /// Only says what would be done. Takes no lock, so what it says is of no use while a writer is at work.
    pub dry_run: bool,
    /// The command, for the history; `repair` if empty.
    pub command: String,
    /// Gives up bitmaps of deleted rows that cannot be read: their rows come back.
    pub forget_deletes: bool,
}

/// A rebuilt object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RebuiltObject {
    /// `CURRENT`, `dataset pool`, `segments/3/6f1c.arrow of feature pool/x`, ...
    pub what: String,
    /// From what.
    pub from: String,
}

/// What rows belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LostKind {
    /// Samples of a dataset.
    Samples,
    /// Rows of a feature.
    Feature,
    /// Token counts of an encoding.
    Encoding,
    /// A run.
    Run,
    /// An ensemble.
    Ensemble,
    /// A tag.
    Tag,
    /// Deletes: rows that are live again.
    Deletes,
    /// An artifact.
    Artifact,
}

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Loss {
    /// What kind of thing.
    pub kind: LostKind,
    /// Which rows of what. Without ranges it is not known which ones.
    pub rows: AffectedRows,
    /// The dataset, if it belongs to one.
    pub dataset: Option<String>,
    /// Label of the feature or the encoding.
    pub label: Option<String>,
    /// Number of the feature: others may have its label.
    #[serde(skip)]
    pub(super) number: Option<u32>,
    /// Kind of the feature.
    pub feature_kind: Option<String>,
    /// Its checkpoint.
    pub checkpoint: Option<String>,
    /// Ids of lost samples, as far as the ledger knows them; at most [`Loss::IDS`].
    pub ids: Vec<String>,
    /// How to get it back.
    pub remedy: String,
    /// The command that last added rows to the feature, if the history had it.
    pub command: Option<String>,
}

impl Loss {
    /// No more ids than this are listed.
    pub const IDS: usize = 10_000;

    pub(super) fn new(kind: LostKind, of: &str, rows: &RowSet, remedy: &str) -> Loss {
        Loss {
            kind,
            rows: AffectedRows::new(of, rows),
            dataset: None,
            label: None,
            number: None,
            feature_kind: None,
            checkpoint: None,
            ids: Vec::new(),
            remedy: remedy.to_owned(),
            command: None,
        }
    }
}

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// Whether this only says what would be done.
    pub dry_run: bool,
    /// The snapshot that was repaired; none if it was put together from parts.
    pub base: Option<u64>,
    /// The snapshot that was published, or would be; none if there was nothing to repair.
    pub snapshot: Option<u64>,
    /// The first snapshot of the history from now on, if older ones had to be given up.
    pub history_from: Option<u64>,
    /// Tags of snapshots before that, which can still be read.
    pub tags_before: Vec<String>,
    /// What is wrong, as `verify` says it.
    pub problems: Vec<Problem>,
    /// Rebuilt objects.
    pub rebuilt: Vec<RebuiltObject>,
    /// What is gone, and how to get it back.
    pub lost: Vec<Loss>,
    /// What is still damaged, and what can be done about it.
    pub unrepaired: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl RepairReport {
    /// Whether there was nothing to repair, and nothing is lost.
    pub fn is_sound(&self) -> bool {
        self.snapshot.is_none()
            && self.rebuilt.is_empty()
            && self.lost.is_empty()
            && self.unrepaired.is_empty()
    }

    pub(super) fn rebuilt(&mut self, what: impl Into<String>, from: impl Into<String>) {
        self.rebuilt.push(RebuiltObject { what: what.into(), from: from.into() });
    }

    /// What became of a damaged file: what it was rebuilt from, if there was something.
    pub(super) fn saved(&mut self, what: String, from: Option<String>) {
        match from {
            Some(from) => self.rebuilt(what, from),
            None => self.notes.push(format!("nothing could be saved of {what}")),
        }
    }
}
