//! Projections whose output is a sum over coordinates: `rademacher`, `gaussian`, `sjlt`.
//!
//! Invariants
//! - the reduction order is fixed: blocks of [`BLOCK`] coordinates of the concatenated vector, or of what is
//!   added of it at a time (a tensor of a model's own weights), f32 inside a block, in index order; block sums
//!   are added in index order in f64. Bits therefore depend neither on threads nor on whether entries come from
//!   the table or are drawn again
//! - zero coordinates contribute nothing and cost nothing but the look

use std::ops::Range;

use gstore_core::Cancel;
use gstore_model::vectorised;
use rayon::prelude::*;

use super::philox::RandomWords;

/// Coordinates summed in f32 before the sum goes to the f64 total.
pub const BLOCK: usize = 65_536;

/// Entries drawn at a time when there is no table: 4 MiB, so that they stay in cache until they are used.
const TILE_ENTRIES: usize = 1 << 20;

/// Values of which a loop may end at the last alone, so that it is turned into vector code.
const CHUNK: usize = 256;

/// Above this magnitude the f32 sum of a block could overflow although the result does not: such
/// a block is scaled down.
const LARGE: f32 = power_of_two(100);
const DOWN: f32 = power_of_two(-64);
const UP: f64 = 1.0 / DOWN as f64;

const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// One kind of random matrix, column by column.
pub(super) trait RandomMatrix: Send + Sync {
    /// Table entries for one coordinate.
    fn width(&self) -> usize;
    /// Draws the entries of consecutive coordinates of one tensor, the first of which has index `first`.
    fn fill(&self, words: RandomWords, first: u64, entries: &mut [u32]);
    /// Adds the unscaled columns of `entries`, weighted by `values`, to `sums`.
    fn apply(&self, entries: &[u32], values: &[f32], sums: &mut [f32]);
    /// Factor of the whole matrix, applied once to the f64 totals.
    fn scale(&self) -> f64;
    /// Whether an entry is a row and, in its highest bit, a sign.
    fn is_sparse(&self) -> bool {
        false
    }
}

/// A run of the concatenated vector with its own key.
pub(super) struct KeyedTensor {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) words: RandomWords,
}

/// A summed projection of the concatenation of several tensors.
pub(super) struct SummedProjection {
    kind: Box<dyn RandomMatrix>,
    dim: usize,
    tensors: Vec<KeyedTensor>,
    table: Option<Vec<u32>>,
}

impl SummedProjection {
    /// Builds the table when it fits into `budget` bytes.
    pub(super) fn new(
        kind: Box<dyn RandomMatrix>,
        dim: usize,
        tensors: Vec<KeyedTensor>,
        budget: usize,
    ) -> Self {
        let inputs: usize = tensors.iter().map(|t| t.len).sum();
        let mut this = Self { kind, dim, tensors, table: None };
        let width = this.kind.width();
        if inputs.checked_mul(4 * width).is_some_and(|bytes| bytes <= budget) {
            let mut table = vec![0u32; inputs * width];
            table
                .par_chunks_mut(BLOCK * width)
                .enumerate()
                .for_each(|(block, entries)| this.fill(block * BLOCK, entries));
            this.table = Some(table);
        }
        this
    }

    /// Adds the unscaled projection of `values`, coordinates `offset..`, to `totals`, which are of no use once
    /// `cancel` is raised.
    pub(super) fn add(&self, offset: usize, values: &[f32], totals: &mut [f64], cancel: &Cancel) {
        let mut sums = vec![0.0; self.dim];
        let mut scratch = ColumnScratch::default();
        for block in blocks(offset, values.len()) {
            let of_block = &values[block.start - offset..block.end - offset];
            let unscale = self.block(&block, of_block, &mut sums, &mut scratch, cancel);
            for (total, sum) in totals.iter_mut().zip(&sums) {
                *total += f64::from(*sum) * unscale;
            }
        }
    }

