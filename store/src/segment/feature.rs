//! A feature open for reading: all its segments in one snapshot, as blocks by cell.

use super::BlockBuffer;
use super::block::{Block, StoredRow};
use super::bounds::BlockBounds;
use super::file::{SegmentBlock, SegmentFile};
use super::layout::SegmentShape;
use super::refs::{BlockRef, SegmentRef};
use super::shared::SharedBlock;
use crate::error::ReadError;
use crate::layout::{Env, segment_file};
use crate::manifest::FeaturePart;
use gstore_core::{CELL_ROWS, Digest, Granularity, RowSet};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

impl FeaturePart {
    /// More vectors than its files can hold, from their lengths and what one vector takes in all columns;
    /// near what they do hold. Of vectors that belong to tokens the catalog knows no number.
    pub fn most_vectors(&self) -> u64 {
        let blocks =
            self.segments.iter().fold(0u64, |n, s| n.saturating_add(s.len.saturating_sub(s.tail_len)));
        blocks / (SegmentShape::new(&self.desc, &self.attrs).vector_bytes() as u64).max(1)
    }
}

/// When blocks are compared with their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checks {
    /// When a reader first touches a block.
    #[default]
    FirstTouch,
    /// Never: blocks come from the map at once, and damaged ones give wrong numbers.
    Off,
}

/// All segments of a feature in a snapshot. Opening it reads the footers only; it can be
/// shared between threads.
#[derive(Debug)]
pub struct FeatureReader {
    part: Arc<FeaturePart>,
    pub(super) segments: Vec<Arc<SegmentFile>>,
    /// What is said of them.
    pub(super) refs: Vec<SegmentRef>,
    /// By cell, then by first row.
    index: Vec<BlockRef>,
    /// Live rows of the dataset.
    live: Arc<RowSet>,
    pub(super) checks: Checks,
    /// Where their indexes are.
    pub(crate) env: Arc<Env>,
}

impl FeatureReader {
    pub(crate) fn new(
        env: Arc<Env>,
        part: Arc<FeaturePart>,
        segments: Vec<Arc<SegmentFile>>,
        live: Arc<RowSet>,
        checks: Checks,
    ) -> Self {
        let mut index: Vec<BlockRef> = Vec::new();
        for (s, segment) in segments.iter().enumerate() {
            for (b, info) in segment.blocks.iter().enumerate() {
                index.push(BlockRef::new(s, b, info));
            }
        }
        index.sort_by_key(|b| (b.first, b.segment));
        let files = part.segments.iter().zip(&segments).enumerate();
        let refs = files
            .map(|(s, (entry, file))| SegmentRef::new(s, entry, segment_file(part.number, entry.uuid), file))
            .collect();
        FeatureReader { part, segments, refs, index, live, checks, env }
    }

    /// The feature's entry in the catalog.
    pub fn part(&self) -> &FeaturePart {
        &self.part
    }

    /// The live rows of the dataset. Blocks may have others, which are deleted: readers of
    /// blocks leave them out.
    pub fn live(&self) -> &Arc<RowSet> {
        &self.live
    }

    /// Exactly which live rows it has. Reads only blocks that have gaps.
    pub fn row_set(&self) -> Result<RowSet, ReadError> {
        Ok(self.stored_rows()?.intersection(&self.live))
    }

    /// The same with deleted rows.
    pub(crate) fn stored_rows(&self) -> Result<RowSet, ReadError> {
        let mut scratch = BlockBuffer::new();
        let mut sets = Vec::new();
        for b in &self.index {
            match b.is_dense() {
                true => sets.push(b.range()),
                false => {
                    let rows = RowSet::from_rows(self.read_block(*b, &mut scratch)?.rows.iter().copied());
                    sets.extend(rows.ranges().iter().cloned());
                }
            }
        }
        Ok(RowSet::from_ranges(sets))
    }

    /// Number of stored vectors, those of deleted rows among them.
    pub(crate) fn stored_vectors(&self) -> u64 {
        self.index.iter().map(|block| block.vectors() as u64).sum()
    }

    /// Numbers of the cells that hold rows, ascending.
    pub fn cells(&self) -> Vec<u64> {
        let mut cells: Vec<u64> = self.index.iter().map(BlockRef::cell).collect();
        cells.dedup();
        cells
    }

    /// The blocks of a cell, by first row. Segments with gaps may interleave: then ranges overlap, but
    /// no row is in two blocks.
    pub fn blocks_in(&self, cell: u64) -> Vec<BlockRef> {
        let start = self.index.partition_point(|b| b.cell() < cell);
        self.index.iter().skip(start).take_while(|b| b.cell() == cell).copied().collect()
    }

