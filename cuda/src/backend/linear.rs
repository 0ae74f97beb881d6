//! Linear layers: products with weights that are packed for the device.

use gstore_model::LinearWeights;
use gstore_model::sizes::check;

use super::{Cuda, CudaTensor, Tensor};
use crate::runtime::{Added, Argument, Factor, Memory, Precision, Product, Result, Runtime};

/// A weight on the device, `[out, input]`.
enum Weight<M> {
    /// In f32 or bf16, as used in products.
    Values(M),
    /// Bytes, and for each output the factor that turns them into values. They are expanded to bf16 for a
    /// product.
    Bytes { bytes: M, scales: M },
}

/// A linear layer on the device.
pub struct CudaLinear<M> {
    weight: Weight<M>,
    /// `[1, out]`
    bias: Option<CudaTensor<M>>,
    out: usize,
    input: usize,
    /// How it is multiplied.
    precision: Precision,
}

impl<M> CudaLinear<M> {
    pub(super) fn out(&self) -> usize {
        self.out
    }

    pub(super) fn input(&self) -> usize {
        self.input
    }
}

fn check_layer(weight: &[f32], out: usize, input: usize) -> Result<()> {
    check(out > 0 && input > 0, || format!("a linear layer of {input} to {out} columns"))?;
    check(out.checked_mul(input) == Some(weight.len()), || {
        format!("{} weights of a linear layer of {input} to {out} columns", weight.len())
    })
}

/// The greatest magnitude of a byte: -128 is left out, as its negation is not a byte.
const MOST: f32 = 127.0;

/// The nearest bytes of each row, and the scale that they are multiplied by. The scale of a row with a value
/// that is not finite is NaN, which makes its products NaN too.
fn in_bytes(weight: &[f32], input: usize) -> (Vec<i8>, Vec<f32>) {
    let scale = |row: &[f32]| {
        let most = row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        if row.iter().all(|value| value.is_finite()) { most / MOST } else { f32::NAN }
    };
    let scales: Vec<f32> = weight.chunks_exact(input).map(scale).collect();
    let mut bytes = Vec::with_capacity(weight.len());
    for (row, scale) in weight.chunks_exact(input).zip(&scales) {
        bytes.extend(row.iter().map(|value| match *scale > 0.0 {
            true => (value / scale).round_ties_even().clamp(-MOST, MOST) as i8,
            false => 0,
        }));
    }
    (bytes, scales)
}

/// A tensor as a factor of a product: memory and the first element.
pub(super) type Place<'a, M> = (&'a M, usize);

/// A row-major factor without gaps.
pub(super) fn factor<M: Memory>(
    (memory, offset): Place<'_, M>,
    stride: usize,
    transposed: bool,
) -> Factor<'_, M> {
    Factor { memory, offset, stride, transposed }
}

impl<R: Runtime> Cuda<R> {
    pub(super) fn layer(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        out: usize,
        input: usize,
    ) -> Result<CudaLinear<R::Memory>> {
        check_layer(weight, out, input)?;
        let bias = bias.map(|bias| self.tensor_of(bias, 1, out)).transpose()?;
        let single = self.upload(weight)?;
        let precision = self.arithmetic.precision;
        let weight = match precision {
            Precision::Bf16 => self.to_bf16(&single, out * input)?,
            Precision::Single | Precision::Tf32 => single,
        };
        Ok(CudaLinear { weight: Weight::Values(weight), bias, out, input, precision })
    }

    /// A layer whose weight is held as bytes.
    pub(super) fn layer_of_bytes(&self, weights: &LinearWeights) -> Result<CudaLinear<R::Memory>> {
        let LinearWeights { weight, out, input, bias } = weights;
        check_layer(weight, *out, *input)?;
        let bias = bias.as_deref().map(|bias| self.tensor_of(bias, 1, *out)).transpose()?;
        let (bytes, scales) = in_bytes(weight, *input);
        let weight = Weight::Bytes { bytes: self.upload(&bytes)?, scales: self.upload(&scales)? };
        Ok(CudaLinear { weight, bias, out: *out, input: *input, precision: Precision::Bf16 })
    }

