//! Promise: covariances of losses, their errors and their invariants are those of the method's definition.

use gstore_core::correlation::{descending, spearman};
use gstore_query::daunce::*;
use proptest::prelude::*;

/// The example of the method's specification: rows are models.
const A: [[f64; 3]; 4] = [[1.20, 0.50, 2.00], [1.00, 0.65, 2.10], [1.40, 0.40, 1.70], [1.10, 0.55, 2.40]];
const B: [[f64; 2]; 4] = [[0.90, 1.50], [0.70, 1.60], [1.05, 1.35], [0.85, 1.65]];

/// One row of losses after the other, of a matrix whose rows are models.
fn by_row<const N: usize>(models: &[[f64; N]]) -> Vec<f64> {
    (0..N).flat_map(|i| models.iter().map(move |model| model[i])).collect()
}

fn how(score: Score, center: Center, ddof: u8) -> CovarianceOptions {
    CovarianceOptions { score, center, ddof }
}

fn centring(rows: &[f64], models: &Models, how: CovarianceOptions) -> Centring {
    let k = models.len();
    let n = (rows.len() / k) as f64;
    let means = (0..k).map(|m| rows.iter().skip(m).step_by(k).sum::<f64>() / n).collect();
    Centring::new(models.clone(), how, means)
}

/// Scores of all rows with all queries, in tiles.
fn scores(rows: &[f64], queries: &[f64], models: &Models, how: CovarianceOptions) -> Vec<f64> {
    let products = Products::new(centring(rows, models, how), queries.to_vec(), 2);
    let mut out = vec![0.0; rows.len() / models.len() * products.len()];
    products.scores((rows, models.len()), None, &mut ProductScratch::default(), &mut out);
    out
}

fn alone(values: &[f64]) -> (f64, Vec<f64>) {
    (values[0], vec![1.0])
}

fn of_pair(
    rows: &[f64],
    queries: &[f64],
    (i, q): (usize, usize),
    models: &Models,
    how: CovarianceOptions,
) -> Estimate {
    let k = models.len();
    let centring = centring(rows, models, how);
    let pair = Pair::new(&centring, &rows[i * k..(i + 1) * k], &queries[q * k..(q + 1) * k]);
    estimate(&[pair], how.score, alone)
}

fn near(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance, "{what}: {got} is not {want}");
}

fn all_near(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    got.iter().zip(want).for_each(|(got, want)| near(*got, *want, tolerance, what));
}

#[test]
fn the_example_of_the_specification() {
    let (a, b) = (by_row(&A), by_row(&B));
    let one = Models::one(4);
    let cov = [0.024167, -0.020833, -0.015000, 0.011667, -0.026667, 0.036667];
    let corr = [0.980379, -0.922139, -0.998460, 0.847319, -0.640000, 0.960159];
    let se = [0.019817, 0.016677, 0.012269, 0.009492, 0.027726, 0.029756];
    let of = |score, center, ddof| scores(&a, &b, &one, how(score, center, ddof));
    all_near(&of(Score::Cov, Center::Row, 1), &cov, 5e-7, "cov");
    all_near(&of(Score::Corr, Center::Row, 1), &corr, 5e-7, "corr");
    all_near(&of(Score::Corr, Center::Row, 0), &corr, 5e-7, "corr does not depend on ddof");
    all_near(&of(Score::Cov, Center::Row, 0), &cov.map(|x| x * 0.75), 5e-7, "ddof 0");
    near(of(Score::Cov, Center::Row, 0)[0], 0.018125, 5e-7, "ddof 0");
    for i in 0..3 {
        for q in 0..2 {
            let found = of_pair(&a, &b, (i, q), &one, CovarianceOptions::default());
            near(found.score.unwrap(), cov[i * 2 + q], 5e-7, "cov of a pair");
            near(found.se.unwrap(), se[i * 2 + q], 5e-7, "jackknife");
            assert_eq!(found.models, 4);
            near(found.z().unwrap(), cov[i * 2 + q] / se[i * 2 + q], 1e-3, "z");
        }
    }
    let both = [0.044630, -0.015370, -0.007870, 0.003796, -0.036759, 0.011574];
    all_near(&of(Score::Cov, Center::Both, 1), &both, 5e-7, "example+model");
    let diagonal: Vec<f64> =
        scores(&a, &a, &one, CovarianceOptions::default()).into_iter().step_by(4).collect();
    all_near(&diagonal, &[0.029167, 0.010833, 0.083333], 5e-7, "rows with themselves");
}

