//! Verifying a segment: every byte before the tail, which was compared when it was opened.

use super::BlockBuffer;
use super::block::Block;
use super::file::{SegmentBlock, SegmentFile};
use crate::error::{Damage, StorageError};
use gstore_core::Digest;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

impl SegmentFile {
    /// Reads every byte before the tail and compares all digests and checks. Every problem is passed to
    /// `report` with the rows that are lost by it; `read` learns after each block how many bytes were read.
    pub(crate) fn verify(
        &self,
        scratch: &mut BlockBuffer,
        mut read: impl FnMut(u64),
        mut report: impl FnMut(StorageError, Range<u64>),
    ) {
        let all = self.blocks.first().map_or(0, |b| b.first)..self.blocks.last().map_or(0, |b| b.end);
        if let Err(e) = self.verify_head() {
            report(e, all);
        }
        let mut hash = Xxh3::new();
        for info in &self.blocks {
            match self.reread_block(info, scratch) {
                Err(e) => report(e, info.first..info.end),
                Ok(block) => {
                    for vector in block.vectors() {
                        let (row, check) = (vector.row, vector.check);
                        let found = vector.compute_check(&mut hash);
                        if found != check {
                            let token = vector.pos.map_or_else(String::new, |pos| format!(", token {pos}"));
                            let what = format!("check of row {row}{token}");
                            let p = (what, format!("{check:016x}"), format!("{found:016x}"));
                            report(self.damage(info, p).into(), row..row + 1);
                        }
                    }
                }
            }
            read(info.offset.saturating_add(info.len() as u64));
        }
    }

    /// Reads a block from the file, whatever was read of it before.
    fn reread_block<'a>(
        &self,
        block: &SegmentBlock,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, StorageError> {
        let buffer = scratch.resize(block.len());
        self.open_file()?.read_at(buffer, block.offset).map_err(|e| self.io(e))?;
        let layout = self.check_block(block, buffer)?;
        self.view(block, buffer, &layout)
    }

    fn verify_head(&self) -> Result<(), StorageError> {
        let n = usize::try_from(self.head_len).unwrap_or(0).min(1 << 24);
        let mut head = vec![0; n];
        self.open_file()?.read_at(&mut head, 0).map_err(|e| self.io(e))?;
        let found = Digest::of(&head);
        if found == self.head_digest {
            return Ok(());
        }
        let what = "digest of the bytes before the first block";
        Err(Damage::new(&self.own.name, what, self.head_digest, found)
            .at(0)
            .affecting("other Arrow readers may refuse the file; gstore still reads its rows")
            .into())
    }
}
