//! A section of an index: a run of bytes that is verified chunk by chunk, when it is first touched.

use super::file::{IndexFile, OpenSection, copy};
use super::footer::SectionInfo;
use crate::ahead::{BlockBuffer, NEAR, ReadAhead, SpanRequests};
use crate::error::ReadError;
use std::ops::Range;

/// A section of an [`IndexFile`]. What it gives out keeps the alignment that it has in the
/// section, modulo 64 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    file: &'a IndexFile,
    own: &'a OpenSection,
    info: &'a SectionInfo,
}

impl IndexFile {
    /// A section.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn section(&self, name: &str) -> Result<Section<'_>, ReadError> {
        match self.sections.iter().find(|s| s.info.name == name) {
            Some(own) => Ok(Section { file: self, own, info: &own.info }),
            None => Err(ReadError::NoSection {
                file: self.file().to_owned(),
                name: name.to_owned(),
                known: self.sections().map(str::to_owned).collect(),
            }),
        }
    }
}

impl<'a> Section<'a> {
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

    /// Some bytes of the section. Those of chunks that were all touched before come from the map. Otherwise
    /// the chunks are read into `scratch` in ordinary reads, so that a failing disk is an error and not a
    /// signal, or were read ahead, and are compared with their digests.
    ///
    /// # Errors
    /// A range that is not in the section; damage, which names file, place, both digests and the way out.
    pub fn read<'b>(&self, range: Range<u64>, scratch: &'b mut BlockBuffer) -> Result<&'b [u8], ReadError>
    where
        'a: 'b,
    {
        self.read_parts(&range, std::slice::from_ref(&range), scratch)
    }

    /// The bytes of a range of which only `parts` are wanted: chunks that have none of them are neither read
    /// nor compared, and their bytes may be any.
    ///
    /// Memory: the whole range, where not all of its parts come from the map.
    ///
    /// # Errors
    /// Those of [`Section::read`].
    pub fn read_parts<'b>(
        &self,
        range: &Range<u64>,
        parts: &[Range<u64>],
        scratch: &'b mut BlockBuffer,
    ) -> Result<&'b [u8], ReadError>
    where
        'a: 'b,
    {
        let whole = self.info.span(&self.chunks(range)?);
        let wanted = self.chunks_of(range, parts)?;
        let name = self.file.file();
        if let Some(place) = scratch.find(name, &whole) {
            let bytes = scratch.at(place);
            for c in wanted {
                let own = bytes.get(inside(&self.info.span(&(c..c + 1)), &whole));
                self.file.compare(self.own, c..c + 1, own.unwrap_or_default())?;
            }
            return Ok(self.part(bytes, range, whole.start));
        }
        let is_mapped = |c: &usize| {
            let chunks = *c..*c + 1;
            scratch.find(name, &self.info.span(&chunks)).is_none() && self.own.is_verified(chunks)
        };
        if wanted.iter().all(is_mapped) {
            return Ok(self.mapped(range));
        }
        self.gather(&whole, &wanted, scratch.resize_beside(self.size(whole.end - whole.start, range)?))?;
        Ok(self.part(scratch.as_bytes(), range, whole.start))
    }

    /// Copies or reads chunks into a buffer of the span `whole`.
    fn gather(
        &self,
        whole: &Range<u64>,
        wanted: &[usize],
        (buffer, ahead): (&mut [u8], Option<&ReadAhead>),
    ) -> Result<(), ReadError> {
        let mut missing = Vec::new();
        for c in wanted.iter().copied() {
            let span = self.info.span(&(c..c + 1));
            let into = buffer.get_mut(inside(&span, whole)).unwrap_or_default();
            match ahead.and_then(|ahead| ahead.get(self.file.file(), &span)) {
                Some(bytes) => {
                    copy(bytes, into);
                    self.file.compare(self.own, c..c + 1, into)?;
                }
                None if self.own.is_verified(c..c + 1) => copy(self.file.mapped(span), into),
                None => missing.push(c),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let file = self.file.open_again()?;
        for run in missing.chunk_by(|a, b| (b - a - 1) as u64 * self.info.chunk <= NEAR) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let span = self.info.span(&(*first..last + 1));
            let into = buffer.get_mut(inside(&span, whole)).unwrap_or_default();
            self.file.fill(file.as_deref(), &span, into)?;
            for c in run.iter().copied() {
                let own = buffer.get(inside(&self.info.span(&(c..c + 1)), whole));
                self.file.compare(self.own, c..c + 1, own.unwrap_or_default())?;
            }
        }
        Ok(())
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
    pub fn want(
        &self,
        range: &Range<u64>,
        is_large: bool,
        wants: &mut SpanRequests<'a>,
    ) -> Result<(), ReadError> {
        let span = self.info.span(&self.chunks(range)?);
        match is_large {
            true => wants.add(self.file.source(), span),
            false => wants.add_small(&self.file.map, &span),
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
        let (mut buffer, at) = (BlockBuffer::new(), self.info.offset);
        for c in self.chunks(&range)? {
            if !self.own.is_verified(c..c + 1) {
                let span = self.info.span(&(c..c + 1));
                self.read(span.start - at..span.end - at, &mut buffer)?;
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

    /// The chunks that parts of a range lie in, ascending.
    fn chunks_of(&self, range: &Range<u64>, parts: &[Range<u64>]) -> Result<Vec<usize>, ReadError> {
        let mut wanted = Vec::new();
        for part in parts {
            if part.start < range.start || part.end > range.end {
                return Err(self.no_range(part));
            }
            wanted.extend(self.chunks(part)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
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

/// Where a span lies in `whole`, which has it.
fn inside(span: &Range<u64>, whole: &Range<u64>) -> Range<usize> {
    let at = |place: u64| place.saturating_sub(whole.start) as usize;
    at(span.start)..at(span.end)
}
