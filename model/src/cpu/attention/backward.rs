//! Attention backward: gradients of queries, keys and values.

use std::ops::Range;

use super::super::Cpu;
use super::super::gemm::{Addend, Addends, Destination, Kernel, Left, PANEL, PackedMatrix, Panel, cut};
use super::super::math::dot;
use super::super::pool::Buffer;
use super::super::tensor::CpuTensor;
use super::scores::{against_keys, multiply_over_keys, pack_head_rows, probabilities};
use super::{BlockDropout, MOST_ROWS, QueryBlock, block_rows};
use crate::backend::{Attention, AttentionForm, BackendError};

/// Blocks of a sequence's query rows.
///
/// The gradients of keys and values are summed block by block. Where a block ends depends only on the rows up
/// to its start, so the bits are the same when rows without a gradient follow.
fn blocks(positions: &[u32], form: &AttentionForm) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let keys = *positions.get(start)? as usize + MOST_ROWS;
        let rows = start..positions.len().min(start + block_rows(keys, form, 2));
        start = rows.end;
        Some(rows)
    })
}

/// A sequence's keys or values of one head in both forms.
struct PackedForms {
    plain: PackedMatrix,
    transposed: PackedMatrix,
}

/// One head's part of matrices whose rows start `width` values apart, from a block's first row on.
#[derive(Clone, Copy)]
struct HeadOperands<'a> {
    q: &'a [f32],
    grad: &'a [f32],
    out: &'a [f32],
    log_sum: &'a [f32],
    width: usize,
}

/// Gradients of a sequence's keys and values of one head, rows side by side.
struct KeyGrads {
    dk: Buffer,
    dv: Buffer,
}

impl Cpu {
    pub(in super::super) fn attention_gradient(
        &self,
        of: &Attention<'_, CpuTensor>,
        grad: &CpuTensor,
        out: &CpuTensor,
        log_sum: &CpuTensor,
    ) -> Result<[CpuTensor; 3], BackendError> {
        of.check(CpuTensor::size)?;
        let Attention { q, k, v, form, plan, dropout } = *of;
        let heads = form.heads;
        grad.expect(q.rows(), q.cols(), "gradient of attention")?;
        out.expect(q.rows(), q.cols(), "outputs of attention")?;
        log_sum.expect(q.rows(), heads.query, "log-sums of attention")?;
        let (dim, width, key_width) = (heads.dim, q.cols(), k.cols());
        let mut dq = CpuTensor::zeros(q.rows(), width);
        let mut dk = CpuTensor::zeros(k.rows(), key_width);
        let mut dv = CpuTensor::zeros(k.rows(), key_width);
        let (dq_to, dk_to, dv_to) = (dq.values_mut(), dk.values_mut(), dv.values_mut());
        for span in plan.spans.iter().filter(|span| !span.queries.is_empty()) {
            let positions = &plan.positions[span.queries.clone()];
            let length = span.keys.len();
            for kv in 0..heads.kv {
                let at = span.keys.start * key_width + kv * dim;
                let keys = PackedForms {
                    plain: PackedMatrix::rows(&k.values()[at..], key_width, length, dim),
                    transposed: PackedMatrix::transposed(&k.values()[at..], key_width, dim, length),
                };
                let values = PackedMatrix::transposed(&v.values()[at..], key_width, dim, length);
                let mut key_grads =
                    KeyGrads { dk: Buffer::zeroed(length * dim), dv: Buffer::zeroed(length * dim) };
                for head in kv * heads.group()..(kv + 1) * heads.group() {
                    for rows in blocks(positions, &form) {
                        let first = span.queries.start + rows.start;
                        let block = QueryBlock::new(rows, positions, &form);
                        let at = first * width + head * dim;
                        let rows = HeadOperands {
                            q: &q.values()[at..],
                            grad: &grad.values()[at..],
                            out: &out.values()[at..],
                            log_sum: &log_sum.values()[first * heads.query + head..],
                            width,
                        };
                        let dropout = dropout.map(|of| BlockDropout { of, first, head });
                        let dq = &mut dq_to[at..];
                        self.block_gradient(
                            rows,
                            dq,
                            &mut key_grads,
                            &keys,
                            &values,
                            &block,
                            positions,
                            (&form, dropout),
                        );
                    }
                }
                for (to, sums) in [(&mut *dk_to, &key_grads.dk), (&mut *dv_to, &key_grads.dv)] {
                    for (i, sums) in sums.chunks_exact(dim).enumerate() {
                        to[at + i * key_width..][..dim].copy_from_slice(sums);
                    }
                }
            }
        }
        Ok([dq, dk, dv])
    }

    #[allow(clippy::too_many_arguments)]
    fn block_gradient(
        &self,
        rows: HeadOperands<'_>,
        dq: &mut [f32],
        key_grads: &mut KeyGrads,
        keys: &PackedForms,
        values: &PackedMatrix,
        block: &QueryBlock,
        positions: &[u32],
        (form, dropout): (&AttentionForm, Option<BlockDropout<'_>>),
    ) {
        let (kernel, count, size) =
            (&self.kernels.single, block.rows.len(), block.rows.len() * block.stride());
        let (width, dim, heads) = (rows.width, form.heads.dim, form.heads.query);
        let (mut scores, mut grads) = (Buffer::take(size), Buffer::take(size));
        let q = pack_head_rows(rows.q, width, count, dim);
        let grad = pack_head_rows(rows.grad, width, count, dim);
        against_keys(kernel, &mut scores, block, &q, keys.transposed.view(), positions);
        against_keys(kernel, &mut grads, block, &grad, values.view(), positions);
        // What is dropped of the weights has no gradient, and the rest has the same factor.
        let dropped = |values: &mut Buffer| {
            if let Some(dropout) = dropout {
                dropout.apply(values, block, positions, form);
            }
        };
        dropped(&mut grads);
        vectorised!(self.kernels.simd, {
            let log_sum = |i: usize| rows.log_sum[i * heads];
            // The sum of probabilities times their gradients is that of outputs times theirs.
            let along = |i: usize| dot(&rows.out[i * width..][..dim], &grad[i * dim..][..dim]);
            probabilities(&mut scores, &mut grads, block, positions, form, log_sum, along);
        });
        dropped(&mut scores);
        multiply_over_keys(kernel, dq, width, block, &grads, keys.plain.view(), positions);
        let grad = PackedMatrix::rows(&grad, dim, count, dim);
        let q = PackedMatrix::rows(&q, dim, count, dim);
        add_over_rows(kernel, &mut key_grads.dv, dim, &scores, &grad, block, positions);
        add_over_rows(kernel, &mut key_grads.dk, dim, &grads, &q, block, positions);
    }
}

/// Adds `weights^T rows` to the rows of the keys that a block sees; skips the queries that see
/// none of a tile's keys.
fn add_over_rows(
    kernel: &Kernel,
    to: &mut [f32],
    stride: usize,
    weights: &[f32],
    rows: &PackedMatrix,
    block: &QueryBlock,
    positions: &[u32],
) {
    let width = block.stride();
    let positions = &positions[block.rows.clone()];
    for tile in cut(block.keys.len(), kernel.rows()) {
        let key = block.keys.start + tile.start;
        let first = positions.partition_point(|position| (*position as usize) < key);
        let left = Left::by_column(&weights[first * width + tile.start..], tile.len(), width);
        for (column, cols, panel) in rows.view().panels() {
            let to = Destination { data: &mut to[key * stride + column..], stride, cols };
            let part = Panel::packed(&panel[first * PANEL..]);
            kernel.panel(to, left, part, Addends { bias: None, add: Addend::Destination });
        }
    }
}