#[test]
fn the_means_and_deviations_of_the_specification() {
    let (a, b) = (by_row(&A), by_row(&B));
    let sd = |rows: &[f64]| -> Vec<f64> {
        let n = rows.len() / 4;
        let all = scores(rows, rows, &Models::one(4), CovarianceOptions::default());
        all.into_iter().step_by(n + 1).map(f64::sqrt).collect()
    };
    all_near(&sd(&a), &[0.170783, 0.104083, 0.288675], 5e-7, "sd of rows");
    all_near(&sd(&b), &[0.144338, 0.132288], 5e-7, "sd of queries");
}

#[test]
fn the_orders_of_the_specification() {
    let (a, b) = (by_row(&A), by_row(&B));
    let order = |score, q: usize| {
        let all = scores(&a, &b, &Models::one(4), how(score, Center::Row, 1));
        descending(&all.into_iter().skip(q).step_by(2).collect::<Vec<_>>())
    };
    assert_eq!((order(Score::Cov, 0), order(Score::Cov, 1)), (vec![0, 1, 2], vec![2, 1, 0]));
    assert_eq!((order(Score::Corr, 0), order(Score::Corr, 1)), (vec![0, 2, 1], vec![2, 1, 0]));
}

#[test]
fn the_mean_of_queries_is_the_mean_of_scores() {
    let (a, b) = (by_row(&A), by_row(&B));
    let mean: Vec<f64> = (0..4).map(|k| (b[k] + b[4 + k]) / 2.0).collect();
    let together = scores(&a, &mean, &Models::one(4), CovarianceOptions::default());
    all_near(&together, &[0.001667, -0.001667, 0.005000], 5e-7, "mean of queries");
    // Linear, so its error is that of the mean query.
    let centring = centring(&a, &Models::one(4), CovarianceOptions::default());
    for i in 0..3 {
        let row = &a[i * 4..(i + 1) * 4];
        let pairs: Vec<Pair> = b.chunks(4).map(|query| Pair::new(&centring, row, query)).collect();
        let combine = |values: &[f64]| ((values[0] + values[1]) / 2.0, vec![0.5, 0.5]);
        let of_two = estimate(&pairs, Score::Cov, combine);
        let of_mean = estimate(&[Pair::new(&centring, row, &mean)], Score::Cov, alone);
        near(of_two.score.unwrap(), together[i], 1e-15, "score");
        near(of_two.se.unwrap(), of_mean.se.unwrap(), 1e-15, "error");
        near(of_two.noise_floor.unwrap(), of_mean.noise_floor.unwrap(), 1e-15, "noise");
    }
}

#[test]
fn groups_and_missing_cells_of_the_specification() {
    let (mut a, b) = (by_row(&A), by_row(&B));
    let groups = Models::grouped(vec![0, 0, 1, 1]);
    let want = [0.025000, -0.027500, -0.015000, 0.015000, -0.040000, 0.055000];
    all_near(&scores(&a, &b, &groups, CovarianceOptions::default()), &want, 5e-7, "groups");
    for (i, want) in want.chunks(2).enumerate() {
        let found = of_pair(&a, &b, (i, 0), &groups, CovarianceOptions::default());
        near(found.score.unwrap(), want[0], 5e-7, "groups of a pair");
    }
    // Row 2 under model 1.
    a[2 * 4 + 1] = f64::NAN;
    let found = scores(&a, &b, &Models::one(4), CovarianceOptions::default());
    all_near(&found[..4], &[0.024167, -0.020833, -0.015000, 0.011667], 5e-7, "whole rows");
    all_near(&found[4..], &[-0.034167, 0.052500], 5e-7, "pairwise");
    assert_eq!(of_pair(&a, &b, (2, 0), &Models::one(4), CovarianceOptions::default()).models, 3);
}

