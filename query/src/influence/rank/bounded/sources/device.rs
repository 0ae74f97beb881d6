//! Estimates of whole scores by a device that keeps the rows, with bounds that are certain.

use gstore_store::{Block, BlockBuffer, RowFlags};

use super::found::FoundVectors;
use super::{Estimates, WindowOffsets};
use crate::error::QueryError;
use crate::influence::scan::kept::key;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::{Scan, vector_bytes};
use crate::influence::spec::Within;
use crate::influence::spec::modules::used_groups;
use crate::kernel::{BlockKey, Combined, EstimatedRows, Folding, KeptRows, RowProducts};

/// A thread's memory.
#[derive(Default)]
pub(super) struct DeviceBuffers {
    scratch: BlockBuffer,
    found: FoundVectors,
    checkpoints: Vec<Checkpoint>,
    scores: Vec<[f32; 2]>,
}

#[derive(Default)]
struct Checkpoint {
    blocks: Vec<(BlockKey, usize)>,
    /// By vector its place in the block, and that of its row.
    places: Vec<usize>,
    slots: Vec<usize>,
    /// By vector and module group.
    factors: Vec<f32>,
    /// The module groups that count.
    groups: Vec<usize>,
}

impl Checkpoint {
    fn clear(&mut self) {
        let Checkpoint { blocks, places, slots, factors, groups } = self;
        blocks.clear();
        places.clear();
        slots.clear();
        factors.clear();
        groups.clear();
    }
}

/// Estimates the scores of rows, for which `estimates` was started with one value each; returns the bytes
/// read.
pub(super) fn estimate(
    (scan, device): (&Scan<'_>, &dyn RowProducts),
    rows: WindowOffsets<'_>,
    estimates: &mut Estimates,
    memory: &mut DeviceBuffers,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[rows.pool as usize];
    let DeviceBuffers { scratch, found, checkpoints, scores } = memory;
    checkpoints.resize_with(pool.readers.len(), Checkpoint::default);
    let mut bytes = 0;
    for ((c, reader), own) in pool.readers.iter().enumerate().zip(&mut *checkpoints) {
        own.clear();
        used_groups(&pool.modules[c], &mut own.groups);
        for at in rows.blocks(reader) {
            scan.check_cancelled()?;
            let block = reader.read_block(at, scratch)?;
            found.find(rows, block.len(), |i| block.rows[i]);
            bytes += vector_bytes(&block, found.vectors.len());
            note(&block, found, scan.weights[c] > 0.0, estimates);
            for vectors in found.runs() {
                scan.add_factors(&block, vectors, reader, pool.measure(c), &mut own.factors);
            }
            own.blocks.push((key(reader, at), found.vectors.len()));
            own.places.extend(found.vectors.iter().map(|vector| *vector as usize));
            own.slots.extend(found.places.iter().map(|place| *place as usize));
        }
    }
    scores.clear();
    // What is not said is not known.
    scores.resize(rows.offsets.len(), [0.0, f32::INFINITY]);
    let asked: Vec<EstimatedRows<'_>> = checkpoints
        .iter()
        .zip(&pool.queries)
        .map(|(own, queries)| EstimatedRows {
            rows: KeptRows { blocks: &own.blocks, places: &own.places },
            slots: &own.slots,
            queries,
            groups: &own.groups,
            factors: &own.factors,
        })
        .collect();
    let done = device.estimates(&asked, folding(scan.terms), scores).map_err(QueryError::Device)?;
    let (values, errors) = estimates.all();
    for ((value, error), score) in values.iter_mut().zip(errors).zip(scores.iter()) {
        [*value, *error] = if done { *score } else { [0.0, f32::INFINITY] };
    }
    Ok(bytes)
}

fn note(block: &Block<'_>, found: &FoundVectors, weighty: bool, estimates: &mut Estimates) {
    let flags = |vector: &u32| RowFlags::from_bits(block.flags[*vector as usize]);
    if !found.vectors.iter().any(|vector| flags(vector).intersects(RowFlags::UNSCORED)) {
        return estimates.note_plain(&found.places, weighty);
    }
    for (vector, place) in found.vectors.iter().zip(&found.places) {
        estimates.note(*place as usize, flags(vector), weighty);
    }
}

fn folding(terms: &Terms) -> Folding<'_> {
    let combined = |how: Within| match how {
        Within::Mean => Combined::Mean,
        Within::Sum => Combined::Sum,
        Within::Max => Combined::Max,
        Within::Min => Combined::Min,
    };
    Folding {
        subtasks: &terms.subtasks,
        within: combined(terms.within),
        across: combined(terms.across.into()),
    }
}
