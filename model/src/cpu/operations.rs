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

    fn rows(&self, samples: usize, width: usize, old: Option<CpuRows>) -> Result<CpuRows, BackendError> {
        CpuRows::zeros(samples, width, old)
    }

    fn host_rows<'a>(&self, rows: &'a mut CpuRows) -> Result<&'a mut [f32], BackendError> {
        Ok(rows.values_mut())
    }

    fn forget(&self, cache: &mut CpuCache, slot: usize) {
        cache.forget(slot);
    }

    fn activate(&self, act: Activation, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        Ok(self.activate_forward(act, x))
    }

    operations! {
        repack = repack_linear(layer: &mut CpuLinear, weight: &[f32], bias: Option<&[f32]>) -> ();
        gather = gather_rows(x: &CpuTensor, rows: &[u32]) -> CpuTensor;
        scatter_add = scatter_rows(acc: CpuTensor, rows: &[u32], x: &CpuTensor) -> CpuTensor;
        add = add_tensors(acc: CpuTensor, x: &CpuTensor) -> CpuTensor;
        linear = linear_forward(layer: &CpuLinear, x: &CpuTensor, residual: Option<&CpuTensor>) -> CpuTensor;
        linear_backward = linear_gradient(
            layer: &CpuLinear, grad: &CpuTensor, acc: Option<CpuTensor>
        ) -> CpuTensor;
        linear_tangent = linear_unbiased(
            layer: &CpuLinear, x: &CpuTensor, acc: Option<CpuTensor>
        ) -> CpuTensor;
        norm = norm_forward(
            x: &CpuTensor, weights: &NormWeights<CpuTensor>, form: NormForm
        ) -> (CpuTensor, CpuTensor);
        norm_backward = norm_gradient(
            factors: &NormFactors<'_, CpuTensor>, weights: &NormWeights<CpuTensor>, acc: Option<CpuTensor>
        ) -> CpuTensor;
        norm_grads = norm_weight_grads(
            factors: &NormFactors<'_, CpuTensor>, width: usize, spans: &[Range<usize>], out: &mut CpuRows,
            offsets: [Option<usize>; 2]
        ) -> ();
        rope = rotate(
            x: CpuTensor, cos: &CpuTensor, sin: &CpuTensor, head_dim: usize, inverse: bool
        ) -> CpuTensor;
        attention = attention_forward(of: &Attention<'_, CpuTensor>) -> (CpuTensor, CpuTensor);
        attention_cached = attention_over_cache(
            of: &CachedAttention<'_, CpuTensor>, cache: &mut CpuCache
        ) -> (CpuTensor, CpuTensor);
        attention_backward = attention_gradient(
            of: &Attention<'_, CpuTensor>, grad: &CpuTensor, out: &CpuTensor, log_sum: &CpuTensor
        ) -> [CpuTensor; 3];
        attention_tangent = attention_moved(
            of: &Attention<'_, CpuTensor>, tangents: [&CpuTensor; 3], log_sum: &CpuTensor
        ) -> CpuTensor;
        gated = gated_forward(act: Activation, gate: &CpuTensor, up: &CpuTensor) -> CpuTensor;
        gated_backward = gated_gradient(
            act: Activation, grad: &CpuTensor, gate: &CpuTensor, up: &CpuTensor
        ) -> [CpuTensor; 2];
        activate_backward = activate_gradient(act: Activation, grad: CpuTensor, x: &CpuTensor) -> CpuTensor;
        head = head_losses(
            layer: &CpuLinear, x: &CpuTensor, task: &HeadTask<'_, CpuTensor>,
            tap: Option<HeadTap<'_, CpuTensor>>
        ) -> HeadOutput<CpuTensor>;
        span_sums = sums_of_spans(x: &CpuTensor, weights: &[f32], spans: &[Range<usize>]) -> Vec<f32>;
        lora_grads = lora_factor_grads(
            x: &CpuTensor, parts: &[LoraOperands<'_, CpuTensor>], spans: &[Range<usize>], out: &mut CpuRows
        ) -> ();
        weight_grads = full_weight_grads(
            x: &CpuTensor, grad: &CpuTensor, spans: &[Range<usize>], out: &mut CpuRows, offset: usize
        ) -> ();
        summed_weight_grads = weight_grads_of_all(
            x: &CpuTensor, grad: &CpuTensor, out: &mut CpuRows, offset: usize
        ) -> ();
        grams = grams_of_rows(x: &CpuTensor, step: usize, each: RowVisitor<'_>) -> ();
        table_grads = table_row_grads(
            ids: &[u32], grad: &CpuTensor, scale: f32, spans: &[Range<usize>], out: &mut CpuRows,
            offset: usize
        ) -> ();
        map_columns = map_all_columns(x: &CpuTensor, map: &ColumnMap) -> CpuTensor;
    }
}
