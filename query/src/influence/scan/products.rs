//! The products of a block's vectors with every query.

use std::ops::Range;

use gstore_store::{Block, BlockRef, FeatureReader, RowFlags, Values};

use super::Scan;
use super::kept::key;
use super::lengths::{Measure, lengths};
use super::slate::Slate;
use super::slots::Slots;
use crate::error::QueryError;
use crate::influence::spec::Sim;
use crate::influence::spec::modules::used_groups;
use crate::kernel::{Queries, RowBlock, RowProducts, rows_of};
use crate::values::{MIN_NORM, norm};

/// A device multiplies no fewer than one in so many of the vectors of a block that lie in the window.
const SHARE: usize = 8;

/// A window counts as having at least one in so many of a block's vectors, so that a few rows between deleted
/// ones bring no block to a device. Windows of very many query vectors have 64 rows, a 64th of a whole cell.
const NARROWEST: usize = 64;

impl Scan<'_> {
    /// Adds one checkpoint's share for the vectors of a block that have a slot.
    pub(super) fn add_block(
        &self,
        (block, at): (&Block<'_>, BlockRef),
        reader: &FeatureReader,
        (queries, measure): (&Queries, Measure<'_>),
        weight: f64,
        slots: Slots<'_>,
        slate: &mut Slate,
    ) -> Result<(), QueryError> {
        let mut found = std::mem::take(&mut slate.found);
        slots.find(block, &mut found);
        let device = self.device.filter(|_| pays((block, at), slots, found.len()));
        self.products(device, (block, at), &found, reader, (queries, measure), slate)?;
        let of_vector = |(i, slot): &(usize, usize)| (*slot, RowFlags::from_bits(block.flags[*i]));
        slate.add_sums(found.iter().map(of_vector), weight);
        slate.found = found;
        Ok(())
    }

    /// Similarities of vectors of a block, the first of each pair, with every query, into `slate.sums`: by a
    /// device if there is one, else by the processor.
    fn products(
        &self,
        device: Option<&dyn RowProducts>,
        (block, at): (&Block<'_>, BlockRef),
        vectors: &[(usize, usize)],
        reader: &FeatureReader,
        (queries, measure): (&Queries, Measure<'_>),
        slate: &mut Slate,
    ) -> Result<(), QueryError> {
        used_groups(measure.0, &mut slate.groups);
        slate.factors.clear();
        self.add_factors_of(block, vectors, reader, measure, &mut slate.factors);
        slate.sums.clear();
        slate.sums.resize(vectors.len() * queries.len(), 0.0);
        let Slate { chosen, groups, factors, sums, scratch, .. } = slate;
        if let Some(device) = device {
            chosen.clear();
            chosen.extend(vectors.iter().map(|vector| vector.0));
            let block = RowBlock { key: key(reader, at), values: block.values };
            let done = device.scaled_dots(&block, chosen, queries, groups, factors, sums);
            return done.map_err(QueryError::Device);
        }
        match vectors {
            [] => {}
            [first, .., last] if last.0 - first.0 + 1 == vectors.len() => {
                let rows = rows_of(block.values, queries.dim(), first.0..last.0 + 1);
                self.kernel.scaled_dots(rows, queries, groups, factors, scratch, sums);
            }
            _ => {
                chosen.clear();
                chosen.extend(vectors.iter().map(|vector| vector.0));
                self.kernel.scaled_dots_at(block.values, chosen, queries, groups, factors, scratch, sums);
            }
        }
        Ok(())
    }

    /// As [`Scan::add_factors`], of vectors that ascend and need not follow one another, the first of each
    /// pair.
    pub(super) fn add_factors_of(
        &self,
        block: &Block<'_>,
        vectors: &[(usize, usize)],
        reader: &FeatureReader,
        measure: Measure<'_>,
        factors: &mut Vec<f32>,
    ) {
        for run in vectors.chunk_by(|a, b| a.0 + 1 == b.0) {
            self.add_factors(block, run[0].0..run[0].0 + run.len(), reader, measure, factors);
        }
    }

    /// Adds by what the products of vectors `run` of a block are multiplied, for each module group.
    pub(crate) fn add_factors(
        &self,
        block: &Block<'_>,
        run: Range<usize>,
        reader: &FeatureReader,
        (modules, metric): Measure<'_>,
        factors: &mut Vec<f32>,
    ) {
        if let (Sim::Cosine, Some(metric)) = (self.sim, metric) {
            lengths(block, run, reader.part(), (modules, metric), |row, length| {
                let scales = &block.scale[row * modules.len()..(row + 1) * modules.len()];
                factors.extend(scales.iter().map(|scale| (f64::from(*scale) / length) as f32));
            });
            return;
        }
        // One group of weight 1 is what mostly there is: a loop without choices.
        if let (Sim::Cosine, [1.0]) = (self.sim, modules) {
            let of_rows = block.scale[run.clone()].iter().zip(&block.norm[run]);
            factors.extend(
                of_rows.map(|(scale, norm)| (f64::from(*scale) / f64::from(*norm).max(MIN_NORM)) as f32),
            );
            return;
        }
        for row in run {
            let of_row = row * modules.len()..(row + 1) * modules.len();
            let scales = block.scale[of_row.clone()].iter().copied().map(f64::from);
            match self.sim {
                Sim::Cosine => {
                    let length = norm(&block.norm[of_row], modules).max(MIN_NORM);
                    factors.extend(scales.map(|scale| (scale / length) as f32));
                }
                Sim::Dot => {
                    let dot_scale = reader.part().attrs.dot_scale;
                    factors.extend(scales.map(|scale| (scale * dot_scale) as f32));
                }
            }
        }
    }
}

/// Whether a device multiplies the vectors of a block that are scored: all of it was read, and they are many.
fn pays((block, at): (&Block<'_>, BlockRef), slots: Slots<'_>, scored: usize) -> bool {
    let in_window = match slots {
        // What bounds have left of any part of the block.
        Slots::Picked(_) => block.len(),
        Slots::Rows { .. } | Slots::Tokens(_) => slots.span(block).len(),
    };
    let is_whole = block.len() == at.vectors() && !matches!(block.values, Values::I1(_));
    is_whole && are_many(scored, in_window, block.len())
}

/// Whether so many scored vectors are many of those of a block that lie in the window.
fn are_many(scored: usize, in_window: usize, in_block: usize) -> bool {
    scored > 0 && scored * SHARE >= in_window.max(in_block / NARROWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_multiplies_much_of_a_window_however_narrow_that_is() {
        assert!(are_many(512, 4096, 4096) && !are_many(511, 4096, 4096));
        // Thousands of query vectors make windows narrow.
        assert!(are_many(200, 200, 4096) && are_many(64, 64, 4096) && are_many(9, 64, 4096));
        assert!(!are_many(7, 64, 4096) && !are_many(1, 1, 4096) && !are_many(0, 0, 0));
        assert!(are_many(1, 1, 64) && are_many(1, 3, 3));
    }
}
