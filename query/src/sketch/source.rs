//! A sketch open for reading, wherever its bytes are.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;

use gstore_store::{BlockBuffer, BlockRef, Wants};

use super::format::{Section, SketchHeader};
use super::planes::Planes;
use super::rotation::Rotation;
use crate::error::QueryError;

/// The sections of one part of a sketch.
pub trait Sections: Debug + Send + Sync {
    /// Verified bytes of a section, on a 4-byte boundary; `scratch` is memory that they may be read into.
    fn read<'a>(
        &'a self,
        section: Section,
        range: Range<u64>,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError>;

    /// Adds what reading a range takes from disk, large ranges by themselves; what is in memory takes nothing.
    fn want<'a>(&'a self, section: Section, range: Range<u64>, is_large: bool, wants: &mut Wants<'a>) {
        let _ = (section, range, is_large, wants);
    }
}

/// A part of a sketch: that of a segment.
#[derive(Debug)]
struct Part {
    sections: Box<dyn Sections>,
    rotation: usize,
}

/// Where the vectors of a block are.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: usize,
    first: u64,
    vectors: usize,
}

/// The sketch of a feature: of every block that its reader has.
#[derive(Debug)]
pub struct Sketch {
    parts: Vec<Part>,
    /// One for each seed; usually one.
    rotations: Vec<(u64, Rotation)>,
    blocks: HashMap<BlockRef, Place>,
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
            self.blocks.insert(*block, Place { part: self.parts.len(), first, vectors: block.vectors() });
            first += block.vectors() as u64;
        }
        self.parts.push(Part { sections, rotation });
        self.planes = self.planes.and_then(|planes| planes.common(header.planes));
        Ok(())
    }

    /// The planes that all its parts keep; `None` where they have none in common.
    pub fn planes(&self) -> Option<Planes> {
        self.planes
    }

    /// Whether every one of `blocks` is in it.
    pub fn covers(&self, blocks: &[BlockRef]) -> bool {
        blocks.iter().all(|block| self.blocks.contains_key(block))
    }

    /// The rotations of its parts, with their seeds.
    pub fn rotations(&self) -> &[(u64, Rotation)] {
        &self.rotations
    }

    /// Coordinates of a rotated vector.
    pub fn padded(&self) -> usize {
        self.rotations.first().map_or(0, |(_, rotation)| rotation.padded())
    }

    /// Which of the rotations a block's codes are in; `None` if the block is not in the sketch.
    pub fn rotation_of(&self, block: BlockRef) -> Option<usize> {
        Some(self.parts.get(self.blocks.get(&block)?.part)?.rotation)
    }

    /// A section of a block: its bytes for every vector of the block.
    pub fn read<'a>(
        &'a self,
        block: BlockRef,
        section: Section,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let place = self.blocks.get(&block).and_then(|place| Some((place, self.parts.get(place.part)?)));
        let Some((place, part)) = place else {
            return Err(QueryError::Sketch("a block of the feature is not in its sketch".into()));
        };
        let range = self.range(place, section);
        let len = range.end - range.start;
        let bytes = part.sections.read(section, range, scratch)?;
        if bytes.len() as u64 != len {
            return Err(QueryError::Sketch(format!("section `{}` is too short", section.name())));
        }
        Ok(bytes)
    }

    /// Adds what reading a section of a block takes from disk.
    pub fn want<'a>(&'a self, block: BlockRef, section: Section, is_large: bool, wants: &mut Wants<'a>) {
        if let Some(place) = self.blocks.get(&block)
            && let Some(part) = self.parts.get(place.part)
        {
            part.sections.want(section, self.range(place, section), is_large, wants);
        }
    }

    /// The bytes of a section of a block.
    fn range(&self, place: &Place, section: Section) -> Range<u64> {
        let each = section.vector_bytes(self.padded()) as u64;
        place.first * each..(place.first + place.vectors as u64) * each
    }

    /// The records of a section of a block.
    pub fn records<'a, T: bytemuck::Pod>(
        &'a self,
        block: BlockRef,
        section: Section,
        scratch: &'a mut BlockBuffer,
    ) -> Result<&'a [T], QueryError> {
        bytemuck::try_cast_slice(self.read(block, section, scratch)?).map_err(|error| {
            QueryError::Sketch(format!("section `{}` cannot be read as records: {error}", section.name()))
        })
    }
}

/// Sections in memory.
#[derive(Debug, Default)]
pub struct MemorySections {
    sections: HashMap<Section, (Vec<u64>, usize)>,
}

impl MemorySections {
    /// Adds to the end of a section.
    pub fn append(&mut self, section: Section, bytes: &[u8]) {
        let (words, len) = self.sections.entry(section).or_default();
        words.resize((*len + bytes.len()).div_ceil(8), 0);
        let all: &mut [u8] = bytemuck::cast_slice_mut(words);
        all[*len..*len + bytes.len()].copy_from_slice(bytes);
        *len += bytes.len();
    }
}

impl Sections for MemorySections {
    fn read<'a>(
        &'a self,
        section: Section,
        range: Range<u64>,
        _: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let bytes =
            self.sections.get(&section).map_or(&[][..], |(words, len)| &bytemuck::cast_slice(words)[..*len]);
        bytes
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| QueryError::Sketch(format!("section `{}` is too short", section.name())))
    }
}
