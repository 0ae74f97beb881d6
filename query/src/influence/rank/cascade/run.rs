//! Batches of windows on their way through the planes.

use std::ops::Range;

use super::bound::Bounder;
use super::choose::Choice;
use super::chosen::{Asked, Chosen};
use super::pass::{Pass, Passed};
use super::reach::Reach;
use super::{Cascade, Outcome};
use crate::error::QueryError;
use crate::influence::rank::collect::Collector;
use crate::influence::result::PlaneSummary;
use crate::influence::scan::Totals;
use crate::influence::scan::windows::Window;
use crate::influence::spec::Order;
use crate::influence::spec::mode::Plane;
use crate::topk::TopK;

/// A ranking under way.
pub(super) struct Run<'a> {
    pub(super) cascade: &'a Cascade<'a>,
    pub(super) windows: &'a [Window],
    bounder: Bounder<'a>,
    pub(super) top: Collector,
    /// The k-th score so far.
    pub(super) threshold: Option<f32>,
    /// What it may be expected to reach.
    expected: Option<f32>,
    pub(super) totals: Totals,
    planes: Vec<PlaneSummary>,
    pub(super) rows_scored: u64,
}

impl<'a> Run<'a> {
    /// Before the first batch.
    pub(super) fn new(
        cascade: &'a Cascade<'a>,
        bounder: Bounder<'a>,
        windows: &'a [Window],
        choice: &Choice,
    ) -> Self {
        let plane = |plane: &Plane| PlaneSummary { plane: *plane, rows: 0, excluded: 0, bytes_read: 0 };
        Self {
            cascade,
            windows,
            bounder,
            top: Collector::new(cascade.order, cascade.k, false),
            threshold: None,
            expected: choice.expected,
            totals: Totals::default(),
            planes: choice.planes.iter().map(plane).collect(),
            rows_scored: 0,
        }
    }

    /// What was found.
    pub(super) fn into_outcome(self) -> Outcome {
        Outcome {
            top: self.top,
            totals: self.totals,
            probable: self.planes.iter().any(|plane| plane.plane != Plane::Certified),
            planes: self.planes,
            rows_scored: self.rows_scored,
        }
    }

    /// Takes a batch of windows through the planes and scores what is left.
    pub(super) fn batch(&mut self, batch: Range<usize>) -> Result<(), QueryError> {
        let mut asked = Asked::Every(batch.collect());
        for at in 0..self.planes.len() {
            asked = Asked::Some(self.plane(at, &asked)?);
        }
        match asked {
            Asked::Some(rest) => self.score(&rest, false),
            Asked::Every(_) => Ok(()),
        }
    }

    /// Takes rows through a plane; returns those that it does not exclude and that are not scored.
    fn plane(&mut self, at: usize, asked: &Asked) -> Result<Chosen, QueryError> {
        // Remembered is what probably counts; what does after all is read again.
        let is_guess = self.threshold.is_none() && self.expected.is_some();
        let likely = Reach::new(self.cascade.order, self.cut(self.likely()));
        let mut passed = self.read(at, asked, &likely, self.seeds())?;
        let mut bounded = 0;
        for found in &passed.found {
            if at == 0 {
                self.totals.merge(&found.totals);
            }
            bounded += found.bounded;
            self.planes[at].rows += found.bounded + found.unbounded.len() as u64;
        }
        let mut unbounded = Chosen::default();
        for piece in &passed.pieces {
            let rows = passed.unbounded(piece);
            unbounded.add(asked.get(piece.at).0, |all| all.extend_from_slice(rows));
        }
        // What the first plane could bound is among the totals.
        self.score(&unbounded, at == 0)?;
        let mut seeds = Vec::new();
        self.score_seeds(asked, &mut passed, &mut seeds)?;
        if is_guess {
            self.expected = None;
            // Where too much was expected there are not enough of them.
            if seeds.len() < self.cascade.k {
                let known = Reach::new(self.cascade.order, self.cut(self.threshold));
                passed = self.read(at, asked, &known, self.seeds())?;
                self.score_seeds(asked, &mut passed, &mut seeds)?;
            }
        }
        let left = self.left(at, asked, &passed, &seeds)?;
        self.planes[at].excluded += bounded - (seeds.len() + left.rows()) as u64;
        Ok(left)
    }

