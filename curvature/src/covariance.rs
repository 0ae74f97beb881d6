//! Sums that curvature is estimated from: outer products of tokens, squares of gradients.
//!
//! Sums and counts are kept, not means, so that parts of the data can be fitted separately and added.

use std::ops::Range;

use crate::blocks::Blocks;
use crate::error::CurvatureError;

/// Zeros that are written explicitly. Memory that the system provides as zeros is mapped on the first read
/// and mapped again on the first write, which interrupts every other thread: for sums, which are read first,
/// that took more than half of the time of a fit on a wide model.
fn zeros(len: usize) -> Vec<f64> {
    // `black_box` hides where the memory is from: else the compiler asks the system for zeros after all.
    let mut zeros = std::hint::black_box(Vec::with_capacity(len));
    zeros.resize(len, 0.0);
    zeros
}

/// Sum of the outer products `v v^T` of tokens: inputs with the constant of a bias, or gradients of outputs;
/// of a wide side only the diagonal blocks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Covariance {
    /// Rows and columns.
    pub size: usize,
    /// The sum, `[size, size]`, or as [`Blocks`] store it.
    pub sums: Vec<f64>,
    /// Number of tokens.
    pub count: u64,
}

impl Covariance {
    /// No tokens, in one block.
    pub fn new(size: usize) -> Self {
        Self::in_blocks(Blocks::whole(size))
    }

    /// No tokens, in these blocks.
    pub fn in_blocks(blocks: Blocks) -> Self {
        Self { size: blocks.size(), sums: zeros(blocks.values()), count: 0 }
    }

    /// Its blocks; none if the sums do not have its size.
    pub fn blocks(&self) -> Option<Blocks> {
        Blocks::of_values(self.size, self.sums.len())
    }

    /// Its blocks, if it has this size; `module` and `what` name it in errors.
    ///
    /// # Errors
    /// Sums of another size.
    pub fn blocks_of(&self, size: usize, module: &str, what: &'static str) -> Result<Blocks, CurvatureError> {
        self.blocks().filter(|blocks| blocks.size() == size).ok_or_else(|| {
            let (module, found, expected) = (module.to_owned(), self.sums.len(), size * size);
            CurvatureError::Size { module, what, found, expected }
        })
    }

    /// Resets a sum that [`Covariance::mirror`] has not made whole to no tokens.
    pub fn clear_rows(&mut self) {
        self.rows().for_each(|row| self.sums[row].fill(0.0));
        self.count = 0;
    }

    /// Adds some rows of the sum over some tokens in one of the blocks, from the diagonal on; the rows, and
    /// the first of the given columns, which is not after the diagonal, count from the block's start.
    /// [`Covariance::mirror`] fills in what is below the diagonal later. Tokens are not counted here: they
    /// count once for all blocks.
    pub fn add_block(&mut self, block: &Range<usize>, rows: Range<usize>, first: usize, part: &[f32]) {
        let width = self.sums.len() / self.size.max(1);
        for (row, part) in rows.zip(part.chunks_exact((block.len() - first).max(1))) {
            let sums = &mut self.sums[(block.start + row) * width..][row..block.len()];
            sums.iter_mut().zip(&part[row - first..]).for_each(|(sum, part)| *sum += f64::from(*part));
        }
    }

    /// Adds a sum over other data, from the diagonal on.
    pub fn merge_rows(&mut self, other: &Covariance) {
        for row in self.rows() {
            self.sums[row.clone()].iter_mut().zip(&other.sums[row]).for_each(|(sum, part)| *sum += part);
        }
        self.count += other.count;
    }

    /// Copies the part above the diagonal to below it.
    pub fn mirror(&mut self) {
        /// Rows and columns that are copied together: both sides of them fit in the first-level cache.
        const TILE: usize = 32;
        let width = self.sums.len() / self.size.max(1);
        for block in self.blocks().into_iter().flat_map(Blocks::ranges) {
            let (sums, len) = (&mut self.sums[block.start * width..], block.len());
            for above in (0..len).step_by(TILE) {
                for below in (above..len).step_by(TILE) {
                    for row in above..len.min(above + TILE) {
                        for col in below.max(row + 1)..len.min(below + TILE) {
                            sums[col * width + row] = sums[row * width + col];
                        }
                    }
                }
            }
        }
    }

