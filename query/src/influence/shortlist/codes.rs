//! Values from the int8 codes of a sketch: half the bytes of a row and a quarter of the work, with bounds that hold with a probability.
//!
//! The estimates and variances are those of [`crate::influence::cascade`], in single precision, for all queries of a row at once; what that
//! rounds is added to what is certain.

use gstore_store::{BlockBuffer, CELL_ROWS, RowFlags};

use super::estimates::Estimates;
use crate::error::QueryError;
use crate::influence::cascade::{SketchSide, code_dots, find};
use crate::influence::scan::Scan;
use crate::influence::spec::Sim;
use crate::influence::values::MIN_NORM;
use crate::influence::windows::Window;
use crate::kernel::{CodeKind, Codes};
use crate::sketch::{ByteFactors, Class, RowRecord, Section};

/// Covers the rounding of a value that is computed in few steps of single precision, relative to it.
const ROUNDED: f32 = 1.0 / (1 << 20) as f32;

/// At least the variance of any value: what underflow takes from one is far below. Scores as small as its root are not told apart.
const LEAST_VARIANCE: f32 = 1.0 / (1u128 << 100) as f32;

/// A thread's memory.
#[derive(Default)]
pub(super) struct Memory {
    offsets: Vec<u32>,
    chosen: Vec<u32>,
    places: Vec<u32>,
    dots: Vec<i32>,
    /// Slots x queries: variances, and then the errors.
    variances: Vec<f32>,
    rows: BlockBuffer,
    factors: BlockBuffer,
    codes: BlockBuffer,
    queries: QueryParts,
}

/// What bounds are made with, by query.
#[derive(Default)]
struct QueryParts {
    steps: Vec<f32>,
    norms: Vec<f32>,
    norm_squares: Vec<f32>,
    /// A quarter of the squares of the steps.
    rounding: Vec<f32>,
}

impl QueryParts {
    fn set(&mut self, queries: &[crate::sketch::Query]) {
        let set = |all: &mut Vec<f32>, of: fn(&crate::sketch::Query) -> f64| {
            all.clear();
            all.extend(queries.iter().map(|query| (of(query) as f32).next_up()));
        };
        self.steps.clear();
        self.steps.extend(queries.iter().map(|query| query.coarse_step as f32));
        set(&mut self.norms, |query| query.norm);
        set(&mut self.norm_squares, |query| query.norm * query.norm);
        set(&mut self.rounding, |query| 0.25 * query.coarse_step * query.coarse_step);
    }
}

