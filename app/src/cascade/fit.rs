//! Calibration of a cascade: each stage's learner and cut, from the rows that are labelled.

use gstore_learn::judge::{StageCut, cascade, spearman, top};
use gstore_learn::learners::{FittedLearner, Learner, Means};
use gstore_learn::{FitOptions, Labelled, Matrix, folds, out_of_fold};

use super::CascadeRequest;
use crate::answer::AnswerError;
use crate::work::JobContext;

/// Rows of the sample for each row that a round labels.
const PART: usize = 4;

/// The rows of a random sample that have a score, in their order.
pub(super) struct ScoredSample {
    /// Their columns; NaN where a value is missing.
    pub(super) x: Matrix,
    pub(super) scores: Vec<f64>,
}

/// The labelled rows, and what was learned of them.
pub(super) struct FittedCascade {
    /// The rows that are learned from: those of the random sample that have all values, in their order, then
    /// those that were labelled in rounds.
    pub(super) data: Labelled,
    /// How many of them are of the random sample.
    pub(super) sample: usize,
    /// The random sample: cuts are calibrated on it alone, as rows that were chosen by their predictions say
    /// nothing of the recall. Rows that lack a value are of it as well: they go on, and so they are kept.
    sampled: ScoredSample,
    /// The share of rows that is the true top.
    share: f64,
    /// How many rows of the pool are.
    selected: usize,
    /// Of each stage, predictions of the sample by learners that have not seen the row; infinite of one that
    /// goes on whatever is predicted.
    predictions: Vec<Vec<f64>>,
}

impl FittedCascade {
    /// Nothing yet, of a random sample, of which `data` are the rows that have all values. The true top is
    /// this share of its rows, and so many rows of the pool.
    pub(super) fn new(data: Labelled, sampled: ScoredSample, share: f64, selected: usize) -> Self {
        Self { sample: data.ids.len(), data, sampled, share, selected, predictions: Vec::new() }
    }

    /// Learns what a stage predicts from its first columns, which are `width`; in the place of what was
    /// learned of the stage before.
    pub(super) fn stage(
        &mut self,
        (place, width): (usize, usize),
        request: &CascadeRequest,
        work: &JobContext<'_>,
    ) -> Result<FittedLearner, AnswerError> {
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
        let (fitted, held_out) = found.refitted(&known, &of_rows, &means)?;
        let of_sample = self.predicted(width, &fitted, &held_out);
        match self.predictions.get_mut(place) {
            Some(before) => *before = of_sample,
            None => self.predictions.push(of_sample),
        }
        Ok(fitted)
    }

    /// What a stage predicts of the sample: `held_out` of rows that are learned from, the learner itself of
    /// others that have its columns, which it has not seen either.
    fn predicted(&self, width: usize, fitted: &FittedLearner, held_out: &Matrix) -> Vec<f64> {
        let x = &self.sampled.x;
        let mut whole = 0..self.sample;
        let of_row = |row: usize| -> Option<f64> {
            if x.is_finite(row) {
                return whole.next().map(|row| held_out.row(row)[0]);
            }
            let known = &x.row(row)[..width];
            let is_known = known.iter().all(|value| value.is_finite());
            is_known.then(|| fitted.predict(&Matrix::new(width, known.to_vec())).row(0)[0])
        };
        let found = (0..x.rows()).map(of_row);
        found.map(|value| value.filter(|value| value.is_finite()).unwrap_or(f64::INFINITY)).collect()
    }

    pub(super) fn cuts(&self, recall: f64) -> Vec<StageCut> {
        cascade(&self.predictions, &self.top(), recall, self.selected)
    }

    /// How many rows a round labels.
    pub(super) fn in_round(&self) -> usize {
        (self.sample / PART).max(1)
    }

    /// How many rows below the last cut go on as they are labelled in rounds, of so many that
    /// are not labelled yet: the rows of the sample that are nearest to the cut stand for
    /// those that rounds will take.
    pub(super) fn below_in_rounds(&self, cuts: &[StageCut], (rest, rounds): (f64, usize)) -> f64 {
        let Some((last, before)) = cuts.split_last() else { return 0.0 };
        let (Some(from), Some(of_last)) = (last.from, self.predictions.get(before.len())) else { return 0.0 };
        let passes = |(cut, of_stage): (&StageCut, &Vec<f64>), row: usize| {
            cut.from.is_none_or(|from| of_stage[row] >= from)
        };
        let enters = |row: &usize| before.iter().zip(&self.predictions).all(|stage| passes(stage, *row));
        let entering = (0..of_last.len()).filter(enters).map(|row| of_last[row] - from);
        let mut beside: Vec<f64> = entering.filter(|distance| distance.is_finite()).collect();
        beside.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let each = rest / of_last.len().max(1) as f64;
        let (mut wanted, mut below) = (rounds as f64 * self.in_round() as f64, 0.0);
        for distance in beside {
            let taken = each.min(wanted);
            wanted -= taken;
            below += if distance < 0.0 { taken } else { 0.0 };
        }
        below
    }

