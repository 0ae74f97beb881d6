//! Contiguous blocks of a square matrix that is zero outside them.
//!
//! A row is stored with the columns of its block, padded with a zero if other blocks have one column more:
//! `[size, width]`. A matrix of one block is thus stored as usual, and blocks follow from size and width.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::matrix::transposed;

/// How a square matrix is divided into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    size: usize,
    width: usize,
}

impl Blocks {
    /// One block.
    pub fn whole(size: usize) -> Self {
        Self { size, width: size }
    }

    /// The fewest blocks of at most `most` rows each; their sizes differ by at most one, larger ones first.
    pub fn new(size: usize, most: usize) -> Self {
        let count = size.div_ceil(most.max(1)).max(1);
        Self { size, width: size.div_ceil(count) }
    }

    /// The blocks of a matrix stored as `[size, width]`; none if no blocks are stored that way.
    pub fn of_shape(size: usize, width: usize) -> Option<Self> {
        Some(Self::new(size, width)).filter(|found| found.width == width)
    }

    /// The blocks of a matrix of `size` rows with this number of stored values.
    pub(crate) fn of_values(size: usize, values: usize) -> Option<Self> {
        let width = values.checked_div(size).unwrap_or(0);
        Self::of_shape(size, width).filter(|found| found.values() == values)
    }

    /// Rows and columns of the matrix.
    pub fn size(self) -> usize {
        self.size
    }

    /// Stored columns of each row: those of the largest block.
    pub fn width(self) -> usize {
        self.width
    }

    /// Number of stored values.
    pub fn values(self) -> usize {
        self.size * self.width
    }

    /// Whether there is only one block.
    pub fn is_whole(self) -> bool {
        self.width == self.size
    }

