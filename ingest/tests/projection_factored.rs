//! Promise: the factored projections are the published definitions, and a module's vector is the same
//! from factors and formed.

use crate::common::{distance, norm, project};
use gstore_ingest::projection::{
    FactoredProjector, FlatProjector, GradientShape, ModuleShape, ProjectionError, ProjectionKind,
    ProjectionSpec, SideEntries, TensorSpec,
};
use proptest::prelude::*;

const KINDS: [ProjectionKind; 3] = [
    ProjectionKind::TwoSided { k_out: 8, k_in: 12 },
    ProjectionKind::FactMask { k_out: 16, k_in: 24 },
    ProjectionKind::FactSjlt { k_out: 16, k_in: 24 },
];

/// Coordinates per module of every kind above.
const DIM: u32 = 96;

fn spec(kind: ProjectionKind) -> ProjectionSpec {
    ProjectionSpec { kind, dim: DIM, seed: 5, per_checkpoint: false, basis: None }
}

fn projector(kind: ProjectionKind, modules: &[ModuleShape]) -> FactoredProjector {
    FactoredProjector::new(&spec(kind), modules, None).unwrap()
}

/// Deterministic values in [-1, 1).
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Factors of one sample.
struct Sample {
    tokens: usize,
    /// Output gradients, `[tokens, out]`; of an embedding a one at the row that each token reads.
    errors: Vec<f32>,
    inputs: Vec<f32>,
    shape: GradientShape,
}

impl Sample {
    fn new(shape: GradientShape, tokens: usize, seed: u64) -> Self {
        let (out, input) = match shape {
            GradientShape::Linear { out, input, .. } => (out, input),
            GradientShape::Embedding { vocab, hidden } => (vocab, hidden),
            GradientShape::Vector { .. } => panic!("a vector has no factors"),
        };
        let mut errors = values(tokens * out, seed);
        if let GradientShape::Embedding { .. } = shape {
            errors.fill(0.0);
            for (errors, v) in errors.chunks_exact_mut(out).zip(values(tokens, seed + 2)) {
                errors[((v + 1.0) / 2.0 * out as f32) as usize] = 1.0;
            }
        }
        Self { tokens, errors, inputs: values(tokens * input, seed + 1), shape }
    }

    /// Adds tokens `from..to` to `accumulated`.
    fn accumulate(&self, projector: &FactoredProjector, from: usize, to: usize, accumulated: &mut [f64]) {
        let (rows, columns) = (self.errors.len() / self.tokens, self.inputs.len() / self.tokens);
        let (errors, inputs) =
            (&self.errors[from * rows..to * rows], &self.inputs[from * columns..to * columns]);
        accumulate(projector, errors, inputs, accumulated);
    }

    fn project(&self, projector: &FactoredProjector) -> Vec<f32> {
        let mut accumulated = vec![0.0; projector.accumulated_len(0)];
        self.accumulate(projector, 0, self.tokens, &mut accumulated);
        let mut out = vec![0.0; projector.dim()];
        projector.finish(0, &accumulated, &mut out);
        out
    }

    /// Weight and bias of the formed gradient.
    fn form(&self) -> (Vec<f32>, Vec<f32>) {
        let (rows, columns) = (self.errors.len() / self.tokens, self.inputs.len() / self.tokens);
        let (mut weight, mut bias) = (vec![0f64; rows * columns], vec![0f64; rows]);
        for t in 0..self.tokens {
            for o in 0..rows {
                let e = f64::from(self.errors[t * rows + o]);
                bias[o] += e;
                for i in 0..columns {
                    weight[o * columns + i] += e * f64::from(self.inputs[t * columns + i]);
                }
            }
        }
        if !self.shape.bias() {
            bias.clear();
        }
        let round = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
        (round(weight), round(bias))
    }
}

