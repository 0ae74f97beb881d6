//! Values from the rows themselves in bf16, twice as fast as the exact ones, with bounds that are certain.

use std::sync::Arc;

use gstore_store::{BlockBuffer, CELL_ROWS, RowFlags};

use super::estimates::Estimates;
use crate::error::QueryError;
use crate::influence::scan::slots::Slots;
use crate::influence::scan::values::groups;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, ScanPool, block_bytes};
use crate::influence::spec::modules::used_groups;
use crate::kernel::{Filter, FilterBound, FilterQueries, RowNorms, Scratch, rows_of};

/// The queries of one pool at one checkpoint.
pub(super) struct NarrowSide {
    queries: Arc<FilterQueries>,
    bound: FilterBound,
    /// The module groups that count.
    groups: Vec<usize>,
}

/// By pool and checkpoint.
pub(super) type NarrowSides = Vec<Vec<NarrowSide>>;

/// The sides of pools.
pub(super) fn narrow_sides(pools: &[ScanPool]) -> NarrowSides {
    let mut all: NarrowSides = Vec::new();
    for (p, pool) in pools.iter().enumerate() {
        let mut sides = Vec::new();
        for (c, reader) in pool.readers.iter().enumerate() {
            let part = reader.part();
            // Pools that share the packed queries share these.
            let shared = (0..p).find(|other| Arc::ptr_eq(&pools[*other].queries[c], &pool.queries[c]));
            let queries = match shared {
                Some(other) => all[other][c].queries.clone(),
                None => {
                    let queries = &pool.queries[c];
                    Arc::new(FilterQueries::new(&queries.vectors(), queries.dim(), &groups(part)))
                }
            };
            let mut groups = Vec::new();
            used_groups(&pool.modules[c], &mut groups);
            let bound = queries.bound(&groups, pool.readers.len());
            sides.push(NarrowSide { queries, bound, groups });
        }
        all.push(sides);
    }
    all
}

/// A thread's memory.
#[derive(Default)]
pub(super) struct Memory {
    scratch: BlockBuffer,
    found: Vec<(usize, usize)>,
    factors: Vec<f32>,
    sums: Vec<f32>,
    norms: Vec<RowNorms>,
    panels: Scratch,
}

/// Estimates the values of a window's rows; returns the bytes read.
pub(super) fn estimate(
    (scan, filter, sides): (&Scan<'_>, Filter, &NarrowSides),
    window: &Window,
    estimates: &mut Estimates,
    memory: &mut Memory,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[window.pool as usize];
    let Memory { scratch, found, factors, sums, norms, panels } = memory;
    let mut bytes = 0;
    for ((c, reader), side) in pool.readers.iter().enumerate().zip(&sides[window.pool as usize]) {
        let NarrowSide { queries, bound, groups } = side;
        let count = queries.len();
        let weighty = scan.weights[c] > 0.0;
        for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
            let slots: Slots<'_> = estimates.slots();
            if !slots.touch(block.range()) {
                continue;
            }
            scan.check_cancelled()?;
            let block = match scan.filter {
                None => reader.read_block(block, scratch)?,
                Some(_) => {
                    let mut rows = Vec::new();
                    slots.rows_in(block.range(), &mut rows);
                    reader.read_rows(block, &rows, scratch)?
                }
            };
            slots.find(&block, found);
            bytes += block_bytes(&block) / block.len().max(1) as u64 * found.len() as u64;
            for run in found.chunk_by(|a, b| a.0 + 1 == b.0) {
                let vectors = run[0].0..run[0].0 + run.len();
                factors.clear();
                scan.add_factors(&block, vectors.clone(), reader, &pool.modules[c], factors);
                sums.resize(run.len() * count, 0.0);
                norms.resize(run.len(), RowNorms::default());
                let values = rows_of(block.values, queries.dim(), vectors);
                filter.scaled_dots(values, queries, groups, factors, panels, sums, norms);
                for (((i, slot), sums), norms) in run.iter().zip(sums.chunks_exact(count)).zip(norms.iter()) {
                    estimates.note(*slot, RowFlags::from_bits(block.flags[*i]), weighty);
                    let (values, errors) = estimates.of(*slot);
                    values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
                    bound.add_to(*norms, errors);
                }
            }
        }
    }
    Ok(bytes)
}
