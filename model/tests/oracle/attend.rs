//! Attention: softcap, window, scale, and queries that are a part of the rows.

use super::*;
use gstore_model::{
    Attention, AttentionDropout, AttentionForm, AttentionPlan, AttentionSpan, Backend, Heads,
};

const HEADS: Heads = Heads { query: 4, kv: 2, dim: 12 };

/// A sequence of which most rows ask, a short one, and one of which the last rows ask.
fn plan() -> AttentionPlan {
    let first: Vec<u32> = (0..75).filter(|p| p % 9 != 4).collect();
    let n = first.len();
    let spans = vec![
        AttentionSpan { keys: 0..75, queries: 0..n },
        AttentionSpan { keys: 75..78, queries: n..n + 3 },
        AttentionSpan { keys: 78..118, queries: n + 3..n + 5 },
    ];
    AttentionPlan { spans, positions: first.into_iter().chain([0, 1, 2, 21, 39]).collect() }
}

fn forms() -> impl Iterator<Item = AttentionForm> {
    let base = AttentionForm { heads: HEADS, scale: 0.7, softcap: None, window: None };
    [
        base,
        AttentionForm { softcap: Some(1.5), ..base },
        AttentionForm { window: Some(1), ..base },
        AttentionForm { window: Some(11), ..base },
        AttentionForm { window: Some(50), softcap: Some(0.8), ..base },
        AttentionForm { window: Some(usize::MAX), ..base },
    ]
    .into_iter()
}

/// Outputs and log-sum-exp.
fn reference(q: &[f64], k: &[f64], v: &[f64], form: AttentionForm, plan: &AttentionPlan) -> [Vec<f64>; 2] {
    let Heads { query, dim, kv } = HEADS;
    let mut out = vec![0.0; q.len()];
    let mut log_sum = vec![0.0; q.len() / dim];
    for span in &plan.spans {
        for row in span.queries.clone() {
            let position = plan.positions[row] as usize;
            let oldest = form.window.map_or(0, |w| (position + 1).saturating_sub(w));
            for head in 0..query {
                let at = (row * query + head) * dim;
                let key_at = |key: usize| ((span.keys.start + key) * kv + head / (query / kv)) * dim;
                let score = |key: usize| {
                    let s = dot(&q[at..at + dim], &k[key_at(key)..][..dim]) * f64::from(form.scale);
                    form.softcap.map_or(s, |cap| f64::from(cap) * (s / f64::from(cap)).tanh())
                };
                let scores: Vec<f64> = (oldest..=position).map(score).collect();
                let total: f64 = scores.iter().map(|s| s.exp()).sum();
                for (key, s) in (oldest..).zip(&scores) {
                    for i in 0..dim {
                        out[at + i] += s.exp() / total * v[key_at(key) + i];
                    }
                }
                log_sum[row * query + head] = total.ln();
            }
        }
    }
    [out, log_sum]
}

pub fn outputs_and_gradients_agree<B: Backend>(on: &B) {
    let plan = plan();
    let (rows, keys) = (plan.positions.len(), 118);
    let (width, key_width) = (HEADS.query * HEADS.dim, HEADS.kv * HEADS.dim);
    let q: Vec<f32> = noise(1, rows * width).iter().map(|v| v * 2.0).collect();
    let (k, v, c) = (noise(2, keys * key_width), noise(3, keys * key_width), noise(4, rows * width));
    let (tq, tc) = (matrix(on, &q, rows, width), matrix(on, &c, rows, width));
    let (tk, tv) = (matrix(on, &k, keys, key_width), matrix(on, &v, keys, key_width));
    for form in forms() {
        let of = Attention { q: &tq, k: &tk, v: &tv, form, plan: &plan, dropout: None };
        let (out, log_sum) = on.attention(&of).unwrap();
        let [expected, expected_log_sum] = reference(&wide(&q), &wide(&k), &wide(&v), form, &plan);
        assert_close(&host(on, &out), &expected, 3e-6);
        assert_close(&host(on, &log_sum), &expected_log_sum, 3e-6);

        let found = on.attention_backward(&of, &tc, &out, &log_sum).unwrap();
        let loss = |q: &[f64], k: &[f64], v: &[f64]| dot(&reference(q, k, v, form, &plan)[0], &wide(&c));
        let inputs = [&q, &k, &v];
        for (which, found) in found.iter().map(|x| host(on, x)).enumerate() {
            let every = 211;
            let expected = slopes(inputs[which], (0..found.len()).step_by(every), |x| {
                let mut inputs = inputs.map(|x| wide(x));
                inputs[which] = x.to_vec();
                loss(&inputs[0], &inputs[1], &inputs[2])
            });
            let found: Vec<f32> = found.into_iter().step_by(every).collect();
            assert_close(&found, &expected, 1e-5);
        }
    }
}

