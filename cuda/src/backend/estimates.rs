//! Estimates of scores from rows in f16, with a bound on how far the exact scores are from them.
//!
//! A value is the sum over checkpoints and module groups of `s <x, q>`: of a row x, its factor s, and a query q. Queries
//! are rounded to f16, each times a power of two, to what is q' without it. Units that multiply matrices have products of
//! two f16 exactly, and add them in f32. With e what they find and v what the processor does,
//!
//! ```text
//! |e - s<x, q'>| <= a |s||x||q'|, |s<x, q'> - s<x, q>| <= |s||x||q' - q|, |s<x, q> - v| <= b |s||x||q|
//! ```
//!
//! by Cauchy-Schwarz, where a and b bound how far rounding takes sums from the sum of the magnitudes of their terms. An
//! addition of the processor is off by a factor of at most 1 + 2^-24, and a term of n goes through n / 16 + 6 of them; so
//! b is e^(2^-24 (n / 16 + 6)) - 1 (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The units add some
//! terms at a time: they cut each off at 2^-23 of the greatest of them or below, in whatever order. At most n terms, n / 4
//! sums so far and as many results are cut, each by 2^-23 of the sum of all magnitudes: 2^-22 n covers it, and a is
//! e^(2^-22 n) - 1. Both have an addition for each group and checkpoint, and a product with s, besides.
//!
//! Invariants
//! - what could overflow, or is not finite, has an error that is not finite either: it says nothing
//! - the greatest error of any query counts for all of them
//! - the kernel finds |x| itself, rounded up, so that no stored length is relied on

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use gstore_model::sizes::check;
use gstore_query::kernel::{Combined, EstimatedRows, Folding, Queries};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::scan::{CudaScan, Stored};
use super::{THREADS, from, number};
use crate::runtime::{Argument, Result, Runtime};

/// Queries and coordinates of a tile, and values that a thread has of a row or query at a time.
const TILE: usize = 64;
const STEP: usize = 32;
const EIGHT: usize = 8;

/// Rows of a block of threads, and the bytes of its shared memory.
const ROWS: usize = 256;
const SHARED: usize = THREADS as usize * 256;

/// Norms from which on sums could overflow.
const HUGE: f64 = (1u64 << 60) as f64;

/// Exponents that values of a query are brought to, below the greatest of f16, and that the greatest has at least.
const GREATEST: i32 = 14;
const LEAST: i32 = -80;

/// Query vectors in f16, as tiles.
pub(super) struct Halves<M> {
    /// The module groups that they have, one after the other.
    groups: Vec<usize>,
    tiles: Arc<M>,
    /// By what products with each query are multiplied.
    units: M,
    /// Tiles of each 64 queries.
    steps: usize,
    norms: Vec<Norms>,
}

/// Of one module group the greatest norms of any query.
#[derive(Debug, Clone, Copy, Default)]
struct Norms {
    len: usize,
    /// Of the queries,
    exact: f64,
    /// of what they are rounded to,
    rounded: f64,
    /// and of what rounding took.
    residual: f64,
}

impl Norms {
    /// Takes the squares of one more query's into account.
    fn add(&mut self, squares: [f64; 3]) {
        let [exact, rounded, residual] = squares.map(|sum| above(sum.sqrt()));
        // False for NaN too.
        let [exact, rounded, residual] = match exact < HUGE && rounded < HUGE {
            true => [exact, rounded, residual],
            false => [f64::INFINITY; 3],
        };
        self.exact = self.exact.max(exact);
        self.rounded = self.rounded.max(rounded);
        self.residual = self.residual.max(residual);
    }

    /// The most that an estimate is off by, relative to `|s||x|`, where so many sums are added up.
    fn weight(&self, added: usize) -> f32 {
        let (terms, others) = (self.len as f64, (added + 2) as f64 * f64::exp2(-24.0));
        let units = (terms * f64::exp2(-22.0) + others).exp_m1();
        let processor = ((terms / 16.0 + 6.0) * f64::exp2(-24.0) + others).exp_m1();
        let weight = self.residual + units * self.rounded + processor * self.exact;
        if weight.is_finite() { (above(weight) as f32).next_up() } else { f32::INFINITY }
    }
}

