//! The forward pass of attention.

use pulp::Simd;

use super::super::super::backend::{AttentionForm, AttentionPlan};
use super::super::simd::softcap;
use super::kernels::product;
use super::tile::{BLOCK, Block, KeysAndValues, Tile, resized, softmax};

/// Outputs and log-sum-exp, row-major.
pub(super) struct Forward<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub form: AttentionForm,
    pub plan: &'a AttentionPlan,
    pub out: &'a mut [f32],
    pub log_sum: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { q, k, v, form, plan, out, log_sum } = self;
        let heads = form.heads;
        let mut kv = KeysAndValues::default();
        let mut tile = Tile::default();
        for span in &plan.spans {
            for kv_head in 0..heads.kv {
                kv.load(k, v, span.keys.clone(), heads, kv_head);
                for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                    for start in span.queries.clone().step_by(BLOCK) {
                        let rows = start..(start + BLOCK).min(span.queries.end);
                        let block = Block::new(rows, &plan.positions, head, form);
                        block.transpose(q, form.scale, &mut tile.q);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            block.from,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, block.keys_pad),
                        );
                        if let Some(cap) = form.softcap {
                            softcap(tile.p.as_flattened_mut(), cap);
                        }
                        let (sums, logs) = softmax(&mut tile.p, &block);
                        let p = &tile.p[..block.keys];
                        let v = &kv.v[block.from * kv.dim_pad..];
                        product(simd, v, kv.dim_pad, 0, p, block.keys, resized(&mut tile.out, kv.dim_pad));
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
