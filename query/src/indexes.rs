//! Common parts of sketches and graphs: each is an index of one segment, verified by its own digests only.

use gstore_core::Remedy;
use gstore_store::{ReadError, StorageError};

/// Bytes that are compared with a digest together: small records, single codes, vectors and nodes are read.
pub(crate) const CHUNK: u64 = 64 << 10;

/// State of a segment's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStatus {
    /// A file that fits, by its footer; its sections were not read.
    Usable,
    /// A file that is damaged, or of another state of the segment: a build replaces it.
    Unusable,
    /// Nothing.
    Missing,
}

/// What a build of a feature's indexes has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexProgress {
    /// Vectors that were coded, and those of graphs that are made, linked or left out; of a graph that is being
    /// made, half of those that are linked and half of those that were looked for in it.
    pub done: u64,
    /// Vectors of segments whose index was there already.
    pub kept: u64,
    /// Vectors of the feature.
    pub vectors: u64,
    /// Vectors that graphs leave out: they have no direction. A sketch has all.
    pub left_out: u64,
    /// Bytes of the files that were written.
    pub bytes: u64,
}

/// Why an index of a feature cannot be used, and what to do; in one line, since it is a note of an answer.
pub(crate) fn unusable(error: &ReadError, kind: &str, feature: &str) -> String {
    let why = match error {
        ReadError::Storage(StorageError::Damaged(damage)) => {
            format!("{} is damaged ({}) and not used", damage.file, damage.what)
        }
        other => other.to_string().replace("\n  ", "; "),
    };
    // Whatever is found here, a build finds as well.
    format!("{why}; {} rebuilds it", Remedy::Index { kind, feature, rebuild: false })
}