#[test]
fn what_a_row_and_a_query_share_is_scored_where_it_leaves_enough_dimensions() {
    let models = Models::grouped(vec![0, 0, 0, 1, 1, 1]);
    let row = [1.0, 2.0, 4.0, 3.0, 5.0, f64::NAN];
    // Both have three models of a base and one of the other; two and one.
    let query = [0.5, 1.0, 0.0, 2.0, f64::NAN, 1.0];
    let queries = [query, [f64::NAN, 1.0, 0.0, 2.0, f64::NAN, 1.0]].concat();
    for (score, ddof) in [(Score::Cov, 0), (Score::Cov, 1), (Score::Corr, 1)] {
        let centring = Centring::new(models.clone(), how(score, Center::Row, ddof), Vec::new());
        for (least, has_both) in [(3, false), (2, true)] {
            let products = Products::new(centring.clone(), queries.clone(), least);
            let mut out = [0.0; 2];
            products.scores((&row[..], 6), None, &mut ProductScratch::default(), &mut out);
            assert_eq!(out.map(f64::is_finite), [true, has_both], "{score} {ddof} {least}: {out:?}");
        }
    }
}

#[test]
fn the_scores_without_a_model_have_the_score_as_their_mean() {
    let (a, b) = (by_row(&A), by_row(&B));
    let centring = centring(&a, &Models::one(4), CovarianceOptions::default());
    for (i, row) in a.chunks(4).enumerate() {
        let pair = Pair::new(&centring, row, &b[..4]);
        let without: Vec<f64> = pair.without_each(Score::Cov).into_iter().flatten().collect();
        near(without.iter().sum::<f64>() / 4.0, pair.score(Score::Cov).unwrap(), 1e-16, "mean");
        // Each of them is the score of the other models.
        for k in 0..4 {
            let some = |values: &[f64]| (0..4).filter(|j| *j != k).map(|j| values[j]).collect::<Vec<_>>();
            for score in [Score::Cov, Score::Corr] {
                let others = Models::one(3);
                let centring = Centring::new(others, how(score, Center::Row, 1), Vec::new());
                let want = Pair::new(&centring, &some(row), &some(&b[..4])).score(score).unwrap();
                near(pair.without_each(score)[k].unwrap(), want, 1e-12, &format!("row {i} without {k}"));
            }
        }
    }
}

#[test]
fn the_datamodeling_scores_of_the_specification() {
    let (a, b) = (by_row(&A), by_row(&B));
    let found = scores(&a, &b, &Models::one(4), CovarianceOptions::default());
    let subsets: [&[usize]; 5] = [&[0, 1], &[0, 2], &[1, 2], &[0], &[1]];
    let predicted =
        |q: usize| subsets.map(|rows| rows.iter().map(|i| found[i * 2 + q]).sum::<f64>()).to_vec();
    all_near(&predicted(0), &[0.009167, -0.002500, -0.041667, 0.024167, -0.015000], 1e-6, "predictions");
    let first = spearman(&predicted(0), &[-0.95, -0.90, -1.20, -0.85, -1.00]).unwrap();
    let second = spearman(&predicted(1), &[-1.50, -1.55, -1.30, -1.62, -1.48]).unwrap();
    near(first, 0.9, 1e-12, "first query");
    near(second, 0.7, 1e-12, "second query");
}

#[test]
fn a_model_that_is_worse_at_everything_moves_scores_unless_models_are_centred() {
    let shifted = |models: &[[f64; 3]; 4]| {
        let mut models = *models;
        models[0].iter_mut().for_each(|x| *x += 0.3);
        models
    };
    let a = by_row(&shifted(&A));
    let mut b = B;
    b[0].iter_mut().for_each(|x| *x += 0.3);
    let b = by_row(&b);
    let want = [0.051667, 0.001667, 0.007500, 0.029167, -0.006667, 0.051667];
    all_near(&scores(&a, &b, &Models::one(4), CovarianceOptions::default()), &want, 5e-7, "shifted");
    let both = how(Score::Cov, Center::Both, 1);
    let before = scores(&by_row(&A), &by_row(&B), &Models::one(4), both);
    all_near(&scores(&a, &b, &Models::one(4), both), &before, 1e-15, "example+model");
}

