//! Errors: one enum for each family of operations, so that a caller matches only what that call can produce.
//!
//! Invariants
//! - damage names the file, the place, what was expected and what was found; `is_damage` is true for it and for nothing else
//! - a file's name is relative to the store's folder, so a message reads the same wherever the store lies

use crate::ident::RowSet;
use serde::Serialize;
use std::fmt;
use std::io;

/// A file of the store that does not hold what the store says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The file, relative to the store.
    pub file: String,
    /// Which part of it.
    pub what: String,
    /// Where in it, in bytes, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What cannot be read because of it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affected: Option<String>,
}

impl Damage {
    /// Damage of a part of a file.
    pub fn new(
        file: impl Into<String>,
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Damage {
            file: file.into(),
            what: what.into(),
            offset: None,
            expected: expected.to_string(),
            found: found.to_string(),
            affected: None,
        }
    }

    /// The same damage, at a byte.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same damage, with what it takes away.
    pub fn affecting(mut self, affected: impl Into<String>) -> Self {
        self.affected = Some(affected.into());
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged: {}", self.file, self.what)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)?;
        if let Some(affected) = &self.affected {
            write!(f, "\n  {affected}")?;
        }
        f.write_str("\n  run `gstore verify` for the full list of what is affected")
    }
}

/// What can go wrong with any file of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system said no.
    #[error("could not {action}: {source}")]
    Io {
        /// What was being done, with the file's name.
        action: String,
        /// Its answer.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// Written by a newer gstore, in a way that this one cannot read.
    #[error("{file} was written by a newer gstore: {detail}\n  use that version to open this store")]
    Newer {
        /// The file, relative to the store.
        file: String,
        /// Its version or the requirement that is not known here.
        detail: String,
    },
}

impl StorageError {
    /// An error of the operating system while doing `action`.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        StorageError::Io { action: action.into(), source }
    }

    /// Whether a file of the store is damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, StorageError::Damaged(_))
    }

    /// The damage, if that is what it is.
    pub fn damage(&self) -> Option<&Damage> {
        match self {
            StorageError::Damaged(d) => Some(d),
            _ => None,
        }
    }
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> Self {
        StorageError::Damaged(Box::new(damage))
    }
}

macro_rules! from_damage {
    ($($name:ident),*) => {$(
        impl From<Damage> for $name {
            fn from(damage: Damage) -> Self {
                $name::Storage(damage.into())
            }
        }
    )*};
}

from_damage!(OpenError, ReadError, WriteError, AppendError, CommitError, JobError);

/// A store could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is one already.
    #[error("{0} is a store already")]
    Exists(String),
    /// The folder holds something else.
    #[error("{path} is not empty (it holds {found:?}); a new store needs an empty or missing folder")]
    NotEmpty {
        /// The folder.
        path: String,
        /// One of the things in it.
        found: String,
    },
    /// The store there could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A store or one of its snapshots could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing is there.
    #[error("there is no store at {0}\n  `gstore ingest` and `gstore add` make one")]
    NotFound(String),
    /// Something else is there.
    #[error("{0} is not a gstore store: it has no CURRENT file")]
    NotAStore(String),
    /// No snapshot has this number.
    #[error("there is no snapshot {wanted}; the history goes from {oldest} to {newest}")]
    NoSnapshot {
        /// The number asked for.
        wanted: u64,
        /// The first of the history.
        oldest: u64,
        /// The current one.
        newest: u64,
    },
    /// A file could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A name that could not be resolved in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no such thing.
    #[error("there is no {what} {name:?}{}", did_you_mean(.nearest, .known))]
    Unknown {
        /// `dataset`, `run`, `feature`, ...
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// Those there are, when they are few.
        known: Vec<String>,
    },
    /// There are several.
    #[error("{what} {name:?} is ambiguous; it could be\n  {}", .candidates.join("\n  "))]
    Ambiguous {
        /// `feature`, ...
        what: &'static str,
        /// The name asked for.
        name: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
}

