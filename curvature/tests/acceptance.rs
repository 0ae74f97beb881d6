//! Promise: two examples that were computed with Kronfluence 1.0.1 give the same results here.

use gstore_curvature::{Damping, Module, ModuleFactors, Strategy, dot, low_rank, product};

use crate::common::{Tokens, assert_close, energy, fit, gradient, module, scores, sum, token};

/// The reference prints six decimals.
const TOLERANCE: f64 = 1e-6;

/// Scores by strategy: a damping, products of each query with all samples, and of each sample with itself.
struct Table<'a> {
    strategy: Strategy,
    damping: Damping,
    pairwise: &'a [&'a [f64]],
    of_itself: &'a [f64],
}

fn preconditioned(
    module: &Module,
    factors: &ModuleFactors,
    by: (Strategy, Damping),
    value: &[f64],
) -> Vec<f64> {
    factors.inverse(module, by.0, by.1).expect("an inverse").apply(value)
}

fn check(module: &Module, factors: &ModuleFactors, queries: &[Tokens], samples: &[Tokens], table: &Table) {
    let name = table.strategy.name();
    let by = (table.strategy, table.damping);
    for (query, expected) in queries.iter().zip(table.pairwise) {
        let query = preconditioned(module, factors, by, &gradient(module, query));
        assert_close(name, &scores(module, &query, samples), expected, TOLERANCE);
    }
    let of_itself: Vec<f64> = samples
        .iter()
        .map(|tokens| {
            let gradient = gradient(module, tokens);
            let inverse = factors.inverse(module, table.strategy, table.damping).expect("an inverse");
            let score = dot(&inverse.apply(&gradient), &gradient);
            let energy = energy(&inverse, &gradient);
            assert_close("energy", &[energy], &[score], 1e-9);
            score
        })
        .collect();
    if !table.of_itself.is_empty() {
        assert_close(name, &of_itself, table.of_itself, TOLERANCE);
    }
}

/// One linear layer 3 -> 2 with a bias, four samples of one token; and two queries.
fn example_a() -> (Module, Vec<Tokens>, Vec<Tokens>) {
    let samples = vec![
        vec![token(&[1.0, 0.0, 2.0, 1.0], &[1.0, -1.0])],
        vec![token(&[0.0, 1.0, -1.0, 1.0], &[0.5, 2.0])],
        vec![token(&[2.0, 1.0, 0.0, 1.0], &[-1.0, 0.5])],
        vec![token(&[-1.0, 2.0, 1.0, 1.0], &[2.0, 0.0])],
    ];
    let queries = vec![
        vec![token(&[1.0, 1.0, 1.0, 1.0], &[1.0, 0.5])],
        vec![token(&[0.0, -1.0, 2.0, 1.0], &[-0.5, 1.0])],
    ];
    (module(2, 4, true), samples, queries)
}

/// Two sequences of three tokens, 2 -> 2 without a bias, where the last token is padding; and a query.
fn example_b() -> (Module, Vec<Tokens>, Vec<Tokens>) {
    let mut samples = vec![
        vec![
            token(&[1.0, 0.0], &[1.0, -1.0]),
            token(&[0.0, 2.0], &[0.5, 0.0]),
            token(&[1.0, 1.0], &[0.0, 1.0]),
        ],
        vec![
            token(&[2.0, 1.0], &[-1.0, 2.0]),
            token(&[-1.0, 1.0], &[1.0, 1.0]),
            token(&[3.0, -3.0], &[0.0, 0.0]),
        ],
    ];
    samples[1][2].counts = false;
    let query = vec![
        token(&[1.0, 2.0], &[1.0, 0.0]),
        token(&[0.0, 1.0], &[-1.0, 1.0]),
        token(&[1.0, -1.0], &[0.5, 0.5]),
    ];
    (module(2, 2, false), samples, vec![query])
}

