//! Linear layers: products with weights that are packed for the device.

use gstore_model::LinearWeights;
use gstore_model::sizes::check;

use super::{Cuda, CudaTensor, Tensor};
use crate::runtime::{Argument, Factor, Memory, Precision, Product, Result, Runtime};

/// A linear layer on the device.
pub struct CudaLinear<M> {
    /// `[out, input]`, in f32 or bf16.
    weight: M,
    /// `[1, out]`
    bias: Option<CudaTensor<M>>,
    out: usize,
    input: usize,
    /// How it is held, and multiplied.
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
    pub(super) fn pack_layer(&self, weights: &LinearWeights) -> Result<CudaLinear<R::Memory>> {
        let LinearWeights { weight, out, input, bias } = weights;
        self.layer(weight, bias.as_deref(), *out, *input)
    }

    pub(super) fn layer(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        out: usize,
        input: usize,
    ) -> Result<CudaLinear<R::Memory>> {
        check(out > 0 && input > 0, || format!("a linear layer of {input} to {out} columns"))?;
        check(out.checked_mul(input) == Some(weight.len()), || {
            format!("{} weights of a linear layer of {input} to {out} columns", weight.len())
        })?;
        let bias = bias.map(|bias| self.tensor_of(bias, 1, out)).transpose()?;
        let single = self.upload(weight)?;
        let weight = match self.precision {
            Precision::Bf16 => self.to_bf16(&single, out * input)?,
            Precision::Single | Precision::Tf32 => single,
        };
        Ok(CudaLinear { weight, bias, out, input, precision: self.precision })
    }

    /// A tensor as a factor of products of a precision.
    pub(super) fn rounded_factor<'a>(
        &self,
        x: &'a Tensor<R>,
        precision: Precision,
    ) -> Result<Place<'a, R::Memory>> {
        match precision {
            Precision::Bf16 => self.rounded(x),
            Precision::Single | Precision::Tf32 => Ok(x.place()),
        }
    }

    /// `x W^T` or, for a gradient, `x W`, written or added to `to`.
    pub(super) fn multiply_weight(
        &self,
        layer: &CudaLinear<R::Memory>,
        x: &Tensor<R>,
        to: &Tensor<R>,
        backward: bool,
        sums: bool,
    ) -> Result<()> {
        let (cols, terms) = if backward { (layer.input, layer.out) } else { (layer.out, layer.input) };
        let (memory, offset) = to.place();
        self.multiply(&Product {
            size: [x.size().0, cols, terms],
            left: factor(self.rounded_factor(x, layer.precision)?, terms, false),
            right: factor((&layer.weight, 0), layer.input, !backward),
            to: (memory, offset, cols),
            scale: 1.0,
            sums,
            precision: layer.precision,
        })
    }

    /// A product, unless it has no elements.
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
        let y = match residual {
            Some(residual) => {
                residual.expect(rows, layer.out, "sum of a linear layer's outputs")?;
                self.copied(residual)?
            }
            None => self.unspecified(rows, layer.out)?,
        };
        self.multiply_weight(layer, x, &y, false, residual.is_some())?;
        if let Some(bias) = &layer.bias {
            let cols = Argument::U32(layer.out as u32);
            self.each("add_row", y.len(), &[y.argument(), bias.argument(), cols])?;
        }
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
        let sums = acc.is_some();
        let y = match acc {
            Some(acc) => {
                acc.expect(rows, to, "sum of a linear layer's products")?;
                self.owned(acc)?
            }
            None => self.unspecified(rows, to)?,
        };
        self.multiply_weight(layer, x, &y, backward, sums)?;
        Ok(y)
    }
}
