//! Promise: scores do not depend on what is arbitrary in factors, and obey the laws of an inner product.

use gstore_curvature::{
    Covariance, Damping, Eigen, Module, ModuleFactors, Strategy, dot, low_rank, product, transposed,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as _; // hidden by the name of an approximation

use crate::common::{
    Token, Tokens, assert_close, covariances, fit, gradient, module, scores, squares, token,
};

/// The effect of rounding, relative to the largest value.
const ROUNDING: f64 = 1e-8;

/// Pseudorandom values between -2 and 2.
struct Values(u64);

impl Values {
    fn one(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 22) as f64 - 2.0
    }

    fn vector(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.one()).collect()
    }
}

/// A module with samples, queries and factors.
#[derive(Debug, Clone)]
struct Case {
    module: Module,
    samples: Vec<Tokens>,
    queries: Vec<Vec<f64>>,
    factors: ModuleFactors,
}

impl Case {
    fn new(seed: u64, (out, width, bias): (usize, usize, bool), samples: usize) -> Self {
        let mut values = Values(seed);
        let module = module(out, width + usize::from(bias), bias);
        let samples: Vec<Tokens> = (0..samples)
            .map(|sample| {
                let one = |_: usize| {
                    let mut input = values.vector(width);
                    input.extend(bias.then_some(1.0));
                    token(&input, &values.vector(out))
                };
                (0..1 + sample % 3).map(one).collect()
            })
            .collect();
        let queries = (0..3).map(|_| values.vector(module.len())).collect();
        let factors = fit(&module, &samples);
        Self { module, samples, queries, factors }
    }

    fn gradients(&self) -> Vec<Vec<f64>> {
        self.samples.iter().map(|tokens| gradient(&self.module, tokens)).collect()
    }

    fn pairwise(&self, factors: &ModuleFactors, strategy: Strategy, damping: Damping) -> Vec<f64> {
        let inverse = factors.inverse(&self.module, strategy, damping).expect("an inverse");
        self.queries
            .iter()
            .flat_map(|query| scores(&self.module, &inverse.apply(query), &self.samples))
            .collect()
    }
}

fn assert_same(what: &str, found: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    assert_close(what, found, expected, ROUNDING * largest);
}