/// Adds the factors of some tokens, `[tokens, out]` and `[tokens, in]`, to `accumulated`, as a backend does.
pub(crate) fn accumulate(
    projector: &FactoredProjector,
    errors: &[f32],
    inputs: &[f32],
    accumulated: &mut [f64],
) {
    let sides = projector.sides(0).unwrap();
    let (out, input) = (&sides.out, &sides.input);
    for (errors, inputs) in errors.chunks_exact(out.columns).zip(inputs.chunks_exact(input.columns)) {
        let a = apply(&input.entries, input.rows, &input.constant, inputs);
        let e = apply(&out.entries, out.rows, &out.constant, errors);
        for (e, cells) in e.iter().zip(accumulated.chunks_exact_mut(a.len())) {
            cells.iter_mut().zip(&a).for_each(|(cell, a)| *cell += e * a);
        }
    }
}

/// One side's projection of one token's values, the constant included.
fn apply(entries: &SideEntries, rows: usize, constant: &[f32], values: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; rows];
    match entries {
        SideEntries::Dense(entries) => {
            for (out, row) in out.iter_mut().zip(entries.chunks_exact(values.len())) {
                *out = row.iter().zip(values).map(|(p, v)| f64::from(*p) * f64::from(*v)).sum();
            }
        }
        SideEntries::Sparse(entries) => {
            for e in entries {
                out[e.dest as usize] += f64::from(e.factor) * f64::from(values[e.source as usize]);
            }
        }
    }
    out.iter_mut().zip(constant).for_each(|(out, constant)| *out += f64::from(*constant));
    out
}

fn project_formed(projector: &FactoredProjector, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; projector.range(0).len()];
    projector.project_formed(0, weight, bias, &mut out);
    out
}

fn golden(kind: ProjectionKind, dim: u32, seed: u64, out: usize, input: usize) -> FactoredProjector {
    let module = ModuleShape::linear("layers.0.w", out, input, false);
    FactoredProjector::new(
        &ProjectionSpec { kind, dim, seed, per_checkpoint: false, basis: None },
        &[module],
        None,
    )
    .unwrap()
}

#[test]
fn golden_two_sided() {
    let projector = golden(ProjectionKind::TwoSided { k_out: 2, k_in: 2 }, 4, 4, 3, 4);
    let mut cells = vec![0.0; 4];
    let (e, a) = ([1.0, 0.0, -1.0, 0.5, 2.0, 0.0], [1.0, 2.0, 0.0, -1.0, 0.0, 1.0, 1.0, 3.0]);
    accumulate(&projector, &e, &a, &mut cells);
    let weight = [1.0, 2.5, 0.5, 0.5, 0.0, 2.0, 2.0, 6.0, -1.0, -2.0, 0.0, 1.0];
    let mut out = vec![0.0; 4];
    projector.finish(0, &cells, &mut out);
    for got in [out, project_formed(&projector, &weight, &[])] {
        assert!(distance(&got, &[8.25, -0.75, 1.75, 2.75]) < 1e-6, "{got:?}");
    }
}

const TOKENS: ([f32; 8], [f32; 12]) = (
    [1.0, 0.0, -1.0, 2.0, 0.5, 2.0, 0.0, 1.0],
    [1.0, 2.0, 0.0, -1.0, 3.0, 0.5, 0.0, 1.0, 1.0, 3.0, -2.0, 1.0],
);

#[test]
fn golden_fact_kinds() {
    let cases: [(ProjectionKind, [f64; 6], [f32; 2]); 2] = [
        (ProjectionKind::FactMask { k_out: 2, k_in: 3 }, [0.0, 12.0, 4.0, -2.0, 2.0, -1.0], [16.0, -5.0]),
        (ProjectionKind::FactSjlt { k_out: 2, k_in: 3 }, [-10.5, 0.0, 9.0, 9.5, 0.0, 0.0], [-9.5, -19.5]),
    ];
    for (kind, cells, result) in cases {
        let projector = golden(kind, 2, 42, 4, 6);
        let mut got = vec![0.0; 6];
        accumulate(&projector, &TOKENS.0, &TOKENS.1, &mut got);
        assert!(got.iter().zip(cells).all(|(a, b)| (a - b).abs() < 1e-5), "{kind}: {got:?}");
        let mut out = vec![0.0; 2];
        projector.finish(0, &got, &mut out);
        let shape = GradientShape::Linear { out: 4, input: 6, bias: false };
        let (errors, inputs) = (TOKENS.0.to_vec(), TOKENS.1.to_vec());
        let sample = Sample { tokens: 2, errors, inputs, shape };
        for got in [out, project_formed(&projector, &sample.form().0, &[])] {
            assert!(distance(&got, &result) < 1e-5, "{kind}: {got:?}");
        }
    }
}

