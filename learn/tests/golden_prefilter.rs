//! Promise: ridge and logistic regression have scikit-learn's coefficients and out-of-fold predictions,
//! recall tables are the same, and boosted trees keep as much of the true top as its histogram booster.

use crate::common::support;
use crate::tensors::{self, Tensors};
use gstore_core::Cancel;
use gstore_core::correlation::descending;
use gstore_learn::judge::{AtBudget, Bootstrap, at_budgets, kept_rows, r2, spearman, top_k};
use gstore_learn::learners::{FittedLearner, Learner, Means, TreeOptions, fit};
use gstore_learn::{Labelled, Matrix, OutOfFold, out_of_fold};
use serde_json::Value;

static RUN: Cancel = Cancel::new();

/// Where the manifest states none, as the reference says of ridges. Coefficients, and predictions of a ridge,
/// are compared relative to the largest one; probabilities, R2 and correlations as they are.
const TOLERANCE: f64 = 1e-6;

/// The same of logistic regressions, whose reference ends with a gradient that is not 0.
const LOGISTIC: f64 = 1e-5;

/// Recalls are shares of counted rows: equal but for their last digits as text.
const RECALL: f64 = 1e-9;

/// Recalls without intervals.
const COUNTED: Bootstrap = Bootstrap { resamples: 0, seed: 0 };

struct Golden {
    manifest: Value,
    tensors: Tensors,
}

fn golden() -> Option<Golden> {
    let folder = support::shared().join("golden/prefilter");
    if !folder.join("prefilter.json").is_file() {
        assert!(std::env::var_os("CI").is_none(), "no reference data at {}", folder.display());
        println!("skipped: no reference data at {}", folder.display());
        return None;
    }
    let manifest = support::json(&folder.join("prefilter.json"));
    Some(Golden { manifest, tensors: tensors::read(&folder.join("prefilter.safetensors")) })
}

impl Golden {
    fn matrix(&self, name: &str) -> Matrix {
        let (shape, values) = &self.tensors[name];
        Matrix::new(shape[1..].iter().product(), values.clone())
    }

