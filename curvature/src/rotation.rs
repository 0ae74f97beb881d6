//! Rotation of gradients into an eigenbasis and back: products in f32, whose sums are taken in f64.
//!
//! Values are rounded to f32 before they are multiplied, products of up to [`CHUNK`] of them are summed in
//! f32, and these in f64. That moves a matrix by some 3e-7 of its length, in no direction more than in others:
//! less than gradients are off that are computed in f32, so that scores are hardly less accurate for it.
//!
//! A gradient is rotated as it is, or as a product of what its tokens have, whichever form it comes in. A
//! matrix has the same bits whatever was rotated before it.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::blocks::Blocks;
use crate::outer::{SampleGradient, Turned};

/// Coordinates whose products are summed in f32.
const CHUNK: usize = 128;

/// Rows and columns of a tile of a product: its sums, of either precision, and what is multiplied for a chunk of
/// them stay in the second-level cache.
const TILE: (usize, usize) = (128, 256);

/// The eigenbases of a module in f32, with memory that is used for each gradient again.
#[derive(Debug)]
pub struct Rotation {
    activation: Basis,
    gradient: Basis,
    /// What is turned back, rounded, or turned inputs of tokens.
    whole: Vec<f32>,
    /// A matrix that was multiplied with one of the bases, or turned gradients of outputs of tokens.
    half: Vec<f32>,
    sums: Sums,
}

/// A basis, block by block.
#[derive(Debug)]
struct Basis {
    size: usize,
    blocks: Vec<Block>,
}

/// A block on the diagonal and its transpose.
#[derive(Debug)]
struct Block {
    range: Range<usize>,
    vectors: Vec<f32>,
    transposed: Vec<f32>,
}

/// What a basis is made of: its blocks, and what is stored of it and of its transpose.
pub(crate) type Stored<'a> = (Blocks, &'a [f64], &'a [f64]);

impl Basis {
    fn new((blocks, vectors, transposed): Stored<'_>) -> Self {
        let single = |values: &[f64], range: &Range<usize>| -> Vec<f32> {
            blocks.of(values, range).into_iter().map(|value| value as f32).collect()
        };
        let block = |range: Range<usize>| Block {
            vectors: single(vectors, &range),
            transposed: single(transposed, &range),
            range,
        };
        Self { size: blocks.size(), blocks: blocks.ranges().map(block).collect() }
    }
}

impl Rotation {
    pub(crate) fn new(activation: Stored<'_>, gradient: Stored<'_>) -> Self {
        Self {
            activation: Basis::new(activation),
            gradient: Basis::new(gradient),
            whole: Vec::new(),
            half: Vec::new(),
            sums: Sums::default(),
        }
    }

    /// A gradient `[out, input]` in the eigenbasis, `Q_S^T G Q_A`, in place of what `to` holds.
    ///
    /// # Panics
    /// Where the sizes do not fit.
    pub fn rotated(&mut self, gradient: &SampleGradient, to: &mut Vec<f64>) {
        match gradient.turned() {
            Turned::Whole(values) => self.rotated_whole(values, to),
            Turned::Factors { inputs, grads } => self.rotated_factors((inputs, grads), to),
        }
    }

    /// `(D Q_S)^T (X Q_A)`, of gradients D of the outputs and inputs X of tokens.
    fn rotated_factors(&mut self, (inputs, grads): (&[f32], &[f32]), to: &mut Vec<f64>) {
        let Self { activation, gradient: outer, whole, half, sums } = self;
        half.resize(grads.len(), 0.0);
        for block in &outer.blocks {
            let to = (&mut half[..], outer.size);
            sums.behind(grads, &block.vectors, &block.range, to, |sum| sum as f32);
        }
        whole.resize(inputs.len(), 0.0);
        for block in &activation.blocks {
            let to = (&mut whole[..], activation.size);
            sums.behind(inputs, &block.vectors, &block.range, to, |sum| sum as f32);
        }
        to.resize(outer.size * activation.size, 0.0);
        let cols = activation.size;
        sums.outer((&whole[..], &half[..]), (outer.size, cols), |at, sums| {
            to[at..][..sums.len()].copy_from_slice(sums);
        });
    }

    fn rotated_whole(&mut self, gradient: &[f32], to: &mut Vec<f64>) {
        let Self { activation, gradient: outer, half, sums, .. } = self;
        half.resize(outer.size * activation.size, 0.0);
        for block in &outer.blocks {
            sums.before(&block.transposed, &block.range, gradient, (&mut half[..], activation.size));
        }
        to.resize(half.len(), 0.0);
        for block in &activation.blocks {
            let to = (&mut to[..], activation.size);
            sums.behind(half, &block.vectors, &block.range, to, |sum| sum);
        }
    }

    /// What [`Rotation::rotated`] turned, turned back, in place of what `to` holds.
    ///
    /// # Panics
    /// Where the sizes do not fit.
    pub fn unrotated(&mut self, rotated: impl Iterator<Item = f64>, to: &mut Vec<f64>) {
        let Self { activation, gradient: outer, whole, half, sums } = self;
        whole.clear();
        whole.extend(rotated.map(|value| value as f32));
        half.resize(outer.size * activation.size, 0.0);
        for block in &outer.blocks {
            sums.before(&block.vectors, &block.range, whole, (&mut half[..], activation.size));
        }
        to.resize(half.len(), 0.0);
        for block in &activation.blocks {
            let to = (&mut to[..], activation.size);
            sums.behind(half, &block.transposed, &block.range, to, |sum| sum);
        }
    }
}

