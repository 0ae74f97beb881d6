//! Promise: factored projections are unbiased and as noisy as documented, and `fact_sjlt`
//! withstands outlier channels.

use gstore_core::{MIX_STEP, mix};
use gstore_ingest::projection::{
    FactoredProjector, GradientShape, ModuleShape, ProjectionKind, ProjectionSpec, noise,
};

use crate::common::{dot, moments, norm};
use crate::projection_factored::accumulate;

const D: usize = 96;
const DIM: u32 = 256;
const SEEDS: u64 = 300;
/// Draws of tokens; a single one moves the figures by a fifth.
const DRAWS: u64 = 12;

const KINDS: [ProjectionKind; 3] = [
    ProjectionKind::TwoSided { k_out: 16, k_in: 16 },
    ProjectionKind::FactMask { k_out: 32, k_in: 32 },
    ProjectionKind::FactSjlt { k_out: 32, k_in: 32 },
];

struct Normals(u64);

impl Normals {
    fn word(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(MIX_STEP);
        (mix(self.0) >> 11) as f64 * 2f64.powi(-53)
    }

    fn draw(&mut self) -> f32 {
        ((-2.0 * (1.0 - self.word()).ln()).sqrt() * (std::f64::consts::TAU * self.word()).cos()) as f32
    }
}

#[derive(Clone)]
struct Gradient {
    errors: Vec<f32>,
    inputs: Vec<f32>,
    formed: Vec<f32>,
    norm: f64,
}

impl Gradient {
    fn new(errors: Vec<f32>, inputs: Vec<f32>) -> Self {
        let mut formed = vec![0f32; D * D];
        for (e, a) in errors.chunks(D).zip(inputs.chunks(D)) {
            for (o, e) in e.iter().enumerate() {
                formed[o * D..][..D].iter_mut().zip(a).for_each(|(g, a)| *g += e * a);
            }
        }
        let norm = norm(&formed);
        Self { errors, inputs, formed, norm }
    }

    fn random(normals: &mut Normals, tokens: usize) -> Self {
        let errors = (0..tokens * D).map(|_| normals.draw()).collect();
        Self::new(errors, (0..tokens * D).map(|_| normals.draw()).collect())
    }

    /// With channels of twenty times the size.
    fn with_outliers(mut self, out: bool) -> Self {
        self.inputs.chunks_mut(D).for_each(|a| a[37] *= 20.0);
        if out {
            self.errors.chunks_mut(D).for_each(|e| e[11] *= 20.0);
        }
        Self::new(self.errors, self.inputs)
    }
}

fn projector(kind: ProjectionKind, seed: u64) -> FactoredProjector {
    let spec = ProjectionSpec { kind, dim: DIM, seed, per_checkpoint: false, basis: None };
    FactoredProjector::new(&spec, &[ModuleShape::linear("t", D, D, false)], None).unwrap()
}

fn project(projector: &FactoredProjector, gradient: &Gradient) -> Vec<f32> {
    let mut out = vec![0.0; DIM as usize];
    if gradient.errors.len() > 4 * D {
        projector.project_formed(0, &gradient.formed, &[], &mut out);
    } else {
        let mut cells = vec![0.0; projector.accumulated_len(0)];
        accumulate(projector, &gradient.errors, &gradient.inputs, &mut cells);
        projector.finish(0, &cells, &mut out);
    }
    out
}

/// Cosine, and mean and variance of its estimates over seeds.
fn estimates(
    kind: ProjectionKind,
    x: &Gradient,
    y: &Gradient,
    seeds: std::ops::Range<u64>,
) -> (f64, f64, f64) {
    let scale = x.norm * y.norm;
    let same = std::ptr::eq(x, y);
    let values: Vec<f64> = seeds
        .map(|seed| {
            let projector = projector(kind, seed);
            let px = project(&projector, x);
            let py = if same { px.clone() } else { project(&projector, y) };
            dot(&px, &py) / scale
        })
        .collect();
    let (mean, variance) = moments(&values);
    (dot(&x.formed, &y.formed) / scale, mean, variance)
}

