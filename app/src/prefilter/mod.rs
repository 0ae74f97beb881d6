//! Prefilters of a store: fitting them to scores, publishing them, predicting with them, judging them later.

mod apply;
mod evaluate;
mod labels;
mod list;
mod picture;
mod scored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gstore_core::Remedy;
use gstore_learn::judge::{Budget, Cost, MissingFeature, Report, Unpredicted, kept_rows};
use gstore_learn::learners::{Learner, Means};
use gstore_learn::{FeatureSet, FitOptions, KIND, Labelled, LearnError, Matrix, Prediction, Prefilter};
use gstore_store::{ArtifactPart, Snapshot, Store};
use serde_json::{Map, Value, json};

pub use apply::{ApplyReport, KeptRows, PredictionTable, apply_prefilter};
pub use evaluate::evaluate_prefilter;
pub use labels::{LabelDraw, LabelRequest};
pub use list::{PrefilterNote, list_prefilters};
pub use picture::recall_picture;

use self::labels::{LabelFilter, Labels, labels};
use crate::answer::AnswerError;
use crate::ceiling::tell_ceiling;
use crate::rows::random_rows;
use crate::work::JobContext;

/// What is to be fitted.
#[derive(Debug, Clone)]
pub struct PrefilterRequest {
    /// The dataset that is to be filtered.
    pub pool: String,
    /// Names of its features.
    pub features: Vec<String>,
    /// Labels.
    pub labels: LabelRequest,
    /// How it is fitted.
    pub options: FitOptions,
    /// Measured seconds of a row's cheap features and of its gradients at all checkpoints.
    pub seconds: Option<(f64, f64)>,
}

/// Rows of the pool at whose predictions a share is cut, and of which those without one are counted: the
/// error of a share is below 1 %.
const SHARE_ROWS: u64 = 20_000;

/// Fits a prefilter and reports on it. Nothing is published.
///
/// # Errors
/// Labels or features that cannot be had, data from which nothing can be learned, damage, being told to stop.
pub fn fit_prefilter(
    snapshot: &Arc<Snapshot>,
    request: &PrefilterRequest,
    work: &mut JobContext<'_>,
) -> Result<(Prefilter, Report), AnswerError> {
    request.options.check()?;
    let live = snapshot.dataset(&request.pool)?.rows;
    let set = FeatureSet::resolve(snapshot, &request.pool, &request.features)?;
    let wanted = LabelFilter { pool: &request.pool, is_known: &|_, _| false };
    let found = labels(snapshot, (&request.labels, wanted), work)?;
    let candidates = found.scored_of(live.saturating_sub(found.in_target));
    let options = among_candidates(&request.options, live, candidates)?;
    for (target, noise) in request.labels.targets.iter().zip(&found.noise) {
        tell_ceiling(target, noise.ok(), (options.top, &options.budgets), work);
    }
    let mut features = set.open(snapshot, &request.pool)?;
    let numbers: Vec<u64> = found.rows.iter().map(|(row, _)| *row).collect();
    features.learn_values(&numbers)?;
    let x = features.read(&numbers)?;
    let without = features.without_value(&x);
    if !numbers.is_empty() && !without.is_empty() {
        return Err(AnswerError::Refused(format!(
            "no labelled row has a value of {}: other features are needed",
            without.join(", ")
        )));
    }
    let least = options.least_rows();
    let data = join_features(&found, &x, features.set(), &request.labels, least)?;
    let drawn = request.labels.drawn_of(&found);
    let data = if drawn == LabelDraw::Unknown { data } else { data.of_pool(candidates as usize) };
    let means = Means { seed: options.seed, threads: work.threads, cancel: work.cancel };
    let (mut prefilter, mut report, held_out) =
        Prefilter::fit(features.set().clone(), &data, &options, &found.reliability(), &means)?;
    report.in_target = found.in_target;
    report.notes.extend(found.notes(&request.labels.dataset));
    if drawn == LabelDraw::Unknown {
        report.notes.push(format!(
            "nothing says that the labelled rows were drawn at random from all rows of `{}`: the bound of the recall counts \
             none of them as found, and holds as far as they are like the others; {}, where they were drawn so, gives a \
             higher one",
            request.pool,
            Remedy::Option("random_labels", "")
        ));
    }
    prefilter.pool = Some(request.pool.clone());
    prefilter.pool_end = Some(snapshot.dataset(&request.pool)?.next_row);
    let (mut predictions, unpredicted) = predictions(snapshot, request, &prefilter, work)?;
    if let Budget::Share(share) = request.options.budget {
        report.choice = prefilter.cut_at(share, &mut predictions, (&held_out, &data));
        report.notes.extend(prefilter.notes_of_ties(share, &predictions));
    }
    let of_labels = found.vectors.passes(&[]);
    let (feature, gradient) = request.seconds.unwrap_or((features.set().passes().count(), of_labels));
    // What was measured is what each takes by itself.
    let shared =
        if request.seconds.is_some() { 0.0 } else { of_labels - found.vectors.passes(&features.keys()) };
    // The rows that `apply_prefilter` keeps: what the learner of all labelled rows predicts decides, and not
    // what those of the folds did. Rows of the pool that nothing is predicted of are kept.
    let kept = predictions.iter().filter(|row| row.kept).count() as f64 / predictions.len().max(1) as f64;
    let kept = kept * (1.0 - unpredicted.share) + unpredicted.share;
    report.unpredicted = Some(unpredicted);
    let (labelled, measured) = (found.ids.len() as u64, request.seconds.is_some());
    let cost = Cost { rows: live, labelled, kept, feature, gradient, shared, measured };
    report.cost = Some(cost);
    prefilter.provenance = provenance(snapshot, request, (&prefilter, &report), &found, cost);
    Ok((prefilter, report))
}

