//! A sketch open for reading, wherever its bytes are.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;

use gstore_store::{BlockBuffer, BlockRef, SpanRequests};

use super::format::SketchHeader;
use super::planes::Planes;
use super::rotation::Rotation;
use super::section::Section;
use crate::error::QueryError;

/// The sections of one part of a sketch.
pub trait Sections: Debug + Send + Sync {
    /// The bytes of a range of a section, on a 4-byte boundary. Those of `parts` are verified, the others may
    /// be any; `scratch` is memory that they may be read into.
    fn read<'a>(
        &'a self,
        section: Section,
        range: Range<u64>,
        parts: &[Range<u64>],
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError>;

    /// Adds what reading a range takes from disk, large ranges by themselves; what is in memory
    /// takes nothing.
    fn want<'a>(&'a self, section: Section, range: Range<u64>, is_large: bool, wants: &mut SpanRequests<'a>) {
        let _ = (section, range, is_large, wants);
    }
}

#[derive(Debug)]
struct SketchPart {
    sections: Box<dyn Sections>,
    rotation: usize,
}

#[derive(Debug, Clone, Copy)]
struct BlockLocation {
    part: usize,
    first: u64,
    vectors: usize,
}

/// The sketch of a feature: of every block that its reader has.
#[derive(Debug)]
pub struct Sketch {
    parts: Vec<SketchPart>,
    /// One for each seed; usually one.
    rotations: Vec<(u64, Rotation)>,
    blocks: HashMap<BlockRef, BlockLocation>,
    dim: usize,
    /// Those that all parts keep, if there are any.
    planes: Option<Planes>,
}

impl Sketch {
    /// A sketch without parts, of vectors of `dim` coordinates.
    pub fn new(dim: usize) -> Self {
        Self {
            parts: Vec::new(),
            rotations: Vec::new(),
            blocks: HashMap::new(),
            dim,
            planes: Some(Planes::ALL),
        }
    }

    /// Adds the part of `blocks`, in whose order its vectors are.
    ///
    /// # Errors
    /// Says why the part cannot be used: it is of other vectors, or has another number of them.
    pub fn add(
        &mut self,
        header: &SketchHeader,
        blocks: &[BlockRef],
        sections: Box<dyn Sections>,
    ) -> Result<(), String> {
        let seed = header.check(self.dim)?;
        let vectors: u64 = blocks.iter().map(|block| block.vectors() as u64).sum();
        if header.vectors != vectors {
            return Err(format!("it is of {} vectors, the segment has {vectors}", header.vectors));
        }
        let rotation = match self.rotations.iter().position(|(other, _)| *other == seed) {
            Some(at) => at,
            None => {
                self.rotations.push((seed, Rotation::new(self.dim, seed)));
                self.rotations.len() - 1
            }
        };
        let mut first = 0;
        for block in blocks {
            self.blocks
                .insert(*block, BlockLocation { part: self.parts.len(), first, vectors: block.vectors() });
            first += block.vectors() as u64;
        }
        self.parts.push(SketchPart { sections, rotation });
        self.planes = self.planes.and_then(|planes| planes.common(header.planes));
        Ok(())
    }

    /// The planes that all its parts keep; `None` where they have none in common.
    pub fn planes(&self) -> Option<Planes> {
        self.planes
    }

    /// Whether every one of `blocks` is in it.
    pub(crate) fn covers(&self, blocks: &[BlockRef]) -> bool {
        blocks.iter().all(|block| self.blocks.contains_key(block))
    }

    /// The rotations of its parts, with their seeds.
    pub fn rotations(&self) -> &[(u64, Rotation)] {
        &self.rotations
    }

    /// Coordinates of a rotated vector.
    pub(crate) fn padded(&self) -> usize {
        self.rotations.first().map_or(0, |(_, rotation)| rotation.padded())
    }

    /// Which of the rotations a block's codes are in; `None` if the block is not in the sketch.
    pub(crate) fn rotation_of(&self, block: BlockRef) -> Option<usize> {
        Some(self.place(block)?.1.rotation)
    }

    /// A section of a block: its bytes for every vector of the block. With `vectors`, which ascend, those of
    /// all others may be any.
    pub fn read<'a>(
        &'a self,
        block: BlockRef,
        section: Section,
        vectors: Option<&[u32]>,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let Some((place, part)) = self.place(block) else {
            return Err(QueryError::Sketch("a block of the feature is not in its sketch".into()));
        };
        let range = self.range(place, section);
        let len = range.end - range.start;
        let parts = vectors.map_or_else(|| vec![range.clone()], |some| self.bytes_of(place, section, some));
        let bytes = part.sections.read(section, range, &parts, scratch)?;
        if bytes.len() as u64 != len {
            return Err(QueryError::Sketch(format!("section `{}` is too short", section.name())));
        }
        Ok(bytes)
    }

    /// Adds what reading a section of a block takes from disk.
    pub fn want<'a>(
        &'a self,
        block: BlockRef,
        section: Section,
        is_large: bool,
        wants: &mut SpanRequests<'a>,
    ) {
        if let Some((place, part)) = self.place(block) {
            part.sections.want(section, self.range(place, section), is_large, wants);
        }
    }

    /// Adds what [`Self::read`] of some vectors takes from disk.
    pub(crate) fn want_some<'a>(
        &'a self,
        block: BlockRef,
        section: Section,
        vectors: &[u32],
        wants: &mut SpanRequests<'a>,
    ) {
        if let Some((place, part)) = self.place(block) {
            for range in self.bytes_of(place, section, vectors) {
                part.sections.want(section, range, true, wants);
            }
        }
    }

    fn place(&self, block: BlockRef) -> Option<(&BlockLocation, &SketchPart)> {
        let place = self.blocks.get(&block)?;
        Some((place, self.parts.get(place.part)?))
    }

    fn range(&self, place: &BlockLocation, section: Section) -> Range<u64> {
        let each = section.vector_bytes(self.padded()) as u64;
        place.first * each..(place.first + place.vectors as u64) * each
    }

    /// The bytes of a section of some vectors of a block, those of vectors that follow one another together.
    fn bytes_of(&self, place: &BlockLocation, section: Section, vectors: &[u32]) -> Vec<Range<u64>> {
        let each = section.vector_bytes(self.padded()) as u64;
        let bytes = |run: &[u32]| {
            let (first, last) = (u64::from(*run.first()?), u64::from(*run.last()?));
            Some((place.first + first) * each..(place.first + last + 1) * each)
        };
        let ends = vectors.first().zip(vectors.last());
        match ends.is_some_and(|(first, last)| *last as usize + 1 == *first as usize + vectors.len()) {
            true => bytes(vectors).into_iter().collect(),
            false => vectors.chunk_by(|a, b| a + 1 == *b).filter_map(bytes).collect(),
        }
    }

    /// The records of a section of a block.
    pub fn records<'a, T: bytemuck::Pod>(
        &'a self,
        block: BlockRef,
        section: Section,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [T], QueryError> {
        bytemuck::try_cast_slice(self.read(block, section, None, scratch)?).map_err(|error| {
            QueryError::Sketch(format!("section `{}` cannot be read as records: {error}", section.name()))
        })
    }
}
