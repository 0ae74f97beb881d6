//! A thread's part of a pass: what it finds of the rows of some windows.

use std::sync::Arc;

use gstore_store::ReadAhead;

use super::candidates::{Candidate, ScoreCut};
use super::findings::Findings;
use super::sources::{EstimateSource, Estimates, SourceBuffers, WindowOffsets};
use super::{CACHED, Search};
use crate::error::QueryError;
use crate::influence::rank::lists::Lists;
use crate::influence::scan::windows::Window;
use crate::influence::spec::mode::Plane;

/// Rows that are estimated together at least, however many values they have.
const LEAST_ROWS: usize = 64;
/// The same for codes of signs: what belongs to the queries is larger there, and read once for as many rows.
const LEAST_BY_SIGNS: usize = 256;

/// Upper bounds that are compared with limits together.
const STRETCH: usize = 16;

pub(super) struct ThreadSearch {
    pub(super) found: Findings,
    estimates: Estimates,
    memory: SourceBuffers,
    offsets: Vec<u32>,
    /// Of each list, or of each row. Rounding keeps order: what reaches a limit does so as it is computed.
    limits: Vec<f32>,
    row_limits: Vec<f32>,
    /// Of each stretch of values whether one of them is near its limit.
    marks: Vec<bool>,
    /// Of a row: at both ends of its values' bounds, these and the scores.
    scores: [Vec<f32>; 2],
    ends: [Vec<f32>; 2],
}

impl ThreadSearch {
    pub(super) fn new(k: usize, cuts: &[ScoreCut]) -> Self {
        Self {
            found: Findings::new(k, cuts),
            estimates: Estimates::default(),
            memory: SourceBuffers::default(),
            offsets: Vec::new(),
            limits: cuts.iter().map(|cut| cut.limit).collect(),
            row_limits: Vec::new(),
            marks: Vec::new(),
            scores: Default::default(),
            ends: Default::default(),
        }
    }

