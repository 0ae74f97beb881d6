//! Calibration of a cascade: each stage's learner and cut, from the rows that are labelled.

use gstore_learn::judge::{StageCut, cascade, spearman, top};
use gstore_learn::learners::{Fitted, Learner, Means, fit};
use gstore_learn::{FitOptions, Labelled, LearnError, Matrix, folds, out_of_fold};

use super::CascadeRequest;
use crate::answer::AnswerError;
use crate::work::Work;

/// The labelled rows, and what was learned of them.
pub(super) struct Learned {
    /// The rows: the random sample, then those that were labelled in rounds.
    pub(super) data: Labelled,
    /// Size of the random sample: cuts are calibrated on it alone, as rows that were chosen by their
    /// predictions say nothing of the recall.
    pub(super) sample: usize,
    /// The share of rows that is the true top.
    share: f64,
    /// How many rows of the pool are.
    selected: usize,
    /// Of each stage, predictions of the sample by learners that have not seen the row.
    predictions: Vec<Vec<f64>>,
}

impl Learned {
    /// Nothing yet, of a random sample. The true top is this share of its rows, and so many rows of the pool.
    pub(super) fn new(data: Labelled, share: f64, selected: usize) -> Self {
        Self { sample: data.ids.len(), data, share, selected, predictions: Vec::new() }
    }

    /// Learns what a stage predicts from its first columns, which are `width`; in the place of what was
    /// learned of the stage before.
    ///
    /// # Errors
    /// Data from which nothing can be learned, and being told to stop.
    pub(super) fn stage(
        &mut self,
        (place, width): (usize, usize),
        request: &CascadeRequest,
        work: &Work<'_>,
    ) -> Result<Fitted, AnswerError> {
        let learner = match &request.learner {
            Learner::Logistic { c, .. } => Learner::Logistic { c: *c, top: self.share },
            other => other.clone(),
        };
        let means = Means { seed: request.seed, threads: work.threads, cancel: work.cancel };
        let count = FitOptions::default().folds;
        let mut of_rows = folds(&self.data.ids[..self.sample], count, request.seed);
        // Rows of the rounds are a fold of their own, so that all others learn from them.
        of_rows.resize(self.data.ids.len(), count);
        let known = self.first_columns(width);
        let found = out_of_fold(&known, &learner, &of_rows, &means)?;
        let fitted = fit(&found.learner, &known.x, &known.y, None, &means)?.into_iter().next();
        let fitted = fitted.ok_or_else(|| LearnError::Invalid("no penalty was given".to_owned()))?;
        let mut of_sample = found.predictions.column(0);
        of_sample.truncate(self.sample);
        match self.predictions.get_mut(place) {
            Some(before) => *before = of_sample,
            None => self.predictions.push(of_sample),
        }
        Ok(fitted)
    }

    /// The cut of each stage.
    pub(super) fn cuts(&self, recall: f64) -> Vec<StageCut> {
        cascade(&self.predictions, &self.top(), recall, self.selected)
    }

    /// The rank correlation of a stage's predictions with the scores of the sample.
    pub(super) fn spearman(&self, place: usize) -> f64 {
        self.predictions.get(place).map_or(0.0, |of_stage| spearman(of_stage, &self.scores()))
    }

    /// Which rows of the sample are the true top.
    pub(super) fn top(&self) -> Vec<bool> {
        top(&self.scores(), self.share)
    }

    /// What a reader should know.
    pub(super) fn notes(&self) -> Vec<String> {
        self.data.notes(self.share)
    }

    fn scores(&self) -> Vec<f64> {
        let mut scores = self.data.y.column(0);
        scores.truncate(self.sample);
        scores
    }

    /// The same rows with their first columns.
    fn first_columns(&self, width: usize) -> Labelled {
        let data = &self.data;
        let values = (0..data.x.rows()).flat_map(|row| &data.x.row(row)[..width]);
        Labelled {
            ids: data.ids.clone(),
            features: data.features[..width].to_vec(),
            x: Matrix::new(width, values.copied().collect()),
            targets: data.targets.clone(),
            y: data.y.clone(),
            left_out: data.left_out,
            pool: data.pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use gstore_ingest::pipeline::GivenOptions;
    use gstore_query::influence::{InfluenceSpec, Order};

    use super::*;

    #[test]
    fn rows_of_rounds_are_learned_from_and_not_calibrated_on() {
        let x: Vec<f64> = (0..120).map(|i| f64::from(i * 97 % 251) / 100.0).collect();
        let y = x.iter().enumerate().map(|(i, x)| x + (i * 31 % 17) as f64 / 50.0).collect();
        let ids = (0..120).map(|i| format!("id{i}")).collect();
        let (x, y) = (Matrix::new(1, x), Matrix::new(1, y));
        let data = Labelled::new(ids, (vec!["x".to_owned()], &x), (vec!["y".to_owned()], &y), 10).unwrap();
        let request = CascadeRequest {
            spec: InfluenceSpec::default(),
            top: "30%".to_owned(),
            order: Order::Best,
            condition: None,
            stages: String::new(),
            recall: 0.9,
            labels: None,
            rounds: 1,
            learner: Learner::Ridge { alphas: vec![1.0] },
            seed: 1,
            models: GivenOptions::default(),
        };
        let work = Work::silent("test");
        let mut learned = Learned::new(data, 0.3, 300);
        learned.stage((0, 1), &request, &work).unwrap();
        let before = learned.predictions.clone();
        assert!(learned.spearman(0) > 0.9, "{}", learned.spearman(0));
        for i in 0..30 {
            learned.data.ids.push(format!("other{i}"));
            learned.data.x.push(&[2.0]);
            learned.data.y.push(&[-5.0]);
        }
        learned.stage((0, 1), &request, &work).unwrap();
        assert_eq!((learned.sample, learned.predictions.len(), learned.predictions[0].len()), (120, 1, 120));
        assert_ne!(learned.predictions, before);
        assert_eq!((learned.top().len(), learned.cuts(0.9).len()), (120, 1));
    }
}
