//! Some rows of a block that was not touched yet, read by themselves.
//!
//! Invariants
//! - a row is handed out only after its own check agreed
//! - only blocks without gaps are read like this: where a row may be missing, only a verified block can say so

use super::BlockBuffer;
use super::block::{Block, row_check};
use super::file::{SegmentFile, lost};
use super::layout::{ALIGN, BlockLayout};
use crate::error::{Damage, StorageError};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

impl SegmentFile {
    /// Whether rows of a block can be read by themselves, and it would save something.
    pub(crate) fn reads_rows(&self, i: usize) -> bool {
        let touched = self.verified.get(i).is_none_or(|v| v.get().is_some());
        !touched && !self.shape.has_positions() && self.blocks.get(i).is_some_and(|b| b.is_dense())
    }

    /// Rows of a block of which [`Self::reads_rows`] is true, ascending, as a block of their own in `scratch`, and the bytes read for
    /// them. Rows outside of it are left out.
    pub(crate) fn read_rows<'a>(
        &'a self,
        i: usize,
        rows: &[u64],
        scratch: &'a mut BlockBuffer,
    ) -> Result<Option<(Block<'a>, u64)>, StorageError> {
        let Some(block) = self.blocks.get(i) else { return Ok(None) };
        let file = self.open_file()?;
        let get = |buffer: &mut [u8], at: usize| {
            file.read_at(buffer, block.offset + at as u64).map_err(|e| self.io(e))
        };
        let mut header = vec![0; block.header_len];
        get(&mut header, 0)?;
        let layout = self.parse(block, &header)?;
        // The small columns lie together behind the values.
        let mut rest = vec![0; layout.check.end - layout.scale.start];
        get(&mut rest, layout.scale.start)?;
        let first = rows.partition_point(|row| *row < block.first);
        let rows = &rows[first..rows.partition_point(|row| *row < block.end)];
        let places: Vec<usize> = rows.iter().map(|row| (row - block.first) as usize).collect();

        let (own, len) = own_layout(&layout, rows.len());
        let bytes = scratch.resize(len);
        bytes[own.row.clone()].copy_from_slice(bytemuck::cast_slice(rows));
        let width = layout.values.len() / layout.vectors.max(1);
        let mut done = 0;
        for run in places.chunk_by(|a, b| a + 1 == *b) {
            let start = own.values.start + done * width;
            get(&mut bytes[start..start + run.len() * width], layout.values.start + run[0] * width)?;
            done += run.len();
        }
        for (from, to) in [
            (&layout.scale, &own.scale),
            (&layout.norm, &own.norm),
            (&layout.flags, &own.flags),
            (&layout.check, &own.check),
        ] {
            let width = from.len() / layout.vectors.max(1);
            let column = &rest[from.start - layout.scale.start..from.end - layout.scale.start];
            for (place, to) in places.iter().zip(bytes[to.clone()].chunks_exact_mut(width.max(1))) {
                to.copy_from_slice(&column[place * width..(place + 1) * width]);
            }
        }
        let view = self.view(block, &*bytes, &own)?;
        let mut hash = Xxh3::new();
        for (i, (row, check)) in view.rows.iter().zip(view.check).enumerate() {
            let part = |column: &Range<usize>| {
                let width = column.len() / rows.len();
                &bytes[column.start + i * width..column.start + (i + 1) * width]
            };
            let (values, scale, norm) = (part(&own.values), part(&own.scale), part(&own.norm));
            let found = row_check(&mut hash, (*row, None), values, scale, norm, view.flags[i]);
            if found != *check {
                let (want, found) = (format!("{check:016x}"), format!("{found:016x}"));
                let offset = block.offset + (layout.values.start + places[i] * width) as u64;
                let damage = Damage::new(&self.name, format!("check of row {row}"), want, found);
                return Err(damage.at(offset).affecting(lost(*row..row + 1, &self.label)).into());
            }
        }
        let read = header.len() + rest.len() + rows.len() * width;
        Ok(Some((view, read as u64)))
    }
}

/// Where the columns of `count` rows lie in memory of their own, and how long it is.
fn own_layout(layout: &BlockLayout, count: usize) -> (BlockLayout, usize) {
    let mut end = 0usize;
    let mut place = |column: &Range<usize>| {
        let start = end.next_multiple_of(ALIGN);
        end = start + column.len() / layout.vectors.max(1) * count;
        start..end
    };
    let own = BlockLayout {
        vectors: count,
        row: place(&layout.row),
        pos: 0..0,
        values: place(&layout.values),
        scale: place(&layout.scale),
        norm: place(&layout.norm),
        flags: place(&layout.flags),
        check: place(&layout.check),
    };
    (own, end.next_multiple_of(ALIGN))
}
