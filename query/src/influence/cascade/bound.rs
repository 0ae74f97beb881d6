//! Estimates and bounds of the scores of a window's rows, from one plane of the sketches.
//!
//! A value is the sum over checkpoints of `<x_c, q_c>` over a length. Its bound is the sum of the estimates, plus what is certain of the
//! errors, plus z times the root of the summed variances: rotations of different features are drawn apart. A score ascends with every value,
//! also as it is computed (rounding keeps order), so the score of upper bounds is an upper bound of the score.

use gstore_store::{BlockBuffer, BlockRef, CELL_ROWS, RowFlags};

use super::super::mode::Plane;
use super::super::scan::{Scan, ScanPool, Totals};
use super::super::slots::Selection;
use super::super::spec::{Order, Sim};
use super::super::values::MIN_NORM;
use super::super::windows::Window;
use super::sides::SketchSide;
use crate::error::QueryError;
use crate::kernel::{CodeKind, CodeQueries, Codes, Kernel};
use crate::sketch::{ByteFactors, Class, Factor, Query, RowRecord, Section};

/// What bounds are made with.
pub(super) struct Bounder<'a> {
    pub(super) scan: &'a Scan<'a>,
    pub(super) sides: &'a [Vec<SketchSide>],
    pub(super) order: Order,
    /// Standard deviations that a bound lies away from an estimate.
    pub(super) z: f64,
}