fn shapes() -> impl Strategy<Value = GradientShape> {
    let linear = (1usize..60, 1usize..60, any::<bool>())
        .prop_map(|(out, input, bias)| GradientShape::Linear { out, input, bias });
    let table =
        (1usize..60, 1usize..60).prop_map(|(vocab, hidden)| GradientShape::Embedding { vocab, hidden });
    prop_oneof![3 => linear, 1 => table]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn factors_equal_formed(shape in shapes(), which in 0usize..3, tokens in 1usize..9, seed in 0u64..1000) {
        let projector = projector(KINDS[which], &[ModuleShape { name: "m.weight".into(), shape }]);
        let sample = Sample::new(shape, tokens, seed);
        let (weight, bias) = sample.form();
        let (got, want) = (sample.project(&projector), project_formed(&projector, &weight, &bias));
        let scale = (norm(&weight).powi(2) + norm(&bias).powi(2)).sqrt();
        // Scales of a mask may enlarge a rounding error by the root of each stratum's length.
        prop_assert!(distance(&got, &want) <= 1e-5 * norm(&want) + 1e-6 * scale, "{shape:?} {:?}", KINDS[which]);
    }

    #[test]
    fn tokens_and_slices_add_up(which in 0usize..3, cut in 0usize..=8, seed in 0u64..1000) {
        let shape = GradientShape::Linear { out: 40, input: 31, bias: true };
        let projector = projector(KINDS[which], &[ModuleShape { name: "m.weight".into(), shape }]);
        let sample = Sample::new(shape, 8, seed);
        let mut accumulated = vec![0.0; projector.accumulated_len(0)];
        sample.accumulate(&projector, cut, 8, &mut accumulated);
        sample.accumulate(&projector, 0, cut, &mut accumulated);
        let mut got = vec![0.0; DIM as usize];
        projector.finish(0, &accumulated, &mut got);
        let want = sample.project(&projector);
        prop_assert!(distance(&got, &want) <= 1e-5 * norm(&want));

        // The gradients of two halves of the tensor, zero elsewhere.
        let (weight, bias) = sample.form();
        let at = 31 * 5 * cut;
        let half = |keep: &dyn Fn(usize) -> bool| {
            let part: Vec<f32> = weight.iter().enumerate().map(|(i, v)| if keep(i) { *v } else { 0.0 }).collect();
            let bias: Vec<f32> = if keep(0) { bias.clone() } else { vec![0.0; bias.len()] };
            project_formed(&projector, &part, &bias)
        };
        let (a, b) = (half(&|i| i < at), half(&|i| i >= at));
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let whole = project_formed(&projector, &weight, &bias);
        prop_assert!(distance(&sum, &whole) <= 1e-5 * norm(&whole));
    }
}

#[test]
fn linear_and_sparse() {
    for kind in KINDS {
        let projector = projector(kind, &[ModuleShape::linear("m.weight", 50, 70, false)]);
        let (x, y) = (values(3500, 1), values(3500, 2));
        let z: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 2.0 * x - 3.0 * y).collect();
        let [px, py, pz] = [x, y.clone(), z].map(|v| project_formed(&projector, &v, &[]));
        let want: Vec<f32> = px.iter().zip(&py).map(|(x, y)| 2.0 * x - 3.0 * y).collect();
        assert!(distance(&pz, &want) <= 1e-5 * norm(&want), "{kind}");

        let sparse: Vec<f32> =
            y.iter().enumerate().map(|(i, v)| if i % 20 == 3 { *v } else { 0.0 }).collect();
        let mut one_by_one = vec![0.0; DIM as usize];
        for (i, value) in sparse.iter().enumerate().filter(|(_, v)| **v != 0.0) {
            let mut single = vec![0.0; 3500];
            single[i] = *value;
            let projected = project_formed(&projector, &single, &[]);
            one_by_one.iter_mut().zip(&projected).for_each(|(sum, v)| *sum += v);
        }
        let want = project_formed(&projector, &sparse, &[]);
        assert!(distance(&one_by_one, &want) <= 1e-5 * norm(&want), "{kind}");
    }
}

