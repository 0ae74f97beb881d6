//! Matrix products in f32 whose sums are accumulated in f64.
//!
//! Values are rounded to f32 before they are multiplied, up to [`CHUNK`] products are summed in f32, and
//! those sums in f64. That changes a matrix by about 3e-7 of its length, with no preferred direction: less
//! than the error of gradients computed in f32, so that scores hardly lose accuracy.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Number of coordinates whose products are summed in f32.
const CHUNK: usize = 128;

/// Rows and columns of a tile of a product: its sums, in both precisions, and the operands of a chunk of them
/// fit in the second-level cache.
const TILE: (usize, usize) = (128, 256);

/// Sums of some rows of a product in f64, and of the products of [`CHUNK`] coordinates in f32.
#[derive(Debug, Default)]
pub(crate) struct RowSums {
    all: Vec<f64>,
    part: Vec<f32>,
}

impl RowSums {
    /// A block times its rows of `matrix`, in the same rows of `to`; both have rows of `cols` values.
    pub(crate) fn before(
        &mut self,
        block: &[f32],
        range: &Range<usize>,
        matrix: &[f32],
        (to, cols): (&mut [f32], usize),
    ) {
        let rows = range.start * cols..range.end * cols;
        let block = MatRef::from_row_major_slice(block, range.len(), range.len());
        let matrix = MatRef::from_row_major_slice(&matrix[rows.clone()], range.len(), cols);
        let to = &mut to[rows];
        self.multiply(block, matrix, |row, col, sums| {
            to[row * cols + col..].iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum as f32);
        });
    }

    /// Columns of `matrix` that belong to a block times the block, in the same columns of `to`; both have
    /// rows of `cols` values. `of`: what is kept of a sum.
    pub(crate) fn behind<T>(
        &mut self,
        matrix: &[f32],
        block: &[f32],
        range: &Range<usize>,
        (to, cols): (&mut [T], usize),
        of: impl Fn(f64) -> T,
    ) {
        let matrix = MatRef::from_row_major_slice(matrix, matrix.len() / cols.max(1), cols);
        let block = MatRef::from_row_major_slice(block, range.len(), range.len());
        self.multiply(matrix.subcols(range.start, range.len()), block, |row, col, sums| {
            let to = &mut to[row * cols + range.start + col..];
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = of(*sum));
        });
    }

    /// Passes on parts of the rows of the sum of the outer products of tokens, `[out, input]`, of their
    /// inputs and output gradients, with the index of the first value.
    pub(crate) fn outer(
        &mut self,
        (inputs, grads): (&[f32], &[f32]),
        (out, input): (usize, usize),
        mut put: impl FnMut(usize, &[f64]),
    ) {
        let tokens = grads.len() / out.max(1);
        let grads = MatRef::from_row_major_slice(grads, tokens, out).transpose();
        let inputs = MatRef::from_row_major_slice(inputs, tokens, input);
        self.multiply(grads, inputs, |row, col, sums| put(row * input + col, sums));
    }

    /// Passes on parts of the rows of `a b`, with the row and the first column of each.
    fn multiply(
        &mut self,
        a: MatRef<'_, f32>,
        b: MatRef<'_, f32>,
        mut put: impl FnMut(usize, usize, &[f64]),
    ) {
        for top in (0..a.nrows()).step_by(TILE.0) {
            let rows = TILE.0.min(a.nrows() - top);
            for left in (0..b.ncols()).step_by(TILE.1) {
                let cols = TILE.1.min(b.ncols() - left);
                self.all.clear();
                self.all.resize(rows * cols, 0.0);
                self.part.resize(rows * cols, 0.0);
                for start in (0..a.ncols()).step_by(CHUNK) {
                    let depth = CHUNK.min(a.ncols() - start);
                    matmul(
                        MatMut::from_row_major_slice_mut(&mut self.part, rows, cols),
                        Accum::Replace,
                        a.submatrix(top, start, rows, depth),
                        b.submatrix(start, left, depth, cols),
                        1.0,
                        Par::Seq,
                    );
                    pulp::Arch::new().dispatch(AddSums { all: &mut self.all, part: &self.part });
                }
                for (row, sums) in self.all.chunks_exact(cols).enumerate() {
                    put(top + row, left, sums);
                }
            }
        }
    }
}

/// Adds sums in f32 to those in f64.
struct AddSums<'a> {
    all: &'a mut [f64],
    part: &'a [f32],
}

impl pulp::WithSimd for AddSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.all.iter_mut().zip(self.part).for_each(|(sum, part)| *sum += f64::from(*part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{product, transposed};

    fn values(count: usize, step: f64) -> Vec<f64> {
        (0..count).map(|at| (at as f64 * step + (at * at % 97) as f64).sin()).collect()
    }

    #[test]
    fn long_sums_lose_no_more_digits_than_short_ones() {
        // Sums of as many products in f32 alone would be off by the square root of their number.
        let n = 400 * CHUNK;
        let (a, b) = (values(3 * n, 0.31), values(2 * n, 0.57));
        let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (a, b) = (single(&a), single(&transposed(&b, 2, n)));
        let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
        let expected = product(&wide(&a), &wide(&b), (3, n, 2));
        let mut found = Vec::new();
        RowSums::default().multiply(
            MatRef::from_row_major_slice(&a, 3, n),
            MatRef::from_row_major_slice(&b, n, 2),
            |_, _, row| found.extend_from_slice(row),
        );
        let length = (n as f64).sqrt() / 2.0;
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6 * length, "{found} {expected}");
        }
    }
}
