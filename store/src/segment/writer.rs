//! Writing a segment, from the first row to the sealed file.

use super::block::{Block, row_check};
use super::footer::{BlockMeta, RowSpan, metadata};
use super::layout::Shape;
use super::quantize::{Scratch, ValueVec, store_row};
use super::sink::Sink;
use crate::error::{StorageError, WriteError};
use crate::ident::{CELL_ROWS, DType, Family, FeatureAttrs, FeatureDesc, RowFlags, RowSet};
use crate::manifest::{Extra, SegmentEntry};
use crate::vfs::Vfs;
use arrow_array::types::{Float16Type, Float32Type, Int8Type};
use arrow_array::{ArrayRef, FixedSizeListArray, PrimitiveArray, RecordBatch, UInt8Array, UInt64Array};
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, Schema};
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
    pub fn uuid(&self) -> Uuid {
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
    shape: Shape,
    schema: Arc<Schema>,
    /// `None` once a write failed: what the file holds is unknown then.
    writer: Option<FileWriter<Sink>>,
    head: String,
    blocks: Vec<BlockMeta>,
    written: RowSet,
    block_rows: usize,
    open: OpenBlock,
    scratch: Scratch,
    hash: Xxh3,
}

/// The rows of the block that is being filled.
struct OpenBlock {
    rows: Vec<u64>,
    values: ValueVec,
    scale: Vec<f32>,
    norm: Vec<f32>,
    flags: Vec<u8>,
    check: Vec<u64>,
}

