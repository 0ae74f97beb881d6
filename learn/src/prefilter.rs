//! A fitted prefilter: features, learner, cuts and where they come from, as one value that is stored.

use gstore_core::Cancel;
use gstore_core::correlation::descending;
use gstore_store::Snapshot;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::cross::{Line, OutOfFold, calibrated, out_of_fold};
use crate::data::Labelled;
use crate::error::LearnError;
use crate::features::{FeatureSet, OpenFeatures};
use crate::folds::folds;
use crate::judge::{
    Choice, Cut, JudgeRequest, Reliability, Report, TargetReport, judge, keeps, kept_rows, top,
};
use crate::learners::{Fitted, Learner, Means, fit};
use crate::matrix::Matrix;
use crate::options::FitOptions;

/// What a stored prefilter is called among artifacts.
pub const KIND: &str = "prefilter";

/// The form of the stored value: with 2 labelled rows count as found.
const VERSION: u32 = 2;

/// The oldest form that is read.
const OLDEST: u32 = 1;

/// A prefilter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prefilter {
    version: u32,
    /// What it reads of each row.
    pub features: FeatureSet,
    /// What it predicts.
    pub targets: Vec<String>,
    /// How, of a ridge with its penalty.
    pub learner: Learner,
    /// The share of rows that is the true top.
    pub top: f64,
    /// Which rows are kept.
    pub cuts: Vec<Cut>,
    /// What brings predictions into the units of the scores.
    lines: Vec<Line>,
    /// The mean score of each target.
    means: Vec<f64>,
    /// Digests of the ids that it has learned from.
    learned_from: Vec<u64>,
    /// Digests of those of them whose labels are in the true top of a target: they are kept whatever is predicted of
    /// them. None of the first form, whose cuts leave out such rows as well.
    #[serde(default)]
    found: Vec<u64>,
    /// Where labels and features come from.
    pub provenance: Map<String, Value>,
    fitted: Fitted,
}

/// What is said of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Of each target, in the units of the learner.
    pub values: Vec<f64>,
    /// The largest of the targets' expected scores.
    pub score: f64,
    /// The target that it is of.
    pub target: usize,
    /// Whether a cut keeps the row.
    pub kept: bool,
}