#[test]
fn every_model_twice_changes_no_rank() {
    let twice = |models: &[f64]| -> Vec<f64> {
        models.chunks(4).flat_map(|row| row.iter().chain(row)).copied().collect()
    };
    let (a, b) = (by_row(&A), by_row(&B));
    let once = scores(&a, &b, &Models::one(4), CovarianceOptions::default());
    let doubled = scores(&twice(&a), &twice(&b), &Models::one(8), CovarianceOptions::default());
    let want: Vec<f64> = once.iter().map(|x| x * 6.0 / 7.0).collect();
    all_near(&doubled, &want, 1e-15, "cov");
    let corr = how(Score::Corr, Center::Row, 1);
    all_near(
        &scores(&twice(&a), &twice(&b), &Models::one(8), corr),
        &scores(&a, &b, &Models::one(4), corr),
        1e-14,
        "corr",
    );
}

#[test]
fn what_does_not_vary_has_no_correlation_and_no_covariance() {
    // Three times 0.1 has another mean.
    let rows = [0.1, 0.1, 0.1, 0.3, 0.5, 0.2];
    let query = [0.7, 0.9, 0.4];
    let models = Models::one(3);
    let cov = scores(&rows, &query, &models, CovarianceOptions::default());
    assert_eq!(cov[0].to_bits(), 0.0f64.to_bits());
    let corr = scores(&rows, &query, &models, how(Score::Corr, Center::Row, 1));
    assert!(corr[0].is_nan() && corr[1].is_finite());
    assert_eq!(descending(&corr), [1, 0]);
    let found = of_pair(&rows, &query, (0, 0), &models, how(Score::Corr, Center::Row, 1));
    assert_eq!((found.score, found.se, found.z()), (None, None, None));
}

#[test]
fn one_model_has_no_score_and_two_always_correlate() {
    let found = scores(&[1.0, 2.0], &[3.0], &Models::one(1), CovarianceOptions::default());
    assert!(found.iter().all(|x| x.is_nan()));
    let found = scores(&[1.0, 2.0, 5.0, 1.0], &[3.0, 4.0], &Models::one(2), how(Score::Corr, Center::Row, 1));
    all_near(&found, &[1.0, -1.0], 1e-15, "two models");
    let found = of_pair(&[1.0, 2.0], &[3.0, 4.0], (0, 0), &Models::one(2), CovarianceOptions::default());
    assert!(found.score.is_some() && found.se.is_none());
}

#[test]
fn an_error_takes_models_that_can_be_left_out() {
    let (a, b) = (by_row(&A), by_row(&B));
    let first = |values: &[f64], models: usize| -> Vec<f64> {
        values.chunks(4).flat_map(|row| row[..models].iter().copied()).collect()
    };
    let has_error = |models: Models, score, center| {
        let (a, b) = (first(&a, models.len()), first(&b, models.len()));
        let found = of_pair(&a, &b, (1, 0), &models, how(score, center, 1));
        assert!(found.score.is_some());
        assert_eq!(found.se.is_some(), found.z().is_some());
        found.se.is_some()
    };
    // Of three models any two are left, which correlate by 1 or -1; about theta_0 they need not.
    assert!(has_error(Models::one(3), Score::Cov, Center::Row));
    assert!(!has_error(Models::one(3), Score::Corr, Center::Row));
    assert!(!has_error(Models::one(3), Score::Corr, Center::Both));
    assert!(has_error(Models::one(3), Score::Corr, Center::Base));
    assert!(has_error(Models::one(4), Score::Corr, Center::Row));
    // A group of two falls out with either of its models, so two such groups are two values.
    for score in [Score::Cov, Score::Corr] {
        assert!(!has_error(Models::grouped(vec![0, 0, 1, 1]), score, Center::Row));
    }
    assert!(has_error(Models::grouped(vec![0, 0, 0, 1]), Score::Cov, Center::Row));
    assert!(!has_error(Models::grouped(vec![0, 0, 0, 1]), Score::Corr, Center::Row));
}

/// Cross products of two batches of models, merged as they are appended.
struct Merged {
    k: f64,
    means: (f64, f64),
    product: f64,
}

impl Merged {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let k = a.len() as f64;
        let means = (a.iter().sum::<f64>() / k, b.iter().sum::<f64>() / k);
        let product = a.iter().zip(b).map(|(x, y)| (x - means.0) * (y - means.1)).sum();
        Self { k, means, product }
    }

    fn and(self, other: Self) -> Self {
        let k = self.k + other.k;
        let (da, db) = (self.means.0 - other.means.0, self.means.1 - other.means.1);
        let product = self.product + other.product + self.k * other.k / k * da * db;
        let mean = |mine: f64, other_mean: f64| (self.k * mine + other.k * other_mean) / k;
        Self { k, means: (mean(self.means.0, other.means.0), mean(self.means.1, other.means.1)), product }
    }
}

