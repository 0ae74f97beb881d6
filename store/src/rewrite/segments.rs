//! Segments: the live rows of some of them in one new file.

use super::{Watch, WorkFolder};
use crate::error::{ReadError, RewriteError};
use crate::layout::{Env, segment_file};
use crate::manifest::{FeaturePart, SegmentEntry};
use crate::segment::{Block, BlockBuffer, FileId, SealedSegment, SegmentFile, SegmentWriter, Shape};

use gstore_core::RowSet;
use uuid::Uuid;

fn open(env: &Env, part: &FeaturePart, entry: &SegmentEntry) -> Result<SegmentFile, ReadError> {
    let name = segment_file(part.number, entry.uuid);
    let id = FileId { path: &env.at(&name), name };
    let shape = Shape::new(&part.desc, &part.attrs);
    Ok(SegmentFile::open(env.shared_vfs(), id, entry, &part.display_name(), shape, &part.key)?)
}

/// The rows of a segment. Reads only blocks that have gaps.
pub(crate) fn rows_of(env: &Env, part: &FeaturePart, entry: &SegmentEntry) -> Result<RowSet, ReadError> {
    if entry.is_dense() {
        return Ok(RowSet::from_range(entry.range()));
    }
    let file = open(env, part, entry)?;
    let mut scratch = BlockBuffer::new();
    let mut ranges = Vec::new();
    for i in 0..file.blocks.len() {
        ranges.extend(file.block_rows(i, &mut scratch)?.ranges().iter().cloned());
    }
    Ok(RowSet::from_ranges(ranges))
}

/// Writes the live rows of some segments of a feature to one file in the folder; `None` if there is no such row.
pub(crate) fn merge_segments(
    folder: &WorkFolder,
    part: &FeaturePart,
    inputs: &[SegmentEntry],
    live: &RowSet,
    watch: &mut Watch<'_>,
) -> Result<Option<SealedSegment>, RewriteError> {
    let uuid = Uuid::new_v4();
    let name = format!("{uuid}.arrow");
    let sources = inputs
        .iter()
        .map(|entry| open(folder.env(), part, entry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(RewriteError::source)?;
    let mut target = Target { folder, part, uuid, name, writer: None };
    match copy(&sources, live, &mut target, watch) {
        Ok(()) => Ok(target.writer.map(SegmentWriter::finish).transpose()?),
        Err(e) => {
            target.writer = None;
            folder.discard(&target.name);
            Err(e)
        }
    }
}

/// The file being written, made when its first row comes.
struct Target<'a> {
    folder: &'a WorkFolder,
    part: &'a FeaturePart,
    uuid: Uuid,
    name: String,
    writer: Option<SegmentWriter>,
}

impl Target<'_> {
    fn push(&mut self, block: &Block<'_>, at: usize) -> Result<(), RewriteError> {
        if self.writer.is_none() {
            let path = self.folder.path_of(&self.name);
            let (vfs, part) = (self.folder.env().vfs(), self.part);
            self.writer = Some(SegmentWriter::create(vfs, &path, self.uuid, &part.desc, &part.attrs)?);
        }
        match self.writer.as_mut() {
            Some(writer) => Ok(writer.push_stored(block, at)?),
            None => Ok(()),
        }
    }
}

/// A block of one of the sources.
#[derive(Clone, Copy)]
struct Place {
    source: usize,
    block: usize,
    first: u64,
    end: u64,
    len: u64,
}

fn copy(
    sources: &[SegmentFile],
    live: &RowSet,
    target: &mut Target<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), RewriteError> {
    let mut places: Vec<Place> = Vec::new();
    for (source, file) in sources.iter().enumerate() {
        places.extend(file.blocks.iter().enumerate().map(|(block, b)| Place {
            source,
            block,
            first: b.first,
            end: b.end,
            len: b.len() as u64,
        }));
    }
    places.sort_by_key(|p| (p.first, p.source));
    let mut scratch = BlockBuffer::new();
    let mut rest = places.as_slice();
    while let Some(first) = rest.first() {
        // Blocks that interleave; they are of one cell.
        let mut end = first.end;
        let mut n = 1;
        while let Some(next) = rest.get(n).filter(|p| p.first < end) {
            end = end.max(next.end);
            n += 1;
        }
        let (together, later) = rest.split_at(n);
        if let [one] = together {
            let block = read(sources, one, &mut scratch)?;
            for (at, row) in block.rows.iter().enumerate() {
                if live.contains(*row) {
                    target.push(&block, at)?;
                }
            }
        } else {
            interleave(sources, together, live, target)?;
        }
        watch.advance(together.iter().map(|p| p.len).sum())?;
        rest = later;
    }
    Ok(())
}

/// Copies the rows of blocks that interleave, in order.
fn interleave(
    sources: &[SegmentFile],
    places: &[Place],
    live: &RowSet,
    target: &mut Target<'_>,
) -> Result<(), RewriteError> {
    let mut buffers: Vec<BlockBuffer> = places.iter().map(|_| BlockBuffer::new()).collect();
    let mut blocks = Vec::with_capacity(places.len());
    for (place, buffer) in places.iter().zip(&mut buffers) {
        blocks.push(read(sources, place, buffer)?);
    }
    let mut rows: Vec<(u64, usize, usize)> = Vec::new();
    for (b, block) in blocks.iter().enumerate() {
        let wanted = block.rows.iter().enumerate().filter(|(_, row)| live.contains(**row));
        rows.extend(wanted.map(|(at, row)| (*row, b, at)));
    }
    rows.sort_unstable();
    for (_, b, at) in rows {
        if let Some(block) = blocks.get(b) {
            target.push(block, at)?;
        }
    }
    Ok(())
}

/// A block, compared with its digest.
fn read<'a>(
    sources: &'a [SegmentFile],
    place: &Place,
    scratch: &'a mut BlockBuffer,
) -> Result<Block<'a>, RewriteError> {
    let block = match sources.get(place.source) {
        Some(file) => file.read_block(place.block, scratch).map_err(RewriteError::source)?,
        None => None,
    };
    let (segment, number) = (place.source as u32, place.block as u32);
    block.ok_or_else(|| RewriteError::source(ReadError::NoBlock { segment, block: number }))
}