/// Estimates the values of a window's rows, whose errors lie `z` standard deviations away at most; returns the bytes read.
pub(super) fn estimate(
    (scan, sides, z): (&Scan<'_>, &[Vec<SketchSide>], f64),
    window: &Window,
    estimates: &mut Estimates,
    memory: &mut Memory,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[window.pool as usize];
    let Memory { offsets, chosen, places, dots, variances, rows, factors, codes, queries: parts } = memory;
    let count = pool.queries.first().map_or(0, |queries| queries.len());
    let share = ROUNDED * (1.0 + pool.readers.len() as f32 / 8.0);
    let mut bytes = 0;
    // Plain loops, compiled for what the processor has.
    let arch = pulp::Arch::new();
    offsets.clear();
    offsets.extend(estimates.wanted().map(|slot| slot as u32));
    variances.clear();
    variances.resize((window.rows.end - window.rows.start) as usize * count, LEAST_VARIANCE);
    for ((c, reader), side) in pool.readers.iter().enumerate().zip(&sides[window.pool as usize]) {
        let sketch = &side.sketch;
        let freedom = (sketch.padded() - 4) as f64;
        let weighty = scan.weights[c] > 0.0;
        let dot_scale = reader.part().attrs.dot_scale;
        for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
            if !estimates.slots().touch(block.range()) {
                continue;
            }
            scan.check_cancelled()?;
            let records: &[RowRecord] = sketch.records(block, Section::Rows, rows)?;
            find(records, block.range(), window.rows.start, offsets, chosen, places);
            let Some(queries) = sketch.rotation_of(block).and_then(|r| side.queries.get(r)) else {
                return Err(QueryError::Sketch("a block has no rotation".into()));
            };
            parts.set(queries.each());
            let of_codes = sketch.read(block, Section::Bytes, codes)?;
            let of_codes = Codes { kind: CodeKind::Int8, bytes: of_codes };
            code_dots(scan.kernel, of_codes, chosen, queries.coarse(), dots);
            let factors: &[ByteFactors] = sketch.records(block, Section::ByteFactors, factors)?;
            for ((i, place), dots) in chosen.iter().zip(places.iter()).zip(dots.chunks_exact(count)) {
                let (record, factor) = (&records[*i as usize], factors[*i as usize].factor);
                let slot = offsets[*place as usize] as usize;
                estimates.note(slot, RowFlags::from_bits(record.flags), weighty);
                match record.class() {
                    Class::Coded => {}
                    Class::Zero => continue,
                    Class::Odd => {
                        estimates.give_up(slot);
                        continue;
                    }
                }
                let by = match scan.sim {
                    Sim::Cosine => 1.0 / f64::from(record.length).max(MIN_NORM),
                    Sim::Dot => dot_scale,
                };
                let (spread, norm) = (f64::from(factor.spread), f64::from(record.norm));
                let up = |value: f64| (value as f32 * (1.0 + ROUNDED)).next_up();
                let of_dot = (by * f64::from(factor.factor)) as f32;
                let across = up(by * by * spread * spread);
                let rounded = up(by * by * (spread * spread * freedom + norm * norm));
                let certain = up(by * norm * side.slack);
                let (values, errors) = estimates.of(slot);
                let variances = &mut variances[slot * count..(slot + 1) * count];
                let row = OfRow { of_dot, across, rounded, certain, share };
                arch.dispatch(|| row.add(parts, dots, values, errors, variances));
            }
            let sizes = [Section::Rows, Section::Bytes, Section::ByteFactors];
            let each: usize = sizes.iter().map(|section| section.vector_bytes(sketch.padded())).sum();
            bytes += (chosen.len() * each) as u64;
        }
    }
    // What is added up over checkpoints is rounded as often.
    let up = 1.0 + ROUNDED * (1.0 + pool.readers.len() as f32);
    let z = (z as f32).next_up();
    for place in offsets.iter() {
        let slot = *place as usize;
        let (values, errors) = estimates.of(slot);
        let variances = &variances[slot * count..(slot + 1) * count];
        arch.dispatch(|| finish(values, errors, variances, z, up));
    }
    Ok(bytes)
}

/// What the values of one row are made with.
struct OfRow {
    /// By which a product of codes and a step of the query are multiplied.
    of_dot: f32,
    /// Of the square of a query's length: the variance over rotations.
    across: f32,
    /// Of the square of a query's step: the variance of its rounding.
    rounded: f32,
    /// Of a query's length.
    certain: f32,
    /// Of an estimate: what its own rounding and that of sums over checkpoints take.
    share: f32,
}

impl OfRow {
    #[inline(always)]
    fn add(
        &self,
        parts: &QueryParts,
        dots: &[i32],
        values: &mut [f32],
        errors: &mut [f32],
        variances: &mut [f32],
    ) {
        let of_queries = parts.steps.iter().zip(&parts.norms).zip(&parts.norm_squares).zip(&parts.rounding);
        let of_row = values.iter_mut().zip(errors).zip(variances).zip(dots);
        for ((((step, norm), square), rounding), (((value, error), variance), dot)) in of_queries.zip(of_row)
        {
            let share = self.of_dot * step * *dot as f32;
            *value += share;
            *error += norm * self.certain + self.share * share.abs();
            *variance += square * self.across + rounding * self.rounded;
        }
    }
}

/// From variances to errors.
#[inline(always)]
fn finish(values: &[f32], errors: &mut [f32], variances: &[f32], z: f32, up: f32) {
    for ((value, error), variance) in values.iter().zip(errors).zip(variances) {
        *error = (*error + z * variance.sqrt()) * up + (up - 1.0) * value.abs();
    }
}
