//! Blocks that outlive their reader: columns of the map, each with what keeps the map.

use std::ops::Range;
use std::sync::Arc;

use super::BlockBuffer;
use super::file::{SegmentBlock, SegmentFile};
use super::layout::BlockLayout;
use crate::error::StorageError;

/// A verified block whose columns can be handed on without a copy.
#[derive(Debug, Clone)]
pub struct SharedBlock {
    bytes: Bytes,
    layout: BlockLayout,
}

/// A column of a block, little-endian and aligned to its items.
#[derive(Debug, Clone)]
pub struct SharedColumn {
    bytes: Bytes,
    range: Range<usize>,
}

#[derive(Debug, Clone)]
enum Bytes {
    Mapped(Arc<SegmentFile>, Range<usize>),
    /// What was read, where it is not mapped or its digest had still to be compared.
    Read(Arc<BlockBuffer>),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(file, range) => {
                file.map.get().and_then(|map| map.as_bytes().get(range.clone())).unwrap_or_default()
            }
            Self::Read(buffer) => buffer.as_bytes(),
        }
    }
}

impl AsRef<[u8]> for SharedColumn {
    fn as_ref(&self) -> &[u8] {
        self.bytes.all().get(self.range.clone()).unwrap_or_default()
    }
}

impl SharedBlock {
    /// Number of vectors.
    pub fn vectors(&self) -> usize {
        self.layout.vectors
    }

    /// The row of each vector: u64.
    pub fn rows(&self) -> SharedColumn {
        self.column(&self.layout.row)
    }

    /// Where vectors belong to tokens, the position of each: u32.
    pub fn pos(&self) -> SharedColumn {
        self.column(&self.layout.pos)
    }

    /// vectors x dim stored values, of the feature's type; of signs their words (`u64`).
    pub fn values(&self) -> SharedColumn {
        self.column(&self.layout.values)
    }

    /// vectors x groups scales: f32.
    pub fn scale(&self) -> SharedColumn {
        self.column(&self.layout.scale)
    }

    /// vectors x groups norms: f32.
    pub fn norm(&self) -> SharedColumn {
        self.column(&self.layout.norm)
    }

    /// Flags: u8.
    pub fn flags(&self) -> SharedColumn {
        self.column(&self.layout.flags)
    }

    fn column(&self, range: &Range<usize>) -> SharedColumn {
        SharedColumn { bytes: self.bytes.clone(), range: range.clone() }
    }
}

impl SegmentFile {
    pub(super) fn share(self: &Arc<Self>, block: &SegmentBlock) -> Result<SharedBlock, StorageError> {
        if let Some(layout) = block.verified.get().filter(|_| !self.transient)
            && let Some(bytes) = self.mapped_if_possible(block)?
        {
            self.view(block, bytes, layout)?;
            // A file is mapped whole, and the block is inside: its bytes were just taken.
            let start = usize::try_from(block.offset).unwrap_or(usize::MAX);
            let range = start..start.saturating_add(bytes.len());
            return Ok(SharedBlock { bytes: Bytes::Mapped(Arc::clone(self), range), layout: layout.clone() });
        }
        let mut buffer = BlockBuffer::new();
        let (_, layout) = self.read_checked(block, &mut buffer)?;
        let layout = block.verified.get_or_init(|| layout).clone();
        Ok(SharedBlock { bytes: Bytes::Read(Arc::new(buffer)), layout })
    }
}
