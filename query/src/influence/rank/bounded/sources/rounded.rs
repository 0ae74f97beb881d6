//! Estimates from the rows themselves in bf16 or bytes, with bounds that are certain.

use std::sync::Arc;

use gstore_store::{BlockBuffer, ReadAhead, RowFlags};

use super::found::FoundVectors;
use super::{Estimates, WindowOffsets};
use crate::error::QueryError;
use crate::influence::scan::{Scan, vector_bytes};
use crate::influence::sides::{RoundedSide, RoundedSides};
use crate::kernel::{Filter, RowNorms, Scratch, rows_of};

/// A thread's memory.
#[derive(Default)]
pub(super) struct RoundedBuffers {
    scratch: BlockBuffer,
    found: FoundVectors,
    wanted: Vec<u64>,
    factors: Vec<f32>,
    sums: Vec<f32>,
    norms: Vec<RowNorms>,
    panels: Scratch,
}

impl RoundedBuffers {
    /// What blocks are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.scratch.see(ahead);
    }
}

/// Estimates the values of rows; returns the bytes read.
pub(super) fn estimate(
    (scan, filter, sides): (&Scan<'_>, Filter, &RoundedSides),
    rows: WindowOffsets<'_>,
    estimates: &mut Estimates,
    memory: &mut RoundedBuffers,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[rows.pool as usize];
    let RoundedBuffers { scratch, found, wanted, factors, sums, norms, panels } = memory;
    let mut bytes = 0;
    for ((c, reader), side) in pool.readers.iter().enumerate().zip(&sides[rows.pool as usize]) {
        let RoundedSide { queries, bound, groups } = side;
        let count = queries.len();
        let weighty = scan.weights[c] > 0.0;
        for block in rows.blocks(reader) {
            scan.check_cancelled()?;
            let block = match scan.filter {
                None => reader.read_block(block, scratch)?,
                Some(_) => {
                    let places = rows.within(block.range());
                    wanted.clear();
                    wanted.extend(rows.offsets[places].iter().map(|offset| rows.start + u64::from(*offset)));
                    reader.read_rows(block, wanted, scratch)?
                }
            };
            found.find(rows, block.len(), |i| block.rows[i]);
            bytes += vector_bytes(&block, found.vectors.len());
            let mut places = found.places.iter();
            for vectors in found.runs() {
                factors.clear();
                scan.add_factors(&block, vectors.clone(), reader, pool.measure(c), factors);
                sums.resize(vectors.len() * count, 0.0);
                norms.resize(vectors.len(), RowNorms::default());
                let values = rows_of(block.values, queries.dim(), vectors.clone());
                filter.scaled_dots(values, queries, groups, factors, panels, sums, norms);
                let of_run = vectors.zip(&mut places).zip(sums.chunks_exact(count)).zip(norms.iter());
                for (((i, place), sums), norms) in of_run {
                    let place = *place as usize;
                    estimates.note(place, RowFlags::from_bits(block.flags[i]), weighty);
                    let (values, errors) = estimates.of(place);
                    values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
                    bound.add_to(*norms, errors);
                }
            }
        }
    }
    Ok(bytes)
}