    /// The rows of each block, which are also its columns.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let count = self.size.div_ceil(self.width.max(1));
        let (least, larger) = (self.size / count.max(1), self.size % count.max(1));
        let begin = move |block: usize| block * least + block.min(larger);
        (0..count).map(move |block| begin(block)..begin(block + 1))
    }

    /// The block that a row belongs to.
    pub fn around(self, row: usize) -> Range<usize> {
        self.ranges().find(|block| block.contains(&row)).unwrap_or(row..row)
    }

    /// The matrix of a block, from the stored values of all blocks.
    pub fn of(self, values: &[f64], block: &Range<usize>) -> Vec<f64> {
        let mut matrix = Vec::with_capacity(block.len() * block.len());
        for row in block.clone() {
            matrix.extend_from_slice(&values[row * self.width..][..block.len()]);
        }
        matrix
    }

    /// Writes the matrix of a block into the stored values of all blocks.
    pub fn put(self, values: &mut [f64], block: &Range<usize>, matrix: &[f64]) {
        for (row, found) in block.clone().zip(matrix.chunks_exact(block.len().max(1))) {
            values[row * self.width..][..block.len()].copy_from_slice(found);
        }
    }

    /// A row with the zeros outside its block.
    pub fn row(self, values: &[f64], row: usize) -> Vec<f64> {
        let block = self.around(row);
        let mut whole = vec![0.0; self.size];
        let found = &values[row * self.width..][..block.len()];
        whole[block].copy_from_slice(found);
        whole
    }

    /// A column with the zeros outside its block.
    pub fn column(self, values: &[f64], column: usize) -> Vec<f64> {
        let block = self.around(column);
        let mut whole = vec![0.0; self.size];
        for row in block.clone() {
            whole[row] = values[row * self.width + column - block.start];
        }
        whole
    }

    /// The transpose of the matrix, stored in the same way.
    pub(crate) fn transposed(self, values: &[f64]) -> Vec<f64> {
        let mut turned = vec![0.0; self.values()];
        for block in self.ranges() {
            let matrix = transposed(&self.of(values, &block), block.len(), block.len());
            self.put(&mut turned, &block, &matrix);
        }
        turned
    }

    /// The product of the matrix and `[size, cols]`.
    pub(crate) fn times(self, values: &[f64], other: &[f64], cols: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.size * cols];
        for block in self.ranges() {
            let rows = block.start * cols..block.end * cols;
            matmul(
                MatMut::from_row_major_slice_mut(&mut out[rows.clone()], block.len(), cols),
                Accum::Replace,
                self.view(values, &block),
                MatRef::from_row_major_slice(&other[rows], block.len(), cols),
                1.0,
                Par::Seq,
            );
        }
        out
    }

    /// The product of `[rows, size]` and the matrix.
    pub(crate) fn behind(self, other: &[f64], values: &[f64], rows: usize) -> Vec<f64> {
        let mut out = vec![0.0; rows * self.size];
        let other = MatRef::from_row_major_slice(other, rows, self.size);
        for block in self.ranges() {
            let into = MatMut::from_row_major_slice_mut(&mut out, rows, self.size);
            matmul(
                into.subcols_mut(block.start, block.len()),
                Accum::Replace,
                other.subcols(block.start, block.len()),
                self.view(values, &block),
                1.0,
                Par::Seq,
            );
        }
        out
    }

    fn view<'a>(self, values: &'a [f64], block: &Range<usize>) -> MatRef<'a, f64> {
        let all = MatRef::from_row_major_slice(values, self.size, self.width);
        all.submatrix(block.start, 0, block.len(), block.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::product;

    #[test]
    fn blocks_are_the_fewest_and_follow_from_what_is_stored() {
        let ranges = |size, most| Blocks::new(size, most).ranges().collect::<Vec<_>>();
        assert_eq!(ranges(7, 7), [0..7]);
        assert_eq!(ranges(7, 6), [0..4, 4..7]);
        assert_eq!(ranges(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(ranges(3, 1), [0..1, 1..2, 2..3]);
        assert!(ranges(0, 4).is_empty());
        for size in 0..40 {
            for most in 1..45 {
                let blocks = Blocks::new(size, most);
                assert_eq!(Blocks::of_values(size, blocks.values()), Some(blocks), "{size} {most}");
                assert_eq!(blocks.ranges().map(|block| block.len()).sum::<usize>(), size);
                assert!(blocks.ranges().all(|block| block.len() <= most));
                assert_eq!(blocks.ranges().count(), size.div_ceil(most));
            }
        }
        assert_eq!(
            (Blocks::of_shape(4, 3), Blocks::of_values(4, 15), Blocks::of_values(4, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn products_are_those_of_the_whole_matrix() {
        let (blocks, n) = (Blocks::new(7, 3), 7);
        let mut values: Vec<f64> = (0..blocks.values()).map(|at| (at as f64 * 0.37).sin()).collect();
        // Nothing is stored after the rows of smaller blocks.
        for row in 3..7 {
            values[row * 3 + 2] = 0.0;
        }
        let whole: Vec<f64> = (0..n).flat_map(|row| blocks.row(&values, row)).collect();
        assert_eq!(whole.iter().filter(|value| **value != 0.0).count(), 9 + 4 + 4 - 1);
        let other: Vec<f64> = (0..n * 2).map(|at| (at as f64 * 0.7).cos()).collect();
        let close = |found: Vec<f64>, expected: Vec<f64>| {
            found.iter().zip(&expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-14, "{a} {b}"));
        };
        close(blocks.times(&values, &other, 2), product(&whole, &other, (n, n, 2)));
        close(blocks.behind(&other, &values, 2), product(&other, &whole, (2, n, n)));
        let turned = blocks.transposed(&values);
        for at in 0..n {
            assert_eq!(blocks.row(&turned, at), blocks.column(&values, at));
            assert_eq!(blocks.column(&values, at), (0..n).map(|row| whole[row * n + at]).collect::<Vec<_>>());
        }
    }
}