    /// Bytes of a layer's weight as the bf16 values that they encode.
    fn spread(&self, bytes: &R::Memory, scales: &R::Memory, [out, input]: [usize; 2]) -> Result<R::Memory> {
        let spread = self.allocate::<u16>(out * input)?;
        let arguments = [Argument::At(bytes, 0), Argument::At(scales, 0), Argument::At(&spread, 0)];
        self.each_row("spread_bytes", (out, input), &arguments)?;
        Ok(spread)
    }

    /// A tensor as a factor of products of a precision.
    pub(super) fn rounded_factor<'a>(
        &self,
        x: &'a Tensor<R>,
        precision: Precision,
    ) -> Result<Place<'a, R::Memory>> {
        match precision {
            Precision::Bf16 => self.rounded(x),
            Precision::Single | Precision::Tf32 => self.values(x),
        }
    }

    /// `x W^T` or, for a gradient, `x W`, with what is added, written to `to`, whose type it has.
    pub(super) fn multiply_weight(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        to: &Tensor<R>,
        backward: bool,
        added: Added<'_, R::Memory>,
        bias: Option<&Tensor<R>>,
    ) -> Result<()> {
        let (cols, terms) = if backward { (layer.input, layer.out) } else { (layer.out, layer.input) };
        let narrow = to.is_narrow();
        let place = |x| if narrow { self.rounded(x) } else { self.values(x) };
        let (memory, offset) = place(to)?;
        let spread;
        let weight = match &layer.weight {
            Weight::Values(values) => values,
            Weight::Bytes { bytes, scales } => {
                spread = self.spread(bytes, scales, [layer.out, layer.input])?;
                &spread
            }
        };
        self.multiply(&Product {
            size: [x.size().0, cols, terms],
            left: factor(self.rounded_factor(x, layer.precision)?, terms, false),
            right: factor((weight, 0), layer.input, !backward),
            to: (memory, offset, cols),
            scale: 1.0,
            added,
            bias: bias.map(place).transpose()?,
            precision: layer.precision,
            narrow,
        })
    }

    /// Computes a product; does nothing if it has no rows or no columns.
    pub(super) fn multiply(&self, product: &Product<'_, R::Memory>) -> Result<()> {
        match product.size[..2].contains(&0) {
            true => Ok(()),
            false => self.runtime.multiply(product),
        }
    }

    pub(super) fn linear_forward(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        residual: Option<&Tensor<R>>,
    ) -> Result<Tensor<R>> {
        let rows = x.size().0;
        x.expect(rows, layer.input, "inputs of a linear layer")?;
        if let Some(residual) = residual {
            residual.expect(rows, layer.out, "sum of a linear layer's outputs")?;
        }
        let y = self.unspecified(rows, layer.out)?;
        let added = match residual {
            Some(residual) => {
                let (memory, first) = self.values(residual)?;
                Added::Matrix(memory, first)
            }
            None => Added::Nothing,
        };
        self.multiply_weight(layer, x, &y, false, added, layer.bias.as_ref())?;
        Ok(y)
    }

    /// Outputs, or gradients of inputs, for other operations of a model's layer: narrow if products round their
    /// factors.
    pub(super) fn linear_inner(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        backward: bool,
    ) -> Result<Tensor<R>> {
        let (from, to) = if backward { (layer.out, layer.input) } else { (layer.input, layer.out) };
        let rows = x.size().0;
        x.expect(rows, from, "inputs of a linear layer's product")?;
        let y = self.unspecified_in(layer.precision == Precision::Bf16, rows, to)?;
        let bias = layer.bias.as_ref().filter(|_| !backward);
        self.multiply_weight(layer, x, &y, backward, Added::Nothing, bias)?;
        Ok(y)
    }

    /// Outputs without the bias, or gradients of inputs, added to `acc`.
    pub(super) fn linear_sum(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        acc: Option<Tensor<R>>,
        backward: bool,
    ) -> Result<Tensor<R>> {
        let (from, to) = if backward { (layer.out, layer.input) } else { (layer.input, layer.out) };
        let rows = x.size().0;
        x.expect(rows, from, "inputs of a linear layer's product")?;
        let added = if acc.is_some() { Added::There } else { Added::Nothing };
        let y = match acc {
            Some(acc) => {
                acc.expect(rows, to, "sum of a linear layer's products")?;
                self.owned(acc)?
            }
            None => self.unspecified(rows, to)?,
        };
        self.multiply_weight(layer, x, &y, backward, added, None)?;
        Ok(y)
    }
}
