//! Estimates of scores from rows in f16, with a bound on how far the exact scores are from them.
//!
//! A value is the sum over checkpoints and module groups of `s <x, q>`: of a row x, its factor s, and a query
//! q. Queries are scaled by powers of two and rounded to f16; q' is the rounded query, unscaled. Tensor cores
//! multiply two f16 exactly and add the products in f32. With their result e and the processor's result v,
//! ```text
//! |e - s<x, q'>| <= a |s||x||q'|, |s<x, q'> - s<x, q>| <= |s||x||q' - q|, |s<x, q> - v| <= b |s||x||q|
//! ```
//!
//! by Cauchy-Schwarz, where a and b bound the rounding of a sum relative to the sum of the magnitudes of its
//! terms. An addition of the processor is off by a factor of at most 1 + 2^-24, and a term of n goes through
//! n / 16 + 6 of them; so b is e^(2^-24 (n / 16 + 6)) - 1 (Higham, Accuracy and Stability of Numerical
//! Algorithms, section 3.1). Tensor cores add some terms at a time: they cut each off at 2^-23 of the
//! greatest of them or below, in whatever order. Of a chain of m terms at most these, m / 4 sums so far and
//! as many results are cut, each by 2^-23 of the sum of all magnitudes: 2^-22 m covers it. A chain ends after
//! 256 terms, and ordinary additions of n / 256 of them follow: a is e^(2^-22 256 + 2^-24 n / 256) - 1. With one
//! chain of all terms the bound would be so wide that most rows might rank. Besides, there is a product with s,
//! and an addition for each group of each checkpoint on the device; on the processor one for each group, and one
//! for each checkpoint.
//!
//! Invariants
//! - what could overflow, or is not finite, has an error that is not finite either: it says nothing
//! - the greatest error of any query counts for all of them
//! - the kernel finds |x| itself, rounded up, so that no stored length is relied on

use std::borrow::Cow;
use std::sync::Arc;

use gstore_core::locked;
use gstore_model::sizes::check;
use gstore_query::kernel::{Combined, EstimatedRows, Folding, Queries};

use super::halves::{EIGHT, Halves, TILE, narrowed};
use super::scan::{CudaScan, Factors, Stored};
use super::{THREADS, from, number};
use crate::runtime::{Argument, Result, Runtime};

/// Rows of a block, which has a thread for each.
const ROWS: u32 = 256;

/// Its shared memory, in bytes: stages of 64 coordinates of rows and queries, and the rows' addresses.
fn shared(stages: u32) -> usize {
    128 * (ROWS as usize + TILE) * stages as usize + 8 * ROWS as usize
}

/// Stages of a block: data come faster with four, which not all devices have shared memory for.
fn stages(available: usize) -> u32 {
    if shared(4) <= available { 4 } else { 2 }
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

/// How often an error of every value counts at most in the score, and how far the folding of a processor and
/// of a device differ at most, relative to the greatest value.
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
        let mut known = locked(&vectors.halves);
        if let Some(known) = known.as_ref().filter(|known| known.groups == groups) {
            return Ok(known.clone());
        }
        let made = narrowed(&self.on, queries, &vectors.singles, groups)?;
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
        // Not between the kernels, where it would wait for the first and the second for it.
        let (ends, found) = (self.on.upload_spans(spans, width)?, self.on.allocate::<f32>(2 * count)?);
        let groups: usize = checkpoints.iter().map(|own| own.groups.len()).sum();
        for (c, own) in checkpoints.iter().enumerate() {
            let added = [groups, own.groups.len() + checkpoints.len()];
            check(own.queries.len() == width, || format!("{} queries, not {width}", own.queries.len()))?;
            let to = (&values, &errors, count);
            if !self.add_estimates(own, (c > 0, added), to)? {
                return Ok(false);
            }
        }
        let [most, slack] = folded(folding);
        let arguments = [
            from::<f32, _>(&values, 0),
            Argument::U32(number(count)?),
            Argument::U32(number(width)?),
            from::<u32, _>(ends.as_ref(), 0),
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

    /// Adds one checkpoint's share to values and errors of rows, or begins with it; `added` as for
    /// [`Norms::weight`](super::halves::Norms::weight).
    fn add_estimates(
        &self,
        own: &EstimatedRows<'_>,
        (adds, added): (bool, [usize; 2]),
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
        let Some(any) = places.first() else { return Ok(false) };
        let (rows, of_rows) = match given == count && slots.iter().enumerate().all(|(i, slot)| i == *slot) {
            true => (Cow::Borrowed(&places[..]), Cow::Borrowed(factors)),
            false => {
                // A score without a row has one that counts for nothing.
                let (mut rows, mut of_rows) = (vec![*any; count], vec![0.0f32; count * columns]);
                for ((slot, place), factors) in slots.iter().zip(&places).zip(factors.chunks_exact(columns)) {
                    rows[*slot] = *place;
                    of_rows[slot * columns..(slot + 1) * columns].copy_from_slice(factors);
                }
                (Cow::Owned(rows), Cow::Owned(of_rows))
            }
        };
        let factors = Factors { queries, groups, of_rows: &of_rows };
        let (mut words, [factors_at, groups_at]) = factors.packed(&rows)?;
        let longest = groups.iter().map(|group| queries.span(*group).len()).max().unwrap_or(0);
        let weights_at = words.len();
        words.extend(halves.norms.iter().map(|norms| norms.weight(added).to_bits()));
        let words = self.bring(bytemuck::cast_slice(&words))?;
        let stages = stages(self.on.runtime.shared());
        let arguments = [
            from::<u64, _>(&words, 0),
            Argument::U32(number(count)?),
            from::<u32, _>(&halves.tiles, 0),
            Argument::U32(number(halves.steps)?),
            from::<f32, _>(&halves.units, 0),
            Argument::U32(number(queries.len())?),
            from::<u32, _>(&words, groups_at),
            Argument::U32(number(groups.len())?),
            from::<u32, _>(&words, factors_at),
            Argument::U32(number(columns)?),
            from::<u32, _>(&words, weights_at),
            Argument::F32(1.0 + longest as f32 * f32::exp2(-23.0)),
            Argument::U32(u32::from(adds)),
            Argument::U32(stages),
            from::<f32, _>(values, 0),
            from::<f32, _>(errors, 0),
        ];
        let grid = [count.div_ceil(ROWS as usize) * queries.len().div_ceil(TILE), 1, 1];
        self.on.launch("row_estimates", grid, ROWS, shared(stages), &arguments)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sums_count_for_every_term() {
        let of = |within, across| folded(Folding { subtasks: &[0..3, 3..4], within, across })[0];
        assert!((1.0..1.01).contains(&of(Combined::Max, Combined::Mean)));
        assert!((3.0..3.01).contains(&of(Combined::Sum, Combined::Min)));
        assert!((6.0..6.01).contains(&of(Combined::Sum, Combined::Sum)));
    }
}
