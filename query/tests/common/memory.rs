//! Sketches in memory.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use gstore_core::{Cancel, parallel};
use gstore_query::QueryError;
use gstore_query::sketch::{Planes, Rotation, Section, Sections, Sketch, SketchHeader, check, encode_block};
use gstore_store::{BlockBuffer, FeatureReader};

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
        _: &[Range<u64>],
        _: &'a mut BlockBuffer,
    ) -> Result<&'a [u8], QueryError> {
        let bytes =
            self.sections.get(&section).map_or(&[][..], |(words, len)| &bytemuck::cast_slice(words)[..*len]);
        bytes
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| QueryError::Sketch(format!("section `{}` is too short", section.name())))
    }
}

/// The sketch of all blocks of a feature, held in memory. `threads` 0 means one per core; the
/// bits do not depend on it.
///
/// # Errors
/// Features of tokens or of too many coordinates, damage, and being told to stop.
pub fn in_memory(
    reader: &FeatureReader,
    seed: u64,
    threads: usize,
    cancel: &Cancel,
) -> Result<Sketch, QueryError> {
    check(reader)?;
    let dim = reader.part().desc.dim() as usize;
    let rotation = Rotation::new(dim, seed);
    let blocks = reader.blocks();
    let mut sections = MemorySections::default();
    parallel::ordered::<_, _, QueryError>(
        blocks.len(),
        threads,
        cancel,
        BlockBuffer::new,
        |scratch, at| encode_block(reader, blocks[at], &rotation, Planes::ALL, scratch),
        |codes| {
            Section::ALL.iter().for_each(|section| sections.append(*section, codes.section(*section)));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let vectors = blocks.iter().map(|block| block.vectors() as u64).sum();
    let mut sketch = Sketch::new(dim);
    sketch
        .add(&SketchHeader::new(dim, seed, vectors), blocks, Box::new(sections))
        .map_err(QueryError::Sketch)?;
    Ok(sketch)
}