    /// What blocks and codes are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.memory.see(ahead);
    }

    pub(super) fn window(
        &mut self,
        of: (&Search<'_>, &EstimateSource<'_>),
        (unit, window): (u32, &Window),
        picked: Option<&[u32]>,
    ) -> Result<(), QueryError> {
        let mut offsets = std::mem::take(&mut self.offsets);
        offsets.clear();
        match picked {
            Some(picked) => offsets.extend_from_slice(picked),
            None => of.0.selected(window, &mut offsets),
        }
        // A device is asked about all rows at once.
        let most = match of.1.is_of_scores() {
            true => usize::MAX,
            false => {
                let is_by_signs = of.1.plane() == Some(Plane::Sign);
                let least = if is_by_signs { LEAST_BY_SIGNS } else { LEAST_ROWS };
                (CACHED / of.0.queries().max(1)).max(least)
            }
        };
        for piece in offsets.chunks(most) {
            self.rows(
                of,
                unit,
                WindowOffsets { pool: window.pool, start: window.rows.start, offsets: piece },
            )?;
        }
        self.offsets = offsets;
        Ok(())
    }

    /// Finds the candidates among some rows of a window.
    fn rows(
        &mut self,
        (of, source): (&Search<'_>, &EstimateSource<'_>),
        unit: u32,
        rows: WindowOffsets<'_>,
    ) -> Result<(), QueryError> {
        let (scan, count) = (&of.scan, rows.offsets.len());
        let values = if source.is_of_scores() { 1 } else { of.queries() };
        self.estimates.start(count, values);
        self.found.totals.bytes_read += source.estimate(scan, rows, &mut self.estimates, &mut self.memory)?;
        if values == 1 && self.limits.len() == 1 && self.estimates.are_plain(scan.weights.len()) {
            let (values, errors) = self.estimates.all();
            if gstore_core::instructions::arch().dispatch(AreFinite { values, errors }) {
                self.found.totals.scanned += count as u64;
                self.found.totals.eligible += count as u64;
                self.compare_rows(of.order.sign(), unit, rows.offsets);
                return Ok(());
            }
        }
        for (place, offset) in rows.offsets.iter().enumerate() {
            match self.estimates.is_whole(place, scan) {
                Ok(whole) => {
                    if !whole || !self.row((of, source), (unit, *offset), place) {
                        self.found.unbounded.push((unit, *offset));
                        continue;
                    }
                    self.found.totals.eligible += 1;
                }
                Err(reason) => self.found.totals.excluded.add(reason),
            }
            self.found.totals.scanned += 1;
        }
        Ok(())
    }

    /// Compares rows of one value with the limit of the only ranking.
    fn compare_rows(&mut self, sign: f32, unit: u32, offsets: &[u32]) {
        let Self { row_limits, limits, marks, found, .. } = self;
        row_limits.clear();
        row_limits.resize(offsets.len(), limits[0]);
        let (values, errors) = self.estimates.all();
        if !mark(sign, (values, errors), row_limits, marks) {
            return;
        }
        for (at, _) in marks.iter().enumerate().filter(|(_, mark)| **mark) {
            let first = at * STRETCH;
            // Without a choice for each value: which of them reach the limit cannot be foreseen.
            let (mut near, mut count) = ([0usize; STRETCH], 0);
            for i in first..(first + STRETCH).min(offsets.len()) {
                near[count] = i;
                count += usize::from(sign * values[i] + errors[i] >= row_limits[i]);
            }
            for i in &near[..count] {
                let candidate = Candidate::new(sign * values[*i], errors[*i], (unit, offsets[*i]));
                limits[0] = found.lists[0].push(candidate);
            }
        }
    }

    /// Finds the rankings that a row is a candidate of; false where its values have no bounds.
    fn row(
        &mut self,
        (of, source): (&Search<'_>, &EstimateSource<'_>),
        (unit, slot): (u32, u32),
        place: usize,
    ) -> bool {
        let Self { limits, marks, found, .. } = self;
        let (values, errors) = self.estimates.of(place);
        let is_each = matches!(of.lists, Lists::Values(_));
        let sign = of.order.sign();
        if is_each && !mark(sign, (values, errors), limits, marks) {
            return true;
        }
        if !gstore_core::instructions::arch().dispatch(AreFinite { values, errors }) {
            return false;
        }
        if source.is_of_scores() {
            let (value, error) = (sign * values[0], errors[0]);
            if value + error >= limits[0] {
                limits[0] = found.lists[0].push(Candidate::new(value, error, (unit, slot)));
            }
            return true;
        }
        if !is_each {
            return self.judge(of, (unit, slot), place);
        }
        // Each value is compared with its own ranking's limit.
        for (at, _) in marks.iter().enumerate().filter(|(_, mark)| **mark) {
            for list in at * STRETCH..((at + 1) * STRETCH).min(values.len()) {
                let (value, error) = (sign * values[list], errors[list]);
                if value + error >= limits[list] {
                    limits[list] = found.lists[list].push(Candidate::new(value, error, (unit, slot)));
                }
            }
        }
        true
    }

    /// Compares what rankings make of a row's values with their limits; false where that may overflow. A
    /// score ascends with every value, also as it is computed.
    fn judge(&mut self, of: &Search<'_>, (unit, slot): (u32, u32), place: usize) -> bool {
        let Self { estimates, scores: [upper, lower], ends, limits, found, .. } = self;
        let (values, errors) = estimates.of(place);
        let sign = of.order.sign();
        // Where no sum can overflow, a row whose upper bounds are below the limits needs no lower ones.
        let most = f32::MAX / (4.0 * values.len() as f32);
        let is_small = gstore_core::instructions::arch().dispatch(AreAtMost { values, errors, most });
        outward(sign, (values, errors), upper);
        let flat = of.flat.as_ref().filter(|_| is_small);
        if flat.is_some_and(|flat| sign * flat.subtask(0, upper) < limits[0]) {
            return true;
        }
        let [upper_ends, lower_ends] = ends;
        if !score_lists(of, upper, upper_ends) {
            return false;
        }
        let reaches = |(end, limit): (&f32, &f32)| sign * end >= *limit;
        if is_small && !upper_ends.iter().zip(&*limits).any(reaches) {
            return true;
        }
        outward(-sign, (values, errors), lower);
        if !score_lists(of, lower, lower_ends) {
            return false;
        }
        for (list, (upper, lower)) in upper_ends.iter().zip(lower_ends).enumerate() {
            let (lower, upper) = (sign * *lower, sign * upper);
            if upper >= limits[list] {
                limits[list] = found.lists[list].push(Candidate { lower, upper, unit, slot });
            }
        }
        true
    }
}

