//! Promise: a prefilter that was stored says what it said, and keeps what it says it keeps.

use gstore_core::Cancel;

use super::*;
use crate::data::Labelled;
use crate::judge::{Budget, Report};
use crate::learners::Means;
use crate::options::FitOptions;

static RUN: Cancel = Cancel::new();

static MEANS: Means<'static> = Means { seed: 1, threads: 1, cancel: &RUN };

/// What a fit of no feature in particular and labels of unknown noise gives.
fn fit(data: &Labelled, options: &FitOptions) -> (Prefilter, Report, Matrix) {
    Prefilter::fit(FeatureSet::default(), data, options, &[None], &MEANS).unwrap()
}

fn data(n: usize) -> Labelled {
    let value = |i: usize| crate::random::uniform(9, 4, i as u64);
    let x = Matrix::new(2, (0..2 * n).map(value).collect());
    let y = Matrix::new(1, (0..n).map(|row| x.row(row)[0] + 0.1 * value(5000 + row) - 0.4).collect());
    let ids = (0..n).map(|i| format!("row{i}")).collect();
    Labelled::new(ids, (vec!["a".into(), "b".into()], &x), (vec!["t".into()], &y), 10).unwrap()
}

#[test]
fn what_is_stored_predicts_the_same() {
    let data = data(1400);
    let options = FitOptions { resamples: 100, ..FitOptions::default() };
    for learner in [Learner::Ridge { alphas: vec![1.0] }, Learner::Logistic { c: 1.0, top: 0.05 }] {
        let options = FitOptions { learner, ..options.clone() };
        let (fitted, report, _) = fit(&data, &options);
        assert!(report.choice.bound >= 0.95 && report.choice.kept < 0.5, "{:?}", report.choice);
        let text = serde_json::to_string(&fitted.to_value()).unwrap();
        let again = Prefilter::from_value(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(again, fitted);
        assert_eq!(again.predict(&data.x), fitted.predict(&data.x));
        assert!(again.learned_from("pool", 3, "row3") && !again.learned_from("pool", 4, "other"));
        let judged = again.evaluate(&data, &options, &[None], &RUN).unwrap();
        let text = judged.to_string();
        assert!(judged.targets[0].spearman > 0.8 && text.contains("recall when keeping"));
        let mass = text.lines().find(|line| line.starts_with("  mass")).unwrap();
        assert_eq!(mass.matches('[').count(), options.budgets.len(), "each has its interval: {text}");
    }
}

#[test]
fn a_row_that_is_not_whole_has_no_prediction() {
    let data = data(200);
    let options = FitOptions { resamples: 100, ..FitOptions::default() };
    let (fitted, report, _) = fit(&data, &options);
    let found = fitted.predict(&Matrix::new(2, vec![0.5, f64::NAN, 0.5, 0.5]));
    assert!(found[0].is_none() && found[1].is_some());
    // Columns that overflow once they are standardised give no number.
    let found = fitted.predict(&Matrix::new(2, vec![f64::MAX, 0.5, f64::MAX, f64::MAX]));
    assert!(found.len() == 2 && found.iter().all(Option::is_none), "{found:?}");
    // Ten rows of the top bound no recall of 95 %.
    assert_eq!((report.choice.kept, report.choice.cuts[0].from), (1.0, None));
}

#[test]
fn a_share_of_rows_is_kept_whatever_they_are() {
    let data = data(200);
    let options = FitOptions { resamples: 100, budget: Budget::Share(0.3), ..FitOptions::default() };
    let (mut fitted, report, held_out) = fit(&data, &options);
    // Rows that are better than those that were learned from.
    let x = Matrix::new(2, (0..100).flat_map(|i| [0.8 + f64::from(i) / 100.0, 0.5]).collect());
    let mut predictions: Vec<Prediction> = fitted.predict(&x).into_iter().flatten().collect();
    predictions[0].labelled_top = true;
    let choice = fitted.cut_at(0.3, &mut predictions, (&held_out, &data));
    assert_eq!((choice.kept, choice.cuts[0].share), (0.3, 0.3));
    // The first one, which the cut leaves out, for its label.
    let kept: Vec<usize> = (0..100).filter(|row| predictions[*row].kept).collect();
    assert_eq!(kept, std::iter::once(0).chain(70..100).collect::<Vec<usize>>());
    // What is told is the recall of this cut, which no labelled row reaches, not of their own best 30 %.
    assert_eq!((report.choice.recall, choice.recall, fitted.cuts[0].bound), (1.0, 0.0, 0.0));
    assert_eq!(fitted.predict(&x).into_iter().flatten().filter(|row| row.kept).count(), 30);
    assert_eq!(fitted.cuts[0].share, 0.3);
}

#[test]
fn labelled_rows_of_the_top_are_kept_and_counted() {
    let data = data(1000).of_pool(2000);
    let options = FitOptions { resamples: 100, ..FitOptions::default() };
    let (fitted, report, _) = fit(&data, &options);
    // 50 labelled rows of the top are too few by themselves, and enough where they are half of the pool's.
    assert!(report.choice.bound >= 0.95 && report.choice.kept < 0.5, "{:?}", report.choice);
    assert_eq!(fitted.labelled_top.len(), 50);
    let best = (0..1000).max_by(|a, b| data.y.row(*a)[0].total_cmp(&data.y.row(*b)[0])).unwrap();
    let worst = (0..1000).min_by(|a, b| data.y.row(*a)[0].total_cmp(&data.y.row(*b)[0])).unwrap();
    let is_labelled = |of: &Prefilter, row: usize| of.is_labelled_top(row as u64, &data.ids[row]);
    assert!(is_labelled(&fitted, best) && !is_labelled(&fitted, worst));
    // What has the id of a row since then is another sample.
    let of_pool = Prefilter { pool: Some("pool".into()), pool_end: Some(1000), ..fitted.clone() };
    let stored = Prefilter::from_value(of_pool.to_value()).unwrap();
    assert!(is_labelled(&stored, best) && !stored.is_labelled_top(1000, &data.ids[best]));
    let learned = |dataset: &str, row: u64| stored.learned_from(dataset, row, &data.ids[best]);
    assert!(learned("pool", best as u64) && !learned("pool", 1000) && learned("other", 1000));
    // Rows of which nothing is known are kept as well, and are too few by themselves.
    let unknown = Labelled { pool: None, ..data.clone() };
    let (alone, told, _) = fit(&unknown, &options);
    assert_eq!((alone.labelled_top.len(), told.choice.kept, told.choice.cuts[0].from), (50, 1.0, None));
    // Other rows say nothing of labelled ones.
    let judged = fitted.evaluate(&data, &options, &[None], &RUN).unwrap();
    let cut = judged.choice.cuts[0];
    assert_eq!(cut.bound, crate::judge::lower_bound((cut.recall * 50.0).round() as usize, 50));
}

#[test]
fn the_first_version_keeps_no_labelled_row_and_a_later_one_is_refused() {
    let data = data(200).of_pool(400);
    let options = FitOptions { resamples: 100, ..FitOptions::default() };
    let (fitted, ..) = fit(&data, &options);
    let mut value = fitted.to_value();
    value["version"] = serde_json::json!(1);
    let labelled = value.as_object_mut().unwrap().remove("labelled_top").unwrap();
    // The second one called them otherwise, and has their dataset in its provenance.
    let mut second = value.clone();
    (second["version"], second["found"]) = (2.into(), labelled);
    second.as_object_mut().unwrap().remove("pool");
    second["provenance"]["pool"] = "pool".into();
    let second = Prefilter::from_value(second).unwrap();
    assert_eq!((second.labelled_top.len(), second.pool.as_deref()), (10, Some("pool")));
    let first = Prefilter::from_value(value).unwrap();
    assert_eq!(fitted.labelled_top.len(), 10);
    assert!(first.labelled_top.is_empty() && first.learned_from("pool", 3, "row3"));
    let error = Prefilter::from_value(serde_json::json!({"version": 7})).unwrap_err().to_string();
    assert!(error.contains("version 7, and this program reads 1 to 3"), "{error}");
}

#[test]
fn predictions_worse_than_chance_are_told_from_those_by_chance() {
    let options = FitOptions { resamples: 100, ..FitOptions::default() };
    let (data, n) = (data(400), 400);
    let (fitted, ..) = fit(&data, &options);
    let notes = |score: &dyn Fn(usize) -> f64| {
        let judged = Labelled { y: Matrix::new(1, (0..n).map(score).collect()), ..data.clone() };
        fitted.evaluate(&judged, &options, &[None], &RUN).unwrap().notes.join("\n")
    };
    let against = notes(&|row| -data.y.row(row)[0]);
    assert!(
        against.contains("t rank worse than chance: the interval of Spearman's correlation is below 0"),
        "{against}"
    );
    let by_chance = notes(&|row| crate::random::uniform(3, 8, row as u64));
    assert!(by_chance.contains("t rank no better than chance"), "{by_chance}");
    let well = notes(&|row| data.y.row(row)[0]);
    assert!(!well.contains("chance"), "{well}");
}

/// 1,000 rows of a pool of 3,000, whose feature is their score and is missing of some scores.
fn of_feature(is_missing: impl Fn(f64) -> bool) -> Labelled {
    let value = |row: usize| crate::random::uniform(9, 4, row as u64);
    let feature = |row: usize| Some(value(row)).filter(|value| !is_missing(*value)).unwrap_or(f64::NAN);
    let x = Matrix::new(1, (0..1000).map(feature).collect());
    let y = Matrix::new(1, (0..1000).map(value).collect());
    let ids = (0..1000).map(|row| format!("row{row}")).collect();
    Labelled::new(ids, (vec!["a".into()], &x), (vec!["t".into()], &y), 10).unwrap().of_pool(3000)
}

#[test]
fn the_top_is_that_of_all_labelled_rows_where_the_others_lack_a_feature() {
    let data = of_feature(|score| score < 0.4);
    let (whole, lacking) = (data.ids.len(), data.lacking.ids.len());
    let options = FitOptions { resamples: 100, top: 0.2, ..FitOptions::default() };
    let (mut fitted, report, held_out) = fit(&data, &options);
    assert_eq!((report.rows, report.lacking, whole + lacking), (whole, lacking, 1000));
    assert_eq!((report.targets[0].top, fitted.labelled_top.len()), (200, 200));
    assert!(report.notes.join("\n").contains("labelled rows lack a feature"), "{:?}", report.notes);
    assert!(fitted.learned_from("pool", 0, &data.lacking.ids[0]), "its label says what the top is not");
    // A third of the rows with a prediction is of it, and not a fifth.
    let cut = report.choice.cuts[0];
    assert!((cut.share - 200.0 / whole as f64).abs() < 0.05 && cut.share == report.choice.kept, "{cut:?}");
    assert!(cut.recall >= 0.95 && cut.bound >= 0.95, "{cut:?}");
    // A budget is a share of the rows with a prediction.
    let mut predictions: Vec<Prediction> = fitted.predict(&data.x).into_iter().flatten().collect();
    let choice = fitted.cut_at(0.1, &mut predictions, (&held_out, &data));
    let told = 0.1 * whole as f64 / 200.0;
    assert!((choice.kept - 0.1).abs() < 0.01 && (choice.recall - told).abs() < 0.05, "{choice:?}");
    let judged = fitted.evaluate(&data, &options, &[None], &RUN).unwrap();
    assert_eq!((judged.rows, judged.lacking, judged.targets[0].top), (whole, lacking, 200));
    assert!((judged.choice.recall - told).abs() < 0.05, "{:?}", judged.choice);
    let kept = (0.1 * whole as f64 + lacking as f64) / 1000.0;
    assert!((judged.kept() - kept).abs() < 0.01, "{} and {kept}", judged.kept());
}

#[test]
fn a_top_that_lacks_a_feature_is_kept_by_any_cut() {
    let data = of_feature(|score| score > 0.6);
    let options = FitOptions { resamples: 100, top: 0.2, ..FitOptions::default() };
    let (fitted, report, _) = fit(&data, &options);
    // The best prediction is kept of the others: they have none of the top.
    let choice = &report.choice;
    assert!(choice.cuts[0].from.is_some() && choice.kept < 0.01 && choice.recall == 1.0, "{choice:?}");
    assert_eq!(report.targets[0].top, 200);
    assert!(fitted.labelled_top.len() == 200 && !fitted.is_labelled_top(0, &data.ids[0]));
    let (_, report, _) = fit(&data, &FitOptions { budget: Budget::Share(0.1), ..options });
    let choice = report.choice;
    assert!(choice.recall == 1.0 && (choice.kept - 0.1).abs() < 0.01, "{choice:?}");
    assert!(choice.bound > 0.98 && choice.cuts[0].from.is_some(), "{choice:?}");
    assert!(report.targets[0].budgets.iter().all(|at| at.recall == 1.0), "{:?}", report.targets[0]);
}

fn learners() -> [Learner; 5] {
    [
        Learner::Ridge { alphas: vec![1.0] },
        Learner::Logistic { c: 1.0, top: 0.05 },
        Learner::Trees(crate::learners::TreeOptions::default()),
        Learner::Classifier,
        Learner::Regressor,
    ]
}

/// Rows with one feature, and one that is the same in all of them.
fn of_scores(n: usize, least: usize, score: impl Fn(f64) -> f64) -> Labelled {
    let value = |row: usize| crate::random::uniform(23, 4, row as u64);
    let feature = |row: usize| [if row == 40 { f64::NAN } else { value(row) }, 7.0];
    let x = Matrix::new(2, (0..n).flat_map(feature).collect());
    let y = Matrix::new(1, (0..n).map(|row| score(value(row))).collect());
    let ids = (0..n).map(|row| format!("row{row}")).collect();
    Labelled::new(ids, (vec!["a".into(), "same".into()], &x), (vec!["t".into()], &y), least).unwrap()
}

#[test]
fn every_learner_takes_ties_a_constant_feature_and_a_target_that_no_row_helps() {
    let data = of_scores(100, 10, |value| (4.0 * value).floor() - 4.0);
    for learner in learners() {
        let name = learner.name();
        let options =
            FitOptions { learner, resamples: 100, budget: Budget::Share(0.3), ..FitOptions::default() };
        let (fitted, report, held_out) = fit(&data, &options);
        assert!(held_out.values().iter().all(|value| value.is_finite()), "{name}");
        let notes = report.notes.join("\n");
        for part in [
            "1 labelled row lacks a feature",
            "1 of the columns is constant in f64 and says nothing: same",
            "no labelled row has a score above 0 for t: none helps it",
            "labels of t are equal at the cut of the top",
        ] {
            assert!(notes.contains(part), "{name}: {part}: {notes}");
        }
        // Elsewhere the feature may have another value, which says nothing either.
        let found = fitted.predict(&Matrix::new(2, vec![0.5, 9.0, 0.5, 7.0, f64::NAN, 7.0]));
        assert!(found[0].is_some() && found[0] == found[1] && found[2].is_none(), "{name}: {found:?}");
    }
}

#[test]
fn every_learner_takes_fewer_rows_than_folds_or_says_how_many_it_needs() {
    let data = of_scores(4, 2, |value| value);
    let of_rows = crate::folds::folds(&data.ids, 5, 1);
    for learner in learners() {
        match crate::cross::out_of_fold(&data, &learner, &of_rows, &MEANS) {
            Ok(found) => {
                let (_, predictions) = found.refitted(&data, &of_rows, &MEANS).unwrap();
                assert!(predictions.values().iter().all(|value| value.is_finite()), "{}", learner.name());
            }
            Err(error) => {
                let error = error.to_string();
                assert!(learner.name() == "trees" && error.contains("leaves of at least 20 rows"), "{error}");
            }
        }
    }
}

#[test]
fn labels_of_one_tercile_are_refused_by_the_classifier_alone() {
    let data = of_scores(100, 10, |value| (value - 0.8).max(0.0));
    for learner in learners() {
        let options =
            FitOptions { learner, resamples: 100, budget: Budget::Share(0.3), ..FitOptions::default() };
        match Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &MEANS) {
            Ok(_) => assert_ne!(options.learner, Learner::Classifier),
            Err(error) => {
                assert_eq!(options.learner, Learner::Classifier, "{error}");
                assert!(error.to_string().contains("the lowest score of target `t`"), "{error}");
            }
        }
    }
}