    /// The rank correlation of a stage's predictions with the scores of the sample, of
    /// rows that have a prediction.
    pub(super) fn spearman(&self, place: usize) -> f64 {
        let of_stage = self.predictions.get(place).into_iter().flatten();
        let both = of_stage.zip(&self.sampled.scores).filter(|(prediction, _)| prediction.is_finite());
        let (predictions, scores): (Vec<f64>, Vec<f64>) = both.map(|(a, b)| (*a, *b)).unzip();
        spearman(&predictions, &scores)
    }

    /// Which rows of the sample are the true top.
    pub(super) fn top(&self) -> Vec<bool> {
        top(&self.sampled.scores, self.share)
    }

    /// What a reader should know.
    pub(super) fn notes(&self) -> Vec<String> {
        self.data.notes(self.share)
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
            lacking: data.lacking.clone(),
            pool: data.pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use gstore_ingest::pipeline::SampleEncoderOptions;
    use gstore_query::influence::{InfluenceSpec, Order};

    use super::*;

    fn request() -> CascadeRequest {
        CascadeRequest {
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
            models: SampleEncoderOptions::default(),
        }
    }

    /// A sample with these columns, whose top is a share of 0.3, and so many rows of the pool.
    fn learned(x: &Matrix, scores: Vec<f64>, selected: usize) -> FittedCascade {
        let ids = (0..x.rows()).map(|i| format!("id{i}")).collect();
        let names = (0..x.cols()).map(|i| format!("x{i}")).collect();
        let y = Matrix::new(1, scores.clone());
        let data = Labelled::new(ids, (names, x), (vec!["y".to_owned()], &y), 10).unwrap();
        FittedCascade::new(data, ScoredSample { x: x.clone(), scores }, 0.3, selected)
    }

    #[test]
    fn rows_that_lack_a_value_are_kept_by_the_stage_that_looks_at_it() {
        let value = |i: i32| f64::from(i * 97 % 251) / 100.0;
        let columns = |i: i32| [value(i), if i % 3 == 0 { f64::NAN } else { value(i) }];
        let x = Matrix::new(2, (0..120).flat_map(columns).collect());
        let mut learned = learned(&x, (0..120).map(value).collect(), 60);
        let (request, work) = (request(), JobContext::silent("test"));
        learned.stage((0, 1), &request, &work).unwrap();
        learned.stage((1, 2), &request, &work).unwrap();
        assert_eq!((learned.sample, learned.predictions[0].len()), (80, 120));
        assert!(learned.predictions[0].iter().all(|value| value.is_finite()));
        let is_kept = |i: usize| learned.predictions[1][i] == f64::INFINITY;
        assert!((0..120).all(|i| is_kept(i) == (i % 3 == 0)));
        assert!(learned.spearman(0) > 0.99 && learned.spearman(1) > 0.99);
        // The top is that of all rows, and both stages remove some.
        assert_eq!(learned.top().iter().filter(|top| **top).count(), 36);
        let cuts = learned.cuts(0.9);
        assert!(cuts.iter().all(|cut| cut.from.is_some() && cut.bound >= 0.9), "{cuts:?}");
        assert!(cuts[0].kept < 0.6 && cuts[1].kept <= cuts[0].kept, "{cuts:?}");
    }

    #[test]
    fn rows_below_the_cut_that_rounds_label_are_expected_to_go_on() {
        let values: Vec<f64> = (0..120).map(f64::from).collect();
        let mut learned = learned(&Matrix::new(1, values.clone()), values.clone(), 300);
        learned.predictions = vec![values.clone()];
        let cut = |from| StageCut { from, kept: 0.5, recall: 1.0, bound: 0.9 };
        let below = |learned: &FittedCascade, cuts: &[StageCut], rounds| {
            learned.below_in_rounds(cuts, (240.0, rounds))
        };
        // A round takes 30 rows, and a row of the sample stands for two: 60 itself, and
        // seven on each side of it.
        assert_eq!(learned.in_round(), 30);
        assert_eq!(
            [0, 1, 1000].map(|rounds| below(&learned, &[cut(Some(60.0))], rounds)),
            [0.0, 14.0, 120.0]
        );
        assert_eq!(below(&learned, &[cut(None)], 1), 0.0);
        // What a stage before has removed is not there to be labelled.
        learned.predictions.push(values);
        assert_eq!(below(&learned, &[cut(Some(55.0)), cut(Some(60.0))], 1), 10.0);
    }

    #[test]
    fn rows_of_rounds_are_learned_from_and_not_calibrated_on() {
        let x: Vec<f64> = (0..120).map(|i| f64::from(i * 97 % 251) / 100.0).collect();
        let y = x.iter().enumerate().map(|(i, x)| x + (i * 31 % 17) as f64 / 50.0).collect();
        let (request, work) = (request(), JobContext::silent("test"));
        let mut learned = learned(&Matrix::new(1, x), y, 300);
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
