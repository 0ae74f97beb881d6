//! Promise: ridge and logistic regression have scikit-learn's coefficients and out-of-fold predictions,
//! recall tables are the same, and boosted trees keep as much of the true top as its histogram booster.

use std::collections::HashMap;

use crate::common::support;
use gstore_core::Cancel;
use gstore_learn::judge::{Bootstrap, at_budgets, r2, spearman, top_k};
use gstore_learn::learners::{Fitted, Learner, Means, TreeOptions, fit};
use gstore_learn::{Labelled, Matrix, OutOfFold, out_of_fold};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

static RUN: Cancel = Cancel::new();

/// Where the manifest states none. Coefficients, and predictions of a ridge, are compared relative to the
/// largest one; probabilities, R2 and correlations as they are. The reference's logistic regression ends with a
/// gradient of 7e-9, which puts its constants 7e-8 of the largest coefficient off the minimum.
const TOLERANCE: f64 = 1e-6;

/// Recalls are shares of counted rows: equal but for their last digits as text.
const RECALL: f64 = 1e-9;

struct Golden {
    manifest: Value,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}

fn golden() -> Option<Golden> {
    let folder = support::shared()?.join("golden/prefilter");
    let manifest = support::json(&folder.join("prefilter.json"));
    let bytes = fs_err::read(folder.join("prefilter.safetensors")).expect("the tensors");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let values: Vec<f64> = match view.dtype() {
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::I32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
            Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{name} is of type {other:?}"),
        };
        tensors.insert(name, (view.shape().to_vec(), values));
    }
    Some(Golden { manifest, tensors })
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
        let budgets = self.numbers(&self.manifest["budgets"]);
        let (of_recall, of_rank) = (self.tolerance("recall", RECALL), self.tolerance("spearman", TOLERANCE));
        for (target, name) in self.targets().iter().enumerate() {
            let (found, scores) = (predictions.column(target), data.y.column(target));
            let bootstrap = Bootstrap { resamples: 100, seed: 1 };
            let at = at_budgets(&found, &scores, &self.top(target), &budgets, &bootstrap, &RUN);
            let recalls: Vec<f64> = at.expect("not stopped").iter().map(|at| at.recall).collect();
            let expected = self.numbers(&table[name]["recall"]);
            for (found, expected) in recalls.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= of_recall,
                    "{of} {name}: {recalls:?} are not {expected:?}"
                );
            }
            let rank = table[name]["spearman"].as_f64().expect("a correlation");
            assert!((spearman(&found, &scores) - rank).abs() <= of_rank, "{of} {name}: {rank}");
        }
    }

    /// The linear functions of the folds against tensors of shape [fold, target, feature].
    fn assert_coefficients(&self, fitted: &[Fitted], name: &str) {
        let tolerance = self.tolerance(name, TOLERANCE);
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

fn means() -> Means<'static> {
    Means { seed: 0, threads: 0, cancel: &RUN }
}

fn run(golden: &Golden, learner: &Learner) -> OutOfFold {
    out_of_fold(&golden.data(), learner, &golden.folds(), &means()).expect("a fit")
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
    let of_chosen: Vec<Fitted> = found.fitted.iter().map(|all| all[place].clone()).collect();
    golden.assert_coefficients(&of_chosen, "ridge");
    let tolerance = golden.tolerance("ridge", TOLERANCE);
    let expected = golden.matrix("ridge.oof");
    let largest = expected.values().iter().fold(0.0f64, |most, x| x.abs().max(most));
    for (found, expected) in found.predictions.values().iter().zip(expected.values()) {
        assert!((found - expected).abs() <= tolerance * largest, "{found} is not {expected}");
    }
    for (alpha, of_alpha) in alphas.iter().zip(&found.r2) {
        let table = &golden.manifest["ridge"]["r2_out_of_fold"][format!("{alpha:.1}")];
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
    let all: Vec<Fitted> = found.fitted.iter().map(|all| all[0].clone()).collect();
    golden.assert_coefficients(&all, "logistic");
    let tolerance = golden.tolerance("logistic", TOLERANCE);
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

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_prefilter_ridge_of_few_labels() {
    let Some(golden) = golden() else { return };
    let data = golden.data();
    let labelled: Vec<usize> = golden.tensors["labelled"].1.iter().map(|row| *row as usize).collect();
    let others: Vec<usize> = (0..data.x.rows()).filter(|row| !labelled.contains(row)).collect();
    let alphas = alphas(&golden);
    let learner = Learner::Ridge { alphas: alphas.clone() };
    let fitted =
        fit(&learner, &data.x.select(&labelled), &data.y.select(&labelled), None, &means()).expect("a fit");
    let scores = data.y.select(&others);
    let share = golden.manifest["top"].as_f64().expect("a number") / data.x.rows() as f64;
    let k = (others.len() as f64 * share) as usize;
    let budgets = golden.numbers(&golden.manifest["budgets"]);
    let tolerance = golden.tolerance("recall", RECALL);
    for (alpha, fitted) in alphas.iter().zip(&fitted) {
        let table = &golden.manifest["labelled_tenth"][format!("ridge {alpha:.1}")];
        let found = fitted.predict(&data.x.select(&others));
        for (target, name) in golden.targets().iter().enumerate() {
            let (found, scores) = (found.column(target), scores.column(target));
            let top = top_k(&scores, k);
            let bootstrap = Bootstrap { resamples: 100, seed: 1 };
            let at = at_budgets(&found, &scores, &top, &budgets, &bootstrap, &RUN).expect("not stopped");
            for (at, expected) in at.iter().zip(golden.numbers(&table[name]["recall"])) {
                assert!(
                    (at.recall - expected).abs() <= tolerance,
                    "alpha {alpha} {name}: {} is not {expected}",
                    at.recall
                );
            }
        }
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
    let bootstrap = Bootstrap::default();
    let reference = golden.matrix("gradient_boosting.oof");
    for (target, name) in golden.targets().iter().enumerate() {
        let (scores, top) = (data.y.column(target), golden.top(target));
        let measured = |predictions: &Matrix| {
            at_budgets(&predictions.column(target), &scores, &top, &budgets, &bootstrap, &RUN)
                .expect("not stopped")
        };
        for (at, expected) in measured(&found.predictions).iter().zip(measured(&reference)) {
            let interval = expected.interval.expect("an interval");
            // Where all of the top is kept the interval is a point; a row less is no difference.
            let row = 1.0 / top.iter().filter(|top| **top).count() as f64 + 1e-9;
            assert!(
                at.recall >= interval.low - row && at.recall <= interval.high + row,
                "{name} keeping {}: {} is not in scikit-learn's {interval:?}",
                at.budget,
                at.recall
            );
        }
        let ranks = gstore_learn::judge::ranks(&scores);
        assert!(r2(&found.predictions.column(target), &ranks) > 0.0, "{name}");
    }
}