/// A little more: what rounding in double precision may have taken from a sum of positive terms.
fn above(value: f64) -> f64 {
    value * (1.0 + f64::exp2(-30.0))
}

/// Query vectors as tiles in f16, units, and norms of each group.
fn narrowed(queries: &Queries, spans: &[Range<usize>]) -> (Vec<f16>, Vec<f32>, Vec<Norms>) {
    let (dim, steps) = (queries.dim(), steps_of(spans));
    let padded = queries.len().div_ceil(TILE) * TILE;
    let (mut tiles, mut units) = (vec![f16::ZERO; padded * steps * STEP], vec![1.0; padded]);
    let mut norms: Vec<Norms> =
        spans.iter().map(|span| Norms { len: span.len(), ..Norms::default() }).collect();
    for (q, vector) in queries.vectors().chunks_exact(dim).enumerate() {
        let values = spans.iter().flat_map(|span| &vector[span.clone()]);
        let greatest = values.fold(0.0f32, |greatest, value| greatest.max(value.abs()));
        // The exponent of a number that is neither zero nor too small nor infinite.
        let exponent = ((greatest.to_bits() >> 23) as i32 - 127).clamp(LEAST, 127);
        let scale = power(GREATEST - exponent);
        units[q] = power(exponent - GREATEST);
        let mut first = 0;
        for (span, norms) in spans.iter().zip(&mut norms) {
            let mut squares = [0.0f64; 3];
            for (at, exact) in vector[span.clone()].as_chunks::<EIGHT>().0.iter().enumerate() {
                let (mut rounded, mut back) = ([f16::ZERO; EIGHT], [0.0f32; EIGHT]);
                rounded.convert_from_f32_slice(&exact.map(|value| value * scale));
                rounded.convert_to_f32_slice(&mut back);
                for (exact, rounded) in exact.iter().zip(back) {
                    let (exact, rounded) = (f64::from(*exact), f64::from(rounded) * f64::from(units[q]));
                    squares[0] += exact * exact;
                    squares[1] += rounded * rounded;
                    squares[2] += (exact - rounded) * (exact - rounded);
                }
                // Four threads of a warp have the eights of one query that make a step.
                let tile = (q / TILE * steps + first + at / 4) * TILE / EIGHT + q % TILE / EIGHT;
                let place = (tile * STEP + q % EIGHT * 4 + at % 4) * EIGHT;
                tiles[place..place + EIGHT].copy_from_slice(&rounded);
            }
            norms.add(squares);
            first += span.len().div_ceil(STEP);
        }
    }
    (tiles, units, norms)
}

/// 2 to the power of an exponent of normal numbers.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn steps_of(spans: &[Range<usize>]) -> usize {
    spans.iter().map(|span| span.len().div_ceil(STEP)).sum()
}

/// As the kernel knows it.
fn code(how: Combined) -> u32 {
    match how {
        Combined::Mean => 0,
        Combined::Sum => 1,
        Combined::Max => 2,
        Combined::Min => 3,
    }
}

/// How often an error of every value counts at most in the score, and by how much of the greatest value the folding
/// of a processor and of a device differ at most.
fn folded(folding: Folding<'_>) -> [f32; 2] {
    let longest = folding.subtasks.iter().map(|span| span.len()).max().unwrap_or(0);
    let values: usize = folding.subtasks.iter().map(|span| span.len()).sum();
    let within = if folding.within == Combined::Sum { longest } else { 1 };
    let across = if folding.across == Combined::Sum { folding.subtasks.len() } else { 1 };
    let most = (within * across) as f32;
    [most.next_up(), most * (values + folding.subtasks.len() + 8) as f32 * f32::exp2(-22.0)]
}

