//! The rows that no bound excludes, scored as the exact scan does.

use gstore_core::parallel;
use gstore_store::{DType, FeatureReader};

use super::chosen::Chosen;
use super::run::Run;
use crate::error::QueryError;
use crate::influence::rank::collect::Collector;
use crate::influence::scan::{Totals, Worker};

impl Run<'_> {
    /// Scores rows and moves the threshold. `count`: they are not among the totals yet.
    pub(super) fn score(&mut self, chosen: &Chosen, count: bool) -> Result<(), QueryError> {
        if chosen.len() == 0 {
            return Ok(());
        }
        let cascade = self.cascade;
        let scan = cascade.scan;
        let collector = || Collector::new(cascade.order, cascade.k, false);
        let windows = self.windows;
        let states = parallel::unordered::<_, QueryError>(
            chosen.len(),
            cascade.threads,
            scan.cancel,
            || (Worker::default(), collector(), Totals::default(), Vec::new()),
            |(worker, top, totals, rows), unit| {
                let (window, offsets) = chosen.get(unit);
                let window = &windows[window];
                rows.clear();
                rows.extend(offsets.iter().map(|offset| window.rows.start + u64::from(*offset)));
                let found = scan.picked(window, rows, worker)?;
                found.scored.iter().for_each(|scored| top.push(scored));
                totals.merge(&found.totals);
                Ok::<_, QueryError>(())
            },
        )?;
        for (_, top, mut totals, _) in states {
            self.top.merge(top);
            totals.bytes_read = 0;
            if count {
                self.totals.merge(&totals);
            }
        }
        for (window, rows) in chosen.iter() {
            self.rows_scored += rows.len() as u64;
            let readers = &cascade.scan.pools[windows[window].pool as usize].readers;
            self.totals.bytes_read += rows.len() as u64 * row_bytes(readers);
        }
        self.threshold = self.top.kth();
        Ok(())
    }
}

/// Bytes of one row's vectors with what belongs to them.
pub(super) fn row_bytes(readers: &[FeatureReader]) -> u64 {
    let of = |reader: &FeatureReader| {
        let part = reader.part();
        let value = match part.desc.dtype {
            DType::F32 => 4,
            DType::F16 => 2,
            DType::I8 => 1,
        };
        // Row and check, scales and norms, flags.
        u64::from(part.desc.dim()) * value + 16 + 8 * part.attrs.groups.len() as u64 + 1
    };
    readers.iter().map(of).sum()
}
