//! Sizes that disagree are errors; nothing at all is not.

use super::*;
use gstore_model::*;

const FORM: AttentionForm =
    AttentionForm { heads: Heads { query: 2, kv: 1, dim: 2 }, scale: 1.0, softcap: None, window: None };

pub fn sizes_that_disagree_are_errors<B: Backend>(on: &B) {
    let x = matrix(on, &noise(1, 12), 3, 4);
    let y = matrix(on, &noise(2, 8), 2, 4);
    let row = matrix(on, &noise(3, 3), 1, 3);
    let angles = matrix(on, &noise(4, 9), 3, 3);
    assert!(on.tensor(vec![0.0; 3], 2, 2).is_err());
    assert!(on.tensor(vec![], usize::MAX, 2).is_err());
    assert!(on.pack(LinearWeights { weight: vec![], out: usize::MAX, input: 2, bias: None }).is_err());
    assert!(on.gather(&x, &[3]).is_err());
    assert!(on.add(x.clone(), &y).is_err());
    let rms = NormForm { kind: NormKind::Rms, eps: 1e-6 };
    assert!(on.norm(&x, &NormWeights { weight: row, bias: None }, rms).is_err());
    assert!(on.rope(x.clone(), &angles, &angles, 4, false).is_err());
    assert!(on.rope(x.clone(), &angles, &angles, 0, false).is_err());
    assert!(on.gated(Activation::Relu, &x, &y).is_err());
    assert!(on.activate_backward(Activation::Relu, x.clone(), &y).is_err());
    assert!(on.span_sums(&x, &[1.0; 2], &[0..1]).is_err());
    assert!(on.span_sums(&x, &[1.0; 3], &[2..4]).is_err());
    for entry in [(1, 0, 1.0), (0, 4, 1.0)] {
        let map = ColumnMap { input: 4, out: 1, entries: vec![entry], constant: None };
        assert!(on.map_columns(&x, &map).is_err());
    }
    let mut out = on.rows(1, 16, None).unwrap();
    assert!(on.weight_grads(&x, &x, &[0..3], &mut out, 1).is_err());
    assert!(on.weight_grads(&x, &x, &[0..3], &mut out, usize::MAX).is_err());
    assert!(on.summed_weight_grads(&x, &x, &mut out, 1).is_err());
    assert!(on.summed_weight_grads(&x, &x, &mut out, usize::MAX).is_err());
    assert!(on.weight_grads(&x, &x, &[0..1, 1..3], &mut out, 0).is_err());
    assert!(on.table_grads(&[0, 0, 4], &x, 1.0, &[0..3], &mut out, 0).is_err());
    let stats = matrix(on, &[1.0; 3], 3, 1);
    let factors = NormFactors { grad: &x, x: &x, stats: &stats, form: rms };
    assert!(on.norm_grads(&factors, 4, &[0..3], &mut out, [Some(13), None]).is_err());
}

pub fn forms_that_make_no_sense_are_errors<B: Backend>(on: &B) {
    let (q, k) = (matrix(on, &noise(1, 12), 3, 4), matrix(on, &noise(2, 6), 3, 2));
    let plan =
        AttentionPlan { spans: vec![AttentionSpan { keys: 0..3, queries: 0..3 }], positions: vec![0, 1, 2] };
    assert!(on.attention(&Attention { q: &q, k: &k, v: &k, form: FORM, plan: &plan, dropout: None }).is_ok());
    let none = Heads { query: 2, kv: 0, dim: 2 };
    for form in [
        AttentionForm { window: Some(0), ..FORM },
        AttentionForm { softcap: Some(0.0), ..FORM },
        AttentionForm { softcap: Some(f32::NAN), ..FORM },
        AttentionForm { heads: none, ..FORM },
    ] {
        assert!(on.attention(&Attention { q: &q, k: &k, v: &k, form, plan: &plan, dropout: None }).is_err());
    }
    let beyond = AttentionPlan { positions: vec![0, 1, 3], ..plan };
    assert!(
        on.attention(&Attention { q: &q, k: &k, v: &k, form: FORM, plan: &beyond, dropout: None }).is_err()
    );

    let layer = on.pack(LinearWeights { weight: vec![1.0; 20], out: 5, input: 4, bias: None }).unwrap();
    let plain = || Objective::CrossEntropy { smoothing: 0.0 };
    let task = |targets, softcap, objective| HeadTask {
        targets,
        weights: None,
        softcap,
        objective,
        entropies: false,
    };
    assert!(on.head(&layer, &q, &task(&[0, 1, 4], None, plain()), None).is_ok());
    assert!(on.head(&layer, &q, &task(&[0, 1], None, plain()), None).is_err());
    assert!(on.head(&layer, &q, &task(&[0, 1, 5], None, plain()), None).is_err());
    assert!(on.head(&layer, &q, &task(&[0, 1, 4], Some(-1.0), plain()), None).is_err());
    assert!(on.head(&layer, &q, &task(&[], None, Objective::Kl { reference: &k }), None).is_err());
}

pub fn no_rows_give_no_rows<B: Backend>(on: &B) {
    let x = matrix(on, &[], 0, 4);
    let weight = matrix(on, &[1.0; 4], 1, 4);
    let form = NormForm { kind: NormKind::Layer, eps: 1e-6 };
    let (out, stats) = on.norm(&x, &NormWeights { weight, bias: None }, form).unwrap();
    assert_eq!((on.size(&out), on.size(&stats)), ((0, 4), (0, 2)));
    assert_eq!(on.size(&on.gated(Activation::Gelu, &x, &x).unwrap()), (0, 4));
    assert_eq!(on.span_sums(&x, &[], &[0..0]).unwrap(), [0.0; 4]);
    let layer = on.pack(LinearWeights { weight: vec![1.0; 20], out: 5, input: 4, bias: None }).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    let task = HeadTask { targets: &[], weights: Some(&[]), softcap: None, objective, entropies: true };
    let output = on.head(&layer, &x, &task, None).unwrap();
    assert!(output.losses.is_empty() && output.entropies.is_empty());
    let (a, up) = (matrix(on, &[1.0; 8], 2, 4), matrix(on, &[1.0; 8], 4, 2));
    let part = || LoraOperands { grad: &x, a: &a, b: &up, scaling: 1.0, a_offset: 0, b_offset: 8 };
    let mut out = on.rows(1, 16, None).unwrap();
    on.lora_grads(&x, &[part(), part()], &[0..0], &mut out).unwrap();
    assert_eq!(on.host_rows(&mut out).unwrap(), [0.0; 16]);
}
