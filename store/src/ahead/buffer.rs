//! A thread's memory for blocks.

use super::{ReadAhead, SpanPosition};
use crate::buffer::AlignedBuffer;
use std::ops::Range;
use std::sync::Arc;

/// Aligned memory for blocks that are read rather than mapped. One per thread, used again for every block. It
/// may see what was read ahead, which then is not read again.
#[derive(Debug, Default)]
pub struct BlockBuffer {
    own: AlignedBuffer,
    ahead: Option<Arc<ReadAhead>>,
}

impl BlockBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What blocks are taken from before they are read; `None`: nothing any more.
    pub fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.ahead = ahead.cloned();
    }

    /// Makes it `len` bytes long and hands it out; old content may remain.
    pub fn resize(&mut self, len: usize) -> &mut [u8] {
        self.own.resize(len)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.own.as_bytes()
    }

    /// The same memory, and what was read ahead.
    pub(crate) fn resize_beside(&mut self, len: usize) -> (&mut [u8], Option<&ReadAhead>) {
        (self.own.resize(len), self.ahead.as_deref())
    }

    /// Where a span of a file is, if it was read ahead.
    pub(crate) fn find(&self, file: &str, span: &Range<u64>) -> Option<SpanPosition> {
        self.ahead.as_ref()?.find(file, span)
    }

    /// Its bytes.
    pub(crate) fn at(&self, place: SpanPosition) -> &[u8] {
        self.ahead.as_ref().map_or(&[][..], |ahead| ahead.at(place))
    }
}
