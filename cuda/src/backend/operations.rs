//! The trait's operations.

use std::ops::Range;

use gstore_model::{
    Activation, Attention, Backend, CachedAttention, ColumnMap, HeadOutput, HeadTap, HeadTask, LinearWeights,
    LoraOperands, NormFactors, NormForm, NormWeights,
};

use super::{Cuda, CudaCache, CudaLinear, CudaRows, Tensor};
use crate::runtime::{Result, Runtime};

type Linear<R> = CudaLinear<<R as Runtime>::Memory>;
type Rows<R> = CudaRows<<R as Runtime>::Memory>;
type Cache<R> = CudaCache<<R as Runtime>::Memory>;

impl<R: Runtime> Backend for Cuda<R> {
    type Tensor = Tensor<R>;
    type Linear = Linear<R>;
    type Rows = Rows<R>;
    type Cache = Cache<R>;

    fn on_host(&self) -> bool {
        false
    }

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor<R>> {
        self.tensor_of(&values, rows, cols)
    }

    fn to_host(&self, x: &Tensor<R>) -> Result<Vec<f32>> {
        let (memory, offset) = x.place();
        self.download(memory, offset, x.len())
    }

    fn size(&self, x: &Tensor<R>) -> (usize, usize) {
        x.size()
    }

    fn pack(&self, weights: LinearWeights) -> Result<Linear<R>> {
        self.pack_layer(&weights)
    }

    fn pack_of_layer(&self, weights: LinearWeights) -> Result<Linear<R>> {
        match self.arithmetic.bytes {
            true => self.layer_of_bytes(&weights),
            false => self.pack(weights),
        }
    }

    fn repack(&self, layer: &mut Linear<R>, weight: &[f32], bias: Option<&[f32]>) -> Result<()> {
        *layer = self.layer(weight, bias, layer.out(), layer.input())?;
        Ok(())
    }

    fn rows(&self, samples: usize, width: usize, old: Option<Rows<R>>) -> Result<Rows<R>> {
        self.zero_rows(samples, width, old)
    }

