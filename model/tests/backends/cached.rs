//! Attention over a cache that samples come into in parts.

use gstore_model::{Attention, AttentionPlan, AttentionSpan, Backend, CacheSpan, CachedAttention};

use super::{Draw, Shape};

/// Outputs and log-sums of every row of each sample, over all of it at once and over a cache in parts of
/// different lengths.
pub fn both_ways<B: Backend>(b: &B, shape: &Shape) -> [Vec<[Vec<f32>; 2]>; 2] {
    let form = shape.attention;
    let (wide, narrow) = (form.heads.query * form.heads.dim, form.heads.kv * form.heads.dim);
    let values = |sample: usize, salt: u64, width: usize| {
        Draw::new(shape.seed * 1000 + sample as u64 * 7 + salt).values(shape.lengths[sample] * width)
    };
    let samples = 0..shape.lengths.len();
    let whole = samples.clone().map(|sample| {
        let len = shape.lengths[sample];
        let t = |salt, width| b.tensor(values(sample, salt, width), len, width).unwrap();
        let (q, k, v) = (t(1, wide), t(2, narrow), t(3, narrow));
        let plan = AttentionPlan {
            spans: vec![AttentionSpan { keys: 0..len, queries: 0..len }],
            positions: (0..len as u32).collect(),
        };
        let (out, log) =
            b.attention(&Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None }).unwrap();
        [b.to_host(&out).unwrap(), b.to_host(&log).unwrap()]
    });
    let whole = whole.collect();

    let mut draw = Draw::new(shape.seed ^ 0x77);
    let mut cache = B::Cache::default();
    // What was there before in a slot is of no consequence.
    let t = |width: usize| b.tensor(vec![0.3; width], 1, width).unwrap();
    let span = [CacheSpan { slot: 0, keys: 0..1, queries: 0..1 }];
    let of = CachedAttention { q: &t(wide), k: &t(narrow), v: &t(narrow), form, spans: &span };
    b.attention_cached(&of, &mut cache).unwrap();
    b.forget(&mut cache, 0);

    let mut parts = vec![[Vec::new(), Vec::new()]; shape.lengths.len()];
    let mut fed = vec![0; shape.lengths.len()];
    while samples.clone().any(|sample| fed[sample] < shape.lengths[sample]) {
        let (mut q, mut k, mut v, mut spans) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut rows = 0;
        for sample in samples.clone() {
            let left = shape.lengths[sample] - fed[sample];
            // Mostly one row at a time, as in generation.
            let most = draw.pick(&[1, 1, 1, 70]);
            let part = draw.size(most).min(left);
            if part == 0 || draw.pick(&[true, false, false]) {
                continue;
            }
            let range = fed[sample]..fed[sample] + part;
            for (to, salt, width) in [(&mut q, 1, wide), (&mut k, 2, narrow), (&mut v, 3, narrow)] {
                to.extend(&values(sample, salt, width)[range.start * width..range.end * width]);
            }
            spans.push(CacheSpan { slot: sample, keys: rows..rows + part, queries: rows..rows + part });
            fed[sample] += part;
            rows += part;
        }
        if rows == 0 {
            continue;
        }
        let t = |values: Vec<f32>, width| b.tensor(values, rows, width).unwrap();
        let (q, k, v) = (t(q, wide), t(k, narrow), t(v, narrow));
        let of = CachedAttention { q: &q, k: &k, v: &v, form, spans: &spans };
        let (out, log) = b.attention_cached(&of, &mut cache).unwrap();
        let (out, log) = (b.to_host(&out).unwrap(), b.to_host(&log).unwrap());
        for CacheSpan { slot, keys, .. } in &spans {
            parts[*slot][0].extend(&out[keys.start * wide..keys.end * wide]);
            let heads = form.heads.query;
            parts[*slot][1].extend(&log[keys.start * heads..keys.end * heads]);
        }
    }
    [whole, parts]
}