impl<R: Runtime> CudaScan<R> {
    /// The query vectors in f16, over some groups.
    fn halves(&self, queries: &Queries, groups: &[usize]) -> Result<Arc<Halves<R::Memory>>> {
        let vectors = self.vectors(queries)?;
        let mut known = vectors.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.groups == groups) {
            return Ok(known.clone());
        }
        let spans: Vec<Range<usize>> = groups.iter().map(|group| queries.span(*group)).collect();
        let (tiles, units, norms) = narrowed(queries, &spans);
        let (tiles, units) = (self.bring(bytemuck::cast_slice(&tiles))?, self.on.upload(&units)?);
        let made = Halves { groups: groups.to_vec(), tiles, units, steps: steps_of(&spans), norms };
        Ok(known.insert(Arc::new(made)).clone())
    }

    /// Scores with their errors; false where there are none.
    pub(super) fn estimate(
        &self,
        checkpoints: &[EstimatedRows<'_>],
        folding: Folding<'_>,
        scores: &mut [[f32; 2]],
    ) -> Result<bool> {
        let (count, width) = (scores.len(), checkpoints.first().map_or(0, |own| own.queries.len()));
        let spans = folding.subtasks;
        check(spans.iter().all(|span| span.start < span.end && span.end <= width), || {
            format!("subtasks {spans:?} of {width} queries")
        })?;
        if count == 0 || spans.is_empty() {
            return Ok(false);
        }
        let values = self.on.allocate::<f32>(count.saturating_mul(width))?;
        let errors = self.on.allocate::<f32>(count)?;
        for (c, own) in checkpoints.iter().enumerate() {
            check(own.queries.len() == width, || format!("{} queries, not {width}", own.queries.len()))?;
            let to = (&values, &errors, count);
            if !self.add_estimates(own, (c > 0, checkpoints.len()), to)? {
                return Ok(false);
            }
        }
        let ends: Vec<u32> = spans.iter().flat_map(|span| [span.start as u32, span.end as u32]).collect();
        let (ends, found) = (self.on.upload(&ends)?, self.on.allocate::<f32>(2 * count)?);
        let [most, slack] = folded(folding);
        let arguments = [
            from::<f32, _>(&values, 0),
            Argument::U32(number(count)?),
            Argument::U32(number(width)?),
            from::<u32, _>(&ends, 0),
            Argument::U32(number(spans.len())?),
            Argument::U32(code(folding.within)),
            Argument::U32(code(folding.across)),
            from::<f32, _>(&errors, 0),
            Argument::F32(most),
            Argument::F32(slack),
            from::<f32, _>(&found, 0),
        ];
        self.on.launch("row_scores", [count.div_ceil(THREADS as usize), 1, 1], THREADS, 0, &arguments)?;
        self.on.runtime().read(&found, 0, bytemuck::cast_slice_mut(scores))?;
        Ok(true)
    }

    /// Adds one checkpoint's share of so many to values and errors of rows, or begins with it.
    fn add_estimates(
        &self,
        own: &EstimatedRows<'_>,
        (adds, checkpoints): (bool, usize),
        (values, errors, count): (&R::Memory, &R::Memory, usize),
    ) -> Result<bool> {
        let &EstimatedRows { rows, slots, queries, groups, factors } = own;
        let (columns, given) = (queries.groups(), rows.places.len());
        let fit = slots.len() == given && factors.len() == given * columns;
        let are_there = groups.iter().all(|group| *group < columns) && slots.iter().all(|slot| *slot < count);
        check(fit && are_there, || {
            format!("{} factors and {} places of {given} rows", factors.len(), slots.len())
        })?;
        let is_even = |at: usize| at.is_multiple_of(EIGHT);
        let even = |group: &usize| is_even(queries.span(*group).start) && is_even(queries.span(*group).end);
        if groups.is_empty() || !is_even(queries.dim()) || !groups.iter().all(even) {
            return Ok(false);
        }
        let halves = self.halves(queries, groups)?;
        let mut kept = Vec::new();
        let Some((Stored::F16, places)) = self.places(rows, queries.dim(), &mut kept)? else {
            return Ok(false);
        };
        // A score without a row has one that counts for nothing.
        let Some(any) = places.first() else { return Ok(false) };
        let (mut rows, mut of_rows) = (vec![*any; count], vec![0.0f32; count * columns]);
        for ((slot, place), factors) in slots.iter().zip(&places).zip(factors.chunks_exact(columns)) {
            rows[*slot] = *place;
            of_rows[slot * columns..(slot + 1) * columns].copy_from_slice(factors);
        }
        let mut words = bytemuck::cast_slice::<u64, u32>(&rows).to_vec();
        let factors_at = words.len();
        words.extend_from_slice(bytemuck::cast_slice(&of_rows));
        let groups_at = words.len();
        let mut longest = 0;
        for group in groups {
            let span = queries.span(*group);
            longest = longest.max(span.len());
            words.extend([number(span.start)?, number(span.end)?, number(*group)?]);
        }
        let weights_at = words.len();
        let added = groups.len() + checkpoints;
        words.extend(halves.norms.iter().map(|norms| norms.weight(added).to_bits()));
        let words = self.bring(bytemuck::cast_slice(&words))?;
        let arguments = [
            from::<u64, _>(&*words, 0),
            Argument::U32(number(count)?),
            from::<u32, _>(&*halves.tiles, 0),
            Argument::U32(number(halves.steps)?),
            from::<f32, _>(&halves.units, 0),
            Argument::U32(number(queries.len())?),
            from::<u32, _>(&*words, groups_at),
            Argument::U32(number(groups.len())?),
            from::<u32, _>(&*words, factors_at),
            Argument::U32(number(columns)?),
            from::<u32, _>(&*words, weights_at),
            Argument::F32(1.0 + longest as f32 * f32::exp2(-23.0)),
            Argument::U32(u32::from(adds)),
            from::<f32, _>(values, 0),
            from::<f32, _>(errors, 0),
        ];
        let grid = [count.div_ceil(ROWS) * queries.len().div_ceil(TILE), 1, 1];
        self.on.launch("row_estimates", grid, THREADS, SHARED, &arguments)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound has what rounding the queries takes, and what sums take of as many terms.
    #[test]
    fn queries_are_rounded_by_no_more_than_their_norms_say() {
        let vector: Vec<f32> =
            (0..128).map(|i| (i as f32 * 0.37).sin() * f32::exp2((i % 30) as f32 - 40.0)).collect();
        let mut all = vector.clone();
        all.extend([0.0; 128]);
        all.extend([f32::INFINITY; 128]);
        let queries = Queries::new(&all, 128, &[0..64, 64..128]);
        let spans = [0..64, 64..128];
        let (tiles, units, norms) = narrowed(&queries, &spans);
        assert_eq!((tiles.len(), units.len()), (TILE * 128, TILE));
        assert!(norms.iter().all(|norms| norms.weight(1) == f32::INFINITY), "one is not finite");

        let queries = Queries::new(&all[..256], 128, &[0..64, 64..128]);
        let (tiles, units, norms) = narrowed(&queries, &spans);
        for (span, norms) in spans.iter().zip(&norms) {
            let exact =
                vector[span.clone()].iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            assert!(norms.exact >= exact && norms.exact < exact * 1.000_001);
            assert!(norms.residual > 0.0 && norms.residual < norms.exact * f64::exp2(-11.0));
            let weight = f64::from(norms.weight(1));
            assert!(weight > norms.residual + exact * 64.0 * f64::exp2(-22.0) && weight < exact * 1e-3);
        }
        // The first query's values, where the threads of a warp look for them.
        for (k, exact) in vector.iter().enumerate() {
            let place = (k / STEP * TILE / EIGHT * STEP + k % STEP / EIGHT) * EIGHT + k % EIGHT;
            let found = f64::from(tiles[place].to_f32()) * f64::from(units[0]);
            assert!((found - f64::from(*exact)).abs() <= norms[k / 64].residual, "{k}");
        }
    }

    #[test]
    fn errors_of_sums_count_for_every_term() {
        let of = |within, across| folded(Folding { subtasks: &[0..3, 3..4], within, across })[0];
        assert!((1.0..1.01).contains(&of(Combined::Max, Combined::Mean)));
        assert!((3.0..3.01).contains(&of(Combined::Sum, Combined::Min)));
        assert!((6.0..6.01).contains(&of(Combined::Sum, Combined::Sum)));
    }
}