/// Sums of some rows of a product in f64, and of the products of [`CHUNK`] coordinates in f32.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    all: Vec<f64>,
    part: Vec<f32>,
}

impl Sums {
    /// A block times its rows of `matrix`, in the same rows of `to`; both have rows of `cols` values.
    fn before(
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
    fn behind<T>(
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

    /// Hands out parts of the rows of the sum of the outer products of tokens, `[out, input]`, of their inputs and
    /// gradients of outputs, with the place of the first value.
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

    /// Hands out parts of the rows of `a b`, with the row and the first column of each.
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
                    pulp::Arch::new().dispatch(Add { all: &mut self.all, part: &self.part });
                }
                for (row, sums) in self.all.chunks_exact(cols).enumerate() {
                    put(top + row, left, sums);
                }
            }
        }
    }
}

/// Adds sums in f32 to those in f64.
struct Add<'a> {
    all: &'a mut [f64],
    part: &'a [f32],
}

impl pulp::WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.all.iter_mut().zip(self.part).for_each(|(sum, part)| *sum += f64::from(*part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eigen::Eigen;
    use crate::factors::{ModuleFactors, Strategy};
    use crate::matrix::{product_of_transposed, transposed};
    use crate::{Covariance, Damping, Module};

    fn values(count: usize, step: f64) -> Vec<f64> {
        (0..count).map(|at| (at as f64 * step + (at * at % 97) as f64).sin()).collect()
    }

    /// An eigenbasis in these blocks.
    fn basis(blocks: Blocks, step: f64) -> Eigen {
        let n = blocks.size();
        let tokens = values(n * (n + 3), step);
        let mut covariance = Covariance::in_blocks(blocks);
        let sums = product_of_transposed(&tokens, &tokens, (n, n + 3, n));
        for block in blocks.ranges() {
            let of_row = |row: usize| sums[row * n..][block.clone()].to_vec();
            blocks.put(&mut covariance.sums, &block, &block.clone().flat_map(of_row).collect::<Vec<_>>());
        }
        covariance.count = 1;
        Eigen::of_covariance(&covariance, "m", "covariance").unwrap()
    }

    /// The norm of the difference as a part of the norm.
    fn apart(found: &[f64], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        difference / norm(&mut expected.iter().copied())
    }

    #[test]
    fn rotations_are_those_in_f64_to_the_digits_of_f32() {
        // More rows and coordinates than are multiplied at once, and blocks of unequal sizes.
        let whole = |size| Blocks::whole(size);
        for (out, input) in
            [(whole(150), whole(270)), (Blocks::new(150, 80), Blocks::new(71, 36)), (whole(1), whole(3))]
        {
            let module = Module { name: "m".into(), out: out.size(), input: input.size(), bias: false };
            let factors = ModuleFactors {
                activation_eigen: Some(basis(input, 0.37)),
                gradient_eigen: Some(basis(out, 0.71)),
                ..ModuleFactors::default()
            };
            let inverse = factors.inverse(&module, Strategy::Kfac, Damping::OfMean).unwrap();
            let mut rotation = inverse.rotation().unwrap();
            let single: Vec<f32> = values(module.len(), 0.13).into_iter().map(|value| value as f32).collect();
            let gradient: Vec<f64> = single.iter().map(|value| f64::from(*value)).collect();
            let (mut found, mut back) = (vec![1.0; 7], Vec::new());
            let whole = SampleGradient::whole(&module, single.clone());
            rotation.rotated(&whole, &mut found);
            let expected = inverse.rotated(&gradient);
            assert!(apart(&found, &expected) < 5e-7, "{}", apart(&found, &expected));
            rotation.unrotated(expected.iter().copied(), &mut back);
            assert!(apart(&back, &gradient) < 5e-7, "{}", apart(&back, &gradient));
            // What was rotated before does not show.
            rotation.rotated(&whole, &mut back);
            assert_eq!(found, back);
            // Without a token it is zeros, whatever was rotated before.
            rotation.rotated(&SampleGradient::empty(&module), &mut back);
            assert!(back.len() == module.len() && back.iter().all(|value| *value == 0.0));
            // Tokens are turned to what the sum of their outer products is turned to, in either form.
            for tokens in [1, 90] {
                let (inputs, grads) =
                    (values(tokens * module.input, 0.17), values(tokens * module.out + 1, 0.41).split_off(1));
                let sum = product_of_transposed(
                    &transposed(&grads, tokens, module.out),
                    &transposed(&inputs, tokens, module.input),
                    (module.out, tokens, module.input),
                );
                let expected = inverse.rotated(&sum);
                let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
                for most in [0, tokens] {
                    let mut gradient = SampleGradient::empty(&module);
                    gradient.add((&single(&inputs), &single(&grads)), most);
                    rotation.rotated(&gradient, &mut found);
                    assert!(apart(&found, &expected) < 1e-6, "{}", apart(&found, &expected));
                }
            }
        }
    }

    #[test]
    fn long_sums_lose_no_more_digits_than_short_ones() {
        // Sums of as many products in f32 alone would be off by the root of their number.
        let n = 400 * CHUNK;
        let (a, b) = (values(3 * n, 0.31), values(2 * n, 0.57));
        let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (a, b) = (single(&a), single(&transposed(&b, 2, n)));
        let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
        let expected = crate::matrix::product(&wide(&a), &wide(&b), (3, n, 2));
        let mut found = Vec::new();
        Sums::default().multiply(
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
