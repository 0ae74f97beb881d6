//! Common parts of sketches and graphs: each is an index of one segment, verified by its own digests only.

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
