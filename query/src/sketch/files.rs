//! Sketches in the store: an index of kind `sketch` beside each segment.
//!
//! Building is resumable segment by segment: what has a sketch that can be used is left as it is. Blocks are coded in parallel and written
//! in order, so a file is a function of its segment and the seed.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::AtomicBool;

use gstore_store::{BlockBuffer, FeatureReader, IndexFile, IndexState, SegmentRef, Store};

use super::build::{check, encode_block};
use super::format::{Section, SketchHeader};
use super::random::draw_seed;
use super::rotation::Rotation;
use super::source::{Sections, Sketch};
use crate::error::QueryError;
use crate::influence::drive;

/// The kind of such indexes.
pub const KIND: &str = "sketch";

/// Bytes that are compared with a digest together: small records, and codes of which single rows may be read.
const CHUNK: u64 = 64 << 10;

/// How a feature's sketch is built.
#[derive(Debug, Clone, Default)]
pub struct SketchOptions {
    /// The seed of the rotation; by default that of the feature's other segments, else drawn at random. Whoever chooses it knows it, and
    /// the stated probabilities hold only for data that were not made with its knowledge.
    pub seed: Option<u64>,
    /// Builds sketches anew that are there.
    pub rebuild: bool,
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

/// Builds the sketch of a feature, for segments that have none that can be used; those that are there are read and checked. The caller holds a lease on the reader's snapshot.
///
/// # Errors
/// Features of tokens or of too many coordinates; damage of a segment; what the store refuses; and [`QueryError::Cancelled`]. Segments that
/// were done before are kept.
pub fn build(
    store: &Store,
    reader: &FeatureReader,
    options: &SketchOptions,
    mut progress: impl FnMut(&SketchProgress),
    cancel: &AtomicBool,
) -> Result<SketchProgress, QueryError> {
    check(reader)?;
    let dim = reader.part().desc.dim() as usize;
    let mut done = SketchProgress {
        vectors: reader.segments().iter().map(SegmentRef::vectors).sum(),
        ..SketchProgress::default()
    };
    let mut seed = options.seed;
    let mut wanted = Vec::new();
    for segment in reader.segments() {
        // An index that cannot be read, to its last byte, is built anew, as one that is not there.
        let there = reader.index(segment, KIND).ok().flatten().filter(is_sound);
        let usable =
            there.and_then(|file| header_of(&file).ok()).filter(|header| header.vectors == segment.vectors());
        let own = usable.and_then(|header| header.check(dim).ok());
        match own {
            Some(own) if !options.rebuild && options.seed.is_none_or(|seed| seed == own) => {
                done.kept += segment.vectors();
                seed = seed.or(Some(own));
            }
            _ => wanted.push(segment),
        }
    }
    progress(&done);
    if wanted.is_empty() {
        return Ok(done);
    }
    let seed = seed.unwrap_or_else(draw_seed);
    let rotation = Rotation::new(dim, seed);
    for segment in wanted {
        let blocks = reader.blocks_of(segment)?;
        let mut writer = store.write_index(segment, KIND)?;
        let mut ids = Vec::new();
        for section in Section::ALL {
            ids.push((section, writer.section(section.name(), CHUNK)?));
        }
        let mut failed = None;
        drive::ordered(
            blocks.len(),
            options.threads,
            cancel,
            BlockBuffer::new,
            |scratch, at| Ok((blocks[at].vectors(), encode_block(reader, blocks[at], &rotation, scratch)?)),
            |(vectors, codes)| {
                for (section, id) in &ids {
                    if let Err(error) = writer.append(*id, codes.section(*section)) {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                done.coded += vectors as u64;
                progress(&done);
                ControlFlow::Continue(())
            },
        )?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let header = SketchHeader::new(dim, seed, segment.vectors());
        let header = serde_json::to_value(header).map_err(|error| QueryError::Sketch(error.to_string()))?;
        done.bytes += writer.finish(header)?.bytes;
        progress(&done);
    }
    Ok(done)
}

/// Whether every byte of the sections agrees with its digest.
fn is_sound(file: &IndexFile) -> bool {
    let mut scratch = BlockBuffer::new();
    file.sections().all(|name| {
        let Ok(section) = file.section(name) else { return false };
        let piece = section.chunk_len().max(CHUNK);
        (0..section.len().div_ceil(piece)).all(|i| {
            let range = i * piece..((i + 1) * piece).min(section.len());
            section.read(range, &mut scratch).is_ok()
        })
    })
}

fn header_of(file: &IndexFile) -> Result<SketchHeader, String> {
    serde_json::from_value(file.header().clone()).map_err(|error| format!("{}: {error}", file.file()))
}

/// The sketch of a feature, or what keeps it from being used.
pub fn open(reader: &FeatureReader) -> Result<Sketch, String> {
    let name = reader.part().display_name();
    let mut sketch = Sketch::new(reader.part().desc.dim() as usize);
    for segment in reader.segments() {
        let file = match reader.index_state(segment, KIND).map_err(|error| error.to_string())? {
            IndexState::Ready(file) => *file,
            IndexState::Stale(stale) => return Err(stale.to_string()),
            _ => {
                return Err(format!(
                    "{name} has no sketch of {}; `gstore index --sketch` makes it",
                    segment.file()
                ));
            }
        };
        let blocks = reader.blocks_of(segment).map_err(|error| error.to_string())?;
        let header = header_of(&file)?;
        let path = file.file().to_owned();
        let add = sketch.add(&header, &blocks, Box::new(FileSections(file)));
        add.map_err(|why| {
            format!("{path} cannot be used: {why}; `gstore index --sketch --rebuild` makes it anew")
        })?;
    }
    Ok(sketch)
}

/// The sections of an index.
#[derive(Debug)]
struct FileSections(IndexFile);

impl Sections for FileSections {
    fn read<'a>(
        &'a self,
        section: Section,
        range: Range<u64>,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        Ok(self.0.section(section.name())?.read(range, scratch)?)
    }
}
