//! Tangents of the outputs along those of queries, keys and values.

use super::super::Cpu;
use super::super::gemm::{PackedMatrix, cut};
use super::super::pool::Buffer;
use super::super::tensor::CpuTensor;
use super::scores::{against_keys, multiply_over_keys, pack_head_rows, probability_tangents};
use super::{QueryBlock, block_rows};
use crate::backend::{Attention, AttentionForm, BackendError};

/// A sequence's keys and values of one head, and their tangents.
struct KeySide {
    keys: [PackedMatrix; 2],
    values: [PackedMatrix; 2],
}

/// One head of a block's rows of queries, of their tangents and of log-sums, from the block's first row on.
struct QuerySide<'a> {
    q: [&'a [f32]; 2],
    /// Values from row to row.
    width: usize,
    log_sum: &'a [f32],
}

impl Cpu {
    pub(in super::super) fn attention_moved(
        &self,
        of: &Attention<'_, CpuTensor>,
        [dq, dk, dv]: [&CpuTensor; 3],
        log_sum: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        of.check_tangents([dq, dk, dv], log_sum, CpuTensor::size)?;
        let Attention { q, k, v, form, plan, .. } = *of;
        let heads = form.heads;
        let (dim, width, key_width) = (heads.dim, q.cols(), k.cols());
        let mut out = CpuTensor::zeros(q.rows(), width);
        let to = out.values_mut();
        for span in plan.spans.iter().filter(|span| !span.queries.is_empty()) {
            let positions = &plan.positions[span.queries.clone()];
            let length = span.keys.len();
            for kv in 0..heads.kv {
                let at = span.keys.start * key_width + kv * dim;
                let side = KeySide {
                    keys: [k, dk]
                        .map(|k| PackedMatrix::transposed(&k.values()[at..], key_width, dim, length)),
                    values: [v, dv].map(|v| PackedMatrix::rows(&v.values()[at..], key_width, length, dim)),
                };
                for head in kv * heads.group()..(kv + 1) * heads.group() {
                    for rows in cut(span.queries.len(), block_rows(length, &form, 3)) {
                        let first = span.queries.start + rows.start;
                        let at = first * width + head * dim;
                        let block = QueryBlock::new(rows, positions, &form);
                        let queries = QuerySide {
                            q: [q, dq].map(|q| &q.values()[at..]),
                            width,
                            log_sum: &log_sum.values()[first * heads.query + head..],
                        };
                        self.block_moved(&queries, &side, &mut to[at..], &block, positions, &form);
                    }
                }
            }
        }
        Ok(out)
    }

    fn block_moved(
        &self,
        queries: &QuerySide<'_>,
        side: &KeySide,
        out: &mut [f32],
        block: &QueryBlock,
        positions: &[u32],
        form: &AttentionForm,
    ) {
        let (kernel, count, dim) = (&self.kernels.single, block.rows.len(), form.heads.dim);
        let (width, heads) = (queries.width, form.heads.query);
        let [q, dq] = queries.q.map(|q| pack_head_rows(q, width, count, dim));
        let [keys, dkeys] = side.keys.each_ref().map(PackedMatrix::view);
        let [values, dvalues] = side.values.each_ref().map(PackedMatrix::view);
        let take = || Buffer::take(count * block.stride());
        let (mut weights, mut moved, mut other) = (take(), take(), take());
        against_keys(kernel, &mut weights, block, &q, keys, positions);
        against_keys(kernel, &mut moved, block, &dq, keys, positions);
        against_keys(kernel, &mut other, block, &q, dkeys, positions);
        vectorised!(self.kernels.simd, {
            let log_sum = |i: usize| queries.log_sum[i * heads];
            let tangents: [&mut [f32]; 2] = [&mut moved, &mut other];
            probability_tangents(&mut weights, tangents, block, positions, form, log_sum);
        });
        let (mut first, mut second) = (q, dq);
        multiply_over_keys(kernel, &mut first, dim, block, &moved, values, positions);
        multiply_over_keys(kernel, &mut second, dim, block, &weights, dvalues, positions);
        for (i, (first, second)) in first.chunks_exact(dim).zip(second.chunks_exact(dim)).enumerate() {
            let to = &mut out[i * width..i * width + dim];
            for (to, (first, second)) in to.iter_mut().zip(first.iter().zip(second)) {
                *to = first + second;
            }
        }
    }
}
