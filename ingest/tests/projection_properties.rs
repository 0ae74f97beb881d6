//! Promise: a projected vector depends on the gradient, the spec and the tensors' names, and on nothing else.

use crate::common::{distance, norm, project};
use gstore_core::Cancel;
use gstore_ingest::projection::{BLOCK, FlatProjector, ProjectionError, ProjectionKind, ProjectionSpec};
use gstore_model::params::TensorSpec;
use proptest::prelude::*;

const KINDS: [ProjectionKind; 7] = [
    ProjectionKind::Rademacher,
    ProjectionKind::Gaussian,
    ProjectionKind::Sjlt { s: 1 },
    ProjectionKind::Sjlt { s: 3 },
    ProjectionKind::Sjlt { s: 4 },
    ProjectionKind::Mask,
    ProjectionKind::None,
];

/// Dimension that suits every kind above and is a multiple of neither 32 nor 128.
const DIM: u32 = 156;

fn spec(kind: ProjectionKind) -> ProjectionSpec {
    ProjectionSpec { kind, dim: DIM, seed: 5, per_checkpoint: false, basis: None }
}

fn tensors(sizes: &[usize]) -> Vec<TensorSpec> {
    let tensor =
        |(i, size): (usize, &usize)| TensorSpec { name: format!("m.{i}.weight"), shape: vec![*size] };
    sizes.iter().enumerate().map(tensor).collect()
}

fn projector(kind: ProjectionKind, sizes: &[usize]) -> FlatProjector {
    FlatProjector::new(&spec(kind), &tensors(sizes), None).unwrap()
}

/// Deterministic values in [-1, 1) with a few large ones.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|i| if i % 97 == 0 { 20.0 * next() } else { next() }).collect()
}

#[test]
fn linear() {
    let sizes = [700, 1300];
    for kind in KINDS {
        let projector = projector(kind, &sizes);
        let (x, y) = (values(2000, 1), values(2000, 2));
        let z: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 2.0 * x - 3.0 * y).collect();
        let (px, py, pz) = (project(&projector, &x), project(&projector, &y), project(&projector, &z));
        let want: Vec<f32> = px.iter().zip(&py).map(|(x, y)| 2.0 * x - 3.0 * y).collect();
        assert!(distance(&pz, &want) <= 1e-5 * norm(&want), "{kind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_slices_add_up(cuts in prop::collection::vec(0usize..3000, 0..6), which in 0usize..KINDS.len()) {
        let projector = projector(KINDS[which], &[900, 1, 2099]);
        let x = values(3000, 7);
        let mut cuts = cuts;
        cuts.extend([0, 3000]);
        cuts.sort_unstable();
        let mut totals = vec![0.0; projector.dim()];
        for pair in cuts.windows(2) {
            projector.project_slice(pair[0], &x[pair[0]..pair[1]], &mut totals, &Cancel::new());
        }
        let mut got = vec![0.0; projector.dim()];
        projector.finish(&totals, &mut got);
        let want = project(&projector, &x);
        prop_assert!(distance(&got, &want) <= 1e-5 * norm(&want));
    }
}

/// Every way to project one gradient of several blocks.
fn all_ways(kind: ProjectionKind, sizes: &[usize], x: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut ways = Vec::new();
    for budget in [0, usize::MAX] {
        let projector = FlatProjector::with_table_budget(&spec(kind), &tensors(sizes), None, budget).unwrap();
        ways.push((format!("whole, budget {budget}"), project(&projector, x)));
        let mut totals = vec![0.0; projector.dim()];
        for (i, slice) in x.chunks(BLOCK).enumerate() {
            projector.project_slice(i * BLOCK, slice, &mut totals, &Cancel::new());
        }
        let mut out = vec![0.0; projector.dim()];
        projector.finish(&totals, &mut out);
        ways.push(("in slices of whole blocks".into(), out));
    }
    ways
}

#[test]
fn same_bits_for_any_slice_and_table() {
    let sizes = [BLOCK / 2, 12_345, 2 * BLOCK + 77];
    let x = values(sizes.iter().sum(), 3);
    for kind in [ProjectionKind::Sjlt { s: 4 }, ProjectionKind::Sjlt { s: 3 }, ProjectionKind::Rademacher] {
        let ways = all_ways(kind, &sizes, &x);
        for (way, out) in &ways {
            let same = out.iter().zip(&ways[0].1).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{kind:?}: {way} differs from {}", ways[0].0);
        }
    }
    let ways = all_ways(ProjectionKind::Gaussian, &[3 * BLOCK / 64], &x[..3 * BLOCK / 64]);
    assert!(ways.iter().all(|(_, out)| out.iter().zip(&ways[0].1).all(|(a, b)| a.to_bits() == b.to_bits())));
}

