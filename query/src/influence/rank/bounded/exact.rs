//! Exact values of the rows that no bound excludes, as the scan computes them.

use std::ops::Range;

use gstore_store::FeatureReader;

use super::Search;
use super::candidates::Candidate;
use super::pairs;
use super::sources::PickedRows;
use crate::error::QueryError;
use crate::influence::rank::collect::{Collector, finish, shared};
use crate::influence::rank::lists::Lists;
use crate::influence::result::Scored;
use crate::influence::scan::windows::{Window, most_slots};
use crate::influence::scan::{Totals, Worker, kept};
use crate::influence::sides::Singles;

/// Rows from which on a device has enough to do.
const TOGETHER: usize = 2048;

/// The rows of some windows that are scored already.
pub(super) struct ScoredRows<'a> {
    all: &'a [Window],
    range: Range<usize>,
    /// By window, ascending.
    rows: Vec<Vec<u32>>,
}

impl<'a> ScoredRows<'a> {
    /// None yet.
    pub(super) fn new(all: &'a [Window], range: Range<usize>) -> Self {
        let rows = vec![Vec::new(); range.len()];
        Self { all, range, rows }
    }

    /// Candidates by window: row, from its first, and ranking; ascending.
    fn by_window(&self, candidates: &[Vec<Candidate>]) -> Vec<(u32, Vec<(u32, u32)>)> {
        let mut windows: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.range.len()];
        for (list, candidates) in candidates.iter().enumerate() {
            for candidate in candidates {
                windows[candidate.unit as usize - self.range.start].push((candidate.slot, list as u32));
            }
        }
        let windows = (self.range.start as u32..).zip(windows).filter(|(_, pairs)| !pairs.is_empty());
        let mut windows: Vec<_> = windows.collect();
        windows.iter_mut().for_each(|(_, pairs)| pairs.sort_unstable());
        windows
    }

    /// The rows of candidates that are not scored yet.
    pub(super) fn new_rows(&self, candidates: &[Vec<Candidate>]) -> Vec<PickedRows> {
        let windows = self.by_window(candidates).into_iter();
        let new = windows.map(|(unit, pairs)| (unit, self.new_of(unit, &pairs)));
        new.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    fn new_of(&self, unit: u32, pairs: &[(u32, u32)]) -> Vec<u32> {
        let seen = &self.rows[unit as usize - self.range.start];
        let mut rows: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
        rows.dedup();
        rows.retain(|row| seen.binary_search(row).is_err());
        rows
    }

    fn note(&mut self, unit: u32, rows: Vec<u32>) {
        let seen = &mut self.rows[unit as usize - self.range.start];
        seen.extend(rows);
        seen.sort_unstable();
    }
}

