//! References to the blocks and segments of a feature.

use super::file::SegmentFile;
use super::footer::BlockInfo;
use crate::manifest::SegmentEntry;
use gstore_core::{CELL_ROWS, Digest};
use std::ops::Range;
use uuid::Uuid;

/// A block of a [`FeatureReader`](super::FeatureReader).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    pub(super) segment: u32,
    pub(super) block: u32,
    pub(super) first: u64,
    end: u64,
    rows: u32,
    vectors: u32,
}

impl BlockRef {
    pub(super) fn new(segment: usize, block: usize, info: &BlockInfo) -> Self {
        BlockRef {
            segment: segment as u32,
            block: block as u32,
            first: info.first,
            end: info.end,
            rows: info.rows as u32,
            vectors: info.vectors as u32,
        }
    }

    /// The place of its segment in [`FeatureReader::segments`](super::FeatureReader::segments).
    pub fn segment(&self) -> usize {
        self.segment as usize
    }

    /// Its place in its segment.
    pub fn place(&self) -> usize {
        self.block as usize
    }

    /// The range of its rows.
    pub fn range(&self) -> Range<u64> {
        self.first..self.end
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Number of vectors: that of rows, or of their tokens.
    pub fn vectors(&self) -> usize {
        self.vectors as usize
    }

    /// Whether it has a vector for every row of its range.
    pub fn is_dense(&self) -> bool {
        self.end - self.first == u64::from(self.rows)
    }

    /// Its cell.
    pub fn cell(&self) -> u64 {
        self.first / CELL_ROWS
    }
}

/// A segment of a [`FeatureReader`](super::FeatureReader). It never changes: what is computed from it holds
/// for as long as it is there.
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

    /// Its place in [`FeatureReader::segments`](super::FeatureReader::segments), which is
    /// [`BlockRef::segment`] of its blocks.
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
