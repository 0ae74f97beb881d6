//! Reading losses as rows x members, cell by cell.

use super::table::{LossTable, LossWanted, find};
use crate::error::{LossError, ReadError};
use crate::manifest::EnsemblePart;
use crate::segment::{Block, BlockBuffer, FeatureReader, Values};
use crate::store::Snapshot;
use gstore_core::{CELL_ROWS, RowFlags, RowSet};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// The losses of a table, open for reading. It can be shared between threads.
#[derive(Debug)]
pub struct LossReader {
    table: LossTable,
    columns: Vec<OpenColumns>,
    offset: Option<FeatureReader>,
    live: Arc<RowSet>,
}

/// A feature of the table, and which columns of a block its members are.
#[derive(Debug)]
struct OpenColumns {
    reader: FeatureReader,
    columns: Range<usize>,
}

/// Losses of some rows. Kept by a caller for each thread, and filled again and again.
#[derive(Debug, Clone, Default)]
pub struct LossBlock {
    /// The rows, ascending.
    pub rows: Vec<u64>,
    /// rows x members, row after row: the loss less the row's offset; NaN where it is not known.
    pub values: Vec<f32>,
    /// What has to be added to the values of each row to have its losses: 0 where they are the losses
    /// themselves, NaN where it is lost.
    pub offset: Vec<f32>,
    /// Whether each row has an offset; in a table that is relative to theta_0, a loss under theta_0.
    pub has_offset: Vec<bool>,
    /// How many values are NaN.
    pub missing: usize,
    members: usize,
    scratch: Scratch,
}

#[derive(Debug, Clone, Default)]
struct Scratch {
    /// Place in the block of each row of the cell; `NOWHERE` for those that are not asked for.
    places: Vec<u32>,
    /// Whether some feature has the row, for each row of the block.
    seen: Vec<bool>,
}

const NOWHERE: u32 = u32::MAX;

impl LossBlock {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Values of the `i`-th row, one for each member.
    pub fn row(&self, i: usize) -> &[f32] {
        let start = i.saturating_mul(self.members);
        self.values.get(start..start.saturating_add(self.members)).unwrap_or_default()
    }

    /// Makes room for the rows of a cell that are asked for.
    fn reset(&mut self, rows: impl Iterator<Item = u64>, cell: u64, members: usize) {
        self.rows.clear();
        self.rows.extend(rows);
        self.members = members;
        self.values.clear();
        self.values.resize(self.rows.len() * members, f32::NAN);
        self.offset.clear();
        self.offset.resize(self.rows.len(), f32::NAN);
        self.has_offset.clear();
        self.has_offset.resize(self.rows.len(), false);
        self.missing = 0;
        let Scratch { places, seen } = &mut self.scratch;
        seen.clear();
        seen.resize(self.rows.len(), false);
        places.clear();
        places.resize(CELL_ROWS as usize, NOWHERE);
        for (at, row) in self.rows.iter().enumerate() {
            if let Some(place) = places.get_mut((row - cell * CELL_ROWS) as usize) {
                *place = at as u32;
            }
        }
    }

