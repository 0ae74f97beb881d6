//! Errors of changing a store.

use super::{ConcurrentChange, StorageError, StoreError};
use gstore_core::{Cancelled, Remedy, RowSet};
use std::fmt;

/// How a record differs from the stored one of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordDifference {
    /// By a carriage return at its end alone.
    InLineEnd,
    /// By the spelling of the same JSON alone.
    InSpelling,
    /// In its content, or there is no record to compare.
    Otherwise,
}

impl fmt::Display for RecordDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InLineEnd => " (only the end of its line differs: one of the two files has CRLF)",
            Self::InSpelling => {
                " (only the spelling of the JSON differs, in blanks, escapes, keys that are null or their order: \
                 as between JSON lines and a table of the same rows)"
            }
            Self::Otherwise => "",
        })
    }
}

/// Samples could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Two samples of one append have the same id.
    #[error(
        "id {id:?} occurs twice with different content; ids are unique in a dataset ({} keeps the first of each)",
        Remedy::Option("duplicates", "first")
    )]
    DuplicateId { id: String },
    #[error(
        "id {id:?} is in dataset {dataset:?} already (row {row}) with different content{differs}\n  `{}` keeps the stored sample, `{}` deletes it and adds the new one;\n  or give the new one an id of its own",
        Remedy::Option("if_changed", "keep"),
        Remedy::Option("if_changed", "replace")
    )]
    Changed { dataset: String, id: String, row: u64, differs: RecordDifference },
    #[error(
        "column {column:?} of dataset {dataset:?} holds {expected}, {found} does not fit\n  to store the column as text: {}",
        Remedy::Option("column", &format!("{column}:utf8"))
    )]
    ColumnType { dataset: String, column: String, expected: String, found: String },
    #[error(
        "column {column:?} of dataset {dataset:?} would become float, and holds {value} in row {row} (a float would round it)\n  to keep it, as text: {}; to round it: {}",
        Remedy::Option("column", &format!("{column}:utf8")),
        Remedy::Option("column", &format!("{column}:float"))
    )]
    Rounded { dataset: String, column: String, row: u64, value: i64 },
    #[error("the columns of an append need different keys; {0:?} occurs twice")]
    DuplicateColumn(String),
    #[error("sample {id:?} has {found} metadata values, the append has {expected} columns")]
    ColumnCount { id: String, expected: usize, found: usize },
    #[error("{name:?} is the name of a view; a dataset needs another one")]
    View { name: String },
    /// An id that is empty or very long.
    #[error("an id of {0} bytes cannot be stored; ids have 1 to 65535 bytes")]
    IdLength(usize),
    /// An earlier error left the append in an unknown state.
    #[error("an earlier write of this append failed; nothing was stored")]
    Poisoned,
    #[error(transparent)]
    Store(StoreError),
}

/// A change could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Rows appeared while the job ran.
    #[error(
        "feature {feature} has {rows} already; another job published them in the meantime, so nothing was changed"
    )]
    Overlap { feature: String, rows: RowSet },
    #[error("feature {feature} has rows up to {end}, dataset {dataset:?} ends at {next_row}")]
    BeyondDataset { feature: String, dataset: String, end: u64, next_row: u64 },
    #[error(
        "run {run:?} has {name:?} as checkpoint {stored} already, this one is {given}\n  give the run another name"
    )]
    RunConflict { run: String, name: String, stored: String, given: String },
    #[error(
        "run {run:?} has the checkpoint {name:?} already, as {stored:?}\n  use that name, or give the run another name"
    )]
    CheckpointTwice { run: String, name: String, stored: String },
    /// A step or weight of a checkpoint that differs from the one that its run has.
    #[error(
        "`{what}` is {given}, but that of checkpoint {name:?} of run {run:?} is {stored}, and an upload does not change it; leave `{what}` out, or name another checkpoint"
    )]
    CheckpointValue { what: &'static str, given: String, run: String, name: String, stored: String },
    #[error(
        "{name:?} cannot name a run: a name is a text of 1 to {longest} bytes without `/` and control characters, and not `.` or `..`"
    )]
    RunName { name: String, longest: usize },
    #[error(
        "{name:?} cannot name an ensemble or a member: a name is a text of 1 to {longest} bytes without control characters"
    )]
    EnsembleName { name: String, longest: usize },
    #[error(
        "ensemble {ensemble:?} has models of {stored}, these are of {given}\n  give the ensemble another name; {} removes the one that is stored, with its losses",
        Remedy::DropEnsemble(ensemble)
    )]
    EnsembleBase { ensemble: String, stored: String, given: String },
    #[error(
        "ensemble {ensemble:?} has a member {member:?} already, with another {what}\n  give this one another id, or the ensemble another name; {} removes the one that is stored, with its losses",
        Remedy::DropEnsemble(ensemble)
    )]
    MemberConflict { ensemble: String, member: String, what: &'static str },
    /// A feature cannot be changed as asked.
    #[error("feature {feature} cannot be extended: {detail}")]
    Mismatch { feature: String, detail: String },
    /// A new feature has the label of another one, which was published since the write began.
    #[error(
        "dataset {dataset:?} got another feature {label} in the meantime, in a space of its own, so nothing was changed; repeat the write to add to that feature, or give this one another label"
    )]
    LabelTaken { label: String, dataset: String },
    /// The medium reported an error at the commit point itself.
    #[error("snapshot {snapshot} was written, but whether it survives a loss of power is not known: {source}\n  {}", if *.visible {"it is the current one"} else {"it is not the current one"})]
    Unclear {
        snapshot: u64,
        /// Whether `CURRENT` names it.
        visible: bool,
        source: StorageError,
    },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(StoreError),
}

impl CommitError {
    /// Whether `CURRENT` may name what was to be published. If not, nothing refers to its files: they may go.
    pub(crate) fn is_unclear(&self) -> bool {
        matches!(self, CommitError::Unclear { .. })
    }
}

/// The key of a write is used otherwise, or is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error(
        "the key {key:?} was used for other content of dataset {dataset:?}, in snapshot {snapshot}; take another key for another write"
    )]
    Used { key: String, dataset: String, snapshot: u64 },
    /// It is too long, empty, or has characters that cannot be shown.
    #[error("a key is a text of 1 to 128 bytes without control characters")]
    Form,
}

/// A job could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    #[error(
        "feature {feature} is being written by another process (job {job}, process {pid}); wait for it or stop it"
    )]
    Busy { feature: String, job: String, pid: u32 },
    #[error("feature {feature} cannot be stored: {detail}")]
    Description { feature: String, detail: String },
    #[error("feature {feature} is in the store with different attributes: {detail}")]
    Mismatch { feature: String, detail: String },
    /// What was planned on is not there any more.
    #[error("{0}; run the command again")]
    Changed(#[from] ConcurrentChange),
    /// While it looked at the files of an interrupted job, which are all there still.
    #[error("stopped; what is sealed is kept")]
    Stopped(#[from] Cancelled),
    #[error(transparent)]
    Store(StoreError),
}
