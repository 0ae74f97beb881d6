//! Fitting a prefilter: out of fold for its report and its cuts, then over all labelled rows.

use serde_json::Map;

use super::judged::report;
use super::stored::VERSION;
use super::{Prefilter, digest};
use crate::cross::{LinearCalibration, calibrated, out_of_fold};
use crate::data::Labelled;
use crate::error::LearnError;
use crate::features::FeatureSet;
use crate::folds::folds;
use crate::judge::{Choice, JudgeRequest, Reliability, Report, TargetCut, judge, tops};
use crate::learners::{FittedLearner, Learner, Means};
use crate::matrix::Matrix;
use crate::options::FitOptions;

impl Prefilter {
    /// Fits and judges a prefilter. `reliability` is that of each target's labels. Gives predictions of the
    /// labelled rows that have all features as well, a column for each target, by learners that had not seen
    /// the row, on the scale of the prefilter's own
    /// ([`OutOfFold::refitted`](crate::cross::OutOfFold::refitted)).
    ///
    /// # Errors
    /// Options that make no sense, data from which nothing can be learned, and being told to stop.
    pub fn fit(
        features: FeatureSet,
        data: &Labelled,
        options: &FitOptions,
        reliability: &[Option<Reliability>],
        means: &Means<'_>,
    ) -> Result<(Prefilter, Report, Matrix), LearnError> {
        options.check()?;
        let of_rows = folds(&data.ids, options.folds, options.seed);
        let held_out = out_of_fold(data, &options.learner, &of_rows, means)?;
        // Tables, lines and cuts are of the same predictions, so that none contradicts the other.
        let (fitted, predictions) = held_out.refitted(data, &of_rows, means)?;
        let (calibrated, constant) = calibrated(&predictions, &data.y, &of_rows);
        let all = data.with_lacking(&predictions);
        let choice = Choice::of(&all.0, &all.1, (options.top, data.pool), &options.budget);
        let targets = judge(&JudgeRequest {
            targets: &data.targets,
            scores: &data.y,
            all: &all,
            predictions: &predictions,
            calibrated: &calibrated,
            constant: &constant,
            levels: held_out.levels.as_deref(),
            top: options.top,
            budgets: &options.budgets,
            bootstrap: options.bootstrap(),
            reliability,
            cancel: means.cancel,
        })?;
        let mut report = report(&held_out.learner, data, options.top, targets, choice);
        report.notes.extend(fitted.note());
        let lines = (0..data.targets.len())
            .map(|target| LinearCalibration::of(&predictions.column(target), &data.y.column(target)))
            .collect();
        let cuts = report.choice.cuts.clone();
        let prefilter = Self::of(features, data, options, (held_out.learner, fitted), (lines, cuts));
        Ok((prefilter, report, predictions))
    }

    /// The learner over all rows, with what was found out of fold.
    fn of(
        features: FeatureSet,
        data: &Labelled,
        options: &FitOptions,
        (learner, fitted): (Learner, FittedLearner),
        (lines, cuts): (Vec<LinearCalibration>, Vec<TargetCut>),
    ) -> Prefilter {
        let mean = |t: usize| data.y.column(t).iter().sum::<f64>() / data.y.rows().max(1) as f64;
        Prefilter {
            version: VERSION,
            features,
            targets: data.targets.clone(),
            lines,
            means: (0..data.targets.len()).map(mean).collect(),
            learner,
            top: options.top,
            cuts,
            learned_from: digests(data.ids.iter().chain(&data.lacking.ids)),
            pool: None,
            pool_end: None,
            labelled_top: digests(in_top(data, options.top)),
            provenance: Map::new(),
            fitted,
        }
    }
}

/// Digests of ids, in ascending order.
fn digests<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<u64> {
    let mut digests: Vec<u64> = ids.map(|id| digest(id)).collect();
    digests.sort_unstable();
    digests
}

/// The ids of labelled rows that are in the true top of a target.
fn in_top(data: &Labelled, share: f64) -> impl Iterator<Item = &String> {
    let tops = tops(&data.scores(), share);
    let is_in = move |row: usize| tops.iter().any(|top| top[row]);
    data.ids.iter().chain(&data.lacking.ids).enumerate().filter(move |(row, _)| is_in(*row)).map(|(_, id)| id)
}