#[test]
fn tables_lines_and_cuts_are_of_the_same_predictions() {
    let value = |i: usize| crate::random::uniform(17, 4, i as u64);
    let (x, y) = (Matrix::new(1, (0..500).map(value).collect()), (10_000..10_500).map(value).collect());
    let (ids, y) = ((0..500).map(|i| format!("row{i}")).collect(), Matrix::new(1, y));
    let data = Labelled::new(ids, (vec!["a".into()], &x), (vec!["t".into()], &y), 10).unwrap();
    let options = FitOptions { resamples: 100, budget: Budget::Share(0.2), ..FitOptions::default() };
    let (fitted, report, held_out) = fit(&data, &options);
    let (predictions, scores) = (held_out.column(0), data.y.column(0));
    let target = &report.targets[0];
    // Where a feature says nothing, folds differ by more than their predictions do.
    assert_eq!(target.spearman, crate::judge::spearman(&predictions, &scores));
    assert_eq!(fitted.lines, [LinearCalibration::of(&predictions, &scores)]);
    let at = target.budgets.iter().find(|at| at.budget == 0.2).unwrap();
    // Rows of the same prediction at the cut are kept together, and only as many as the share says in the
    // table.
    assert!((at.recall - report.choice.cuts[0].recall).abs() <= 0.12, "{at:?} {:?}", report.choice);
}