/// The options with a top of as many rows as the asked share of all live ones, as a selection has: among the
/// candidates, which do not occur in the target and have a score, these are a larger share, and not all.
fn among_candidates(options: &FitOptions, live: u64, candidates: u64) -> Result<FitOptions, AnswerError> {
    let mut options = options.clone();
    if candidates < live && candidates > 0 {
        let top = kept_rows(options.top, live as usize).max(1) as u64;
        if top >= candidates {
            return Err(AnswerError::Refused(format!(
                "a prefilter chooses among rows: a top of {top} of the {candidates} that can be selected leaves it no choice"
            )));
        }
        options.top = top as f64 / candidates as f64;
        if let Learner::Logistic { top, .. } = &mut options.learner {
            *top = options.top;
        }
    }
    Ok(options)
}

/// Predictions of a sample of the pool, of which a share of rows is taken, and what of it has none. Labelled
/// rows say nothing of the latter: they may be those that have all values. They are drawn by the seed itself,
/// and the sample by another one, in which they are as large a part as in the pool.
fn predictions(
    snapshot: &Arc<Snapshot>,
    request: &PrefilterRequest,
    prefilter: &Prefilter,
    work: &JobContext<'_>,
) -> Result<(Vec<Prediction>, Unpredicted), AnswerError> {
    let features = prefilter.open(snapshot, &request.pool)?;
    let rows = random_rows(features.samples().rows(), SHARE_ROWS, !request.options.seed);
    let mut found = Vec::new();
    let mut there: BTreeMap<&str, usize> = BTreeMap::new();
    for own in rows.by_cell() {
        work.cancel.check()?;
        let x = features.read(&own)?;
        let mut predictions = prefilter.predict(&x);
        prefilter.keep_labelled(&features, &own, &mut predictions)?;
        found.extend(predictions.into_iter().flatten());
        features.with_value(&x).into_iter().for_each(|(name, with)| *there.entry(name).or_default() += with);
    }
    let without = |with: usize| 1.0 - with as f64 / rows.len().max(1) as f64;
    let lacking = there
        .into_iter()
        .map(|(name, with)| MissingFeature { feature: name.to_owned(), share: without(with) });
    let mut lacking: Vec<MissingFeature> = lacking.filter(|of| of.share > 0.0).collect();
    lacking.sort_by(|a, b| b.share.total_cmp(&a.share));
    let share = without(found.len());
    Ok((found, Unpredicted { share, lacking }))
}

