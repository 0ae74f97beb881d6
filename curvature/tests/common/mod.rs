//! Samples of one module, their factors and scores by definition, and results of other programs.

#[path = "../../../data/tests/support/mod.rs"]
pub mod support;

use gstore_curvature::{Covariance, Damping, Inverse, Module, ModuleFactors, Squares, Strategy, dot};

/// A token: input with the constant of a bias, gradient of the output, and whether the mask includes it.
#[derive(Debug, Clone)]
pub struct Token {
    pub input: Vec<f64>,
    pub gradient: Vec<f64>,
    pub counts: bool,
}

/// A sample.
pub type Tokens = Vec<Token>;

/// A token that counts.
pub fn token(input: &[f64], gradient: &[f64]) -> Token {
    Token { input: input.to_vec(), gradient: gradient.to_vec(), counts: true }
}

/// A module whose name does not matter.
pub fn module(out: usize, input: usize, bias: bool) -> Module {
    Module { name: "m".to_owned(), out, input, bias }
}

/// `v w^T`.
pub fn outer(v: &[f64], w: &[f64]) -> Vec<f64> {
    v.iter().flat_map(|v| w.iter().map(move |w| v * w)).collect()
}

/// Sum of vectors of equal length.
pub fn sum<'a>(len: usize, vectors: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// The gradient of a sample: `sum_t g_t a_t^T`.
pub fn gradient(module: &Module, tokens: &[Token]) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = tokens.iter().map(|token| outer(&token.gradient, &token.input)).collect();
    sum(module.len(), &parts)
}

/// `<P(G), G>` of a gradient, in the eigenbasis.
pub fn energy(inverse: &Inverse, gradient: &[f64]) -> f64 {
    let mut scaled = inverse.rotated(gradient);
    let rotated = scaled.clone();
    scaled.iter_mut().zip(inverse.scale().into_iter().flatten()).for_each(|(value, scale)| *value *= scale);
    dot(&scaled, &rotated)
}

/// Sums of covariances: of inputs, and of gradients of outputs.
pub fn covariances(module: &Module, samples: &[Tokens]) -> (Covariance, Covariance) {
    let (mut activation, mut gradient) = (Covariance::new(module.input), Covariance::new(module.out));
    for token in samples.iter().flatten().filter(|token| token.counts) {
        for (covariance, value) in [(&mut activation, &token.input), (&mut gradient, &token.gradient)] {
            let part = outer(value, value);
            covariance.sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            covariance.count += 1;
        }
    }
    (activation, gradient)
}

/// Sums of squares of vectors.
pub fn squares(len: usize, vectors: &[Vec<f64>]) -> Squares {
    let squared: Vec<Vec<f64>> =
        vectors.iter().map(|vector| vector.iter().map(|value| value * value).collect()).collect();
    Squares { sums: sum(len, &squared), count: vectors.len() as u64 }
}

/// All factors of samples.
pub fn fit(module: &Module, samples: &[Tokens]) -> ModuleFactors {
    fit_with(module, samples, covariances(module, samples))
}

/// The same, from these covariances.
pub fn fit_with(
    module: &Module,
    samples: &[Tokens],
    (activation, outputs): (Covariance, Covariance),
) -> ModuleFactors {
    let mut factors =
        ModuleFactors { activation: Some(activation), gradient: Some(outputs), ..ModuleFactors::default() };
    factors.decompose(module).expect("eigenbases");
    let gradients: Vec<Vec<f64>> = samples.iter().map(|tokens| gradient(module, tokens)).collect();
    factors.diagonal = Some(squares(module.len(), &gradients));
    // Only the basis of its inverse is used.
    let basis = factors.inverse(module, Strategy::Kfac, Damping::Value(1.0)).expect("a basis");
    let rotated: Vec<Vec<f64>> = gradients.iter().map(|gradient| basis.rotated(gradient)).collect();
    factors.lambda = Some(squares(module.len(), &rotated));
    factors
}

/// Products of a query with all samples.
pub fn scores(module: &Module, query: &[f64], samples: &[Tokens]) -> Vec<f64> {
    samples.iter().map(|tokens| dot(query, &gradient(module, tokens))).collect()
}

/// Fails if values are further apart than this.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}, value {at}: {found} in place of {expected}");
    }
}
