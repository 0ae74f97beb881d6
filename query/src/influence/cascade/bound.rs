//! Estimates and bounds of the scores of a window's rows, from one plane of the sketches.
//!
//! A value is the sum over checkpoints of `<x_c, q_c>` over a length. Its bound is the sum of the estimates, plus what is certain of the
//! errors, plus z times the root of the summed variances: rotations of different features are drawn apart. A score ascends with every value,
//! also as it is computed (rounding keeps order), so the score of upper bounds is an upper bound of the score.

use gstore_store::{BlockBuffer, BlockRef, CELL_ROWS, RowFlags};

use super::super::mode::Plane;
use super::super::result::Reason;
use super::super::scan::{Scan, ScanPool, Totals};
use super::super::slots::Selection;
use super::super::spec::{Missing, Order, Sim};
use super::super::values::MIN_NORM;
use super::super::windows::Window;
use super::sides::SketchSide;
use crate::error::QueryError;
use crate::kernel::{CodeKind, Codes};
use crate::sketch::{ByteFactors, Class, Factor, Query, RowRecord, Section};

/// What bounds are made with.
pub(super) struct Bounder<'a> {
    pub(super) scan: &'a Scan<'a>,
    pub(super) sides: &'a [Vec<SketchSide>],
    pub(super) order: Order,
    /// Standard deviations that a bound lies away from an estimate.
    pub(super) z: f64,
}

/// A row of a window whose score is bounded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded {
    /// From the first row of the window.
    pub(super) offset: u32,
    pub(super) estimate: f32,
    /// The best that the score can be.
    pub(super) bound: f32,
}

/// What a plane says of a window.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Bounded>,
    /// Offsets of rows that nothing is known of: they are scored.
    pub(super) unbounded: Vec<u32>,
    /// Of rows that are bounded or have no score.
    pub(super) totals: Totals,
    /// Bytes of codes and what belongs to them.
    pub(super) bytes: u64,
}

/// A thread's memory, used again for every window.
#[derive(Default)]
pub(super) struct Scratch {
    selection: Selection,
    /// For each row of the window its place among those that are wanted.
    places: Vec<u32>,
    states: Vec<State>,
    values: Vec<Value>,
    chosen: Vec<u32>,
    dots: Vec<i32>,
    scores: [Vec<f32>; 2],
    rows: BlockBuffer,
    factors: BlockBuffer,
    codes: BlockBuffer,
}

const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    offset: u32,
    checkpoints: u32,
    weight: f64,
    flags: RowFlags,
    odd: bool,
}

/// What is known of the value of a row and a query.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Value {
    pub(super) estimate: f64,
    /// What the error is certain to be below.
    pub(super) certain: f64,
    pub(super) variance: f64,
}

