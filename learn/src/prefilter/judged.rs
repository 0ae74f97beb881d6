//! Rows that a prefilter keeps: at a share of the pool, and of labelled rows that it has not learned from.

use gstore_core::correlation::descending;
use gstore_core::{Cancel, many_of, written_number};

use super::{Prediction, Prefilter};
use crate::data::Labelled;
use crate::error::LearnError;
use crate::judge::{
    Choice, JudgeRequest, Reliability, Report, TargetCut, TargetReport, cut_at_share, judge, keeps,
    kept_rows, percent,
};
use crate::learners::Learner;
use crate::matrix::Matrix;
use crate::options::FitOptions;

/// Shares that differ by less are told as they are, without a reason.
const TOLD: f64 = 0.01;

impl Prefilter {
    /// Cuts at a rank: for each target so that this share of the predicted rows is kept, whatever the
    /// predictions of labelled rows were, and notes which of these rows are kept now. Gives what the cuts
    /// keep: shares are of the predicted rows, the recall is that of the labelled rows, of which `held_out`
    /// are the predictions where there are any.
    pub fn cut_at(
        &mut self,
        share: f64,
        predictions: &mut [Prediction],
        (held_out, data): (&Matrix, &Labelled),
    ) -> Choice {
        for (target, cut) in self.cuts.iter_mut().enumerate() {
            let values: Vec<f64> =
                predictions.iter().filter_map(|row| row.values.get(target).copied()).collect();
            let Some(from) = cut_at_share(&values, share) else { continue };
            let kept = values.iter().filter(|value| **value >= from).count();
            (cut.from, cut.share) = (Some(from), kept as f64 / values.len() as f64);
        }
        let all = data.with_lacking(held_out);
        let mut choice = Choice::with(&self.cuts, &all.0, &all.1, (self.top, data.pool));
        for (own, told) in self.cuts.iter_mut().zip(&mut choice.cuts) {
            (own.recall, own.bound, own.with_labelled) = (told.recall, told.bound, told.with_labelled);
            told.share = own.share;
        }
        let mut kept = 0usize;
        for row in predictions.iter_mut() {
            let is_kept = keeps(&self.cuts, &row.values);
            row.kept = is_kept || row.labelled_top;
            kept += usize::from(is_kept);
        }
        choice.kept = kept as f64 / predictions.len().max(1) as f64;
        choice
    }

    /// What is said of cuts at a share of the rows that keep another one, as predictions are equal there.
    pub fn notes_of_ties(&self, share: f64, predictions: &[Prediction]) -> Vec<String> {
        let of_target = |(target, cut): (usize, &TargetCut)| {
            if (cut.share - share).abs() <= TOLD {
                return None;
            }
            let values: Vec<f64> =
                predictions.iter().filter_map(|row| row.values.get(target).copied()).collect();
            let last = kept_rows(share, values.len()).max(1) - 1;
            let at = values[*descending(&values).get(last)?];
            let equal = values.iter().filter(|value| **value == at).count() as f64 / values.len() as f64;
            Some(format!(
                "{} of the rows have the same prediction of {} at the cut, which the budget would part: {} are kept, and not {}",
                percent(equal),
                self.targets[target],
                percent(cut.share),
                percent(share)
            ))
        };
        self.cuts.iter().enumerate().filter_map(of_target).collect()
    }

    /// Judges it on labelled rows; those that it has learned from flatter it.
    ///
    /// # Errors
    /// Targets other than its own, and being told to stop.
    pub fn evaluate(
        &self,
        data: &Labelled,
        options: &FitOptions,
        reliability: &[Option<Reliability>],
        cancel: &Cancel,
    ) -> Result<Report, LearnError> {
        if data.targets != self.targets {
            return Err(LearnError::Invalid(format!(
                "the labels are of {}, and the prefilter predicts {}",
                data.targets.join(", "),
                self.targets.join(", ")
            )));
        }
        let predictions = self.fitted.predict(&data.x);
        let mut in_units = Matrix::new(data.targets.len(), Vec::new());
        let mut constant = in_units.clone();
        for row in 0..predictions.rows() {
            let lines = predictions.row(row).iter().zip(&self.lines);
            in_units.push(&lines.map(|(value, line)| line.at(*value)).collect::<Vec<f64>>());
            constant.push(&self.means);
        }
        let levels = self.fitted.levels(&data.x);
        let all = data.with_lacking(&predictions);
        let targets = judge(&JudgeRequest {
            targets: &data.targets,
            scores: &data.y,
            all: &all,
            predictions: &predictions,
            calibrated: &in_units,
            constant: &constant,
            levels: levels.as_deref(),
            top: self.top,
            budgets: &options.budgets,
            bootstrap: options.bootstrap(),
            reliability,
            cancel,
        })?;
        let choice = Choice::with(&self.cuts, &all.0, &all.1, (self.top, None));
        Ok(report(&self.learner, data, self.top, targets, choice))
    }
}

/// What is said of a target whose rows are not ranked better than by chance.
fn beside_chance(target: &TargetReport) -> Option<String> {
    let (how, why) = match target.spearman_interval {
        Some(interval) if interval.low > 0.0 => return None,
        Some(interval) if interval.high < 0.0 => ("worse than", "is below 0"),
        Some(_) => ("no better than", "has 0"),
        None => return Some(format!("Spearman's correlation of {} has no interval", target.target)),
    };
    let name = &target.target;
    Some(format!("predictions of {name} rank {how} chance: the interval of Spearman's correlation {why}"))
}

/// What is said of a prefilter; what it saves is not known here.
pub(super) fn report(
    learner: &Learner,
    data: &Labelled,
    top: f64,
    targets: Vec<TargetReport>,
    choice: Choice,
) -> Report {
    let mut notes = data.notes(top);
    let lacking = data.lacking.ids.len();
    if lacking > 0 {
        let lack = many_of(lacking as u64, "labelled row lacks", "labelled rows lack");
        notes.push(format!(
            "{lack} a feature, or a finite value of it: nothing is learned or predicted of such rows; they are \
             kept, and count as kept"
        ));
    }
    for target in &targets {
        notes.extend(beside_chance(target));
    }
    let learner = match learner {
        Learner::Ridge { alphas } => match alphas.as_slice() {
            [alpha] => format!("ridge with alpha {}", written_number(*alpha)),
            _ => "ridge".to_owned(),
        },
        other => other.name().to_owned(),
    };
    Report {
        learner,
        features: data.features.clone(),
        rows: data.ids.len(),
        lacking,
        top,
        targets,
        choice,
        unpredicted: None,
        in_target: 0,
        cost: None,
        notes,
    }
}