impl Prefilter {
    /// Fits and judges a prefilter. `reliability` is that of each target's labels. Gives predictions of the
    /// labelled rows as well, a column for each target, by learners that had not seen the row.
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
        let found = out_of_fold(data, &options.learner, &of_rows, means)?;
        let (calibrated, constant) = calibrated(&found.predictions, &data.y, &of_rows);
        let choice = Choice::of(&found.predictions, &data.y, (options.top, data.pool), &options.budget);
        let targets = judge(&JudgeRequest {
            targets: &data.targets,
            scores: &data.y,
            predictions: &found.predictions,
            calibrated: &calibrated,
            constant: &constant,
            levels: found.levels.as_deref(),
            top: options.top,
            budgets: &options.budgets,
            bootstrap: options.bootstrap(),
            reliability,
            cancel: means.cancel,
        })?;
        let mut report = report(&found.learner, data, options.top, targets, choice);
        let held_out = found.predictions.clone();
        let prefilter = Self::of(features, data, options, found, report.choice.cuts.clone(), means)?;
        report.notes.extend(prefilter.fitted.note());
        Ok((prefilter, report, held_out))
    }

    /// The learner over all rows, with what was found out of fold.
    fn of(
        features: FeatureSet,
        data: &Labelled,
        options: &FitOptions,
        found: OutOfFold,
        cuts: Vec<Cut>,
        means: &Means<'_>,
    ) -> Result<Prefilter, LearnError> {
        let fitted = fit(&found.learner, &data.x, &data.y, None, means)?.into_iter().next();
        let Some(fitted) = fitted else { return Err(LearnError::Invalid("no penalty was given".to_owned())) };
        let targets = 0..data.targets.len();
        let line = |t: usize| Line::of(&found.predictions.column(t), &data.y.column(t));
        let mean = |t: usize| data.y.column(t).iter().sum::<f64>() / data.y.rows().max(1) as f64;
        let every = vec![true; data.ids.len()];
        let found_ids = match data.pool {
            Some(_) => digests(&data.ids, &in_top(data, options.top)),
            None => Vec::new(),
        };
        Ok(Prefilter {
            version: VERSION,
            features,
            targets: data.targets.clone(),
            lines: targets.clone().map(line).collect(),
            means: targets.map(mean).collect(),
            learner: found.learner,
            top: options.top,
            cuts,
            learned_from: digests(&data.ids, &every),
            found: found_ids,
            provenance: Map::new(),
            fitted,
        })
    }

    /// As a value to store.
    pub fn to_value(&self) -> Value {
        // Numbers are finite and keys are text.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Of a stored value.
    ///
    /// # Errors
    /// A value of another form, or of a later version.
    pub fn from_value(value: Value) -> Result<Prefilter, LearnError> {
        let version = value.get("version").and_then(Value::as_u64);
        if !version.is_some_and(|version| (u64::from(OLDEST)..=u64::from(VERSION)).contains(&version)) {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(LearnError::Invalid(format!(
                "the stored prefilter has version {found}, and this program reads {OLDEST} to {VERSION}"
            )));
        }
        serde_json::from_value(value)
            .map_err(|error| LearnError::Invalid(format!("the stored prefilter cannot be read: {error}")))
    }

    /// Opens its features in a dataset.
    ///
    /// # Errors
    /// A feature that the dataset lacks, or has from another model or projection.
    pub fn open(&self, snapshot: &Snapshot, dataset: &str) -> Result<OpenFeatures, LearnError> {
        self.features.open(snapshot, dataset)
    }

    /// Whether it has learned from the row with this id.
    pub fn learned_from(&self, id: &str) -> bool {
        self.learned_from.binary_search(&digest(id)).is_ok()
    }

    /// Whether the row with this id is kept whatever is predicted of it: it was labelled, and is in the true top.
    fn is_found(&self, id: &str) -> bool {
        self.found.binary_search(&digest(id)).is_ok()
    }

    /// How many labelled rows are kept though no cut keeps what `held_out` predicts of them.
    pub fn kept_below(&self, held_out: &Matrix, data: &Labelled) -> usize {
        let is_below = |row: &usize| !keeps(&self.cuts, held_out.row(*row));
        (0..data.ids.len()).filter(is_below).filter(|row| self.is_found(&data.ids[*row])).count()
    }

    /// Predictions of rows of a dataset, which ascend. Labelled rows of the true top are kept.
    ///
    /// # Errors
    /// Damage.
    pub fn predict_rows(
        &self,
        features: &OpenFeatures,
        rows: &[u64],
    ) -> Result<Vec<Option<Prediction>>, LearnError> {
        let mut predictions = self.predict(&features.read(rows)?);
        if !self.found.is_empty() {
            for (prediction, id) in predictions.iter_mut().zip(features.ids(rows)?) {
                if let Some(prediction) = prediction {
                    prediction.kept |= self.is_found(&id);
                }
            }
        }
        Ok(predictions)
    }

    /// Predictions of rows of features; none of a row with a value that is missing or not finite, or whose
    /// prediction is not.
    pub fn predict(&self, x: &Matrix) -> Vec<Option<Prediction>> {
        let whole: Vec<usize> = (0..x.rows()).filter(|row| x.is_finite(*row)).collect();
        let values = self.fitted.predict(&x.select(&whole));
        let mut found = vec![None; x.rows()];
        for (i, row) in whole.into_iter().enumerate() {
            let values = values.row(i);
            // Columns may overflow: such a row has no prediction either.
            if values.iter().all(|value| value.is_finite()) {
                found[row] = Some(self.prediction(values));
            }
        }
        found
    }

    fn prediction(&self, values: &[f64]) -> Prediction {
        let expected: Vec<f64> =
            values.iter().zip(&self.lines).map(|(value, line)| line.at(*value)).collect();
        let best = (1..expected.len()).fold(0, |best, t| if expected[t] > expected[best] { t } else { best });
        Prediction {
            score: expected.get(best).copied().unwrap_or(0.0),
            target: best,
            kept: keeps(&self.cuts, values),
            values: values.to_vec(),
        }
    }

    /// Cuts at a rank: for each target so that this share of the predicted rows is kept, whatever the
    /// predictions of labelled rows were. Gives what the cuts keep: shares are of the predicted rows, the
    /// recall is that of the labelled rows, of which `held_out` are the predictions.
    pub fn cut_at(
        &mut self,
        share: f64,
        predictions: &[Prediction],
        (held_out, data): (&Matrix, &Labelled),
    ) -> Choice {
        for (target, cut) in self.cuts.iter_mut().enumerate() {
            let values: Vec<f64> =
                predictions.iter().filter_map(|row| row.values.get(target).copied()).collect();
            let last = kept_rows(share, values.len()).max(1) - 1;
            let Some(from) = descending(&values).get(last).map(|row| values[*row]) else { continue };
            let kept = values.iter().filter(|value| **value >= from).count();
            (cut.from, cut.share) = (Some(from), kept as f64 / values.len() as f64);
        }
        let mut choice = Choice::with(&self.cuts, held_out, &data.y, (self.top, data.pool));
        for (own, told) in self.cuts.iter_mut().zip(&mut choice.cuts) {
            (own.recall, own.bound) = (told.recall, told.bound);
            told.share = own.share;
        }
        let kept = predictions.iter().filter(|row| keeps(&self.cuts, &row.values)).count();
        choice.kept = kept as f64 / predictions.len().max(1) as f64;
        choice
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
        let targets = judge(&JudgeRequest {
            targets: &data.targets,
            scores: &data.y,
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
        let choice = Choice::with(&self.cuts, &predictions, &data.y, (self.top, None));
        Ok(report(&self.learner, data, self.top, targets, choice))
    }
}

fn digest(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

/// Digests of the ids that are wanted, in ascending order.
fn digests(ids: &[String], wanted: &[bool]) -> Vec<u64> {
    let wanted = ids.iter().zip(wanted).filter(|(_, wanted)| **wanted);
    let mut digests: Vec<u64> = wanted.map(|(id, _)| digest(id)).collect();
    digests.sort_unstable();
    digests
}

/// Which labelled rows are in the true top of a target.
fn in_top(data: &Labelled, share: f64) -> Vec<bool> {
    let mut is_in = vec![false; data.y.rows()];
    for target in 0..data.y.cols() {
        is_in.iter_mut().zip(top(&data.y.column(target), share)).for_each(|(any, own)| *any |= own);
    }
    is_in
}

fn report(
    learner: &Learner,
    data: &Labelled,
    top: f64,
    targets: Vec<TargetReport>,
    choice: Choice,
) -> Report {
    let mut notes = data.notes(top);
    for target in &targets {
        if target.spearman_interval.is_none_or(|interval| interval.low <= 0.0) {
            notes.push(format!(
                "predictions of {} rank no better than chance: the interval of Spearman's correlation has 0",
                target.target
            ));
        }
    }
    let learner = match learner {
        Learner::Ridge { alphas } => match alphas.as_slice() {
            [alpha] => format!("ridge with alpha {alpha}"),
            _ => "ridge".to_owned(),
        },
        other => other.name().to_owned(),
    };
    Report {
        learner,
        features: data.features.clone(),
        rows: data.ids.len(),
        top,
        targets,
        choice,
        cost: None,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureSet;
    use crate::judge::Budget;

    static RUN: Cancel = Cancel::new();

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
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let options = FitOptions { resamples: 100, ..FitOptions::default() };
        for learner in [Learner::Ridge { alphas: vec![1.0] }, Learner::Logistic { c: 1.0, top: 0.05 }] {
            let options = FitOptions { learner, ..options.clone() };
            let (fitted, report, _) =
                Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &means).unwrap();
            assert!(report.choice.bound >= 0.95 && report.choice.kept < 0.5, "{:?}", report.choice);
            let text = serde_json::to_string(&fitted.to_value()).unwrap();
            let again = Prefilter::from_value(serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(again, fitted);
            assert_eq!(again.predict(&data.x), fitted.predict(&data.x));
            assert!(again.learned_from("row3") && !again.learned_from("other"));
            let judged = again.evaluate(&data, &options, &[None], &RUN).unwrap();
            assert!(judged.targets[0].spearman > 0.8 && judged.text().contains("recall when keeping"));
        }
    }

    #[test]
    fn a_row_that_is_not_whole_has_no_prediction() {
        let data = data(200);
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let options = FitOptions { resamples: 100, ..FitOptions::default() };
        let (fitted, report, _) =
            Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &means).unwrap();
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
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let options = FitOptions { resamples: 100, budget: Budget::Share(0.3), ..FitOptions::default() };
        let (mut fitted, report, held_out) =
            Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &means).unwrap();
        // Rows that are better than those that were learned from.
        let x = Matrix::new(2, (0..100).flat_map(|i| [0.8 + f64::from(i) / 100.0, 0.5]).collect());
        let predictions: Vec<Prediction> = fitted.predict(&x).into_iter().flatten().collect();
        let choice = fitted.cut_at(0.3, &predictions, (&held_out, &data));
        assert_eq!((choice.kept, choice.cuts[0].share), (0.3, 0.3));
        // What is told is the recall of this cut, which no labelled row reaches, not of their own best 30 %.
        assert_eq!((report.choice.recall, choice.recall, fitted.cuts[0].bound), (1.0, 0.0, 0.0));
        assert_eq!(fitted.predict(&x).into_iter().flatten().filter(|row| row.kept).count(), 30);
        assert_eq!(fitted.cuts[0].share, 0.3);
    }

    #[test]
    fn labelled_rows_of_the_top_are_kept_and_counted() {
        let data = data(1000).of_pool(2000);
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let options = FitOptions { resamples: 100, ..FitOptions::default() };
        let (fitted, report, held_out) =
            Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &means).unwrap();
        // 50 labelled rows of the top are too few by themselves, and enough where they are half of the pool's.
        assert!(report.choice.bound >= 0.95 && report.choice.kept < 0.5, "{:?}", report.choice);
        assert_eq!(fitted.found.len(), 50);
        let best = (0..1000).max_by(|a, b| data.y.row(*a)[0].total_cmp(&data.y.row(*b)[0])).unwrap();
        let worst = (0..1000).min_by(|a, b| data.y.row(*a)[0].total_cmp(&data.y.row(*b)[0])).unwrap();
        assert!(fitted.is_found(&data.ids[best]) && !fitted.is_found(&data.ids[worst]));
        assert_eq!(fitted.kept_below(&held_out, &data), 0, "a cut at the lowest of them keeps all");
        let mut none = fitted.clone();
        none.cuts[0].from = Some(f64::INFINITY);
        assert_eq!(none.kept_below(&held_out, &data), 50);
        // Other rows say nothing of labelled ones.
        let judged = fitted.evaluate(&data, &options, &[None], &RUN).unwrap();
        let cut = judged.choice.cuts[0];
        assert_eq!(cut.bound, crate::judge::lower_bound((cut.recall * 50.0).round() as usize, 50));
    }

    #[test]
    fn the_first_version_keeps_no_labelled_row_and_a_later_one_is_refused() {
        let data = data(200).of_pool(400);
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let options = FitOptions { resamples: 100, ..FitOptions::default() };
        let (fitted, ..) = Prefilter::fit(FeatureSet::default(), &data, &options, &[None], &means).unwrap();
        let mut value = fitted.to_value();
        value["version"] = serde_json::json!(1);
        value.as_object_mut().unwrap().remove("found");
        let first = Prefilter::from_value(value).unwrap();
        assert_eq!(fitted.found.len(), 10);
        assert!(first.found.is_empty() && first.learned_from("row3"));
        let error = Prefilter::from_value(serde_json::json!({"version": 7})).unwrap_err().to_string();
        assert!(error.contains("version 7, and this program reads 1 to 2"), "{error}");
    }
}