impl OpenBlock {
    fn new(shape: &Shape, rows: usize) -> Self {
        OpenBlock {
            rows: Vec::new(),
            values: ValueVec::new(shape.dtype, rows.saturating_mul(shape.dim)),
            scale: Vec::new(),
            norm: Vec::new(),
            flags: Vec::new(),
            check: Vec::new(),
        }
    }
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
        let shape = Shape::new(desc, attrs);
        let schema = Arc::new(shape.schema());
        let file = vfs.create(path).map_err(io)?;
        let options = IpcWriteOptions::try_new(super::layout::ALIGN, false, MetadataVersion::V5)
            .map_err(|e| io(into_io(e)))?;
        let mut writer = FileWriter::try_new_with_options(Sink::new(file), &schema, options)
            .map_err(|e| io(into_io(e)))?;
        let head = writer.get_mut().take_digest();
        let block_rows = shape.block_rows();
        Ok(SegmentWriter {
            path: path.to_owned(),
            name,
            uuid,
            desc: desc.clone(),
            attrs: attrs.clone(),
            open: OpenBlock::new(&shape, block_rows.min(CELL_ROWS as usize)),
            shape,
            schema,
            writer: Some(writer),
            head,
            blocks: Vec::new(),
            written: RowSet::new(),
            block_rows,
            scratch: Scratch::default(),
            hash: Xxh3::new(),
        })
    }

    /// Makes room for a row.
    fn begin(&mut self, row: u64) -> Result<(), WriteError> {
        if self.writer.is_none() {
            return Err(WriteError::Poisoned(self.name.clone()));
        }
        let last = self.written.ranges().last().map(|r| r.end - 1);
        if let Some(last) = last.filter(|l| *l >= row) {
            return Err(WriteError::Order { row, last });
        }
        if row == u64::MAX {
            return Err(WriteError::Description("rows go up to 2^64 - 2".into()));
        }
        let other_cell = last.is_some_and(|l| l / CELL_ROWS != row / CELL_ROWS);
        if self.open.rows.len() >= self.block_rows || (other_cell && !self.open.rows.is_empty()) {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds a row of a verified block of the same shape, bit for bit. Rows ascend.
    pub(crate) fn push_stored(&mut self, block: &Block<'_>, at: usize) -> Result<(), WriteError> {
        let Some(row) = block.rows.get(at).copied() else { return Ok(()) };
        let groups = self.shape.groups.len();
        let part = |all: &'_ [f32]| all.get(at * groups..(at + 1) * groups).map(<[f32]>::to_vec);
        let dim = self.shape.dim;
        let (Some(scale), Some(norm), Some(flags), Some(check)) =
            (part(block.scale), part(block.norm), block.flags.get(at), block.check.get(at))
        else {
            return Err(WriteError::Dim { row, expected: dim, found: 0 });
        };
        self.begin(row)?;
        let o = &mut self.open;
        if !o.values.extend_from(&block.values, at * dim..(at + 1) * dim) {
            return Err(WriteError::Dim { row, expected: dim, found: 0 });
        }
        o.scale.extend(scale);
        o.norm.extend(norm);
        o.rows.push(row);
        o.flags.push(*flags);
        o.check.push(*check);
        self.written.insert(row..row + 1);
        Ok(())
    }

    /// Adds a row. Rows ascend. A vector with a value that is not finite is stored as zeros and flagged.
    pub fn push(&mut self, row: u64, vector: &[f32], flags: RowFlags) -> Result<(), WriteError> {
        if vector.len() != self.shape.dim {
            return Err(WriteError::Dim { row, expected: self.shape.dim, found: vector.len() });
        }
        self.begin(row)?;
        let o = &mut self.open;
        let mut flags = flags;
        if !store_row(vector, &self.shape.groups, &mut o.values, &mut o.scale, &mut o.norm, &mut self.scratch)
        {
            flags.insert(RowFlags::NON_FINITE);
        }
        let groups = self.shape.groups.len();
        let tail = |v: &Vec<f32>| v.len() - groups;
        let check = row_check(
            &mut self.hash,
            row,
            o.values.tail_bytes(self.shape.dim),
            bytemuck::cast_slice(o.scale.get(tail(&o.scale)..).unwrap_or_default()),
            bytemuck::cast_slice(o.norm.get(tail(&o.norm)..).unwrap_or_default()),
            flags.bits(),
        );
        o.rows.push(row);
        o.flags.push(flags.bits());
        o.check.push(check);
        self.written.insert(row..row + 1);
        Ok(())
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.written.len()
    }

    /// Which rows were added so far.
    pub fn row_set(&self) -> &RowSet {
        &self.written
    }

    /// The feature's description.
    pub fn desc(&self) -> &FeatureDesc {
        &self.desc
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let fresh = OpenBlock::new(&self.shape, self.block_rows.min(CELL_ROWS as usize));
        let block = std::mem::replace(&mut self.open, fresh);
        let (Some(first), Some(last)) = (block.rows.first().copied(), block.rows.last().copied()) else {
            return Ok(());
        };
        let rows = block.rows.len() as u64;
        // Taken out, so that an error leaves the writer poisoned.
        let Some(mut writer) = self.writer.take() else {
            return Err(WriteError::Poisoned(self.name.clone()));
        };
        let io = |e| StorageError::io(format!("write {}", self.name), into_io(e));
        let batch = to_batch(block, &self.schema).map_err(io)?;
        writer.write(&batch).map_err(io)?;
        let digest = writer.get_mut().take_digest();
        self.blocks.push(BlockMeta(first, last + 1, rows, digest));
        self.writer = Some(writer);
        Ok(())
    }

    /// Writes what is left and the footer, and flushes the file to the medium.
    pub fn finish(mut self) -> Result<SealedSegment, WriteError> {
        self.flush()?;
        let Some(mut writer) = self.writer.take() else { return Err(WriteError::Poisoned(self.name)) };
        let (Some(first), Some(last)) = (self.blocks.first(), self.blocks.last()) else {
            return Err(WriteError::Empty);
        };
        let span = RowSpan { first: first.0, end: last.1, rows: self.written.len() };
        let io = |e| StorageError::io(format!("finish {}", self.name), e);
        let pairs = metadata(&self.desc, &self.attrs, span, &self.head, &self.blocks)
            .map_err(|e| io(std::io::Error::other(e)))?;
        for (key, value) in pairs {
            writer.write_metadata(key, value);
        }
        let blocks_end = writer.get_ref().pos();
        writer.finish().map_err(|e| io(into_io(e)))?;
        let mut sink = writer.into_inner().map_err(|e| io(into_io(e)))?;
        let footer_digest = sink.take_digest();
        sink.sync().map_err(io)?;
        let entry = SegmentEntry {
            uuid: self.uuid,
            first_row: span.first,
            end_row: span.end,
            rows: span.rows,
            len: sink.pos(),
            tail_len: sink.pos() - blocks_end,
            footer_digest,
            extra: Extra::new(),
        };
        Ok(SealedSegment { path: self.path, entry, rows: self.written })
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
    if desc.ensemble.is_some() {
        return Err("features of an ensemble cannot be written by this version".into());
    }
    Ok(())
}

fn to_batch(block: OpenBlock, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
    let list = |index: usize, items: ArrayRef| -> Result<ArrayRef, ArrowError> {
        match schema.field(index).data_type() {
            DataType::FixedSizeList(field, n) => {
                Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *n, items, None)?))
            }
            other => Err(ArrowError::SchemaError(format!("column {index} is {other}"))),
        }
    };
    let values: ArrayRef = match block.values {
        ValueVec::F16(v) => Arc::new(PrimitiveArray::<Float16Type>::new(v.into(), None)),
        ValueVec::F32(v) => Arc::new(PrimitiveArray::<Float32Type>::new(v.into(), None)),
        ValueVec::I8(v) => Arc::new(PrimitiveArray::<Int8Type>::new(v.into(), None)),
    };
    let floats = |v: Vec<f32>| -> ArrayRef { Arc::new(PrimitiveArray::<Float32Type>::new(v.into(), None)) };
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(UInt64Array::new(block.rows.into(), None)),
            list(1, values)?,
            list(2, floats(block.scale))?,
            list(3, floats(block.norm))?,
            Arc::new(UInt8Array::new(block.flags.into(), None)),
            Arc::new(UInt64Array::new(block.check.into(), None)),
        ],
    )
}

fn into_io(e: ArrowError) -> std::io::Error {
    match e {
        ArrowError::IoError(_, e) => e,
        other => std::io::Error::other(other),
    }
}
