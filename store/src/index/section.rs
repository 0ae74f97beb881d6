//! A section of an index: a run of bytes that is verified chunk by chunk, when it is first touched.

use super::file::{IndexFile, OpenSection};
use super::footer::SectionInfo;
use crate::ahead::Wants;
use crate::error::ReadError;
use crate::segment::BlockBuffer;
use std::ops::Range;

/// A section of an [`IndexFile`]. What it gives out keeps the alignment that it has in the
/// section, modulo 64 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    file: &'a IndexFile,
    own: &'a OpenSection,
    info: &'a SectionInfo,
}

impl<'a> Section<'a> {
    pub(super) fn new(file: &'a IndexFile, own: &'a OpenSection) -> Self {
        Section { file, own, info: &own.info }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.info.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.info.len == 0
    }

    /// Bytes of a chunk; the last one may be shorter.
    pub fn chunk_len(&self) -> u64 {
        self.info.chunk
    }

    /// Some bytes of the section. Those of chunks that were all touched before come from the map. Otherwise
    /// the chunks are read into `scratch` in one ordinary read, so that a failing disk is an error and not a
    /// signal, or were read ahead, and are compared with their digests.
    ///
    /// # Errors
    /// A range that is not in the section; damage, which names file, place, both digests and the way out.
    pub fn read<'b>(&self, range: Range<u64>, scratch: &'b mut BlockBuffer) -> Result<&'b [u8], ReadError>
    where
        'a: 'b,
    {
        let chunks = self.chunks(&range)?;
        let span = self.info.span(&chunks);
        if let Some(place) = scratch.find(self.file.file(), &span) {
            let bytes = scratch.at(place);
            self.file.compare(self.own, chunks, bytes)?;
            return Ok(self.part(bytes, &range, span.start));
        }
        if self.own.is_verified(chunks.clone()) {
            return Ok(self.mapped(&range));
        }
        let buffer = scratch.resize(self.size(span.end - span.start, &range)?);
        if !self.file.check(self.own, chunks, buffer)? {
            return Ok(self.mapped(&range));
        }
        Ok(self.part(scratch.as_bytes(), &range, span.start))
    }

    /// A range of chunks that begin at `start` in the file, and that have all of it.
    fn part<'b>(&self, chunks: &'b [u8], range: &Range<u64>, start: u64) -> &'b [u8] {
        let before = (self.info.offset + range.start - start) as usize;
        chunks.get(before..before + (range.end - range.start) as usize).unwrap_or_default()
    }

    /// Adds what reading a range takes from disk: large ranges by themselves, small ones through the system's
    /// memory.
    ///
    /// # Errors
    /// A range that is not in the section.
    pub fn want(&self, range: &Range<u64>, is_large: bool, wants: &mut Wants<'a>) -> Result<(), ReadError> {
        let span = self.info.span(&self.chunks(range)?);
        match is_large {
            true => wants.add(self.file.source(), span),
            false => wants.add_small(self.file.map(), &span),
        }
        Ok(())
    }

    /// The same bytes in the map, for as long as the index is open. Chunks that were not touched before are
    /// read and compared one by one.
    ///
    /// Memory: one chunk.
    ///
    /// # Errors
    /// Those of [`Section::read`].
    pub fn view(&self, range: Range<u64>) -> Result<&'a [u8], ReadError> {
        let mut buffer = BlockBuffer::new();
        for c in self.chunks(&range)? {
            if !self.own.is_verified(c..c + 1) {
                let span = self.info.span(&(c..c + 1));
                let buffer = buffer.resize(self.size(span.end - span.start, &range)?);
                self.file.check(self.own, c..c + 1, buffer)?;
            }
        }
        Ok(self.mapped(&range))
    }

    fn mapped(&self, range: &Range<u64>) -> &'a [u8] {
        let at = self.info.offset;
        self.file.mapped(at + range.start..at + range.end)
    }

    /// The chunks that a range lies in.
    fn chunks(&self, range: &Range<u64>) -> Result<Range<usize>, ReadError> {
        if range.start > range.end || range.end > self.info.len {
            return Err(self.no_range(range));
        }
        if range.is_empty() {
            return Ok(0..0);
        }
        // Each has a digest in memory, so their numbers fit.
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(at(range.start / self.info.chunk)..at(range.end.div_ceil(self.info.chunk)))
    }

    fn size(&self, bytes: u64, range: &Range<u64>) -> Result<usize, ReadError> {
        usize::try_from(bytes).map_err(|_| self.no_range(range))
    }

    fn no_range(&self, range: &Range<u64>) -> ReadError {
        ReadError::NoRange {
            file: self.file.file().to_owned(),
            section: self.info.name.clone(),
            range: range.clone(),
            len: self.info.len,
        }
    }
}
