//! Packed causal attention, a block of queries of one sequence at a time.

use std::ops::Range;

use candle_core::{D, Tensor};

use super::{Candle, Result, expect, size, softcap_with_slope};
use crate::backend::{Attention, AttentionDropout, AttentionForm, AttentionPlan, AttentionSpan};

/// Queries whose probabilities exist at a time.
const BLOCK: usize = 128;

/// Some queries of a sequence, and the keys from the first to the last that they see.
struct QueryBlock {
    queries: Range<usize>,
    keys: Range<usize>,
    /// Place of the first of them in the sequence.
    from: usize,
    /// Added to the scores, `[queries, keys]`: 0, or minus infinity where a key is not seen.
    mask: Tensor,
}

impl Candle {
    pub(super) fn attend(&self, of: &Attention<'_, Tensor>) -> Result<(Tensor, Tensor)> {
        of.check(size)?;
        let Attention { q, k, v, form, plan, dropout } = *of;
        let (rows, width) = size(q);
        let (outputs, log_sums) = (self.zeros(rows, width)?, self.zeros(rows, form.heads.query)?);
        for block in self.blocks(form, plan)? {
            let (scores, _) = block.scores(q, k, form)?;
            let largest = scores.max_keepdim(D::Minus1)?;
            let powers = scores.broadcast_sub(&largest)?.exp()?;
            let total = powers.sum_keepdim(D::Minus1)?;
            let mut weights = powers.broadcast_div(&total)?;
            if let Some(dropout) = dropout {
                weights = (weights * block.factors(dropout, form)?)?;
            }
            let out = weights.matmul(&block.keys(v, form)?)?;
            outputs.slice_set(&joined(&out)?, 0, block.queries.start)?;
            log_sums.slice_set(&joined(&(largest + total.log()?)?)?, 0, block.queries.start)?;
        }
        Ok((outputs, log_sums))
    }

    pub(super) fn attend_backward(
        &self,
        of: &Attention<'_, Tensor>,
        grad: &Tensor,
        out: &Tensor,
        log_sum: &Tensor,
    ) -> Result<[Tensor; 3]> {
        of.check(size)?;
        let Attention { q, k, v, form, plan, dropout } = *of;
        let ((rows, width), (key_rows, key_width)) = (size(q), size(k));
        expect(grad, rows, width, "gradient of attention")?;
        expect(out, rows, width, "outputs of attention")?;
        expect(log_sum, rows, form.heads.query, "log-sums of attention")?;
        let dq = self.zeros(rows, width)?;
        let [dk, dv] = [self.zeros(key_rows, key_width)?, self.zeros(key_rows, key_width)?];
        for block in self.blocks(form, plan)? {
            let (scores, slopes) = block.scores(q, k, form)?;
            let p = scores.broadcast_sub(&block.queries(log_sum, 1)?)?.exp()?;
            let grad = block.queries(grad, form.heads.dim)?;
            let along = (&grad * block.queries(out, form.heads.dim)?)?.sum_keepdim(D::Minus1)?;
            let mut dp = grad.matmul(&block.keys(v, form)?.t()?)?;
            let mut weights = p.clone();
            if let Some(dropout) = dropout {
                let factors = block.factors(dropout, form)?;
                (dp, weights) = ((dp * &factors)?, (weights * factors)?);
            }
            let mut ds = (&p * dp.broadcast_sub(&along)?)?.affine(f64::from(form.scale), 0.0)?;
            if let Some(slopes) = slopes {
                ds = (ds * slopes)?;
            }
            if let Some(factors) = block.score_factors(form, plan)? {
                ds = ds.broadcast_mul(&factors)?;
            }
            dq.slice_set(&joined(&ds.matmul(&block.keys(k, form)?)?)?, 0, block.queries.start)?;
            let by_key = |x: &Tensor| x.transpose(1, 2)?.contiguous();
            block.add_to_keys(&dk, &by_key(&ds)?.matmul(&block.queries(q, form.heads.dim)?)?, form)?;
            block.add_to_keys(&dv, &by_key(&weights)?.matmul(&grad)?, form)?;
        }
        Ok([dq, dk, dv])
    }

    pub(super) fn attend_tangent(
        &self,
        of: &Attention<'_, Tensor>,
        [dq, dk, dv]: [&Tensor; 3],
        log_sum: &Tensor,
    ) -> Result<Tensor> {
        of.check_tangents([dq, dk, dv], log_sum, size)?;
        let Attention { q, k, v, form, plan, .. } = *of;
        let (rows, width) = size(q);
        let (outputs, dim) = (self.zeros(rows, width)?, form.heads.dim);
        for block in self.blocks(form, plan)? {
            let (scores, slopes) = block.scores(q, k, form)?;
            let p = scores.broadcast_sub(&block.queries(log_sum, 1)?)?.exp()?;
            let of_queries = block.queries(dq, dim)?.matmul(&block.keys(k, form)?.t()?)?;
            let of_keys = block.queries(q, dim)?.matmul(&block.keys(dk, form)?.t()?)?;
            let mut ds = (of_queries + of_keys)?.affine(f64::from(form.scale), 0.0)?;
            if let Some(slopes) = slopes {
                ds = (ds * slopes)?;
            }
            let along = (&p * &ds)?.sum_keepdim(D::Minus1)?;
            let dp = (&p * ds.broadcast_sub(&along)?)?;
            let out = (dp.matmul(&block.keys(v, form)?)? + p.matmul(&block.keys(dv, form)?)?)?;
            outputs.slice_set(&joined(&out)?, 0, block.queries.start)?;
        }
        Ok(outputs)
    }