    /// Entries of coordinates `range`, as many of each as the second number, if an entry is a row and a sign.
    pub(super) fn sparse(&self, range: Range<usize>) -> Option<(Vec<u32>, usize)> {
        if !self.kind.is_sparse() {
            return None;
        }
        let width = self.kind.width();
        let mut entries = vec![0; range.len() * width];
        self.fill(range.start, &mut entries);
        Some((entries, width))
    }

    /// Scales totals and rounds them once.
    pub(super) fn finish(&self, totals: &[f64], out: &mut [f32]) {
        let scale = self.kind.scale();
        for (out, total) in out.iter_mut().zip(totals) {
            *out = (total * scale) as f32;
        }
    }

    /// Sums of the values of one block, and the factor that undoes their scaling.
    fn block(
        &self,
        block: &Range<usize>,
        values: &[f32],
        sums: &mut [f32],
        scratch: &mut ColumnScratch,
        cancel: &Cancel,
    ) -> f64 {
        let width = self.kind.width();
        sums.fill(0.0);
        let is_large = has_large(values);
        let step = if self.table.is_some() { BLOCK } else { (TILE_ENTRIES / width).max(1) };
        for start in block.clone().step_by(step) {
            // Drawing the entries of one gradient may take minutes.
            if cancel.is_raised() {
                break;
            }
            let end = (start + step).min(block.end);
            let entries = match &self.table {
                Some(table) => &table[start * width..end * width],
                None => {
                    scratch.entries.resize((end - start) * width, 0);
                    self.fill(start, &mut scratch.entries);
                    &scratch.entries[..]
                }
            };
            let values = &values[start - block.start..end - block.start];
            if is_large {
                scratch.scaled.clear();
                scratch.scaled.extend(values.iter().map(|v| v * DOWN));
                self.kind.apply(entries, &scratch.scaled, sums);
            } else {
                self.kind.apply(entries, values, sums);
            }
        }
        if is_large { UP } else { 1.0 }
    }

    /// Draws the entries of coordinates `start..` of the concatenated vector.
    fn fill(&self, start: usize, entries: &mut [u32]) {
        let width = self.kind.width();
        let end = start + entries.len() / width;
        let first = self.tensors.partition_point(|t| t.start + t.len <= start);
        for tensor in self.tensors[first..].iter().take_while(|t| t.start < end) {
            let from = start.max(tensor.start);
            let to = end.min(tensor.start + tensor.len);
            let entries = &mut entries[(from - start) * width..(to - start) * width];
            self.kind.fill(tensor.words, (from - tensor.start) as u64, entries);
        }
    }
}

/// Whether a value is above [`LARGE`]. Not by way of the largest: each step of that waits for the one before.
fn has_large(values: &[f32]) -> bool {
    vectorised!(values.chunks(CHUNK).any(
        #[inline(always)]
        |chunk| chunk.iter().fold(false, |large, v| large | (v.abs() > LARGE)),
    ))
}

#[derive(Default)]
struct ColumnScratch {
    entries: Vec<u32>,
    scaled: Vec<f32>,
}

/// Cuts `offset..offset + len` at multiples of [`BLOCK`].
fn blocks(offset: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = offset + len;
    let mut start = offset;
    std::iter::from_fn(move || {
        if start >= end {
            return None;
        }
        let cut = ((start / BLOCK + 1) * BLOCK).min(end);
        let block = start..cut;
        start = cut;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_large_wherever_it_stands() {
        for len in [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            for at in [0, len / 2, len - 1] {
                let with = |value: f32| {
                    let mut values = vec![1.0; len];
                    values[at] = value;
                    has_large(&values)
                };
                for large in [2.0 * LARGE, -2.0 * LARGE, f32::INFINITY] {
                    assert!(with(large), "{large} at {at} of {len}");
                }
                for other in [LARGE, -LARGE, f32::NAN, 0.0] {
                    assert!(!with(other), "{other} at {at} of {len}");
                }
            }
        }
        assert!(!has_large(&[]));
    }
}
