//! The sections of a sketch in memory.

use std::collections::HashMap;
use std::ops::Range;

use gstore_store::BlockBuffer;

use super::section::Section;
use super::source::Sections;
use crate::error::QueryError;

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
