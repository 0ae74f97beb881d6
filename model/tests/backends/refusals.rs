//! Calls whose sizes do not fit each other.

use gstore_model::{
    Activation, Attention, AttentionForm, AttentionPlan, AttentionSpan, Backend, CacheSpan, CachedAttention,
    ColumnMap, HeadTask, Heads, LinearWeights, LoraOperands, NormFactors, NormForm, NormKind, NormWeights,
    Objective,
};

/// Panics unless every call is an error.
pub fn all<B: Backend>(b: &B) {
    let t = |rows: usize, cols: usize| b.tensor(vec![0.5; rows * cols], rows, cols).unwrap();
    let layer = |out: usize, input: usize| {
        b.pack(LinearWeights { weight: vec![0.5; out * input], out, input, bias: None }).unwrap()
    };
    let refused = |name: &str, err: bool| assert!(err, "{name} was not refused");

    refused("tensor", b.tensor(vec![0.0; 5], 2, 3).is_err());
    refused("huge tensor", b.tensor(vec![], usize::MAX, 2).is_err());
    let weights = |weight, bias| LinearWeights { weight, out: 2, input: 3, bias };
    refused("pack", b.pack(weights(vec![0.0; 5], None)).is_err());
    refused("bias", b.pack(weights(vec![0.0; 6], Some(vec![0.0; 3]))).is_err());
    refused("repack", b.repack(&mut layer(2, 3), &[0.0; 5], None).is_err());
    refused("bias of repack", b.repack(&mut layer(2, 3), &[0.0; 6], Some(&[0.0; 3])).is_err());
    refused("gather", b.gather(&t(2, 3), &[2]).is_err());
    refused("scatter_add", b.scatter_add(t(2, 3), &[2], &t(1, 3)).is_err());
    refused("scatter_add's rows", b.scatter_add(t(2, 3), &[0], &t(2, 3)).is_err());
    refused("add", b.add(t(2, 3), &t(3, 2)).is_err());
    refused("linear", b.linear(&layer(2, 3), &t(4, 2), None).is_err());
    refused("residual", b.linear(&layer(2, 3), &t(4, 3), Some(&t(4, 3))).is_err());
    refused("linear_backward", b.linear_backward(&layer(2, 3), &t(4, 3), None).is_err());
    refused("linear_tangent", b.linear_tangent(&layer(2, 3), &t(4, 2), None).is_err());
    refused("sum of tangents", b.linear_tangent(&layer(2, 3), &t(4, 3), Some(t(4, 3))).is_err());
    refused("sum", b.linear_backward(&layer(2, 3), &t(4, 2), Some(t(4, 2))).is_err());

    let form = NormForm { kind: NormKind::Layer, eps: 1e-5 };
    let norm = NormWeights { weight: t(1, 3), bias: None };
    refused("norm", b.norm(&t(2, 4), &norm, form).is_err());
    refused(
        "norm's bias",
        b.norm(&t(2, 3), &NormWeights { weight: t(1, 3), bias: Some(t(1, 2)) }, form).is_err(),
    );
    let (x, one) = (t(2, 3), t(2, 1));
    let few = NormFactors { grad: &x, x: &x, stats: &one, form };
    refused("norm_backward", b.norm_backward(&few, &norm, None).is_err());
    let mut out = b.rows(1, 4, None).unwrap();
    let (x, stats) = (t(2, 3), t(2, 2));
    let factors = NormFactors { grad: &x, x: &x, stats: &stats, form };
    let span = [0..2];
    let mut norm_grads = |spans: &[std::ops::Range<usize>], offset| {
        b.norm_grads(&factors, 3, spans, &mut out, [Some(offset), None]).is_err()
    };
    refused("norm_grads", norm_grads(&span, 2));
    refused("norm_grads' span", norm_grads(&[1..3], 0));
    refused("more samples than vectors", norm_grads(&[0..1, 1..2], 0));
    refused("rope", b.rope(t(2, 4), &t(2, 3), &t(2, 3), 4, false).is_err());
    refused("rope's rows", b.rope(t(2, 4), &t(1, 2), &t(1, 2), 4, false).is_err());

    let attention = |heads: Heads, window, keys, positions: Vec<u32>| {
        let form = AttentionForm { heads, scale: 1.0, softcap: None, window };
        let plan = AttentionPlan { spans: vec![AttentionSpan { keys, queries: 0..2 }], positions };
        b.attention(&Attention { q: &t(2, 8), k: &t(3, 4), v: &t(3, 4), form, plan: &plan, dropout: None })
            .is_err()
    };
    let heads = Heads { query: 2, kv: 1, dim: 4 };
    let cached = |spans: &[CacheSpan]| {
        let form = AttentionForm { heads, scale: 1.0, softcap: None, window: None };
        let of = CachedAttention { q: &t(2, 8), k: &t(3, 4), v: &t(3, 4), form, spans };
        b.attention_cached(&of, &mut B::Cache::default()).is_err()
    };
    let new = |slot, keys, queries| CacheSpan { slot, keys, queries };
    assert!(!cached(&[new(0, 0..1, 0..1), new(2, 1..3, 1..2)]));
    refused("new keys that are not there", cached(&[new(0, 1..4, 0..1)]));
    refused("no new keys", cached(&[new(0, 1..1, 0..0)]));
    refused("more queries than new keys", cached(&[new(0, 0..1, 0..2)]));
    refused("a sequence twice", cached(&[new(1, 0..1, 0..1), new(1, 1..2, 1..2)]));
    assert!(!attention(heads, None, 0..3, vec![0, 2]));
    refused("a position beyond the keys", attention(heads, None, 0..3, vec![0, 3]));
    refused("positions out of order", attention(heads, None, 0..3, vec![1, 0]));
    refused("keys beyond the tensor", attention(heads, None, 0..4, vec![0, 1]));
    refused("too few positions", attention(heads, None, 0..3, vec![0]));
    refused("an empty window", attention(heads, Some(0), 0..3, vec![0, 1]));
    refused(
        "heads that no group shares",
        attention(Heads { query: 2, kv: 0, dim: 4 }, None, 0..3, vec![0, 1]),
    );
    refused("heads of another width", attention(Heads { query: 2, kv: 1, dim: 3 }, None, 0..3, vec![0, 1]));

    refused("gated", b.gated(Activation::Silu, &t(2, 3), &t(3, 2)).is_err());
    refused("gated_backward", b.gated_backward(Activation::Silu, &t(2, 2), &t(2, 3), &t(2, 3)).is_err());
    refused("activate_backward", b.activate_backward(Activation::Silu, t(2, 2), &t(2, 3)).is_err());

    let head = |targets: &[u32], weights: Option<&[f32]>| {
        let objective = Objective::CrossEntropy { smoothing: 0.0 };
        let task = HeadTask { targets, weights, softcap: None, objective, entropies: false };
        b.head(&layer(5, 3), &t(2, 3), &task, None).is_err()
    };
    assert!(!head(&[0, 4], None));
    refused("a target beyond the vocabulary", head(&[0, 5], None));
    refused("too few targets", head(&[0], None));
    refused("too many weights", head(&[0, 1], Some(&[1.0; 3])));
    let reference = t(2, 2);
    let task = HeadTask {
        targets: &[0, 1],
        weights: None,
        softcap: None,
        objective: Objective::Kl { reference: &reference },
        entropies: false,
    };
    refused("a reference of another width", b.head(&layer(5, 3), &t(2, 3), &task, None).is_err());

    refused("span_sums", b.span_sums(&t(2, 3), &[1.0; 3], &span).is_err());
    refused("span_sums' span", b.span_sums(&t(2, 3), &[1.0; 2], &[1..3]).is_err());
    let map = |entry, constant| ColumnMap { input: 3, out: 2, entries: vec![entry], constant };
    refused("map_columns", b.map_columns(&t(2, 3), &map((2, 0, 1.0), None)).is_err());
    refused("map_columns' input", b.map_columns(&t(2, 3), &map((0, 3, 1.0), None)).is_err());
    refused("map_columns' constant", b.map_columns(&t(2, 3), &map((0, 0, 1.0), Some((2, 1.0)))).is_err());
    refused("map_columns' width", b.map_columns(&t(2, 4), &map((0, 0, 1.0), None)).is_err());

    let mut out = b.rows(1, 12, None).unwrap();
    let (x, grad, a, f) = (t(2, 3), t(2, 4), t(1, 3), t(4, 1));
    let mut lora = |a: &B::Tensor, f: &B::Tensor, b_offset| {
        let part = LoraOperands { grad: &grad, a, b: f, scaling: 1.0, a_offset: 0, b_offset };
        b.lora_grads(&x, &[part], &span, &mut out).is_err()
    };
    assert!(!lora(&a, &f, 3));
    refused("a LoRA factor A", lora(&t(1, 4), &f, 3));
    refused("a LoRA factor B", lora(&a, &t(4, 2), 3));
    refused("a LoRA offset", lora(&a, &f, 9));
    refused("a LoRA offset that overflows", lora(&a, &f, usize::MAX));
    refused("weight_grads", b.weight_grads(&x, &grad, &span, &mut out, 1).is_err());
    refused("table_grads", b.table_grads(&[0, 4], &x, 1.0, &span, &mut out, 0).is_err());
    refused("table_grads' ids", b.table_grads(&[0], &x, 1.0, &span, &mut out, 0).is_err());
}
