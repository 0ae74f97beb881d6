//! Cross-validation: predictions of rows by learners that have not seen them, and the lines that bring them
//! into the units of the scores.

use gstore_core::correlation::is_constant;
use serde::{Deserialize, Serialize};

use crate::data::Labelled;
use crate::error::LearnError;
use crate::judge::{levels, r2, tops};
use crate::learners::{FittedLearner, Learner, Means, fit};
use crate::matrix::Matrix;

/// Predictions of every row by the learner of its fold.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfFold {
    /// The learner, of a ridge with the penalty that was chosen.
    pub learner: Learner,
    /// A row for each row, a column for each target.
    pub predictions: Matrix,
    /// Of a classifier, the levels.
    pub levels: Option<Vec<Vec<u8>>>,
    /// R2 of each target, by penalty of a ridge.
    pub r2: Vec<Vec<f64>>,
    /// The learners of the folds, one or one for each penalty.
    pub fitted: Vec<Vec<FittedLearner>>,
    /// The place of the penalty that was chosen.
    pub chosen: usize,
}

impl OutOfFold {
    /// The learner over all rows, and the predictions of the rows on its scale: where a prediction
    /// ranks among those of the rows that its own learner has learned from, what ranks there among
    /// those of all rows.
    ///
    /// # Errors
    /// What the learner refuses, and being told to stop.
    pub fn refitted(
        &self,
        data: &Labelled,
        folds: &[usize],
        means: &Means<'_>,
    ) -> Result<(FittedLearner, Matrix), LearnError> {
        let fitted = fit(&self.learner, &data.x, &data.y, None, means)?.into_iter().next();
        let fitted = fitted.ok_or_else(|| LearnError::Invalid("no penalty was given".to_owned()))?;
        let predictions = self.on_scale_of(&fitted, &data.x, folds);
        check_finite(&predictions, &data.targets)?;
        Ok((fitted, predictions))
    }

