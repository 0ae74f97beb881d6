//! Operations of the CPU backend, each in the file of its group.

use std::ops::Range;

use super::{Cpu, CpuCache, CpuLinear, CpuRows, CpuTensor};
use crate::backend::{
    Activation, Attention, Backend, BackendError, CachedAttention, ColumnMap, HeadOutput, HeadTap, HeadTask,
    LinearWeights, LoraOperands, NormFactors, NormForm, NormWeights, RowVisitor,
};

impl Backend for Cpu {
    type Tensor = CpuTensor;
    type Linear = CpuLinear;
    type Rows = CpuRows;
    type Cache = CpuCache;

    fn on_host(&self) -> bool {
        true
    }

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<CpuTensor, BackendError> {
        CpuTensor::from_values(&values, rows, cols)
    }

    fn to_host(&self, x: &CpuTensor) -> Result<Vec<f32>, BackendError> {
        Ok(x.values().to_vec())
    }

    fn size(&self, x: &CpuTensor) -> (usize, usize) {
        x.size()
    }

    fn pack(&self, weights: LinearWeights) -> Result<CpuLinear, BackendError> {
        self.pack_linear(&weights)
    }

    fn repack(
        &self,
        layer: &mut CpuLinear,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<(), BackendError> {
        self.repack_linear(layer, weight, bias)
    }

    fn rows(&self, samples: usize, width: usize, old: Option<CpuRows>) -> Result<CpuRows, BackendError> {
        CpuRows::zeros(samples, width, old)
    }

    fn host_rows<'a>(&self, rows: &'a mut CpuRows) -> Result<&'a mut [f32], BackendError> {
        Ok(rows.values_mut())
    }

    fn gather(&self, x: &CpuTensor, rows: &[u32]) -> Result<CpuTensor, BackendError> {
        self.gather_rows(x, rows)
    }

    fn scatter_add(&self, acc: CpuTensor, rows: &[u32], x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.scatter_rows(acc, rows, x)
    }

    fn add(&self, acc: CpuTensor, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.add_tensors(acc, x)
    }

    fn linear(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        residual: Option<&CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.linear_forward(layer, x, residual)
    }

    fn linear_backward(
        &self,
        layer: &CpuLinear,
        grad: &CpuTensor,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.linear_gradient(layer, grad, acc)
    }

    fn linear_tangent(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.linear_unbiased(layer, x, acc)
    }

    fn norm(
        &self,
        x: &CpuTensor,
        weights: &NormWeights<CpuTensor>,
        form: NormForm,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        self.norm_forward(x, weights, form)
    }

    fn norm_backward(
        &self,
        factors: &NormFactors<'_, CpuTensor>,
        weights: &NormWeights<CpuTensor>,
        acc: Option<CpuTensor>,
    ) -> Result<CpuTensor, BackendError> {
        self.norm_gradient(factors, weights, acc)
    }

    fn norm_grads(
        &self,
        factors: &NormFactors<'_, CpuTensor>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offsets: [Option<usize>; 2],
    ) -> Result<(), BackendError> {
        self.norm_weight_grads(factors, width, spans, out, offsets)
    }

    fn rope(
        &self,
        x: CpuTensor,
        cos: &CpuTensor,
        sin: &CpuTensor,
        head_dim: usize,
        inverse: bool,
    ) -> Result<CpuTensor, BackendError> {
        self.rotate(x, cos, sin, head_dim, inverse)
    }

    fn attention(&self, of: &Attention<'_, CpuTensor>) -> Result<(CpuTensor, CpuTensor), BackendError> {
        self.attention_forward(of)
    }

    fn attention_cached(
        &self,
        of: &CachedAttention<'_, CpuTensor>,
        cache: &mut CpuCache,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        self.attention_over_cache(of, cache)
    }

    fn forget(&self, cache: &mut CpuCache, slot: usize) {
        cache.forget(slot);
    }

    fn attention_backward(
        &self,
        of: &Attention<'_, CpuTensor>,
        grad: &CpuTensor,
        out: &CpuTensor,
        log_sum: &CpuTensor,
    ) -> Result<[CpuTensor; 3], BackendError> {
        self.attention_gradient(of, grad, out, log_sum)
    }

    fn attention_tangent(
        &self,
        of: &Attention<'_, CpuTensor>,
        tangents: [&CpuTensor; 3],
        log_sum: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        self.attention_moved(of, tangents, log_sum)
    }

    fn gated(&self, act: Activation, gate: &CpuTensor, up: &CpuTensor) -> Result<CpuTensor, BackendError> {
        self.gated_forward(act, gate, up)
    }

    fn gated_backward(
        &self,
        act: Activation,
        grad: &CpuTensor,
        gate: &CpuTensor,
        up: &CpuTensor,
    ) -> Result<[CpuTensor; 2], BackendError> {
        self.gated_gradient(act, grad, gate, up)
    }

    fn activate(&self, act: Activation, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        Ok(self.activate_forward(act, x))
    }

    fn activate_backward(
        &self,
        act: Activation,
        grad: CpuTensor,
        x: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        self.activate_gradient(act, grad, x)
    }

    fn head(
        &self,
        layer: &CpuLinear,
        x: &CpuTensor,
        task: &HeadTask<'_, CpuTensor>,
        tap: Option<HeadTap<'_, CpuTensor>>,
    ) -> Result<HeadOutput<CpuTensor>, BackendError> {
        self.head_losses(layer, x, task, tap)
    }

    fn span_sums(
        &self,
        x: &CpuTensor,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>, BackendError> {
        self.sums_of_spans(x, weights, spans)
    }

    fn lora_grads(
        &self,
        x: &CpuTensor,
        parts: &[LoraOperands<'_, CpuTensor>],
        spans: &[Range<usize>],
        out: &mut CpuRows,
    ) -> Result<(), BackendError> {
        self.lora_factor_grads(x, parts, spans, out)
    }

    fn weight_grads(
        &self,
        x: &CpuTensor,
        grad: &CpuTensor,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.full_weight_grads(x, grad, spans, out, offset)
    }

    fn summed_weight_grads(
        &self,
        x: &CpuTensor,
        grad: &CpuTensor,
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.weight_grads_of_all(x, grad, out, offset)
    }

    fn gram(&self, x: &CpuTensor, rows: Range<usize>, each: RowVisitor<'_>) -> Result<(), BackendError> {
        self.gram_of_rows(x, rows, each)
    }

    fn table_grads(
        &self,
        ids: &[u32],
        grad: &CpuTensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut CpuRows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.table_row_grads(ids, grad, scale, spans, out, offset)
    }

    fn map_columns(&self, x: &CpuTensor, map: &ColumnMap) -> Result<CpuTensor, BackendError> {
        self.map_all_columns(x, map)
    }
}
