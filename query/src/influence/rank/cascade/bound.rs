//! Estimates and bounds of the scores of a window's rows, from one plane of the sketches.
//!
//! A value is the sum over checkpoints of `<x_c, q_c>` over a length. Its bound is the sum of the estimates, plus what is certain of the
//! errors, plus z times the root of the summed variances: rotations of different features are drawn apart. A score ascends with every value,
//! also as it is computed (rounding keeps order), so the score of upper bounds is an upper bound of the score.

use gstore_store::{BlockBuffer, BlockRef, CELL_ROWS, FeatureReader, RowFlags};

use super::find::{code_dots, find};
use super::reach::Reach;
use super::sides::SketchSide;
use super::singles::{Single, Singles, Vectors};
use super::value::{Factors, Measure, Value};
use crate::error::QueryError;
use crate::influence::scan::slots::Selection;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, ScanPool, Totals};
use crate::influence::spec::mode::Plane;
use crate::influence::spec::{Order, Sim};
use crate::kernel::{CodeKind, Codes};
use crate::sketch::{Class, RowRecord, Section};

/// What bounds are made with.
pub(super) struct Bounder<'a> {
    pub(super) scan: &'a Scan<'a>,
    pub(super) sides: &'a [Vec<SketchSide>],
    pub(super) order: Order,
    /// Standard deviations that a bound lies away from an estimate.
    pub(super) z: f64,
}

/// What a plane says of the rows of windows, one window after the other.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Number of rows whose score is bounded.
    pub(super) bounded: u64,
    /// Of these the rows that are kept: all of the last window, each from the first of its window.
    pub(super) offsets: Vec<u32>,
    /// Of each row of the last window, until [`Found::keep`].
    pub(super) estimates: Vec<f32>,
    /// Of each the best that the score can be.
    pub(super) bounds: Vec<f32>,
    /// Offsets of rows that nothing is known of: they are scored.
    pub(super) unbounded: Vec<u32>,
    /// Of rows that are bounded or have no score.
    pub(super) totals: Totals,
    /// Bytes of codes and what belongs to them.
    pub(super) bytes: u64,
    /// Of the rows that are kept, of a window.
    places: Vec<u32>,
}

/// A thread's memory, used again for every window.
#[derive(Default)]
pub(super) struct Scratch {
    selection: Selection,
    /// The rows that are wanted, from the first of the window.
    offsets: Vec<u32>,
    /// Of each.
    states: Vec<State>,
    /// Of each, by query.
    values: Vec<Value>,
    /// Vectors of one block that are wanted,
    chosen: Vec<u32>,
    /// and for each the place of its row in `offsets`.
    places: Vec<u32>,
    dots: Vec<i32>,
    scores: [Vec<f32>; 2],
    pub(super) singles: Singles,
    rows: BlockBuffer,
    factors: BlockBuffer,
    codes: BlockBuffer,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    checkpoints: u32,
    flags: RowFlags,
    /// Whether a checkpoint that counts has the row.
    weighty: bool,
    odd: bool,
}

impl Found {
    /// Of the rows from a place on, keeps those whose bound reaches a limit, and of no row the estimate; returns the best of the other bounds.
    pub(super) fn keep(&mut self, from: usize, reach: &mut Reach) -> Option<f32> {
        let Self { offsets, estimates, bounds, .. } = self;
        estimates.clear();
        let mut kept = from;
        let (_, of_window) = bounds.split_at(from);
        self.places.clear();
        let best = reach.places(of_window, |i| self.places.push(i as u32));
        for i in &self.places {
            let at = from + *i as usize;
            (offsets[kept], bounds[kept]) = (offsets[at], bounds[at]);
            kept += 1;
        }
        offsets.truncate(kept);
        bounds.truncate(kept);
        best
    }
}

impl State {
    fn note(&mut self, record: &RowRecord, weighty: bool) {
        self.checkpoints += 1;
        self.weighty |= weighty;
        self.flags.insert(RowFlags::from_bits(record.flags));
        self.odd |= record.class() == Class::Odd;
    }
}

