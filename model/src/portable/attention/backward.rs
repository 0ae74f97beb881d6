//! The backward pass of attention.

use pulp::Simd;

use super::super::super::backend::{AttentionForm, AttentionPlan};
use super::super::simd::{softcap, softcap_slopes};
use super::kernels::{outer, product};
use super::tile::{BLOCK, Block, KeysAndValues, Tile, resized, softmax_backward};

/// Gradients of q, k and v, row-major; every row of a span is written.
pub(super) struct Backward<'a> {
    pub grad: &'a [f32],
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub log_sum: &'a [f32],
    pub form: AttentionForm,
    pub plan: &'a AttentionPlan,
    pub dq: &'a mut [f32],
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { grad, q, k, v, out, log_sum, form, plan, dq, dk, dv } = self;
        let heads = form.heads;
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
                        let block = Block::new(rows, &plan.positions, head, form);
                        block.transpose(q, form.scale, &mut tile.q);
                        block.transpose(grad, 1.0, &mut tile.grad);
                        let (keys, keys_pad) = (block.keys, block.keys_pad);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            block.from,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, keys_pad),
                        );
                        product(
                            simd,
                            &kv.vt,
                            kv.keys_pad,
                            block.from,
                            &tile.grad,
                            heads.dim,
                            resized(&mut tile.dp, keys_pad),
                        );
                        let logs = block.lanes(|row| log_sum[row * heads.query + head]);
                        let along = block.lanes(|row| block.row_dot(grad, out, row));
                        if let Some(cap) = form.softcap {
                            let slopes = resized(&mut tile.slopes, keys_pad);
                            softcap(tile.p.as_flattened_mut(), cap);
                            softcap_slopes(tile.p.as_flattened(), cap, slopes.as_flattened_mut());
                        }
                        softmax_backward(&mut tile.p, &mut tile.dp, &logs, &along, &block);
                        if form.softcap.is_some() {
                            let slopes = tile.slopes.as_flattened();
                            tile.dp.as_flattened_mut().iter_mut().zip(slopes).for_each(|(d, s)| *d *= s);
                        }

                        let seen = block.from * kv.dim_pad..(block.from + keys_pad) * kv.dim_pad;
                        block.copy(grad, 1.0, kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.p, &tile.rows, kv.dim_pad, &mut dv_head[seen.clone()]);
                        block.copy(q, form.scale, kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.dp, &tile.rows, kv.dim_pad, &mut dk_head[seen.clone()]);
                        let ds = &tile.dp[..keys];
                        let k = &kv.k[seen];
                        product(simd, k, kv.dim_pad, 0, ds, keys, resized(&mut tile.out, kv.dim_pad));
                        block.untranspose(&tile.out, &[form.scale; BLOCK], dq);
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
