//! Promise: projections are the published definitions, number for number.

#![allow(clippy::approx_constant, reason = "the goldens are printed decimals")]

use crate::common::{dot, moments, project};
use gstore_ingest::projection::{FlatProjector, ProjectionKind, ProjectionSpec};
use gstore_model::params::TensorSpec;

const KINDS: [ProjectionKind; 5] = [
    ProjectionKind::Rademacher,
    ProjectionKind::Gaussian,
    ProjectionKind::Sjlt { s: 1 },
    ProjectionKind::Sjlt { s: 4 },
    ProjectionKind::Mask,
];

fn projector(kind: ProjectionKind, dim: u32, seed: u64, name: &str, p: usize) -> FlatProjector {
    let tensor = TensorSpec { name: name.to_owned(), shape: vec![p] };
    FlatProjector::new(
        &ProjectionSpec { kind, dim, seed, per_checkpoint: false, basis: None },
        &[tensor],
        None,
    )
    .unwrap()
}

#[test]
fn tiny_examples() {
    let x = [1.0, -2.0, 3.0, 0.5, -1.0, 4.0, 0.0, 2.0];
    let y = [2.0, 1.0, -1.0, 0.5, 3.0, 1.0, -2.0, 0.0];
    let cases: [(ProjectionKind, u32, &[f64], &[f64]); 5] = [
        (ProjectionKind::Rademacher, 4, &[1.25, 4.25, -0.25, -2.75], &[-0.25, -1.25, 0.25, -2.25]),
        (
            ProjectionKind::Gaussian,
            4,
            &[-0.98122083, -2.26223893, 1.72252958, -1.78213714],
            &[1.74206561, -0.39243086, 1.41959078, -0.03361357],
        ),
        (
            ProjectionKind::Sjlt { s: 2 },
            4,
            &[-2.82842712, -1.06066017, 2.47487373, 1.41421356],
            &[-4.24264069, 1.06066017, -1.06066017, 0.0],
        ),
        (ProjectionKind::Sjlt { s: 1 }, 4, &[-0.5, 1.0, 0.0, 4.0], &[-0.5, -2.0, 0.0, 6.0]),
        (
            ProjectionKind::Mask,
            3,
            &[-2.82842712, 5.19615242, 6.92820323],
            &[1.41421356, -1.73205081, 1.73205081],
        ),
    ];
    for (kind, dim, px, py) in cases {
        let projector = projector(kind, dim, 42, "layers.0.w", 8);
        for (input, want) in [(x, px), (y, py)] {
            let got = project(&projector, &input);
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{kind:?}: {got} for {want}");
            }
        }
    }
}

fn unit(values: impl Iterator<Item = f64>) -> Vec<f32> {
    let values: Vec<f64> = values.collect();
    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    values.iter().map(|v| (v / norm) as f32).collect()
}

fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let (mean, variance) = moments(values);
    (mean, variance.sqrt())
}

#[test]
fn seeded_statistics() {
    // seed 0, mean, sd of <Px,Py>; mean, sd of <Px,Px>; sd of <Px,Px> of the spike vector.
    let table = [
        (0.634382, 0.693118, 0.064856, 0.984200, 0.080163, 0.0840),
        (0.744141, 0.702688, 0.073244, 1.005310, 0.083556, 0.0919),
        (0.778212, 0.709345, 0.072419, 1.008646, 0.090789, 0.0758),
        (0.830536, 0.711601, 0.066131, 0.990726, 0.076145, 0.0732),
        (0.597211, 0.698156, 0.059748, 0.992316, 0.040103, 0.5142),
    ];
    let p = 1024;
    let x = unit((1..=p).map(|i| (i as f64).sin()));
    let y = unit((1..=p).map(|i| (i as f64).sin() + (3.0 * i as f64).cos()));
    let spike = unit((1..=p).map(|i| if 7919 * i % 1024 < 8 { 1.0 } else { 0.01 }));
    assert!((dot(&x, &y) - 0.706601).abs() < 1e-6);
    for (kind, (first, mean, sd, self_mean, self_sd, spike_sd)) in KINDS.into_iter().zip(table) {
        let (mut cross, mut own, mut spikes) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 0..64 {
            let projector = projector(kind, 256, seed, "t", p);
            let (px, py, ps) =
                (project(&projector, &x), project(&projector, &y), project(&projector, &spike));
            cross.push(dot(&px, &py));
            own.push(dot(&px, &px));
            spikes.push(dot(&ps, &ps));
        }
        let got = [
            (cross[0], first),
            (mean_and_sd(&cross).0, mean),
            (mean_and_sd(&cross).1, sd),
            (mean_and_sd(&own).0, self_mean),
            (mean_and_sd(&own).1, self_sd),
            (mean_and_sd(&spikes).1, spike_sd),
        ];
        for (got, want) in got {
            assert!((got - want).abs() < 1e-4, "{kind:?}: {got} for {want}");
        }
    }
}

#[test]
fn bias_and_variance() {
    // Variances of section 3 of the definitions, for a pair that the goldens do not contain.
    let p = 300usize;
    let x = unit((0..p).map(|i| ((i * i) as f64 * 0.37).sin() + 0.2));
    let y = unit((0..p).map(|i| ((i * i) as f64 * 0.37).sin() + (i as f64 * 1.9).cos()));
    let (rho, k, seeds) = (dot(&x, &y), 60u32, 240u64);
    let q: f64 = x.iter().zip(&y).map(|(a, b)| (f64::from(*a) * f64::from(*b)).powi(2)).sum();
    for kind in KINDS {
        let variance = match kind {
            ProjectionKind::Gaussian => (1.0 + rho * rho) / f64::from(k),
            ProjectionKind::Mask => x
                .chunks(p / k as usize)
                .zip(y.chunks(p / k as usize))
                .map(|(x, y)| {
                    let terms = x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    x.len() as f64 * terms.clone().map(|t| t * t).sum::<f64>() - terms.sum::<f64>().powi(2)
                })
                .sum(),
            _ => (1.0 + rho * rho - 2.0 * q) / f64::from(k),
        };
        let estimates: Vec<f64> = (0..seeds)
            .map(|seed| {
                let projector = projector(kind, k, 1000 + seed, "bias", p);
                dot(&project(&projector, &x), &project(&projector, &y))
            })
            .collect();
        let (mean, sd) = mean_and_sd(&estimates);
        assert!(
            (mean - rho).abs() <= 4.0 * (variance / seeds as f64).sqrt(),
            "{kind:?}: mean {mean} for {rho}"
        );
        let ratio = sd * sd / variance;
        assert!((0.75..=1.35).contains(&ratio), "{kind:?}: variance is {ratio} of theory");
    }
}
