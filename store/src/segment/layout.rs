//! Block layout: the schema of the columns, and their offsets.
//!
//! Every number taken from a file is checked before it is used: after [`BlockLayout::parse`] the
//! ranges are inside the block.

use arrow_schema::{DataType, Field, Schema};
use gstore_core::{DType, Granularity, SignRotation};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

/// The most bytes a block may have, unless it is a block of one row.
pub const BLOCK_BYTES: usize = 8 << 20;

/// Every buffer starts on a multiple of this.
pub(crate) const ALIGN: usize = 64;

/// What is wrong with a part of a file: what, expected, found.
pub(crate) type Mismatch = (String, String, String);

pub(crate) fn problem<T>(
    what: impl Into<String>,
    expected: impl Display,
    found: impl Display,
) -> Result<T, Mismatch> {
    Err(mismatch(what.into(), [&expected, &found]))
}

fn mismatch(what: String, [expected, found]: [&dyn Display; 2]) -> Mismatch {
    (what, expected.to_string(), found.to_string())
}

/// What decides the columns of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentShape {
    pub dim: usize,
    pub groups: Vec<Range<usize>>,
    pub dtype: DType,
    /// How vectors are rotated before their signs are taken.
    pub rotation: SignRotation,
    pub granularity: Granularity,
    /// Whether a value may be missing, which is a NaN: those of ensembles.
    pub gaps: bool,
}

/// A column as it lies in a block.
struct Column {
    /// Items in a vector's cell, and bytes of each.
    items: usize,
    size: usize,
    /// A list has one more buffer, the validity of its items, and one more node.
    list: bool,
}

impl SegmentShape {
    pub(crate) fn new(desc: &gstore_core::FeatureDesc, attrs: &gstore_core::FeatureAttrs) -> SegmentShape {
        let groups =
            attrs.groups.iter().map(|g| g.start as usize..g.start as usize + g.len as usize).collect();
        let (dim, gaps) = (desc.dim() as usize, desc.ensemble.is_some());
        let (dtype, rotation, granularity) = (desc.dtype, desc.rotation, desc.granularity);
        SegmentShape { dim, groups, dtype, rotation, granularity, gaps }
    }

    /// Stored items of a vector.
    pub(crate) fn items(&self) -> usize {
        self.groups.iter().map(|group| self.dtype.items(group.len())).sum()
    }

    /// Whether a row may have several vectors, told apart by positions.
    pub(crate) fn has_positions(&self) -> bool {
        self.granularity == Granularity::Token
    }

    /// The Arrow schema. List items are declared nullable although none ever is: pyarrow refuses to wrap a
    /// list of non-nullable items as a tensor, and without an extension type polars sees a plain array.
    pub(crate) fn schema(&self) -> Schema {
        let list = |item: DataType, n: usize| {
            DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), n as i32)
        };
        let value = match self.dtype {
            DType::F16 => DataType::Float16,
            DType::F32 => DataType::Float32,
            DType::I8 => DataType::Int8,
            DType::I1 => DataType::UInt64,
        };
        let n = self.groups.len();
        let mut fields = vec![Field::new("row", DataType::UInt64, false)];
        if self.has_positions() {
            fields.push(Field::new("pos", DataType::UInt32, false));
        }
        fields.extend([
            Field::new("vector", list(value, self.items()), false),
            Field::new("scale", list(DataType::Float32, n), false),
            Field::new("norm", list(DataType::Float32, n), false),
            Field::new("flags", DataType::UInt8, false),
            Field::new("check", DataType::UInt64, false),
        ]);
        Schema::new(fields)
    }

    /// Bytes of one vector in all columns.
    pub(crate) fn vector_bytes(&self) -> usize {
        self.columns().iter().map(|c| c.items * c.size).sum()
    }

    /// Vectors of a full block.
    pub(crate) fn block_vectors(&self) -> usize {
        // The message header and the padding of the buffers.
        const OVERHEAD: usize = 4096;
        ((BLOCK_BYTES - OVERHEAD) / self.vector_bytes()).max(1)
    }

    /// The columns in file order: row, pos where there is one, vector, scale, norm, flags, check.
    fn columns(&self) -> Vec<Column> {
        let plain = |size| Column { items: 1, size, list: false };
        let list = |items, size| Column { items, size, list: true };
        let n = self.groups.len();
        let mut columns = vec![plain(8)];
        if self.has_positions() {
            columns.push(plain(4));
        }
        let values = list(self.items(), self.dtype.item_bytes());
        columns.extend([values, list(n, 4), list(n, 4), plain(1), plain(8)]);
        columns
    }
}

/// Byte ranges of the columns, relative to the start of the block (its message header, not its body).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockLayout {
    /// Vectors of the block.
    pub vectors: usize,
    pub row: Range<usize>,
    /// Empty where a row has one vector.
    pub pos: Range<usize>,
    pub values: Range<usize>,
    pub scale: Range<usize>,
    pub norm: Range<usize>,
    pub flags: Range<usize>,
    pub check: Range<usize>,
}

