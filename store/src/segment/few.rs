//! Point reads: a few vectors of an unverified block, each by its own check, without the block.

use super::BlockBuffer;
use super::block::Block;
use super::feature::{Checks, FeatureReader};
use super::file::{SegmentBlock, SegmentFile};
use super::footer::BlockInfo;
use super::layout::BlockLayout;
use super::refs::BlockRef;
use crate::ahead::{NEAR_SMALL, SpanRequests};
use crate::error::{ReadError, StorageError};
use crate::vfs::VfsRead;
use std::ops::Range;
use std::sync::atomic::Ordering;
use xxhash_rust::xxh3::Xxh3;

/// Vectors of a block are read one by one up to one in this many, all readings together; then the block is
/// read and verified, so that readers that come back find it in the map.
const SHARE: usize = 8;

/// How some rows of a block are read.
enum ReadMethod {
    /// From the map, where they lie.
    Map,
    /// One by one, each verified by its check.
    Singly,
    /// With all others.
    Whole,
}

impl FeatureReader {
    /// A block of at least these rows of `block`, ascending: the whole one where it was verified before or
    /// where many are wanted, else one of these rows alone, each verified by its check. Where rows may be
    /// missing, or vectors belong to tokens, it is the whole one.
    ///
    /// # Errors
    /// Damage of what is read.
    pub fn read_rows<'a>(
        &'a self,
        block: BlockRef,
        rows: &[u64],
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, ReadError> {
        let (segment, own) = self.own_block(block)?;
        match self.way((segment, own), block, rows) {
            ReadMethod::Singly => {
                own.singles.fetch_add(count(rows), Ordering::Relaxed);
                Ok(segment.few(own, rows, scratch)?)
            }
            ReadMethod::Map | ReadMethod::Whole => self.read_block(block, scratch),
        }
    }

    /// Adds what reading a block takes from disk.
    pub fn want<'a>(&'a self, block: BlockRef, wants: &mut SpanRequests<'a>) {
        if let Ok((segment, own)) = self.own_block(block)
            && let Some(source) = segment.source()
        {
            wants.add(source, own.span());
        }
    }

    /// Adds what [`FeatureReader::read_rows`] takes from disk.
    pub fn want_rows<'a>(&'a self, block: BlockRef, rows: &[u64], wants: &mut SpanRequests<'a>) {
        let Ok((segment, own)) = self.own_block(block) else { return };
        match self.way((segment, own), block, rows) {
            ReadMethod::Map | ReadMethod::Singly => segment.want_few(own, rows, wants),
            ReadMethod::Whole => self.want(block, wants),
        }
    }

    fn way(
        &self,
        (segment, own): (&SegmentFile, &SegmentBlock),
        block: BlockRef,
        rows: &[u64],
    ) -> ReadMethod {
        let is_inside = |row: Option<&u64>| row.is_some_and(|row| block.range().contains(row));
        let is_few = rows.len() <= own.vectors / SHARE;
        let is_mapped = self.checks == Checks::Off || (own.verified.get().is_some() && !segment.transient);
        match is_mapped {
            true if is_few => ReadMethod::Map,
            false
                if is_inside(rows.first()) && is_inside(rows.last()) && segment.takes_singles(own, rows) =>
            {
                ReadMethod::Singly
            }
            _ => ReadMethod::Whole,
        }
    }
}

fn count(rows: &[u64]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}