    fn place(&self, cell: u64, row: u64) -> Option<usize> {
        let within = row.checked_sub(cell * CELL_ROWS)?;
        let place = *self.scratch.places.get(within as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    /// Takes the vectors of a block into some columns.
    fn take(&mut self, cell: u64, block: &Block<'_>, columns: &Range<usize>) {
        let Values::F32(values) = block.values else { return };
        let width = columns.len();
        if width == 0 {
            return;
        }
        for ((row, vector), flags) in block.rows.iter().zip(values.chunks_exact(width)).zip(block.flags) {
            let Some(place) = self.place(cell, *row) else { continue };
            if let Some(seen) = self.scratch.seen.get_mut(place) {
                *seen = true;
            }
            if RowFlags::from_bits(*flags).contains(RowFlags::NON_FINITE) {
                continue;
            }
            let start = place * self.members;
            let Some(to) = self.values.get_mut(start + columns.start..start + columns.end) else { continue };
            for (to, from) in to.iter_mut().zip(vector) {
                if !from.is_nan() {
                    *to = *from;
                }
            }
        }
    }

    /// Takes out rows that no feature has, and counts what is missing.
    fn close(&mut self) {
        if self.scratch.seen.contains(&false) {
            let mut kept = 0;
            for at in 0..self.rows.len() {
                if self.scratch.seen.get(at) != Some(&true) {
                    continue;
                }
                self.rows.swap(kept, at);
                self.offset.swap(kept, at);
                self.has_offset.swap(kept, at);
                let from = at * self.members;
                self.values.copy_within(from..from + self.members, kept * self.members);
                kept += 1;
            }
            self.rows.truncate(kept);
            self.offset.truncate(kept);
            self.has_offset.truncate(kept);
            self.values.truncate(kept * self.members);
        }
        self.missing = self.values.iter().filter(|value| value.is_nan()).count();
    }
}

impl Snapshot {
    /// The losses of an ensemble. Reads and checks the footers of their segments.
    ///
    /// # Errors
    /// There are none of the dataset, or several that are not told apart; damage.
    pub fn open_losses(
        &self,
        ensemble: &EnsemblePart,
        wanted: &LossWanted<'_>,
    ) -> Result<LossReader, LossError> {
        let parts = find(self, ensemble, wanted)?;
        let place = |member: usize| parts.table.members.partition_point(|known| *known < member);
        let columns: Result<Vec<OpenColumns>, ReadError> = parts
            .columns
            .iter()
            .map(|c| {
                let reader = self.open_feature_shared(&c.part)?;
                Ok(OpenColumns { reader, columns: place(c.range.start)..place(c.range.end) })
            })
            .collect();
        let offset = parts.offset.as_deref().map(|part| self.open_feature_shared(part)).transpose()?;
        let live = self.live_rows(self.dataset(wanted.dataset)?)?;
        Ok(LossReader { columns: columns?, table: parts.table, offset, live })
    }
}

impl FeatureReader {
    /// The offsets of the rows of a cell, from a feature that has them; NaN where losses are relative to
    /// nothing.
    fn each_offset(
        &self,
        cell: u64,
        scratch: &mut BlockBuffer,
        mut take: impl FnMut(u64, f32),
    ) -> Result<(), ReadError> {
        for block in self.blocks_in(cell) {
            let block = self.read_block(block, scratch)?;
            let Values::F32(values) = block.values else { continue };
            block.rows.iter().zip(values).for_each(|(row, value)| take(*row, *value));
        }
        Ok(())
    }

    /// The offsets of all rows of a cell, deleted ones among them, from a feature that has them: those that
    /// losses of an ensemble are stored relative to. NaN where there is none.
    pub fn offsets(&self, cell: u64) -> Result<Vec<f32>, ReadError> {
        let mut all = vec![f32::NAN; CELL_ROWS as usize];
        let first = cell.saturating_mul(CELL_ROWS);
        self.each_offset(cell, &mut BlockBuffer::new(), |row, value| {
            if let Some(to) = all.get_mut(row.saturating_sub(first) as usize) {
                *to = value;
            }
        })?;
        Ok(all)
    }
}

impl LossReader {
    /// What it reads.
    pub fn table(&self) -> &LossTable {
        &self.table
    }

    /// Number of members: values of a row, in the order of [`LossTable::members`].
    pub fn members(&self) -> usize {
        self.table.members.len()
    }

    /// The live rows of the dataset.
    pub fn live(&self) -> &Arc<RowSet> {
        &self.live
    }

    /// Numbers of the cells that hold losses, ascending.
    pub fn cells(&self) -> Vec<u64> {
        let cells: BTreeSet<u64> = self.columns.iter().flat_map(|c| c.reader.cells()).collect();
        cells.into_iter().collect()
    }

    /// The losses of those rows of a cell that are live and `wanted` (all of them, without), and of which
    /// at least one feature says something. Fills `out`, whatever it had.
    pub fn read_cell(
        &self,
        cell: u64,
        wanted: Option<&RowSet>,
        out: &mut LossBlock,
    ) -> Result<(), ReadError> {
        let range = cell.saturating_mul(CELL_ROWS)..cell.saturating_add(1).saturating_mul(CELL_ROWS);
        let live = self.live.within(range).flatten();
        let rows = live.filter(|row| wanted.is_none_or(|wanted| wanted.contains(*row)));
        out.reset(rows, cell, self.members());
        let mut scratch = BlockBuffer::new();
        for OpenColumns { reader, columns } in &self.columns {
            for block in reader.blocks_in(cell) {
                out.take(cell, &reader.read_block(block, &mut scratch)?, columns);
            }
        }
        if let Some(reader) = &self.offset {
            reader.each_offset(cell, &mut scratch, |row, value| {
                let Some(place) = out.place(cell, row) else { return };
                let slots = (out.offset.get_mut(place), out.has_offset.get_mut(place));
                let (Some(offset), Some(has_offset)) = slots else { return };
                *has_offset = value.is_finite();
                *offset = if value.is_finite() { value } else { 0.0 };
            })?;
        }
        out.close();
        Ok(())
    }

    /// The live rows that have a loss of a member, or a note that there is none. Reads blocks that have gaps.
    pub fn rows_of(&self, member: usize) -> Result<RowSet, ReadError> {
        let place = self.table.members.binary_search(&member).ok();
        let own = self.columns.iter().filter(|c| place.is_some_and(|place| c.columns.contains(&place)));
        let sets: Result<Vec<RowSet>, ReadError> = own.map(|c| c.reader.row_set()).collect();
        Ok(RowSet::from_ranges(sets?.iter().flat_map(|rows| rows.ranges().iter().cloned())))
    }

    /// The losses of some rows, as far as there are any.
    ///
    /// Memory: rows x members.
    pub fn read_rows(&self, rows: &RowSet) -> Result<LossBlock, ReadError> {
        let (mut all, mut block) = (LossBlock::default(), LossBlock::default());
        all.members = self.members();
        for cell in self.cells() {
            let range = cell.saturating_mul(CELL_ROWS)..cell.saturating_add(1).saturating_mul(CELL_ROWS);
            if rows.within(range).next().is_none() {
                continue;
            }
            self.read_cell(cell, Some(rows), &mut block)?;
            all.rows.append(&mut block.rows);
            all.values.append(&mut block.values);
            all.offset.append(&mut block.offset);
            all.has_offset.append(&mut block.has_offset);
            all.missing += block.missing;
        }
        Ok(all)
    }
}
