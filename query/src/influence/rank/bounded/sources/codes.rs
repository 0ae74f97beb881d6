//! Estimates from one plane of a sketch's codes: fewer bytes than a row, and less work. Their errors have a
//! variance, or are certain.

use std::sync::Arc;

use gstore_store::{BlockBuffer, BlockRef, FeatureReader, ReadAhead, RowFlags};

use super::bounds::{CodeFactors, Coefficients, Measure};
use super::found::FoundVectors;
use super::sums::{AddMany, AddOne, EstimateSums, Finish, LEAST_VARIANCE, OneQuery, QueryParts, share};
use super::{Estimates, WindowOffsets};
use crate::error::QueryError;
use crate::influence::scan::Scan;
use crate::influence::sides::SketchSide;
use crate::influence::spec::Sim;
use crate::influence::spec::mode::Plane;
use crate::kernel::{CodeKind, Codes};
use crate::sketch::{ByteFactors, Class, Factor, Query, RowRecord, Section};

/// Codes that are read, and how their estimates are bounded.
#[derive(Clone, Copy)]
pub(in super::super) struct CodeEstimates<'a> {
    /// By pool and checkpoint.
    pub(in super::super) sides: &'a [Vec<SketchSide>],
    pub(in super::super) plane: Plane,
    /// Standard deviations between an estimate and its bound, where that is not certain.
    pub(in super::super) z: f64,
}

/// What a plane reads: the kind of codes, their section and that of their factors.
pub(in super::super) fn sections(plane: Plane) -> (CodeKind, Section, Section) {
    let kind = plane.codes();
    match kind {
        CodeKind::Sign => (kind, Section::Signs, Section::SignFactors),
        CodeKind::Nibble => (kind, Section::Nibbles, Section::NibbleFactors),
        CodeKind::Int8 => (kind, Section::Bytes, Section::ByteFactors),
    }
}

/// A thread's memory.
#[derive(Default)]
pub(super) struct CodeBuffers {
    found: FoundVectors,
    dots: Vec<i32>,
    /// Of the vectors found.
    coefficients: Vec<Coefficients<f32>>,
    queries: QueryParts,
    /// Rows x queries.
    variances: Vec<f32>,
    records: BlockBuffer,
    factors: BlockBuffer,
    codes: BlockBuffer,
}

impl CodeBuffers {
    /// What codes are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        [&mut self.records, &mut self.factors, &mut self.codes].into_iter().for_each(|own| own.see(ahead));
    }
}

struct Checkpoint<'a> {
    scan: &'a Scan<'a>,
    side: &'a SketchSide,
    plane: Plane,
    measure: Measure,
    unit: f64,
    /// Of [`EstimateSums`].
    share: f32,
    /// Whether it counts.
    weighty: bool,
}

/// Estimates the values of rows; returns the bytes read.
pub(super) fn estimate(
    (scan, reading): (&Scan<'_>, CodeEstimates<'_>),
    rows: WindowOffsets<'_>,
    estimates: &mut Estimates,
    memory: &mut CodeBuffers,
) -> Result<u64, QueryError> {
    let pool = &scan.pools[rows.pool as usize];
    let sides = &reading.sides[rows.pool as usize];
    let each = sides.iter().flat_map(|side| &side.queries).flat_map(|queries| &queries.each);
    let longest = each.fold(0.0, |longest: f64, query| longest.max(query.norm));
    let unit = if longest > 0.0 { 2f64.powi(-longest.log2().floor() as i32) } else { 1.0 };
    let (count, certain) = (pool.query_count(), reading.plane == Plane::Certified);
    memory.variances.clear();
    if !certain || count == 1 {
        memory.variances.resize(rows.offsets.len() * count, LEAST_VARIANCE);
    }
    let mut bytes = 0;
    for ((c, reader), side) in pool.readers.iter().enumerate().zip(sides) {
        let checkpoint = Checkpoint {
            scan,
            side,
            plane: reading.plane,
            measure: measure(scan.sim, reader, side),
            unit,
            share: share(pool.readers.len()),
            weighty: scan.weights[c] > 0.0,
        };
        for block in rows.blocks(reader) {
            scan.check_cancelled()?;
            bytes += match reading.plane {
                Plane::Sign | Plane::Nibble => {
                    checkpoint.block::<Factor, 1>(block, rows, estimates, memory)?
                }
                Plane::Int8 => checkpoint.block::<ByteFactors, 1>(block, rows, estimates, memory)?,
                Plane::Certified => checkpoint.block::<ByteFactors, 2>(block, rows, estimates, memory)?,
            };
        }
    }
    let (values, errors) = estimates.all();
    let variances = if certain { &mut [] } else { &mut memory.variances[..] };
    let sums = EstimateSums { values, errors, variances, share: 0.0 };
    gstore_core::instructions::arch().dispatch(Finish {
        sums,
        z: reading.z,
        unit,
        checkpoints: pool.readers.len(),
    });
    Ok(bytes)
}

