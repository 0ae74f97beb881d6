//! One segment file, open for reading.
//!
//! Invariants
//! - nothing is taken from a block before the block's digest, or the row's check, agreed
//! - the file is opened for each first read and mapped once; a reader of many segments holds no descriptors
//! - what cannot be mapped is read: a process has a limited number of maps, and some file systems have none

use super::BlockBuffer;
use super::block::{Block, StoredRow, Vector};
use super::bounds::BlockBounds;
use super::footer::BlockInfo;
use super::layout::{BlockLayout, Mismatch, SegmentShape};
use crate::ahead::{FileIdentity, ScannedFile};
use crate::error::{Damage, StorageError};
use crate::layout::NamedFile;
use crate::map::FileMap;
use crate::vfs::VfsRead;
use gstore_core::{Digest, Remedy, RowFlags, RowSet};
use std::ops::{Deref, Range};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::Xxh3;

/// A block: what the footer says of it, and what is known since it was read.
#[derive(Debug)]
pub(crate) struct SegmentBlock {
    info: BlockInfo,
    /// What the footer says of its vectors, if it does.
    pub(super) bounds: Option<BlockBounds>,
    /// Set once its digest agreed.
    pub(super) verified: OnceLock<BlockLayout>,
    /// Vectors that were read one by one.
    pub(super) singles: AtomicU32,
}

impl SegmentBlock {
    pub(super) fn new(info: BlockInfo, bounds: Option<BlockBounds>) -> Self {
        SegmentBlock { info, bounds, verified: OnceLock::new(), singles: AtomicU32::new(0) }
    }
}

impl Deref for SegmentBlock {
    type Target = BlockInfo;

    fn deref(&self) -> &BlockInfo {
        &self.info
    }
}

#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(super) own: NamedFile,
    /// The feature, for messages.
    pub(super) label: String,
    pub(super) shape: SegmentShape,
    pub(super) len: u64,
    pub(crate) blocks: Vec<SegmentBlock>,
    pub(super) head_len: u64,
    pub(super) head_digest: Digest,
    pub(super) map: OnceLock<Arc<FileMap>>,
    /// Whether there is more than fits into memory: blocks are then read each time, and the system is told to
    /// forget them, since it would forget everything else instead.
    pub(crate) transient: bool,
}

impl SegmentFile {
    /// Bytes that belong to no vector: head and tail, headers of blocks, padding of their buffers.
    pub(crate) fn fixed_bytes(&self) -> u64 {
        let vectors: usize = self.blocks.iter().map(|block| block.vectors).sum();
        self.len.saturating_sub(vectors.saturating_mul(self.shape.vector_bytes()) as u64)
    }

    pub(super) fn damage(&self, block: &BlockInfo, p: Mismatch) -> Damage {
        Damage::new(&self.own.name, p.0, p.1, p.2)
            .at(block.offset)
            .affecting(lost(block.first..block.end, &self.label))
    }

    pub(super) fn io(&self, e: std::io::Error) -> StorageError {
        StorageError::of_file(&self.own.name, self.len, e)
    }

    pub(super) fn open_file(&self) -> Result<Box<dyn VfsRead>, StorageError> {
        self.own.vfs.open(&self.own.path).map_err(|e| self.io(e))
    }

    fn map(&self) -> Result<&Arc<FileMap>, StorageError> {
        match self.map.get() {
            Some(map) => Ok(map),
            None => {
                let map = self.own.vfs.map(&self.own.path, self.len).map_err(|e| self.io(e))?;
                Ok(self.map.get_or_init(|| Arc::new(map)))
            }
        }
    }