impl Bounder<'_> {
    /// Bounds the rows at `offsets` of a window; without them those that are live and that the filter lets through. Adds to what was found.
    pub(super) fn window(
        &self,
        window: &Window,
        plane: Plane,
        offsets: Option<&[u32]>,
        scratch: &mut Scratch,
        found: &mut Found,
    ) -> Result<(), QueryError> {
        let pool = &self.scan.pools[window.pool as usize];
        scratch.offsets.clear();
        match offsets {
            Some(offsets) => scratch.offsets.extend_from_slice(offsets),
            None => self.select(window, scratch),
        }
        if scratch.offsets.is_empty() {
            return Ok(());
        }
        let queries = pool.query_count();
        let single = queries == 1 && pool.readers.len() == 1;
        scratch.states.clear();
        scratch.values.clear();
        match single {
            true => scratch.singles.start(scratch.offsets.len(), self.bound(&Value::default())),
            false => {
                scratch.states.resize(scratch.offsets.len(), State::default());
                scratch.values.resize(scratch.offsets.len() * queries, Value::default());
            }
        }
        for (c, block) in self.blocks(window) {
            self.scan.check_cancelled()?;
            found.bytes += self.block(window, (pool, c), block, plane, scratch)?;
        }
        if single {
            if scratch.singles.are_plain() {
                scratch.singles.hand_out(&scratch.offsets, found);
                return Ok(());
            }
            self.note_singles(window, scratch)?;
        }
        self.judge(queries, scratch, found);
        Ok(())
    }

    /// The blocks in which rows of a window may be, with the number of their checkpoint.
    fn blocks(&self, window: &Window) -> impl Iterator<Item = (usize, BlockRef)> {
        let pool = &self.scan.pools[window.pool as usize];
        let rows = window.rows.clone();
        let in_cell = |(c, reader): (usize, &FeatureReader)| {
            let blocks = reader.blocks_in(window.rows.start / CELL_ROWS);
            blocks.into_iter().map(move |block| (c, block))
        };
        let blocks = pool.readers.iter().enumerate().flat_map(in_cell);
        blocks.filter(move |(_, block)| block.range().start < rows.end && rows.start < block.range().end)
    }

    /// The best that a value can be.
    #[inline]
    fn bound(&self, value: &Value) -> f32 {
        value.bound(self.order, self.z)
    }

    /// Offsets of the rows of a window that are live and that the filter lets through.
    pub(super) fn selected(&self, window: &Window) -> Vec<u32> {
        let mut scratch = Scratch::default();
        self.select(window, &mut scratch);
        scratch.offsets
    }

    fn select(&self, window: &Window, scratch: &mut Scratch) {
        let pool = window.pool as usize;
        let (first, live) = (window.rows.start, &self.scan.pools[pool].live);
        match self.scan.filter.and_then(|filter| filter.pool(pool)) {
            None => {
                let offsets =
                    |rows: std::ops::Range<u64>| (rows.start - first) as u32..(rows.end - first) as u32;
                live.within(window.rows.clone()).for_each(|rows| scratch.offsets.extend(offsets(rows)));
            }
            filter => {
                scratch.selection.choose(window.rows.clone(), live, filter);
                scratch.offsets.extend(scratch.selection.wanted().map(|offset| offset as u32));
            }
        }
    }

    /// Adds what a block says of the rows that are wanted; returns the bytes read.
    fn block(
        &self,
        window: &Window,
        (pool, c): (&ScanPool, usize),
        block: BlockRef,
        plane: Plane,
        scratch: &mut Scratch,
    ) -> Result<u64, QueryError> {
        let side = &self.sides[window.pool as usize][c];
        let sketch = &side.sketch;
        let Scratch { offsets, places, states, values, chosen, dots, singles, rows, factors, codes, .. } =
            scratch;
        let rows: &[RowRecord] = sketch.records(block, Section::Rows, rows)?;
        find(rows, block.range(), window.rows.start, offsets, chosen, places);
        if chosen.is_empty() {
            return Ok(0);
        }
        let (kind, codes_in, factors_in) = sections(plane);
        let Some(queries) = sketch.rotation_of(block).and_then(|r| side.queries.get(r)) else {
            return Err(QueryError::Sketch("a block has no rotation".into()));
        };
        let packed = if plane == Plane::Certified { queries.fine() } else { queries.coarse() };
        let bytes = sketch.read(block, codes_in, codes)?;
        code_dots(self.scan.kernel, Codes { kind, bytes }, chosen, packed, dots);
        let each = queries.each();
        let factors = Factors::read(sketch, block, plane, factors)?;
        let measure = Measure {
            cosine: self.scan.sim == Sim::Cosine,
            dot_scale: pool.readers[c].part().attrs.dot_scale,
            slack: side.slack,
            freedom: (sketch.padded() - 4) as f64,
        };
        let sizes = [Section::Rows, codes_in, factors_in].map(|s| s.vector_bytes(sketch.padded()) as u64);
        let read = chosen.len() as u64 * sizes.iter().sum::<u64>();
        if let (1, [query]) = (pool.readers.len(), each) {
            let single = Single { measure, query, order: self.order, z: self.z };
            singles.add(&single, Vectors { numbers: chosen, places }, rows, factors, dots);
            return Ok(read);
        }
        let weighty = self.scan.weights[c] > 0.0;
        for ((i, at), dots) in chosen.iter().zip(places.iter()).zip(dots.chunks_exact(packed.len())) {
            let record = &rows[*i as usize];
            states[*at as usize].note(record, weighty);
            if record.class() == Class::Coded {
                let values = &mut values[*at as usize * each.len()..(*at as usize + 1) * each.len()];
                factors.add(*i as usize, &measure.row(record), each, dots, values);
            }
        }
        Ok(read)
    }

    /// Notes what is to be known of rows of one value besides, where that is not the same of all.
    fn note_singles(&self, window: &Window, scratch: &mut Scratch) -> Result<(), QueryError> {
        let Scratch { offsets, states, chosen, places, singles, rows, .. } = scratch;
        states.resize(offsets.len(), State::default());
        for (c, block) in self.blocks(window) {
            let sketch = &self.sides[window.pool as usize][c].sketch;
            let rows: &[RowRecord] = sketch.records(block, Section::Rows, rows)?;
            find(rows, block.range(), window.rows.start, offsets, chosen, places);
            for (i, at) in chosen.iter().zip(places.iter()) {
                let record = &rows[*i as usize];
                states[*at as usize].note(record, self.scan.weights[c] > 0.0);
                if record.class() != Class::Coded {
                    singles.put(*at as usize, 0.0, self.bound(&Value::default()));
                }
            }
        }
        Ok(())
    }

    /// From values to scores, in the order of the rows.
    fn judge(&self, queries: usize, scratch: &mut Scratch, found: &mut Found) {
        let Scratch { offsets, states, values, singles, scores: [estimates, bounds], .. } = scratch;
        let single = queries == 1 && values.is_empty();
        for (at, (offset, state)) in offsets.iter().zip(states).enumerate() {
            match self.scan.is_whole(state.flags, state.checkpoints as usize, state.weighty) {
                Ok(true) => {}
                Ok(false) => {
                    found.unbounded.push(*offset);
                    continue;
                }
                Err(reason) => {
                    found.totals.scanned += 1;
                    found.totals.excluded.add(reason);
                    continue;
                }
            }
            let (estimate, bound) = match single {
                true => singles.get(at),
                false => {
                    let values = &values[at * queries..(at + 1) * queries];
                    estimates.clear();
                    estimates.extend(values.iter().map(|value| value.estimate as f32));
                    bounds.clear();
                    bounds.extend(values.iter().map(|value| self.bound(value)));
                    (self.scan.terms.score(estimates).0, self.scan.terms.score(bounds).0)
                }
            };
            if state.odd || !estimate.is_finite() || !bound.is_finite() {
                found.unbounded.push(*offset);
                continue;
            }
            found.totals.scanned += 1;
            found.totals.eligible += 1;
            found.bounded += 1;
            found.offsets.push(*offset);
            found.estimates.push(estimate);
            found.bounds.push(bound);
        }
    }
}

/// What a plane reads: the kind of codes, their section and that of their factors.
pub(super) fn sections(plane: Plane) -> (CodeKind, Section, Section) {
    match plane {
        Plane::Sign => (CodeKind::Sign, Section::Signs, Section::SignFactors),
        Plane::Nibble => (CodeKind::Nibble, Section::Nibbles, Section::NibbleFactors),
        Plane::Int8 | Plane::Certified => (CodeKind::Int8, Section::Bytes, Section::ByteFactors),
    }
}