fn measure(sim: Sim, reader: &FeatureReader, side: &SketchSide) -> Measure {
    Measure {
        cosine: sim == Sim::Cosine,
        dot_scale: reader.part().attrs.dot_scale,
        slack: side.slack,
        freedom: (side.sketch.padded() - 4) as f64,
    }
}

impl Checkpoint<'_> {
    /// Adds what a block says of the rows that are wanted; returns the bytes read.
    fn block<F: CodeFactors<N>, const N: usize>(
        &self,
        block: BlockRef,
        rows: WindowOffsets<'_>,
        estimates: &mut Estimates,
        memory: &mut CodeBuffers,
    ) -> Result<u64, QueryError> {
        let sketch = &self.side.sketch;
        let CodeBuffers { found, dots, variances, records, factors, codes, queries: parts, coefficients } =
            memory;
        let records: &[RowRecord] = sketch.records(block, Section::Rows, records)?;
        let first = block.range().start;
        found.find(rows, records.len(), |i| first + u64::from(records[i].offset));
        if found.vectors.is_empty() {
            return Ok(0);
        }
        let Some(queries) = sketch.rotation_of(block).and_then(|r| self.side.queries.get(r)) else {
            return Err(QueryError::Sketch("a block has no rotation".into()));
        };
        let (packed, step): (_, fn(&Query) -> f64) = match self.plane {
            Plane::Sign => (&queries.signs, |query| query.sign_step),
            Plane::Nibble => (&queries.nibbles, |query| query.nibble_step),
            Plane::Int8 => (&queries.bytes, |query| query.byte_step),
            Plane::Certified => (&queries.fine, |query| query.fine_step),
        };
        let Some(packed) = packed else {
            return Err(QueryError::Sketch(format!("no query is rounded for the plane {}", self.plane)));
        };
        let (kind, of_codes, of_factors) = sections(self.plane);
        let codes = Codes { kind, bytes: sketch.read(block, of_codes, Some(&found.vectors), codes)? };
        found.dots(self.scan.kernel, codes, packed, dots);
        let factors: &[F] = sketch.records(block, of_factors, factors)?;
        let arch = gstore_core::instructions::arch();
        let plain = match found.stretches() {
            Some((vectors, _)) => arch.dispatch(ArePlain(&records[vectors])),
            None => found.vectors.iter().all(|vector| is_plain(&records[*vector as usize])),
        };
        if plain {
            estimates.note_plain(&found.places, self.weighty);
        }
        if let (true, [query]) = (plain, &queries.each[..]) {
            let query = OneQuery::new((query, step(query)), self.unit, self.share);
            let (values, errors) = estimates.all();
            let sums = EstimateSums { values, errors, variances, share: self.share };
            let dots = dots.as_chunks::<N>().0;
            arch.dispatch(AddOne { measure: &self.measure, query, records, factors, found, dots, sums });
        } else {
            coefficients.clear();
            for (vector, place) in found.vectors.iter().zip(&found.places) {
                let record = &records[*vector as usize];
                if !plain {
                    self.note(record, *place as usize, estimates);
                }
                coefficients.push(match record.class() {
                    Class::Coded => factors[*vector as usize].of(&self.measure, record).narrow(),
                    Class::Zero | Class::Odd => Coefficients::default(),
                });
            }
            parts.set((&queries.each, step), self.unit, N == 2);
            let (values, errors) = estimates.all();
            let sums = EstimateSums { values, errors, variances, share: self.share };
            arch.dispatch(AddMany::<N> { parts, rows: coefficients, dots, places: &found.places, sums });
        }
        let sizes = [Section::Rows, of_codes, of_factors].map(|s| s.vector_bytes(sketch.padded()) as u64);
        Ok(found.vectors.len() as u64 * sizes.iter().sum::<u64>())
    }

    fn note(&self, record: &RowRecord, place: usize, estimates: &mut Estimates) {
        match is_plain(record) {
            true => estimates.note_plain(&[place as u32], self.weighty),
            false => estimates.note(place, RowFlags::from_bits(record.flags), self.weighty),
        }
        if record.class() == Class::Odd {
            estimates.give_up(place);
        }
    }
}

/// Flags that say nothing of whether a row has a score.
const HARMLESS: u8 = RowFlags::TRUNCATED.bits();

/// Whether a row is coded and has a score.
#[inline(always)]
fn is_plain(record: &RowRecord) -> bool {
    (record.flags & !HARMLESS) | record.class == 0
}

/// Whether all are plain. Byte by byte of 16 records, whatever the bytes mean, so that many are looked at
/// together.
struct ArePlain<'a>(&'a [RowRecord]);

impl pulp::WithSimd for ArePlain<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        let (groups, rest) = self.0.as_chunks::<16>();
        let mut any = [RowRecord::default(); 16];
        for group in groups {
            let any: &mut [u8] = bytemuck::cast_slice_mut(&mut any);
            for (any, byte) in any.iter_mut().zip(bytemuck::cast_slice::<_, u8>(group)) {
                *any |= byte;
            }
        }
        any.iter().chain(rest).all(is_plain)
    }
}
