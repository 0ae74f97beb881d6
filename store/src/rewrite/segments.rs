//! Segments: the live rows of some of them in one new file.

use super::Watch;
use crate::error::{RewriteError, StorageError};
use crate::layout::{HeldFolder, NamedFile};
use crate::manifest::{FeaturePart, SegmentEntry};
use crate::segment::{BlockBuffer, SealedSegment, SegmentBlock, SegmentFile, SegmentWriter, Vector};

use gstore_core::RowSet;
use uuid::Uuid;

/// The rows of a segment, which is in the file `own`. Reads only blocks that have gaps.
pub(crate) fn rows_of(
    own: NamedFile,
    part: &FeaturePart,
    entry: &SegmentEntry,
) -> Result<RowSet, StorageError> {
    match entry.is_dense() {
        true => Ok(RowSet::from_range(entry.range())),
        false => SegmentFile::open_at(own, part, entry)?.row_set(&mut BlockBuffer::new()),
    }
}

/// Writes the live rows of some segments of a feature to one file in the folder; `None` if there is no such
/// row.
pub(crate) fn merge_segments(
    folder: &HeldFolder,
    part: &FeaturePart,
    inputs: &[SegmentEntry],
    live: &RowSet,
    watch: &mut Watch<'_>,
) -> Result<Option<SealedSegment>, RewriteError> {
    let uuid = Uuid::new_v4();
    let name = format!("{uuid}.arrow");
    let sources = inputs
        .iter()
        .map(|entry| SegmentFile::open_of(&folder.env, part, entry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(RewriteError::source)?;
    let mut target = RewrittenSegment { folder, part, uuid, name, writer: None };
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
struct RewrittenSegment<'a> {
    folder: &'a HeldFolder,
    part: &'a FeaturePart,
    uuid: Uuid,
    name: String,
    writer: Option<SegmentWriter>,
}

impl RewrittenSegment<'_> {
    fn push(&mut self, vector: &Vector<'_>) -> Result<(), RewriteError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let path = self.folder.path_of(&self.name);
                let (vfs, part) = (self.folder.env.vfs(), self.part);
                none.insert(SegmentWriter::create(vfs, &path, self.uuid, &part.desc, &part.attrs)?)
            }
        };
        Ok(writer.push_stored(vector)?)
    }
}

type SourceBlock<'a> = (&'a SegmentFile, &'a SegmentBlock);

fn copy(
    sources: &[SegmentFile],
    live: &RowSet,
    target: &mut RewrittenSegment<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), RewriteError> {
    let mut blocks: Vec<SourceBlock<'_>> =
        sources.iter().flat_map(|file| file.blocks.iter().map(move |block| (file, block))).collect();
    blocks.sort_by_key(|(_, block)| block.first);
    let mut scratch = BlockBuffer::new();
    let mut rest = blocks.as_slice();
    while let Some((_, first)) = rest.first() {
        // Blocks that interleave; they are of one cell.
        let mut end = first.end;
        let mut n = 1;
        while let Some((_, next)) = rest.get(n).filter(|(_, block)| block.first < end) {
            end = end.max(next.end);
            n += 1;
        }
        let (together, later) = rest.split_at(n);
        if let [(file, block)] = together {
            let block = file.read_block(block, &mut scratch).map_err(RewriteError::source)?;
            block.vectors().filter(|v| live.contains(v.row)).try_for_each(|v| target.push(&v))?;
        } else {
            interleave(together, live, target)?;
        }
        watch.advance(together.iter().map(|(_, block)| block.len() as u64).sum())?;
        rest = later;
    }
    Ok(())
}

/// Copies the rows of blocks that interleave, in order.
fn interleave(
    together: &[SourceBlock<'_>],
    live: &RowSet,
    target: &mut RewrittenSegment<'_>,
) -> Result<(), RewriteError> {
    let mut buffers: Vec<BlockBuffer> = together.iter().map(|_| BlockBuffer::new()).collect();
    let mut vectors: Vec<Vector<'_>> = Vec::new();
    for ((file, block), buffer) in together.iter().zip(&mut buffers) {
        let block = file.read_block(block, buffer).map_err(RewriteError::source)?;
        vectors.extend(block.vectors().filter(|v| live.contains(v.row)));
    }
    vectors.sort_unstable_by_key(|v| (v.row, v.pos));
    vectors.iter().try_for_each(|v| target.push(v))
}
