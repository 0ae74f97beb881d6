//! The report on a prefilter: what its predictions are worth for each target, and what it saves.

use gstore_core::{Cancel, Cancelled};
use serde::Serialize;

use super::budget::{Budget, Cut, choose};
use super::ceiling::{Reliability, expected_recall};
use super::cost::Cost;
use super::levels::{Confusion, confusion, levels, levels_of_ranks};
use super::order::top;
use super::ranked::Pairs;
use super::recall::{AtBudget, at_budgets, r2, spearman};
use super::resample::{Bootstrap, Interval};
use crate::matrix::Matrix;

/// Predictions to judge; matrices have a row for each row and a column for each target.
pub struct JudgeRequest<'a> {
    /// Names of the targets.
    pub targets: &'a [String],
    /// True scores.
    pub scores: &'a Matrix,
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

/// What is kept of each target, and of all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The cut of each target. A row is kept if any of them keeps it.
    pub cuts: Vec<Cut>,
    /// Share of rows that are kept.
    pub kept: f64,
    /// The lowest recall of a target's true top among them.
    pub recall: f64,
    /// The lowest of the lower bounds of the targets' own cuts, each with 95 % confidence; 1 where every row is kept
    /// for want of a cut.
    pub bound: f64,
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

/// All that is said of a prefilter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Learner.
    pub learner: String,
    /// Names of the features.
    pub features: Vec<String>,
    /// Rows that were judged on.
    pub rows: usize,
    /// The share of rows that is the true top.
    pub top: f64,
    /// What is kept of each target.
    pub targets: Vec<TargetReport>,
    /// The budget.
    pub choice: Choice,
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
}

/// Judges predictions of all targets.
///
/// # Errors
/// Being told to stop.
pub fn judge(request: &JudgeRequest<'_>) -> Result<Vec<TargetReport>, Cancelled> {
    (0..request.targets.len()).map(|target| one(request, target)).collect()
}

fn one(request: &JudgeRequest<'_>, target: usize) -> Result<TargetReport, Cancelled> {
    let scores = request.scores.column(target);
    let predictions = request.predictions.column(target);
    let top = top(&scores, request.top);
    let truth = levels(&scores);
    let predicted: Vec<u8> = match request.levels {
        Some(levels) => levels.iter().map(|of_row| of_row.get(target).copied().unwrap_or(0)).collect(),
        None => levels_of_ranks(&predictions, &truth),
    };
    let reliability = request.reliability.get(target).copied().flatten();
    let ceiling = reliability.map(|r| {
        request.budgets.iter().map(|budget| expected_recall(r.value, request.top, *budget)).collect()
    });
    let pairs = Pairs::new(&predictions, &scores);
    let (bootstrap, cancel) = (&request.bootstrap, request.cancel);
    let spearman_interval = bootstrap.interval(scores.len(), cancel, |rows| pairs.spearman(rows))?;
    Ok(TargetReport {
        target: request.targets[target].clone(),
        top: top.iter().filter(|top| **top).count(),
        budgets: at_budgets(&predictions, &scores, &top, request.budgets, bootstrap, cancel)?,
        ceiling,
        spearman: spearman(&predictions, &scores),
        spearman_interval,
        r2: r2(&request.calibrated.column(target), &scores),
        r2_constant: r2(&request.constant.column(target), &scores),
        confusion: confusion(&truth, &predicted),
        reliability,
    })
}

impl Choice {
    /// The cuts for a budget, from predictions out of fold.
    pub fn of(predictions: &Matrix, scores: &Matrix, share: f64, budget: &Budget) -> Choice {
        let of_target =
            |target| choose(&predictions.column(target), &top(&scores.column(target), share), budget);
        let cuts: Vec<Cut> = (0..scores.cols()).map(of_target).collect();
        Self::with(&cuts, predictions, scores, share)
    }

    /// What cuts keep of these rows, whatever they kept of those that they were chosen on.
    pub fn with(cuts: &[Cut], predictions: &Matrix, scores: &Matrix, share: f64) -> Choice {
        let here = |(target, cut): (usize, &Cut)| {
            Cut::on(cut.from, &predictions.column(target), &top(&scores.column(target), share))
        };
        let cuts: Vec<Cut> = cuts.iter().enumerate().map(here).collect();
        let kept: Vec<bool> = (0..scores.rows()).map(|row| keeps(&cuts, predictions.row(row))).collect();
        let hits = |target: usize| {
            let top = top(&scores.column(target), share);
            let hits = top.iter().zip(&kept).filter(|(top, kept)| **top && **kept).count();
            (hits, top.iter().filter(|top| **top).count())
        };
        let found: Vec<(usize, usize)> = (0..scores.cols()).map(hits).collect();
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::min);
        let share = kept.iter().filter(|kept| **kept).count() as f64 / kept.len().max(1) as f64;
        // All of these rows may pass a cut that others do not. What the cuts of other targets keep as well is no
        // order statistic of this one's top, so that no bound follows from it.
        let bound = match cuts.iter().any(|cut| cut.from.is_none()) {
            true => 1.0,
            false => least(&mut cuts.iter().map(|cut| cut.bound)),
        };
        Choice {
            recall: least(&mut found.iter().map(|(hits, k)| *hits as f64 / (*k).max(1) as f64)),
            bound,
            kept: share,
            cuts,
        }
    }
}

/// Whether any cut keeps a row with these predictions.
pub(crate) fn keeps(cuts: &[Cut], predictions: &[f64]) -> bool {
    cuts.iter().zip(predictions).any(|(cut, prediction)| cut.from.is_none_or(|from| *prediction >= from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_kept_for_any_target() {
        let scores = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i), f64::from(100 - i)]).collect());
        let choice = Choice::of(&scores, &scores, 0.1, &Budget::Share(0.2));
        assert_eq!((choice.kept, choice.recall), (0.4, 1.0));
        assert!(choice.bound > 0.7 && choice.bound < 1.0);
        let all = Choice::of(&scores, &scores, 0.02, &Budget::Recall(0.95));
        assert_eq!((all.kept, all.bound), (1.0, 1.0));
        // Rows that all pass a cut say no more than their number: 0.05^(1/10) of ten.
        let better = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i + 90); 2]).collect());
        let passed = Choice::with(&choice.cuts, &better, &better, 0.1);
        assert_eq!((passed.kept, passed.recall), (1.0, 1.0));
        assert!((passed.bound - 0.741_134).abs() < 1e-5, "{passed:?}");
        // Rows that another target's cut keeps do not raise a target's bound.
        let other = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i + 90), 0.0]).collect());
        let both = Choice::with(&choice.cuts, &other, &other, 0.1);
        assert_eq!((both.kept, both.recall, both.cuts[1].recall, both.bound), (1.0, 1.0, 0.0, 0.0));
        // On other rows a cut has what it keeps of these.
        let few = Matrix::new(2, (0..50).flat_map(|i| [f64::from(i + 40), 0.0]).collect());
        let there = Choice::with(&choice.cuts, &few, &few, 0.2);
        assert_eq!((there.cuts[0].from, there.cuts[0].share, there.cuts[0].recall), (Some(80.0), 0.2, 1.0));
        assert_eq!((there.cuts[1].share, there.cuts[1].recall), (0.0, 0.0));
    }

    #[test]
    fn judging_stops_when_it_is_told_to() {
        let scores = Matrix::new(1, (0..100).map(f64::from).collect());
        let of = |cancel: &Cancel| {
            let targets = ["t".to_owned()];
            judge(&JudgeRequest {
                targets: &targets,
                scores: &scores,
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
