//! A fitted prefilter: features, learner, cuts and where they come from, as one value that is stored.

mod fit;
mod judged;
mod stored;
#[cfg(test)]
mod tests;

use gstore_store::Snapshot;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::cross::LinearCalibration;
use crate::error::LearnError;
use crate::features::{FeatureSet, OpenFeatures};
use crate::judge::{TargetCut, keeps};
use crate::learners::{FittedLearner, Learner};
use crate::matrix::Matrix;

/// What a stored prefilter is called among artifacts.
pub const KIND: &str = "prefilter";

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
    pub cuts: Vec<TargetCut>,
    /// What brings predictions into the units of the scores.
    lines: Vec<LinearCalibration>,
    /// The mean score of each target.
    means: Vec<f64>,
    /// Digests of the ids of its labelled rows: also the labels of those that lack a feature say which rows
    /// are the top.
    learned_from: Vec<u64>,
    /// Digests of those of them whose labels are in the true top of a target: as rows of `pool` they are kept
    /// whatever is predicted of them. None of the first form, whose cuts leave out such rows as well.
    #[serde(default, alias = "found")]
    labelled_top: Vec<u64>,
    /// The pool that it was fitted for: in another dataset the same ids may be those of other rows. Where it
    /// is not known, no row is kept for its label.
    #[serde(default)]
    pub pool: Option<String>,
    /// The pool's next row when it was fitted: rows from here on are later ones, whatever their ids. None of
    /// earlier programs, which knew rows by their ids alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_end: Option<u64>,
    /// Where labels and features come from.
    pub provenance: Map<String, Value>,
    fitted: FittedLearner,
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
    /// Whether the row is a labelled one of the pool's true top, which is kept whatever is predicted of it.
    pub labelled_top: bool,
    /// Whether the row is kept: by a cut, or for its label.
    pub kept: bool,
}

impl Prefilter {
    /// Opens its features in a dataset.
    ///
    /// # Errors
    /// A feature that the dataset lacks, or has from another model or projection.
    pub fn open(&self, snapshot: &Snapshot, dataset: &str) -> Result<OpenFeatures, LearnError> {
        self.features.open(snapshot, dataset)
    }

    /// Whether it has learned from this row of a dataset, or counted on its label. In another dataset than
    /// its pool rows with the same ids are taken for the same.
    pub fn learned_from(&self, dataset: &str, row: u64, id: &str) -> bool {
        let may_be = self.pool.as_deref() != Some(dataset) || self.was_there(row);
        may_be && self.learned_from.binary_search(&digest(id)).is_ok()
    }

    /// Whether this row of the pool was labelled, and is in the true top: then it is kept whatever is
    /// predicted of it.
    fn is_labelled_top(&self, row: u64, id: &str) -> bool {
        self.was_there(row) && self.labelled_top.binary_search(&digest(id)).is_ok()
    }

    /// Whether a row of the pool is older than the fit: a sample that replaces another has its id, and a
    /// later row.
    fn was_there(&self, row: u64) -> bool {
        self.pool_end.is_none_or(|end| row < end)
    }

    /// Predictions of rows of a dataset, which ascend. If it is the pool, labelled rows of the
    /// true top are kept.
    ///
    /// # Errors
    /// Damage.
    pub fn predict_rows(
        &self,
        features: &OpenFeatures,
        rows: &[u64],
    ) -> Result<Vec<Option<Prediction>>, LearnError> {
        let mut predictions = self.predict(&features.read(rows)?);
        self.keep_labelled(features, rows, &mut predictions)?;
        Ok(predictions)
    }

    /// Keeps labelled rows of the true top, if the rows are those of the pool. `predictions` has
    /// one for each row.
    ///
    /// # Errors
    /// Damage.
    pub fn keep_labelled(
        &self,
        features: &OpenFeatures,
        rows: &[u64],
        predictions: &mut [Option<Prediction>],
    ) -> Result<(), LearnError> {
        if self.pool.as_deref() != Some(features.dataset()) {
            return Ok(());
        }
        for ((prediction, row), id) in predictions.iter_mut().zip(rows).zip(features.samples().ids(rows)?) {
            if let Some(prediction) = prediction {
                prediction.labelled_top = self.is_labelled_top(*row, &id);
                prediction.kept |= prediction.labelled_top;
            }
        }
        Ok(())
    }

    /// Predictions of rows of features; none of a row with a value that is missing or not finite, or whose
    /// prediction is not.
    pub fn predict(&self, x: &Matrix) -> Vec<Option<Prediction>> {
        let whole: Vec<usize> = (0..x.rows()).filter(|row| x.is_finite(*row)).collect();
        let values = self.fitted.predict(&x.select(&whole));
        let mut predictions = vec![None; x.rows()];
        for (i, row) in whole.into_iter().enumerate() {
            let values = values.row(i);
            // Columns may overflow: such a row has no prediction either.
            if values.iter().all(|value| value.is_finite()) {
                predictions[row] = Some(self.prediction(values));
            }
        }
        predictions
    }

    fn prediction(&self, values: &[f64]) -> Prediction {
        let expected: Vec<f64> =
            values.iter().zip(&self.lines).map(|(value, line)| line.at(*value)).collect();
        let best = (1..expected.len()).fold(0, |best, t| if expected[t] > expected[best] { t } else { best });
        Prediction {
            score: expected.get(best).copied().unwrap_or(0.0),
            target: best,
            labelled_top: false,
            kept: keeps(&self.cuts, values),
            values: values.to_vec(),
        }
    }
}

fn digest(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}
