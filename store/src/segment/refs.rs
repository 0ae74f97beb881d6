//! References to the segments of a feature, for index builders.

use super::SegmentFile;
use super::feature::{BlockRef, FeatureReader};
use crate::error::ReadError;
use crate::manifest::SegmentEntry;
use gstore_core::Digest;
use std::ops::Range;
use uuid::Uuid;

/// A segment of a [`FeatureReader`]. It never changes: what is computed from it holds for
/// as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRef {
    place: usize,
    uuid: Uuid,
    file: String,
    digest: Digest,
    range: Range<u64>,
    rows: u64,
    vectors: u64,
    bytes: u64,
}

impl SegmentRef {
    pub(super) fn new(place: usize, entry: &SegmentEntry, name: String, file: &SegmentFile) -> Self {
        SegmentRef {
            place,
            uuid: entry.uuid,
            file: name,
            digest: entry.footer_digest,
            range: entry.range(),
            rows: entry.rows,
            vectors: file.blocks.iter().map(|b| b.vectors as u64).sum(),
            bytes: entry.len,
        }
    }

    /// Its name.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its place in [`FeatureReader::segments`], which is [`BlockRef::segment`] of its blocks.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Its file, relative to the store.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Digest of its footer, which holds those of its blocks: equal for equal content.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The range of its rows, deleted ones among them.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Number of rows, deleted ones among them.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of vectors: that of rows, or of their tokens.
    pub fn vectors(&self) -> u64 {
        self.vectors
    }

    /// Length of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl FeatureReader {
    /// Its segments, by first row.
    pub fn segments(&self) -> &[SegmentRef] {
        &self.refs
    }

    /// The blocks of a segment, in the order of its file: rows ascend.
    ///
    /// # Errors
    /// A segment of another reader.
    pub fn blocks_of(&self, segment: &SegmentRef) -> Result<Vec<BlockRef>, ReadError> {
        self.own(segment)?;
        let missing = ReadError::NoSegment { segment: segment.uuid };
        let blocks = self.segments.get(segment.place).ok_or(missing)?.blocks.iter().enumerate();
        Ok(blocks.map(|(b, info)| BlockRef::new(segment.place, b, info)).collect())
    }

    /// Fails for a segment of another reader.
    pub(crate) fn own(&self, segment: &SegmentRef) -> Result<(), ReadError> {
        match self.refs.get(segment.place) {
            Some(own) if own.uuid == segment.uuid => Ok(()),
            _ => Err(ReadError::NoSegment { segment: segment.uuid }),
        }
    }
}