    fn blocks(&self, form: AttentionForm, plan: &AttentionPlan) -> Result<Vec<QueryBlock>> {
        let of_span = |span: &AttentionSpan| {
            let (queries, keys) = (span.queries.clone(), span.keys.clone());
            let starts = queries.clone().step_by(BLOCK);
            starts.map(move |start| (start..(start + BLOCK).min(queries.end), keys.clone()))
        };
        let block = |(queries, keys): (Range<usize>, Range<usize>)| -> Result<QueryBlock> {
            let positions = &plan.positions[queries.clone()];
            let from = positions.first().map_or(0, |position| form.visible_keys(*position).start);
            let to = positions.last().map_or(0, |position| form.visible_keys(*position).end);
            let seen = |position: &u32| {
                let visible = form.visible_keys(*position);
                (from..to).map(move |key| if visible.contains(&key) { 0.0 } else { f32::NEG_INFINITY })
            };
            let mask: Vec<f32> = positions.iter().flat_map(seen).collect();
            let mask = Tensor::from_vec(mask, (positions.len(), to - from), &self.device)?;
            Ok(QueryBlock { queries, keys: keys.start + from..keys.start + to, from, mask })
        };
        plan.spans.iter().flat_map(of_span).map(block).collect()
    }
}

impl QueryBlock {
    /// The block's rows of something with `dim` columns for each query head: `[heads, queries, dim]`.
    fn queries(&self, x: &Tensor, dim: usize) -> Result<Tensor> {
        split(x, &self.queries, dim)
    }

    /// The keys or values that each query head sees: `[heads, keys, dim]`.
    fn keys(&self, x: &Tensor, form: AttentionForm) -> Result<Tensor> {
        let heads = form.heads;
        let kv = split(x, &self.keys, heads.dim)?.unsqueeze(1)?;
        let shared = kv.expand((heads.kv, heads.group(), self.keys.len(), heads.dim))?;
        Ok(shared.reshape((heads.query, self.keys.len(), heads.dim))?)
    }

    /// The scores, capped and masked, and the slopes of a cap.
    fn scores(&self, q: &Tensor, k: &Tensor, form: AttentionForm) -> Result<(Tensor, Option<Tensor>)> {
        let q = self.queries(q, form.heads.dim)?.affine(f64::from(form.scale), 0.0)?;
        let scores = q.matmul(&self.keys(k, form)?.t()?)?;
        let Some(cap) = form.softcap else { return Ok((scores.broadcast_add(&self.mask)?, None)) };
        let (scores, slopes) = softcap_with_slope(&scores, cap)?;
        Ok((scores.broadcast_add(&self.mask)?, Some(slopes)))
    }

    /// Factors of the scores' gradients, `[queries, 1]`: 0 for a query that sees one key, whose weight is 1
    /// for any score, so that what is computed of its gradient is rounding. None where all see more.
    fn score_factors(&self, form: AttentionForm, plan: &AttentionPlan) -> Result<Option<Tensor>> {
        let sees_more = |position: &u32| form.visible_keys(*position).len() > 1;
        let positions = &plan.positions[self.queries.clone()];
        if positions.iter().all(sees_more) {
            return Ok(None);
        }
        let factors: Vec<f32> = positions.iter().map(|position| f32::from(sees_more(position))).collect();
        Ok(Some(Tensor::from_vec(factors, (positions.len(), 1), self.mask.device())?))
    }

    /// Factors of the weights, `[heads, queries, keys]`: 0 of what is dropped.
    fn factors(&self, dropout: AttentionDropout<'_>, form: AttentionForm) -> Result<Tensor> {
        let (heads, queries, keys) = (form.heads.query, self.queries.len(), self.keys.len());
        let mut factors = vec![1.0f32; heads * queries * keys];
        for (at, row) in factors.chunks_exact_mut(keys.max(1)).enumerate() {
            dropout.apply(row, self.queries.start + at % queries, at / queries, self.from);
        }
        Ok(Tensor::from_vec(factors, (heads, queries, keys), self.mask.device())?)
    }

    /// Adds `[heads, keys, dim]`, summed over the heads that share a key head, to the keys' rows.
    fn add_to_keys(&self, sums: &Tensor, x: &Tensor, form: AttentionForm) -> Result<()> {
        let heads = form.heads;
        let of_kv = x.reshape((heads.kv, heads.group(), self.keys.len(), heads.dim))?.sum(1)?;
        let before = sums.narrow(0, self.keys.start, self.keys.len())?;
        sums.slice_set(&(before + joined(&of_kv)?)?, 0, self.keys.start)?;
        Ok(())
    }
}

/// Rows of heads side by side as `[heads, rows, dim]`.
fn split(x: &Tensor, rows: &Range<usize>, dim: usize) -> Result<Tensor> {
    let x = x.narrow(0, rows.start, rows.len())?;
    Ok(x.reshape((rows.len(), x.dim(1)? / dim, dim))?.transpose(0, 1)?.contiguous()?)
}

/// The inverse of [`split`].
fn joined(x: &Tensor) -> Result<Tensor> {
    let (heads, rows, dim) = x.dims3()?;
    Ok(x.transpose(0, 1)?.contiguous()?.reshape((rows, heads * dim))?)
}