fn did_you_mean(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(n) => format!("; did you mean {n:?}?"),
        None if known.is_empty() => "; there are none yet".to_owned(),
        None => format!("; there are {}", known.join(", ")),
    }
}

/// Stored data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The dataset has no such row.
    #[error("dataset {dataset:?} has no row {row}")]
    NoRow {
        /// The dataset.
        dataset: String,
        /// The row.
        row: u64,
    },
    /// The dataset has no such column.
    #[error("dataset {dataset:?} has no column {name:?}{}", did_you_mean(.nearest, .known))]
    NoColumn {
        /// The dataset.
        dataset: String,
        /// The column asked for.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// Those there are.
        known: Vec<String>,
    },
    /// More bytes than one batch can hold.
    #[error("the {rows} rows of {dataset:?} hold more text than one batch can; ask for fewer rows at a time")]
    TooLarge {
        /// The dataset.
        dataset: String,
        /// How many rows were asked for.
        rows: usize,
    },
    /// The block is not one of this reader's.
    #[error("block {block} of segment {segment} does not belong to this reader")]
    NoBlock {
        /// Number of the segment in the reader.
        segment: u32,
        /// Number of the block in the segment.
        block: u32,
    },
    /// A file could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Rows could not be written to a new file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Rows must ascend.
    #[error("row {row} was written after row {last}; the rows of a file ascend")]
    Order {
        /// The row.
        row: u64,
        /// The one before it.
        last: u64,
    },
    /// The vector has another length.
    #[error("row {row} has {found} values, the feature has {expected}")]
    Dim {
        /// The row.
        row: u64,
        /// Coordinates of the feature.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A file without rows.
    #[error("a file needs at least one row")]
    Empty,
    /// An earlier error left the file in an unknown state.
    #[error("an earlier write to {0} failed; the file was abandoned")]
    Poisoned(String),
    /// The job has no feature or encoding of this number, or the writer belongs to another one.
    #[error("the writer does not belong to feature {0} of this job")]
    WrongFeature(usize),
    /// The description cannot be stored.
    #[error("the feature cannot be stored: {0}")]
    Description(String),
    /// The sealed rows overlap those of the job.
    #[error("the job has {rows} already")]
    Overlap {
        /// The rows that both have.
        rows: RowSet,
    },
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Samples could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Two samples of one append have the same id.
    #[error("id {id:?} occurs twice with different content")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// The dataset has the id with other content.
    #[error(
        "id {id:?} is in dataset {dataset:?} already (row {row}) with different content\n  keep the stored sample by asking for it, or use a new id"
    )]
    Changed {
        /// The dataset.
        dataset: String,
        /// The id.
        id: String,
        /// The row that has it.
        row: u64,
    },
    /// A value does not fit its column.
    #[error(
        "column {column:?} of dataset {dataset:?} holds {expected}, {found} does not fit\n  to store the column as text: --column {column}:utf8"
    )]
    ColumnType {
        /// The dataset.
        dataset: String,
        /// The column.
        column: String,
        /// Its type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Two columns have the same key.
    #[error("the columns of an append need different keys; {0:?} occurs twice")]
    DuplicateColumn(String),
    /// A sample has more or fewer values than there are columns.
    #[error("sample {id:?} has {found} metadata values, the append has {expected} columns")]
    ColumnCount {
        /// The sample.
        id: String,
        /// Number of columns.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// An id that is empty or very long.
    #[error("an id of {0} bytes cannot be stored; ids have 1 to 65535 bytes")]
    IdLength(usize),
    /// An earlier error left the append in an unknown state.
    #[error("an earlier write of this append failed; nothing of it was stored")]
    Poisoned,
    /// The current snapshot could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stored samples could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A change could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Rows appeared while the job ran.
    #[error(
        "feature {feature} has {rows} already; another job published them meanwhile, so nothing was changed"
    )]
    Overlap {
        /// The feature's label.
        feature: String,
        /// The rows that both have.
        rows: RowSet,
    },
    /// The dataset went away or never was.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A segment names rows that the dataset does not have.
    #[error("feature {feature} has rows up to {end}, dataset {dataset:?} ends at {next_row}")]
    BeyondDataset {
        /// The feature's label.
        feature: String,
        /// The dataset.
        dataset: String,
        /// One past the last row of the new segments.
        end: u64,
        /// One past the last row of the dataset.
        next_row: u64,
    },
    /// The run has this checkpoint name for other weights.
    #[error(
        "run {run:?} has {name:?} as checkpoint {stored} already, this one is {given}\n  give the run another name"
    )]
    RunConflict {
        /// The run.
        run: String,
        /// The checkpoint's name.
        name: String,
        /// Its id in the store.
        stored: String,
        /// The id given.
        given: String,
    },
    /// A feature cannot be changed as asked.
    #[error("feature {feature} cannot be extended: {detail}")]
    Mismatch {
        /// The feature's label.
        feature: String,
        /// What differs.
        detail: String,
    },
    /// The medium reported an error at the commit point itself.
    #[error("snapshot {snapshot} was written, but whether it survives a loss of power is not known: {source}\n  {}", if *.visible {"it is the current one"} else {"it is not the current one"})]
    Unclear {
        /// The snapshot's number.
        snapshot: u64,
        /// Whether `CURRENT` names it.
        visible: bool,
        /// What the medium said.
        source: StorageError,
    },
    /// The samples of an append could not be finished.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The sealed files could not be finished.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The current snapshot could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Stored data could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A job could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A live job writes one of the features.
    #[error(
        "feature {feature} is being written by another process (job {job}, process {pid}); wait for it or stop it"
    )]
    Busy {
        /// The feature's label.
        feature: String,
        /// The other job.
        job: String,
        /// Its process.
        pid: u32,
    },
    /// A description that cannot be stored.
    #[error("feature {feature} cannot be stored: {detail}")]
    Description {
        /// The feature's label.
        feature: String,
        /// What is wrong.
        detail: String,
    },
    /// A feature in the store has other attributes.
    #[error("feature {feature} is in the store with different attributes: {detail}")]
    Mismatch {
        /// The feature's label.
        feature: String,
        /// What differs.
        detail: String,
    },
    /// A dataset is not known.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The current snapshot could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A store could not be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No snapshot could be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

