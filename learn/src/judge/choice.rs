//! The choice of a budget: the cut of each target, and what all of them together keep.

use serde::Serialize;

use super::budget::{Budget, TargetCut, choose};
use super::order::{is_predicted, kept_rows, top};
use crate::matrix::Matrix;

/// What is kept of each target, and of all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The cut of each target. A row is kept if any of them keeps it.
    pub cuts: Vec<TargetCut>,
    /// Share of the rows with a prediction that are kept.
    pub kept: f64,
    /// The lowest recall of a target's true top among them.
    pub recall: f64,
    /// The lowest of the lower bounds of the targets' own cuts, each with 95 % confidence; 1 where every row
    /// is kept for want of a cut.
    pub bound: f64,
}

impl Choice {
    /// The cuts for a budget, from predictions out of fold, which are infinite of rows of which nothing is
    /// predicted. `pool`: rows of the pool of which these are a sample, where those of the true top count as
    /// found.
    pub fn of(
        predictions: &Matrix,
        scores: &Matrix,
        (share, pool): (f64, Option<usize>),
        budget: &Budget,
    ) -> Choice {
        let tops = tops(scores, share);
        let of_target = |target: usize| {
            let top = &tops[target];
            choose(&predictions.column(target), top, top_of_pool(top, share, pool), budget)
        };
        let cuts: Vec<TargetCut> = (0..scores.cols()).map(of_target).collect();
        Self::with(&cuts, predictions, scores, (share, pool))
    }

    /// What cuts keep of these rows, whatever they kept of those that they were chosen on. `predictions` and
    /// `pool` as for [`Choice::of`].
    pub fn with(
        cuts: &[TargetCut],
        predictions: &Matrix,
        scores: &Matrix,
        (share, pool): (f64, Option<usize>),
    ) -> Choice {
        let tops = tops(scores, share);
        let here = |(target, cut): (usize, &TargetCut)| {
            let top = &tops[target];
            TargetCut::on(cut.from, &predictions.column(target), top, top_of_pool(top, share, pool))
        };
        let cuts: Vec<TargetCut> = cuts.iter().enumerate().map(here).collect();
        let kept: Vec<bool> = (0..scores.rows()).map(|row| keeps(&cuts, predictions.row(row))).collect();
        let recall = |top: &Vec<bool>| {
            let hits = top.iter().zip(&kept).filter(|(top, kept)| **top && **kept).count();
            hits as f64 / top.iter().filter(|top| **top).count().max(1) as f64
        };
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::min);
        let is_known = |row: &usize| predictions.row(*row).iter().all(is_predicted);
        let known: Vec<usize> = (0..kept.len()).filter(is_known).collect();
        let share = known.iter().filter(|row| kept[**row]).count() as f64 / known.len().max(1) as f64;
        // All of these rows may pass a cut that others do not. What the cuts of other targets keep as well is
        // no order statistic of this one's top, so that no bound follows from it.
        let bound = match cuts.iter().any(|cut| cut.from.is_none()) {
            true => 1.0,
            false => least(&mut cuts.iter().map(|cut| cut.bound)),
        };
        Choice { recall: least(&mut tops.iter().map(recall)), bound, kept: share, cuts }
    }
}

/// Which rows are in the largest share of each target's scores.
pub(crate) fn tops(scores: &Matrix, share: f64) -> Vec<Vec<bool>> {
    (0..scores.cols()).map(|target| top(&scores.column(target), share)).collect()
}

/// Rows of a pool that are of its true top, of which `top` says which labelled rows are.
fn top_of_pool(top: &[bool], share: f64, pool: Option<usize>) -> Option<usize> {
    let labelled = top.iter().filter(|top| **top).count();
    pool.map(|rows| kept_rows(share, rows).max(labelled))
}

/// Whether any cut keeps a row with these predictions.
pub(crate) fn keeps(cuts: &[TargetCut], predictions: &[f64]) -> bool {
    cuts.iter().zip(predictions).any(|(cut, prediction)| cut.from.is_none_or(|from| *prediction >= from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_kept_for_any_target() {
        let scores = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i), f64::from(100 - i)]).collect());
        let choice = Choice::of(&scores, &scores, (0.1, None), &Budget::Share(0.2));
        assert_eq!((choice.kept, choice.recall), (0.4, 1.0));
        assert!(choice.bound > 0.7 && choice.bound < 1.0);
        let all = Choice::of(&scores, &scores, (0.02, None), &Budget::Recall(0.95));
        assert_eq!((all.kept, all.bound), (1.0, 1.0));
        // Rows that all pass a cut say no more than their number: 0.05^(1/10) of ten.
        let better = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i + 90); 2]).collect());
        let passed = Choice::with(&choice.cuts, &better, &better, (0.1, None));
        assert_eq!((passed.kept, passed.recall), (1.0, 1.0));
        assert!((passed.bound - 0.741_134).abs() < 1e-5, "{passed:?}");
        // Rows that another target's cut keeps do not raise a target's bound.
        let other = Matrix::new(2, (0..100).flat_map(|i| [f64::from(i + 90), 0.0]).collect());
        let both = Choice::with(&choice.cuts, &other, &other, (0.1, None));
        assert_eq!((both.kept, both.recall, both.cuts[1].recall, both.bound), (1.0, 1.0, 0.0, 0.0));
        // On other rows a cut has what it keeps of these.
        let few = Matrix::new(2, (0..50).flat_map(|i| [f64::from(i + 40), 0.0]).collect());
        let there = Choice::with(&choice.cuts, &few, &few, (0.2, None));
        assert_eq!((there.cuts[0].from, there.cuts[0].share, there.cuts[0].recall), (Some(79.5), 0.2, 1.0));
        assert_eq!((there.cuts[1].share, there.cuts[1].recall), (0.0, 0.0));
    }
}