/// Labels and features of the rows that have both.
fn join_features(
    found: &Labels,
    x: &Matrix,
    set: &FeatureSet,
    request: &LabelRequest,
    least: usize,
) -> Result<Labelled, LearnError> {
    let places: Vec<usize> = found.rows.iter().map(|(_, place)| *place).collect();
    let ids: Vec<String> = places.iter().map(|place| found.ids[*place].clone()).collect();
    let y = found.scores.select(&places);
    Labelled::new(ids, (set.columns(), x), (request.targets.clone(), &y), least)
}

fn provenance(
    snapshot: &Snapshot,
    request: &PrefilterRequest,
    (prefilter, report): (&Prefilter, &Report),
    found: &Labels,
    cost: Cost,
) -> Map<String, Value> {
    serde_json::from_value(json!({
        "pool": request.pool,
        "features": request.features,
        "labels_of": request.labels.dataset,
        "labels_drawn": request.labels.drawn_of(found),
        "targets": request.labels.targets,
        "scored": found.scored,
        "top": request.options.top,
        "rows": report.rows,
        "snapshot": snapshot.number(),
        "learner": report.learner,
        "parameters": prefilter.learner,
        "budget": request.options.budget,
        "folds": request.options.folds,
        "seed": request.options.seed,
        "kept": cost.kept,
        "recall": report.choice.recall,
        "recall_at_least": report.choice.bound,
        "saving": cost.saving(),
    }))
    .unwrap_or_default()
}

/// Publishes a prefilter under a name, in place of what `over`, a snapshot that the caller looked at, has
/// there.
///
/// # Errors
/// A name that is taken or is none, what was to be replaced is not as it was, and a store that cannot be
/// written.
pub fn publish_prefilter(
    store: &Store,
    name: &str,
    prefilter: &Prefilter,
    over: Option<&Snapshot>,
    command: &str,
) -> Result<Arc<Snapshot>, AnswerError> {
    let seen = store.snapshot().map_err(|error| AnswerError::Refused(error.to_string()))?;
    let datasets = learned_from(prefilter).into_iter().filter(|name| seen.dataset(name).is_ok()).collect();
    let mut artifact = ArtifactPart::new(name, KIND, datasets, prefilter.to_value());
    artifact.provenance = prefilter.provenance.clone();
    Ok(store.put_artifact(artifact, None, over, command)?)
}

/// The datasets of a prefilter's rows, labels and targets: who may not see all of them does not see it.
fn learned_from(prefilter: &Prefilter) -> BTreeSet<String> {
    let of = |name: &str| prefilter.provenance.get(name).and_then(Value::as_str);
    let targets = prefilter.provenance.get("targets").and_then(Value::as_array).into_iter().flatten();
    let targets = targets.filter_map(Value::as_str).filter_map(|target| target.split(':').next());
    targets.chain(of("pool")).chain(of("labels_of")).map(str::to_owned).collect()
}

/// The prefilter of a name.
///
/// # Errors
/// There is none of this name, it is another artifact, or it is damaged.
pub fn prefilter(snapshot: &Snapshot, name: &str) -> Result<Prefilter, AnswerError> {
    Ok(Prefilter::from_value(snapshot.artifact_of_kind(KIND, name)?.content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_top_among_candidates_has_as_many_rows_as_that_of_all() {
        let options = FitOptions {
            learner: Learner::Logistic { c: 1.0, top: 0.05 },
            top: 0.05,
            ..FitOptions::default()
        };
        let among = |live, candidates| among_candidates(&options, live, candidates);
        assert_eq!(among(1291, 1291).expect("a share").top, 0.05);
        let found = among(1291, 1100).expect("a share");
        assert_eq!((kept_rows(0.05, 1291), kept_rows(found.top, 1100)), (64, 64));
        assert!(matches!(found.learner, Learner::Logistic { top, .. } if top == found.top));
        for candidates in [64, 20] {
            let refused = among(1291, candidates).expect_err("all of them").to_string();
            assert!(refused.contains(&format!("a top of 64 of the {candidates} ")), "{refused}");
        }
    }
}