    /// All blocks, by first row.
    pub fn blocks(&self) -> &[BlockRef] {
        &self.index
    }

    pub(super) fn own_block(&self, block: BlockRef) -> Result<(&Arc<SegmentFile>, &SegmentBlock), ReadError> {
        let segment = self.segments.get(block.segment());
        let own = segment.and_then(|segment| Some((segment, segment.blocks.get(block.place())?)));
        own.ok_or(ReadError::NoBlock { segment: block.segment, block: block.block })
    }

    /// A block. The first touch reads it into `scratch` and compares its digest; later ones are
    /// slices of the map.
    pub fn read_block<'a>(
        &'a self,
        block: BlockRef,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, ReadError> {
        let (segment, block) = self.own_block(block)?;
        Ok(match self.checks {
            Checks::FirstTouch => segment.read_block(block, scratch)?,
            Checks::Off => segment.read_unchecked(block, scratch)?,
        })
    }

    /// A block that outlives this reader. The first touch reads it and compares its digest, later ones are
    /// parts of the map.
    ///
    /// # Errors
    /// Damage.
    pub fn share_block(&self, block: BlockRef) -> Result<SharedBlock, ReadError> {
        let (segment, block) = self.own_block(block)?;
        Ok(segment.share(block)?)
    }

    /// Bounds of the lengths and flags of a block's vectors; `None` if it was written before segments did.
    pub fn bounds(&self, block: BlockRef) -> Option<&BlockBounds> {
        self.own_block(block).ok()?.1.bounds.as_ref()
    }

    /// The vector of one live row, verified by its check, with its scales applied; `None` if the
    /// feature does not have it.
    ///
    /// # Errors
    /// Damage; and a feature whose vectors belong to tokens, which [`FeatureReader::row_vectors`] reads.
    pub fn row(&self, row: u64) -> Result<Option<StoredRow>, ReadError> {
        if self.part.desc.granularity == Granularity::Token {
            return Err(ReadError::PerToken { feature: self.part.display_name() });
        }
        Ok(self.row_vectors(row)?.pop())
    }

    /// The vectors of one live row, each verified by its check, with their scales applied: one, or one for
    /// each scored token by position; none if the feature does not have the row.
    ///
    /// # Errors
    /// Damage.
    pub fn row_vectors(&self, row: u64) -> Result<Vec<StoredRow>, ReadError> {
        if !self.live.contains(row) {
            return Ok(Vec::new());
        }
        let mut scratch = BlockBuffer::new();
        for b in self.blocks_in(row / CELL_ROWS).into_iter().filter(|b| b.range().contains(&row)) {
            let (segment, block) = self.own_block(b)?;
            let stored = segment.row(block, row, &mut scratch)?;
            if !stored.is_empty() {
                return Ok(stored);
            }
        }
        Ok(Vec::new())
    }

    /// XXH3-128 over the keys and checks of all live vectors in order, as hex: equal for equal
    /// content, however the files are cut. A key is the row, of a token the row and the position.
    /// Every block is verified on the way.
    pub fn content_digest(&self) -> Result<String, ReadError> {
        let mut hash = Xxh3::new();
        let mut scratch = BlockBuffer::new();
        let mut vectors: Vec<(u64, Option<u32>, u64)> = Vec::new();
        for cell in self.cells() {
            vectors.clear();
            for b in self.blocks_in(cell) {
                let block = self.read_block(b, &mut scratch)?;
                let live = block.vectors().filter(|v| self.live.contains(v.row));
                vectors.extend(live.map(|v| (v.row, v.pos, v.check)));
            }
            vectors.sort_unstable();
            for (row, pos, check) in &vectors {
                hash.update(&row.to_le_bytes());
                if let Some(pos) = pos {
                    hash.update(&pos.to_le_bytes());
                }
                hash.update(&check.to_le_bytes());
            }
        }
        Ok(Digest::of_hashed(&hash).to_string())
    }

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
        let missing = ReadError::NoSegment { segment: segment.uuid() };
        let blocks = self.segments.get(segment.place()).ok_or(missing)?.blocks.iter().enumerate();
        Ok(blocks.map(|(b, info)| BlockRef::new(segment.place(), b, info)).collect())
    }

    /// Fails for a segment of another reader.
    pub(crate) fn own(&self, segment: &SegmentRef) -> Result<(), ReadError> {
        match self.refs.get(segment.place()) {
            Some(own) if own.uuid() == segment.uuid() => Ok(()),
            _ => Err(ReadError::NoSegment { segment: segment.uuid() }),
        }
    }
}
