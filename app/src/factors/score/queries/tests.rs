//! Promise: queries go through the segments of training from the last to the first, and what is no number is
//! refused.

use gstore_curvature::{Covariance, Damping, Eigen, Squares};
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;

use super::*;

#[test]
fn a_damping_that_is_too_small_or_too_large_for_f32_is_refused() {
    let module = Module { name: "m".into(), out: 1, input: 2, bias: false };
    let squares = Squares { sums: vec![0.0, 1.0], count: 1 };
    let factors = ModuleFactors { diagonal: Some(squares), ..ModuleFactors::default() };
    let columns = |damping: f64| {
        let filter = Filter::Inverse(Damping::Value(damping));
        let mut scaling = FilterScaling::new(&module, &factors, Strategy::Diagonal, &[filter]).unwrap();
        let column = &scaling.columns(&SampleGradient::whole(&module, vec![0.5, 2.0]))[0];
        let found = ColumnValues::of(column).check(&module, filter);
        let mut into = FilterColumns::new(ColumnForm::Gradients, &module);
        let added = into.push_scaled(column, None).check(&module, filter);
        assert_eq!(found.is_ok(), added.is_ok());
        found
    };
    assert!(columns(1e-3).is_ok());
    for (damping, way) in [(1e-300, "a larger damping"), (1e300, "a smaller damping")] {
        let error = columns(damping).unwrap_err().to_string();
        assert!(
            error.contains("module `m`") && error.contains(&format!("damping of {damping:e}")),
            "{error}"
        );
        assert!(error.contains(way), "{error}");
    }
}

#[test]
fn columns_are_what_the_inverse_of_each_filter_makes_of_a_gradient() {
    let module = Module { name: "m".into(), out: 2, input: 3, bias: false };
    let covariance = |size: usize, sums: &[f64]| Some(Covariance { size, sums: sums.to_vec(), count: 1 });
    let mut factors = ModuleFactors {
        activation: covariance(3, &[4.0, 1.0, 0.0, 1.0, 3.0, 0.5, 0.0, 0.5, 2.0]),
        gradient: covariance(2, &[2.0, 0.5, 0.5, 1.0]),
        diagonal: Some(Squares { sums: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], count: 1 }),
        ..ModuleFactors::default()
    };
    factors.decompose(&module).unwrap();
    let source = Filter::source(3, 0.2).unwrap();
    let filters = [Filter::Identity, Filter::Inverse(Damping::Value(0.1)), source];
    for strategy in [Strategy::Kfac, Strategy::Diagonal, Strategy::Identity] {
        let mut scaling = FilterScaling::new(&module, &factors, strategy, &filters).unwrap();
        // What was rotated before does not show.
        for gradient in [[1.0f32, -2.0, 3.0, 0.5, 0.0, -1.0], [0.0, 0.25, -1.5, 2.0, 4.0, 1.0]] {
            let wide = gradient.map(f64::from);
            let gradient = SampleGradient::whole(&module, gradient.to_vec());
            for (column, filter) in scaling.columns(&gradient).iter().zip(filters) {
                let expected = factors.filtered(&module, strategy, filter).unwrap().apply(&wide);
                assert_eq!(column.len(), expected.len());
                for (found, expected) in column.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{strategy:?} {filter}: {found} {expected}");
                }
            }
        }
    }
}

/// `<P(G), G'>` is the product of both in the eigenbasis, where the filter of the query stays.
#[test]
fn products_in_the_eigenbasis_are_those_of_weights() {
    let turned = Turned { angle: 0.4, values: [3.0, 0.2] };
    let (module, factors) = (Module { name: "m".into(), out: 1, input: 2, bias: false }, turned.factors());
    let filters = [Filter::Identity, Filter::Inverse(Damping::Value(0.1)), Filter::source(3, 0.2).unwrap()];
    let mut scaling = FilterScaling::new(&module, &factors, Strategy::Ekfac, &filters).unwrap();
    let (query, row) = (SampleGradient::whole(&module, vec![0.8, -1.7]), [0.3, 2.5]);
    let (sin, cos) = turned.angle.sin_cos();
    let rotated_row = [cos * row[0] + sin * row[1], -sin * row[0] + cos * row[1]];
    let expected = scaling.columns(&query).to_vec();
    let mut rotated = Vec::new();
    let inverse = factors.filtered(&module, Strategy::Ekfac, filters[1]).unwrap();
    inverse.rotation().expect("of eigenvectors").rotated(&query, &mut rotated);
    // Scales need no eigenvectors.
    let lambda = ModuleFactors { lambda: factors.lambda.clone(), ..ModuleFactors::default() };
    for (filter, back) in filters.into_iter().zip(expected) {
        let scale = lambda.scale(&module, Strategy::Ekfac, filter).unwrap().0;
        let scale = scale.unwrap_or_else(|| vec![1.0; 2]);
        let stays: Vec<f64> = rotated.iter().zip(scale).map(|(value, scale)| value * scale).collect();
        let [found, expected] = [(&stays, rotated_row), (&back, row)]
            .map(|(column, row)| column.iter().zip(row).map(|(a, b)| a * b).sum::<f64>());
        assert!((found - expected).abs() < 1e-6 * expected.abs(), "{found} {expected}");
        assert!((stays[0] - back[0]).abs() > 0.1, "{stays:?} {back:?}");
    }
}

