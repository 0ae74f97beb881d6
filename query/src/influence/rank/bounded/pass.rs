//! A pass: what a source says of rows of windows, and which of them may rank.

use super::Search;
use super::candidates::{Candidates, ScoreCut};
use super::findings::Findings;
use super::part::ThreadSearch;
use super::sources::{EstimateSource, PickedRows};
use crate::error::QueryError;
use crate::influence::scan::windows::Window;

/// Rows that a source is asked about.
pub(super) enum RequestedRows<'a> {
    /// Every row of windows that is live and that the filter lets through.
    Every(std::ops::Range<usize>),
    Picked(&'a [PickedRows]),
}

impl Search<'_> {
    /// Asks each of some sources about rows; what it finds does not depend on the threads.
    pub(super) fn read(
        &self,
        windows: &[Window],
        sources: &[EstimateSource<'_>],
        asked: &RequestedRows<'_>,
        cuts: &[ScoreCut],
    ) -> Result<Vec<Findings>, QueryError> {
        let (count, picked) = match asked {
            RequestedRows::Every(range) => (range.len(), None),
            RequestedRows::Picked(picked) => (picked.len(), Some(*picked)),
        };
        let window = |unit: usize| match asked {
            RequestedRows::Every(range) => range.start + unit,
            RequestedRows::Picked(picked) => picked[unit].0 as usize,
        };
        let parts = self.scan.disk.unordered(
            count,
            (self.threads, self.scan.cancel),
            || sources.iter().map(|_| ThreadSearch::new(self.k, cuts)).collect::<Vec<_>>(),
            |parts, ahead| parts.iter_mut().for_each(|part| part.see(ahead)),
            &|units, wants| {
                let picked = picked.map(|picked| &picked[units.clone()]);
                let read: Vec<&Window> = units.map(|unit| &windows[window(unit)]).collect();
                sources.iter().for_each(|source| source.want(&self.scan, (&read, picked), wants));
            },
            |parts, unit| {
                let window = window(unit);
                let picked = picked.map(|picked| &picked[unit].1[..]);
                for (part, source) in parts.iter_mut().zip(sources) {
                    part.window((self, source), (window as u32, &windows[window]), picked)?;
                }
                Ok(())
            },
        )?;
        let mut found: Vec<Findings> = sources.iter().map(|_| Findings::new(self.k, cuts)).collect();
        for parts in parts {
            found.iter_mut().zip(parts).for_each(|(found, part)| found.merge(part.found));
        }
        found.iter_mut().flat_map(|found| &mut found.lists).for_each(Candidates::shrink);
        Ok(found)
    }

    /// Rows of a window that are live and that the filter lets through, counted from its first.
    pub(super) fn selected(&self, window: &Window, offsets: &mut Vec<u32>) {
        let (pool, first) = (window.pool as usize, window.rows.start);
        let live = &self.scan.pools[pool].live;
        match self.scan.filter.and_then(|filter| filter.pool(pool)) {
            None => live.within(window.rows.clone()).for_each(|rows| {
                offsets.extend((rows.start - first) as u32..(rows.end - first) as u32);
            }),
            Some(mask) => {
                let rows = mask.rows_in(window.rows.clone()).filter(|row| live.contains(*row));
                offsets.extend(rows.map(|row| (row - first) as u32));
            }
        }
    }
}
