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
        let (memory, offset) = self.values(x)?;
        self.download(memory, offset, x.len())
    }

    fn size(&self, x: &Tensor<R>) -> (usize, usize) {
        x.size()
    }

    fn pack(&self, weights: LinearWeights) -> Result<Linear<R>> {
        self.layer(&weights.weight, weights.bias.as_deref(), weights.out, weights.input)
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

    fn host_rows<'a>(&self, rows: &'a mut Rows<R>) -> Result<&'a mut [f32]> {
        self.rows_on_host(rows)
    }

    fn linear_backward(
        &self,
        layer: &Linear<R>,
        grad: &Tensor<R>,
        acc: Option<Tensor<R>>,
    ) -> Result<Tensor<R>> {
        self.linear_sum(layer, grad, acc, true)
    }

    fn linear_inside(&self, layer: &Linear<R>, x: &Tensor<R>) -> Result<Tensor<R>> {
        self.linear_inner(layer, x, false)
    }

    fn linear_backward_inside(&self, layer: &Linear<R>, grad: &Tensor<R>) -> Result<Tensor<R>> {
        self.linear_inner(layer, grad, true)
    }

    fn linear_tangent(&self, layer: &Linear<R>, x: &Tensor<R>, acc: Option<Tensor<R>>) -> Result<Tensor<R>> {
        self.linear_sum(layer, x, acc, false)
    }

    fn forget(&self, cache: &mut Cache<R>, slot: usize) {
        cache.forget(slot);
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

    gstore_model::operations! {
        rows = zero_rows(samples: usize, width: usize, old: Option<Rows<R>>) -> Rows<R>;
        gather = gather_rows(x: &Tensor<R>, rows: &[u32]) -> Tensor<R>;
        scatter_add = add_rows_to(acc: Tensor<R>, rows: &[u32], x: &Tensor<R>) -> Tensor<R>;
        add = add_tensor(acc: Tensor<R>, x: &Tensor<R>) -> Tensor<R>;
        linear = linear_forward(
            layer: &Linear<R>, x: &Tensor<R>, residual: Option<&Tensor<R>>
        ) -> Tensor<R>;
        norm = norm_rows(
            x: &Tensor<R>, weights: &NormWeights<Tensor<R>>, form: NormForm
        ) -> (Tensor<R>, Tensor<R>);
        norm_backward = norm_gradient(
            factors: &NormFactors<'_, Tensor<R>>, weights: &NormWeights<Tensor<R>>, acc: Option<Tensor<R>>
        ) -> Tensor<R>;
        norm_grads = norm_weight_grads(
            factors: &NormFactors<'_, Tensor<R>>, width: usize, spans: &[Range<usize>], out: &mut Rows<R>,
            offsets: [Option<usize>; 2]
        ) -> ();
        rope = rotate(
            x: Tensor<R>, cos: &Tensor<R>, sin: &Tensor<R>, head_dim: usize, inverse: bool
        ) -> Tensor<R>;
        attention = attend(of: &Attention<'_, Tensor<R>>) -> (Tensor<R>, Tensor<R>);
        attention_cached = attend_cached(
            of: &CachedAttention<'_, Tensor<R>>, cache: &mut Cache<R>
        ) -> (Tensor<R>, Tensor<R>);
        attention_backward = attend_gradient(
            of: &Attention<'_, Tensor<R>>, grad: &Tensor<R>, out: &Tensor<R>, log_sum: &Tensor<R>
        ) -> [Tensor<R>; 3];
        attention_tangent = attend_tangent(
            of: &Attention<'_, Tensor<R>>, tangents: [&Tensor<R>; 3], log_sum: &Tensor<R>
        ) -> Tensor<R>;
        gated = gate(act: Activation, gate: &Tensor<R>, up: &Tensor<R>) -> Tensor<R>;
        gated_backward = gate_gradient(
            act: Activation, grad: &Tensor<R>, gate: &Tensor<R>, up: &Tensor<R>
        ) -> [Tensor<R>; 2];
        activate = activation(act: Activation, x: &Tensor<R>) -> Tensor<R>;
        activate_backward = activation_gradient(act: Activation, grad: Tensor<R>, x: &Tensor<R>) -> Tensor<R>;
        head = score(
            layer: &Linear<R>, x: &Tensor<R>, task: &HeadTask<'_, Tensor<R>>,
            tap: Option<HeadTap<'_, Tensor<R>>>
        ) -> HeadOutput<Tensor<R>>;
        span_sums = weighted_span_sums(x: &Tensor<R>, weights: &[f32], spans: &[Range<usize>]) -> Vec<f32>;
        lora_grads = lora_factor_grads(
            x: &Tensor<R>, parts: &[LoraOperands<'_, Tensor<R>>], spans: &[Range<usize>], out: &mut Rows<R>
        ) -> ();
        weight_grads = full_weight_grads(
            x: &Tensor<R>, grad: &Tensor<R>, spans: &[Range<usize>], out: &mut Rows<R>, offset: usize
        ) -> ();
        summed_weight_grads = weight_grads_of_all(
            x: &Tensor<R>, grad: &Tensor<R>, out: &mut Rows<R>, offset: usize
        ) -> ();
        map_columns = mapped_columns(x: &Tensor<R>, map: &ColumnMap) -> Tensor<R>;
    }
}