    fn numbers(&self, value: &Value) -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
    }

    fn tolerance(&self, of: &str, usual: f64) -> f64 {
        support::tolerance(&self.manifest, of, usual)
    }

    fn targets(&self) -> Vec<String> {
        let list = self.manifest["targets"].as_array().expect("targets");
        list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    fn folds(&self) -> Vec<usize> {
        self.tensors["fold"].1.iter().map(|fold| *fold as usize).collect()
    }

    fn data(&self) -> Labelled {
        let (scalar, hidden) = (self.matrix("scalar"), self.matrix("hidden_mean"));
        let mut x = Matrix::new(scalar.cols() + hidden.cols(), Vec::new());
        (0..scalar.rows()).for_each(|row| x.push(&[scalar.row(row), hidden.row(row)].concat()));
        let names = (0..x.cols()).map(|i| format!("feature{i}")).collect();
        let ids = (0..x.rows()).map(|i| i.to_string()).collect();
        Labelled::new(ids, (names, &x), (self.targets(), &self.matrix("score")), 10).expect("whole rows")
    }

    fn top(&self, target: usize) -> Vec<bool> {
        self.matrix("top5").column(target).iter().map(|top| *top == 1.0).collect()
    }

    /// Recalls and rank correlation of each target against a table of the manifest.
    fn assert_tables(&self, predictions: &Matrix, table: &Value, of: &str) {
        let data = self.data();
        self.assert_recalls(table, data.x.rows(), of, &|target, budgets| {
            let (found, scores) = (without_ties(&predictions.column(target)), data.y.column(target));
            at_budgets(&found, &scores, &self.top(target), budgets, &COUNTED, &RUN).expect("not stopped")
        });
        let of_rank = self.tolerance("spearman", TOLERANCE);
        for (target, name) in self.targets().iter().enumerate() {
            let (found, scores) = (predictions.column(target), data.y.column(target));
            let rank = table[name]["spearman"].as_f64().expect("a correlation");
            assert!((spearman(&found, &scores) - rank).abs() <= of_rank, "{of} {name}: {rank}");
        }
    }

    /// The recalls of each target against a table of the manifest. It does not say how many rows a budget
    /// is that is no whole number of them: it may be rounded down, as ours are, or otherwise, but all alike.
    fn assert_recalls(
        &self,
        table: &Value,
        rows: usize,
        of: &str,
        judged: &dyn Fn(usize, &[f64]) -> Vec<AtBudget>,
    ) {
        let (targets, budgets) = (self.targets(), self.numbers(&self.manifest["budgets"]));
        let expected = targets.iter().map(|name| self.numbers(&table[name]["recall"])).collect::<Vec<_>>();
        let expected = expected.concat();
        let apart = |budgets: &Vec<f64>| {
            let found = (0..targets.len()).flat_map(|target| judged(target, budgets));
            let found: Vec<f64> = found.map(|at| at.recall).collect();
            assert_eq!(found.len(), expected.len(), "{of}");
            let apart = found.iter().zip(&expected).map(|(x, y)| (x - y).abs());
            // What is not a number is the largest.
            apart.max_by(f64::total_cmp).unwrap_or(0.0)
        };
        let apart: Vec<f64> = roundings(&budgets, rows).iter().map(apart).collect();
        let tolerance = self.tolerance("recall", RECALL);
        assert!(apart.iter().any(|apart| *apart <= tolerance), "{of}: recalls are {apart:?} off");
    }

    /// The linear functions of the folds against tensors of shape [fold, target, feature].
    fn assert_coefficients(&self, fitted: &[FittedLearner], name: &str) {
        let tolerance = self.tolerance(name, if name == "logistic" { LOGISTIC } else { TOLERANCE });
        let expected = &self.tensors[&format!("{name}.coef")].1;
        let intercepts = &self.tensors[&format!("{name}.intercept")].1;
        let largest = expected.iter().fold(0.0f64, |most, x| x.abs().max(most));
        let (mut worst, mut at) = (0.0f64, 0);
        for (fold, fitted) in fitted.iter().enumerate() {
            let linear = fitted.linear().expect("a linear model");
            for (target, intercept) in linear.intercepts.iter().enumerate() {
                let of_fold = intercepts[fold * linear.intercepts.len() + target];
                worst = worst.max((intercept - of_fold).abs());
            }
            for found in linear.coefficients.values() {
                worst = worst.max((found - expected[at]).abs());
                at += 1;
            }
        }
        assert_eq!(at, expected.len(), "{name}: coefficients");
        assert!(worst <= tolerance * largest, "{name}: {worst} of {largest}");
    }
}

/// Values of the same order, no two of them equal: the reference takes equal ones in the order of rows.
fn without_ties(values: &[f64]) -> Vec<f64> {
    let mut places = vec![0.0; values.len()];
    for (place, row) in descending(values).into_iter().enumerate() {
        places[row] = -(place as f64);
    }
    places
}

/// The budgets as shares of whole rows: rounded down, to the nearest number and up, where these differ.
fn roundings(budgets: &[f64], rows: usize) -> Vec<Vec<f64>> {
    let rows = rows as f64;
    let ways: [fn(f64) -> f64; 3] = [f64::floor, f64::round, f64::ceil];
    // A whole number may be off in its last digits.
    let whole = |count: f64| (count * 1e6).round() / 1e6;
    let shares = |way: fn(f64) -> f64| budgets.iter().map(|share| way(whole(share * rows)) / rows).collect();
    let mut found: Vec<Vec<f64>> = ways.into_iter().map(shares).collect();
    found.dedup();
    found
}

fn means() -> Means<'static> {
    Means { seed: 0, threads: 0, cancel: &RUN }
}

fn run(golden: &Golden, learner: &Learner) -> OutOfFold {
    out_of_fold(&golden.data(), learner, &golden.folds(), &means()).expect("a fit")
}

/// The entry of a penalty, whose key is how Python writes it (`1.0`, `1e-05`) behind a prefix.
fn entry_of<'v>(table: &'v Value, prefix: &str, alpha: f64) -> &'v Value {
    let is_it = |key: &str| key.strip_prefix(prefix).and_then(|text| text.parse().ok()) == Some(alpha);
    table.as_object().unwrap().iter().find(|(key, _)| is_it(key)).unwrap().1
}

