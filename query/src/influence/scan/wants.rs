//! Byte ranges that windows of a scan read and that are not in memory.

use std::ops::Range;

use gstore_store::{BlockRef, FeatureReader, SpanRequests};

use super::kept::is_kept;
use super::windows::Window;
use super::{Scan, query_count};
use crate::kernel::RowProducts;

/// With more query vectors a window may be a part of a block, which would be read again for the others.
const MOST_QUERIES: usize = 1024;

impl<'a> Scan<'a> {
    pub(in crate::influence) fn want(&self, windows: &[&Window], wants: &mut SpanRequests<'a>) {
        if query_count(self.pools) > MOST_QUERIES {
            return;
        }
        let mut wanted = Vec::new();
        self.each_block(windows, |(_, pool, _), reader, (block, rows)| {
            // Of what a device keeps, keys and lengths alone are read.
            if is_kept(self.device, reader, block) {
                return;
            }
            match self.filter.and_then(|filter| filter.pool(pool)) {
                None => reader.want(block, wants),
                Some(mask) => {
                    wanted.clear();
                    let live = &self.pools[pool].live;
                    wanted.extend(mask.rows_in(rows).filter(|row| live.contains(*row)));
                    if !wanted.is_empty() {
                        reader.want_rows(block, &wanted, wants);
                    }
                }
            }
        });
    }

    /// Adds what scoring some rows of a window reads, unless the device that multiplies them keeps them; they
    /// are counted from its first and ascend.
    pub(in crate::influence) fn want_rows(
        &self,
        window: &Window,
        offsets: impl Iterator<Item = u32>,
        device: Option<&dyn RowProducts>,
        wants: &mut SpanRequests<'a>,
    ) {
        let rows: Vec<u64> = offsets.map(|offset| window.rows.start + u64::from(offset)).collect();
        for reader in &self.pools[window.pool as usize].readers {
            for block in window.blocks(reader) {
                let before = |end: u64| rows.partition_point(|row| *row < end);
                let own = &rows[before(block.range().start)..before(block.range().end)];
                if !own.is_empty() && !is_kept(device, reader, block) {
                    reader.want_rows(block, own, wants);
                }
            }
        }
    }

    /// Hands out (place of the window, pool, checkpoint), reader, and block with the rows of the window in
    /// it, of every block in which a wanted row of windows may lie: checkpoint by checkpoint, so that blocks
    /// that follow one another do so here.
    pub(in crate::influence) fn each_block(
        &self,
        windows: &[&Window],
        mut take: impl FnMut((usize, usize, usize), &'a FeatureReader, (BlockRef, Range<u64>)),
    ) {
        for c in 0..self.weights.len() {
            for (at, window) in windows.iter().enumerate() {
                let pool = &self.pools[window.pool as usize];
                let mask = self.filter.and_then(|filter| filter.pool(window.pool as usize));
                let Some(reader) = pool.readers.get(c) else { continue };
                for block in window.blocks(reader) {
                    let range = block.range();
                    let rows = range.start.max(window.rows.start)..range.end.min(window.rows.end);
                    let is_wanted = !rows.is_empty()
                        && match mask {
                            None => pool.live.within(rows.clone()).next().is_some(),
                            Some(mask) => mask.rows_in(rows.clone()).next().is_some(),
                        };
                    if is_wanted {
                        take((at, window.pool as usize, c), reader, (block, rows));
                    }
                }
            }
        }
    }
}
