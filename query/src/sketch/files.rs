//! Sketches in the store: an index of kind `sketch` for each segment.

use std::ops::Range;

use gstore_core::Remedy;
use gstore_store::{BlockBuffer, FeatureReader, IndexFile, IndexState, SegmentRef, SpanRequests};

use super::format::SketchHeader;
use super::planes::Planes;
use super::section::Section;
use super::source::{Sections, Sketch};
use crate::error::QueryError;
use crate::indexes::{IndexStatus, unusable};

/// The kind of such indexes.
pub const KIND: &str = "sketch";

/// State of a segment's sketch; [`super::build()`] replaces one that cannot be used. Reads the file's footer.
pub fn found(reader: &FeatureReader, segment: &SegmentRef) -> IndexStatus {
    state(reader, segment).err().unwrap_or(IndexStatus::Usable)
}

/// The planes of a segment's sketch, if it has one that can be used. Reads the file's footer.
pub fn kept(reader: &FeatureReader, segment: &SegmentRef) -> Option<Planes> {
    state(reader, segment).ok()
}

/// The planes that the sketches of most vectors of a feature keep, among those that can be used; of as many
/// the first. A segment that was written again and has no sketch yet counts with the planes of those before
/// it. Reads the files' footers.
pub fn most_kept(reader: &FeatureReader) -> Option<Planes> {
    let mut vectors: Vec<(Planes, u64)> = Vec::new();
    for segment in reader.segments() {
        let Some(planes) = kept(reader, segment).or_else(|| kept_before(reader, segment)) else { continue };
        match vectors.iter_mut().find(|(own, _)| *own == planes) {
            Some((_, sum)) => *sum += segment.vectors(),
            None => vectors.push((planes, segment.vectors())),
        }
    }
    let most = vectors.iter().map(|(_, sum)| *sum).max()?;
    vectors.into_iter().find(|(_, sum)| *sum == most).map(|(planes, _)| planes)
}

/// The planes of the sketch that the files had of which a segment was written.
fn kept_before(reader: &FeatureReader, segment: &SegmentRef) -> Option<Planes> {
    let header = serde_json::from_value::<SketchHeader>(reader.index_before(segment, KIND)?.clone());
    Some(header.ok()?.planes)
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
pub(super) fn usable_header(file: &IndexFile, segment: &SegmentRef, dim: usize) -> Option<(u64, Planes)> {
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
        let file = match reader.index_state(segment, KIND).map_err(|error| unusable(&error, KIND, &name))? {
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
        parts: &[Range<u64>],
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let section = self.file.section(section.name());
        let read = section.and_then(|section| section.read_parts(&range, parts, scratch));
        read.map_err(|error| QueryError::Sketch(unusable(&error, KIND, &self.feature)))
    }

    fn want<'a>(&'a self, section: Section, range: Range<u64>, is_large: bool, wants: &mut SpanRequests<'a>) {
        // What is wrong with it is said when it is read.
        if let Ok(section) = self.file.section(section.name()) {
            let _ = section.want(&range, is_large, wants);
        }
    }
}

/// Whatever is found here, a build finds as well.
fn rebuild(feature: &str) -> String {
    format!("{} rebuilds it", sketch_of(feature))
}

fn sketch_of(feature: &str) -> Remedy<'_> {
    Remedy::Index { kind: KIND, feature, rebuild: false }
}
