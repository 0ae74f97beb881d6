//! What a thread finds in some windows.

use super::candidates::{Candidate, Candidates};
use super::estimates::Estimates;
use super::{CACHED, Shortlist, Source, codes, narrow};
use crate::error::QueryError;
use crate::influence::rank::each::Lists;
use crate::influence::scan::Totals;
use crate::influence::scan::windows::Window;
use crate::influence::spec::Order;

/// Lists whose cuts are compared with a row together.
const STRETCH: usize = 32;

/// The candidates of a thread.
pub(super) struct Part {
    pub(super) lists: Vec<Candidates>,
    /// Rows that nothing is known of: number of the window and row.
    pub(super) unbounded: Vec<(u32, u64)>,
    /// Of the rows that are bounded or have no score.
    pub(super) totals: Totals,
    estimates: Estimates,
    narrow: narrow::Memory,
    codes: codes::Memory,
    /// Of each list. Rounding keeps order: what reaches a cut does so as it is computed.
    cuts: Vec<f32>,
    /// Of each stretch of lists, whether a row is near one of their cuts.
    marks: Vec<bool>,
    scores: [Vec<f32>; 2],
    wanted: Vec<usize>,
}

impl Part {
    /// Of rankings of `k` rows, the last of which are known to score `cuts` at least.
    pub(super) fn new(k: usize, cuts: &[f32]) -> Self {
        Self {
            lists: cuts.iter().map(|cut| Candidates::new(k, *cut)).collect(),
            unbounded: Vec::new(),
            totals: Totals::default(),
            estimates: Estimates::default(),
            narrow: narrow::Memory::default(),
            codes: codes::Memory::default(),
            cuts: cuts.to_vec(),
            marks: vec![false; cuts.len().div_ceil(STRETCH)],
            scores: [Vec::new(), Vec::new()],
            wanted: Vec::new(),
        }
    }

    /// Finds the candidates of a window.
    pub(super) fn window(
        &mut self,
        (of, source): (&Shortlist<'_>, &Source<'_>),
        unit: u32,
        window: &Window,
    ) -> Result<(), QueryError> {
        let rows = (CACHED / of.queries().max(1)).max(48) as u64;
        let mut start = window.rows.start;
        while start < window.rows.end {
            let end = (start + rows).min(window.rows.end);
            let piece = Window { pool: window.pool, rows: start..end };
            self.piece((of, source), (unit, (start - window.rows.start) as usize), &piece)?;
            start = end;
        }
        Ok(())
    }

    /// Finds the candidates of a piece of a window, which begins at slot `first` of it.
    fn piece(
        &mut self,
        (of, source): (&Shortlist<'_>, &Source<'_>),
        (unit, first): (u32, usize),
        window: &Window,
    ) -> Result<(), QueryError> {
        let pool = window.pool as usize;
        let filter = of.scan.filter.and_then(|filter| filter.pool(pool));
        let estimates = &mut self.estimates;
        estimates.start(window, &of.scan.pools[pool].live, filter, of.queries());
        self.totals.bytes_read += match source {
            Source::Narrow(filter, sides) => {
                narrow::estimate((&of.scan, *filter, sides), window, estimates, &mut self.narrow)?
            }
            Source::Codes(reading) => {
                codes::estimate((&of.scan, *reading), window, estimates, &mut self.codes)?
            }
        };
        let arch = pulp::Arch::new();
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        wanted.extend(self.estimates.wanted());
        for slot in &wanted {
            let bounded = match self.estimates.is_whole(*slot, &of.scan) {
                Ok(whole) => whole && self.look((unit, first), *slot, of, arch),
                Err(reason) => {
                    self.totals.scanned += 1;
                    self.totals.excluded.add(reason);
                    continue;
                }
            };
            match bounded {
                true => {
                    self.totals.scanned += 1;
                    self.totals.eligible += 1;
                }
                false => self.unbounded.push((unit, window.rows.start + *slot as u64)),
            }
        }
        self.wanted = wanted;
        Ok(())
    }

