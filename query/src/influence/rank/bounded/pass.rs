//! A pass: what a source says of rows of windows, and which of them may rank.

use super::Search;
use super::candidates::{Candidates, Cut};
use super::part::Part;
use super::sources::Source;
use crate::error::QueryError;
use crate::influence::scan::Totals;
use crate::influence::scan::windows::Window;

/// Rows of one window, counted from its first; both ascend in a list of them.
pub(super) type Picked = (u32, Vec<u32>);

/// Rows that a source is asked about.
pub(super) enum Asked<'a> {
    /// Every row of windows that is live and that the filter lets through.
    Every(std::ops::Range<usize>),
    /// Some.
    Picked(&'a [Picked]),
}

/// What was found.
#[derive(Default)]
pub(super) struct Pass {
    /// For each ranking.
    pub(super) lists: Vec<Candidates>,
    /// Rows that nothing is known of: number of the window and row, from its first.
    pub(super) unbounded: Vec<(u32, u32)>,
    /// Of the rows that are bounded or have no score.
    pub(super) totals: Totals,
}

impl Pass {
    /// Nothing yet.
    pub(super) fn new(k: usize, cuts: &[Cut]) -> Self {
        let lists = cuts.iter().map(|cut| Candidates::new(k, *cut)).collect();
        Self { lists, unbounded: Vec::new(), totals: Totals::default() }
    }

    /// Takes over what was found of other rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.lists.iter_mut().zip(other.lists).for_each(|(list, other)| list.merge(other));
        self.unbounded.extend(other.unbounded);
        self.totals.merge(&other.totals);
    }

    /// Takes the rows out that nothing is known of.
    pub(super) fn take_unbounded(&mut self) -> Vec<Picked> {
        let mut rows = std::mem::take(&mut self.unbounded);
        rows.sort_unstable();
        let of_window = |rows: &[(u32, u32)]| (rows[0].0, rows.iter().map(|row| row.1).collect());
        rows.chunk_by(|a, b| a.0 == b.0).map(of_window).collect()
    }

    /// Number of candidates of all rankings.
    pub(super) fn candidates(&self) -> usize {
        self.lists.iter().map(Candidates::len).sum()
    }
}

impl Search<'_> {
    /// Asks each of some sources about rows; what it finds does not depend on the threads.
    pub(super) fn read(
        &self,
        windows: &[Window],
        sources: &[Source<'_>],
        asked: &Asked<'_>,
        cuts: &[Cut],
    ) -> Result<Vec<Pass>, QueryError> {
        let count = match asked {
            Asked::Every(range) => range.len(),
            Asked::Picked(picked) => picked.len(),
        };
        let window = |unit: usize| match asked {
            Asked::Every(range) => range.start + unit,
            Asked::Picked(picked) => picked[unit].0 as usize,
        };
        let parts = self.scan.disk.unordered(
            count,
            (self.threads, self.scan.cancel),
            || sources.iter().map(|_| Part::new(self.k, cuts)).collect::<Vec<_>>(),
            |parts, ahead| parts.iter_mut().for_each(|part| part.see(ahead)),
            |units, wants| {
                let picked = match asked {
                    Asked::Every(_) => None,
                    Asked::Picked(picked) => Some(&picked[units.clone()]),
                };
                let read: Vec<&Window> = units.map(|unit| &windows[window(unit)]).collect();
                sources.iter().for_each(|source| source.want(&self.scan, (&read, picked), wants));
            },
            |parts, unit| {
                let window = window(unit);
                let picked = match asked {
                    Asked::Every(_) => None,
                    Asked::Picked(picked) => Some(&picked[unit].1[..]),
                };
                for (part, source) in parts.iter_mut().zip(sources) {
                    part.window((self, source), (window as u32, &windows[window]), picked)?;
                }
                Ok(())
            },
        )?;
        let mut found: Vec<Pass> = sources.iter().map(|_| Pass::new(self.k, cuts)).collect();
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
