//! Operations of the candle backend.

use std::ops::Range;

use candle_core::Tensor;

use super::{
    Candle, CandleCache, CandleLinear, CandleRows, Result, add_optional, curve, expect, norm, rope, size,
};
use crate::backend::{
    Activation, Attention, Backend, CachedAttention, ColumnMap, HeadOutput, HeadTap, HeadTask, LinearWeights,
    LoraOperands, NormFactors, NormForm, NormWeights, check, check_rows, check_spans,
};

impl Backend for Candle {
    type Tensor = Tensor;
    type Linear = CandleLinear;
    type Rows = CandleRows;
    type Cache = CandleCache;

    fn on_host(&self) -> bool {
        false
    }

    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor> {
        check(rows.checked_mul(cols) == Some(values.len()), || {
            format!("{} values do not fill {rows} rows of {cols}", values.len())
        })?;
        Ok(Tensor::from_vec(values, (rows, cols), &self.device)?)
    }

    fn to_host(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn size(&self, x: &Tensor) -> (usize, usize) {
        size(x)
    }

    fn pack(&self, weights: LinearWeights) -> Result<CandleLinear> {
        let LinearWeights { weight, out, input, bias } = weights;
        check(out > 0 && input > 0, || format!("a linear layer of {input} to {out} columns"))?;
        let bias = bias.map(|bias| self.tensor(bias, 1, out)).transpose()?;
        Ok(CandleLinear { weight: self.tensor(weight, out, input)?, bias })
    }

    fn repack(&self, layer: &mut CandleLinear, weight: &[f32], bias: Option<&[f32]>) -> Result<()> {
        let ((out, input), bias) = (size(&layer.weight), bias.map(<[f32]>::to_vec));
        *layer = self.pack(LinearWeights { weight: weight.to_vec(), out, input, bias })?;
        Ok(())
    }

    fn rows(&self, samples: usize, width: usize, _: Option<CandleRows>) -> Result<CandleRows> {
        Ok(CandleRows { values: self.zeros(samples, width)?, host: Vec::new() })
    }

    fn host_rows<'a>(&self, rows: &'a mut CandleRows) -> Result<&'a mut [f32]> {
        rows.host = self.to_host(&rows.values)?;
        Ok(&mut rows.host)
    }

    fn gather(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        check_rows(rows, size(x).0)?;
        Ok(x.index_select(&self.indices(rows)?, 0)?)
    }

    fn scatter_add(&self, acc: Tensor, rows: &[u32], x: &Tensor) -> Result<Tensor> {
        check_rows(rows, size(&acc).0)?;
        expect(x, rows.len(), size(&acc).1, "rows to add")?;
        Ok(acc.index_add(&self.indices(rows)?, x, 0)?)
    }

    fn add(&self, acc: Tensor, x: &Tensor) -> Result<Tensor> {
        Ok((acc + x)?)
    }

    fn linear(&self, layer: &CandleLinear, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let mut y = x.matmul(&layer.weight.t()?)?;
        if let Some(residual) = residual {
            y = (residual + y)?;
        }
        match &layer.bias {
            Some(bias) => Ok(y.broadcast_add(bias)?),
            None => Ok(y),
        }
    }

    fn linear_backward(&self, layer: &CandleLinear, grad: &Tensor, acc: Option<Tensor>) -> Result<Tensor> {
        add_optional(acc, grad.matmul(&layer.weight)?)
    }

    fn linear_tangent(&self, layer: &CandleLinear, x: &Tensor, acc: Option<Tensor>) -> Result<Tensor> {
        add_optional(acc, x.matmul(&layer.weight.t()?)?)
    }

    fn norm(&self, x: &Tensor, weights: &NormWeights<Tensor>, form: NormForm) -> Result<(Tensor, Tensor)> {
        norm::forward(x, weights, form)
    }

    fn norm_backward(
        &self,
        factors: &NormFactors<'_, Tensor>,
        weights: &NormWeights<Tensor>,
        acc: Option<Tensor>,
    ) -> Result<Tensor> {
        add_optional(acc, norm::backward(factors, weights)?)
    }

    fn norm_grads(
        &self,
        factors: &NormFactors<'_, Tensor>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut CandleRows,
        [offset, bias_offset]: [Option<usize>; 2],
    ) -> Result<()> {
        let normed = norm::normalized(factors, width)?;
        for (offset, x) in [(offset, &(factors.grad * normed)?), (bias_offset, factors.grad)] {
            let Some(offset) = offset else { continue };
            let sums = self.sums(x, spans)?;
            self.add_rows(&sums.reshape((spans.len(), (), width))?.sum(1)?, out, offset)?;
        }
        Ok(())
    }

    fn rope(&self, x: Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize, inverse: bool) -> Result<Tensor> {
        rope::turned(&x, cos, sin, head_dim, inverse)
    }

    fn forget(&self, cache: &mut CandleCache, slot: usize) {
        cache.forget(slot);
    }

    fn gated(&self, act: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        Ok((curve::value(act, gate)? * up)?)
    }

    fn gated_backward(
        &self,
        act: Activation,
        grad: &Tensor,
        gate: &Tensor,
        up: &Tensor,
    ) -> Result<[Tensor; 2]> {
        Ok([((grad * up)? * curve::slope(act, gate)?)?, (grad * curve::value(act, gate)?)?])
    }

    fn activate(&self, act: Activation, x: &Tensor) -> Result<Tensor> {
        curve::value(act, x)
    }

    fn activate_backward(&self, act: Activation, grad: Tensor, x: &Tensor) -> Result<Tensor> {
        Ok((grad * curve::slope(act, x)?)?)
    }

    fn span_sums(&self, x: &Tensor, weights: &[f32], spans: &[Range<usize>]) -> Result<Vec<f32>> {
        check(weights.len() == size(x).0, || format!("{} weights of {} rows", weights.len(), size(x).0))?;
        self.to_host(&self.sums(&x.broadcast_mul(&self.column(weights)?)?, spans)?)
    }

    fn lora_grads(
        &self,
        x: &Tensor,
        parts: &[LoraOperands<'_, Tensor>],
        spans: &[Range<usize>],
        out: &mut CandleRows,
    ) -> Result<()> {
        for LoraOperands { grad, a, b, scaling, a_offset, b_offset } in parts {
            expect(b, size(grad).1, size(a).0, "LoRA factor B")?;
            let outer = grad.matmul(b)?.affine(f64::from(*scaling), 0.0)?;
            self.weight_grads(x, &outer, spans, out, *a_offset)?;
            let inner = x.matmul(&a.t()?)?.affine(f64::from(*scaling), 0.0)?;
            self.weight_grads(&inner, grad, spans, out, *b_offset)?;
        }
        Ok(())
    }

    fn weight_grads(
        &self,
        x: &Tensor,
        grad: &Tensor,
        spans: &[Range<usize>],
        out: &mut CandleRows,
        offset: usize,
    ) -> Result<()> {
        let ((rows, input), width) = (size(x), size(grad).1);
        expect(grad, rows, width, "gradient of a linear layer")?;
        let products = self.by_span(spans, rows, width * input, |at, len| {
            Ok(grad.narrow(0, at, len)?.t()?.matmul(&x.narrow(0, at, len)?)?)
        })?;
        self.add_rows(&products, out, offset)
    }

    fn table_grads(
        &self,
        ids: &[u32],
        grad: &Tensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut CandleRows,
        offset: usize,
    ) -> Result<()> {
        let (rows, width) = size(grad);
        check(ids.len() == rows, || format!("{} ids of {rows} rows of a gradient", ids.len()))?;
        check_spans(spans, rows)?;
        let used = spans.iter().filter_map(|span| ids[span.clone()].iter().max());
        let Some(last) = used.max() else { return Ok(()) };
        let (height, scaled) = (*last as usize + 1, grad.affine(f64::from(scale), 0.0)?);
        let tables = self.by_span(spans, rows, height * width, |at, len| {
            let ids = self.indices(&ids[at..at + len])?;
            Ok(self.zeros(height, width)?.index_add(&ids, &scaled.narrow(0, at, len)?.contiguous()?, 0)?)
        })?;
        self.add_rows(&tables, out, offset)
    }

    fn map_columns(&self, x: &Tensor, map: &ColumnMap) -> Result<Tensor> {
        map.check(size(x).1)?;
        let columns = |of: fn(&(u32, u32, f32)) -> u32| map.entries.iter().map(of).collect::<Vec<_>>();
        let factors: Vec<f32> = map.entries.iter().map(|entry| entry.2).collect();
        let picked = x.index_select(&self.indices(&columns(|entry| entry.1))?, 1)?;
        let scaled = picked.broadcast_mul(&self.column(&factors)?.t()?)?;
        let zeros = self.zeros(size(x).0, map.out)?;
        let mapped = zeros.index_add(&self.indices(&columns(|entry| entry.0))?, &scaled, 1)?;
        let Some((to, value)) = map.constant else { return Ok(mapped) };
        let mut constant = vec![0.0; map.out];
        constant[to as usize] = value;
        Ok(mapped.broadcast_add(&self.tensor(constant, 1, map.out)?)?)
    }

    operations! {
        attention = attend(of: &Attention<'_, Tensor>) -> (Tensor, Tensor);
        attention_cached = attend_cached(
            of: &CachedAttention<'_, Tensor>, cache: &mut CandleCache
        ) -> (Tensor, Tensor);
        attention_backward = attend_backward(
            of: &Attention<'_, Tensor>, grad: &Tensor, out: &Tensor, log_sum: &Tensor
        ) -> [Tensor; 3];
        attention_tangent = attend_tangent(
            of: &Attention<'_, Tensor>, tangents: [&Tensor; 3], log_sum: &Tensor
        ) -> Tensor;
        head = score(
            layer: &CandleLinear, x: &Tensor, task: &HeadTask<'_, Tensor>, tap: Option<HeadTap<'_, Tensor>>
        ) -> HeadOutput<Tensor>;
    }
}