#[test]
fn half_precision_inputs() {
    // Against the exact projection of the unrounded gradient, in f64, from the matrix's own columns.
    let p = 5000;
    let x = values(p, 11);
    for kind in KINDS {
        let projector = projector(kind, &[p]);
        let exact = project_f64(&projector, &x);
        let error = |rounded: Vec<f32>| {
            let got = project(&projector, &rounded);
            got.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt()
        };
        let f16 = x.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
        let bf16 = x.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        assert!(error(f16) <= 2f64.powi(-10) * norm(&x), "{kind:?} f16");
        assert!(error(bf16) <= 2f64.powi(-7) * norm(&x), "{kind:?} bf16");
    }
}

/// `P x` in f64, with `P` read off column by column.
fn project_f64(projector: &FlatProjector, x: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; projector.dim()];
    for (i, value) in x.iter().enumerate() {
        let mut column = vec![0.0; projector.dim()];
        projector.project_slice(i, &[1.0], &mut column, &Cancel::new());
        let mut scaled = vec![0.0; projector.dim()];
        projector.finish(&column, &mut scaled);
        for (out, entry) in out.iter_mut().zip(&scaled) {
            *out += f64::from(*entry) * f64::from(*value);
        }
    }
    out
}

#[test]
fn large_values_stay_finite() {
    for kind in KINDS {
        let projector = projector(kind, &[4000]);
        let moderate = values(4000, 13);
        for factor in [70_000.0f32, 1e30, 3e36] {
            let x: Vec<f32> = moderate.iter().map(|v| v * factor).collect();
            let got = project(&projector, &x);
            assert!(got.iter().all(|v| v.is_finite()), "{kind:?} at {factor}");
            let want: Vec<f32> = project(&projector, &moderate).iter().map(|v| v * factor).collect();
            let (got, want): (Vec<f32>, Vec<f32>) =
                (0..got.len()).map(|i| (got[i] / factor, want[i] / factor)).unzip();
            assert!(distance(&got, &want) <= 1e-5 * norm(&want), "{kind:?} at {factor}");
        }
    }
    // The sum passes the largest f32 on its way, the result does not.
    let projector = projector(ProjectionKind::Sjlt { s: 1 }, &[64]);
    let x: Vec<f32> = (0..64).map(|i| if i % 2 == 0 { 3e38 } else { -3e38 }).collect();
    let mut exact = vec![0f64; DIM as usize];
    for (i, value) in x.iter().enumerate() {
        let mut column = vec![0.0; DIM as usize];
        projector.project_slice(i, &[1.0], &mut column, &Cancel::new());
        exact.iter_mut().zip(&column).for_each(|(e, c)| *e += c * f64::from(*value));
    }
    let got = project(&projector, &x);
    assert!(got.iter().zip(&exact).all(|(g, e)| *g == *e as f32));
}

#[test]
fn sparse_equals_dense() {
    for kind in KINDS {
        let projector = projector(kind, &[6000]);
        let dense: Vec<f32> =
            values(6000, 17).iter().enumerate().map(|(i, v)| if i % 20 == 3 { *v } else { 0.0 }).collect();
        let want = project(&projector, &dense);
        let mut totals = vec![0.0; projector.dim()];
        for (i, value) in dense.iter().enumerate().filter(|(_, v)| **v != 0.0) {
            projector.project_slice(i, &[*value], &mut totals, &Cancel::new());
        }
        let mut got = vec![0.0; projector.dim()];
        projector.finish(&totals, &mut got);
        assert!(distance(&got, &want) <= 1e-5 * norm(&want), "{kind:?}");
    }
}

#[test]
fn non_finite_values_are_not_hidden() {
    for kind in KINDS.into_iter().filter(|k| *k != ProjectionKind::Mask) {
        let projector = projector(kind, &[500]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = values(500, 19);
            x[123] = bad;
            assert!(project(&projector, &x).iter().any(|v| !v.is_finite()), "{kind:?} {bad}");
        }
    }
}