impl SegmentFile {
    /// Asks for some rows of a block. What keeps it from being read is said when they are read.
    fn want_few<'a>(&'a self, block: &SegmentBlock, rows: &[u64], wants: &mut SpanRequests<'a>) {
        // Of a block with gaps it is not known where a row lies before the map shows it.
        if !block.is_dense() || self.shape.has_positions() {
            return;
        }
        let Some(source) = self.source() else { return };
        let read = || self.read_layout(&*self.open_file()?, block);
        let Some(layout) = block.verified.get().cloned().or_else(|| read().ok()) else { return };
        for column in layout.of_rows() {
            let each = column.len() / block.vectors.max(1);
            for row in rows {
                let at = column.start + row.saturating_sub(block.first) as usize * each;
                let start = block.offset + at as u64;
                wants.add_small(source.map, &(start..start + each as u64));
            }
        }
    }

    /// The layout of a block, from its header.
    fn read_layout(&self, file: &dyn VfsRead, block: &BlockInfo) -> Result<BlockLayout, StorageError> {
        let mut header = vec![0; block.header_len];
        file.read_at(&mut header, block.offset).map_err(|e| self.io(e))?;
        self.parse(block, &header)
    }

    /// Whether some rows are read one by one. They can be found without the block if it has every row of its
    /// range, one vector each.
    fn takes_singles(&self, block: &SegmentBlock, rows: &[u64]) -> bool {
        // What is read again each time is not worth reading for those that come back.
        let before = if self.transient { 0 } else { block.singles.load(Ordering::Relaxed) };
        !self.shape.has_positions()
            && block.is_dense()
            && before.saturating_add(count(rows)) as usize <= block.vectors / SHARE
    }

    /// The vectors of some rows of a block that has every row of its range, as a block.
    pub(super) fn few<'a>(
        &'a self,
        block: &SegmentBlock,
        rows: &[u64],
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, StorageError> {
        let file = self.open_file()?;
        let from = self.read_layout(&*file, block)?;
        let mut end = 0;
        let mut column = |from: &Range<usize>| -> Range<usize> {
            let start = end;
            let len = from.len() / block.vectors.max(1) * rows.len();
            end = (start + len).next_multiple_of(64);
            start..start + len
        };
        let to = BlockLayout {
            vectors: rows.len(),
            row: column(&from.row),
            pos: 0..0,
            values: column(&from.values),
            scale: column(&from.scale),
            norm: column(&from.norm),
            flags: column(&from.flags),
            check: column(&from.check),
        };
        let buffer = scratch.resize(end);
        for (from, to) in from.of_rows().into_iter().zip(to.of_rows()) {
            let column = buffer.get_mut(to.clone()).unwrap_or_default();
            self.gather(&*file, block, from, rows, column)?;
        }
        let view = self.view(block, buffer, &to)?;
        let mut hash = Xxh3::new();
        for (row, vector) in rows.iter().copied().zip(view.vectors()) {
            self.check_vector(block, row, &vector, &mut hash)?;
        }
        Ok(view)
    }

    /// Reads what rows have of a column, one after the other; what is near is read together.
    fn gather(
        &self,
        file: &dyn VfsRead,
        block: &SegmentBlock,
        column: &Range<usize>,
        rows: &[u64],
        to: &mut [u8],
    ) -> Result<(), StorageError> {
        let each = column.len() / block.vectors.max(1);
        if each == 0 {
            return Ok(());
        }
        let at = |row: &u64| row.saturating_sub(block.first) as usize * each;
        let (mut near, mut done): (Vec<u8>, usize) = (Vec::new(), 0);
        for run in rows.chunk_by(|a, b| at(b).saturating_sub(at(a)) <= each + NEAR_SMALL) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let Some(own) = to.get_mut(done..done + run.len() * each) else { continue };
            done += own.len();
            let start = at(first);
            let offset = block.offset + (column.start + start) as u64;
            if run.is_sorted_by(|a, b| *a + 1 == *b) {
                file.read_at(own, offset).map_err(|e| self.io(e))?;
                continue;
            }
            near.resize(at(last).saturating_sub(start) + each, 0);
            file.read_at(&mut near, offset).map_err(|e| self.io(e))?;
            for (row, into) in run.iter().zip(own.chunks_exact_mut(each)) {
                let from = at(row).saturating_sub(start);
                if let Some(bytes) = near.get(from..from + each) {
                    into.copy_from_slice(bytes);
                }
            }
        }
        Ok(())
    }
}
