//! Promise: the error of the default projection is what its variance says, and no more.

use crate::golden_less::reference;
use gstore_curvature::dot;
use gstore_ingest::pipeline::Kind;
use gstore_ingest::projection::ProjectionSpec;
use gstore_store::DType;
use gstore_tests::golden::Manifest;
use gstore_tests::reference::{How, Reference};

/// Vectors of a side that are looked at, of each checkpoint.
const SOME: usize = 16;

/// Some of the vectors of datasets, of length 1.
fn units(reference: &Reference, datasets: &[String], kind: &str, step: u64) -> Vec<Vec<f64>> {
    let all: Vec<_> = datasets.iter().flat_map(|name| reference.vectors(name, kind, step)).collect();
    let every = all.len().div_ceil(SOME);
    let unit = |vector: &Vec<f32>| {
        let vector: Vec<f64> = vector.iter().map(|value| f64::from(*value)).collect();
        let norm = dot(&vector, &vector).sqrt();
        vector.iter().map(|value| value / norm).collect()
    };
    all.iter().step_by(every).map(unit).collect()
}

/// The mean of the cosines of vectors of two lists, and that of their squares.
fn means(a: &[Vec<f64>], b: &[Vec<f64>]) -> [f64; 2] {
    let cosines: Vec<f64> = a.iter().flat_map(|a| b.iter().map(|b| dot(a, b))).collect();
    let mean = |of: fn(&f64) -> f64| cosines.iter().map(of).sum::<f64>() / cosines.len() as f64;
    [mean(|cosine| *cosine), mean(|cosine| cosine * cosine)]
}

/// The mean correlation of the errors of two cosines, and that of its square. They are as alike as their
/// rows times as alike as their targets: rows share the optimizer's momentum and targets their skill, so
/// these are far fewer independent errors than cosines.
fn correlations(exact: &Reference) -> [f64; 2] {
    let targets: Vec<String> =
        exact.manifest.targets.iter().map(|(file, _)| Manifest::target_name(file)).collect();
    let sides: Vec<_> = exact
        .manifest
        .checkpoints
        .iter()
        .map(|step| {
            let rows = units(exact, &["pool".to_owned()], "grad-adam", *step);
            (rows, units(exact, &targets, "grad-sgd", *step))
        })
        .collect();
    let mut all = [0.0, 0.0];
    for (rows, targets) in &sides {
        for (other_rows, other_targets) in &sides {
            let (of_rows, of_targets) = (means(rows, other_rows), means(targets, other_targets));
            (0..2).for_each(|power| all[power] += of_rows[power] * of_targets[power]);
        }
    }
    all.map(|sum| sum / (sides.len() * sides.len()) as f64)
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn cosines_of_the_default_projection_spread_as_predicted() {
    let Some(exact) = reference("cosines_of_the_default_projection_spread_as_predicted") else { return };
    let kinds = vec![Kind::GradAdam];
    let default = How { kinds, projection: ProjectionSpec::default(), dtype: DType::F16 };
    let projected = Reference::new(exact.shared.clone(), &default).pair_scores();
    let [alike, alike_squares] = correlations(exact);
    let exact = exact.pair_scores();
    assert_eq!(projected.rows, exact.rows);
    let dim = f64::from(ProjectionSpec::default().dim);
    let (mut observed, mut predicted, mut bias, mut squares, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (got, expected) in projected.sim.iter().flatten().zip(exact.sim.iter().flatten()) {
        let (got, rho) = (f64::from(*got), f64::from(*expected));
        observed += (got - rho).powi(2);
        bias += got - rho;
        // The lengths are projected too, so the errors of numerator and denominator partly cancel: to
        // first order (1 - rho^2)^2 / k, where the inner product of unit vectors alone would have
        // (1 + rho^2 - 2 sum x^2 y^2) / k.
        predicted += (1.0 - rho * rho).powi(2) / dim;
        squares += rho * rho;
        count += 1.0;
    }
    let (observed, predicted, bias) = ((observed / count).sqrt(), (predicted / count).sqrt(), bias / count);
    // Errors are alike as well where the row of each is like the target of the other.
    let crossed = squares / count;
    let of_spread = (alike_squares.sqrt() + crossed) / 2f64.sqrt();
    let of_mean = (alike.max(0.0) + crossed).sqrt();
    println!(
        "{count} cosines: error {observed:.5}, predicted {predicted:.5} to {of_spread:.2} of it, \
         mean {bias:+.5}, predicted 0 to {of_mean:.2} of the error"
    );
    // Three standard deviations, and not less than what terms of higher order may add.
    assert!(
        (observed / predicted).ln().abs() < (3.0 * of_spread).max(0.29),
        "error {observed} against a predicted {predicted}"
    );
    assert!(
        bias.abs() < predicted * (3.0 * of_mean).max(0.5),
        "mean error {bias} against a spread of {predicted}"
    );
}
