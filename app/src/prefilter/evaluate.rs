//! Judging a stored prefilter on labels of other rows.

use std::sync::Arc;

use gstore_learn::judge::Report;
use gstore_learn::{FitOptions, Prefilter};
use gstore_store::Snapshot;
use serde_json::Value;

use super::join_features;
use super::labels::{LabelFilter, LabelRequest, Labels, labels};
use super::scored::difference;
use crate::answer::AnswerError;
use crate::work::JobContext;

/// Judges a prefilter on labels of rows that it has not learned from.
///
/// # Errors
/// As [`super::fit_prefilter`], labels of nothing but rows that it has learned from, and labels that are
/// other scores than those that it predicts.
pub fn evaluate_prefilter(
    snapshot: &Arc<Snapshot>,
    prefilter: &Prefilter,
    (pool, request): (&str, &LabelRequest),
    options: &FitOptions,
    work: &mut JobContext<'_>,
) -> Result<Report, AnswerError> {
    let request = &in_order(prefilter, request);
    let wanted = LabelFilter { pool, is_known: &|row, id| prefilter.learned_from(pool, row, id) };
    let found = labels(snapshot, (request, wanted), work)?;
    check_scored(prefilter, request, &found)?;
    let features = prefilter.open(snapshot, pool)?;
    let numbers: Vec<u64> = found.rows.iter().map(|(row, _)| *row).collect();
    let data = join_features(&found, &features.read(&numbers)?, features.set(), request, 2)?;
    let mut report = prefilter.evaluate(&data, options, &found.reliability(), work.cancel)?;
    report.in_target = found.in_target;
    report.notes.extend(found.notes(&request.dataset));
    Ok(report)
}

/// The same labels, with the targets in the order that they have in the prefilter where they are its own.
fn in_order(prefilter: &Prefilter, request: &LabelRequest) -> LabelRequest {
    let (own, given) = (&prefilter.targets, &request.targets);
    let is_own = own.len() == given.len() && own.iter().all(|target| given.contains(target));
    let targets = if is_own { own.clone() } else { given.clone() };
    LabelRequest { targets, ..request.clone() }
}

/// Refuses labels that are other scores than a prefilter has learned, as far as that was noted.
fn check_scored(prefilter: &Prefilter, request: &LabelRequest, found: &Labels) -> Result<(), AnswerError> {
    let noted = prefilter.provenance.get("scored").and_then(Value::as_array);
    // Other targets are refused by name.
    let Some(noted) = noted.filter(|_| request.targets == prefilter.targets) else { return Ok(()) };
    for ((target, before), now) in request.targets.iter().zip(noted).zip(&found.scored) {
        if let Some(what) = before.as_object().and_then(|before| difference(before, now)) {
            return Err(AnswerError::Refused(format!(
                "target `{target}`: the labels are not the scores that the prefilter has learned to predict: {what}; \
                 score the rows as for its fit, or fit another"
            )));
        }
    }
    Ok(())
}
