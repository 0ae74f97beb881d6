//! Rotation of gradients into an eigenbasis and back.
//!
//! A gradient is rotated as a matrix or as factors of its tokens, whichever form it has. A matrix has the
//! same bits whatever was rotated before it.

use std::ops::Range;

use crate::blocks::Blocks;
use crate::outer::{OuterForm, SampleGradient};
use crate::sums::RowSums;

/// The eigenbases of a module in f32, with memory that is reused for each gradient.
#[derive(Debug)]
pub struct Rotation {
    activation: RotationBasis,
    gradient: RotationBasis,
    /// Rounded values to rotate back, or rotated inputs of tokens.
    whole: Vec<f32>,
    /// A matrix multiplied with one of the bases, or rotated output gradients of tokens.
    half: Vec<f32>,
    sums: RowSums,
}

/// A basis, block by block.
#[derive(Debug)]
struct RotationBasis {
    size: usize,
    blocks: Vec<BasisBlock>,
}

/// A diagonal block and its transpose.
#[derive(Debug)]
struct BasisBlock {
    range: Range<usize>,
    vectors: Vec<f32>,
    transposed: Vec<f32>,
}

/// The parts of a basis: its blocks, and the stored values of it and of its transpose.
pub(crate) type BasisParts<'a> = (Blocks, &'a [f64], &'a [f64]);

impl RotationBasis {
    fn new((blocks, vectors, transposed): BasisParts<'_>) -> Self {
        let single = |values: &[f64], range: &Range<usize>| -> Vec<f32> {
            blocks.of(values, range).into_iter().map(|value| value as f32).collect()
        };
        let block = |range: Range<usize>| BasisBlock {
            vectors: single(vectors, &range),
            transposed: single(transposed, &range),
            range,
        };
        Self { size: blocks.size(), blocks: blocks.ranges().map(block).collect() }
    }
}

impl Rotation {
    pub(crate) fn new(activation: BasisParts<'_>, gradient: BasisParts<'_>) -> Self {
        Self {
            activation: RotationBasis::new(activation),
            gradient: RotationBasis::new(gradient),
            whole: Vec::new(),
            half: Vec::new(),
            sums: RowSums::default(),
        }
    }

    /// A gradient `[out, input]` in the eigenbasis, `Q_S^T G Q_A`, overwriting `to`.
    ///
    /// # Panics
    /// If the sizes do not match.
    pub fn rotated(&mut self, gradient: &SampleGradient, to: &mut Vec<f64>) {
        match &gradient.form {
            OuterForm::Whole(values) => self.rotated_whole(values, to),
            OuterForm::Factors { inputs, grads } => self.rotated_factors((inputs, grads), to),
        }
    }

    /// `(D Q_S)^T (X Q_A)`, for output gradients D and inputs X of tokens.
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

    /// Reverses [`Rotation::rotated`], overwriting `to`.
    ///
    /// # Panics
    /// If the sizes do not match.
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

    /// The norm of the difference, relative to the norm.
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
            // Earlier rotations have no effect.
            rotation.rotated(&whole, &mut back);
            assert_eq!(found, back);
            // Without tokens the result is zeros, whatever was rotated before.
            rotation.rotated(&SampleGradient::empty(&module), &mut back);
            assert!(back.len() == module.len() && back.iter().all(|value| *value == 0.0));
            // Tokens are rotated to the rotated sum of their outer products, in either form.
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
}
