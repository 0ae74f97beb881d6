//! State of an index: usable, missing or stale.

use super::file::IndexFile;
use gstore_core::Remedy;
use std::fmt;

/// An index of a segment, as it was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum IndexState {
    /// It is there and of this segment.
    Ready(Box<IndexFile>),
    /// There is none.
    Missing,
    /// It was built from another state of the segment. Counts as missing; a build replaces it.
    Stale(StaleIndex),
}

impl IndexState {
    /// The index, if it can be used.
    pub(super) fn ready(self) -> Option<IndexFile> {
        match self {
            IndexState::Ready(file) => Some(*file),
            IndexState::Missing | IndexState::Stale(_) => None,
        }
    }
}

/// Why an index is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleIndex {
    /// The file, relative to the store.
    pub file: String,
    /// Digest of the segment's footer.
    pub expected: String,
    /// The one that the index was built from.
    pub found: String,
}

impl fmt::Display for StaleIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StaleIndex { file, expected, found } = self;
        write!(
            f,
            "{file} is stale and not used: it was made of a segment with digest {found}, and the one there has {expected}; {} rebuilds it",
            Remedy::INDEX
        )
    }
}