/// Cases of the published table: tokens, whether of a pair, and its figures for the three kinds.
const CASES: [(&str, usize, [f64; 3]); 6] = [
    ("1 token, unrelated pair", 1, [146.0, 213.0, 188.0]),
    ("1 token, self", 1, [7.0, 16.0, 15.0]),
    ("8 tokens, self", 8, [52.0, 93.0, 72.0]),
    ("64 tokens, self", 64, [148.0, 168.0, 154.0]),
    ("64 tokens, one x20 channel each side, self", 64, [33.0, 2.0, 70.0]),
    ("64 tokens, one x20 input channel, self", 64, [23.0, 1.0, 42.0]),
];

/// Effective dimension `(1 + cosine^2) / variance` of a case, the variance averaged over draws of tokens.
fn effective(case: usize, kind: ProjectionKind) -> f64 {
    let (mut top, mut bottom) = (0.0, 0.0);
    for draw in 0..DRAWS {
        let mut normals = Normals(1000 * draw + case as u64);
        let x = Gradient::random(&mut normals, CASES[case].1);
        let x = match case {
            4 => x.with_outliers(true),
            5 => x.with_outliers(false),
            _ => x,
        };
        let other = (case == 0).then(|| Gradient::random(&mut normals, CASES[case].1));
        let (cosine, _, variance) = estimates(kind, &x, other.as_ref().unwrap_or(&x), 0..SEEDS);
        top += 1.0 + cosine * cosine;
        bottom += variance;
    }
    top / bottom
}

/// Whether a figure is the other within a share of the larger.
fn near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * a.max(b)
}

#[test]
fn effective_dimensions() {
    let shape = GradientShape::Linear { out: D, input: D, bias: false };
    println!("| case | two_sided 16x16 | fact_mask 32x32 | fact_sjlt 32x32 |\n|---|---|---|---|");
    for (case, (name, tokens, published)) in CASES.into_iter().enumerate() {
        let got = KINDS.map(|kind| effective(case, kind));
        println!("| {name} | {:.0} | {:.0} | {:.0} |", got[0], got[1], got[2]);
        let [two_sided, _, fact_sjlt] = got;
        let least = if case >= 4 { 1.5 * two_sided } else { 0.8 * two_sided };
        assert!(fact_sjlt >= least, "{name}: fact_sjlt {fact_sjlt}, two_sided {two_sided}");
        for ((got, published), kind) in got.into_iter().zip(published).zip(KINDS) {
            // The published figures are of one draw of tokens.
            let outliers = case >= 4 && matches!(kind, ProjectionKind::FactMask { .. });
            let same = if outliers { got < 4.0 } else { near(got, published, 0.25) };
            assert!(same, "{name}, {kind}: {got}, published {published}");
            if case < 4 {
                let spec = ProjectionSpec { kind, dim: DIM, ..Default::default() };
                let expected = noise(&spec, shape, tokens as u64);
                let expected = if case == 0 { 1.0 / expected.unrelated } else { 2.0 / expected.own };
                assert!(near(got, expected, 0.2), "{name}, {kind}: {got}, expected {expected}");
            }
        }
    }
}

/// Two tokens' values with a cosine of about 0.6.
fn pair(phase: f64) -> [Vec<f32>; 2] {
    let unit = |values: Vec<f64>| {
        let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        values.iter().map(|v| (v / norm) as f32).collect()
    };
    let x: Vec<f64> = (0..D).map(|i| ((i * i) as f64 * 0.37 + phase).sin() + 0.2).collect();
    let y = x.iter().enumerate().map(|(i, x)| x + (i as f64 * 1.9 + phase).cos()).collect();
    [unit(x), unit(y)]
}

