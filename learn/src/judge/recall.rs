//! Measures of predicted scores against true ones.

use std::ops::Range;

use gstore_core::correlation::{self, descending};
use gstore_core::{Cancel, Cancelled};
use serde::Serialize;

use super::order::{equal, is_predicted, kept_rows};
use super::resample::{Bootstrap, Interval};

/// Rows of the top below which there is no interval: resamples of fewer are few sets of rows, and of
/// one the same one.
const LEAST_TOP: usize = 5;

/// What is kept of the true top at a budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtBudget {
    /// Share of the rows with a prediction that are kept, beside those without.
    pub budget: f64,
    /// Share of the true top among them.
    pub recall: f64,
    /// Its interval; none of a top with too few rows.
    pub interval: Option<Interval>,
    /// The same, each row of the top weighted by how far its score is above the mean of all.
    pub mass: f64,
    /// Its interval.
    pub mass_interval: Option<Interval>,
    /// The recall over that of rows drawn at random.
    pub lift: f64,
}

/// The measures at each budget. `top` says which rows are the true top. A prediction is infinite of a row
/// that is kept at any budget. Of rows with the prediction at which a budget ends the share counts that is
/// kept.
///
/// # Errors
/// Being told to stop.
pub fn at_budgets(
    predictions: &[f64],
    scores: &[f64],
    top: &[bool],
    budgets: &[f64],
    bootstrap: &Bootstrap,
    cancel: &Cancel,
) -> Result<Vec<AtBudget>, Cancelled> {
    let n = scores.len();
    let predicted = predictions.iter().filter(|value| is_predicted(value)).count();
    let mean = scores.iter().sum::<f64>() / n.max(1) as f64;
    // Of each row of the top the places of its prediction in their order, and its weight.
    let mut tops: Vec<(Range<usize>, f64)> = Vec::new();
    for (places, rows) in equal(&descending(predictions), predictions) {
        let of_top = rows.iter().filter(|row| top[**row]);
        tops.extend(of_top.map(|row| (places.clone(), (scores[*row] - mean).max(0.0))));
    }
    let all: Vec<usize> = (0..tops.len()).collect();
    let drawn = |measure: &dyn Fn(&[usize]) -> f64| match all.len() >= LEAST_TOP {
        true => bootstrap.interval(all.len(), cancel, measure),
        false => Ok(None),
    };
    let at = |budget: &f64| -> Result<AtBudget, Cancelled> {
        let kept = n - predicted + kept_rows(*budget, predicted);
        // How often a row is kept if chance decides between equal predictions.
        let share = |row: &usize| {
            let Range { start, end } = tops[*row].0;
            (kept.clamp(start, end) - start) as f64 / (end - start) as f64
        };
        let recall =
            |rows: &[usize]| rows.iter().fold(0.0, |sum, row| sum + share(row)) / rows.len().max(1) as f64;
        let weight = |row: &usize| tops[*row].1;
        let mass = |rows: &[usize]| {
            let found = rows.iter().fold(0.0, |sum, row| sum + share(row) * weight(row));
            found / rows.iter().fold(0.0, |sum, row| sum + weight(row))
        };
        let found = recall(&all);
        let (interval, mass_interval) = (drawn(&recall)?, drawn(&mass)?);
        Ok(AtBudget {
            budget: *budget,
            recall: found,
            interval,
            mass: mass(&all),
            mass_interval,
            lift: found / (kept as f64 / n.max(1) as f64).max(f64::MIN_POSITIVE),
        })
    };
    budgets.iter().map(at).collect()
}

/// Rank correlation; 0 where one of both is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    correlation::spearman(a, b).unwrap_or(0.0)
}

