//! Byte ranges that a unit of a scan is going to read and that are not in memory.

use super::MOST_BYTES;
use super::way::{self, CountedRead, ReadMode};
use crate::buffer::AlignedBuffer;
use crate::layout::NamedFile;
use crate::map::FileMap;
use crate::vfs::VfsRead;
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Copy)]
pub(crate) struct ScannedFile<'a> {
    pub own: &'a NamedFile,
    pub map: &'a Arc<FileMap>,
    /// Whether the system may keep what is read of it.
    pub is_kept: bool,
    pub file: &'a dyn FileIdentity,
}

/// What a file under a path is compared with.
pub(crate) trait FileIdentity: Sync {
    /// Whether this is another file than the one that is mapped.
    fn is_other(&self, file: &dyn VfsRead) -> bool;
}

impl ScannedFile<'_> {
    fn is_in_memory(&self, span: &Range<u64>) -> bool {
        places(span).is_none_or(|range| self.map.is_in_memory(&range))
    }
}

/// A file that spans are read from, opened once for those that follow one another.
pub(super) struct OpenFile<'a> {
    source: ScannedFile<'a>,
    /// `None` where it cannot be opened, or is another one.
    file: Option<Box<dyn VfsRead>>,
    /// How it is read.
    pub way: ReadMode,
    /// The file system it is on.
    disk: Option<u64>,
}

impl<'a> OpenFile<'a> {
    pub(super) fn new(source: ScannedFile<'a>) -> Self {
        let NamedFile { vfs, path, .. } = source.own;
        let disk = vfs.disk(path);
        let direct = match way::of(disk) {
            ReadMode::Direct => vfs.open_direct(path),
            ReadMode::Ordinary => Ok(None),
        };
        let (file, way) = match direct {
            Ok(Some(file)) => (Some(file), ReadMode::Direct),
            // The threads that read are several also where bytes come through the system's memory.
            Ok(None) => (vfs.open(path).ok(), ReadMode::Ordinary),
            Err(_) => (None, ReadMode::Direct),
        };
        OpenFile { source, file: file.filter(|file| !source.file.is_other(&**file)), way, disk }
    }

    pub(super) fn is_of(&self, source: ScannedFile<'_>) -> bool {
        Arc::ptr_eq(self.source.map, source.map)
    }

    /// Reads a span; false where that is not possible.
    pub(super) fn read(&self, bytes: &mut AlignedBuffer, span: &Range<u64>) -> bool {
        let Some(file) = &self.file else { return false };
        let len = span.end - span.start;
        let counted = CountedRead::begin(self.disk, self.way, len);
        let is_read = file.read_span(bytes, span.clone()).is_ok();
        if self.way == ReadMode::Ordinary && !self.source.is_kept {
            file.forget(span.start, len);
        }
        if let Some(counted) = counted {
            counted.end(is_read);
        }
        is_read
    }
}

/// A span of a file as a range of its map.
pub(super) fn places(span: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?)
}

/// Spans that are so near are read together: a disk with several reads in flight takes about as long to begin
/// another one.
pub(crate) const NEAR: u64 = 32 << 10;

/// Small spans that are so near are asked for together, and read together.
pub(crate) const NEAR_SMALL: usize = 4096;

/// Spans of files that are not in memory and will be read. Large ones are read at once;
/// for small ones the system is asked to read them.
#[derive(Default)]
pub struct SpanRequests<'a> {
    pub(super) spans: Vec<(ScannedFile<'a>, Range<u64>)>,
    small: Vec<(&'a FileMap, Range<usize>)>,
    /// The last large span that was found in memory: that of rows in one chunk is the same.
    found: Option<(&'a FileMap, Range<u64>)>,
}

impl<'a> SpanRequests<'a> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether all of it is in memory.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.small.is_empty()
    }

    /// Bytes of the large spans.
    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|(_, span)| span.end - span.start).sum()
    }

    /// Adds a span. One that begins where the last one of its file ended, or near that, is read together with
    /// it.
    pub(crate) fn add(&mut self, source: ScannedFile<'a>, span: Range<u64>) {
        let map = &**source.map;
        let is_found = |(of, found): &(&FileMap, Range<u64>)| std::ptr::eq(*of, map) && *found == span;
        if span.is_empty() || self.found.as_ref().is_some_and(is_found) {
            return;
        }
        if source.is_in_memory(&span) {
            self.found = Some((map, span));
            return;
        }
        if let Some((last, before)) = self.spans.last_mut()
            && Arc::ptr_eq(last.map, source.map)
            && (before.start..=before.end.saturating_add(NEAR)).contains(&span.start)
            && span.end.saturating_sub(before.start) <= MOST_BYTES
        {
            before.end = before.end.max(span.end);
            return;
        }
        self.spans.push((source, span));
    }

    /// Adds a span that is too small to be read by itself.
    pub(crate) fn add_small(&mut self, map: &'a FileMap, span: &Range<u64>) {
        // Of columns of single bytes many rows are in one page.
        let is_near = |last: &(&FileMap, Range<usize>), range: &Range<usize>| {
            std::ptr::eq(last.0, map) && (last.1.start..last.1.end + NEAR_SMALL).contains(&range.start)
        };
        let Some(range) = places(span) else { return };
        if let Some(last) = self.small.last_mut().filter(|last| is_near(last, &range)) {
            last.1.end = last.1.end.max(range.end);
        } else if !map.is_in_memory(&range) {
            self.small.push((map, range));
        }
    }

    /// Asks the system for the small ones.
    pub(super) fn ask(&self) {
        self.small.iter().for_each(|(map, range)| map.will_need(range));
    }
}
