//! Batches of windows: their candidates, and what becomes of them.

use std::ops::Range;

use super::candidates::{Candidate, Candidates};
use super::part::Part;
use super::{BATCH_PAIRS, DENSE, Outcome, Shortlist, Source, merge};
use crate::error::QueryError;
use crate::influence::collect::Collector;
use crate::influence::drive;
use crate::influence::scan::{Totals, Worker};
use crate::influence::windows::Window;

/// Rankings under way.
pub(super) struct Run<'a> {
    of: &'a Shortlist<'a>,
    windows: &'a [Window],
    found: Outcome,
    /// The windows whose candidates wait to be scored,
    waiting: Range<usize>,
    /// the candidates,
    lists: Vec<Candidates>,
    /// the rows of them that nothing is known of,
    unbounded: Vec<(u32, u64)>,
    /// and what is counted of them already.
    totals: Totals,
}

impl<'a> Run<'a> {
    /// Before the first window.
    pub(super) fn new(of: &'a Shortlist<'a>, windows: &'a [Window], found: Outcome) -> Self {
        let mut run = Self {
            of,
            windows,
            found,
            waiting: 0..0,
            lists: Vec::new(),
            unbounded: Vec::new(),
            totals: Totals::default(),
        };
        run.start(0);
        run
    }

    /// What was found.
    pub(super) fn into_found(self) -> Outcome {
        self.found
    }

    /// Nothing waits before a window.
    pub(super) fn start(&mut self, window: usize) {
        let of = self.of;
        let cut = |top: &mut Collector| top.kth().map_or(f32::NEG_INFINITY, |score| of.signed(score));
        self.lists = self.found.tops.iter_mut().map(|top| Candidates::new(of.k, cut(top))).collect();
        self.unbounded = Vec::new();
        self.totals = Totals::default();
        self.waiting = window..window;
    }

    /// Finds the candidates of a batch; false where too many of its rows are, which then are not among them.
    pub(super) fn take(&mut self, batch: Range<usize>) -> Result<bool, QueryError> {
        let of = self.of;
        let cuts: Vec<f32> = self.lists.iter().map(Candidates::cut).collect();
        let parts = drive::unordered(
            batch.len(),
            of.threads,
            of.scan.cancel,
            || Part::new(of.k, &cuts),
            |part, unit| part.window(of, (batch.start + unit) as u32, &self.windows[batch.start + unit]),
        )?;
        let mut lists: Vec<Candidates> = cuts.iter().map(|cut| Candidates::new(of.k, *cut)).collect();
        let (mut totals, mut unbounded) = (Totals::default(), Vec::new());
        for part in parts {
            lists.iter_mut().zip(part.lists).for_each(|(list, other)| list.merge(other));
            totals.merge(&part.totals);
            unbounded.extend(part.unbounded);
        }
        lists.iter_mut().for_each(Candidates::shrink);
        let candidates: usize = lists.iter().map(Candidates::len).sum();
        let rows = totals.eligible + unbounded.len() as u64;
        let dense = candidates as u64 > rows * lists.len() as u64 / DENSE;
        // Few rows are worth no decision.
        if dense && rows > self.few() || unbounded.len() as u64 > rows / DENSE {
            self.found.totals.bytes_read += totals.bytes_read;
            return Ok(false);
        }
        self.waiting.end = batch.end;
        self.totals.merge(&totals);
        self.unbounded.extend(unbounded);
        for (list, other) in self.lists.iter_mut().zip(lists) {
            list.merge(other);
            list.shrink();
        }
        let waiting: usize = self.lists.iter().map(Candidates::len).sum();
        if waiting + self.unbounded.len() > BATCH_PAIRS {
            self.finish()?;
        }
        Ok(true)
    }

    /// Rows of which most are candidates, since so many are wanted.
    fn few(&self) -> u64 {
        2 * DENSE * self.of.k as u64
    }

    /// Scores the candidates.
    pub(super) fn finish(&mut self) -> Result<(), QueryError> {
        let (of, waiting) = (self.of, self.waiting.clone());
        let lists = std::mem::take(&mut self.lists);
        let cuts: Vec<f32> = lists.iter().map(Candidates::cut).collect();
        let candidates: Vec<Vec<Candidate>> = lists.into_iter().map(Candidates::into_entries).collect();
        let mut totals = self.totals;
        // A cut is certain where the bounds are.
        let before = matches!(of.source, Source::Codes(..)).then(|| self.found.tops.clone());
        let scored = match of.singles {
            Some(singles) => {
                let windows = (self.windows, waiting.clone());
                of.score_pairs(windows, candidates, singles, &mut self.found.tops)?
            }
            None => of.score_rows(self.windows, &candidates, &mut self.found.tops)?,
        };
        // Values that are finite may add up to a score that is not.
        totals.eligible -= scored.excluded.total();
        totals.excluded.merge(&scored.excluded);
        self.unbounded.sort_unstable();
        let unbounded = self.unbounded.chunk_by(|a, b| a.0 == b.0);
        let unbounded: Vec<(u32, Vec<u64>)> =
            unbounded.map(|rows| (rows[0].0, rows.iter().map(|row| row.1).collect())).collect();
        let odd = of.score_all(self.windows, &unbounded, &mut self.found.tops)?;
        if let Some(before) = before {
            let held = |(cut, top): (&f32, &mut Collector)| {
                top.kth().map_or(*cut == f32::NEG_INFINITY, |kth| *cut <= of.signed(kth))
            };
            if !cuts.iter().zip(&mut self.found.tops).all(held) {
                self.found.tops = before;
                self.found.totals.bytes_read += totals.bytes_read + scored.bytes_read;
                self.scan(waiting.clone())?;
                self.start(waiting.end);
                return Ok(());
            }
        }
        match &mut self.found.plane {
            None => totals.scored = totals.eligible + odd.eligible,
            Some(plane) => {
                plane.rows += totals.eligible + scored.excluded.total();
                plane.bytes_read += totals.bytes_read;
                plane.excluded += (totals.eligible + scored.excluded.total()).saturating_sub(scored.scored);
                totals.bytes_read += scored.bytes_read + odd.bytes_read;
                totals.scored = scored.scored + odd.eligible;
            }
        }
        totals.scanned += odd.scanned;
        totals.eligible += odd.eligible;
        totals.excluded.merge(&odd.excluded);
        self.found.totals.merge(&totals);
        self.start(waiting.end);
        Ok(())
    }

    /// Scores every row of some windows.
    pub(super) fn scan(&mut self, windows: Range<usize>) -> Result<(), QueryError> {
        let of = self.of;
        let states = drive::unordered(
            windows.len(),
            of.threads,
            of.scan.cancel,
            || (Worker::default(), of.collectors(), Totals::default()),
            |(worker, tops, totals), unit| {
                let window = &self.windows[windows.start + unit];
                let counted = of.scan.judged(window, worker, |row, _, values, whole| {
                    of.push(window.pool, row, values, whole, tops);
                })?;
                totals.merge(&counted);
                Ok(())
            },
        )?;
        let totals = merge(states, &mut self.found.tops);
        self.found.totals.merge(&totals);
        Ok(())
    }
}