    /// Ranges of the values of each row from the diagonal on.
    fn rows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let width = self.sums.len() / self.size.max(1);
        let of = move |block: Range<usize>| {
            let (start, len) = (block.start, block.len());
            block.map(move |row| row * width + row - start..row * width + len)
        };
        self.blocks().into_iter().flat_map(Blocks::ranges).flat_map(of)
    }

    /// Adds a sum over other data.
    pub fn merge(&mut self, other: &Covariance) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, part)| *sum += part);
        self.count += other.count;
    }

    /// Its deviation from symmetry: the length of `A - A'`, relative to that of A.
    pub fn asymmetry(&self) -> f64 {
        let width = self.sums.len() / self.size.max(1);
        let (mut off, mut all) = (0.0, 0.0);
        for block in self.blocks().into_iter().flat_map(Blocks::ranges) {
            let sum = |row: usize, col: usize| self.sums[row * width + col - block.start];
            for row in block.clone() {
                all += sum(row, row).powi(2);
                for col in row + 1..block.end {
                    let (above, below) = (sum(row, col), sum(col, row));
                    off += 2.0 * (above - below).powi(2);
                    all += above * above + below * below;
                }
            }
        }
        if off > 0.0 { (off / all).sqrt() } else { 0.0 }
    }

    /// The sum of the diagonal of the mean, which is that of its eigenvalues.
    pub fn trace(&self) -> f64 {
        self.rows().map(|row| self.sums[row.start]).sum::<f64>() / self.count.max(1) as f64
    }

    /// Reduced to these blocks, without what is outside them; none if it has other blocks.
    pub fn cut(self, blocks: Blocks) -> Option<Self> {
        let own = self.blocks().filter(|own| own.size() == blocks.size())?;
        if own == blocks {
            return Some(self);
        }
        if !own.is_whole() {
            return None;
        }
        let mut sums = vec![0.0; blocks.values()];
        for block in blocks.ranges() {
            for row in block.clone() {
                let found = &self.sums[row * self.size..][block.clone()];
                sums[row * blocks.width()..][..block.len()].copy_from_slice(found);
            }
        }
        Some(Self { sums, ..self })
    }

    /// The mean, made symmetric, stored like the sums.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.sums.len()];
        if let Some(blocks) = self.blocks() {
            blocks.ranges().for_each(|block| blocks.put(&mut mean, &block, &self.block_mean(&block)));
        }
        mean
    }

    /// The mean of one of its blocks, made symmetric.
    pub fn block_mean(&self, block: &Range<usize>) -> Vec<f64> {
        let width = self.sums.len() / self.size.max(1);
        let scale = 0.5 / self.count.max(1) as f64;
        let sum = |row: usize, col: usize| self.sums[row * width + col - block.start];
        let mut mean = Vec::with_capacity(block.len() * block.len());
        for row in block.clone() {
            mean.extend(block.clone().map(|col| (sum(row, col) + sum(col, row)) * scale));
        }
        mean
    }
}

/// Sum over samples of the squared values of a gradient `[out, input]`, unchanged or in an eigenbasis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Squares {
    /// The sum.
    pub sums: Vec<f64>,
    /// Number of samples.
    pub count: u64,
}

impl Squares {
    /// No samples.
    pub fn new(len: usize) -> Self {
        Self { sums: zeros(len), count: 0 }
    }

    /// Resets it to no samples.
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
        self.count = 0;
    }

    /// Adds a sample's gradient.
    pub fn add(&mut self, gradient: &[f32]) {
        for (sum, value) in self.sums.iter_mut().zip(gradient) {
            *sum += f64::from(*value) * f64::from(*value);
        }
        self.count += 1;
    }

    /// Adds a sum over other data.
    pub fn merge(&mut self, other: &Squares) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, part)| *sum += part);
        self.count += other.count;
    }

    /// The mean.
    pub fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        self.sums.iter().map(|sum| sum / count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_sums_are_those_of_no_token_and_no_sample() {
        let mut covariance = Covariance::in_blocks(Blocks::new(3, 2));
        let empty = covariance.clone();
        covariance.add_block(&(0..2), 0..2, 0, &[1.0, 2.0, 2.0, 4.0]);
        covariance.count += 1;
        covariance.clear_rows();
        assert_eq!(covariance, empty);
        let mut squares = Squares::new(2);
        squares.add(&[1.0, -2.0]);
        squares.add(&[3.0, 0.5]);
        assert_eq!((squares.mean(), squares.count), (vec![5.0, 2.125], 2));
        squares.clear();
        assert_eq!(squares, Squares::new(2));
    }
}
