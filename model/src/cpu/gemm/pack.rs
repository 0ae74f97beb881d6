//! Right factors in panels, for one operation.
//!
//! Invariant: panel `j` holds columns `32 j` to `32 j + 31` as `[k][32]`; columns beyond the matrix are
//! zeros.

use std::ops::Range;

use super::super::pool::Buffer;
use super::PANEL;
use super::transpose::transpose;

/// A matrix `[k, n]` in f32 panels, for one operation.
pub(in super::super) struct PackedMatrix {
    values: Buffer,
    k: usize,
    n: usize,
}

impl PackedMatrix {
    /// Packs `k` rows of `n` values that start `stride` apart.
    pub fn rows(matrix: &[f32], stride: usize, k: usize, n: usize) -> PackedMatrix {
        let mut values = Buffer::take(n.div_ceil(PANEL) * PANEL * k);
        if k > 0 {
            for (j, panel) in values.chunks_exact_mut(PANEL * k).enumerate() {
                copy_panel(panel, &matrix[j * PANEL..], stride, PANEL.min(n - j * PANEL));
            }
        }
        PackedMatrix { values, k, n }
    }

    /// Packs the transpose of `n` rows of `k` values that start `stride` apart.
    pub fn transposed(matrix: &[f32], stride: usize, k: usize, n: usize) -> PackedMatrix {
        let mut values = Buffer::take(n.div_ceil(PANEL) * PANEL * k);
        if k > 0 {
            for (j, panel) in values.chunks_exact_mut(PANEL * k).enumerate() {
                let count = PANEL.min(n - j * PANEL);
                transpose_panel(panel, &matrix[j * PANEL * stride..], stride, k, count);
            }
        }
        PackedMatrix { values, k, n }
    }

    pub fn view(&self) -> MatrixPanels<'_> {
        MatrixPanels { values: &self.values, k: self.k, n: self.n, apart: PANEL * self.k }
    }
}

/// The panels of a matrix `[k, n]`, wherever they lie.
#[derive(Clone, Copy)]
pub(in super::super) struct MatrixPanels<'a> {
    /// The panels, one after the other.
    pub values: &'a [f32],
    /// Rows of the matrix.
    pub k: usize,
    /// Columns of the matrix.
    pub n: usize,
    /// Values from the start of a panel to that of the next; at least as many as a panel has.
    pub apart: usize,
}

impl<'a> MatrixPanels<'a> {
    pub fn panel(&self, j: usize) -> &'a [f32] {
        &self.values[j * self.apart..][..PANEL * self.k]
    }

    /// The same rows of all panels.
    pub fn part(self, rows: Range<usize>) -> MatrixPanels<'a> {
        MatrixPanels { values: &self.values[rows.start * PANEL..], k: rows.len(), ..self }
    }

    /// The panels in turn: their first column, how many of their columns belong to the matrix, and their
    /// values.
    pub fn panels(self) -> impl Iterator<Item = (usize, usize, &'a [f32])> {
        let count = if self.k == 0 { 0 } else { self.n.div_ceil(PANEL) };
        (0..count).map(move |j| (j * PANEL, PANEL.min(self.n - j * PANEL), self.panel(j)))
    }
}

/// Copies `cols` columns of rows into a panel and zeros the others.
pub(super) fn copy_panel(panel: &mut [f32], matrix: &[f32], stride: usize, cols: usize) {
    for (p, row) in panel.chunks_exact_mut(PANEL).enumerate() {
        let from = &matrix[p * stride..p * stride + cols];
        if cols == PANEL {
            row.copy_from_slice(from);
        } else {
            row[..cols].copy_from_slice(from);
            row[cols..].fill(0.0);
        }
    }
}

/// Writes `count` rows of `k` values as columns of a panel and zeros the others.
pub(super) fn transpose_panel(panel: &mut [f32], matrix: &[f32], stride: usize, k: usize, count: usize) {
    if count < PANEL {
        panel.fill(0.0);
    }
    transpose(matrix, stride, [count, k], panel, PANEL);
}
