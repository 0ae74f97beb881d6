//! Exact values of single pairs of a row and a target sample.

use std::sync::Arc;

use gstore_store::{BlockBuffer, CELL_ROWS, ReadAhead};

use crate::error::QueryError;
use crate::influence::scan::slots::Slots;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, vector_bytes};
use crate::influence::sides::Singles;
use crate::influence::spec::modules::used_groups;
use crate::kernel::{Scratch, rows_of};

/// A thread's memory.
#[derive(Default)]
pub(super) struct PairBuffers {
    scratch: BlockBuffer,
    rows: Vec<u64>,
    wanted: Vec<u64>,
    found: Vec<(usize, usize)>,
    factors: Vec<f32>,
    groups: Vec<usize>,
    /// The first pair of each row.
    firsts: Vec<usize>,
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
    let PairBuffers { scratch, rows, wanted, found, factors, groups, firsts, panels } = memory;
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
        for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
            if !slots.touch(block.range()) {
                continue;
            }
            scan.check_cancelled()?;
            wanted.clear();
            slots.rows_in(block.range(), wanted);
            let block = reader.read_rows(block, wanted, scratch)?;
            slots.find(&block, found);
            bytes += vector_bytes(&block, found.len());
            for (i, slot) in found.iter() {
                factors.clear();
                scan.add_factors(&block, *i..i + 1, reader, pool.measure(c), factors);
                for at in firsts[*slot]..firsts[slot + 1] {
                    let query = &singles[pairs[at].1 as usize];
                    let row = rows_of(block.values, query.dim(), *i..i + 1);
                    let mut value = [0.0];
                    scan.kernel.scaled_dots(row, query, groups, factors, panels, &mut value);
                    values[at] += value[0];
                }
            }
        }
    }
    Ok(bytes)
}