/// Any small module with a few samples.
fn cases() -> impl proptest::strategy::Strategy<Value = Case> {
    (any::<u64>(), 1usize..5, 1usize..5, any::<bool>(), 1usize..7)
        .prop_map(|(seed, out, width, bias, samples)| Case::new(seed, (out, width, bias), samples))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_of_eigenvalues_are_those_of_gradients(case in cases()) {
        let total = |strategy| case.factors.eigenvalues(&case.module, strategy).unwrap().iter().sum::<f64>();
        let gradients = case.gradients();
        let norms = gradients.iter().map(|g| dot(g, g)).sum::<f64>() / gradients.len() as f64;
        assert_same("ekfac", &[total(Strategy::Ekfac)], &[norms]);
        assert_same("diagonal", &[total(Strategy::Diagonal)], &[norms]);
        let trace = |covariance: &Option<Covariance>| {
            let covariance = covariance.as_ref().unwrap();
            covariance.mean().iter().step_by(covariance.size + 1).sum::<f64>()
        };
        let traces = trace(&case.factors.activation) * trace(&case.factors.gradient);
        assert_same("kfac", &[total(Strategy::Kfac)], &[traces]);
    }

    #[test]
    fn signs_of_eigenvectors_change_no_score(case in cases(), signs in any::<u64>()) {
        let mut turned = case.factors.clone();
        let flipped = |eigen: &mut Option<Eigen>, signs: u64| {
            let eigen = eigen.as_mut().unwrap();
            let size = eigen.size();
            for (at, value) in eigen.vectors.iter_mut().enumerate() {
                if (signs >> (at % size)) & 1 == 1 {
                    *value = -*value;
                }
            }
        };
        flipped(&mut turned.activation_eigen, signs);
        flipped(&mut turned.gradient_eigen, signs >> 32);
        for strategy in [Strategy::Kfac, Strategy::Ekfac] {
            let expected = case.pairwise(&case.factors, strategy, Damping::OfMean);
            assert_same("signs", &case.pairwise(&turned, strategy, Damping::OfMean), &expected);
        }
    }

    #[test]
    fn partitions_of_the_data_change_no_factor(case in cases(), cut in 0usize..7) {
        let (first, second) = case.samples.split_at(cut.min(case.samples.len()));
        let (mut activation, mut outputs) = covariances(&case.module, first);
        let (more_activation, more_outputs) = covariances(&case.module, second);
        activation.merge(&more_activation);
        outputs.merge(&more_outputs);
        let whole = [&case.factors.activation, &case.factors.gradient].map(|whole| whole.as_ref().unwrap());
        for (merged, whole) in [activation, outputs].iter().zip(whole) {
            assert_eq!(merged.count, whole.count);
            assert_same("covariance", &merged.mean(), &whole.mean());
        }
        let gradients = case.gradients();
        let (first, second) = gradients.split_at(first.len());
        let mut merged = squares(case.module.len(), first);
        merged.merge(&squares(case.module.len(), second));
        assert_same("squares", &merged.mean(), &case.factors.diagonal.as_ref().unwrap().mean());
    }

    #[test]
    fn scores_are_an_inner_product(case in cases()) {
        for strategy in Strategy::ALL {
            let inverse = case.factors.inverse(&case.module, strategy, Damping::OfMean).unwrap();
            let of_itself = |gradient: &[f64]| dot(&inverse.apply(gradient), gradient);
            for query in &case.queries {
                let ready = inverse.apply(query);
                for gradient in case.gradients() {
                    let (score, own) = (dot(&ready, &gradient), of_itself(&gradient));
                    let bound = of_itself(query) * own;
                    let most = bound + ROUNDING * (1.0 + bound);
                    assert!(own >= -ROUNDING && score * score <= most, "{strategy:?}");
                    assert_same("either side", &[dot(&inverse.apply(&gradient), query)], &[score]);
                    // Rotated into the basis and scaled, both sides at once.
                    let white = |value: &[f64]| -> Vec<f64> {
                        let mut rotated = inverse.rotated(value);
                        if let Some(scale) = inverse.scale() {
                            rotated.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale.sqrt());
                        }
                        rotated
                    };
                    assert_same("whitened", &[dot(&white(query), &white(&gradient))], &[score]);
                    assert_same("back", &inverse.unrotated(&inverse.rotated(&gradient)), &gradient);
                }
            }
        }
    }

    #[test]
    fn squares_of_whitened_gradients_are_below_one(case in cases()) {
        let inverse = case.factors.inverse(&case.module, Strategy::Ekfac, Damping::OfMean).unwrap();
        let (scale, eigenvalues) =
            (inverse.scale().unwrap(), case.factors.eigenvalues(&case.module, Strategy::Ekfac).unwrap());
        let rotated: Vec<Vec<f64>> = case.gradients().iter().map(|one| inverse.rotated(one)).collect();
        let mean = squares(case.module.len(), &rotated).mean();
        for ((mean, scale), eigenvalue) in mean.iter().zip(scale).zip(eigenvalues) {
            let expected = eigenvalue / (eigenvalue + inverse.damping());
            let found = mean * scale;
            assert!((found - expected).abs() < ROUNDING && found < 1.0, "{found} {expected}");
        }
    }

    #[test]
    fn large_damping_leaves_plain_products(case in cases()) {
        let damping = 1e12;
        let plain = case.pairwise(&case.factors, Strategy::Identity, Damping::OfMean);
        for strategy in [Strategy::Diagonal, Strategy::Kfac, Strategy::Ekfac] {
            let scores = case.pairwise(&case.factors, strategy, Damping::Value(damping));
            let scaled: Vec<f64> = scores.iter().map(|score| score * damping).collect();
            assert_same("damped", &scaled, &plain);
        }
    }

    #[test]
    fn the_order_of_samples_is_the_order_of_scores(case in cases()) {
        let mut samples = case.samples.clone();
        samples.reverse();
        let factors = fit(&case.module, &samples);
        let turned = Case { samples, factors, ..case.clone() };
        // Bases of equal eigenvalues are arbitrary, and EK-FAC measures in them.
        for strategy in [Strategy::Identity, Strategy::Diagonal, Strategy::Kfac] {
            let expected = case.pairwise(&case.factors, strategy, Damping::OfMean);
            let mut found = turned.pairwise(&turned.factors, strategy, Damping::OfMean);
            found.chunks_mut(turned.samples.len()).for_each(<[f64]>::reverse);
            assert_same("reversed", &found, &expected);
        }
    }

    #[test]
    fn tokens_add_up_and_padding_adds_nothing(case in cases()) {
        let inverse = case.factors.inverse(&case.module, Strategy::Ekfac, Damping::OfMean).unwrap();
        let query = inverse.apply(&case.queries[0]);
        let of_token = |token: &Token| scores(&case.module, &query, &[vec![token.clone()]])[0];
        let by_token: Vec<f64> =
            case.samples.iter().map(|tokens| tokens.iter().map(of_token).sum()).collect();
        assert_same("tokens", &by_token, &scores(&case.module, &query, &case.samples));

        let mut padded = case.samples.clone();
        for tokens in &mut padded {
            let mut padding = token(&vec![7.0; case.module.input], &vec![0.0; case.module.out]);
            padding.counts = false;
            tokens.push(padding);
        }
        prop_assert_eq!(fit(&case.module, &padded), case.factors.clone());
    }

    #[test]
    fn a_full_rank_saves_nothing_and_a_true_rank_is_exact(
        seed in any::<u64>(), out in 2usize..6, input in 2usize..6,
    ) {
        let mut values = Values(seed);
        let (size, rank) = (out.min(input), 1);
        let matrix = product(&values.vector(out * rank), &values.vector(rank * input), (out, rank, input));
        let of_rank = |rank| low_rank(&matrix, (out, input), rank);
        prop_assert!(of_rank(size).is_none() && of_rank(0).is_none());
        let thin = of_rank(rank).expect("a decomposition");
        assert_same("rank", &product(&thin.left, &thin.right, (out, rank, input)), &matrix);
    }
}

#[test]
fn a_rotation_inside_equal_eigenvalues_changes_no_score_of_kfac() {
    let case = Case::new(7, (2, 3, false), 5);
    let mut factors = case.factors.clone();
    let equal = |vectors: Vec<f64>| Some(Eigen { values: vec![0.5, 2.0, 2.0], vectors });
    factors.activation_eigen = equal(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let expected = case.pairwise(&factors, Strategy::Kfac, Damping::OfMean);
    let (sin, cos) = 0.7_f64.sin_cos();
    let turned = vec![1.0, 0.0, 0.0, 0.0, cos, -sin, 0.0, sin, cos];
    assert_same("orthogonal", &product(&turned, &transposed(&turned, 3, 3), (3, 3, 3)), &{
        let mut identity = vec![0.0; 9];
        identity.iter_mut().step_by(4).for_each(|value| *value = 1.0);
        identity
    });
    factors.activation_eigen = equal(turned);
    assert_same("rotated", &case.pairwise(&factors, Strategy::Kfac, Damping::OfMean), &expected);
}
