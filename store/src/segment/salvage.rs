//! Salvage of a damaged segment: every row that still agrees with its check.
//!
//! Nothing of the tail is needed. Blocks are found by their message headers, which start on multiples of 64
//! bytes; a row is taken only if its stored digest (over its number, values, scales, norms and flags) agrees,
//! so a damaged one cannot pass. Where a row has a vector for each token, all of it is taken or none.
//!
//! That digest does not cover the feature: whose rows they are, the caller finds out.

use super::block::{Block, Vector};
use super::layout::{ALIGN, BlockLayout, SegmentShape};
use super::{BlockBuffer, SegmentWriter};
use crate::error::{StorageError, WriteError};
use crate::layout::NamedFile;
use crate::vfs::{VfsRead, if_there};
use gstore_core::{Digest, RowSet};
use xxhash_rust::xxh3::Xxh3;

/// No message header is longer: it describes 17 buffers.
const HEADER_LIMIT: usize = 1 << 16;
/// Bytes that are looked through at once for the next header.
const WINDOW: u64 = 1 << 20;
/// Where a medium refuses to read, it is tried again in pieces of this size.
const PIECE: usize = 4096;

/// A block that has sound rows.
#[derive(Debug)]
struct SoundBlock {
    offset: u64,
    layout: BlockLayout,
    len: usize,
    /// What a footer would say of its bytes as they are.
    digest: Digest,
    /// Place in the block and row of each vector of the sound rows, ascending.
    rows: Vec<(usize, u64)>,
}

impl SoundBlock {
    fn row_set(&self) -> RowSet {
        RowSet::from_rows(self.rows.iter().map(|(_, row)| *row))
    }
}

/// The sound rows of a file.
#[derive(Debug)]
pub(crate) struct SalvagedSegment {
    file: NamedFile,
    shape: SegmentShape,
    blocks: Vec<SoundBlock>,
    pub(crate) rows: RowSet,
}

/// Looks through a file for sound rows. One that cannot be opened has none.
pub(crate) fn salvage(file: NamedFile, shape: &SegmentShape) -> Result<SalvagedSegment, StorageError> {
    let mut out = SalvagedSegment { file, shape: shape.clone(), blocks: Vec::new(), rows: RowSet::new() };
    let io = |e| StorageError::io(format!("read {}", out.file.name), e);
    let Some(file) = if_there(out.file.vfs.open(&out.file.path)).map_err(io)? else { return Ok(out) };
    let len = file.len().map_err(io)?;
    let mut scratch = BlockBuffer::new();
    let mut pos = 0;
    while let Some(offset) = next_header(&*file, pos, len) {
        let block = read_header(&*file, offset, len, shape).and_then(|(layout, total)| {
            let bytes = scratch.resize(total);
            read_lenient(&*file, bytes, offset);
            let rows = sound_rows(&Block::view(bytes, &layout, shape)?, &out.rows);
            let digest = Digest::of(bytes);
            (!rows.is_empty()).then_some(SoundBlock { offset, layout, len: total, digest, rows })
        });
        pos = offset + block.as_ref().map_or(ALIGN, |b| b.len) as u64;
        if let Some(block) = block {
            block.rows.iter().for_each(|(_, row)| out.rows.insert(*row..*row + 1));
            out.blocks.push(block);
        }
    }
    out.blocks.sort_unstable_by_key(|b| b.rows.first().map(|r| r.1));
    Ok(out)
}

/// Whether a text is in what can be read of a file from a place on.
pub(crate) fn mentions(file: &NamedFile, from: u64, text: &str) -> bool {
    let Ok(opened) = file.vfs.open(&file.path) else { return false };
    let (len, n) = (opened.len().unwrap_or(0), text.len().max(1));
    let mut window = Vec::new();
    (from..len).step_by(WINDOW as usize).any(|pos| {
        window.resize((WINDOW + n as u64).min(len - pos) as usize, 0);
        read_lenient(&*opened, &mut window, pos);
        window.windows(n).any(|found| found == text.as_bytes())
    })
}

