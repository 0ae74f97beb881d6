//! Report on a prefilter: the quality of its predictions for each target, and the cost that it saves.

use gstore_core::{Cancel, Cancelled};
use serde::Serialize;

use super::ceiling::{Reliability, expected_recall};
use super::choice::Choice;
use super::cost::Cost;
use super::levels::{Confusion, confusion, levels, levels_of_ranks};
use super::order::top;
use super::ranked::Pairs;
use super::recall::{AtBudget, at_budgets, r2, spearman};
use super::resample::{Bootstrap, Interval};
use crate::matrix::Matrix;

/// Predictions to judge; matrices have a row for each row and a column for each target.
pub(crate) struct JudgeRequest<'a> {
    /// Names of the targets.
    pub targets: &'a [String],
    /// True scores.
    pub scores: &'a Matrix,
    /// Predictions and scores of these rows and, after them, of those of which nothing is predicted: they are
    /// kept, and of the top where their scores are.
    pub all: &'a (Matrix, Matrix),
    /// Predictions of rows that were not learned from.
    pub predictions: &'a Matrix,
    /// The same in units of the scores.
    pub calibrated: &'a Matrix,
    /// What a predictor says that knows the mean alone.
    pub constant: &'a Matrix,
    /// Levels that a classifier chose, by row.
    pub levels: Option<&'a [Vec<u8>]>,
    /// The share of rows that is the true top.
    pub top: f64,
    /// Shares of kept rows to report on.
    pub budgets: &'a [f64],
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// Of each target, what is known of its labels' noise.
    pub reliability: &'a [Option<Reliability>],
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// What predictions of one target are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetReport {
    /// Its name.
    pub target: String,
    /// Rows of the true top.
    pub top: usize,
    /// Recall and mass at each budget.
    pub budgets: Vec<AtBudget>,
    /// The recall that is expected of a perfect prediction of labels as noisy as these, at each budget; no
    /// bound.
    pub ceiling: Option<Vec<f64>>,
    /// Rank correlation with the true scores.
    pub spearman: f64,
    /// Its interval.
    pub spearman_interval: Option<Interval>,
    /// Share of the variance that is explained.
    pub r2: f64,
    /// The same of the mean.
    pub r2_constant: f64,
    /// Terciles, true and predicted.
    pub confusion: Confusion,
    /// What is known of the labels' noise.
    pub reliability: Option<Reliability>,
}

/// Rows of a pool that have no prediction, as a value is missing or not finite: they are kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unpredicted {
    /// Their share of the pool.
    pub share: f64,
    /// Features that rows lack, those that most rows lack first.
    pub lacking: Vec<MissingFeature>,
}

/// A feature that rows of a pool lack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MissingFeature {
    /// Its name.
    pub feature: String,
    /// The share of rows that lack it.
    pub share: f64,
}

/// All that is said of a prefilter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Learner.
    pub learner: String,
    /// Names of the features.
    pub features: Vec<String>,
    /// Rows that were judged on, all of them with a prediction.
    pub rows: usize,
    /// Other labelled rows, which lack a feature: nothing is predicted of them, and they count as kept.
    pub lacking: usize,
    /// The share of rows that is the true top.
    pub top: f64,
    /// What is kept of each target.
    pub targets: Vec<TargetReport>,
    /// The budget.
    pub choice: Choice,
    /// What of the pool has no prediction, where it was looked at.
    pub unpredicted: Option<Unpredicted>,
    /// Rows of the pool that were left out since they occur in the target.
    pub in_target: u64,
    /// What it saves.
    pub cost: Option<Cost>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether less is computed than without a prefilter; true where costs are not known.
    pub fn saves(&self) -> bool {
        self.cost.is_none_or(|cost| cost.saving() > 0.0)
    }

    /// Share of rows that are kept, those without a prediction among them: of the pool, where it is known.
    pub fn kept(&self) -> f64 {
        let (rows, lacking) = (self.rows as f64, self.lacking as f64);
        let of_labelled = || (self.choice.kept * rows + lacking) / (rows + lacking).max(1.0);
        self.cost.map_or_else(of_labelled, |cost| cost.kept)
    }

    /// Rows without a prediction, where these are why nothing is saved: the cuts alone would save something.
    pub fn too_many_unpredicted(&self) -> Option<&Unpredicted> {
        let alone = Cost { kept: self.choice.kept, ..self.cost? };
        self.unpredicted.as_ref().filter(|of| of.share > 0.0 && !self.saves() && alone.saving() > 0.0)
    }
}

