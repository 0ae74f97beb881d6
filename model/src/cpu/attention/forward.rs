//! Attention forward: outputs and log-sum-exps.

use super::super::Cpu;
use super::super::gemm::{MatrixPanels, PackedMatrix, cut};
use super::super::pool::Buffer;
use super::super::tensor::CpuTensor;
use super::scores::{against_keys, multiply_over_keys, pack_head_rows, softmax_weights};
use super::{BlockDropout, MOST_ROWS, QueryBlock, block_rows};
use crate::backend::{Attention, AttentionForm, BackendError};

impl Cpu {
    pub(in super::super) fn attention_forward(
        &self,
        of: &Attention<'_, CpuTensor>,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        of.check(CpuTensor::size)?;
        let Attention { q, k, v, form, plan, dropout } = *of;
        let heads = form.heads;
        let (dim, width, key_width) = (heads.dim, q.cols(), k.cols());
        // Rows of no sequence stay zero.
        let mut out = CpuTensor::zeros(q.rows(), width);
        let mut log_sum = CpuTensor::zeros(q.rows(), heads.query);
        let (out_to, log_to) = (out.values_mut(), log_sum.values_mut());
        for span in plan.spans.iter().filter(|span| !span.queries.is_empty()) {
            let positions = &plan.positions[span.queries.clone()];
            let length = span.keys.len();
            for kv in 0..heads.kv {
                let at = span.keys.start * key_width + kv * dim;
                let keys = PackedMatrix::transposed(&k.values()[at..], key_width, dim, length);
                let values = PackedMatrix::rows(&v.values()[at..], key_width, length, dim);
                for head in kv * heads.group()..(kv + 1) * heads.group() {
                    for rows in cut(span.queries.len(), block_rows(length, &form, 1)) {
                        let first = span.queries.start + rows.start;
                        let block = QueryBlock::new(rows, positions, &form);
                        let at = first * width + head * dim;
                        let log_to = &mut log_to[first * heads.query + head..];
                        let heads = heads.query;
                        let dropout = dropout.map(|of| BlockDropout { of, first, head });
                        self.attend(
                            &q.values()[at..],
                            &mut out_to[at..],
                            width,
                            (keys.view(), values.view()),
                            &block,
                            positions,
                            (&form, dropout),
                            |i, value| log_to[i * heads] = value,
                        );
                    }
                }
            }
        }
        Ok((out, log_sum))
    }

    /// One head of a block of rows, `width` values apart.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn attend(
        &self,
        q: &[f32],
        out: &mut [f32],
        width: usize,
        (keys, values): (MatrixPanels<'_>, MatrixPanels<'_>),
        block: &QueryBlock,
        positions: &[u32],
        (form, dropout): (&AttentionForm, Option<BlockDropout<'_>>),
        log_sum: impl FnMut(usize, f32),
    ) {
        let (kernel, count, dim) = (&self.kernels.single, block.rows.len(), form.heads.dim);
        let mut scores = Buffer::take(count * block.stride());
        let q = pack_head_rows(q, width, count, dim);
        against_keys(kernel, &mut scores, block, &q, keys, positions);
        let mut sums = [0.0; MOST_ROWS];
        vectorised!(
            self.kernels.simd,
            softmax_weights(&mut scores, block, positions, form, &mut sums, log_sum)
        );
        // The sums are those of all weights.
        if let Some(dropout) = dropout {
            dropout.apply(&mut scores, block, positions, form);
        }
        let mut weighed = q;
        multiply_over_keys(kernel, &mut weighed, dim, block, &scores, values, positions);
        vectorised!(self.kernels.simd, {
            for (i, (row, sum)) in weighed.chunks_exact(dim).zip(&sums).enumerate() {
                let inverse = 1.0 / sum;
                for (to, v) in out[i * width..i * width + dim].iter_mut().zip(row) {
                    *to = v * inverse;
                }
            }
        });
    }
}