macro_rules! is_damage {
    ($($name:ident => |$e:ident| $($variant:pat => $result:expr),+;)*) => {$(
        impl $name {
            /// Whether the cause is a damaged file of the store.
            pub fn is_damage(&self) -> bool {
                match self {
                    $($variant => $result,)+
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
        }
    )*};
}

is_damage! {
    CreateError => |e| CreateError::Open(e) => e.is_damage(), CreateError::Storage(e) => e.is_damage();
    OpenError => |e| OpenError::Storage(e) => e.is_damage();
    ReadError => |e| ReadError::Storage(e) => e.is_damage();
    WriteError => |e| WriteError::Storage(e) => e.is_damage();
    AppendError => |e| AppendError::Open(e) => e.is_damage(), AppendError::Read(e) => e.is_damage(), AppendError::Storage(e) => e.is_damage();
    CommitError => |e| CommitError::Append(e) => e.is_damage(), CommitError::Write(e) => e.is_damage(), CommitError::Open(e) => e.is_damage(),
        CommitError::Read(e) => e.is_damage(), CommitError::Storage(e) => e.is_damage(), CommitError::Unclear { source, .. } => source.is_damage();
    JobError => |e| JobError::Open(e) => e.is_damage(), JobError::Storage(e) => e.is_damage();
    VerifyError => |e| VerifyError::Open(e) => e.is_damage();
}
