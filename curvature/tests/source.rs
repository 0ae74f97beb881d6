//! Promise: segments of training, carried backwards one after the other, give what unrolling every step gives
//! as steps become small, where both can be computed exactly: gradient descent on least squares.

use gstore_curvature::{
    Covariance, Damping, Filter, Module, ModuleFactors, Strategy, dot, product, transposed,
};

use crate::common::{assert_close, fit, module, token};

/// Samples of each segment, and values of each sample.
const SHAPE: (usize, usize) = (5, 3);

/// Pseudorandom values.
fn values(seed: usize, len: usize) -> Vec<f64> {
    (0..len).map(|at| ((at * at + 7 * seed * at + seed) as f64 * 0.61).sin()).collect()
}

/// Inputs of the samples of a segment.
fn inputs(segment: usize) -> Vec<f64> {
    values(segment + 1, SHAPE.0 * SHAPE.1)
}

/// The Hessian of half the mean square of `x w - y`: the mean of `x x^T`.
fn hessian(segment: usize) -> Vec<f64> {
    let (n, d) = SHAPE;
    let x = inputs(segment);
    product(&transposed(&x, n, d), &x, (d, n, d)).into_iter().map(|sum| sum / n as f64).collect()
}

/// The same in K-FAC's form: a module with one output, whose gradients have a mean square of 1.
fn factors(segment: usize) -> (Module, ModuleFactors) {
    let (n, d) = SHAPE;
    let module = module(1, d, false);
    let count = n as u64;
    let sums = hessian(segment).into_iter().map(|mean| mean * n as f64).collect();
    let mut factors = ModuleFactors {
        activation: Some(Covariance { size: d, sums, count }),
        gradient: Some(Covariance { size: 1, sums: vec![n as f64], count }),
        ..ModuleFactors::default()
    };
    factors.decompose(&module).expect("eigenbases");
    (module, factors)
}

/// The sum over segments of a query carried back to each, and the row's mean gradient there.
fn source(segments: &[(usize, u64, f64)], query: &[f64], rows: &[Vec<f64>]) -> f64 {
    let (mut carried, mut score) = (query.to_vec(), 0.0);
    for ((data, steps, rate), row) in segments.iter().zip(rows).rev() {
        let (module, factors) = factors(*data);
        let segment = Filter::source(*steps, *rate).expect("a segment");
        let through =
            |filter| factors.filtered(&module, Strategy::Kfac, filter).expect("a filter").apply(&carried);
        score += dot(&through(segment), row);
        carried = through(segment.decay().expect("the rest"));
    }
    score
}

/// `v - rate (H v + shift)`.
fn step(hessian: &[f64], rate: f64, value: &[f64], shift: &[f64]) -> Vec<f64> {
    let mapped = product(hessian, value, (value.len(), value.len(), 1));
    let stepped = value.iter().zip(&mapped).zip(shift);
    stepped.map(|((value, mapped), shift)| value - rate * (mapped + shift)).collect()
}

#[test]
fn small_steps_are_unrolled_differentiation() {
    let (query, row) = (values(11, 3), values(12, 3));
    let errors: Vec<f64> = [10u64, 100, 1000]
        .into_iter()
        .map(|steps| {
            // Other data and another rate in each segment; the row's gradient is the same at every step.
            let segments = [(0, steps, 2.0 / steps as f64), (1, 2 * steps, 0.5 / steps as f64)];
            let mut change = vec![0.0; 3];
            for (data, steps, rate) in segments {
                let hessian = hessian(data);
                (0..steps).for_each(|_| change = step(&hessian, rate, &change, &row));
            }
            let expected = -dot(&query, &change);
            let found = source(&segments, &query, &[row.clone(), row.clone()]);
            (found - expected).abs() / expected.abs()
        })
        .collect();
    assert!(errors[1] < 0.2 * errors[0] && errors[2] < 0.2 * errors[1] && errors[2] < 1e-3, "{errors:?}");
}

#[test]
fn more_segments_follow_a_run_whose_gradients_change() {
    let (query, x, y) = (values(11, 3), values(12, 3), 0.4);
    let (hessian, rate, steps) = (hessian(0), 1e-3, 1600u64);
    // The gradient of the loss is H w + shift.
    let shift = values(13, 3);
    let of_row = |weights: &[f64]| -> Vec<f64> {
        let error = dot(weights, &x) - y;
        x.iter().map(|x| error * x).collect()
    };
    let (mut weights, mut change) = (vec![vec![0.5, -1.0, 2.0]], vec![0.0; 3]);
    for at in 0..steps as usize {
        change = step(&hessian, rate, &change, &of_row(&weights[at]));
        weights.push(step(&hessian, rate, &weights[at], &shift));
    }
    let expected = -dot(&query, &change);
    let error = |count: usize| {
        let each = steps as usize / count;
        // Checkpoints at both ends of a segment.
        let mean = |segment: usize| -> Vec<f64> {
            let ends = [segment * each, (segment + 1) * each].map(|at| of_row(&weights[at]));
            ends[0].iter().zip(&ends[1]).map(|(a, b)| (a + b) / 2.0).collect()
        };
        let rows: Vec<Vec<f64>> = (0..count).map(mean).collect();
        (source(&vec![(0, each as u64, rate); count], &query, &rows) - expected).abs() / expected.abs()
    };
    let errors = [1, 4, 16].map(error);
    assert!(errors[1] < errors[0] && errors[2] < errors[1] && errors[2] < 5e-3, "{errors:?}");
}

#[test]
fn equal_segments_are_one_with_the_sum_of_their_steps() {
    let samples = [
        vec![token(&[1.0, 0.0, 2.0, 1.0], &[1.0, -1.0]), token(&[0.0, 1.0, -1.0, 1.0], &[0.5, 2.0])],
        vec![token(&[2.0, 1.0, 0.0, 1.0], &[-1.0, 0.5])],
        vec![token(&[-1.0, 2.0, 1.0, 1.0], &[2.0, 0.0])],
    ];
    let module = module(2, 4, true);
    let factors = fit(&module, &samples);
    let query = values(3, 8);
    let apply = |strategy, filter, query: &[f64]| -> Vec<f64> {
        factors.filtered(&module, strategy, filter).expect("a filter").apply(query)
    };
    for strategy in Strategy::ALL {
        let of = |steps| Filter::source(steps, 0.01).expect("a segment");
        let carried = apply(strategy, of(30).decay().expect("the rest"), &query);
        let (late, early) = (apply(strategy, of(30), &query), apply(strategy, of(50), &carried));
        let both: Vec<f64> = late.iter().zip(&early).map(|(late, early)| late + early).collect();
        assert_close(strategy.name(), &both, &apply(strategy, of(80), &query), 1e-12);
        // What remains of a query, from the sum of the steps: exp(-t L) = 1 - L (1 - exp(-t L)) / L.
        let scale = |filter| factors.filtered(&module, strategy, filter).expect("a filter");
        let (rest, sum) = (scale(of(30).decay().expect("the rest")), scale(of(30)));
        let eigenvalues = factors.eigenvalues(&module, strategy).expect("eigenvalues");
        for ((rest, sum), value) in
            rest.scale().into_iter().flatten().zip(sum.scale().into_iter().flatten()).zip(eigenvalues)
        {
            assert!((rest + value * sum - 1.0).abs() < 1e-12, "{strategy:?}: {rest} {sum} {value}");
        }
    }
    assert_eq!(Filter::Inverse(Damping::OfMean).decay(), None);
}