fn losses(rows: usize, models: usize) -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(0.0f64..4.0, rows * models)
}

fn relative(got: f64, want: f64, size: f64) -> bool {
    (got - want).abs() <= 1e-12 * size.max(want.abs())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn tiles_are_pairs_whatever_the_terms(
        a in losses(11, 9), b in losses(10, 9), groups: bool, corr: bool, ddof in 0u8..2, center in 0usize..4,
        holes in proptest::collection::vec((0usize..11, 0usize..9), 0..4),
    ) {
        let mut a = a;
        holes.iter().for_each(|(i, k)| a[i * 9 + k] = f64::NAN);
        let models = if groups { Models::grouped(vec![0, 1, 0, 1, 2, 2, 0, 1, 2]) } else { Models::one(9) };
        let center = [Center::Row, Center::Model, Center::Both, Center::Base][center];
        let how = how(if corr { Score::Corr } else { Score::Cov }, center, ddof);
        // The means of the models are numbers like any others here.
        let centring = Centring::new(models.clone(), how, (0..9).map(|k| k as f64 * 0.1).collect());
        let products = Products::new(centring.clone(), b.clone(), 3);
        let mut out = vec![0.0; 11 * 10];
        products.scores((&a[..], 9), None, &mut ProductScratch::default(), &mut out);
        for (i, row) in a.chunks(9).enumerate() {
            for (q, query) in b.chunks(9).enumerate() {
                let want = Pair::new(&centring, row, query).score(how.score);
                let got = out[i * 10 + q];
                prop_assert!(want.is_none() && got.is_nan() || want.is_some_and(|want| relative(got, want, 100.0)),
                    "{i} {q}: {got} is not {want:?}");
            }
        }
    }

    #[test]
    fn invariances(a in losses(5, 7), b in losses(3, 7), shift in -2.0f64..2.0, scale in 0.1f64..9.0, seed in any::<u64>()) {
        let models = Models::one(7);
        let cov = scores(&a, &b, &models, CovarianceOptions::default());
        let corr_how = how(Score::Corr, Center::Row, 1);
        let corr = scores(&a, &b, &models, corr_how);
        prop_assert!(corr.iter().all(|r| r.abs() <= 1.0));
        // A constant of a row, and negated sides.
        let moved: Vec<f64> = a.iter().map(|x| x + shift).collect();
        let negated = |values: &[f64]| values.iter().map(|x| -x).collect::<Vec<f64>>();
        let scaled: Vec<f64> = a.iter().map(|x| x * scale).collect();
        for (i, want) in cov.iter().enumerate() {
            prop_assert!(relative(scores(&moved, &b, &models, CovarianceOptions::default())[i], *want, 10.0));
            prop_assert!(relative(scores(&negated(&a), &negated(&b), &models, CovarianceOptions::default())[i], *want, 10.0));
            prop_assert!(relative(scores(&negated(&a), &b, &models, CovarianceOptions::default())[i], -want, 10.0));
            prop_assert!((scores(&scaled, &b, &models, corr_how)[i] - corr[i]).abs() < 1e-12);
        }
        // Models in another order.
        let mut order: Vec<usize> = (0..7).collect();
        order.sort_by_key(|k| seed.rotate_left(9 * *k as u32) ^ (*k as u64));
        let permuted = |values: &[f64]| -> Vec<f64> {
            values.chunks(7).flat_map(|row| order.iter().map(|k| row[*k])).collect()
        };
        for (got, want) in scores(&permuted(&a), &permuted(&b), &models, CovarianceOptions::default()).iter().zip(&cov) {
            prop_assert!(relative(*got, *want, 10.0));
        }
        // Roles swapped: the transpose. With itself: symmetric, and no length is negative.
        let swapped = scores(&b, &a, &models, CovarianceOptions::default());
        let own = scores(&a, &a, &models, CovarianceOptions::default());
        for i in 0..5 {
            for q in 0..3 {
                prop_assert!(relative(swapped[q * 5 + i], cov[i * 3 + q], 10.0));
            }
            for j in 0..5 {
                prop_assert!(relative(own[i * 5 + j], own[j * 5 + i], 10.0));
                prop_assert!(own[i * 6] * own[j * 6] >= own[i * 5 + j] * own[i * 5 + j] - 1e-12);
            }
        }
    }

    #[test]
    fn scores_are_bilinear(a in losses(4, 8), b in losses(3, 8), w in proptest::collection::vec(-2.0f64..2.0, 3)) {
        let models = Models::one(8);
        let all = scores(&a, &b, &models, CovarianceOptions::default());
        let weighted: Vec<f64> = (0..8).map(|k| (0..3).map(|q| w[q] * b[q * 8 + k]).sum()).collect();
        let of_sum = scores(&a, &weighted, &models, CovarianceOptions::default());
        for i in 0..4 {
            let want: f64 = (0..3).map(|q| w[q] * all[i * 3 + q]).sum();
            prop_assert!(relative(of_sum[i], want, 20.0));
        }
    }

    #[test]
    fn models_that_are_appended_match_a_rebuild(a in losses(1, 12), b in losses(1, 12), cut in 1usize..11) {
        let want = scores(&a, &b, &Models::one(12), CovarianceOptions::default())[0] * 11.0;
        let merged = Merged::of(&a[..cut], &b[..cut]).and(Merged::of(&a[cut..], &b[cut..]));
        prop_assert!(relative(merged.product, want, 50.0));
        let one_by_one = (1..12).fold(Merged::of(&a[..1], &b[..1]), |all, k| all.and(Merged::of(&a[k..=k], &b[k..=k])));
        prop_assert!(relative(one_by_one.product, want, 50.0));
    }

    #[test]
    fn bits_do_not_depend_on_what_is_scored_together(a in losses(23, 6), b in losses(17, 6), from in 0usize..22, q in 0usize..17) {
        let models = Models::one(6);
        let centring = Centring::new(models.clone(), CovarianceOptions::default(), Vec::new());
        let whole = scores(&a, &b, &models, CovarianceOptions::default());
        let some = Products::new(centring, b[q * 6..(q + 1) * 6].to_vec(), 2);
        let rows: Vec<f32> = a[from * 6..].iter().map(|x| *x as f32).collect();
        let wide: Vec<f64> = rows.iter().map(|x| f64::from(*x)).collect();
        let mut narrow = vec![0.0; rows.len() / 6];
        some.scores((&rows[..], 6), None, &mut ProductScratch::default(), &mut narrow);
        let mut of_wide = vec![0.0; rows.len() / 6];
        some.scores((&wide[..], 6), Some(&[0, 1, 2, 3, 4, 5]), &mut ProductScratch::default(), &mut of_wide);
        prop_assert_eq!(&narrow, &of_wide);
        for (i, row) in a.chunks(6).enumerate() {
            let mut one = vec![0.0; 1];
            some.scores((row, 6), None, &mut ProductScratch::default(), &mut one);
            prop_assert_eq!(one[0].to_bits(), whole[i * 17 + q].to_bits());
        }
    }
}