impl Bounder<'_> {
    /// Bounds the rows at `offsets` of a window; without them those that are live and that the filter lets through.
    pub(super) fn window(
        &self,
        window: &Window,
        plane: Plane,
        offsets: Option<&[u32]>,
        scratch: &mut Scratch,
    ) -> Result<Found, QueryError> {
        let mut found = Found::default();
        let pool = &self.scan.pools[window.pool as usize];
        self.choose(window, offsets, scratch);
        if scratch.states.is_empty() {
            return Ok(found);
        }
        let queries = pool.queries.first().map_or(0, |q| q.len());
        scratch.values.clear();
        scratch.values.resize(scratch.states.len() * queries, Value::default());
        for (c, reader) in pool.readers.iter().enumerate() {
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
                let range = block.range();
                if range.start < window.rows.end && window.rows.start < range.end {
                    self.scan.check_cancelled()?;
                    found.bytes += self.block(window, (pool, c), block, plane, scratch)?;
                }
            }
        }
        self.judge(queries, scratch, &mut found);
        Ok(found)
    }

    /// Offsets of the rows of a window that are live and that the filter lets through.
    pub(super) fn selected(&self, window: &Window) -> Vec<u32> {
        let mut scratch = Scratch::default();
        self.choose(window, None, &mut scratch);
        scratch.states.iter().map(|state| state.offset).collect()
    }

    fn choose(&self, window: &Window, offsets: Option<&[u32]>, scratch: &mut Scratch) {
        let Scratch { selection, places, states, .. } = scratch;
        places.clear();
        places.resize((window.rows.end - window.rows.start) as usize, NOWHERE);
        states.clear();
        let mut want = |offset: u32| {
            places[offset as usize] = states.len() as u32;
            states.push(State { offset, ..State::default() });
        };
        match offsets {
            Some(offsets) => offsets.iter().copied().for_each(&mut want),
            None => {
                let pool = window.pool as usize;
                let filter = self.scan.filter.and_then(|filter| filter.pool(pool));
                selection.choose(window.rows.clone(), &self.scan.pools[pool].live, filter);
                selection.wanted().for_each(|offset| want(offset as u32));
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
        let Scratch { places, states, values, chosen, dots, rows, factors, codes, .. } = scratch;
        let first = block.range().start;
        let rows: &[RowRecord] = sketch.records(block, Section::Rows, rows)?;
        let place = |record: &RowRecord| {
            let offset = (first + u64::from(record.offset)).checked_sub(window.rows.start)?;
            places.get(offset as usize).copied().filter(|place| *place != NOWHERE)
        };
        chosen.clear();
        chosen.extend((0..rows.len() as u32).filter(|i| place(&rows[*i as usize]).is_some()));
        if chosen.is_empty() {
            return Ok(0);
        }
        let (kind, codes_in, factors_in) = sections(plane);
        let Some(queries) = sketch.rotation_of(block).and_then(|r| side.queries.get(r)) else {
            return Err(QueryError::Sketch("a block has no rotation".into()));
        };
        let packed = if plane == Plane::Certified { queries.fine() } else { queries.coarse() };
        let bytes = sketch.read(block, codes_in, codes)?;
        dots.resize(chosen.len() * packed.len(), 0);
        if chosen.len() == rows.len() {
            self.scan.kernel.code_dots(Codes { kind, bytes }, packed, dots);
        } else {
            self.scan.kernel.code_dots_at(Codes { kind, bytes }, chosen, packed, dots);
        }
        let each = queries.each();
        let freedom = (sketch.padded() - 4) as f64;
        let certified = plane == Plane::Certified;
        let factors_of = FactorsOf::read(sketch, block, factors_in, factors)?;
        for (i, dots) in chosen.iter().zip(dots.chunks_exact(packed.len())) {
            let record = &rows[*i as usize];
            let Some(at) = place(record) else { continue };
            let state = &mut states[at as usize];
            state.checkpoints += 1;
            state.weight += self.scan.weights[c];
            state.flags.insert(RowFlags::from_bits(record.flags));
            state.odd |= record.class() == Class::Odd;
            if record.class() != Class::Coded {
                continue;
            }
            let by = match self.scan.sim {
                Sim::Cosine => 1.0 / f64::from(record.length).max(MIN_NORM),
                Sim::Dot => pool.readers[c].part().attrs.dot_scale,
            };
            let row = Row { by, norm: f64::from(record.norm), slack: side.slack, freedom };
            let values = &mut values[at as usize * each.len()..(at as usize + 1) * each.len()];
            if certified {
                let residual = factors_of.bytes(*i as usize);
                for ((value, query), dots) in values.iter_mut().zip(each).zip(dots.chunks_exact(2)) {
                    row.certify(residual, query, dots, value);
                }
            } else {
                let factor = factors_of.factor(*i as usize);
                for ((value, query), dot) in values.iter_mut().zip(each).zip(dots) {
                    row.estimate(factor, query, *dot, value);
                }
            }
        }
        let sizes = [Section::Rows, codes_in, factors_in].map(|s| s.vector_bytes(sketch.padded()) as u64);
        Ok(chosen.len() as u64 * sizes.iter().sum::<u64>())
    }

    /// From values to scores, in the order of the rows.
    fn judge(&self, queries: usize, scratch: &mut Scratch, found: &mut Found) {
        let [estimates, bounds] = &mut scratch.scores;
        for (state, values) in scratch.states.iter().zip(scratch.values.chunks_exact(queries.max(1))) {
            let reason = match () {
                () if state.flags.contains(RowFlags::NO_SCORED) => Some(Reason::NoScored),
                () if state.flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) => {
                    Some(Reason::NonFinite)
                }
                () if (state.checkpoints as usize) < self.scan.weights.len() => {
                    if self.scan.missing == Missing::Renormalise && state.weight > 0.0 {
                        found.unbounded.push(state.offset);
                        continue;
                    }
                    Some(Reason::Missing)
                }
                () => None,
            };
            if let Some(reason) = reason {
                found.totals.scanned += 1;
                found.totals.excluded.add(reason);
                continue;
            }
            estimates.clear();
            bounds.clear();
            for value in values {
                let away = value.certain + self.z * value.variance.sqrt();
                estimates.push(value.estimate as f32);
                bounds.push(match self.order {
                    Order::Best => ((value.estimate + away) as f32).next_up(),
                    Order::Worst => ((value.estimate - away) as f32).next_down(),
                });
            }
            let (estimate, bound) = (self.scan.terms.score(estimates).0, self.scan.terms.score(bounds).0);
            if state.odd || !estimate.is_finite() || !bound.is_finite() {
                found.unbounded.push(state.offset);
                continue;
            }
            found.totals.scanned += 1;
            found.totals.eligible += 1;
            found.rows.push(Bounded { offset: state.offset, estimate, bound });
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

/// The factors of a block's vectors.
enum FactorsOf<'a> {
    Plain(&'a [Factor]),
    Bytes(&'a [ByteFactors]),
}

impl<'a> FactorsOf<'a> {
    fn read(
        sketch: &'a crate::sketch::Sketch,
        block: BlockRef,
        section: Section,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Self, QueryError> {
        Ok(match section {
            Section::ByteFactors => Self::Bytes(sketch.records(block, section, scratch)?),
            _ => Self::Plain(sketch.records(block, section, scratch)?),
        })
    }

    fn factor(&self, i: usize) -> Factor {
        match self {
            Self::Plain(factors) => factors[i],
            Self::Bytes(factors) => factors[i].factor,
        }
    }

    fn bytes(&self, i: usize) -> ByteFactors {
        match self {
            Self::Plain(_) => ByteFactors::default(),
            Self::Bytes(factors) => factors[i],
        }
    }
}

/// A vector with what its products are multiplied by.
pub(super) struct Row {
    pub(super) by: f64,
    pub(super) norm: f64,
    pub(super) slack: f64,
    /// n - 3, with n the dimensions across the vector.
    pub(super) freedom: f64,
}

impl Row {
    /// Adds an estimate without bias. Its error has two parts, independent of each other: the rotation's, of which `spread` is the standard
    /// deviation for a query of length 1, and the random rounding of the query: each of its coordinates is off by zero on average and inside one
    /// step, so that the sum over the code's coordinates has at most half a step times `f |c|` for a standard deviation.
    #[inline]
    pub(super) fn estimate(&self, factor: Factor, query: &Query, dot: i32, value: &mut Value) {
        let spread = f64::from(factor.spread);
        let across = spread * query.norm;
        // f |c| is |x| over the cosine of x' and c, whose square is 1 / (1 + spread^2 (n - 3) / |x|^2).
        let code_square = spread * spread * self.freedom + self.norm * self.norm;
        let rounding = 0.25 * query.coarse_step * query.coarse_step * code_square;
        value.estimate += self.by * f64::from(factor.factor) * query.coarse_step * f64::from(dot);
        value.variance += self.by * self.by * (across * across + rounding);
        value.certain += self.by * self.norm * query.norm * self.slack;
    }

    /// Adds a certain bound, from the codes x^ and q^ of both sides: `|<x, q> - <x^, q^>| <= |q| |x - x^| + |x^| |q - q^|` (Cauchy-Schwarz).
    #[inline]
    fn certify(&self, factors: ByteFactors, query: &Query, dots: &[i32], value: &mut Value) {
        let (scale, residual) = (f64::from(factors.residual.scale), f64::from(factors.residual.residual));
        let dot = f64::from(dots[0]) + f64::from(dots[1]) / 254.0;
        value.estimate += self.by * scale * query.fine_step * dot;
        let error = query.norm * residual + (self.norm + residual) * query.fine_error;
        value.certain += self.by * (error + self.norm * query.norm * self.slack);
    }
}
