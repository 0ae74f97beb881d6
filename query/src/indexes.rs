//! What sketches and graphs have in common: each is an index beside a segment, vouched for by nothing but itself.

/// Bytes that are compared with a digest together: small records, single codes, vectors and nodes are read.
pub(crate) const CHUNK: u64 = 64 << 10;

/// What there is of an index of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A file that fits, by its footer; its sections were not read.
    Usable,
    /// A file that is damaged, or of another state of the segment: a build makes it anew.
    Unusable,
    /// Nothing.
    Missing,
}
