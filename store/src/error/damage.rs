//! Damage of a file, and what else can go wrong with any file.

use gstore_core::{Remedy, causes, is_full};
use serde::Serialize;
use std::error::Error;
use std::fmt;
use std::io;

/// A file of the store that does not hold what the store says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The file: relative to the store, or its full path if it lies outside of it.
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
    /// What to do about it, where no verification of the store at hand says more.
    #[serde(skip)]
    way: Option<String>,
}

impl Damage {
    /// Damage of a part of a file.
    pub fn new(
        file: impl Into<String>,
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::of(file.into(), what.into(), [&expected, &found])
    }

    fn of(file: String, what: String, [expected, found]: [&dyn fmt::Display; 2]) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Damage { file, what, offset: None, expected, found, affected: None, way: None }
    }

    /// The same damage, at a byte.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same damage, with what it takes away.
    pub(crate) fn affecting(mut self, affected: impl Into<String>) -> Self {
        self.affected = Some(affected.into());
        self
    }

    /// The same damage, with what to do about it instead of a verification.
    pub(crate) fn helped_by(mut self, way: impl Into<String>) -> Self {
        self.way = Some(way.into());
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
        match &self.way {
            Some(way) => write!(f, "\n  {way}"),
            None => write!(f, "\n  run {} for the full list of what is affected", Remedy::Verify),
        }
    }
}

impl Error for Damage {}

/// Whether the cause of an error is a damaged file of a store.
pub fn is_of_damage(error: &(dyn Error + 'static)) -> bool {
    // A [`StorageError`] has the box as its source, not what is in it.
    causes(error).any(|cause| cause.is::<Damage>() || cause.is::<Box<Damage>>())
}

/// What can go wrong with any file of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system said no.
    #[error("could not {action}: {source}{}", way_out(source))]
    Io { action: String, source: io::Error },
    /// A file is not what it should be.
    #[error("{0}")]
    Damaged(#[source] Box<Damage>),
    /// A folder, a pipe or a device has the name of a file, which may be somewhere else, unharmed: so no repair
    /// goes on.
    #[error(
        "{0}\n  move what is in its place away; then put the file back, or run {repair} or {restore}",
        repair = Remedy::Repair,
        restore = Remedy::Restore
    )]
    NoFile(#[source] Box<Damage>),
    #[error("{file} was written by a newer gstore: {detail}\n  use that version to open this store")]
    Newer {
        /// The file, relative to the store.
        file: String,
        detail: String,
    },
}

impl StorageError {
    /// An error of the operating system while doing `action`.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        StorageError::Io { action: action.into(), source }
    }

    /// An error of reading a file that should have so many bytes: damage if it is gone, short, longer than
    /// allowed, or no file.
    pub(crate) fn of_file(name: &str, len: u64, source: io::Error) -> Self {
        Self::of_lost(name, &format!("{len} bytes"), None, source)
    }

    /// The same of a file that should have what `expected` says; `affected`: what cannot be read without it.
    pub(crate) fn of_lost(name: &str, expected: &str, affected: Option<String>, source: io::Error) -> Self {
        let damage = |found: &dyn fmt::Display| {
            Box::new(Damage { affected, ..Damage::new(name, "the file", expected, found) })
        };
        match source.kind() {
            io::ErrorKind::IsADirectory => StorageError::NoFile(damage(&source)),
            // The error would have the whole path.
            io::ErrorKind::NotFound => StorageError::Damaged(damage(&"no such file")),
            _ if is_not_whole(&source) => StorageError::Damaged(damage(&source)),
            _ => StorageError::io(format!("read {name}"), source),
        }
    }

    /// Whether no space, or no quota, is left.
    pub fn is_full(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if is_full(source))
    }

    /// Whether a permission is missing.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether a file of the store is damaged.
    pub fn is_damage(&self) -> bool {
        self.damage().is_some()
    }

    /// The damage, if that is what it is.
    pub fn damage(&self) -> Option<&Damage> {
        match self {
            StorageError::Damaged(d) | StorageError::NoFile(d) => Some(d),
            _ => None,
        }
    }
}

/// Whether a file that should be there is gone, short, or longer than allowed: damage, not a failure to read.
fn is_not_whole(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// Whether an error is one of the medium: a file that is gone, short, or in a sector that cannot be read.
pub(crate) fn is_medium(e: &io::Error) -> bool {
    is_not_whole(e) || is_unreadable(e)
}

/// Whether an error is that of a sector that cannot be read: "Input/output error".
pub(crate) fn is_unreadable(e: &io::Error) -> bool {
    // An error that names its file has that of the system as its source.
    let of_system = e.source().and_then(|source| source.downcast_ref::<io::Error>());
    of_system.unwrap_or(e).raw_os_error() == Some(libc::EIO)
}

/// What was found; `None` if it is damaged, or the medium does not give it.
pub(crate) fn if_sound<T>(found: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match found {
        Err(StorageError::Damaged(_)) => Ok(None),
        Err(StorageError::Io { ref source, .. }) if is_medium(source) => Ok(None),
        found => found.map(Some),
    }
}

/// What to do about an error of the operating system, where that is always the same.
fn way_out(e: &io::Error) -> &'static str {
    match e.kind() {
        _ if is_full(e) => {
            "\n  the disk is full; completed work is safe: free some space there and run the same command again"
        }
        io::ErrorKind::IsADirectory => {
            "\n  move what is in the place of this file away, and run the same command again"
        }
        _ => "",
    }
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> Self {
        StorageError::Damaged(Box::new(damage))
    }
}
