//! Exact scores of candidates.

use std::ops::Range;

use gstore_core::parallel;

use super::Shortlist;
use super::candidates::Candidate;
use super::pairs::{self, Singles};
use crate::error::QueryError;
use crate::influence::rank::collect::{Collector, merge};
use crate::influence::rank::each::Lists;
use crate::influence::result::Scored;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Totals, Worker};

/// What is known of the windows whose candidates wait.
pub(super) struct Waiting<'a> {
    pub(super) all: &'a [Window],
    pub(super) range: Range<usize>,
    /// By window the rows that are scored already, ascending.
    pub(super) scored: Vec<Vec<u32>>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(all: &'a [Window], range: Range<usize>) -> Self {
        let scored = vec![Vec::new(); range.len()];
        Self { all, range, scored }
    }

    fn window(&self, unit: usize) -> &'a Window {
        &self.all[self.range.start + unit]
    }

    /// Those of some rows of a window, ascending, that are not scored yet.
    fn new_rows(&self, unit: usize, rows: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut rows: Vec<u32> = rows.collect();
        rows.dedup();
        rows.retain(|row| self.scored[unit].binary_search(row).is_err());
        rows
    }

    fn note(&mut self, unit: usize, rows: Vec<u32>) {
        self.scored[unit].extend(rows);
        self.scored[unit].sort_unstable();
    }
}

impl Shortlist<'_> {
    /// Scores candidates by ranking; `scored` of what is returned counts the rows among them that were not before.
    pub(super) fn score(
        &self,
        waiting: &mut Waiting<'_>,
        candidates: Vec<Vec<Candidate>>,
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let mut of_windows: Vec<Vec<(u32, u32)>> = vec![Vec::new(); waiting.range.len()];
        for (list, candidates) in candidates.into_iter().enumerate() {
            for candidate in candidates {
                of_windows[candidate.unit as usize - waiting.range.start].push((candidate.slot, list as u32));
            }
        }
        of_windows.iter_mut().for_each(|pairs| pairs.sort_unstable());
        match (self.lists, self.singles) {
            (Lists::Samples(subtasks), Some(singles)) => {
                self.score_pairs(waiting, &of_windows, (singles, subtasks), tops)
            }
            _ => self.score_rows(waiting, &of_windows, tops),
        }
    }

    /// Scores pairs of a row and a query.
    fn score_pairs(
        &self,
        waiting: &mut Waiting<'_>,
        of_windows: &[Vec<(u32, u32)>],
        (singles, subtasks): (&Singles, &[u32]),
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let known = &*waiting;
        let states = parallel::unordered::<_, QueryError>(
            of_windows.len(),
            self.threads,
            self.scan.cancel,
            || (pairs::Memory::default(), Vec::new(), Vec::new(), Vec::new(), Totals::default()),
            |(memory, values, scored, rows, totals), unit| {
                let pairs = &of_windows[unit];
                if pairs.is_empty() {
                    return Ok(());
                }
                let window = known.window(unit);
                totals.bytes_read += pairs::values((&self.scan, singles), window, pairs, values, memory)?;
                scored.extend(pairs.iter().zip(values.iter()).map(|(pair, value)| {
                    (window.pool, window.rows.start + u64::from(pair.0), pair.1, *value)
                }));
                let new = known.new_rows(unit, pairs.iter().map(|pair| pair.0));
                totals.scored += new.len() as u64;
                rows.push((unit, new));
                Ok::<_, QueryError>(())
            },
        )?;
        let mut totals = Totals::default();
        for (_, _, scored, rows, counts) in states {
            totals.merge(&counts);
            rows.into_iter().for_each(|(unit, rows)| waiting.note(unit, rows));
            for (pool, row, query, score) in scored {
                let subtask = subtasks[query as usize];
                tops[query as usize].push(&Scored { pool, row, pos: None, score, subtask });
            }
        }
        Ok(totals)
    }

    /// Scores the rows that are candidates of any ranking, for all of them.
    fn score_rows(
        &self,
        waiting: &mut Waiting<'_>,
        of_windows: &[Vec<(u32, u32)>],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let mut rows = Vec::new();
        let mut count = 0;
        for (unit, pairs) in of_windows.iter().enumerate() {
            let new = waiting.new_rows(unit, pairs.iter().map(|pair| pair.0));
            if new.is_empty() {
                continue;
            }
            let first = waiting.window(unit).rows.start;
            rows.push((
                (waiting.range.start + unit) as u32,
                new.iter().map(|row| first + u64::from(*row)).collect(),
            ));
            count += new.len() as u64;
            waiting.note(unit, new);
        }
        let mut totals = self.score_all(waiting.all, &rows, tops)?;
        totals.scored = count;
        Ok(totals)
    }

    /// Scores rows of windows for every ranking.
    pub(super) fn score_all(
        &self,
        windows: &[Window],
        rows: &[(u32, Vec<u64>)],
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let states = parallel::unordered::<_, QueryError>(
            rows.len(),
            self.threads,
            self.scan.cancel,
            || (Worker::default(), self.collectors(), Totals::default()),
            |(worker, tops, totals), unit| {
                let (window, rows) = &rows[unit];
                let window = &windows[*window as usize];
                let counted = self.scan.judged_rows(window, rows, worker, |row, values, whole| {
                    self.push(window.pool, row, values, whole, tops);
                })?;
                totals.merge(&counted);
                Ok::<_, QueryError>(())
            },
        )?;
        Ok(merge(states, tops))
    }

    /// Hands a row's scores to the rankings.
    pub(super) fn push(
        &self,
        pool: u32,
        row: u64,
        values: &[f32],
        whole: (f32, u32),
        tops: &mut [Collector],
    ) {
        self.lists.each(self.scan.terms, values, whole, |list, score, subtask| {
            tops[list].push(&Scored { pool, row, pos: None, score, subtask });
        });
    }
}
