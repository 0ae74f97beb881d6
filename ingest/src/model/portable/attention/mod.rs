//! Packed causal attention and its backward, tile by tile.
//!
//! Queries lie in the lanes of vectors, 32 side by side; keys go down the rows of a tile. So the softmax runs down columns without
//! crossing lanes, and four of the five products of the backward pass are one kernel. A tile has all keys that its queries see and no
//! more, so work and memory are linear in the keys of a sequence, and probabilities exist for one tile at a time.

mod kernels;
mod tile;

use pulp::Simd;

use self::kernels::{outer, product};
use self::tile::{BLOCK, Block, KeysAndValues, Tile, resized, softmax, softmax_backward};
use super::super::backend::{AttentionPlan, Heads};

/// Outputs and log-sum-exp, row-major.
pub(super) struct Forward<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub heads: Heads,
    pub plan: &'a AttentionPlan,
    pub out: &'a mut [f32],
    pub log_sum: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { q, k, v, heads, plan, out, log_sum } = self;
        let mut kv = KeysAndValues::default();
        let mut tile = Tile::default();
        for span in &plan.spans {
            for kv_head in 0..heads.kv {
                kv.load(k, v, span.keys.clone(), heads, kv_head);
                for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                    for start in span.queries.clone().step_by(BLOCK) {
                        let rows = start..(start + BLOCK).min(span.queries.end);
                        let block = Block::new(rows, &plan.positions, head, heads);
                        block.transpose(q, heads.scale(), &mut tile.q);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, block.keys_pad),
                        );
                        let (sums, logs) = softmax(&mut tile.p, &block);
                        let p = &tile.p[..block.keys];
                        product(simd, &kv.v, kv.dim_pad, p, block.keys, resized(&mut tile.out, kv.dim_pad));
                        block.untranspose(&tile.out, &sums.map(f32::recip), out);
                        for (lane, row) in block.rows.clone().enumerate() {
                            log_sum[row * heads.query + head] = logs[lane];
                        }
                    }
                }
            }
        }
    }
}

/// Gradients of q, k and v, row-major; every row of a span is written.
pub(super) struct Backward<'a> {
    pub grad: &'a [f32],
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub log_sum: &'a [f32],
    pub heads: Heads,
    pub plan: &'a AttentionPlan,
    pub dq: &'a mut [f32],
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { grad, q, k, v, out, log_sum, heads, plan, dq, dk, dv } = self;
        let mut kv = KeysAndValues::default();
        let mut tile = Tile::default();
        let (mut dk_head, mut dv_head) = (Vec::new(), Vec::new());
        for span in &plan.spans {
            for kv_head in 0..heads.kv {
                kv.load(k, v, span.keys.clone(), heads, kv_head);
                for sums in [&mut dk_head, &mut dv_head] {
                    sums.clear();
                    sums.resize(kv.keys_pad * kv.dim_pad, 0.0);
                }
                for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                    for start in span.queries.clone().step_by(BLOCK) {
                        let rows = start..(start + BLOCK).min(span.queries.end);
                        let block = Block::new(rows, &plan.positions, head, heads);
                        block.transpose(q, heads.scale(), &mut tile.q);
                        block.transpose(grad, 1.0, &mut tile.grad);
                        let (keys, keys_pad) = (block.keys, block.keys_pad);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, keys_pad),
                        );
                        product(
                            simd,
                            &kv.vt,
                            kv.keys_pad,
                            &tile.grad,
                            heads.dim,
                            resized(&mut tile.dp, keys_pad),
                        );
                        let logs = block.lanes(|row| log_sum[row * heads.query + head]);
                        let along = block.lanes(|row| block.row_dot(grad, out, row));
                        softmax_backward(&mut tile.p, &mut tile.dp, &logs, &along, &block);

                        block.copy(grad, 1.0, kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.p, &tile.rows, kv.dim_pad, &mut dv_head);
                        block.copy(q, heads.scale(), kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.dp, &tile.rows, kv.dim_pad, &mut dk_head);
                        let ds = &tile.dp[..keys];
                        product(simd, &kv.k, kv.dim_pad, ds, keys, resized(&mut tile.out, kv.dim_pad));
                        block.untranspose(&tile.out, &[heads.scale(); BLOCK], dq);
                    }
                }
                for (sums, target) in [(&dk_head, &mut *dk), (&dv_head, &mut *dv)] {
                    for (row, sums) in span.keys.clone().zip(sums.chunks_exact(kv.dim_pad)) {
                        let start = (row * heads.kv + kv_head) * heads.dim;
                        target[start..start + heads.dim].copy_from_slice(&sums[..heads.dim]);
                    }
                }
            }
        }
    }
}

impl Heads {
    fn scale(self) -> f32 {
        (self.dim as f32).sqrt().recip()
    }
}
