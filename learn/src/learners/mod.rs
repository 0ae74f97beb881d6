//! Learners: what predicts scores from features, all behind one form.

mod bins;
mod linear;
mod logistic;
mod network;
mod ridge;
mod trees;

use gstore_core::{Cancel, parallel};
use serde::{Deserialize, Serialize};

pub use linear::Linear;
pub use trees::TreeOptions;

use bins::Binned;
use linear::sigmoid;
use logistic::{GRADIENT, Logistic, logistic, unfinished};
use network::{LEVELS, Network, NetworkTarget, network, softmax};
use ridge::ridge;
use trees::{Boosted, boost};

use crate::error::LearnError;
use crate::judge::{levels, ranks, top};
use crate::matrix::Matrix;
use crate::standard::Standard;

/// How scores are predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learner {
    /// Ridge regression of the scores; of several penalties the one with the largest mean R2 out of fold.
    Ridge {
        /// Penalties to choose from.
        alphas: Vec<f64>,
    },
    /// Logistic regression of "in the true top".
    Logistic {
        /// Weight of the log losses against the penalty.
        c: f64,
        /// The share of rows that is the top.
        top: f64,
    },
    /// Gradient-boosted trees on the ranks of the scores.
    Trees(TreeOptions),
    /// A network that classifies rows by the terciles of the scores, as the published fork of LESS has.
    Classifier,
    /// A network over the standardised scores, of the same fork.
    Regressor,
}

impl Learner {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ridge { .. } => "ridge",
            Self::Logistic { .. } => "logistic",
            Self::Trees(_) => "trees",
            Self::Classifier => "classifier",
            Self::Regressor => "regressor",
        }
    }

    /// The fewest rows that it can learn anything from, and why.
    pub(crate) fn least_rows(&self) -> (usize, String) {
        match self {
            Self::Trees(options) => {
                let leaf = options.least.max(1);
                let why = format!(
                    "each fold learns from the others, and trees split them into two leaves of at least {leaf} rows"
                );
                (2 * leaf, why)
            }
            _ => (2, "each fold learns from the others".to_owned()),
        }
    }

    /// The fewest rows in so many folds of which each leaves enough others to learn from, and why.
    pub(crate) fn least_rows_in(&self, folds: usize) -> (usize, String) {
        let (least, why) = self.least_rows();
        // Folds differ in size by one at most.
        ((least * folds).div_ceil(folds.saturating_sub(1).max(1)), why)
    }

    pub(crate) fn check(&self) -> Result<(), LearnError> {
        let invalid = |why: &str| Err(LearnError::Invalid(why.to_owned()));
        match self {
            Self::Ridge { alphas }
                if alphas.is_empty() || alphas.iter().any(|a| !(*a > 0.0 && a.is_finite())) =>
            {
                invalid("penalties of the ridge: expected numbers above 0")
            }
            Self::Logistic { c, .. } if !(*c > 0.0 && c.is_finite()) => {
                invalid("weight of the log losses: expected a number above 0")
            }
            Self::Logistic { top, .. } if !(*top > 0.0 && *top < 1.0) => {
                invalid("the top is a share of rows between 0 and 1")
            }
            Self::Trees(o) if o.trees == 0 || o.leaves < 2 || !(o.rate > 0.0 && o.rate <= 1.0) => invalid(
                "trees need a number of at least 1, two leaves or more, and a rate above 0 and at most 1",
            ),
            _ => Ok(()),
        }
    }
}

/// A learner that was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLearner {
    standard: Standard,
    form: FittedForm,
    /// The largest part of the gradient of a logistic regression that ended above the one that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unfinished: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FittedForm {
    Ridge(Linear),
    Logistic(Linear),
    Trees(Vec<Boosted>),
    Classifier(Network),
    /// With the means and deviations of the targets.
    Regressor(Network, Standard),
}

/// What a network's random numbers, and threads and cancellation, are.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Seed.
    pub seed: u64,
    /// Threads; 0: one for each core.
    pub threads: usize,
    /// Stops the fit.
    pub cancel: &'a Cancel,
}

impl FittedLearner {
    /// The linear functions of a ridge or of a logistic regression.
    pub fn linear(&self) -> Option<&Linear> {
        match &self.form {
            FittedForm::Ridge(linear) | FittedForm::Logistic(linear) => Some(linear),
            _ => None,
        }
    }

    /// What a reader should know of the fit.
    pub fn note(&self) -> Option<String> {
        let gradient = self.unfinished?;
        Some(format!(
            "the logistic regression ended with a gradient of {gradient:.1e}, above {GRADIENT:.0e}: a smaller weight of the \
             log losses is fitted more exactly"
        ))
    }

    /// Predictions, a row for each row and a column for each target: higher is better.
    pub fn predict(&self, x: &Matrix) -> Matrix {
        let x = self.standard.apply(x);
        let mut found = Matrix::new(self.targets(), Vec::new());
        (0..x.rows()).for_each(|row| found.push(&self.of_row(x.row(row))));
        found
    }