/// The scores that rankings make of values; false where one is not finite. A row without a score for the
/// whole question has none at all.
fn score_lists(of: &Search<'_>, values: &[f32], scores: &mut Vec<f32>) -> bool {
    let terms = of.scan.terms;
    let whole = terms.score(values);
    scores.clear();
    scores.resize(of.lists.len(), f32::NAN);
    of.lists.each(terms, values, whole, |list, score, _| scores[list] = score);
    whole.0.is_finite() && scores.iter().all(|score| score.is_finite())
}

/// Values with their errors added or, with `sign` -1, taken off, moved on by more than rounding can take.
fn outward(sign: f32, (values, errors): (&[f32], &[f32]), bounds: &mut Vec<f32>) {
    bounds.resize(values.len(), 0.0);
    gstore_core::instructions::arch().dispatch(Outward { sign, values, errors, bounds });
}

/// See [`outward`].
struct Outward<'a> {
    sign: f32,
    values: &'a [f32],
    errors: &'a [f32],
    bounds: &'a mut [f32],
}

impl pulp::WithSimd for Outward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { sign, values, errors, bounds } = self;
        for ((bound, value), error) in bounds.iter_mut().zip(values).zip(errors) {
            let sum = value + sign * error;
            *bound = sum + sign * (sum.abs() * f32::EPSILON + f32::MIN_POSITIVE);
        }
    }
}

/// Marks the stretches in which an upper bound reaches its limit, or is none; returns whether there are any.
fn mark(sign: f32, (values, errors): (&[f32], &[f32]), limits: &[f32], marks: &mut Vec<bool>) -> bool {
    marks.clear();
    marks.resize(values.len().div_ceil(STRETCH), false);
    gstore_core::instructions::arch().dispatch(Mark { sign, values, errors, limits, marks })
}

/// See [`mark`]. Without a way out in the middle, so that many are compared at a time.
struct Mark<'a> {
    sign: f32,
    values: &'a [f32],
    errors: &'a [f32],
    limits: &'a [f32],
    marks: &'a mut [bool],
}

impl pulp::WithSimd for Mark<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        let Self { sign, values, errors, limits, marks } = self;
        let (all_values, values) = values.as_chunks::<STRETCH>();
        let (all_errors, errors) = errors.as_chunks::<STRETCH>();
        let (all_limits, limits) = limits.as_chunks::<STRETCH>();
        let mut some = false;
        for (((values, errors), limits), mark) in
            all_values.iter().zip(all_errors).zip(all_limits).zip(&mut *marks)
        {
            *mark = is_any(sign, values, errors, limits);
            some |= *mark;
        }
        if let Some(mark) = marks.get_mut(all_values.len()) {
            *mark = is_any(sign, values, errors, limits);
            some |= *mark;
        }
        some
    }
}

#[inline(always)]
fn is_any(sign: f32, values: &[f32], errors: &[f32], limits: &[f32]) -> bool {
    let mut any = 0u32;
    for ((value, error), limit) in values.iter().zip(errors).zip(limits) {
        let upper = sign * value + error;
        any |= u32::from(upper >= *limit) | u32::from(upper.is_nan());
    }
    any != 0
}

/// Whether every value and error is a number; likewise.
struct AreFinite<'a> {
    values: &'a [f32],
    errors: &'a [f32],
}

impl pulp::WithSimd for AreFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        let mut any = 0u32;
        for (value, error) in self.values.iter().zip(self.errors) {
            any |= u32::from(!value.is_finite()) | u32::from(!error.is_finite());
        }
        any == 0
    }
}

/// Whether no value is farther from zero, with its error.
struct AreAtMost<'a> {
    values: &'a [f32],
    errors: &'a [f32],
    most: f32,
}

impl pulp::WithSimd for AreAtMost<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        let mut any = 0u32;
        for (value, error) in self.values.iter().zip(self.errors) {
            any |= u32::from(value.abs() + error > self.most);
        }
        any == 0
    }
}