#[test]
fn half_precision_inputs() {
    for kind in [KINDS[0], KINDS[2]] {
        let projector = projector(kind, &[ModuleShape::linear("m.weight", 50, 70, false)]);
        let x = values(3500, 11);
        let exact = project_formed(&projector, &x, &[]);
        let f16: Vec<f32> = x.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
        let bf16: Vec<f32> = x.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        assert!(distance(&project_formed(&projector, &f16, &[]), &exact) <= 2f64.powi(-10) * norm(&x));
        assert!(distance(&project_formed(&projector, &bf16, &[]), &exact) <= 2f64.powi(-7) * norm(&x));
    }
    for kind in KINDS {
        let projector = projector(kind, &[ModuleShape::linear("m.weight", 50, 70, false)]);
        for factor in [70_000.0f32, 1e30, 1e36] {
            let x: Vec<f32> = values(3500, 13).iter().map(|v| v * factor).collect();
            assert!(project_formed(&projector, &x, &[]).iter().all(|v| v.is_finite()), "{kind} at {factor}");
        }
    }
}

#[test]
fn non_finite_values_are_not_hidden() {
    let modules = [ModuleShape::linear("m.weight", 20, 30, true), ModuleShape::vector("n.weight", 600)];
    for kind in [KINDS[0], KINDS[2]] {
        let projector = projector(kind, &modules);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut weight, mut bias) = (values(600, 19), values(20, 20));
            weight[123] = bad;
            let mut out = vec![0.0; DIM as usize];
            projector.project_formed(1, &weight, &[], &mut out);
            assert!(out.iter().any(|v| !v.is_finite()), "{kind} {bad}");
            assert!(
                project_formed(&projector, &weight, &bias).iter().any(|v| !v.is_finite()),
                "{kind} {bad}"
            );
            weight[123] = 0.0;
            bias[3] = bad;
            assert!(
                project_formed(&projector, &weight, &bias).iter().any(|v| !v.is_finite()),
                "{kind} {bad}"
            );
        }
    }
}

#[test]
fn same_bits_for_any_order_of_asking_and_any_thread() {
    let modules = [
        ModuleShape::linear("a.weight", 33, 65, true),
        ModuleShape::vector("n.weight", 77),
        ModuleShape { name: "wte.weight".into(), shape: GradientShape::Embedding { vocab: 90, hidden: 20 } },
    ];
    let gradient = |m: usize| values(modules[m].weight_len(), m as u64);
    let bias = values(33, 9);
    let run = |order: &[usize]| {
        let projector = &projector(KINDS[2], &modules);
        let mut out = vec![0f32; projector.dim()];
        let parts: Vec<(usize, Vec<f32>)> = std::thread::scope(|scope| {
            let jobs: Vec<_> = order
                .iter()
                .map(|m| {
                    let (bias, gradient) = (if *m == 0 { &bias[..] } else { &[] }, gradient(*m));
                    scope.spawn(move || {
                        let mut out = vec![0.0; DIM as usize];
                        projector.project_formed(*m, &gradient, bias, &mut out);
                        (*m, out)
                    })
                })
                .collect();
            jobs.into_iter().map(|job| job.join().unwrap()).collect()
        });
        for (m, part) in parts {
            out[projector.range(m)].copy_from_slice(&part);
        }
        out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(&[0, 1, 2]), run(&[2, 1, 0]));
    // A module's matrix does not depend on the others.
    let alone = projector(KINDS[2], &modules[2..]);
    let mut out = vec![0.0; DIM as usize];
    alone.project_formed(0, &gradient(2), &[], &mut out);
    assert_eq!(out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), run(&[0, 1, 2])[2 * DIM as usize..]);
}

