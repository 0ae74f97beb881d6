//! Reads ahead of their use: spans of files that are not in memory, for one unit of a scan.
//!
//! Invariants
//! - what was read ahead is compared with its digest where it is used, like what is read there
//! - what cannot be read ahead is left to the ordinary read, which says why
//! - a unit has no more than it may, [`MOST_BYTES`] at most; what is beyond that is read where it is used

mod behind;
mod buffer;
mod wants;
mod way;

pub use behind::{Busy, UncachedSpans, fill_behind, is_busy};
pub use buffer::BlockBuffer;
pub use wants::SpanRequests;
pub use way::{DiskRates, expect_disks, measured_disks};

pub(crate) use wants::{FileIdentity, NEAR, NEAR_SMALL, ScannedFile};

use wants::OpenFile;
use way::ReadMode;

use crate::buffer::AlignedBuffer;
use std::ops::Range;

/// Bytes of a unit at most.
pub const MOST_BYTES: u64 = 32 << 20;

/// Bytes that direct reads begin and end at.
const SECTOR: u64 = 4096;

/// Bytes that were read, by their way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BytesRead {
    /// Past the system's memory.
    pub direct: u64,
    /// Through it.
    pub ordinary: u64,
}

impl BytesRead {
    /// Of both ways.
    pub fn all(&self) -> u64 {
        self.direct + self.ordinary
    }
}

/// Spans that were read.
#[derive(Debug, Default)]
pub struct ReadAhead {
    parts: Vec<BufferedSpan>,
    /// Memory of earlier units, which is used again: new memory would cost more than the read.
    spare: Vec<AlignedBuffer>,
    behind: UncachedSpans,
}

#[derive(Debug)]
struct BufferedSpan {
    /// The file, relative to the store.
    file: String,
    span: Range<u64>,
    bytes: AlignedBuffer,
}

/// Bytes of the whole sectors around a span.
fn sectors_around(span: &Range<u64>) -> u64 {
    (span.start % SECTOR + (span.end - span.start)).next_multiple_of(SECTOR)
}

/// Where a span is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanPosition {
    part: usize,
    start: usize,
    len: usize,
}

impl ReadAhead {
    /// Reads what is wanted, in place of what it had, by the way that is faster on its disk as far as that is
    /// known; returns the bytes read.
    pub fn read(&mut self, wants: SpanRequests<'_>) -> u64 {
        self.read_at_most(wants, MOST_BYTES).all()
    }

    /// The same of at most so many bytes.
    pub fn read_at_most(&mut self, wants: SpanRequests<'_>, most: u64) -> BytesRead {
        self.clear();
        wants.ask();
        let (mut read, mut held) = (BytesRead::default(), 0);
        let mut open: Option<OpenFile<'_>> = None;
        for (source, span) in wants.spans {
            let file = open.take().filter(|file| file.is_of(source)).unwrap_or_else(|| OpenFile::new(source));
            let wanted = span.end - span.start;
            let mut bytes = self.take_spare(sectors_around(&span));
            // What is not used again goes before there is more.
            let mut spare: u64 = self.spare.iter().map(|bytes| bytes.capacity() as u64).sum();
            while held + wanted.max(bytes.capacity() as u64) + spare > most
                && let Some(unused) = self.spare.pop()
            {
                spare -= unused.capacity() as u64;
            }
            if held + wanted <= most && file.read(&mut bytes, &span) {
                held += bytes.capacity() as u64;
                match file.way {
                    ReadMode::Direct => {
                        read.direct += wanted;
                        self.behind.add(source, &span);
                    }
                    ReadMode::Ordinary => read.ordinary += wanted,
                }
                self.parts.push(BufferedSpan { file: source.own.name.clone(), span, bytes });
            } else {
                self.spare.push(bytes);
            }
            open = Some(file);
        }
        read
    }

    /// Forgets what it read and keeps the memory.
    pub fn clear(&mut self) {
        self.spare.extend(self.parts.drain(..).map(|part| part.bytes));
    }

    /// Memory of earlier units for this many bytes, if there is some. The smallest that they fit into, so
    /// that the larger are there for others; one of more than twice the size is given back, since a unit
    /// has only so much.
    fn take_spare(&mut self, bytes: u64) -> AlignedBuffer {
        let sizes = self.spare.iter().enumerate().map(|(at, spare)| (spare.capacity() as u64, at));
        let Some((size, at)) = sizes.filter(|(size, _)| *size >= bytes).min() else {
            return AlignedBuffer::new();
        };
        let spare = self.spare.swap_remove(at);
        if size <= 2 * bytes { spare } else { AlignedBuffer::new() }
    }

    /// Takes out what was read past the system's memory and fits into it.
    pub fn take_behind(&mut self) -> UncachedSpans {
        std::mem::take(&mut self.behind)
    }

    /// The bytes of a span of a file, if it was read.
    pub(crate) fn get(&self, file: &str, span: &Range<u64>) -> Option<&[u8]> {
        Some(self.at(self.find(file, span)?))
    }

    fn find(&self, file: &str, span: &Range<u64>) -> Option<SpanPosition> {
        let has = |part: &BufferedSpan| {
            part.span.start <= span.start && span.end <= part.span.end && part.file == file
        };
        let part = self.parts.iter().position(has)?;
        let before = span.start - self.parts.get(part)?.span.start;
        // Both fit into memory.
        Some(SpanPosition { part, start: before as usize, len: (span.end - span.start) as usize })
    }

    fn at(&self, place: SpanPosition) -> &[u8] {
        let bytes = self.parts.get(place.part).map_or(&[][..], |part| part.bytes.as_bytes());
        bytes.get(place.start..place.start + place.len).unwrap_or_default()
    }
}
