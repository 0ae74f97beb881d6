//! Sizes that disagree are errors; nothing at all is not.

use super::super::super::backend::*;
use super::*;

const FORM: AttentionForm =
    AttentionForm { heads: Heads { query: 2, kv: 1, dim: 2 }, scale: 1.0, softcap: None, window: None };

#[test]
fn sizes_that_disagree_are_errors() {
    let b = Portable;
    let x = matrix(&noise(1, 12), 3, 4);
    let y = matrix(&noise(2, 8), 2, 4);
    let row = matrix(&noise(3, 3), 1, 3);
    let angles = matrix(&noise(4, 9), 3, 3);
    assert!(b.tensor(vec![0.0; 3], 2, 2).is_err());
    assert!(b.tensor(vec![], usize::MAX, 2).is_err());
    assert!(b.pack(LinearWeights { weight: vec![], out: usize::MAX, input: 2, bias: None }).is_err());
    assert!(b.gather(&x, &[3]).is_err());
    assert!(b.add(x.clone(), &y).is_err());
    let rms = NormForm { kind: NormKind::Rms, eps: 1e-6 };
    assert!(b.norm(&x, &NormWeights { weight: row, bias: None }, rms).is_err());
    assert!(b.rope(x.clone(), &angles, &angles, 4, false).is_err());
    assert!(b.rope(x.clone(), &angles, &angles, 0, false).is_err());
    assert!(b.gated(Activation::Relu, &x, &y).is_err());
    assert!(b.activate_backward(Activation::Relu, x.clone(), &y).is_err());
    assert!(b.span_sums(&x, &[1.0; 2], &[0..1]).is_err());
    assert!(b.span_sums(&x, &[1.0; 3], &[2..4]).is_err());
    for entry in [(1, 0, 1.0), (0, 4, 1.0)] {
        let map = ColumnMap { input: 4, out: 1, entries: vec![entry], constant: None };
        assert!(b.map_columns(&x, &map).is_err());
    }
    let mut values = vec![0.0; 16];
    let mut out = SampleRows { values: &mut values, width: 16 };
    assert!(b.weight_grads(&x, &x, &[0..3], &mut out, 1).is_err());
    assert!(b.weight_grads(&x, &x, &[0..3], &mut out, usize::MAX).is_err());
    assert!(b.weight_grads(&x, &x, &[0..1, 1..3], &mut out, 0).is_err());
    assert!(b.table_grads(&[0, 0, 4], &x, 1.0, &[0..3], &mut out, 0).is_err());
    let stats = matrix(&[1.0; 3], 3, 1);
    assert!(b.norm_grads(&x, &x, &stats, 4, rms, &[0..3], &mut out, Some(13), None).is_err());
}

#[test]
fn forms_that_make_no_sense_are_errors() {
    let b = Portable;
    let (q, k) = (matrix(&noise(1, 12), 3, 4), matrix(&noise(2, 6), 3, 2));
    let plan =
        AttentionPlan { spans: vec![AttentionSpan { keys: 0..3, queries: 0..3 }], positions: vec![0, 1, 2] };
    assert!(b.attention(&q, &k, &k, FORM, &plan).is_ok());
    let none = Heads { query: 2, kv: 0, dim: 2 };
    for form in [
        AttentionForm { window: Some(0), ..FORM },
        AttentionForm { softcap: Some(0.0), ..FORM },
        AttentionForm { softcap: Some(f32::NAN), ..FORM },
        AttentionForm { heads: none, ..FORM },
    ] {
        assert!(b.attention(&q, &k, &k, form, &plan).is_err());
    }
    let beyond = AttentionPlan { positions: vec![0, 1, 3], ..plan };
    assert!(b.attention(&q, &k, &k, FORM, &beyond).is_err());

    let layer = b.pack(LinearWeights { weight: vec![1.0; 20], out: 5, input: 4, bias: None }).unwrap();
    let plain = || Objective::CrossEntropy { smoothing: 0.0 };
    let task = |targets, softcap, objective| HeadTask { targets, weights: None, softcap, objective };
    assert!(b.head(&layer, &q, &task(&[0, 1, 4], None, plain()), None).is_ok());
    assert!(b.head(&layer, &q, &task(&[0, 1], None, plain()), None).is_err());
    assert!(b.head(&layer, &q, &task(&[0, 1, 5], None, plain()), None).is_err());
    assert!(b.head(&layer, &q, &task(&[0, 1, 4], Some(-1.0), plain()), None).is_err());
    assert!(b.head(&layer, &q, &task(&[], None, Objective::Kl { reference: &k }), None).is_err());
}

#[test]
fn no_rows_give_no_rows() {
    let b = Portable;
    let x = matrix(&[], 0, 4);
    let weight = matrix(&[1.0; 4], 1, 4);
    let form = NormForm { kind: NormKind::Layer, eps: 1e-6 };
    let (out, stats) = b.norm(&x, &NormWeights { weight, bias: None }, form).unwrap();
    assert_eq!((b.size(&out), b.size(&stats)), ((0, 4), (0, 2)));
    assert_eq!(b.size(&b.gated(Activation::Gelu, &x, &x).unwrap()), (0, 4));
    assert_eq!(b.span_sums(&x, &[], &[0..0]).unwrap(), [0.0; 4]);
    let layer = b.pack(LinearWeights { weight: vec![1.0; 20], out: 5, input: 4, bias: None }).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    let task = HeadTask { targets: &[], weights: Some(&[]), softcap: None, objective };
    assert!(b.head(&layer, &x, &task, None).unwrap().losses.is_empty());
    let (a, up) = (matrix(&[1.0; 8], 2, 4), matrix(&[1.0; 8], 4, 2));
    let part = || LoraPart { grad: &x, a: &a, b: &up, scaling: 1.0, a_offset: 0, b_offset: 8 };
    let mut values = vec![0.5; 16];
    let mut out = SampleRows { values: &mut values, width: 16 };
    b.lora_grads(&x, &[part(), part()], &[0..0], &mut out).unwrap();
    assert_eq!(values, [0.5; 16]);
}
