//! Batches of windows: their candidates, and what becomes of them.

use std::ops::Range;

use gstore_core::parallel;

use super::candidates::{Candidate, Candidates};
use super::part::Part;
use super::score::Waiting;
use super::{BATCH_PAIRS, DENSE, Outcome, Shortlist};
use crate::error::QueryError;
use crate::influence::rank::collect::{Collector, merge};
use crate::influence::result::PlaneSummary;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Totals, Worker};

/// Rankings under way.
pub(super) struct Run<'a> {
    of: &'a Shortlist<'a>,
    windows: &'a [Window],
    found: Outcome,
    /// Which source is read now, and what it did where it is of codes.
    source: usize,
    plane: Option<PlaneSummary>,
    /// Whether it was worth reading for a batch.
    proven: bool,
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
    pub(super) fn new(of: &'a Shortlist<'a>, windows: &'a [Window]) -> Self {
        let found = Outcome { tops: of.collectors(), totals: Totals::default(), planes: Vec::new() };
        let mut run = Self {
            of,
            windows,
            found,
            source: 0,
            plane: None,
            proven: false,
            waiting: 0..0,
            lists: Vec::new(),
            unbounded: Vec::new(),
            totals: Totals::default(),
        };
        run.begin_plane();
        run.start(0);
        run
    }

    /// What was found.
    pub(super) fn into_found(mut self) -> Outcome {
        self.end_plane();
        self.found
    }

    /// Nothing waits before a window.
    pub(super) fn start(&mut self, window: usize) {
        let of = self.of;
        self.lists =
            self.found.tops.iter_mut().map(|top| Candidates::new(of.k, of.signed_kth(top))).collect();
        self.unbounded = Vec::new();
        self.totals = Totals::default();
        self.waiting = window..window;
    }

    /// Whether the next batch shows what the source is worth.
    pub(super) fn is_trial(&self) -> bool {
        !self.proven
    }

    /// Goes on with the source that reads more; false where there is none.
    pub(super) fn next_source(&mut self) -> bool {
        self.end_plane();
        self.source += 1;
        self.proven = false;
        self.begin_plane();
        self.source < self.of.sources.len()
    }

    fn begin_plane(&mut self) {
        let plane = self.of.sources.get(self.source).and_then(|source| source.plane());
        self.plane = plane.map(|plane| PlaneSummary { plane, rows: 0, excluded: 0, bytes_read: 0 });
    }

    /// Codes that left nothing out decided nothing.
    fn end_plane(&mut self) {
        self.found.planes.extend(self.plane.take().filter(|plane| plane.rows > 0));
    }

    /// Finds the candidates of a batch; false where too many of its rows are, which then are not among them.
    pub(super) fn take(&mut self, batch: Range<usize>) -> Result<bool, QueryError> {
        let of = self.of;
        let Some(source) = of.sources.get(self.source) else { return Ok(false) };
        let cuts: Vec<f32> = self.lists.iter().map(Candidates::cut).collect();
        let parts = parallel::unordered::<_, QueryError>(
            batch.len(),
            of.threads,
            of.scan.cancel,
            || Part::new(of.k, &cuts),
            |part, unit| {
                let at = batch.start + unit;
                part.window((of, source), at as u32, &self.windows[at])
            },
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
        self.proven = true;
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
        let of = self.of;
        let mut lists = std::mem::take(&mut self.lists);
        let cuts: Vec<f32> = lists.iter().map(Candidates::cut).collect();
        let certain = of.sources.get(self.source).is_none_or(|source| source.is_certain());
        let before = (!certain).then(|| self.found.tops.clone());
        let mut waiting = Waiting::new(self.windows, self.waiting.clone());
        // Those that seem to rank first tell how well a row has to score.
        let first: Vec<Vec<Candidate>> = lists.iter_mut().map(Candidates::take_first).collect();
        let mut scored = of.score(&mut waiting, first, &mut self.found.tops)?;
        for (list, top) in lists.iter_mut().zip(&mut self.found.tops) {
            list.raise(of.signed_kth(top));
        }
        let rest = lists.into_iter().map(Candidates::into_entries).collect();
        scored.merge(&of.score(&mut waiting, rest, &mut self.found.tops)?);
        let unbounded = std::mem::take(&mut self.unbounded);
        let odd = self.score_unbounded(unbounded)?;
        if let Some(before) = before {
            let held = |(cut, top): (&f32, &mut Collector)| *cut <= of.signed_kth(top);
            if !cuts.iter().zip(&mut self.found.tops).all(held) {
                self.found.tops = before;
                self.found.totals.bytes_read += self.totals.bytes_read + scored.bytes_read + odd.bytes_read;
                self.scan(self.waiting.clone())?;
                self.start(self.waiting.end);
                return Ok(());
            }
        }
        self.count(&scored, &odd);
        self.start(self.waiting.end);
        Ok(())
    }

    /// Scores the rows that nothing is known of.
    fn score_unbounded(&mut self, mut rows: Vec<(u32, u64)>) -> Result<Totals, QueryError> {
        rows.sort_unstable();
        let of_windows = rows.chunk_by(|a, b| a.0 == b.0);
        let of_windows: Vec<(u32, Vec<u64>)> =
            of_windows.map(|rows| (rows[0].0, rows.iter().map(|row| row.1).collect())).collect();
        self.of.score_all(self.windows, &of_windows, &mut self.found.tops)
    }

    /// Counts rows that had bounds, of which some were scored, and others.
    fn count(&mut self, scored: &Totals, odd: &Totals) {
        let mut totals = self.totals;
        let bounded = totals.eligible;
        // Values that are finite may add up to a score that is not.
        totals.eligible -= scored.excluded.total();
        totals.excluded.merge(&scored.excluded);
        match &mut self.plane {
            None => totals.scored = totals.eligible + odd.eligible,
            Some(plane) => {
                plane.rows += bounded;
                plane.bytes_read += totals.bytes_read;
                plane.excluded += bounded.saturating_sub(scored.scored);
                totals.bytes_read += scored.bytes_read + odd.bytes_read;
                totals.scored = scored.scored + odd.eligible;
            }
        }
        totals.scanned += odd.scanned;
        totals.eligible += odd.eligible;
        totals.excluded.merge(&odd.excluded);
        self.found.totals.merge(&totals);
    }

    /// Scores every row of some windows.
    pub(super) fn scan(&mut self, windows: Range<usize>) -> Result<(), QueryError> {
        let of = self.of;
        let states = parallel::unordered::<_, QueryError>(
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
                Ok::<_, QueryError>(())
            },
        )?;
        let totals = merge(states, &mut self.found.tops);
        self.found.totals.merge(&totals);
        Ok(())
    }
}
