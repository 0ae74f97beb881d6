//! Gram matrices of projected gradients: sums of outer products of stored rows, block by block.
//!
//! Rows are divided into blocks (the modules of a model, or one block for everything), and each block has its
//! own matrix. LoGra's Fisher is the mean over the training rows, TrackStar's a mixture with that of the
//! queries ([`crate::mixture()`]), and TRAK's the sum itself, which is the mean times the number of rows.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::covariance::Covariance;

/// Rows of a matrix that a thread fills at once.
const STRIP: usize = 256;

/// Sum of the outer products of the stored rows of one block, and their number.
pub type Gram = Covariance;

/// Rows of a Gram matrix that one thread fills: from the diagonal to the right.
#[derive(Debug)]
pub struct MatrixStrip<'a> {
    sums: &'a mut [f64],
    size: usize,
    first: usize,
}

impl MatrixStrip<'_> {
    /// Adds the products of rows `[rows, width]`, whose columns from `start` are the block.
    ///
    /// # Panics
    /// If the rows are incomplete or do not contain the block.
    pub fn add(&mut self, rows: &[f64], width: usize, start: usize) {
        let (count, height) = (rows.len() / width.max(1), self.sums.len() / self.size.max(1));
        if count == 0 || height == 0 {
            return;
        }
        let rows = MatRef::from_row_major_slice(rows, count, width);
        let sums = MatMut::from_row_major_slice_mut(self.sums, height, self.size);
        let right = self.size - self.first;
        matmul(
            sums.subcols_mut(self.first, right),
            Accum::Add,
            rows.subcols(start + self.first, height).transpose(),
            rows.subcols(start + self.first, right),
            1.0,
            Par::Seq,
        );
    }
}

#[cfg(test)]
impl Covariance {
    /// Adds rows `[rows, size]`.
    pub(crate) fn add_rows(&mut self, rows: &[f64]) {
        let size = self.size;
        self.strips().iter_mut().for_each(|strip| strip.add(rows, size, 0));
        self.mirror();
        self.count += (rows.len() / size.max(1)) as u64;
    }
}

impl Covariance {
    /// The matrix in parts for separate threads; the sums do not depend on which thread computes them.
    /// [`Covariance::mirror`] completes it.
    pub fn strips(&mut self) -> Vec<MatrixStrip<'_>> {
        let size = self.size;
        let strips = self.sums.chunks_mut((STRIP * size).max(1)).enumerate();
        strips.map(|(at, sums)| MatrixStrip { sums, size, first: at * STRIP }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::noise;

    #[test]
    fn strips_make_the_matrix_of_all_rows() {
        let (n, size) = (40, STRIP + 30);
        let all = noise(n * size);
        let (mut whole, mut parts) = (Gram::new(size), Gram::new(size));
        whole.add_rows(&all);
        all.chunks(size * 7).for_each(|some| parts.add_rows(some));
        assert_eq!((whole.count, parts.count), (40, 40));
        for (row, col) in [(0, 0), (3, size - 1), (size - 1, 3), (STRIP + 5, 2), (STRIP, STRIP)] {
            let expected: f64 = (0..n).map(|i| all[i * size + row] * all[i * size + col]).sum();
            for gram in [&whole, &parts] {
                assert!((gram.sums[row * size + col] - expected).abs() < 1e-11, "{row} {col}");
            }
        }
    }
}