#[test]
fn factors_of_one_layer_with_a_bias() {
    let (module, samples, _) = example_a();
    let factors = fit(&module, &samples);
    let (activation, outputs) = (factors.activation.as_ref().unwrap(), factors.gradient.as_ref().unwrap());
    assert_eq!((activation.count, outputs.count), (4, 4));
    let a = [1.5, 0.0, 0.25, 0.5, 0.0, 1.5, 0.25, 1.0, 0.25, 0.25, 1.5, 0.5, 0.5, 1.0, 0.5, 1.0];
    let s = [1.5625, -0.125, -0.125, 1.3125];
    assert_eq!(activation.mean(), a);
    assert_eq!(outputs.mean(), s);
    assert_eq!(activation.sums, a.map(|value| 4.0 * value));
    assert_eq!(outputs.sums, s.map(|value| 4.0 * value));

    let (inputs, gradients) =
        (factors.activation_eigen.as_ref().unwrap(), factors.gradient_eigen.as_ref().unwrap());
    assert_close("l_A", &inputs.values, &[0.078698, 1.208664, 1.531960, 2.680678], TOLERANCE);
    assert_close("l_S", &gradients.values, &[1.260723, 1.614277], TOLERANCE);

    let of = |strategy| factors.eigenvalues(&module, strategy).expect("eigenvalues");
    let (ekfac, kfac, diagonal) = (of(Strategy::Ekfac), of(Strategy::Kfac), of(Strategy::Diagonal));
    let expected = [0.175624, 1.679367, 1.432454, 1.304893, 0.073234, 1.505899, 3.445971, 5.445058];
    assert_close("ekfac", &ekfac, &expected, TOLERANCE);
    let expected = [0.099216, 1.523791, 1.931378, 3.379594, 0.127040, 1.951118, 2.473007, 4.327357];
    assert_close("kfac", &kfac, &expected, TOLERANCE);
    assert_close("diagonal", &diagonal, &[2.25, 4.3125, 2.0625, 1.5625, 0.5, 1.0625, 2.0, 1.3125], 1e-12);
    assert_close("mean", &[ekfac.iter().sum::<f64>() / 8.0], &[1.882813], TOLERANCE);
    assert_close("sums", &[ekfac.iter().sum(), diagonal.iter().sum()], &[15.0625, 15.0625], 1e-9);
    let dampings = [&ekfac, &kfac, &diagonal].map(|values| Damping::OfMean.of(values));
    assert_close("damping", &dampings, &[0.188281, 0.197656, 0.188281], TOLERANCE);
}

#[test]
fn scores_of_one_layer_with_a_bias() {
    let (module, samples, queries) = example_a();
    let factors = fit(&module, &samples);
    let null = Damping::OfMean;
    for table in [
        Table {
            strategy: Strategy::Identity,
            damping: null,
            pairwise: &[&[2.0, 1.5, -3.0, 6.0], &[-7.5, -3.5, 0.0, -1.0]],
            of_itself: &[12.0, 12.75, 7.5, 28.0],
        },
        Table {
            strategy: Strategy::Diagonal,
            damping: null,
            pairwise: &[
                &[0.353292, 1.183374, -0.520705, 2.099412],
                &[-3.668405, -1.959382, 0.107905, -1.015387],
            ],
            of_itself: &[6.705592, 8.000610, 4.253206, 9.257293],
        },
        Table {
            strategy: Strategy::Kfac,
            damping: null,
            pairwise: &[
                &[0.318315, 0.068409, -0.756331, 1.346882],
                &[-3.993212, -0.097647, -1.173819, 0.229890],
            ],
            of_itself: &[4.195678, 8.197284, 2.555338, 9.150601],
        },
        Table {
            strategy: Strategy::Ekfac,
            damping: null,
            pairwise: &[
                &[-0.573209, 1.007768, -0.521713, 2.092042],
                &[-4.479667, -0.146384, -1.717965, 0.252717],
            ],
            of_itself: &[4.437211, 8.906867, 2.601110, 8.947636],
        },
        Table {
            strategy: Strategy::Ekfac,
            damping: Damping::Value(1e-8),
            pairwise: &[
                &[-1.000759, 1.036488, -0.781873, 2.630434],
                &[-8.056918, 2.501550, -4.307717, 2.473238],
            ],
            of_itself: &[5.978710, 11.894413, 3.561293, 10.565583],
        },
    ] {
        check(&module, &factors, &queries, &samples, &table);
    }
}

