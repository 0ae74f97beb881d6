//! Calibration of a cascade: each stage's learner and cut, from the rows that are labelled.

use gstore_learn::judge::{StageCut, cascade, spearman, top};
use gstore_learn::learners::{Fitted, Learner, Means, fit};
use gstore_learn::{FitOptions, Labelled, Matrix, folds, out_of_fold};

use super::CascadeRequest;
use crate::answer::AnswerError;
use crate::work::Work;

/// What was learned of the stages.
pub(super) struct Calibrated {
    /// Of each stage, what predicts from its columns and those before.
    pub(super) learners: Vec<Fitted>,
    /// Of each stage, what goes on.
    pub(super) cuts: Vec<StageCut>,
    /// Of each stage, the rank correlation of predictions out of fold with the scores.
    pub(super) spearman: Vec<f64>,
    /// Labelled rows of the true top.
    pub(super) top: usize,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
}

/// Learns from labelled rows. `widths`: how many of the columns each stage knows; `share`: that of the rows
/// which is the true top.
///
/// # Errors
/// Data from which nothing can be learned, and being told to stop.
pub(super) fn calibrate(
    data: &Labelled,
    widths: &[usize],
    share: f64,
    request: &CascadeRequest,
    work: &Work<'_>,
) -> Result<Calibrated, AnswerError> {
    let scores = data.y.column(0);
    let tops = top(&scores, share);
    let learner = match &request.learner {
        Learner::Logistic { c, .. } => Learner::Logistic { c: *c, top: share },
        other => other.clone(),
    };
    let means = Means { seed: request.seed, threads: work.threads, cancel: work.cancel };
    let of_rows = folds(&data.ids, FitOptions::default().folds, request.seed);
    let (mut learners, mut predictions) = (Vec::new(), Vec::new());
    for width in widths {
        let known = first_columns(data, *width);
        let found = out_of_fold(&known, &learner, &of_rows, &means)?;
        let fitted = fit(&found.learner, &known.x, &known.y, None, &means)?;
        learners.extend(fitted.into_iter().next());
        predictions.push(found.predictions.column(0));
    }
    Ok(Calibrated {
        learners,
        cuts: cascade(&predictions, &tops, request.recall),
        spearman: predictions.iter().map(|of_stage| spearman(of_stage, &scores)).collect(),
        top: tops.iter().filter(|top| **top).count(),
        notes: data.notes(share),
    })
}

/// The same rows with their first columns.
fn first_columns(data: &Labelled, width: usize) -> Labelled {
    let values = (0..data.x.rows()).flat_map(|row| &data.x.row(row)[..width]);
    Labelled {
        ids: data.ids.clone(),
        features: data.features[..width].to_vec(),
        x: Matrix::new(width, values.copied().collect()),
        targets: data.targets.clone(),
        y: data.y.clone(),
        left_out: data.left_out,
    }
}
