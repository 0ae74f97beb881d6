//! Sketches in the store: an index of kind `sketch` for each segment.
//!
//! Building is resumable segment by segment: what has a sketch that can be used is left as it is. Blocks are
//! coded in parallel and written in order, so a file is a function of its segment, the seed and the planes.

use std::ops::{ControlFlow, Range};

use gstore_core::{Cancel, Remedy, parallel};
use gstore_store::{
    BlockBuffer, FeatureReader, IndexFile, IndexState, IndexWriter, ReadError, SectionId, SegmentRef,
    StorageError, Store, Wants,
};

use super::build::{BlockCodes, check, encode_block};
use super::format::{Section, SketchHeader};
use super::planes::Planes;
use super::random::draw_seed;
use super::rotation::Rotation;
use super::source::{Sections, Sketch};
use crate::error::QueryError;
use crate::indexes::{CHUNK, IndexStatus};

/// The kind of such indexes.
pub const KIND: &str = "sketch";

/// Which sketches that are there a build makes again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Again {
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
    /// where others stay), else all.
    pub planes: Option<Planes>,
    /// What is done about sketches that are there.
    pub again: Again,
    /// Threads; 0 means one per core. The bytes do not depend on it.
    pub threads: usize,
}

/// What a build has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SketchProgress {
    /// Vectors that were coded.
    pub coded: u64,
    /// Vectors whose sketch was there already.
    pub kept: u64,
    /// Vectors of the feature.
    pub vectors: u64,
    /// Bytes of the files that were written.
    pub bytes: u64,
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
    mut progress: impl FnMut(&SketchProgress),
    cancel: &Cancel,
) -> Result<SketchProgress, QueryError> {
    check(reader)?;
    let dim = reader.part().desc.dim() as usize;
    let mut done = SketchProgress {
        vectors: reader.segments().iter().map(SegmentRef::vectors).sum(),
        ..SketchProgress::default()
    };
    let (mut seed, mut planes) = (options.seed, options.planes);
    if options.again == Again::Unusable {
        planes = planes.or_else(|| most_kept(reader));
    }
    let mut wanted = Vec::new();
    for segment in reader.segments() {
        let there = reader.index(segment, KIND).ok().flatten();
        let own = there.as_ref().and_then(|file| usable_header(file, segment, dim));
        // What was chosen before stays, also where codes are damaged or made again.
        planes = planes.or(own.map(|(_, kept)| kept));
        let is_as_wanted = |(own, kept): &(u64, Planes)| match options.again {
            Again::Unusable => true,
            Again::Other => options.seed.is_none_or(|seed| seed == *own) && planes == Some(*kept),
            Again::All => false,
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
    let (seed, planes) = (seed.unwrap_or_else(draw_seed), planes.unwrap_or_default());
    let rotation = Rotation::new(dim, seed);
    // The blocks of all segments in one sequence, so that threads stay busy where segments are small.
    let mut units = Vec::new();
    for segment in wanted {
        let blocks = reader.blocks_of(segment)?;
        match blocks.len() {
            0 => done.bytes += Writing::new(store, segment, planes)?.finish(dim, seed)?,
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
                None if cancel.is_raised() => return Err(QueryError::Cancelled),
                None => Writing::new(store, segment, planes)?,
            };
            own.append(&codes)?;
            done.coded += block.vectors() as u64;
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
struct Writing<'a> {
    segment: &'a SegmentRef,
    writer: IndexWriter,
    planes: Planes,
    sections: Vec<(Section, SectionId)>,
}

impl<'a> Writing<'a> {
    fn new(store: &Store, segment: &'a SegmentRef, planes: Planes) -> Result<Self, QueryError> {
        let mut writer = store.write_index(segment, KIND)?;
        let mut sections = Vec::new();
        for section in planes.sections() {
            sections.push((section, writer.section(section.name(), CHUNK)?));
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

/// State of a segment's sketch; [`build`] replaces one that cannot be used. Reads the file's footer.
pub fn found(reader: &FeatureReader, segment: &SegmentRef) -> IndexStatus {
    state(reader, segment).map_or_else(|without| without, |_| IndexStatus::Usable)
}

/// The planes of a segment's sketch, if it has one that can be used. Reads the file's footer.
pub fn kept(reader: &FeatureReader, segment: &SegmentRef) -> Option<Planes> {
    state(reader, segment).ok()
}

/// The planes that the sketches of most vectors of a feature keep, among those that can be used; of as many the
/// first. Reads the files' footers.
pub fn most_kept(reader: &FeatureReader) -> Option<Planes> {
    let mut vectors: Vec<(Planes, u64)> = Vec::new();
    for segment in reader.segments() {
        let Some(planes) = kept(reader, segment) else { continue };
        match vectors.iter_mut().find(|(own, _)| *own == planes) {
            Some((_, sum)) => *sum += segment.vectors(),
            None => vectors.push((planes, segment.vectors())),
        }
    }
    let most = vectors.iter().map(|(_, sum)| *sum).max()?;
    vectors.into_iter().find(|(_, sum)| *sum == most).map(|(planes, _)| planes)
}

fn state(reader: &FeatureReader, segment: &SegmentRef) -> Result<Planes, IndexStatus> {
    let file = match reader.index_state(segment, KIND) {
        Ok(IndexState::Ready(file)) => file,
        Ok(IndexState::Missing) => return Err(IndexStatus::Missing),
        _ => return Err(IndexStatus::Unusable),
    };
    let header = usable_header(&file, segment, reader.part().desc.dim() as usize);
    header.map(|(_, planes)| planes).ok_or(IndexStatus::Unusable)
}

/// Seed and planes of a file, if its header fits the segment.
fn usable_header(file: &IndexFile, segment: &SegmentRef, dim: usize) -> Option<(u64, Planes)> {
    let header = header_of(file).ok().filter(|header| header.vectors == segment.vectors())?;
    Some((header.check(dim).ok()?, header.planes))
}

fn header_of(file: &IndexFile) -> Result<SketchHeader, String> {
    serde_json::from_value(file.header().clone())
        .map_err(|error| format!("its header is not that of a sketch: {error}"))
}

/// The sketch of a feature, or what keeps it from being used.
pub fn open(reader: &FeatureReader) -> Result<Sketch, String> {
    let name = reader.part().display_name();
    let remedy = rebuild(&name);
    let mut sketch = Sketch::new(reader.part().desc.dim() as usize);
    for segment in reader.segments() {
        let file = match reader.index_state(segment, KIND).map_err(|error| unusable(&error, &name))? {
            IndexState::Ready(file) => *file,
            IndexState::Stale(stale) => {
                return Err(format!(
                    "{} is of another state of its segment and not used; {remedy}",
                    stale.file
                ));
            }
            _ => {
                return Err(format!(
                    "{name} has no sketch of {}; {} makes it",
                    segment.file(),
                    sketch_of(&name)
                ));
            }
        };
        let blocks = reader.blocks_of(segment).map_err(|error| error.to_string())?;
        let path = file.file().to_owned();
        let add = header_of(&file)
            .and_then(|header| sketch.add(&header, &blocks, Box::new(FileSections::new(file, name.clone()))));
        add.map_err(|why| format!("{path} cannot be used: {why}; {remedy}"))?;
    }
    if sketch.planes().is_none() {
        return Err(format!("the sketches of the segments of {name} have no plane in common; {remedy}"));
    }
    Ok(sketch)
}

/// The sections of an index of a feature.
#[derive(Debug)]
pub struct FileSections {
    file: IndexFile,
    feature: String,
}

impl FileSections {
    /// Those of a file; `feature` is what the feature is called in commands.
    pub fn new(file: IndexFile, feature: String) -> Self {
        Self { file, feature }
    }
}

impl Sections for FileSections {
    fn read<'a>(
        &'a self,
        section: Section,
        range: Range<u64>,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let read = self.file.section(section.name()).and_then(|section| section.read(range, scratch));
        read.map_err(|error| QueryError::Sketch(unusable(&error, &self.feature)))
    }

    fn want<'a>(&'a self, section: Section, range: Range<u64>, is_large: bool, wants: &mut Wants<'a>) {
        // What is wrong with it is said when it is read.
        if let Ok(section) = self.file.section(section.name()) {
            let _ = section.want(&range, is_large, wants);
        }
    }
}

/// Why a file cannot be used, and what to do; in one line, since it is a note of an answer.
fn unusable(error: &ReadError, feature: &str) -> String {
    let why = match error {
        ReadError::Storage(StorageError::Damaged(damage)) => {
            format!("{} is damaged ({}) and not used", damage.file, damage.what)
        }
        other => other.to_string().replace("\n  ", "; "),
    };
    format!("{why}; {}", rebuild(feature))
}

/// Whatever is found here, a build finds as well.
fn rebuild(feature: &str) -> String {
    format!("{} rebuilds it", sketch_of(feature))
}

fn sketch_of(feature: &str) -> Remedy<'_> {
    Remedy::Index { kind: "sketch", feature, rebuild: false }
}