    /// The level of each target that a classifier finds most likely, by row; none of other learners.
    pub(crate) fn levels(&self, x: &Matrix) -> Option<Vec<Vec<u8>>> {
        let FittedForm::Classifier(network) = &self.form else { return None };
        let x = self.standard.apply(x);
        let of_row = |row: usize| {
            let outputs = network.predict(x.row(row));
            let best = |levels: &[f32]| {
                (1..LEVELS).fold(0, |best, level| if levels[level] > levels[best] { level } else { best })
                    as u8
            };
            outputs.chunks_exact(LEVELS).map(best).collect()
        };
        Some((0..x.rows()).map(of_row).collect())
    }

    fn targets(&self) -> usize {
        match &self.form {
            FittedForm::Ridge(linear) | FittedForm::Logistic(linear) => linear.intercepts.len(),
            FittedForm::Trees(trees) => trees.len(),
            FittedForm::Classifier(network) => network.outputs / LEVELS,
            FittedForm::Regressor(network, of_targets) => {
                network.outputs.min(of_targets.means.len()).min(of_targets.deviations.len())
            }
        }
    }

    fn of_row(&self, row: &[f64]) -> Vec<f64> {
        match &self.form {
            FittedForm::Ridge(linear) => linear.predict(row).collect(),
            FittedForm::Logistic(linear) => linear.predict(row).map(sigmoid).collect(),
            FittedForm::Trees(trees) => trees.iter().map(|trees| trees.predict(row)).collect(),
            FittedForm::Classifier(network) => {
                let chance = |levels: &[f32]| f64::from(softmax(levels)[LEVELS - 1]);
                network.predict(row).chunks_exact(LEVELS).map(chance).collect()
            }
            FittedForm::Regressor(network, of_targets) => {
                let units = of_targets.means.iter().zip(&of_targets.deviations);
                network
                    .predict(row)
                    .iter()
                    .zip(units)
                    .map(|(value, (m, d))| f64::from(*value) * d + m)
                    .collect()
            }
        }
    }
}

/// Fits a learner; of a ridge one fit for each penalty, else one.
///
/// `labels` are those of a logistic regression where they are not to follow from these rows alone.
///
/// # Errors
/// Options that make no sense, a system that is too large, and being told to stop.
pub fn fit(
    learner: &Learner,
    x: &Matrix,
    y: &Matrix,
    labels: Option<&[Vec<bool>]>,
    means: &Means<'_>,
) -> Result<Vec<FittedLearner>, LearnError> {
    learner.check()?;
    let standard = Standard::of(x);
    let x = standard.apply(x);
    let targets: Vec<usize> = (0..y.cols()).collect();
    let mut early = None;
    let forms: Vec<FittedForm> = match learner {
        Learner::Ridge { alphas } => {
            let all = ridge(&x, y, alphas, (means.threads, means.cancel))?;
            all.into_iter().map(FittedForm::Ridge).collect()
        }
        Learner::Logistic { c, top: share } => {
            let of_target = |target: &usize| -> Result<Logistic, LearnError> {
                match labels.and_then(|labels| labels.get(*target)) {
                    Some(labels) => logistic(&x, labels, *c, means.cancel),
                    None => logistic(&x, &top(&y.column(*target), *share), *c, means.cancel),
                }
            };
            let all = parallel::map(&targets, 1, means.threads, means.cancel, of_target)?;
            early = unfinished(&all);
            let mut coefficients = Matrix::new(x.cols(), Vec::new());
            all.iter().for_each(|one| coefficients.push(&one.coefficients));
            let intercepts = all.iter().map(|one| one.intercept).collect();
            vec![FittedForm::Logistic(Linear { coefficients, intercepts })]
        }
        Learner::Trees(options) => {
            let binned = Binned::of(&x);
            let of_target =
                |target: &usize| boost(&binned, &ranks(&y.column(*target)), options, means.cancel);
            vec![FittedForm::Trees(parallel::map(&targets, 1, means.threads, means.cancel, of_target)?)]
        }
        Learner::Classifier => {
            let by_target: Vec<Vec<u8>> = targets.iter().map(|target| levels(&y.column(*target))).collect();
            let weights: Vec<[f32; LEVELS]> = by_target.iter().map(|levels| balanced(levels)).collect();
            let by_row: Vec<Vec<u8>> =
                (0..x.rows()).map(|row| by_target.iter().map(|levels| levels[row]).collect()).collect();
            let aim = NetworkTarget::Levels(&by_row, &weights);
            vec![FittedForm::Classifier(network(&x, &aim, means.seed, means.cancel)?)]
        }
        Learner::Regressor => {
            let of_targets = Standard::of(y);
            let values = of_targets.apply(y);
            let fitted = network(&x, &NetworkTarget::Values(&values), means.seed, means.cancel)?;
            vec![FittedForm::Regressor(fitted, of_targets)]
        }
    };
    let of = |form| FittedLearner { standard: standard.clone(), form, unfinished: early };
    Ok(forms.into_iter().map(of).collect())
}

/// Weights under which every level counts as much.
fn balanced(of_rows: &[u8]) -> [f32; LEVELS] {
    let mut counts = [0usize; LEVELS];
    of_rows.iter().for_each(|level| counts[usize::from(*level)] += 1);
    counts.map(|count| of_rows.len() as f32 / (LEVELS * count.max(1)) as f32)
}