#[test]
fn a_cut_keeps_what_it_was_told_to_where_features_say_nothing() {
    let n = 500;
    let value = |i: usize| crate::random::uniform(31, 4, i as u64);
    let kinds: [(&str, &dyn Fn(usize) -> f64); 2] =
        [("noise", &|i| value(i)), ("one of two values", &|i| f64::from(u8::from(value(i) < 0.5)))];
    for (kind, feature) in kinds {
        let x = Matrix::new(1, (0..n).map(feature).collect());
        let y = Matrix::new(1, (0..n).map(|row| value(10_000 + row)).collect());
        let ids = (0..n).map(|i| format!("row{i}")).collect();
        let data = Labelled::new(ids, (vec!["a".into()], &x), (vec!["t".into()], &y), 10).unwrap();
        let others = Matrix::new(1, (20_000..22_000).map(feature).collect());
        for seed in 0..6 {
            let budget = Budget::Recall(0.5);
            let options = FitOptions { resamples: 100, budget, seed, top: 0.1, ..FitOptions::default() };
            let (fitted, report, _) = fit(&data, &options);
            let kept = fitted.predict(&others).into_iter().flatten().filter(|row| row.kept).count();
            let (kept, told) = (kept as f64 / 2000.0, report.choice.kept);
            // Of two values the rows of one are kept, or all.
            let near = if kind == "noise" { 0.1 } else { 0.3 };
            assert!(kept >= told - 0.1 && kept <= told + near, "{kind}, seed {seed}: {kept} of {told}");
            // Nothing is known of the rows, so their recall is their share.
            assert!((told - report.choice.recall).abs() < 0.25, "{kind}, seed {seed}: {:?}", report.choice);
        }
    }
}