impl BlockLayout {
    /// The columns of a block with one vector for each row.
    pub(super) fn of_rows(&self) -> [&Range<usize>; 6] {
        [&self.row, &self.values, &self.scale, &self.norm, &self.flags, &self.check]
    }

    /// Checks the message header of a block of `vectors` vectors and finds its columns.
    pub(crate) fn parse(
        header: &[u8],
        body_len: usize,
        vectors: usize,
        shape: &SegmentShape,
    ) -> Result<BlockLayout, Mismatch> {
        let Some((&[a, b, c, d, l0, l1, l2, l3], flat)) = header.split_first_chunk::<8>() else {
            return problem("message header", "8 bytes or more", header.len());
        };
        if [a, b, c, d] != [0xff; 4] {
            return problem(
                "start of the message header",
                "ffffffff",
                format!("{a:02x}{b:02x}{c:02x}{d:02x}"),
            );
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len.checked_add(8) != Some(header.len()) {
            return problem("length of the message header", header.len() - 8, len);
        }
        let message = match arrow_ipc::root_as_message(flat) {
            Ok(m) => m,
            Err(e) => return problem("message header", "a valid message", e),
        };
        if message.bodyLength() != body_len as i64 {
            return problem("length of the block's body", body_len, message.bodyLength());
        }
        let Some(batch) = message.header_as_record_batch() else {
            return problem("kind of the message", "a record batch", format!("{:?}", message.header_type()));
        };
        if batch.compression().is_some() || batch.variadicBufferCounts().is_some_and(|v| !v.is_empty()) {
            return problem("record batch", "plain buffers", "compressed or variadic ones");
        }
        if batch.length() != vectors as i64 {
            return problem("vectors of the block", vectors, batch.length());
        }
        Self::check_nodes(&batch, vectors, shape)?;
        Self::check_buffers(&batch, header.len(), body_len, vectors, shape)
    }

    fn check_nodes(
        batch: &arrow_ipc::RecordBatch<'_>,
        vectors: usize,
        shape: &SegmentShape,
    ) -> Result<(), Mismatch> {
        let mut expected = Vec::new();
        for column in shape.columns() {
            expected.push(vectors);
            if column.list {
                expected.push(vectors.saturating_mul(column.items));
            }
        }
        let nodes: Vec<_> = batch.nodes().iter().flat_map(|n| n.iter()).collect();
        if nodes.len() != expected.len() {
            return problem("columns of the block", expected.len(), nodes.len());
        }
        for (node, want) in nodes.iter().zip(expected) {
            if node.length() != want as i64 || node.null_count() != 0 {
                return problem(
                    "a column's length",
                    want,
                    format!("{} with {} nulls", node.length(), node.null_count()),
                );
            }
        }
        Ok(())
    }

    fn check_buffers(
        batch: &arrow_ipc::RecordBatch<'_>,
        header_len: usize,
        body_len: usize,
        vectors: usize,
        shape: &SegmentShape,
    ) -> Result<BlockLayout, Mismatch> {
        let columns = shape.columns();
        // Each column has a validity buffer first, and so has each list's item.
        let count = columns.iter().map(|c| 2 + usize::from(c.list)).sum();
        let buffers: Vec<_> = batch.buffers().iter().flat_map(|b| b.iter()).collect();
        if buffers.len() != count {
            return problem("buffers of the block", count, buffers.len());
        }
        let mut end = 0usize;
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(count);
        for b in &buffers {
            let (Ok(start), Ok(len)) = (usize::try_from(b.offset()), usize::try_from(b.length())) else {
                return problem(
                    "a buffer",
                    "a place inside the block",
                    format!("{}+{}", b.offset(), b.length()),
                );
            };
            let stop = match start.checked_add(len) {
                Some(stop) if start >= end && stop <= body_len && start.is_multiple_of(ALIGN) => stop,
                _ => {
                    return problem(
                        "a buffer",
                        format!("{end}..{body_len}, aligned"),
                        format!("{start}+{len}"),
                    );
                }
            };
            end = stop;
            ranges.push(header_len + start..header_len + stop);
        }
        let mut data = Vec::with_capacity(columns.len());
        let mut ranges = ranges.into_iter();
        for column in &columns {
            // There are as many as the columns ask for.
            let Some(range) = ranges.nth(1 + usize::from(column.list)) else { break };
            let want = vectors.checked_mul(column.items).and_then(|n| n.checked_mul(column.size));
            if Some(range.len()) != want {
                return problem("a buffer's length", want.unwrap_or(usize::MAX), range.len());
            }
            data.push(range);
        }
        let pos = if shape.has_positions() { data.remove(1) } else { 0..0 };
        match <[Range<usize>; 6]>::try_from(data) {
            Ok([row, values, scale, norm, flags, check]) => {
                Ok(BlockLayout { vectors, row, pos, values, scale, norm, flags, check })
            }
            Err(_) => problem("buffers of the block", count, "fewer"),
        }
    }
}
