//! Sums over rows of products of two matrices' values, by kernels on pairs of bf16.
//!
//! The right matrix lies in panels of pairs; columns of the left one are turned into rows of pairs, some at a
//! time. Pairs are of rows that follow each other. Values have one part or two (see
//! [`split`](super::weights::split)).

use std::ops::Range;

use super::super::level::Simd;
use super::super::pool::Buffer;
use super::operands::Output;
use super::product::{narrow, row_stride};
use super::transpose::transpose;
use super::{Addend, Addends, Destination, Kernels, Left, PANEL, PairedKernel, Panel};
use crate::backend::steps;

/// Pairs of the left matrix that are turned at a time, but for whole tiles: next to a panel of the right
/// matrix they stay in the second-level cache.
const TURNED: usize = 1 << 17;

/// Tiles of columns that are turned at a time at least: with fewer, the panels would be read too often.
const TILES: usize = 4;

/// Panels that a tile is multiplied with in turn: their columns of a row lie next to each other in the
/// result.
const GROUP: usize = 4;

/// A right matrix of at least one row, in panels of pairs.
pub(super) struct PairedPanels<'a> {
    paired: &'a PairedKernel,
    simd: Simd,
    panels: Buffer,
    parts: usize,
    rows: usize,
    /// Columns of the matrix.
    n: usize,
}

impl<'a> PairedPanels<'a> {
    /// Packs a matrix of `rows` rows, with values of so many parts.
    pub fn pack(
        kernels: &Kernels,
        paired: &'a PairedKernel,
        parts: usize,
        matrix: &[f32],
        rows: usize,
    ) -> Self {
        let (simd, n, pairs) = (kernels.simd, matrix.len() / rows, paired.pairs(rows));
        let mut halves = Buffer::take((parts * matrix.len()).div_ceil(2));
        let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut halves)[..parts * matrix.len()];
        narrow(paired, matrix, halves.chunks_exact_mut(matrix.len()));
        let mut panels = Buffer::take(n.div_ceil(PANEL) * PANEL * parts * pairs);
        vectorised!(simd, {
            for (j, panel) in panels.chunks_exact_mut(PANEL * parts * pairs).enumerate() {
                let columns = j * PANEL..n.min((j + 1) * PANEL);
                let parts = halves.chunks_exact(matrix.len()).zip(panel.chunks_exact_mut(PANEL * pairs));
                for (halves, part) in parts {
                    let (paired, behind) = part.split_at_mut(PANEL * rows.div_ceil(2));
                    for (p, to) in paired.chunks_exact_mut(PANEL).enumerate() {
                        pair_rows(halves, n, p, columns.start, &mut to[..columns.len()]);
                        to[columns.len()..].fill(0.0);
                    }
                    behind.fill(0.0);
                }
            }
        });
        Self { paired, simd, panels, parts, rows, n }
    }

    /// How many columns of a left matrix [`PairedPanels::multiply`] should get at a time.
    pub fn columns_at_a_time(&self) -> usize {
        let tile = self.paired.kernel.rows();
        (TURNED / self.stride() / tile).max(TILES) * tile
    }

    /// Pairs from a turned column to the next.
    fn stride(&self) -> usize {
        row_stride(self.parts * self.paired.pairs(self.rows))
    }

    /// `to = a^T b + add` for some columns of `a`, a matrix `width` wide with as many rows as this
    /// one, and the columns of the panels from `skipped` on.
    pub fn multiply(
        &self,
        to: Output<'_>,
        (a, width): (&[f32], usize),
        columns: &Range<usize>,
        skipped: usize,
        add: Addend<'_>,
    ) {
        let (count, rows, parts) = (columns.len(), self.rows, self.parts);
        let (pairs, stride) = (self.paired.pairs(rows), self.stride());
        let mut values = Buffer::take((count + self.paired.kernel.shape.left.rows) * stride);
        let mut halves = Buffer::take((parts * rows * count).div_ceil(2));
        let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut halves)[..parts * rows * count];
        let (high, low) = halves.split_at_mut(rows * count);
        let mut low = low.chunks_exact_mut(count);
        for (row, high) in a.chunks_exact(width).zip(high.chunks_exact_mut(count)) {
            narrow(self.paired, &row[columns.clone()], std::iter::once(high).chain(low.next()));
        }
        for (part, halves) in halves.chunks_exact(rows * count).enumerate() {
            let (first, end) = (part * pairs, part * pairs + pairs);
            transpose_pairs(self.simd, halves, count, &mut values[first..], stride);
            for row in values.chunks_exact_mut(stride).take(count) {
                row[first + rows.div_ceil(2)..end].fill(0.0);
            }
        }
        let Output { data, stride: to_stride, .. } = to;
        let kernel = &self.paired.kernel;
        let _begun = self.paired.begin();
        let len = PANEL * parts * pairs;
        for (group, panels) in self.panels[skipped * len..].chunks(GROUP * len).enumerate() {
            for rows in steps(count, kernel.rows()) {
                let left = Left::by_row(&values[rows.start * stride..], rows.len(), stride);
                let left = Left { low: (parts - 1) * pairs, ..left };
                for (j, panel) in panels.chunks_exact(len).enumerate() {
                    let first = (group * GROUP + j) * PANEL;
                    let cols = PANEL.min(self.n - skipped * PANEL - first);
                    let start = rows.start * to_stride + first;
                    let to = Destination { data: &mut data[start..], stride: to_stride, cols };
                    let extra = Addends { bias: None, add: add.at(start) };
                    kernel.panel(to, left, Panel::of_parts(panel, parts), extra);
                }
            }
        }
    }
}

/// Pair `p` of the rows of a matrix of `width` columns, from column `first` on. The partner of an odd last
/// row is zero.
#[inline(always)]
fn pair_rows(halves: &[u16], width: usize, p: usize, first: usize, to: &mut [f32]) {
    let count = to.len();
    let low = &halves[2 * p * width + first..][..count];
    let pair = |low: u16, high: u16| f32::from_bits(u32::from(low) | u32::from(high) << 16);
    match halves.get((2 * p + 1) * width + first..).and_then(|high| high.get(..count)) {
        Some(high) => {
            to.iter_mut().zip(low).zip(high).for_each(|((to, low), high)| *to = pair(*low, *high));
        }
        None => to.iter_mut().zip(low).for_each(|(to, low)| *to = pair(*low, 0)),
    }
}

/// The transpose of a matrix's pairs of rows: row `j` of `to`, which starts `stride` pairs after the one
/// before, gets those of column `j`.
fn transpose_pairs(simd: Simd, halves: &[u16], width: usize, to: &mut [f32], stride: usize) {
    let pairs = (halves.len() / width).div_ceil(2);
    let mut rows = Buffer::take(pairs * width);
    vectorised!(simd, {
        for (p, row) in rows.chunks_exact_mut(width).enumerate() {
            pair_rows(halves, width, p, 0, row);
        }
    });
    transpose(&rows, width, [pairs, width], to, stride);
}