    /// Scores the rows that are estimated to rank first, but for those that are among the seeds already; adds them. Seeds ascend.
    fn score_seeds(
        &mut self,
        asked: &Asked,
        passed: &mut Passed,
        seeds: &mut Vec<(usize, u32)>,
    ) -> Result<(), QueryError> {
        let best = std::mem::replace(&mut passed.best, TopK::highest(0)).into_sorted();
        let mut new: Vec<(usize, u32)> =
            best.iter().map(|best| (best.place.0 as usize, best.place.1 as u32)).collect();
        new.retain(|seed| seeds.binary_search(seed).is_err());
        new.sort_unstable();
        let mut chosen = Chosen::default();
        for of_window in new.chunk_by(|a, b| a.0 == b.0) {
            chosen.add(asked.get(of_window[0].0).0, |all| all.extend(of_window.iter().map(|seed| seed.1)));
        }
        seeds.extend(new);
        seeds.sort_unstable();
        self.score(&chosen, false)
    }

    /// The rows whose bounds may be among the results, but for the seeds.
    fn left(
        &mut self,
        at: usize,
        asked: &Asked,
        passed: &Passed,
        seeds: &[(usize, u32)],
    ) -> Result<Chosen, QueryError> {
        let mut cut = Reach::new(self.cascade.order, self.cut(self.threshold));
        let mut again = Vec::new();
        for piece in &passed.pieces {
            if piece.dropped.is_some_and(|dropped| cut.is_reached(dropped)) {
                again.push(piece.at);
            }
        }
        let more = match again.is_empty() {
            true => None,
            false => Some(self.read(at, &asked.only(&again), &cut, TopK::highest(0))?),
        };
        let mut again = again
            .iter()
            .zip(more.iter().flat_map(|more| more.pieces.iter().map(move |piece| more.kept(piece))))
            .peekable();
        let mut seeds = seeds.iter().peekable();
        let mut left = Chosen::default();
        for piece in &passed.pieces {
            let (offsets, bounds) = match again.next_if(|(at, _)| **at == piece.at) {
                Some((_, kept)) => kept,
                None => passed.kept(piece),
            };
            left.add(asked.get(piece.at).0, |left| {
                cut.places(bounds, |i| {
                    let row = (piece.at, offsets[i]);
                    while seeds.next_if(|seed| **seed < row).is_some() {}
                    if seeds.next_if(|seed| **seed == row).is_none() {
                        left.push(offsets[i]);
                    }
                });
            });
        }
        Ok(left)
    }

    /// Reads a plane, and counts the bytes.
    fn read(&mut self, at: usize, asked: &Asked, kept: &Reach, best: TopK) -> Result<Passed, QueryError> {
        let Self { cascade, bounder, windows, .. } = self;
        let pass = Pass { cascade, bounder, windows, plane: self.planes[at].plane };
        let passed = pass.read(asked, kept, best)?;
        let bytes: u64 = passed.found.iter().map(|found| found.bytes).sum();
        self.planes[at].bytes_read += bytes;
        self.totals.bytes_read += bytes;
        Ok(passed)
    }

    /// Of the rows whose estimates are better than the threshold, or what is expected of it, those with the best: they are scored first, so
    /// that the threshold is near the one that the answer will have.
    fn seeds(&self) -> TopK {
        let most = self.cascade.k.saturating_add((self.cascade.k / 4).max(156));
        let seeds = match self.cascade.order {
            Order::Best => TopK::highest(most),
            Order::Worst => TopK::lowest(most),
        };
        match self.likely() {
            Some(threshold) => seeds.before(threshold),
            None => seeds,
        }
    }

    /// The k-th score so far, or what is expected of it.
    fn likely(&self) -> Option<f32> {
        self.threshold.or(self.expected)
    }

    /// The worst bound with which a row may be among the results, where the k-th of them scores this.
    fn cut(&self, threshold: Option<f32>) -> f32 {
        let tolerance = self.cascade.mode.tolerance;
        match (self.cascade.order, threshold.map(f64::from)) {
            (Order::Best, None) => f32::NEG_INFINITY,
            (Order::Worst, None) => f32::INFINITY,
            (Order::Best, Some(threshold)) => up(threshold + tolerance),
            (Order::Worst, Some(threshold)) => -up(tolerance - threshold),
        }
    }
}

/// The smallest single precision number that is not below.
fn up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}