impl SalvagedSegment {
    /// Digests and rows of the blocks that have sound rows.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Digest, RowSet)> + '_ {
        self.blocks.iter().map(|b| (b.digest, b.row_set()))
    }

    /// Leaves out the blocks with some digests.
    pub(crate) fn leave_out(&mut self, unwanted: impl Fn(&Digest) -> bool) {
        for b in self.blocks.extract_if(.., |b| unwanted(&b.digest)) {
            self.rows = self.rows.difference(&b.row_set());
        }
    }

    /// Writes some of them, bit for bit.
    pub(crate) fn copy(&self, wanted: &RowSet, writer: &mut SegmentWriter) -> Result<(), WriteError> {
        let io = |e| StorageError::io(format!("read {}", self.file.name), e);
        let mut scratch = BlockBuffer::new();
        let mut hash = Xxh3::new();
        let file = self.file.vfs.open(&self.file.path).map_err(io)?;
        for b in &self.blocks {
            if !b.rows.iter().any(|(_, row)| wanted.contains(*row)) {
                continue;
            }
            let bytes = scratch.resize(b.len);
            read_lenient(&*file, bytes, b.offset);
            let changed = |row| io(std::io::Error::other(format!("row {row} changed while it was read")));
            let vectors: Vec<Vector<'_>> =
                Block::view(bytes, &b.layout, &self.shape).iter().flat_map(Block::vectors).collect();
            for (i, row) in b.rows.iter().filter(|(_, row)| wanted.contains(*row)) {
                match vectors.get(*i).filter(|v| v.row == *row && v.compute_check(&mut hash) == v.check) {
                    Some(vector) => writer.push_stored(vector)?,
                    None => return Err(changed(*row).into()),
                }
            }
        }
        Ok(())
    }
}

/// The rows of a block that agree with their checks, and that no other block has.
fn sound_rows(block: &Block<'_>, seen: &RowSet) -> Vec<(usize, u64)> {
    let mut hash = Xxh3::new();
    let mut out: Vec<(usize, u64)> = Vec::new();
    let mut last: Option<(u64, Option<u32>)> = None;
    let mut sound = Vec::with_capacity(block.len());
    for (i, vector) in block.vectors().enumerate() {
        let (row, key) = (vector.row, (vector.row, vector.pos));
        let ascending = last.is_none_or(|last| last < key);
        let usable = ascending && row < u64::MAX && !seen.contains(row);
        let is_sound = usable && vector.compute_check(&mut hash) == vector.check;
        if is_sound {
            out.push((i, row));
            last = Some(key);
        }
        sound.push(is_sound);
    }
    if !block.pos.is_empty() {
        // A damaged vector may have been one of the sound row before it or after it.
        let hurt = |i: Option<usize>| i.and_then(|i| sound.get(i)) == Some(&false);
        let beside = |(i, _): &&(usize, u64)| hurt(i.checked_sub(1)) || hurt(i.checked_add(1));
        let partial: Vec<u64> = out.iter().filter(beside).map(|(_, row)| *row).collect();
        out.retain(|(_, row)| partial.binary_search(row).is_err());
    }
    out
}

/// The next multiple of 64 where a message could start.
fn next_header(file: &dyn VfsRead, from: u64, len: u64) -> Option<u64> {
    let mut window = Vec::new();
    let mut pos = from;
    while pos + (ALIGN as u64) < len {
        window.resize(WINDOW.min(len - pos) as usize, 0);
        read_lenient(file, &mut window, pos);
        let found = window.chunks(ALIGN).position(|line| line.starts_with(&[0xff; 4]));
        if let Some(line) = found {
            return Some(pos + (line * ALIGN) as u64);
        }
        pos += WINDOW;
    }
    None
}

/// The columns of the block that starts at `offset`, if one does, and its length.
fn read_header(
    file: &dyn VfsRead,
    offset: u64,
    len: u64,
    shape: &SegmentShape,
) -> Option<(BlockLayout, usize)> {
    let mut header = vec![0; 8];
    read_lenient(file, &mut header, offset);
    let (_, size) = header.split_last_chunk::<4>()?;
    let header_len = 8 + u32::from_le_bytes(*size) as usize;
    if header_len > HEADER_LIMIT || !header_len.is_multiple_of(ALIGN) || offset + header_len as u64 > len {
        return None;
    }
    header.resize(header_len, 0);
    read_lenient(file, &mut header, offset);
    let message = arrow_ipc::root_as_message(header.get(8..)?).ok()?;
    let body_len = usize::try_from(message.bodyLength()).ok()?;
    let vectors = usize::try_from(message.header_as_record_batch()?.length()).ok()?;
    let inside = (header_len as u64).checked_add(body_len as u64)?.checked_add(offset)? <= len;
    let most = if shape.has_positions() { body_len } else { gstore_core::CELL_ROWS as usize };
    if !inside || vectors == 0 || vectors > most {
        return None;
    }
    let layout = BlockLayout::parse(&header, body_len, vectors, shape).ok()?;
    Some((layout, header_len + body_len))
}

/// Fills a buffer as far as the medium gives the bytes; the others are zero, and the checks
/// of their rows find that.
fn read_lenient(file: &dyn VfsRead, buffer: &mut [u8], offset: u64) {
    if file.read_at(buffer, offset).is_ok() {
        return;
    }
    for (i, piece) in buffer.chunks_mut(PIECE).enumerate() {
        if file.read_at(piece, offset + (i * PIECE) as u64).is_err() {
            piece.fill(0);
        }
    }
}