/// Cosine of a side, and the variance that its matrix gives the estimate of it.
fn side_variance(kind: ProjectionKind, rows: usize, [x, y]: &[Vec<f32>; 2]) -> (f64, f64) {
    let rho = dot(x, y);
    let squares = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| f64::from(a * b).powi(2)).sum::<f64>();
    let variance = match kind {
        ProjectionKind::FactMask { .. } => x
            .chunks(D / rows)
            .zip(y.chunks(D / rows))
            .map(|(x, y)| x.len() as f64 * squares(x, y) - dot(x, y).powi(2))
            .sum(),
        _ => (1.0 + rho * rho - 2.0 * squares(x, y)) / rows as f64,
    };
    (rho, variance)
}

#[test]
fn bias_and_variance() {
    let seeds = 1000..1240;
    for kind in KINDS {
        let (errors, inputs) = (pair(0.0), pair(1.0));
        let (k_out, k_in) = kind.sides().unwrap();
        let (r_out, v_out) = side_variance(kind, k_out as usize, &errors);
        let (r_in, v_in) = side_variance(kind, k_in as usize, &inputs);
        let sides = v_out * v_in + v_out * r_in * r_in + v_in * r_out * r_out;
        let rho = r_out * r_in;
        let post = match kind {
            ProjectionKind::TwoSided { .. } => 0.0,
            _ => (1.0 + rho * rho + sides) / f64::from(DIM),
        };
        let [e1, e2] = errors;
        let [a1, a2] = inputs;
        let (x, y) = (Gradient::new(e1, a1), Gradient::new(e2, a2));
        let (cosine, mean, variance) = estimates(kind, &x, &y, seeds.clone());
        assert!((cosine - rho).abs() < 1e-5 && (0.2..0.8).contains(&rho));
        let error = ((sides + post) / seeds.clone().count() as f64).sqrt();
        assert!((mean - rho).abs() <= 4.0 * error, "{kind}: mean {mean} for {rho}");
        let ratio = variance / (sides + post);
        assert!((0.75..=1.35).contains(&ratio), "{kind}: variance is {ratio} of theory");
    }
}

#[test]
fn many_tokens_are_unbiased() {
    let mut normals = Normals(77);
    for kind in KINDS {
        let x = Gradient::random(&mut normals, 12);
        let other = Gradient::random(&mut normals, 12);
        let mix = |a: &[f32], b: &[f32]| [a, b].concat();
        let y = Gradient::new(mix(&x.errors, &other.errors), mix(&x.inputs, &other.inputs));
        let seeds = 0..SEEDS;
        let (cosine, mean, variance) = estimates(kind, &x, &y, seeds.clone());
        let error = (variance / seeds.count() as f64).sqrt();
        assert!((mean - cosine).abs() <= 4.0 * error, "{kind}: mean {mean} for {cosine}");
    }
}

#[test]
fn a_bias_and_a_norm_are_unbiased() {
    let values = |len: usize, phase: f64| -> Vec<f32> {
        (0..len).map(|i| ((i * i) as f64 * 0.37 + phase).sin() as f32).collect()
    };
    let modules = [ModuleShape::linear("t.weight", 40, 30, true), ModuleShape::vector("n.weight", 64)];
    let (weight, bias, norm) = (values(1200, 0.0), values(40, 1.0), values(64, 2.0));
    let want = dot(&weight, &weight) + dot(&bias, &bias);
    for kind in KINDS {
        let (mut own, mut of_norm) = (Vec::new(), Vec::new());
        for seed in 0..SEEDS {
            let spec = ProjectionSpec { kind, dim: DIM, seed, per_checkpoint: false, basis: None };
            let projector = FactoredProjector::new(&spec, &modules, None).unwrap();
            let mut out = vec![0.0; DIM as usize];
            projector.project_formed(0, &weight, &bias, &mut out);
            own.push(dot(&out, &out) / want);
            projector.project_formed(1, &norm, &[], &mut out);
            of_norm.push(dot(&out, &out) / dot(&norm, &norm));
        }
        for values in [own, of_norm] {
            let (mean, variance) = moments(&values);
            assert!((mean - 1.0).abs() <= 4.0 * (variance / SEEDS as f64).sqrt(), "{kind}: {mean}");
            assert!(variance < 0.05, "{kind}: {variance}");
        }
    }
}
