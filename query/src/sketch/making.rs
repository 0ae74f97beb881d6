//! Builds the sketches of a feature's segments.
//!
//! It is resumable segment by segment: what has a sketch that can be used is left as it is. Blocks are coded
//! in parallel and written in order, so a file is a function of its segment, the seed and the planes.

use std::ops::ControlFlow;

use gstore_core::{Cancel, Cancelled, parallel};
use gstore_store::{BlockBuffer, FeatureReader, IndexFile, IndexWriter, SectionId, SegmentRef, Store};

use super::build::{BlockCodes, check, encode_block};
use super::files::{KIND, most_kept, usable_header};
use super::format::SketchHeader;
use super::planes::Planes;
use super::random::draw_seed;
use super::rotation::{Rotation, padded_dim};
use super::section::Section;
use crate::error::QueryError;
use crate::indexes::IndexProgress;

/// Which sketches that are there a build makes again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RebuildScope {
    /// Those that cannot be used.
    Unusable,
    /// Those of another seed or other planes as well, so that a change that was stopped goes on.
    #[default]
    Other,
    /// All.
    All,
}

/// How a feature's sketch is built.
#[derive(Debug, Clone, Default)]
pub struct SketchOptions {
    /// The seed of the rotation; by default that of the feature's other segments, else drawn at random.
    /// A seed that is chosen is known, and the stated probabilities hold only for data that were not
    /// made with its knowledge.
    pub seed: Option<u64>,
    /// The planes to keep; by default those of the feature's first segment that has a sketch ([`most_kept`],
    /// where others stay or there is none), else all.
    pub planes: Option<Planes>,
    /// What is done about sketches that are there.
    pub again: RebuildScope,
    /// Threads; 0 means one per core. The bytes do not depend on it.
    pub threads: usize,
}

/// Builds the sketch of a feature, for segments that have none that can be used; those that are there are
/// read and checked. The caller holds a lease on the reader's snapshot.
///
/// # Errors
/// Features of tokens or of too many coordinates; damage of a segment; what the store refuses; and
/// [`QueryError::Cancelled`]. Segments that were done before are kept.
pub fn build(
    store: &Store,
    reader: &FeatureReader,
    options: &SketchOptions,
    progress: &mut dyn FnMut(&IndexProgress),
    cancel: &Cancel,
) -> Result<IndexProgress, QueryError> {
    check(reader)?;
    let dim = reader.part().desc.dim() as usize;
    let mut done = IndexProgress {
        vectors: reader.segments().iter().map(SegmentRef::vectors).sum(),
        ..IndexProgress::default()
    };
    let (mut seed, mut planes) = (options.seed, options.planes);
    if options.again == RebuildScope::Unusable {
        planes = planes.or_else(|| most_kept(reader));
    }
    let mut wanted = Vec::new();
    for segment in reader.segments() {
        let there = reader.index(segment, KIND).ok().flatten();
        let own = there.as_ref().and_then(|file| usable_header(file, segment, dim));
        // What was chosen before stays, also where codes are damaged or made again.
        planes = planes.or(own.map(|(_, kept)| kept));
        let is_as_wanted = |(own, kept): &(u64, Planes)| match options.again {
            RebuildScope::Unusable => true,
            RebuildScope::Other => options.seed.is_none_or(|seed| seed == *own) && planes == Some(*kept),
            RebuildScope::All => false,
        };
        // An index that cannot be read to its last byte is rebuilt, as if it were missing.
        match own.filter(is_as_wanted).filter(|_| there.as_ref().is_some_and(IndexFile::is_sound)) {
            Some((own, _)) => {
                done.kept += segment.vectors();
                seed = seed.or(Some(own));
            }
            None => wanted.push(segment),
        }
    }
    progress(&done);
    if wanted.is_empty() {
        return Ok(done);
    }
    let planes = planes.or_else(|| most_kept(reader)).unwrap_or_default();
    let seed = seed.unwrap_or_else(draw_seed);
    let rotation = Rotation::new(dim, seed);
    // The blocks of all segments in one sequence, so that threads stay busy where segments are small.
    let mut units = Vec::new();
    for segment in wanted {
        let blocks = reader.blocks_of(segment)?;
        match blocks.len() {
            0 => done.bytes += SketchWriter::new(store, (segment, dim), planes)?.finish(dim, seed)?,
            n => units.extend(blocks.into_iter().enumerate().map(|(i, block)| (segment, block, i + 1 == n))),
        }
    }
    let mut writing = None;
    parallel::ordered::<_, _, QueryError>(
        units.len(),
        options.threads,
        cancel,
        BlockBuffer::new,
        |scratch, at| Ok((at, encode_block(reader, units[at].1, &rotation, planes, scratch)?)),
        |(at, codes)| {
            let (segment, block, is_last) = units[at];
            let mut own = match writing.take() {
                Some(own) => own,
                None if cancel.is_raised() => return Err(Cancelled.into()),
                None => SketchWriter::new(store, (segment, dim), planes)?,
            };
            own.append(&codes)?;
            done.done += block.vectors() as u64;
            if is_last {
                done.bytes += own.finish(dim, seed)?;
            } else {
                writing = Some(own);
            }
            progress(&done);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(done)
}

/// The sketch of a segment while it is written.
struct SketchWriter<'a> {
    segment: &'a SegmentRef,
    writer: IndexWriter,
    planes: Planes,
    sections: Vec<(Section, SectionId)>,
}

impl<'a> SketchWriter<'a> {
    fn new(
        store: &Store,
        (segment, dim): (&'a SegmentRef, usize),
        planes: Planes,
    ) -> Result<Self, QueryError> {
        let mut writer = store.write_index(segment, KIND)?;
        let mut sections = Vec::new();
        for section in planes.sections() {
            sections.push((section, writer.section(section.name(), section.chunk_bytes(padded_dim(dim)))?));
        }
        Ok(Self { segment, writer, planes, sections })
    }

    fn append(&mut self, codes: &BlockCodes) -> Result<(), QueryError> {
        for (section, id) in &self.sections {
            self.writer.append(*id, codes.section(*section))?;
        }
        Ok(())
    }

    /// Puts it in its place; returns its length.
    fn finish(self, dim: usize, seed: u64) -> Result<u64, QueryError> {
        let header = SketchHeader::new(dim, seed, self.segment.vectors()).keeping(self.planes);
        let header = serde_json::to_value(header).map_err(|error| QueryError::Sketch(error.to_string()))?;
        Ok(self.writer.finish(header)?.bytes)
    }
}
