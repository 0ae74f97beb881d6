//! Indexes of a store's segments: starting one.

use super::Store;
use crate::error::IndexError;
use crate::index::IndexWriter;
use crate::segment::SegmentRef;

impl Store {
    /// Starts an index of a segment, of some kind: 1 to 32 of `a-z` and `0-9`. Publishes nothing; the index
    /// counts from the moment it is finished, for every snapshot that has the segment. One that is there
    /// already is replaced. Several may be built at once.
    ///
    /// A build holds a lease, as every long reader does: segments that are collected
    /// meanwhile cannot get an index.
    ///
    /// # Errors
    /// A segment that is not in the store any more; a store that cannot be written.
    pub fn write_index(&self, segment: &SegmentRef, kind: &str) -> Result<IndexWriter, IndexError> {
        IndexWriter::create(self.env(), segment, kind)
    }
}