/// The share of the variance that predictions explain; below 0 where the mean would do better.
pub fn r2(predictions: &[f64], scores: &[f64]) -> f64 {
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let (mut rest, mut all) = (0.0, 0.0);
    for (prediction, score) in predictions.iter().zip(scores) {
        rest += (score - prediction) * (score - prediction);
        all += (score - mean) * (score - mean);
    }
    1.0 - rest / all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::top_k;

    #[test]
    fn a_perfect_prediction_keeps_all_and_a_reversed_one_nothing() {
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let top = top_k(&scores, 10);
        let (bootstrap, cancel) = (Bootstrap::default(), Cancel::new());
        let found = at_budgets(&scores, &scores, &top, &[0.05, 0.1], &bootstrap, &cancel).unwrap();
        assert_eq!((found[0].recall, found[0].lift, found[1].recall), (0.5, 10.0, 1.0));
        assert!(found[0].mass > 0.5, "higher scores weigh more: {found:?}");
        let interval = found[0].interval.unwrap();
        assert!(interval.low < 0.5 && interval.high > 0.5);
        let reversed: Vec<f64> = scores.iter().map(|s| -s).collect();
        let found = at_budgets(&reversed, &scores, &top, &[0.9], &bootstrap, &cancel).unwrap();
        assert_eq!(found[0].recall, 0.0);
        assert!((spearman(&scores, &reversed) + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&scores, &[1.0; 100]), 0.0);
        assert_eq!((r2(&scores, &scores), r2(&[49.5; 100], &scores)), (1.0, 0.0));
    }

    #[test]
    fn equal_predictions_share_what_a_budget_has_left() {
        // The better half has one prediction, the other half another: nothing says which of them are kept.
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let of = |scores: &[f64]| {
            let predictions: Vec<f64> =
                scores.iter().map(|score| f64::from(u8::from(*score >= 50.0))).collect();
            let top = top_k(scores, 10);
            at_budgets(&predictions, scores, &top, &[0.1, 0.5, 0.6], &Bootstrap::default(), &Cancel::new())
                .unwrap()
        };
        let found = of(&scores);
        for (at, recall) in found.iter().zip([0.2, 1.0, 1.0]) {
            assert!((at.recall - recall).abs() < 1e-12 && (at.mass - recall).abs() < 1e-12, "{at:?}");
            assert!((at.lift - recall / at.budget).abs() < 1e-12, "{at:?}");
        }
        // The order of rows decides nothing.
        let reversed: Vec<f64> = scores.iter().rev().copied().collect();
        let numbers =
            |found: &[AtBudget]| -> Vec<[f64; 2]> { found.iter().map(|at| [at.recall, at.lift]).collect() };
        assert_eq!(numbers(&of(&reversed)), numbers(&found));
    }

    #[test]
    fn rows_without_a_prediction_are_kept_beside_a_budget() {
        // Of the twenty best rows nothing is predicted, and of the others the opposite of what they are.
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let predictions: Vec<f64> =
            scores.iter().map(|score| if *score < 80.0 { -score } else { f64::INFINITY }).collect();
        let top = top_k(&scores, 40);
        let found =
            at_budgets(&predictions, &scores, &top, &[0.5], &Bootstrap::default(), &Cancel::new()).unwrap();
        // Half of the 80 others, none of them of the top; 60 rows in all.
        assert_eq!(found[0].recall, 0.5);
        assert!((found[0].lift - 0.5 / 0.6).abs() < 1e-12 && found[0].mass > 0.5, "{found:?}");
    }

    #[test]
    fn a_top_of_few_rows_has_no_interval() {
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let of = |top: usize| {
            let found = at_budgets(
                &scores,
                &scores,
                &top_k(&scores, top),
                &[0.02],
                &Bootstrap::default(),
                &Cancel::new(),
            );
            let found = found.unwrap().remove(0);
            assert_eq!(found.interval.is_some(), found.mass_interval.is_some());
            (found.recall, found.interval.is_some())
        };
        assert_eq!((of(1), of(4), of(5)), ((1.0, false), (0.5, false), (0.4, true)));
    }
}