    /// The predictions on the scale of the learner of all rows, `whole`.
    ///
    /// Each fold has a mean and a slope of its own. Where features say little, these differ by more than
    /// predictions do, and a cut among predictions as they are would keep next to none or nearly all of what
    /// `whole` predicts.
    fn on_scale_of(&self, whole: &FittedLearner, x: &Matrix, folds: &[usize]) -> Matrix {
        let of_target = |predictions: &Matrix, target: usize| {
            let mut values = predictions.column(target);
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let of_all = whole.predict(x);
        let all: Vec<Vec<f64>> = (0..of_all.cols()).map(|target| of_target(&of_all, target)).collect();
        let mut found = self.predictions.clone();
        for (fold, fitted) in self.fitted.iter().enumerate() {
            let Some(fitted) = fitted.get(self.chosen) else { continue };
            let (own, others): (Vec<usize>, Vec<usize>) =
                (0..folds.len()).partition(|row| folds[*row] == fold);
            let learned = fitted.predict(&x.select(&others));
            for (target, all) in all.iter().enumerate() {
                let known = of_target(&learned, target);
                for row in &own {
                    let value = &mut found.row_mut(*row)[target];
                    // The middle of equal ones.
                    let rank = known.partition_point(|other| *other < *value)
                        + known.partition_point(|other| *other <= *value);
                    let place = rank * all.len() / (2 * known.len()).max(1);
                    *value = all.get(place).or(all.last()).copied().unwrap_or(*value);
                }
            }
        }
        found
    }
}

fn check_finite(predictions: &Matrix, targets: &[String]) -> Result<(), LearnError> {
    match predictions.values().iter().position(|value| !value.is_finite()) {
        Some(place) => Err(LearnError::NotFinite(targets[place % targets.len().max(1)].clone())),
        None => Ok(()),
    }
}

/// Refuses labels whose terciles are all the same: a classifier would learn nothing of the scores that
/// differ.
fn check_levels(data: &Labelled) -> Result<(), LearnError> {
    let is_one = |target: &usize| is_constant(&levels(&data.y.column(*target)));
    match (0..data.y.cols()).find(is_one) {
        Some(target) => Err(LearnError::OneLevel(data.targets[target].clone())),
        None => Ok(()),
    }
}

/// Predicts every row.
///
/// # Errors
/// A fold that leaves too few rows to learn from, what a learner refuses, and being told to stop.
pub fn out_of_fold(
    data: &Labelled,
    learner: &Learner,
    folds: &[usize],
    means: &Means<'_>,
) -> Result<OutOfFold, LearnError> {
    if *learner == Learner::Classifier {
        check_levels(data)?;
    }
    let count = folds.iter().max().map_or(0, |most| most + 1);
    // What the top is follows from all labels: a fold is too small to say.
    let labels = match learner {
        Learner::Logistic { top, .. } => Some(tops(&data.y, *top)),
        _ => None,
    };
    let mut predictions: Vec<Matrix> = Vec::new();
    let mut levels: Option<Vec<Vec<u8>>> = None;
    let mut fitted = Vec::with_capacity(count);
    for fold in 0..count {
        let (own, others): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|row| folds[*row] == fold);
        if others.len() < learner.least_rows().0 {
            let (needed, why) = learner.least_rows_in(count);
            return Err(LearnError::TooFewRows { rows: folds.len(), needed, why });
        }
        let of_others = |labels: &Vec<Vec<bool>>| -> Vec<Vec<bool>> {
            labels.iter().map(|labels| others.iter().map(|row| labels[*row]).collect()).collect()
        };
        let labels = labels.as_ref().map(of_others);
        let all = fit(learner, &data.x.select(&others), &data.y.select(&others), labels.as_deref(), means)?;
        let x = data.x.select(&own);
        if predictions.is_empty() {
            predictions = vec![Matrix::zeros(data.y.rows(), data.y.cols()); all.len()];
        }
        for (into, fitted) in predictions.iter_mut().zip(&all) {
            let found = fitted.predict(&x);
            own.iter().enumerate().for_each(|(i, row)| into.row_mut(*row).copy_from_slice(found.row(i)));
        }
        if let Some(found) = all.first().and_then(|fitted| fitted.levels(&x)) {
            let into = levels.get_or_insert_with(|| vec![Vec::new(); data.y.rows()]);
            own.iter().zip(found).for_each(|(row, levels)| into[*row] = levels);
        }
        fitted.push(all);
    }
    let of_target = |predictions: &Matrix, t: usize| r2(&predictions.column(t), &data.y.column(t));
    let r2: Vec<Vec<f64>> =
        predictions.iter().map(|p| (0..data.y.cols()).map(|t| of_target(p, t)).collect()).collect();
    // The first of equal ones.
    let mean = |i: usize| r2[i].iter().sum::<f64>();
    let best = (1..predictions.len()).fold(0, |best, i| if mean(i) > mean(best) { i } else { best });
    let learner = match learner {
        Learner::Ridge { alphas } => {
            Learner::Ridge { alphas: alphas.get(best).copied().into_iter().collect() }
        }
        other => other.clone(),
    };
    let predictions = predictions.into_iter().nth(best).unwrap_or_default();
    check_finite(&predictions, &data.targets)?;
    Ok(OutOfFold { learner, predictions, levels, r2, fitted, chosen: best })
}

/// A line from predictions to scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinearCalibration {
    /// Not negative: a prediction that runs against the scores says nothing.
    pub slope: f64,
    /// The score at a prediction of 0.
    pub constant: f64,
}

impl LinearCalibration {
    /// The line of least squares.
    pub fn of(predictions: &[f64], scores: &[f64]) -> LinearCalibration {
        let n = scores.len().max(1) as f64;
        let (p, s) = (predictions.iter().sum::<f64>() / n, scores.iter().sum::<f64>() / n);
        let both: f64 = predictions.iter().zip(scores).map(|(x, y)| (x - p) * (y - s)).sum();
        let own: f64 = predictions.iter().map(|x| (x - p) * (x - p)).sum();
        let slope = if own > 0.0 { (both / own).max(0.0) } else { 0.0 };
        LinearCalibration { slope, constant: s - slope * p }
    }

    /// The score that a prediction stands for.
    pub fn at(&self, prediction: f64) -> f64 {
        self.slope * prediction + self.constant
    }
}