/// Judges predictions of all targets.
///
/// # Errors
/// Being told to stop.
pub(crate) fn judge(request: &JudgeRequest<'_>) -> Result<Vec<TargetReport>, Cancelled> {
    (0..request.targets.len()).map(|target| judge_target(request, target)).collect()
}

fn judge_target(request: &JudgeRequest<'_>, target: usize) -> Result<TargetReport, Cancelled> {
    let scores = request.scores.column(target);
    let predictions = request.predictions.column(target);
    let [all_predictions, all_scores] = [&request.all.0, &request.all.1].map(|all| all.column(target));
    let top = top(&all_scores, request.top);
    let in_top = top.iter().filter(|top| **top).count();
    let truth = levels(&scores);
    let predicted: Vec<u8> = match request.levels {
        Some(levels) => levels.iter().map(|of_row| of_row.get(target).copied().unwrap_or(0)).collect(),
        None => levels_of_ranks(&predictions, &truth),
    };
    let reliability = request.reliability.get(target).copied().flatten();
    // What is kept of the top in any case, and the share of the other rows that is of it.
    let anyway = top[scores.len()..].iter().filter(|top| **top).count() as f64 / in_top as f64;
    let share = request.top * (1.0 - anyway) * (all_scores.len() as f64 / scores.len() as f64);
    let expected = |r: Reliability, budget: &f64| {
        anyway + (1.0 - anyway) * expected_recall(r.value, share.min(1.0 - f64::EPSILON), *budget)
    };
    let ceiling = reliability.map(|r| request.budgets.iter().map(|budget| expected(r, budget)).collect());
    let pairs = Pairs::new(&predictions, &scores);
    let (bootstrap, cancel) = (&request.bootstrap, request.cancel);
    let spearman_interval = bootstrap.interval(scores.len(), cancel, |rows| pairs.spearman(rows))?;
    Ok(TargetReport {
        target: request.targets[target].clone(),
        top: in_top,
        budgets: at_budgets(&all_predictions, &all_scores, &top, request.budgets, bootstrap, cancel)?,
        ceiling,
        spearman: spearman(&predictions, &scores),
        spearman_interval,
        r2: r2(&request.calibrated.column(target), &scores),
        r2_constant: r2(&request.constant.column(target), &scores),
        confusion: confusion(&truth, &predicted),
        reliability,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judging_stops_when_it_is_told_to() {
        let scores = Matrix::new(1, (0..100).map(f64::from).collect());
        let all = (scores.clone(), scores.clone());
        let of = |cancel: &Cancel| {
            let targets = ["t".to_owned()];
            judge(&JudgeRequest {
                targets: &targets,
                scores: &scores,
                all: &all,
                predictions: &scores,
                calibrated: &scores,
                constant: &scores,
                levels: None,
                top: 0.1,
                budgets: &[0.2],
                bootstrap: Bootstrap { resamples: 100, seed: 1 },
                reliability: &[None],
                cancel,
            })
        };
        assert_eq!(of(&Cancel::raised()), Err(Cancelled));
        let found = of(&Cancel::new()).unwrap();
        assert_eq!((found.len(), found[0].spearman), (1, 1.0));
        assert_eq!(found[0].spearman_interval, Some(Interval { low: 1.0, high: 1.0 }));
    }
}
