//! Linear layers, forward and backward.

use super::Cpu;
use super::gemm::{self, Addend, PackedWeights, PanelFormat};
use super::tensor::CpuTensor;
use crate::backend::{BackendError, LinearWeights, check};

/// A linear layer in panels. The panels of the backward are made when first asked for.
pub struct CpuLinear {
    weights: PackedWeights,
    bias: Option<Vec<f32>>,
    /// Output width.
    pub(super) out: usize,
    /// Input width.
    pub(super) input: usize,
}

fn check_sizes([out, input]: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> Result<(), BackendError> {
    check(out > 0 && input > 0 && out.checked_mul(input) == Some(weight.len()), || {
        format!("a weight of {} values is not {out} rows of {input}", weight.len())
    })?;
    check(bias.is_none_or(|bias| bias.len() == out), || {
        format!("a bias of {} values, where {out} are due", bias.map_or(0, <[f32]>::len))
    })
}

impl Cpu {
    pub(super) fn pack_linear(&self, weights: &LinearWeights) -> Result<CpuLinear, BackendError> {
        let LinearWeights { weight, out, input, bias } = weights;
        let (out, input) = (*out, *input);
        check_sizes([out, input], weight, bias.as_deref())?;
        let weights = PackedWeights::pack(weight, out, input, self.format());
        Ok(CpuLinear { weights, bias: bias.clone(), out, input })
    }

    pub(super) fn repack_linear(
        &self,
        layer: &mut CpuLinear,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<(), BackendError> {
        self.check_packed_form(layer)?;
        check_sizes([layer.out, layer.input], weight, bias)?;
        layer.weights.replace(weight);
        layer.bias = bias.map(<[f32]>::to_vec);
        Ok(())
    }

    /// How this backend lays out weights.
    pub(super) fn format(&self) -> PanelFormat {
        match self.compute {
            super::ComputePrecision::Bf16x3 if self.kernels.splitting().is_some() => PanelFormat::Split,
            // Where three products of bf16 take longer than one of f32, f32 it is.
            super::ComputePrecision::Bf16x3 => PanelFormat::Single,
            // tf32 and i8 are of GPUs: `Device::check` refuses them before a backend is made.
            super::ComputePrecision::F32 | super::ComputePrecision::Tf32 | super::ComputePrecision::I8 => {
                PanelFormat::Single
            }
            super::ComputePrecision::Bf16 if self.kernels.paired.is_some() => PanelFormat::Paired,
            super::ComputePrecision::Bf16 => PanelFormat::Rounded,
        }
    }

    /// The format of products of a sample's own factors: what is rounded to bf16 is so in two parts alone.
    pub(super) fn sample_format(&self) -> PanelFormat {
        if self.format() == PanelFormat::Split { PanelFormat::Split } else { PanelFormat::Single }
    }

    pub(super) fn check_packed_form(&self, layer: &CpuLinear) -> Result<(), BackendError> {
        check(layer.weights.forward().format == self.format(), || {
            "a layer was packed for another precision or level".into()
        })
    }

    pub(super) fn linear_forward(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        residual: Option<&CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.check_packed_form(layer)?;
        let rows = x.rows();
        x.expect(rows, layer.input, "inputs of a linear layer")?;
        if let Some(residual) = residual {
            residual.expect(rows, layer.out, "residual of a linear layer")?;
        }
        let mut out = CpuTensor::unspecified(rows, layer.out);
        let add = residual.map_or(Addend::Nothing, |r| Addend::Matrix(r.values()));
        self.forward_rows(layer, x.values(), rows, out.values_mut(), add);
        Ok(out)
    }

    pub(super) fn linear_unbiased(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.check_packed_form(layer)?;
        let rows = x.rows();
        x.expect(rows, layer.input, "tangent of a linear layer's inputs")?;
        if let Some(acc) = &acc {
            acc.expect(rows, layer.out, "sum of tangents")?;
        }
        let add = if acc.is_some() { Addend::Destination } else { Addend::Nothing };
        let mut out = acc.unwrap_or_else(|| CpuTensor::unspecified(rows, layer.out));
        gemm::linear(&self.kernels, out.values_mut(), x.values(), rows, layer.weights.forward(), None, add);
        Ok(out)
    }

    /// `x W^T + bias + add` for rows whose sizes have been checked.
    pub(super) fn forward_rows(
        &self,
        layer: &CpuLinear,
        x: &[f32],
        rows: usize,
        out: &mut [f32],
        add: Addend<'_>,
    ) {
        gemm::linear(&self.kernels, out, x, rows, layer.weights.forward(), layer.bias.as_deref(), add);
    }

    /// `grad W + add` for rows whose sizes have been checked.
    pub(super) fn backward_rows(
        &self,
        layer: &CpuLinear,
        grad: &[f32],
        rows: usize,
        out: &mut [f32],
        add: Addend<'_>,
    ) {
        gemm::linear(&self.kernels, out, grad, rows, layer.weights.backward(), None, add);
    }

    pub(super) fn linear_gradient(
        &self,
        layer: &CpuLinear,
        grad: &CpuTensor,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.check_packed_form(layer)?;
        let rows = grad.rows();
        grad.expect(rows, layer.out, "gradient of a linear layer")?;
        if let Some(acc) = &acc {
            acc.expect(rows, layer.input, "sum of input gradients")?;
        }
        let add = if acc.is_some() { Addend::Destination } else { Addend::Nothing };
        let mut out = acc.unwrap_or_else(|| CpuTensor::unspecified(rows, layer.input));
        self.backward_rows(layer, grad.values(), rows, out.values_mut(), add);
        Ok(out)
    }
}