#[test]
fn the_noise_floor_is_the_spread_of_unrelated_losses() {
    let mut numbers = crate::common::Numbers(7);
    let mut normal = || (0..12).map(|_| f64::from(numbers.next())).sum::<f64>();
    // With few models the divisor and the dimensions of the centred losses differ much.
    for k in [6, 50] {
        let query: Vec<f64> = (0..k).map(|_| normal()).collect();
        let models = Models::one(k);
        for (center, ddof) in [(Center::Row, 1), (Center::Row, 0), (Center::Base, 1), (Center::Base, 0)] {
            for score in [Score::Cov, Score::Corr] {
                let centring = Centring::new(models.clone(), how(score, center, ddof), Vec::new());
                let (mut seen, mut said, n) = (0.0, 0.0, 4000);
                for _ in 0..n {
                    let row: Vec<f64> = (0..k).map(|_| normal()).collect();
                    let found = estimate(&[Pair::new(&centring, &row, &query)], score, alone);
                    seen += found.score.unwrap().powi(2) / n as f64;
                    said += found.noise_floor.unwrap().powi(2) / n as f64;
                }
                let what = format!("spread over floor, {k} models, {score}, {center}, ddof {ddof}");
                near((seen / said).sqrt(), 1.0, 0.05, &what);
            }
        }
    }
}
