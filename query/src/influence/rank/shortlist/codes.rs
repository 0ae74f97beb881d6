//! Values from the int8 codes of a sketch: half the bytes of a row, and less work. Their errors have a variance, or are certain.

use gstore_store::{BlockBuffer, CELL_ROWS, RowFlags};

use super::bounds::{Certain, Probable, QueryParts, ROUNDED, finish};
use super::estimates::Estimates;
use crate::error::QueryError;
use crate::influence::rank::cascade::{SketchSide, code_dots, find};
use crate::influence::scan::Scan;
use crate::influence::scan::values::MIN_NORM;
use crate::influence::scan::windows::Window;
use crate::influence::spec::Sim;
use crate::influence::spec::mode::Plane;
use crate::kernel::{CodeKind, Codes};
use crate::sketch::{ByteFactors, Class, Factor, Residual, RowRecord, Section};

/// At least the variance of any value: what underflow takes from one is far below. Scores as small as its root are not told apart.
const LEAST_VARIANCE: f32 = 1.0 / (1u128 << 100) as f32;

/// Codes that are read, and how their estimates are bounded.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// By pool and checkpoint.
    pub(super) sides: &'a [Vec<SketchSide>],
    /// [`Plane::Int8`] or [`Plane::Certified`].
    pub(super) plane: Plane,
    /// Standard deviations between an estimate and its bound, where that is not certain.
    pub(super) z: f64,
}

/// A thread's memory.
#[derive(Default)]
pub(super) struct Memory {
    offsets: Vec<u32>,
    chosen: Vec<u32>,
    places: Vec<u32>,
    dots: Vec<i32>,
    /// Slots x queries.
    variances: Vec<f32>,
    rows: BlockBuffer,
    factors: BlockBuffer,
    codes: BlockBuffer,
    queries: QueryParts,
}

/// What the estimates of all rows at a checkpoint are made with.
struct Common {
    sim: Sim,
    dot_scale: f64,
    /// Of [`SketchSide`].
    slack: f64,
    freedom: f64,
    /// Of [`Certain`] and [`Probable`].
    share: f32,
}

impl Common {
    /// By which a product with a row is multiplied.
    fn by(&self, record: &RowRecord) -> f64 {
        match self.sim {
            Sim::Cosine => 1.0 / f64::from(record.length).max(MIN_NORM),
            Sim::Dot => self.dot_scale,
        }
    }

    fn certain(&self, record: &RowRecord, residual: Residual) -> Certain {
        let (by, norm) = (self.by(record), f64::from(record.norm));
        let (scale, residual) = (f64::from(residual.scale), f64::from(residual.residual));
        Certain {
            of_dot: (by * scale) as f32,
            of_norm: up(by * (residual + norm * self.slack)),
            of_fine: up(by * (norm + residual)),
            share: self.share,
        }
    }

    fn probable(&self, record: &RowRecord, factor: Factor) -> Probable {
        let (by, norm, spread) = (self.by(record), f64::from(record.norm), f64::from(factor.spread));
        Probable {
            of_dot: (by * f64::from(factor.factor)) as f32,
            across: up(by * by * spread * spread),
            rounded: up(by * by * (spread * spread * self.freedom + norm * norm)),
            certain: up(by * norm * self.slack),
            share: self.share,
        }
    }
}

fn up(value: f64) -> f32 {
    (value as f32 * (1.0 + ROUNDED)).next_up()
}

/// Estimates the values of a window's rows; returns the bytes read.
pub(super) fn estimate(
    (scan, reading): (&Scan<'_>, Reading<'_>),
    window: &Window,
    estimates: &mut Estimates,
    memory: &mut Memory,
) -> Result<u64, QueryError> {
    let Reading { sides, plane, z } = reading;
    let certain = plane == Plane::Certified;
    let pool = &scan.pools[window.pool as usize];
    let Memory { offsets, chosen, places, dots, variances, rows, factors, codes, queries: parts } = memory;
    let count = pool.query_count();
    let mut bytes = 0;
    // Plain loops, compiled for what the processor has.
    let arch = pulp::Arch::new();
    offsets.clear();
    offsets.extend(estimates.wanted().map(|slot| slot as u32));
    variances.clear();
    if !certain {
        variances.resize((window.rows.end - window.rows.start) as usize * count, LEAST_VARIANCE);
    }
    for ((c, reader), side) in pool.readers.iter().enumerate().zip(&sides[window.pool as usize]) {
        let sketch = &side.sketch;
        let weighty = scan.weights[c] > 0.0;
        let common = Common {
            sim: scan.sim,
            dot_scale: reader.part().attrs.dot_scale,
            slack: side.slack,
            freedom: (sketch.padded() - 4) as f64,
            share: ROUNDED * (1.0 + pool.readers.len() as f32 / 8.0),
        };
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
            parts.set(queries.each(), certain);
            let packed = if certain { queries.fine() } else { queries.coarse() };
            let of_codes = sketch.read(block, Section::Bytes, codes)?;
            let of_codes = Codes { kind: CodeKind::Int8, bytes: of_codes };
            code_dots(scan.kernel, of_codes, chosen, packed, dots);
            let factors: &[ByteFactors] = sketch.records(block, Section::ByteFactors, factors)?;
            for ((i, place), dots) in chosen.iter().zip(places.iter()).zip(dots.chunks_exact(packed.len())) {
                let record = &records[*i as usize];
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
                let sums = estimates.of(slot);
                let ByteFactors { factor, residual } = factors[*i as usize];
                if certain {
                    let row = common.certain(record, residual);
                    arch.dispatch(|| row.add(parts, dots, sums));
                } else {
                    let row = common.probable(record, factor);
                    let variances = &mut variances[slot * count..(slot + 1) * count];
                    arch.dispatch(|| row.add(parts, dots, sums, variances));
                }
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
        let variances = variances.get(slot * count..(slot + 1) * count);
        arch.dispatch(|| finish(estimates.of(slot), variances, z, up));
    }
    Ok(bytes)
}