/// A single key has the weight 1 for any score: no difference of two sums that ought to be equal is left.
pub fn scores_of_a_single_key_have_no_gradient<B: Backend>(on: &B) {
    let heads = Heads { query: 4, kv: 2, dim: 64 };
    let (width, key_width) = (heads.query * heads.dim, heads.kv * heads.dim);
    let base = AttentionForm { heads, scale: 0.3, softcap: None, window: None };
    // Three queries of one sequence, and one of another.
    let spans =
        vec![AttentionSpan { keys: 0..3, queries: 0..3 }, AttentionSpan { keys: 3..4, queries: 3..4 }];
    let plan = AttentionPlan { spans, positions: vec![0, 1, 2, 0] };
    let [q, grad] = [1, 2].map(|seed| matrix(on, &noise(seed, 4 * width), 4, width));
    let [k, v] = [3, 4].map(|seed| matrix(on, &noise(seed, 4 * key_width), 4, key_width));
    let dropped = AttentionDropout { rate: 0.3, keys: &[1, 2, 3, 4] };
    let soft = AttentionForm { softcap: Some(1.5), ..base };
    let narrow = AttentionForm { window: Some(1), ..base };
    for (form, dropout) in [(base, None), (base, Some(dropped)), (soft, None), (narrow, None)] {
        let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout };
        let (out, log_sum) = on.attention(&of).unwrap();
        let [dq, dk, _] = on.attention_backward(&of, &grad, &out, &log_sum).unwrap();
        let zeros = |x: &B::Tensor, width: usize| -> Vec<bool> {
            host(on, x).chunks_exact(width).map(|row| row.iter().all(|value| *value == 0.0)).collect()
        };
        let one_key = form.window == Some(1);
        assert_eq!(zeros(&dq, width), [true, one_key, one_key, true], "queries, {form:?}");
        assert_eq!(zeros(&dk, key_width), [one_key, one_key, one_key, true], "keys, {form:?}");
    }
}

pub fn tangents_agree<B: Backend>(on: &B) {
    const STEP: f64 = 1e-5;
    let plan = plan();
    let (rows, keys) = (plan.positions.len(), 118);
    let (width, key_width) = (HEADS.query * HEADS.dim, HEADS.kv * HEADS.dim);
    let sizes = [(rows, width), (keys, key_width), (keys, key_width)];
    let drawn = |seed: u64| [0, 1, 2].map(|at| noise(seed + at as u64, sizes[at].0 * sizes[at].1));
    let (inputs, moved) = (drawn(1), drawn(5));
    let tensors =
        |values: &[Vec<f32>; 3]| [0, 1, 2].map(|at| matrix(on, &values[at], sizes[at].0, sizes[at].1));
    let ([q, k, v], [dq, dk, dv]) = (tensors(&inputs), tensors(&moved));
    for form in forms() {
        let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None };
        let (_, log_sum) = on.attention(&of).unwrap();
        let found = on.attention_tangent(&of, [&dq, &dk, &dv], &log_sum).unwrap();
        let at = |step: f64| {
            let stepped = |at: usize| -> Vec<f64> {
                inputs[at]
                    .iter()
                    .zip(&moved[at])
                    .map(|(x, dx)| f64::from(*x) + step * f64::from(*dx))
                    .collect()
            };
            let [out, _] = reference(&stepped(0), &stepped(1), &stepped(2), form, &plan);
            out
        };
        let (above, below) = (at(STEP), at(-STEP));
        let expected: Vec<f64> = above.iter().zip(below).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
        assert_close(&host(on, &found), &expected, 3e-6);
        assert!(on.attention_tangent(&of, [&dk, &dk, &dv], &log_sum).is_err());
        assert!(on.attention_tangent(&of, [&dq, &dk, &dv], &dq).is_err());
    }
}