/// Curvature of two weights, in an eigenbasis that is rotated by an angle.
struct Turned {
    angle: f64,
    values: [f64; 2],
}

impl Turned {
    fn factors(&self) -> ModuleFactors {
        let (sin, cos) = self.angle.sin_cos();
        let turn = Eigen { values: vec![1.0; 2], vectors: vec![cos, -sin, sin, cos] };
        ModuleFactors {
            activation_eigen: Some(turn),
            gradient_eigen: Some(Eigen { values: vec![1.0], vectors: vec![1.0] }),
            lambda: Some(Squares { sums: self.values.to_vec(), count: 1 }),
            ..ModuleFactors::default()
        }
    }

    /// `H v`, with H written out.
    fn times(&self, v: [f64; 2]) -> [f64; 2] {
        let ((sin, cos), [a, b]) = (self.angle.sin_cos(), self.values);
        let off = sin * cos * (a - b);
        let h = [[cos * cos * a + sin * sin * b, off], [off, sin * sin * a + cos * cos * b]];
        h.map(|row| row[0] * v[0] + row[1] * v[1])
    }

    /// `exp(-t H) v` and `(1 - exp(-t H)) / H v`, by their power series.
    fn series(&self, t: f64, v: [f64; 2]) -> [[f64; 2]; 2] {
        let (mut decayed, mut summed, mut term) = ([0.0; 2], [0.0; 2], v);
        for k in 0..60 {
            for at in 0..2 {
                decayed[at] += term[at];
                summed[at] += t * term[at] / f64::from(k + 1);
            }
            term = self.times(term).map(|value| -t * value / f64::from(k + 1));
        }
        [decayed, summed]
    }
}

#[test]
fn columns_of_segments_are_those_of_power_series_from_the_last_to_the_first() {
    let module = Module { name: "m".into(), out: 1, input: 2, bias: false };
    let early = (Turned { angle: 0.4, values: [3.0, 0.2] }, Filter::Source { steps: 20, rate: 0.05 });
    let late = (Turned { angle: 1.3, values: [0.7, 2.0] }, Filter::Source { steps: 50, rate: 0.02 });
    let query = [0.8, -1.7];
    // The columns of each segment, from the first to the last.
    let found = |segments: [&(Turned, Filter); 2]| -> Vec<[f64; 2]> {
        let filters = segments.map(|(_, filter)| [*filter]);
        let filters: Vec<&[Filter]> = filters.iter().map(|filters| &filters[..]).collect();
        let factors = |at: usize| -> Result<ModuleFactors, FactorJobError> { Ok(segments[at].0.factors()) };
        let gradients = [vec![1.0, 1.0], vec![query[0] as f32, query[1] as f32]];
        let gradients = gradients.map(|values| SampleGradient::whole(&module, values));
        let how = (Strategy::Ekfac, None);
        let none = vec![FilterColumns::new(ColumnForm::Gradients, &module); 2];
        let all = through_segments(&module, how, (&filters, &factors), &gradients, none).expect("finite");
        let values = |columns: FilterColumns| {
            let cpu = Cpu::new(ComputePrecision::F32);
            let values = ModuleColumns(vec![columns]).products(&cpu, &[1.0, 0.0, 0.0, 1.0]);
            // Of the second of two queries.
            [values[1], values[3]]
        };
        all.into_iter().map(values).collect()
    };
    let expected = |[first, last]: [&(Turned, Filter); 2]| {
        // Both segments are as long: steps times rate is 1.
        let [left, of_last] = last.0.series(1.0, query);
        [first.0.series(1.0, left)[1], of_last]
    };
    let near = |found: &[[f64; 2]], expected: [[f64; 2]; 2]| {
        assert_eq!(found.len(), 2);
        let pairs = found.as_flattened().iter().zip(expected.as_flattened());
        pairs.map(|(a, b)| (a - b).abs()).all(|off| off < 3e-6)
    };
    for [first, last] in [[&early, &late], [&late, &early]] {
        assert!(near(&found([first, last]), expected([first, last])), "{:?}", found([first, last]));
    }
    assert!(!near(&found([&late, &early]), expected([&early, &late])));
}