    /// Finds the rankings that a row is a candidate of; false where its values have no bounds.
    fn look(&mut self, place: (u32, usize), slot: usize, of: &Shortlist<'_>, arch: pulp::Arch) -> bool {
        let sign = of.order.sign();
        let (values, errors) = self.estimates.of(slot);
        if let Lists::Samples(_) = of.lists {
            let (cuts, marks) = (&self.cuts, &mut self.marks);
            arch.dispatch(|| mark(sign, (values, errors, cuts), marks));
            if !self.marks.contains(&true) {
                return true;
            }
        }
        if !arch.dispatch(|| is_finite(values, errors)) {
            return false;
        }
        match of.lists {
            Lists::Samples(_) => {
                self.compare(place, slot, sign);
                true
            }
            lists => self.judge(place, slot, of, lists),
        }
    }

    fn push(&mut self, list: usize, candidate: Candidate) {
        let cut = self.lists[list].push(candidate);
        self.cuts[list] = cut;
    }

    /// Compares each value of the marked stretches with its own ranking's cut.
    fn compare(&mut self, (unit, first): (u32, usize), slot: usize, sign: f32) {
        for stretch in 0..self.marks.len() {
            if !self.marks[stretch] {
                continue;
            }
            for list in stretch * STRETCH..((stretch + 1) * STRETCH).min(self.cuts.len()) {
                let (values, errors) = self.estimates.of(slot);
                let (value, error) = (sign * values[list], errors[list]);
                if value + error >= self.cuts[list] {
                    let (lower, upper) = ((value - error).next_down(), (value + error).next_up());
                    self.push(list, Candidate { lower, upper, unit, slot: (first + slot) as u32 });
                }
            }
        }
    }

    /// Compares what rankings make of the values with their cuts; false where that may overflow. A score ascends with every value, also as it is
    /// computed.
    fn judge(&mut self, (unit, first): (u32, usize), slot: usize, of: &Shortlist<'_>, lists: &Lists) -> bool {
        let terms = of.scan.terms;
        let [high, low] = &mut self.scores;
        let (values, errors) = self.estimates.of(slot);
        high.clear();
        high.extend(values.iter().zip(errors.iter()).map(|(value, error)| (value + error).next_up()));
        low.clear();
        low.extend(values.iter().zip(errors.iter()).map(|(value, error)| (value - error).next_down()));
        let (highest, lowest) = (terms.score(high), terms.score(low));
        let mut ends = vec![(f32::NAN, f32::NAN); lists.len()];
        lists.each(terms, high, highest, |list, score, _| ends[list].0 = score);
        lists.each(terms, low, lowest, |list, score, _| ends[list].1 = score);
        // A row without a score for the whole question has none at all.
        let finite = |(high, low): &(f32, f32)| high.is_finite() && low.is_finite();
        if !finite(&(highest.0, lowest.0)) || !ends.iter().all(finite) {
            return false;
        }
        for (list, (high, low)) in ends.into_iter().enumerate() {
            let (lower, upper) = match of.order {
                Order::Best => (low, high),
                Order::Worst => (-high, -low),
            };
            if upper >= self.cuts[list] {
                self.push(list, Candidate { lower, upper, unit, slot: (first + slot) as u32 });
            }
        }
        true
    }
}

/// Marks the stretches in which any upper bound reaches its cut, or is none. Without a way out in the middle, so that many are compared at a
/// time.
#[inline(always)]
fn mark(sign: f32, (values, errors, cuts): (&[f32], &[f32], &[f32]), marks: &mut [bool]) {
    let stretches = values.chunks(STRETCH).zip(errors.chunks(STRETCH)).zip(cuts.chunks(STRETCH));
    for (((values, errors), cuts), mark) in stretches.zip(marks) {
        let mut any = 0u32;
        for ((value, error), cut) in values.iter().zip(errors).zip(cuts) {
            let upper = sign * value + error;
            any |= u32::from(upper >= *cut) | u32::from(upper.is_nan());
        }
        *mark = any != 0;
    }
}

/// Whether every value and error is a number; likewise.
#[inline(always)]
fn is_finite(values: &[f32], errors: &[f32]) -> bool {
    let mut any = 0u32;
    for (value, error) in values.iter().zip(errors) {
        any |= u32::from(!value.is_finite()) | u32::from(!error.is_finite());
    }
    any == 0
}