    /// What reads of it ahead need to know; `None` if the system refuses to map it.
    pub(super) fn source(&self) -> Option<ScannedFile<'_>> {
        Some(ScannedFile { own: &self.own, map: self.map().ok()?, is_kept: !self.transient, file: self })
    }

    pub(super) fn mapped(&self, block: &BlockInfo) -> Result<&[u8], StorageError> {
        let map = self.map()?.as_bytes();
        let start = block.offset as usize;
        match map.get(start..start + block.len()) {
            Some(bytes) => Ok(bytes),
            None => Err(Damage::new(&self.own.name, "length of the map", self.len, map.len()).into()),
        }
    }

    /// Bytes of the map; `None` if the system refuses to map the file.
    pub(super) fn mapped_if_possible(&self, block: &BlockInfo) -> Result<Option<&[u8]>, StorageError> {
        match self.mapped(block) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.is_damage() => Err(e),
            // If the medium is the reason, reading says so.
            Err(_) => Ok(None),
        }
    }

    /// Reads a block into `scratch` and checks it there.
    pub(super) fn read_checked<'a>(
        &self,
        block: &SegmentBlock,
        scratch: &'a mut BlockBuffer,
    ) -> Result<(&'a [u8], BlockLayout), StorageError> {
        let buffer = self.read_into(block, scratch)?;
        let layout = self.check_block(block, buffer)?;
        Ok((buffer, layout))
    }

    fn read_into<'a>(
        &self,
        block: &BlockInfo,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], StorageError> {
        if let Some(place) = scratch.find(&self.own.name, &block.span()) {
            return Ok(scratch.at(place));
        }
        let buffer = scratch.resize(block.len());
        let file = self.open_file()?;
        file.read_at(buffer, block.offset).map_err(|e| self.io(e))?;
        if self.transient {
            file.forget(block.offset, block.len() as u64);
        }
        Ok(buffer)
    }

    /// A block: from the map if its digest agreed before, else read into `scratch`, or ahead, and
    /// checked there.
    pub(crate) fn read_block<'a>(
        &'a self,
        block: &SegmentBlock,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, StorageError> {
        let is_ahead = scratch.find(&self.own.name, &block.span()).is_some();
        if let Some(layout) = block.verified.get().filter(|_| !self.transient && !is_ahead)
            && let Some(bytes) = self.mapped_if_possible(block)?
        {
            return self.view(block, bytes, layout);
        }
        let (bytes, layout) = self.read_checked(block, scratch)?;
        self.view(block, bytes, block.verified.get_or_init(|| layout))
    }

    /// A block from the map, without looking at its digest; read into `scratch` where there can be no map.
    pub(crate) fn read_unchecked<'a>(
        &'a self,
        block: &SegmentBlock,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, StorageError> {
        let is_ahead = scratch.find(&self.own.name, &block.span()).is_some();
        let bytes = match self.mapped_if_possible(block)?.filter(|_| !is_ahead) {
            Some(bytes) => bytes,
            None => self.read_into(block, scratch)?,
        };
        let layout = self.parse(block, bytes)?;
        let view = self.view(block, bytes, &layout)?;
        self.check_keys(block, &view)?;
        Ok(view)
    }

    pub(super) fn view<'a>(
        &self,
        block: &BlockInfo,
        bytes: &'a [u8],
        layout: &BlockLayout,
    ) -> Result<Block<'a>, StorageError> {
        Block::view(bytes, layout, &self.shape).ok_or_else(|| {
            self.damage(block, ("alignment of the block".into(), "64 bytes".into(), "less".into())).into()
        })
    }

    pub(super) fn parse(&self, block: &BlockInfo, bytes: &[u8]) -> Result<BlockLayout, StorageError> {
        let header = bytes.split_at(block.header_len.min(bytes.len())).0;
        BlockLayout::parse(header, block.body_len, block.vectors, &self.shape)
            .map_err(|p| self.damage(block, p).into())
    }

    pub(super) fn check_block(
        &self,
        block: &SegmentBlock,
        bytes: &[u8],
    ) -> Result<BlockLayout, StorageError> {
        let digest = Digest::of(bytes);
        if digest != block.digest {
            let (want, found) = (block.digest.to_string(), digest.to_string());
            return Err(self.damage(block, ("digest of a block".into(), want, found)).into());
        }
        let layout = self.parse(block, bytes)?;
        let view = self.view(block, bytes, &layout)?;
        self.check_keys(block, &view)?;
        if let Some(bounds) = &block.bounds {
            bounds.check(&view).map_err(|p| self.damage(block, p))?;
        }
        Ok(layout)
    }

    /// Whether the rows are those of the footer, and rows with their positions ascend.
    fn check_keys(&self, block: &BlockInfo, view: &Block<'_>) -> Result<(), StorageError> {
        let rows = view.rows;
        let mut distinct = rows.len().min(1);
        let ascending = (1..rows.len()).all(|i| {
            let before = (rows.get(i - 1), view.pos.get(i - 1));
            let new = rows.get(i) != before.0;
            distinct += usize::from(new);
            before < (rows.get(i), view.pos.get(i))
        });
        let ends = rows.first() == Some(&block.first)
            && rows.last().and_then(|r| r.checked_add(1)) == Some(block.end);
        if ascending && ends && distinct == block.rows {
            return Ok(());
        }
        let expected = format!("{} ascending rows {}..{}", block.rows, block.first, block.end);
        Err(self.damage(block, ("rows of the block".into(), expected, "others".into())).into())
    }

    /// The rows of a block without reading its vectors where that can be avoided.
    pub(crate) fn block_rows(
        &self,
        block: &SegmentBlock,
        scratch: &mut BlockBuffer,
    ) -> Result<RowSet, StorageError> {
        match block.is_dense() {
            true => Ok(RowSet::from_range(block.first..block.end)),
            false => Ok(RowSet::from_rows(self.read_block(block, scratch)?.rows.iter().copied())),
        }
    }

    /// Its rows. Reads only blocks that have gaps.
    pub(crate) fn row_set(&self, scratch: &mut BlockBuffer) -> Result<RowSet, StorageError> {
        let mut ranges = Vec::new();
        for block in &self.blocks {
            ranges.extend(self.block_rows(block, scratch)?.ranges().iter().cloned());
        }
        Ok(RowSet::from_ranges(ranges))
    }

    /// The vectors of one row of a block, each verified by its check, with their scales applied; none if the
    /// block does not have the row.
    pub(crate) fn row(
        &self,
        block: &SegmentBlock,
        row: u64,
        scratch: &mut BlockBuffer,
    ) -> Result<Vec<StoredRow>, StorageError> {
        if row < block.first || row >= block.end {
            return Ok(Vec::new());
        }
        let known = match block.verified.get() {
            Some(layout) => self.mapped_if_possible(block)?.map(|bytes| (bytes, layout)),
            None => None,
        };
        let view = match known {
            Some((bytes, layout)) => self.view(block, bytes, layout)?,
            None if block.is_dense() && !self.shape.has_positions() => self.few(block, &[row], scratch)?,
            // Where rows may be missing, "it is not there" is an answer that only a checked block can give;
            // and only a checked block says how many vectors a row has.
            None => self.read_block(block, scratch)?,
        };
        let mut hash = Xxh3::new();
        let mut stored = Vec::new();
        for (i, own) in view.of_row(row).filter_map(|i| Some((i, view.at(i)?))) {
            self.check_vector(block, row, &own, &mut hash)?;
            let mut vector = vec![0.0; self.shape.dim];
            view.vector(i, &self.shape.groups, &mut vector);
            let (norm, flags) = (own.norm.to_vec(), RowFlags::from_bits(own.flags));
            stored.push(StoredRow { pos: own.pos, vector, norm, flags });
        }
        Ok(stored)
    }

    /// Fails unless a vector of a block is one of a row and agrees with its check.
    pub(super) fn check_vector(
        &self,
        block: &BlockInfo,
        row: u64,
        vector: &Vector<'_>,
        hash: &mut Xxh3,
    ) -> Result<(), StorageError> {
        let found = vector.compute_check(hash);
        if vector.row == row && found == vector.check {
            return Ok(());
        }
        let (what, stored) = (format!("check of row {row}"), format!("{:016x}", vector.check));
        let damage = Damage::new(&self.own.name, what, stored, format!("{found:016x}"));
        Err(damage.at(block.offset).affecting(lost(row..row + 1, &self.label)).into())
    }
}

impl FileIdentity for SegmentFile {
    /// The name of a segment never leads to another one.
    fn is_other(&self, _: &dyn VfsRead) -> bool {
        false
    }
}

/// What is lost with some rows, and how to get it back.
pub(super) fn lost(rows: Range<u64>, label: &str) -> String {
    format!(
        "rows {}..{} of feature {label} cannot be read; other segments are intact\n  \
         {} saves what is sound; then {} with the original command computes what is missing",
        rows.start,
        rows.end,
        Remedy::Repair,
        Remedy::Ingest
    )
}
