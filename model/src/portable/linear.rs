//! Linear layers.

use candle_core::Tensor;

use super::super::backend::{BackendError, LinearWeights};
use super::matmul::{Mat, MatMut, Write, multiply, product};
use super::sizes::{check, size};
use super::slices::{tensor, update, view};

/// A linear layer of [`Portable`](super::Portable). The matrix library is fastest, by up to a factor of two, when rows of the right factor
/// are contiguous, so the weight is kept both ways.
pub struct PortableLinear {
    /// `[out, input]`, for the backward pass.
    weight: Vec<f32>,
    /// `[input, out]`, for the forward pass.
    transposed: Vec<f32>,
    bias: Option<Vec<f32>>,
    pub(super) out: usize,
    pub(super) input: usize,
}

impl PortableLinear {
    pub(super) fn new(weights: LinearWeights) -> Result<PortableLinear, BackendError> {
        let LinearWeights { weight, out, input, bias } = weights;
        let fits = out > 0 && input > 0 && out.checked_mul(input) == Some(weight.len());
        check(fits && bias.as_ref().is_none_or(|b| b.len() == out), "a linear layer")?;
        Ok(PortableLinear { transposed: transpose(&weight, out, input), weight, bias, out, input })
    }

    pub(super) fn weight(&self) -> Mat<'_> {
        Mat::new(&self.weight, self.out, self.input)
    }

    /// `x W^T + bias` of rows side by side, added to `residual` if there is one.
    pub(super) fn apply(&self, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let rows = x.len() / self.input;
        let x = Mat::new(x, rows, self.input);
        let transposed = Mat::new(&self.transposed, self.input, self.out);
        let mut out = match residual {
            None => product(x, transposed),
            Some(residual) => {
                let mut out = residual.to_vec();
                multiply(MatMut::new(&mut out, rows, self.out), Write::Add, x, transposed, 1.0);
                out
            }
        };
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(self.out) {
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        out
    }
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for col in 0..cols {
        out.extend((0..rows).map(|row| x[row * cols + col]));
    }
    out
}

pub(super) fn forward(
    layer: &PortableLinear,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Tensor, BackendError> {
    let (rows, width) = size(x)?;
    check(width == layer.input, "a linear layer")?;
    let x = view(x)?;
    let out = match residual {
        None => layer.apply(&x, None),
        Some(residual) => {
            check(size(residual)? == (rows, layer.out), "a residual")?;
            layer.apply(&x, Some(&view(residual)?))
        }
    };
    tensor(out, rows, layer.out)
}

pub(super) fn backward(
    layer: &PortableLinear,
    grad: &Tensor,
    acc: Option<Tensor>,
) -> Result<Tensor, BackendError> {
    let (rows, width) = size(grad)?;
    check(width == layer.out, "a linear layer")?;
    let grad = view(grad)?;
    let grad = Mat::new(&grad, rows, width);
    let Some(acc) = acc else { return tensor(product(grad, layer.weight()), rows, layer.input) };
    check(size(&acc)? == (rows, layer.input), "an accumulated gradient")?;
    update(&acc, |out| {
        multiply(MatMut::new(out, rows, layer.input), Write::Add, grad, layer.weight(), 1.0);
    })?;
    Ok(acc)
}
