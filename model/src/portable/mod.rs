//! The portable backend: candle tensors, with fused loops and single-threaded matrix products on their slices.
//!
//! Invariants
//! - every operation runs on the calling thread: no pool, no environment variable, no lock that another worker could hold
//! - the same batch gives the same bits; another cut of the batch may change the last bits, because products block by size
//! - sizes that disagree are an error, never a panic

mod activation;
mod attention;
mod factors;
mod head;
mod linear;
mod loss;
mod matmul;
mod norm;
mod rope;
mod rows;
mod simd;
mod sizes;
mod slices;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::Tensor;

pub use self::linear::PortableLinear;
use super::backend::{
    Activation, AttentionForm, AttentionPlan, Backend, BackendError, ColumnMap, HeadOutput, HeadTap,
    HeadTask, LinearWeights, LoraPart, NormForm, NormWeights, SampleRows,
};

/// The portable backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Portable;

type Result<T> = std::result::Result<T, BackendError>;

impl Backend for Portable {
    type Tensor = Tensor;
    type Linear = PortableLinear;

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor> {
        sizes::check(rows.checked_mul(cols) == Some(values.len()), "a tensor")?;
        slices::tensor(values, rows, cols)
    }

    fn to_host(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(slices::view(x)?.to_vec())
    }

    fn size(&self, x: &Tensor) -> (usize, usize) {
        // Every tensor that this backend makes is a matrix.
        x.dims2().unwrap_or_default()
    }

    fn pack(&self, weights: LinearWeights) -> Result<PortableLinear> {
        PortableLinear::new(weights)
    }

    fn gather(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        rows::gather(x, rows)
    }

    fn scatter_add(&self, acc: Tensor, rows: &[u32], x: &Tensor) -> Result<Tensor> {
        rows::scatter_add(acc, rows, x)
    }

    fn add(&self, acc: Tensor, x: &Tensor) -> Result<Tensor> {
        rows::add(acc, x)
    }

    fn linear(&self, layer: &PortableLinear, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        linear::forward(layer, x, residual)
    }

    fn linear_backward(&self, layer: &PortableLinear, grad: &Tensor, acc: Option<Tensor>) -> Result<Tensor> {
        linear::backward(layer, grad, acc)
    }

    fn norm(&self, x: &Tensor, weights: &NormWeights<Tensor>, form: NormForm) -> Result<(Tensor, Tensor)> {
        norm::forward(x, weights, form)
    }

    fn norm_backward(
        &self,
        grad: &Tensor,
        x: &Tensor,
        stats: &Tensor,
        weights: &NormWeights<Tensor>,
        form: NormForm,
        acc: Option<Tensor>,
    ) -> Result<Tensor> {
        norm::backward(grad, x, stats, weights, form, acc)
    }

    fn norm_grads(
        &self,
        grad: &Tensor,
        x: &Tensor,
        stats: &Tensor,
        width: usize,
        form: NormForm,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: Option<usize>,
        bias_offset: Option<usize>,
    ) -> Result<()> {
        norm::grads(grad, x, stats, width, form, spans, out, offset, bias_offset)
    }

    fn rope(&self, x: Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize, inverse: bool) -> Result<Tensor> {
        rope::rotate(x, cos, sin, head_dim, inverse)
    }

    fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        form: AttentionForm,
        plan: &AttentionPlan,
    ) -> Result<(Tensor, Tensor)> {
        attention::forward(q, k, v, form, plan)
    }

    fn attention_backward(
        &self,
        grad: &Tensor,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        log_sum: &Tensor,
        form: AttentionForm,
        plan: &AttentionPlan,
    ) -> Result<[Tensor; 3]> {
        attention::backward(grad, [q, k, v], out, log_sum, form, plan)
    }

    fn gated(&self, act: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        activation::gated(act, gate, up)
    }

    fn gated_backward(
        &self,
        act: Activation,
        grad: &Tensor,
        gate: &Tensor,
        up: &Tensor,
    ) -> Result<[Tensor; 2]> {
        activation::gated_backward(act, grad, gate, up)
    }

    fn activate(&self, act: Activation, x: &Tensor) -> Result<Tensor> {
        activation::activate(act, x)
    }

    fn activate_backward(&self, act: Activation, grad: Tensor, x: &Tensor) -> Result<Tensor> {
        activation::activate_backward(act, grad, x)
    }

    fn head(
        &self,
        layer: &PortableLinear,
        x: &Tensor,
        task: &HeadTask<'_, Tensor>,
        tap: Option<HeadTap<'_, Tensor>>,
    ) -> Result<HeadOutput<Tensor>> {
        head::head(layer, x, task, tap)
    }

    fn span_sums(&self, x: &Tensor, weights: &[f32], spans: &[Range<usize>]) -> Result<Vec<f32>> {
        rows::span_sums(x, weights, spans)
    }

    fn lora_grads(
        &self,
        x: &Tensor,
        parts: &[LoraPart<'_, Tensor>],
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
    ) -> Result<()> {
        factors::lora_grads(x, parts, spans, out)
    }

    fn weight_grads(
        &self,
        x: &Tensor,
        grad: &Tensor,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<()> {
        factors::weight_grads(x, grad, spans, out, offset)
    }

    fn table_grads(
        &self,
        ids: &[u32],
        grad: &Tensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<()> {
        factors::table_grads(ids, grad, scale, spans, out, offset)
    }

    fn map_columns(&self, x: &Tensor, map: &ColumnMap) -> Result<Tensor> {
        rows::map_columns(x, map)
    }
}