#[test]
fn a_tensor_of_one_axis_is_a_flat_sjlt() {
    let x = values(200, 3);
    for kind in KINDS {
        let factored = projector(kind, &[ModuleShape::vector("norm.weight", 200)]);
        assert_eq!((factored.accumulated_len(0), factored.sides(0).is_none()), (0, true));
        let flat = ProjectionSpec {
            kind: ProjectionKind::Sjlt { s: 1 },
            dim: DIM,
            seed: 5,
            per_checkpoint: false,
            basis: None,
        };
        let tensor = TensorSpec { name: "norm.weight".into(), shape: vec![200] };
        let flat = FlatProjector::new(&flat, &[tensor], None).unwrap();
        let want = project(&flat, &x);
        assert!(distance(&project_formed(&factored, &x, &[]), &want) <= 1e-6 * norm(&want), "{kind}");
    }
}

#[test]
fn layout_and_sizes() {
    let q = "model.layers.0.self_attn.q_proj";
    let modules = [
        ModuleShape::linear(format!("{q}.lora_A.weight"), 8, 64, false),
        ModuleShape::linear(format!("{q}.lora_B.weight"), 64, 8, true),
        ModuleShape::vector("model.norm.weight", 64),
    ];
    let mask = projector(KINDS[1], &modules);
    assert_eq!((mask.dim(), mask.range(2)), (288, 192..288));
    let groups: Vec<_> = mask.groups().into_iter().map(|g| (g.name, g.start, g.len)).collect();
    assert_eq!(groups, [(q.to_owned(), 0, 192), ("model.norm".to_owned(), 192, 96)]);
    assert_eq!([0, 1, 2].map(|m| mask.accumulated_len(m)), [8 * 24, 16 * 9, 0]);
    let sjlt = projector(KINDS[2], &modules);
    assert_eq!([0, 1, 2].map(|m| sjlt.accumulated_len(m)), [16 * 24, 16 * 24, 0]);
    let sides = sjlt.sides(1).unwrap();
    assert_eq!((sides.input.columns, sides.input.rows, sides.input.constant.len()), (8, 24, 24));
    assert_eq!((sides.out.columns, sides.out.rows, sides.out.constant.len()), (64, 16, 0));
}

#[test]
fn checkpoints_share_a_matrix_unless_asked() {
    let x = values(400, 31);
    let with = |per_checkpoint, checkpoint| {
        let spec = ProjectionSpec { per_checkpoint, ..spec(KINDS[2]) };
        let module = ModuleShape::linear("m.weight", 20, 20, false);
        FactoredProjector::new(&spec, &[module], checkpoint).map(|p| project_formed(&p, &x, &[]))
    };
    assert_eq!(with(false, Some("a")), with(false, None));
    assert_ne!(with(true, Some("a")), with(true, Some("b")));
    assert_ne!(with(true, Some("a")), with(false, Some("a")));
    assert_eq!(with(true, None), Err(ProjectionError::NoCheckpoint));
}

#[test]
fn what_cannot_be_projected_is_refused() {
    let refuse = |spec: &ProjectionSpec, modules: &[ModuleShape]| {
        FactoredProjector::new(spec, modules, None).err().expect("an error").to_string()
    };
    let one = [ModuleShape::linear("m.weight", 4, 4, false)];
    assert!(refuse(&ProjectionSpec::default(), &one).contains("sjlt projects the concatenated gradient"));
    assert!(refuse(&ProjectionSpec { dim: 97, ..spec(KINDS[0]) }, &one).contains("8 x 12"));
    assert!(refuse(&spec(KINDS[2]), &[]).contains("no trainable tensor"));
    assert!(refuse(&spec(KINDS[2]), &[one[0].clone(), one[0].clone()]).contains("two trainable tensors"));
    assert!(refuse(&spec(KINDS[2]), &[ModuleShape::linear("m.weight", 0, 4, true)]).contains("no element"));
    let many: Vec<_> = (0..5).map(|i| ModuleShape::vector(format!("{i}"), 1)).collect();
    assert!(refuse(&ProjectionSpec { dim: 1 << 30, ..spec(KINDS[2]) }, &many).contains("5 modules"));
    let tensor = TensorSpec { name: "m.weight".into(), shape: vec![4, 4] };
    let flat = FlatProjector::new(&spec(KINDS[2]), &[tensor], None).err().expect("an error");
    assert!(flat.to_string().contains("each module by itself"));
}