fn alphas(golden: &Golden) -> Vec<f64> {
    golden.numbers(&golden.manifest["ridge"]["alphas"])
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_ridge() {
    let Some(golden) = golden() else { return };
    let alphas = alphas(&golden);
    let found = run(&golden, &Learner::Ridge { alphas: alphas.clone() });
    let chosen = golden.manifest["ridge"]["chosen"].as_f64().expect("a penalty");
    assert_eq!(found.learner, Learner::Ridge { alphas: vec![chosen] });
    let place = alphas.iter().position(|alpha| *alpha == chosen).expect("one of them");
    let of_chosen: Vec<FittedLearner> = found.fitted.iter().map(|all| all[place].clone()).collect();
    golden.assert_coefficients(&of_chosen, "ridge");
    let tolerance = golden.tolerance("ridge", TOLERANCE);
    let expected = golden.matrix("ridge.oof");
    let largest = expected.values().iter().fold(0.0f64, |most, x| x.abs().max(most));
    for (found, expected) in found.predictions.values().iter().zip(expected.values()) {
        assert!((found - expected).abs() <= tolerance * largest, "{found} is not {expected}");
    }
    for (alpha, of_alpha) in alphas.iter().zip(&found.r2) {
        let table = entry_of(&golden.manifest["ridge"]["r2_out_of_fold"], "", *alpha);
        for (found, expected) in of_alpha.iter().zip(golden.numbers(table)) {
            assert!((found - expected).abs() <= tolerance, "alpha {alpha}: {found} is not {expected}");
        }
    }
    golden.assert_tables(&found.predictions, &golden.manifest["out_of_fold"]["ridge"], "ridge");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_logistic() {
    let Some(golden) = golden() else { return };
    let c = golden.manifest["logistic"]["C"].as_f64().expect("a weight");
    let rows = golden.matrix("score").rows() as f64;
    let top = golden.manifest["top"].as_f64().expect("a number") / rows;
    let found = run(&golden, &Learner::Logistic { c, top });
    let all: Vec<FittedLearner> = found.fitted.iter().map(|all| all[0].clone()).collect();
    golden.assert_coefficients(&all, "logistic");
    let tolerance = golden.tolerance("logistic", LOGISTIC);
    for (found, expected) in found.predictions.values().iter().zip(golden.matrix("logistic.oof").values()) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }
    golden.assert_tables(&found.predictions, &golden.manifest["out_of_fold"]["logistic"], "logistic");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_tables_of_single_features_and_the_top() {
    let Some(golden) = golden() else { return };
    let data = golden.data();
    let order = golden.manifest["feature_order"].as_array().expect("names");
    let column = |name: &str| {
        let place = order.iter().position(|of| of == name).expect("a feature");
        data.x.column(place)
    };
    let each = |values: Vec<f64>| {
        let cols = golden.targets().len();
        Matrix::new(cols, values.iter().flat_map(|value| vec![*value; cols]).collect())
    };
    let few = column("scored_tokens").iter().map(|tokens| -tokens).collect();
    golden.assert_tables(&each(column("loss")), &golden.manifest["out_of_fold"]["loss_only"], "loss");
    golden.assert_tables(&each(few), &golden.manifest["out_of_fold"]["few_scored_tokens"], "tokens");
    let top = golden.manifest["top"].as_u64().expect("a number") as usize;
    for target in 0..golden.targets().len() {
        assert_eq!(top_k(&data.y.column(target), top), golden.top(target));
    }
}

/// The setting with few labels: who learns, and on whom it is judged.
struct Tenth {
    data: Labelled,
    labelled: Vec<usize>,
    others: Vec<usize>,
    /// Rows of the top of the others.
    top: usize,
}

impl Tenth {
    fn of(golden: &Golden) -> Self {
        let data = golden.data();
        let labelled: Vec<usize> = golden.tensors["labelled"].1.iter().map(|row| *row as usize).collect();
        let others: Vec<usize> = (0..data.x.rows()).filter(|row| !labelled.contains(row)).collect();
        let share = golden.manifest["top"].as_f64().expect("a number") / data.x.rows() as f64;
        let tables = golden.manifest["labelled_tenth"].as_object().expect("tables");
        let of_targets = tables.values().flat_map(|table| table.as_object().expect("targets").values());
        let recalls: Vec<f64> = of_targets.flat_map(|table| golden.numbers(&table["recall"])).collect();
        let top = top_of(others.len() as f64 * share, others.len(), &recalls);
        Self { data, labelled, others, top }
    }

    fn fit(&self, learner: &Learner) -> Vec<FittedLearner> {
        let (x, y) = (self.data.x.select(&self.labelled), self.data.y.select(&self.labelled));
        fit(learner, &x, &y, None, &means()).expect("a fit")
    }

    /// Of a target: predictions of the others, and their scores.
    fn predicted(&self, fitted: &FittedLearner, target: usize) -> (Vec<f64>, Vec<f64>) {
        let found = fitted.predict(&self.data.x.select(&self.others)).column(target);
        let scores = self.data.y.select(&self.others).column(target);
        (found, scores)
    }

    /// What is kept of the top of the others.
    fn judged(&self, fitted: &FittedLearner, target: usize, budgets: &[f64]) -> Vec<AtBudget> {
        let (found, scores) = self.predicted(fitted, target);
        let top = top_k(&scores, self.top);
        at_budgets(&found, &scores, &top, budgets, &COUNTED, &RUN).expect("not stopped")
    }
}

/// How many standard deviations may lie between learners that are equally good, so that in one of twenty
/// folders at most any of so many comparisons finds more: a normal distribution has `exp(-z^2 / 2)` or less
/// beyond `z` on both sides.
fn deviations(comparisons: usize) -> f64 {
    (2.0 * (20.0 * comparisons as f64).ln()).sqrt()
}

/// Asserts that a learner keeps as much of a top of so many rows as scikit-learn's does, but for so many
/// standard deviations of a share of them; a row less is no difference.
fn assert_keeps_as_much(at: &AtBudget, expected: f64, rows: usize, deviations: f64, name: &str) {
    let (share, rows) = ((at.recall + expected) / 2.0, rows as f64);
    let allowed = deviations * (share * (1.0 - share) / rows).sqrt() + 1.0 / rows + 1e-9;
    assert!(
        (at.recall - expected).abs() <= allowed,
        "{name} keeping {}: {}, scikit-learn's {expected}",
        at.budget,
        at.recall
    );
}

/// How many rows a top of about so many is: the nearest number that makes counts of all recalls, however it
/// was rounded, else the number without its fraction.
fn top_of(about: f64, most: usize, recalls: &[f64]) -> usize {
    let is_whole = |count: f64| (count - count.round()).abs() < 1e-6;
    let mut numbers: Vec<usize> = (1..=most).collect();
    numbers.sort_by(|a, b| (*a as f64 - about).abs().total_cmp(&(*b as f64 - about).abs()));
    let fits = |k: &usize| recalls.iter().all(|recall| is_whole(recall * *k as f64));
    numbers.into_iter().find(fits).unwrap_or(about as usize)
}

#[test]
fn a_top_is_found_by_the_recalls_of_its_table() {
    let of = |k: u32| [0, 3, 17, k].map(|hits| f64::from(hits) / f64::from(k));
    for k in [67, 68] {
        assert_eq!(top_of(67.5, 1350, &of(k)), k as usize);
    }
    assert_eq!(top_of(67.5, 1350, &[0.1234]), 67);
    assert_eq!(roundings(&[0.1, 0.5], 1350), [[0.1, 0.5]]);
    assert_eq!(roundings(&[0.16, 0.5], 10), [[0.1, 0.5], [0.2, 0.5]]);
    let written = serde_json::json!({ "ridge 1e-05": 0.25, "ridge 10000.0": 0.5, "best": 1.0 });
    assert_eq!(
        [1e-5, 1e4].map(|alpha| entry_of(&written, "ridge ", alpha).as_f64()),
        [Some(0.25), Some(0.5)]
    );
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_ridge_of_few_labels() {
    let Some(golden) = golden() else { return };
    let tenth = Tenth::of(&golden);
    let alphas = alphas(&golden);
    let of_rank = golden.tolerance("spearman", TOLERANCE);
    for (alpha, fitted) in alphas.iter().zip(&tenth.fit(&Learner::Ridge { alphas: alphas.clone() })) {
        let table = entry_of(&golden.manifest["labelled_tenth"], "ridge ", *alpha);
        golden.assert_recalls(table, tenth.others.len(), &format!("alpha {alpha}"), &|target, budgets| {
            tenth.judged(fitted, target, budgets)
        });
        for (target, name) in golden.targets().iter().enumerate() {
            let (found, scores) = tenth.predicted(fitted, target);
            let (rank, expected) = (spearman(&found, &scores), table[name]["spearman"].as_f64());
            let expected = expected.expect("a correlation");
            assert!((rank - expected).abs() <= of_rank, "alpha {alpha} {name}: {rank} is not {expected}");
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_trees_of_few_labels_keep_as_much_as_the_histogram_booster() {
    let Some(golden) = golden() else { return };
    let tenth = Tenth::of(&golden);
    let fitted = tenth.fit(&Learner::Trees(TreeOptions::default())).remove(0);
    let table = &golden.manifest["labelled_tenth"]["gradient_boosting"];
    let budgets = golden.numbers(&golden.manifest["budgets"]);
    let deviations = deviations(golden.targets().len() * (budgets.len() + 1));
    for (target, name) in golden.targets().iter().enumerate() {
        let (found, scores) = tenth.predicted(&fitted, target);
        for (at, expected) in
            tenth.judged(&fitted, target, &budgets).iter().zip(golden.numbers(&table[name]["recall"]))
        {
            assert_keeps_as_much(at, expected, tenth.top, deviations, name);
        }
        let (rank, expected) = (spearman(&found, &scores), table[name]["spearman"].as_f64());
        let expected = expected.expect("a correlation");
        // The error of a rank correlation of so many rows is largest where there is none.
        let allowed = deviations / (scores.len() as f64).sqrt();
        assert!((rank - expected).abs() <= allowed, "{name}: {rank}, scikit-learn's {expected}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_trees_keep_as_much_as_the_histogram_booster() {
    let Some(golden) = golden() else { return };
    let data = golden.data();
    golden.assert_tables(
        &golden.matrix("gradient_boosting.oof"),
        &golden.manifest["out_of_fold"]["gradient_boosting"],
        "boosting",
    );
    let found = run(&golden, &Learner::Trees(TreeOptions::default()));
    let budgets = golden.numbers(&golden.manifest["budgets"]);
    let deviations = deviations(golden.targets().len() * 2);
    let reference = golden.matrix("gradient_boosting.oof");
    for (target, name) in golden.targets().iter().enumerate() {
        let (scores, top) = (data.y.column(target), golden.top(target));
        // At each budget, whether a row is kept.
        let [own, theirs] = [&found.predictions, &reference].map(|predicted| {
            let predicted = predicted.column(target);
            let kept = |share: &f64| top_k(&predicted, kept_rows(*share, predicted.len()));
            budgets.iter().map(kept).collect::<Vec<_>>()
        });
        // Most rows of the top are kept alike. The others differ by chance if each side keeps about half of
        // them at more budgets than the other does.
        let more_often = |row: usize| {
            let times = |kept: &[Vec<bool>]| kept.iter().filter(|kept| kept[row]).count() as f64;
            times(&own) - times(&theirs)
        };
        let apart: Vec<f64> = (0..top.len()).filter(|row| top[*row]).map(more_often).collect();
        let (more, squares) = (apart.iter().sum::<f64>(), apart.iter().map(|more| more * more).sum::<f64>());
        let allowed = deviations * squares.sqrt();
        assert!(
            more.abs() <= allowed,
            "{name}: rows kept {more} times more than by scikit-learn's, by chance {allowed} at most"
        );
        let ranks = gstore_learn::judge::ranks(&scores);
        let [own, theirs] =
            [&found.predictions, &reference].map(|predicted| r2(&predicted.column(target), &ranks));
        // Of a target that has nothing to learn neither learns, but for chance.
        let chance = deviations / (scores.len() as f64).sqrt();
        assert!(own > 0.0 || theirs <= chance, "{name}: {own}, scikit-learn's {theirs}");
    }
}