    fn host_rows<'a>(&self, rows: &'a mut Rows<R>) -> Result<&'a mut [f32]> {
        self.rows_on_host(rows)
    }

    fn gather(&self, x: &Tensor<R>, rows: &[u32]) -> Result<Tensor<R>> {
        self.gather_rows(x, rows)
    }

    fn scatter_add(&self, acc: Tensor<R>, rows: &[u32], x: &Tensor<R>) -> Result<Tensor<R>> {
        self.add_rows_to(acc, rows, x)
    }

    fn add(&self, acc: Tensor<R>, x: &Tensor<R>) -> Result<Tensor<R>> {
        self.add_tensor(acc, x)
    }

    fn linear(&self, layer: &Linear<R>, x: &Tensor<R>, residual: Option<&Tensor<R>>) -> Result<Tensor<R>> {
        self.linear_forward(layer, x, residual)
    }

    fn linear_backward(
        &self,
        layer: &Linear<R>,
        grad: &Tensor<R>,
        acc: Option<Tensor<R>>,
    ) -> Result<Tensor<R>> {
        self.linear_sum(layer, grad, acc, true)
    }

    fn linear_tangent(&self, layer: &Linear<R>, x: &Tensor<R>, acc: Option<Tensor<R>>) -> Result<Tensor<R>> {
        self.linear_sum(layer, x, acc, false)
    }

    fn norm(
        &self,
        x: &Tensor<R>,
        weights: &NormWeights<Tensor<R>>,
        form: NormForm,
    ) -> Result<(Tensor<R>, Tensor<R>)> {
        self.norm_rows(x, weights, form)
    }

    fn norm_backward(
        &self,
        factors: &NormFactors<'_, Tensor<R>>,
        weights: &NormWeights<Tensor<R>>,
        acc: Option<Tensor<R>>,
    ) -> Result<Tensor<R>> {
        self.norm_gradient(factors, weights, acc)
    }

    fn norm_grads(
        &self,
        factors: &NormFactors<'_, Tensor<R>>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut Rows<R>,
        offsets: [Option<usize>; 2],
    ) -> Result<()> {
        self.norm_weight_grads(factors, width, spans, out, offsets)
    }

    fn rope(
        &self,
        x: Tensor<R>,
        cos: &Tensor<R>,
        sin: &Tensor<R>,
        head_dim: usize,
        inverse: bool,
    ) -> Result<Tensor<R>> {
        self.rotate(x, cos, sin, head_dim, inverse)
    }

    fn attention(&self, of: &Attention<'_, Tensor<R>>) -> Result<(Tensor<R>, Tensor<R>)> {
        self.attend(of)
    }

    fn attention_cached(
        &self,
        of: &CachedAttention<'_, Tensor<R>>,
        cache: &mut Cache<R>,
    ) -> Result<(Tensor<R>, Tensor<R>)> {
        self.attend_cached(of, cache)
    }

    fn forget(&self, cache: &mut Cache<R>, slot: usize) {
        cache.forget(slot);
    }

    fn attention_backward(
        &self,
        of: &Attention<'_, Tensor<R>>,
        grad: &Tensor<R>,
        out: &Tensor<R>,
        log_sum: &Tensor<R>,
    ) -> Result<[Tensor<R>; 3]> {
        self.attend_gradient(of, grad, out, log_sum)
    }

    fn attention_tangent(
        &self,
        of: &Attention<'_, Tensor<R>>,
        tangents: [&Tensor<R>; 3],
        log_sum: &Tensor<R>,
    ) -> Result<Tensor<R>> {
        self.attend_tangent(of, tangents, log_sum)
    }

    fn gated(&self, act: Activation, gate: &Tensor<R>, up: &Tensor<R>) -> Result<Tensor<R>> {
        self.gate(act, gate, up)
    }

    fn gated_backward(
        &self,
        act: Activation,
        grad: &Tensor<R>,
        gate: &Tensor<R>,
        up: &Tensor<R>,
    ) -> Result<[Tensor<R>; 2]> {
        self.gate_gradient(act, grad, gate, up)
    }

    fn activate(&self, act: Activation, x: &Tensor<R>) -> Result<Tensor<R>> {
        self.activation(act, x)
    }

    fn activate_backward(&self, act: Activation, grad: Tensor<R>, x: &Tensor<R>) -> Result<Tensor<R>> {
        self.activation_gradient(act, grad, x)
    }

    fn head(
        &self,
        layer: &Linear<R>,
        x: &Tensor<R>,
        task: &HeadTask<'_, Tensor<R>>,
        tap: Option<HeadTap<'_, Tensor<R>>>,
    ) -> Result<HeadOutput<Tensor<R>>> {
        self.score(layer, x, task, tap)
    }

    fn span_sums(&self, x: &Tensor<R>, weights: &[f32], spans: &[Range<usize>]) -> Result<Vec<f32>> {
        self.weighted_span_sums(x, weights, spans)
    }

    fn lora_grads(
        &self,
        x: &Tensor<R>,
        parts: &[LoraOperands<'_, Tensor<R>>],
        spans: &[Range<usize>],
        out: &mut Rows<R>,
    ) -> Result<()> {
        self.lora_factor_grads(x, parts, spans, out)
    }

    fn weight_grads(
        &self,
        x: &Tensor<R>,
        grad: &Tensor<R>,
        spans: &[Range<usize>],
        out: &mut Rows<R>,
        offset: usize,
    ) -> Result<()> {
        self.full_weight_grads(x, grad, spans, out, offset)
    }

    fn summed_weight_grads(
        &self,
        x: &Tensor<R>,
        grad: &Tensor<R>,
        out: &mut Rows<R>,
        offset: usize,
    ) -> Result<()> {
        self.weight_grads_of_all(x, grad, out, offset)
    }

    fn table_grads(
        &self,
        ids: &[u32],
        grad: &Tensor<R>,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut Rows<R>,
        offset: usize,
    ) -> Result<()> {
        self.table_row_grads((ids, grad), scale, spans, out, offset)
    }

    fn map_columns(&self, x: &Tensor<R>, map: &ColumnMap) -> Result<Tensor<R>> {
        self.mapped_columns(x, map)
    }
}