impl Search<'_> {
    /// Scores candidates by ranking; `scored` of what is returned counts the rows among them that were not
    /// before.
    pub(super) fn score(
        &self,
        seen: &mut ScoredRows<'_>,
        candidates: &[Vec<Candidate>],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        if let (Lists::Values(subtasks), Some(singles)) = (self.lists, self.singles) {
            return self.score_pairs(seen, candidates, (singles, subtasks), tops);
        }
        // A row that is a candidate of any ranking is scored for all of them.
        let rows = seen.new_rows(candidates);
        let totals = self.score_rows(seen.all, &rows, tops)?;
        rows.into_iter().for_each(|(unit, rows)| seen.note(unit, rows));
        Ok(totals)
    }

    fn score_pairs(
        &self,
        seen: &mut ScoredRows<'_>,
        candidates: &[Vec<Candidate>],
        (singles, subtasks): (&Singles, &[u32]),
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let tops = shared(tops);
        let (windows, of_windows) = (seen.all, seen.by_window(candidates));
        let states = self.scan.disk.unordered(
            of_windows.len(),
            (self.threads, self.scan.cancel),
            || ((pairs::PairBuffers::default(), Vec::new()), tops.waiting(), Totals::default()),
            |((memory, _), _, _), ahead| memory.see(ahead),
            &|units, wants| {
                for (unit, pairs) in &of_windows[units] {
                    let offsets = pairs.chunk_by(|a, b| a.0 == b.0).map(|pairs| pairs[0].0);
                    self.scan.want_rows(&windows[*unit as usize], offsets, None, wants);
                }
            },
            |((memory, values), waiting, totals), unit| {
                let (unit, pairs) = &of_windows[unit];
                let window = &windows[*unit as usize];
                totals.bytes_read += pairs::values((&self.scan, singles), window, pairs, values, memory)?;
                for (&(offset, query), &score) in pairs.iter().zip(&*values) {
                    let (row, query) = (window.rows.start + u64::from(offset), query as usize);
                    let subtask = subtasks[query];
                    waiting.offer(query, &Scored { pool: window.pool, row, pos: None, score, subtask });
                }
                Ok(())
            },
        )?;
        let mut totals = finish(states);
        for (unit, pairs) in of_windows {
            let new = seen.new_of(unit, &pairs);
            totals.scored += new.len() as u64;
            seen.note(unit, new);
        }
        Ok(totals)
    }

    /// What is scored at a time: the rows of a window, or those of several, which ascend, where a device
    /// multiplies them.
    fn together<'p>(&self, windows: &[Window], picked: &'p [PickedRows]) -> Vec<&'p [PickedRows]> {
        let mut units = Vec::new();
        let mut start = 0;
        let mut rows = 0;
        let most = TOGETHER.min(most_slots(self.queries()));
        for (at, (window, offsets)) in picked.iter().enumerate() {
            rows += offsets.len();
            let pool = windows[*window as usize].pool;
            let next = picked.get(at + 1).map(|next| windows[next.0 as usize].pool);
            if self.scan.device.is_none() || next != Some(pool) || rows >= most {
                units.push(&picked[start..=at]);
                (start, rows) = (at + 1, 0);
            }
        }
        units
    }

    /// Scores rows for every ranking; `scored` of what is returned counts them all.
    pub(super) fn score_rows(
        &self,
        windows: &[Window],
        picked: &[PickedRows],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        if picked.is_empty() {
            return Ok(Totals::default());
        }
        let tops = shared(tops);
        let units = self.together(windows, picked);
        let states = self.scan.disk.unordered(
            units.len(),
            (self.threads, self.scan.cancel),
            || ((Worker::default(), Vec::new()), tops.waiting(), Totals::default()),
            |((worker, _), _, _), ahead| worker.see(ahead),
            &|some, wants| {
                for unit in &units[some] {
                    // The processor reads and multiplies fewer, whether or not a device keeps them.
                    let rows: usize = unit.iter().map(|(_, offsets)| offsets.len()).sum();
                    let device = self.scan.device.filter(|_| rows >= kept::LEAST);
                    for (window, offsets) in *unit {
                        let (window, offsets) = (&windows[*window as usize], offsets.iter().copied());
                        self.scan.want_rows(window, offsets, device, wants);
                    }
                }
            },
            |((worker, rows), waiting, totals), unit| {
                let window_of = |picked: &PickedRows| &windows[picked.0 as usize];
                let (Some(first), Some(last)) = (units[unit].first(), units[unit].last()) else {
                    return Ok(());
                };
                let (first, last) = (window_of(first), window_of(last));
                let window = &Window { pool: first.pool, rows: first.rows.start..last.rows.end };
                rows.clear();
                for picked in units[unit] {
                    let start = window_of(picked).rows.start;
                    rows.extend(picked.1.iter().map(|offset| start + u64::from(*offset)));
                }
                let counted = self.scan.judged_rows(window, rows, worker, |row, values, whole| {
                    self.lists.each(self.scan.terms, values, whole, |list, score, subtask| {
                        waiting.offer(list, &Scored { pool: window.pool, row, pos: None, score, subtask });
                    });
                })?;
                totals.merge(&counted);
                totals.scored += rows.len() as u64;
                Ok(())
            },
        )?;
        let mut totals = finish(states);
        // A block may be read whole for some of its rows.
        let bytes = |(window, rows): &PickedRows| {
            rows.len() as u64 * row_bytes(&self.scan.pools[windows[*window as usize].pool as usize].readers)
        };
        totals.bytes_read = picked.iter().map(bytes).sum();
        Ok(totals)
    }
}

/// Bytes of one row's vectors with what belongs to them.
pub(super) fn row_bytes(readers: &[FeatureReader]) -> u64 {
    let of = |reader: &FeatureReader| {
        let part = reader.part();
        part.attrs.vector_bytes(part.desc.dtype, part.desc.granularity)
    };
    readers.iter().map(of).sum()
}