/// Predictions in units of the scores and the mean, each by the rows of other folds.
pub(crate) fn calibrated(predictions: &Matrix, scores: &Matrix, folds: &[usize]) -> (Matrix, Matrix) {
    let count = folds.iter().max().map_or(0, |most| most + 1);
    let mut found = Matrix::zeros(scores.rows(), scores.cols());
    let mut constant = found.clone();
    for target in 0..scores.cols() {
        let (predictions, scores) = (predictions.column(target), scores.column(target));
        for fold in 0..count {
            let others = |values: &[f64]| -> Vec<f64> {
                let kept = values.iter().zip(folds).filter(|(_, own)| **own != fold);
                kept.map(|(value, _)| *value).collect()
            };
            let others_scores = others(&scores);
            let line = LinearCalibration::of(&others(&predictions), &others_scores);
            let mean = others_scores.iter().sum::<f64>() / others_scores.len().max(1) as f64;
            for row in (0..folds.len()).filter(|row| folds[*row] == fold) {
                found.row_mut(row)[target] = line.at(predictions[row]);
                constant.row_mut(row)[target] = mean;
            }
        }
    }
    (found, constant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstore_core::Cancel;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn every_learner_predicts_what_a_column_says() {
        let x: Vec<f64> = (0..240).map(|i| f64::from(i * 97 % 251) / 100.0).collect();
        let y = Matrix::new(1, (0..120).map(|row| x[row * 2] * 0.01).collect());
        let ids: Vec<String> = (0..120).map(|i| format!("id{i}")).collect();
        let features = vec!["a".to_owned(), "b".to_owned()];
        let x = Matrix::new(2, x);
        let data = Labelled::new(ids.clone(), (features, &x), (vec!["t".to_owned()], &y), 10).unwrap();
        let folds = crate::folds::folds(&ids, 4, 7);
        for learner in [
            Learner::Ridge { alphas: vec![100.0, 0.1] },
            Learner::Logistic { c: 10.0, top: 0.2 },
            Learner::Trees(crate::learners::TreeOptions { least: 5, ..Default::default() }),
            Learner::Classifier,
            Learner::Regressor,
        ] {
            let run = |threads| {
                out_of_fold(&data, &learner, &folds, &Means { seed: 3, threads, cancel: &RUN }).unwrap()
            };
            let found = run(1);
            let rank = crate::judge::spearman(&found.predictions.column(0), &data.y.column(0));
            assert!(rank > 0.7, "{}: {rank}", learner.name());
            assert_eq!(found.predictions, run(2).predictions, "{}", learner.name());
            if let Learner::Ridge { alphas } = &found.learner {
                assert_eq!(alphas, &[0.1]);
            }
            let (line, constant) = calibrated(&found.predictions, &data.y, &folds);
            assert!(r2(&line.column(0), &data.y.column(0)) > 0.3, "{}", learner.name());
            assert!(r2(&constant.column(0), &data.y.column(0)) <= 0.0);
        }
    }

    #[test]
    fn trees_that_could_not_split_are_refused_with_the_rows_that_they_take() {
        let of = |rows: usize| {
            let values: Vec<f64> = (0..rows).map(|row| (row * 37 % 101) as f64).collect();
            let (x, y) = (Matrix::new(1, values.clone()), Matrix::new(1, values));
            let ids: Vec<String> = (0..rows).map(|row| format!("id{row}")).collect();
            let folds = crate::folds::folds(&ids, 5, 7);
            let names = || vec!["a".to_owned()];
            let data = Labelled::new(ids, (names(), &x), (names(), &y), 10).unwrap();
            let learner = Learner::Trees(crate::learners::TreeOptions { trees: 2, ..Default::default() });
            out_of_fold(&data, &learner, &folds, &Means { seed: 3, threads: 1, cancel: &RUN })
        };
        let error = of(49).unwrap_err().to_string();
        assert!(error.starts_with("49 labelled rows have all features, and 50 are needed: "), "{error}");
        assert!(error.contains("leaves of at least 20 rows"), "{error}");
        let found = of(50).unwrap().predictions;
        assert!(found.values().iter().any(|value| *value != found.values()[0]), "{found:?}");
    }
}