/// What a plane says of a window.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The rows whose score is bounded, from the first of the window.
    pub(super) offsets: Vec<u32>,
    /// Of each.
    pub(super) estimates: Vec<f32>,
    /// Of each the best that the score can be.
    pub(super) bounds: Vec<f32>,
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
    /// Of each row the estimate and bound of its score, where that is one value at one checkpoint.
    alone: Vec<[f32; 2]>,
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
        scratch.offsets.clear();
        match offsets {
            Some(offsets) => scratch.offsets.extend_from_slice(offsets),
            None => self.select(window, scratch),
        }
        if scratch.offsets.is_empty() {
            return Ok(found);
        }
        scratch.states.clear();
        scratch.states.resize(scratch.offsets.len(), State::default());
        let queries = pool.queries.first().map_or(0, |q| q.len());
        scratch.values.clear();
        scratch.alone.clear();
        match queries == 1 && pool.readers.len() == 1 {
            true => scratch.alone.resize(scratch.offsets.len(), [0.0, self.bound(&Value::default())]),
            false => scratch.values.resize(scratch.offsets.len() * queries, Value::default()),
        }
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

    /// The best that a value can be.
    #[inline]
    fn bound(&self, value: &Value) -> f32 {
        let away = value.certain + self.z * value.variance.sqrt();
        match self.order {
            Order::Best => ((value.estimate + away) as f32).next_up(),
            Order::Worst => ((value.estimate - away) as f32).next_down(),
        }
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
        let Scratch { offsets, places, states, values, chosen, dots, alone, rows, factors, codes, .. } =
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
        let freedom = (sketch.padded() - 4) as f64;
        let certified = plane == Plane::Certified;
        let factors_of = FactorsOf::read(sketch, block, factors_in, factors)?;
        let weighty = self.scan.weights[c] > 0.0;
        let dot_scale = pool.readers[c].part().attrs.dot_scale;
        for ((i, at), dots) in chosen.iter().zip(places.iter()).zip(dots.chunks_exact(packed.len())) {
            let record = &rows[*i as usize];
            let state = &mut states[*at as usize];
            state.checkpoints += 1;
            state.weighty |= weighty;
            state.flags.insert(RowFlags::from_bits(record.flags));
            let class = record.class();
            state.odd |= class == Class::Odd;
            if class != Class::Coded {
                continue;
            }
            let by = match self.scan.sim {
                Sim::Cosine => 1.0 / f64::from(record.length).max(MIN_NORM),
                Sim::Dot => dot_scale,
            };
            let row = Row { by, norm: f64::from(record.norm), slack: side.slack, freedom };
            if let (Some(alone), [query]) = (alone.get_mut(*at as usize), each) {
                let mut value = Value::default();
                match certified {
                    true => row.certify(factors_of.bytes(*i as usize), query, dots, &mut value),
                    false => row.estimate(factors_of.factor(*i as usize), query, dots[0], &mut value),
                }
                *alone = [value.estimate as f32, self.bound(&value)];
                continue;
            }
            let values = &mut values[*at as usize * each.len()..(*at as usize + 1) * each.len()];
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
        let Scratch { offsets, states, values, alone, scores: [estimates, bounds], .. } = scratch;
        found.offsets.reserve_exact(offsets.len());
        found.estimates.reserve_exact(offsets.len());
        found.bounds.reserve_exact(offsets.len());
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
            let (estimate, bound) = match alone.get(at) {
                Some([estimate, bound]) => (*estimate, *bound),
                None => {
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
            found.offsets.push(*offset);
            found.estimates.push(estimate);
            found.bounds.push(bound);
        }
    }
}

/// Products of some vectors' codes, which ascend, with queries.
pub(in super::super) fn code_dots(
    kernel: Kernel,
    codes: Codes<'_>,
    chosen: &[u32],
    queries: &CodeQueries,
    dots: &mut Vec<i32>,
) {
    dots.resize(chosen.len() * queries.len(), 0);
    let bytes = codes.kind.row_bytes(queries.dim());
    match chosen {
        // A stretch of them.
        [first, .., last] if (last - first) as usize + 1 == chosen.len() => {
            let bytes = &codes.bytes[*first as usize * bytes..(*last as usize + 1) * bytes];
            kernel.code_dots(Codes { bytes, ..codes }, queries, dots);
        }
        _ => kernel.code_dots_at(codes, chosen, queries, dots),
    }
}

/// Finds vectors of a block for rows of a window, both of which ascend: `chosen` are the vectors, `places` the rows by their place in `offsets`.
pub(in super::super) fn find(
    rows: &[RowRecord],
    block: std::ops::Range<u64>,
    start: u64,
    offsets: &[u32],
    chosen: &mut Vec<u32>,
    places: &mut Vec<u32>,
) {
    chosen.clear();
    places.clear();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let before = |row: u64| offsets.partition_point(|offset| start + u64::from(*offset) < row);
    let wanted = before(block.start)..before(block.end);
    let dense = usize::from(last.offset.wrapping_sub(first.offset)) + 1 == rows.len();
    // Mostly every row of a stretch of the block is wanted.
    if let (true, [one, .., other]) = (dense, &offsets[wanted.clone()])
        && (other - one) as usize + 1 == wanted.len()
        && let Some(at) = (start + u64::from(*one)).checked_sub(block.start + u64::from(first.offset))
        && at + wanted.len() as u64 <= rows.len() as u64
    {
        chosen.extend(at as u32..at as u32 + wanted.len() as u32);
        places.extend(wanted.start as u32..wanted.end as u32);
        return;
    }
    for (place, offset) in wanted.clone().zip(&offsets[wanted]) {
        let row = (start + u64::from(*offset) - block.start) as u16;
        let at = match dense {
            true => usize::from(row.wrapping_sub(first.offset)),
            false => rows.partition_point(|record| record.offset < row),
        };
        if rows.get(at).is_some_and(|record| record.offset == row) {
            chosen.push(at as u32);
            places.push(place as u32);
        }
    }
}

/// What a plane reads: the kind of codes, their section and that of their factors.
pub(in super::super) fn sections(plane: Plane) -> (CodeKind, Section, Section) {
    match plane {
        Plane::Sign => (CodeKind::Sign, Section::Signs, Section::SignFactors),
        Plane::Nibble => (CodeKind::Nibble, Section::Nibbles, Section::NibbleFactors),
        Plane::Int8 | Plane::Certified => (CodeKind::Int8, Section::Bytes, Section::ByteFactors),
    }
}

/// The factors of a block's vectors.
pub(in super::super) enum FactorsOf<'a> {
    Plain(&'a [Factor]),
    Bytes(&'a [ByteFactors]),
}

impl<'a> FactorsOf<'a> {
    pub(in super::super) fn read(
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

    pub(in super::super) fn factor(&self, i: usize) -> Factor {
        match self {
            Self::Plain(factors) => factors[i],
            Self::Bytes(factors) => factors[i].factor,
        }
    }

    pub(in super::super) fn bytes(&self, i: usize) -> ByteFactors {
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