#[test]
fn a_sum_over_tensors_is_the_sum_of_their_projections() {
    let sizes = [300, 500];
    let x = values(800, 23);
    for kind in [ProjectionKind::Sjlt { s: 4 }, ProjectionKind::Rademacher, ProjectionKind::Gaussian] {
        let whole = project(&projector(kind, &sizes), &x);
        let tensors = tensors(&sizes);
        let part = |tensor: &TensorSpec, x: &[f32]| {
            project(&FlatProjector::new(&spec(kind), std::slice::from_ref(tensor), None).unwrap(), x)
        };
        let (a, b) = (part(&tensors[0], &x[..300]), part(&tensors[1], &x[300..]));
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert!(distance(&whole, &sum) <= 1e-5 * norm(&whole), "{kind:?}");
    }
}

#[test]
fn layouts_and_module_groups() {
    let tensor = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.into() };
    let q = "model.layers.0.self_attn.q_proj";
    let tensors = [
        tensor(&format!("{q}.lora_A.weight"), &[8, 16]),
        tensor(&format!("{q}.lora_B.weight"), &[16, 8]),
        tensor("model.layers.0.self_attn.k_proj.weight", &[16, 16]),
    ];
    let make = |kind| FlatProjector::new(&spec(kind), &tensors, None).unwrap();
    let groups =
        |p: &FlatProjector| p.groups().iter().map(|g| (g.name.clone(), g.start, g.len)).collect::<Vec<_>>();
    let k = "model.layers.0.self_attn.k_proj";
    let none = make(ProjectionKind::None);
    assert_eq!((none.dim(), none.inputs()), (512, 512));
    assert_eq!(groups(&none), [(q.to_owned(), 0, 256), (k.to_owned(), 256, 256)]);
    let x = values(512, 29);
    assert_eq!(project(&none, &x), x);
    let mask = make(ProjectionKind::Mask);
    assert_eq!(groups(&mask), [(q.to_owned(), 0, 78), (k.to_owned(), 78, 78)]);
    let sjlt = make(ProjectionKind::Sjlt { s: 4 });
    assert_eq!(groups(&sjlt), [("all".to_owned(), 0, DIM)]);
}

#[test]
fn checkpoints_share_a_matrix_unless_asked() {
    let x = values(400, 31);
    let with = |per_checkpoint, checkpoint| {
        let spec = ProjectionSpec { per_checkpoint, ..spec(ProjectionKind::Sjlt { s: 4 }) };
        FlatProjector::new(&spec, &tensors(&[400]), checkpoint).map(|p| project(&p, &x))
    };
    assert_eq!(with(false, Some("a")), with(false, Some("b")));
    assert_eq!(with(false, None), with(false, Some("b")));
    assert_ne!(with(true, Some("a")), with(true, Some("b")));
    assert_ne!(with(true, Some("a")), with(false, Some("a")));
    assert_eq!(with(true, None), Err(ProjectionError::NoCheckpoint));
}

#[test]
fn what_cannot_be_projected_is_refused() {
    let refuse = |kind, dim, tensors: &[TensorSpec]| {
        let spec = ProjectionSpec { kind, dim, seed: 0, per_checkpoint: false, basis: None };
        FlatProjector::new(&spec, tensors, None).err().expect("an error").to_string()
    };
    let sjlt = ProjectionKind::Sjlt { s: 4 };
    assert!(refuse(sjlt, 10, &tensors(&[8])).contains("multiple"));
    assert!(refuse(sjlt, 0, &tensors(&[8])).contains("0 dimensions"));
    assert!(refuse(sjlt, 8, &[]).contains("no trainable tensor"));
    assert!(refuse(sjlt, 8, &tensors(&[4, 0])).contains("m.1.weight"));
    let twice = [tensors(&[4]), tensors(&[4])].concat();
    assert!(refuse(sjlt, 8, &twice).contains("two trainable tensors are named m.0.weight"));
    assert!(refuse(ProjectionKind::Mask, 9, &tensors(&[4, 4])).contains("9 of 8"));
    assert!(refuse(ProjectionKind::Mask, 1, &tensors(&[4, 4])).contains("each of the 2"));
    let huge = [TensorSpec { name: "h".into(), shape: vec![usize::MAX, 2] }];
    assert!(refuse(ProjectionKind::None, 0, &huge).contains("more than a vector can hold"));
}