#[test]
fn preconditioned_queries_their_low_rank_and_their_sums() {
    let (module, samples, queries) = example_a();
    let factors = fit(&module, &samples);
    let by = (Strategy::Ekfac, Damping::OfMean);
    let ready: Vec<Vec<f64>> = queries
        .iter()
        .map(|query| preconditioned(&module, &factors, by, &gradient(&module, query)))
        .collect();
    let expected = [
        [0.458503, 0.551799, 0.403042, -0.002116, 0.473617, 0.531645, 0.475495, 0.411073],
        [0.827783, 1.404914, -0.125668, -1.730019, -0.727109, -1.968907, 0.702544, 2.648117],
    ];
    for (found, expected) in ready.iter().zip(expected) {
        assert_close("query", found, &expected, TOLERANCE);
    }

    let of_rank_one =
        [[-0.248852, 0.832172, -0.640969, 2.338048], [-4.720995, 0.127757, -1.359548, -0.049852]];
    for (query, expected) in ready.iter().zip(of_rank_one) {
        let thin = low_rank(query, (2, 4), 1).expect("a rank below that of the matrix");
        assert_eq!((thin.left.len(), thin.right.len(), thin.rank), (2, 4, 1));
        let matrix = product(&thin.left, &thin.right, (2, 1, 4));
        assert_close("rank 1", &scores(&module, &matrix, &samples), &expected, TOLERANCE);
        let by_token: Vec<f64> = samples
            .iter()
            .map(|tokens| {
                tokens.iter().map(|t| dot(&t.gradient, &thin.left) * dot(&thin.right, &t.input)).sum()
            })
            .collect();
        assert_close("rank 1 by token", &by_token, &expected, TOLERANCE);
    }

    let of_all = preconditioned(&module, &factors, by, &{
        let gradients: Vec<Vec<f64>> = queries.iter().map(|query| gradient(&module, query)).collect();
        sum(module.len(), &gradients)
    });
    let expected = [-5.052875, 0.861384, -2.239677, 2.344759];
    assert_close("over queries", &scores(&module, &of_all, &samples), &expected, TOLERANCE);
    let gradients: Vec<Vec<f64>> = samples.iter().map(|tokens| gradient(&module, tokens)).collect();
    let trained = sum(module.len(), &gradients);
    let over_training = [dot(&ready[0], &trained), dot(&ready[1], &trained)];
    assert_close("over training", &over_training, &[2.004888, -6.091298], TOLERANCE);
    assert_close("over both", &[dot(&of_all, &trained)], &[-4.086410], TOLERANCE);
}

#[test]
fn sequences_with_padding() {
    let (module, samples, queries) = example_b();
    let factors = fit(&module, &samples);
    let (activation, outputs) = (factors.activation.as_ref().unwrap(), factors.gradient.as_ref().unwrap());
    assert_eq!((activation.count, outputs.count), (5, 5));
    assert_close("A", &activation.mean(), &[1.4, 0.4, 0.4, 1.4], 1e-12);
    assert_close("S", &outputs.mean(), &[0.65, -0.4, -0.4, 1.4], 1e-12);
    assert_eq!(gradient(&module, &samples[0]), [1.0, 1.0, 0.0, 1.0]);
    assert_eq!(gradient(&module, &samples[1]), [-3.0, 0.0, 3.0, 3.0]);
    assert_eq!(gradient(&module, &queries[0]), [1.5, 0.5, 0.5, 0.5]);
    assert_eq!(factors.lambda.as_ref().unwrap().count, 2);

    let of = |strategy| factors.eigenvalues(&module, strategy).expect("eigenvalues");
    assert_close("ekfac", &of(Strategy::Ekfac), &[1.933941, 1.280028, 0.566059, 11.219972], TOLERANCE);
    assert_close("diagonal", &of(Strategy::Diagonal), &[5.0, 0.5, 4.5, 5.0], 1e-12);
    assert_close("kfac", &of(Strategy::Kfac), &[0.476707, 0.858073, 1.573293, 2.831927], TOLERANCE);
    for (strategy, expected) in [
        (Strategy::Identity, [2.5, -1.5]),
        (Strategy::Diagonal, [0.943522, -0.250447]),
        (Strategy::Kfac, [2.303267, -2.446221]),
        (Strategy::Ekfac, [1.621477, -1.011434]),
    ] {
        let table = Table { strategy, damping: Damping::OfMean, pairwise: &[&expected], of_itself: &[] };
        check(&module, &factors, &queries, &samples, &table);
    }

    let by = (Strategy::Ekfac, Damping::OfMean);
    let query = preconditioned(&module, &factors, by, &gradient(&module, &queries[0]));
    let expected = [[0.724953, 0.350543, 0.545982], [-0.708485, -0.302950, 0.0]];
    for (tokens, expected) in samples.iter().zip(expected) {
        let by_token: Vec<f64> =
            tokens.iter().map(|token| scores(&module, &query, &[vec![token.clone()]])[0]).collect();
        assert_close("by token", &by_token, &expected, TOLERANCE);
    }
}
