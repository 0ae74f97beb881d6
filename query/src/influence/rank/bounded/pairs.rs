//! Exact values of single pairs of a row and a target sample.

use std::sync::Arc;

use gstore_store::{BlockBuffer, ReadAhead};

use crate::error::QueryError;
use crate::influence::scan::slots::Slots;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, vector_bytes};
use crate::influence::sides::Singles;
use crate::influence::spec::modules::used_groups;
use crate::kernel::Scratch;

/// A thread's memory.
#[derive(Default)]
pub(super) struct PairBuffers {
    scratch: BlockBuffer,
    rows: Vec<u64>,
    wanted: Vec<u64>,
    found: Vec<(usize, usize)>,
    groups: Vec<usize>,
    /// The first pair of each row.
    firsts: Vec<usize>,
    /// Of the rows of a block.
    row_factors: Vec<f32>,
    /// Its pairs: query, place of the row among those found, and place of the value.
    of_block: Vec<(u32, u32, u32)>,
    /// Of a query: the rows of its pairs, their factors and their products.
    chosen: Vec<usize>,
    factors: Vec<f32>,
    products: Vec<f32>,
    panels: Scratch,
}

impl PairBuffers {
    /// What blocks are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.scratch.see(ahead);
    }
}

/// The values of pairs (row from the first of the window, query), which ascend and whose rows have every
/// checkpoint; returns the bytes read. They are those of a scan, bit by bit.
pub(super) fn values(
    (scan, singles): (&Scan<'_>, &Singles),
    window: &Window,
    pairs: &[(u32, u32)],
    values: &mut Vec<f32>,
    memory: &mut PairBuffers,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[window.pool as usize];
    let PairBuffers {
        scratch,
        rows,
        wanted,
        found,
        groups,
        firsts,
        row_factors,
        of_block,
        chosen,
        factors,
        products,
        panels,
    } = memory;
    values.clear();
    values.resize(pairs.len(), 0.0);
    rows.clear();
    firsts.clear();
    for (at, pair) in pairs.iter().enumerate() {
        let row = window.rows.start + u64::from(pair.0);
        if rows.last() != Some(&row) {
            rows.push(row);
            firsts.push(at);
        }
    }
    firsts.push(pairs.len());
    let slots = Slots::Picked(rows);
    let mut bytes = 0;
    for ((c, reader), singles) in pool.readers.iter().enumerate().zip(&singles[window.pool as usize]) {
        used_groups(&pool.modules[c], groups);
        for block in window.blocks(reader) {
            if !slots.touch(block.range()) {
                continue;
            }
            scan.check_cancelled()?;
            wanted.clear();
            slots.rows_in(block.range(), wanted);
            let block = reader.read_rows(block, wanted, scratch)?;
            slots.find(&block, found);
            bytes += vector_bytes(&block, found.len());
            row_factors.clear();
            of_block.clear();
            for (place, (i, slot)) in found.iter().enumerate() {
                scan.add_factors(&block, *i..i + 1, reader, pool.measure(c), row_factors);
                let of_row = firsts[*slot]..firsts[slot + 1];
                of_block.extend(of_row.map(|at| (pairs[at].1, place as u32, at as u32)));
            }
            // The rows of a query together: it is then read once for all of them, and they are multiplied
            // some at a time.
            of_block.sort_unstable();
            for pairs in of_block.chunk_by(|a, b| a.0 == b.0) {
                let query = &singles[pairs[0].0 as usize];
                let each = query.groups();
                chosen.clear();
                factors.clear();
                for (_, place, _) in pairs {
                    let place = *place as usize;
                    chosen.push(found[place].0);
                    factors.extend_from_slice(&row_factors[place * each..(place + 1) * each]);
                }
                products.resize(pairs.len(), 0.0);
                scan.kernel.scaled_dots_at(block.values, chosen, query, groups, factors, panels, products);
                pairs
                    .iter()
                    .zip(&*products)
                    .for_each(|((_, _, at), product)| values[*at as usize] += product);
            }
        }
    }
    Ok(bytes)
}
