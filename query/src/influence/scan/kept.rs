//! Vectors of blocks that a device keeps: it multiplies those of a window together.
//!
//! Invariants
//! - whether a device keeps a block changes no value: what it cannot multiply goes the way of other blocks

use gstore_store::{Block, BlockBuffer, BlockRef, FeatureReader, RowFlags};

use super::Scan;
use super::lengths::Measure;
use super::slate::{Slate, Waiting};
use super::slots::Slots;
use crate::error::QueryError;
use crate::influence::spec::modules::used_groups;
use crate::kernel::{BlockKey, KeptRows, Queries, RowProducts};

/// The least number of vectors for a device: a launch takes longer to begin than the processor for fewer.
pub(in crate::influence) const LEAST: usize = 16;

/// The key by which devices know a block.
pub(crate) fn key(reader: &FeatureReader, at: BlockRef) -> BlockKey {
    (reader.segments()[at.segment()].uuid().as_u128(), at.place())
}

pub(crate) fn is_kept(device: Option<&dyn RowProducts>, reader: &FeatureReader, at: BlockRef) -> bool {
    device.is_some_and(|device| device.keeps(key(reader, at)))
}

impl Scan<'_> {
    /// Has the vectors of a block that have a slot wait for those of others.
    pub(super) fn put_off(
        &self,
        (block, at): (&Block<'_>, BlockRef),
        reader: &FeatureReader,
        measure: Measure<'_>,
        slots: Slots<'_>,
        slate: &mut Slate,
    ) {
        let Slate { found, waiting, .. } = slate;
        slots.find(block, found);
        self.add_factors_of(block, found, reader, measure, &mut waiting.factors);
        waiting.at.push(at);
        waiting.blocks.push((key(reader, at), found.len()));
        waiting.places.extend(found.iter().map(|(i, _)| *i));
        waiting.slots.extend(found.iter().map(|(i, slot)| (*slot, RowFlags::from_bits(block.flags[*i]))));
    }

    /// Adds one checkpoint's share for the vectors that wait.
    pub(super) fn add_waiting(
        &self,
        reader: &FeatureReader,
        (queries, measure): (&Queries, Measure<'_>),
        weight: f64,
        slots: Slots<'_>,
        scratch: &mut BlockBuffer,
        slate: &mut Slate,
    ) -> Result<(), QueryError> {
        let mut waiting = std::mem::take(&mut slate.waiting);
        if self.multiply(&waiting, (queries, measure), slate)? {
            slate.add_sums(waiting.slots.iter().copied(), weight);
        } else {
            for at in &waiting.at {
                let block = reader.read_block(*at, scratch)?;
                self.add_block((&block, *at), reader, (queries, measure), weight, slots, slate)?;
            }
        }
        waiting.clear();
        slate.waiting = waiting;
        Ok(())
    }

    /// Similarities of the vectors that wait with every query, into `slate.sums`; false where a device does
    /// not have them.
    fn multiply(
        &self,
        waiting: &Waiting,
        (queries, measure): (&Queries, Measure<'_>),
        slate: &mut Slate,
    ) -> Result<bool, QueryError> {
        let count = waiting.places.len();
        let Some(device) = self.device.filter(|_| count >= LEAST) else { return Ok(false) };
        used_groups(measure.0, &mut slate.groups);
        slate.sums.clear();
        slate.sums.resize(count * queries.len(), 0.0);
        let rows = KeptRows { blocks: &waiting.blocks, places: &waiting.places };
        let done = device.kept_dots(rows, queries, &slate.groups, &waiting.factors, &mut slate.sums);
        done.map_err(QueryError::Device)
    }
}
