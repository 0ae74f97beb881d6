//! Writing a segment, from the first row to the sealed file.

use super::block::{Block, Vector};
use super::bounds::BlockBounds;
use super::footer::{BlockMeta, RowSpan, TAIL_LIMIT, metadata, tail_bound};
use super::layout::SegmentShape;
use super::pending::Pending;
use super::quantize::Scratch;
use super::sink::Sink;
use crate::error::{StorageError, WriteError};
use crate::manifest::{Extra, SegmentEntry, Stripe};
use crate::vfs::Vfs;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, Schema};
use gstore_core::{CELL_ROWS, DType, Digest, Family, FeatureAttrs, FeatureDesc, RowFlags, RowSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// A finished segment: flushed, complete, not yet published.
#[derive(Debug, Clone)]
pub struct SealedSegment {
    pub(crate) path: PathBuf,
    pub(crate) entry: SegmentEntry,
    pub(crate) rows: RowSet,
}

impl SealedSegment {
    /// Its name.
    pub(crate) fn uuid(&self) -> Uuid {
        self.entry.uuid
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.entry.rows
    }

    /// Which rows.
    pub fn row_set(&self) -> &RowSet {
        &self.rows
    }

    /// Length of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.entry.len
    }

    /// Where the file is now.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes the vectors of one feature, rows ascending, and seals the file.
///
/// Dropped before [`SegmentWriter::finish`], it leaves an unfinished file that nothing refers to.
pub struct SegmentWriter {
    path: PathBuf,
    name: String,
    uuid: Uuid,
    desc: FeatureDesc,
    attrs: FeatureAttrs,
    shape: SegmentShape,
    schema: Arc<Schema>,
    /// `None` once a write failed: what the file holds is unknown then.
    writer: Option<FileWriter<Sink>>,
    head: Digest,
    blocks: Vec<BlockMeta>,
    /// Vectors of each block.
    vectors: Vec<u64>,
    bounds: Vec<BlockBounds>,
    written: RowSet,
    /// Vectors that became zeros.
    not_finite: u64,
    /// Vectors of a full block.
    block_vectors: usize,
    open: Pending,
    scratch: Scratch,
    hash: Xxh3,
}

impl SegmentWriter {
    /// Starts a new file. Jobs do this through `Job::segment_writer`.
    pub fn create(
        vfs: &dyn Vfs,
        path: &Path,
        uuid: Uuid,
        desc: &FeatureDesc,
        attrs: &FeatureAttrs,
    ) -> Result<SegmentWriter, WriteError> {
        check_description(desc, attrs).map_err(WriteError::Description)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let io = |e| StorageError::io(format!("create {name}"), e);
        let shape = SegmentShape::new(desc, attrs);
        let schema = Arc::new(shape.schema());
        let file = vfs.create(path).map_err(io)?;
        let options = IpcWriteOptions::try_new(super::layout::ALIGN, false, MetadataVersion::V5)
            .map_err(|e| io(into_io(e)))?;
        let mut writer = FileWriter::try_new_with_options(Sink::new(file), &schema, options)
            .map_err(|e| io(into_io(e)))?;
        let head = writer.get_mut().take_digest();
        let block_vectors = shape.block_vectors();
        Ok(SegmentWriter {
            path: path.to_owned(),
            name,
            uuid,
            desc: desc.clone(),
            attrs: attrs.clone(),
            open: Pending::new(&shape, block_vectors.min(CELL_ROWS as usize)),
            shape,
            schema,
            writer: Some(writer),
            head,
            blocks: Vec::new(),
            vectors: Vec::new(),
            bounds: Vec::new(),
            written: RowSet::new(),
            not_finite: 0,
            block_vectors,
            scratch: Scratch::of(desc.rotation),
            hash: Xxh3::new(),
        })
    }

    /// Makes room for a vector, `pos` being its token's position where rows have several.
    fn begin(&mut self, row: u64, pos: Option<u32>) -> Result<(), WriteError> {
        if self.writer.is_none() {
            return Err(WriteError::Poisoned(self.name.clone()));
        }
        if pos.is_some() != self.shape.has_positions() {
            let wrong = format!(
                "a vector of row {row} was written as if it belonged to the other of sample and token"
            );
            return Err(WriteError::Description(wrong));
        }
        let last = self.written.ranges().last().map(|r| r.end - 1);
        if let (Some(pos), Some(before)) = (pos, self.open.pos.last().copied().filter(|_| last == Some(row)))
            && (before >= pos || before == 0)
        {
            return Err(WriteError::Position { row, pos, last: before });
        }
        let same = pos.is_some() && last == Some(row);
        if let Some(last) = last.filter(|l| *l >= row && !same) {
            return Err(WriteError::Order { row, last });
        }
        if row == u64::MAX {
            return Err(WriteError::Description("rows go up to 2^64 - 2".into()));
        }
        let held = &self.open.rows;
        let other_cell = last.is_some_and(|l| l / CELL_ROWS != row / CELL_ROWS);
        let full = held.len() >= self.block_vectors || other_cell;
        match held.partition_point(|r| *r < row) {
            0 => Ok(()),
            whole if full => self.flush(whole),
            _ => Ok(()),
        }
    }

    /// Adds a vector of a verified block of the same shape, bit for bit. Rows ascend.
    pub(crate) fn push_stored(&mut self, vector: &Vector<'_>) -> Result<(), WriteError> {
        let row = vector.row;
        self.begin(row, vector.pos)?;
        if !self.open.push_stored(vector) {
            return Err(WriteError::Dim { row, expected: self.shape.dim, found: 0 });
        }
        self.written.insert(row..row + 1);
        Ok(())
    }

    /// Adds those vectors of a verified block whose rows are wanted.
    pub(crate) fn push_rows(&mut self, block: &Block<'_>, wanted: &RowSet) -> Result<(), WriteError> {
        block.vectors().filter(|v| wanted.contains(v.row)).try_for_each(|v| self.push_stored(&v))
    }

    /// Adds the vector of a row. Rows ascend. A vector with a value or a length that is not finite, or with the
    /// flag for that, is stored as zeros and flagged; in a feature of an ensemble NaN is a missing value, which
    /// is kept, and the row is flagged.
    pub fn push(&mut self, row: u64, vector: &[f32], flags: RowFlags) -> Result<(), WriteError> {
        self.add((row, None), vector, flags)
    }

    /// Adds the vector of the token at position `pos` of a row, of a feature whose vectors belong to
    /// tokens; 0 stands for a row without a scored token, whose flags say so. Rows ascend, and
    /// positions inside a row.
    ///
    /// Memory: a block holds whole rows, so the vectors of one row are all held.
    pub fn push_token(
        &mut self,
        (row, pos): (u64, u32),
        vector: &[f32],
        flags: RowFlags,
    ) -> Result<(), WriteError> {
        if (pos == 0) != flags.contains(RowFlags::NO_SCORED) {
            return Err(WriteError::Description(format!(
                "row {row}: position 0 stands for a sample without a scored token, and for no other"
            )));
        }
        self.add((row, Some(pos)), vector, flags)
    }

    fn add(
        &mut self,
        (row, pos): (u64, Option<u32>),
        vector: &[f32],
        flags: RowFlags,
    ) -> Result<(), WriteError> {
        if vector.len() != self.shape.dim {
            return Err(WriteError::Dim { row, expected: self.shape.dim, found: vector.len() });
        }
        self.begin(row, pos)?;
        let tools = (&mut self.scratch, &mut self.hash);
        self.not_finite += u64::from(!self.open.push((row, pos), vector, flags, &self.shape, tools));
        self.written.insert(row..row + 1);
        Ok(())
    }

    /// Takes back the vectors of the row that was added last, all of which are held.
    pub fn take_back(&mut self, row: u64) {
        let whole = self.open.rows.partition_point(|other| *other < row);
        self.open.split_off(whole, &self.shape, 0);
        self.written = self.written.difference(&RowSet::from_range(row..row + 1));
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.written.len()
    }

    /// Vectors added so far that became zeros, since a value or a length is not finite or their flags say so;
    /// also those that were taken back.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Which rows were added so far.
    pub fn row_set(&self) -> &RowSet {
        &self.written
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the first `vectors` of those held as a block. They are those of whole rows.
    fn flush(&mut self, vectors: usize) -> Result<(), WriteError> {
        let rest = self.open.split_off(vectors, &self.shape, self.block_vectors.min(CELL_ROWS as usize));
        let block = std::mem::replace(&mut self.open, rest);
        let (Some(first), Some(last)) = (block.rows.first().copied(), block.rows.last().copied()) else {
            return Ok(());
        };
        let (rows, vectors) = (block.distinct(), block.rows.len() as u64);
        // Taken out, so that an error leaves the writer poisoned.
        let Some(mut writer) = self.writer.take() else {
            return Err(WriteError::Poisoned(self.name.clone()));
        };
        let bounds = BlockBounds::of(&block.view(), &self.shape.groups);
        let io = |e| StorageError::io(format!("write {}", self.name), into_io(e));
        let batch = block.into_batch(&self.schema).map_err(io)?;
        writer.write(&batch).map_err(io)?;
        let digest = writer.get_mut().take_digest();
        self.blocks.push(BlockMeta(first, last + 1, rows, digest));
        self.vectors.push(vectors);
        self.bounds.push(bounds);
        self.writer = Some(writer);
        Ok(())
    }

    /// Writes what is left and the footer, and flushes the file to the medium.
    pub fn finish(mut self) -> Result<SealedSegment, WriteError> {
        self.flush(self.open.rows.len())?;
        let Some(mut writer) = self.writer.take() else { return Err(WriteError::Poisoned(self.name)) };
        let (Some(first), Some(last)) = (self.blocks.first(), self.blocks.last()) else {
            return Err(WriteError::Empty);
        };
        let span = RowSpan { first: first.0, end: last.1, rows: self.written.len() };
        let io = |e| StorageError::io(format!("finish {}", self.name), e);
        let pairs =
            metadata(&self.desc, &self.attrs, span, self.head, &self.blocks, &self.vectors, &self.bounds)
                .map_err(|e| io(std::io::Error::other(e)))?;
        let bound = tail_bound(&pairs, self.blocks.len());
        check_tail(&self.name, bound, self.blocks.len())?;
        for (key, value) in pairs {
            writer.write_metadata(key, value);
        }
        let blocks_end = writer.get_ref().pos;
        writer.finish().map_err(|e| io(into_io(e)))?;
        let mut sink = writer.into_inner().map_err(|e| io(into_io(e)))?;
        let footer_digest = sink.take_digest();
        sink.sync().map_err(io)?;
        let entry = SegmentEntry {
            uuid: self.uuid,
            first_row: span.first,
            end_row: span.end,
            rows: span.rows,
            len: sink.pos,
            tail_len: sink.pos - blocks_end,
            footer_digest,
            extra: Extra::new(),
        };
        debug_assert!(entry.tail_len <= bound, "a tail of {} bytes, not {bound}", entry.tail_len);
        Ok(SealedSegment { path: self.path, entry, rows: self.written })
    }
}

/// Refuses what no reader would open.
fn check_tail(name: &str, bytes: u64, blocks: usize) -> Result<(), WriteError> {
    match bytes > TAIL_LIMIT {
        true => Err(WriteError::Footer { name: name.to_owned(), blocks, bytes, limit: TAIL_LIMIT }),
        false => Ok(()),
    }
}

/// Says why a feature cannot be stored, if it cannot.
pub(crate) fn check_description(desc: &FeatureDesc, attrs: &FeatureAttrs) -> Result<(), String> {
    if let Some(p) = attrs.groups_problem(desc.dim()) {
        return Err(p);
    }
    if desc.dim() > i32::MAX as u32 / 8 {
        return Err(format!("{} coordinates are more than a block can hold", desc.dim()));
    }
    if desc.space.family == Family::Loss && desc.dtype != DType::F32 {
        return Err(format!("losses are stored as f32, not as {}", desc.dtype));
    }
    if !desc.rotation.is_none() && desc.dtype != DType::I1 {
        return Err(format!(
            "vectors are rotated before their signs are taken, and these are stored as {}",
            desc.dtype
        ));
    }
    Stripe::of(desc).map(drop)
}

fn into_io(e: ArrowError) -> std::io::Error {
    match e {
        ArrowError::IoError(_, e) => e,
        other => std::io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_that_no_reader_takes_is_refused() {
        let blocks = |n: usize| check_tail("a.arrow", tail_bound(&[("gstore.blocks", "x".repeat(90))], n), n);
        blocks(1_000_000).unwrap();
        let error = blocks(20_000_000).unwrap_err().to_string();
        assert!(error.starts_with("a.arrow has 20000000 blocks"), "{error}");
        assert!(error.ends_with("put fewer rows into a file"), "{error}");
    }
}
