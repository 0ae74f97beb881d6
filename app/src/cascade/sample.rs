//! The sample of a cascade: how many rows are labelled, which they are, and what is computed of them.

use std::sync::Arc;

use gstore_core::many;
use gstore_learn::FitOptions;
use gstore_learn::judge::{least_top, percent};
use gstore_query::influence::resolve_top;
use gstore_store::{RowSet, Snapshot, Store};

use super::CascadeRequest;
use super::candidates::check_counts;
use super::cost::ComputeCost;
use super::source::CascadeSource;
use super::stages::Stage;
use crate::answer::AnswerError;
use crate::rows::{FindError, matching, random_rows};
use crate::work::JobContext;

/// Some rows more than are needed: of a few nothing can be learned.
const SPARE: f64 = 1.05;

/// Rows that might be selected, and what follows from their number.
pub(super) struct CandidatePool {
    pub(super) rows: RowSet,
    /// The share of them that is selected.
    pub(super) top: f64,
    /// Their number.
    pub(super) selected: usize,
    pub(super) labelled: RowSet,
    /// How many others are left out since they occur in the target.
    pub(super) in_target: u64,
}

/// The rows of a cascade, a sample of them that is large enough, and what is to be spent.
pub(super) fn draw(
    (store, snapshot): (&Store, &Arc<Snapshot>),
    source: &CascadeSource,
    request: &CascadeRequest,
    stages: &[Stage],
    work: &mut JobContext<'_>,
) -> Result<(CandidatePool, ComputeCost), AnswerError> {
    let part = snapshot.dataset(source.pool())?;
    let rows = match &request.condition {
        Some(condition) => matching(snapshot, source.pool(), condition, work.threads, work.cancel)?,
        None => RowSet::clone(&*snapshot.live_rows(part)?),
    };
    let k = resolve_top(&request.top, part.rows)?;
    if rows.is_empty() && request.condition.is_some() {
        return Err(AnswerError::Condition(FindError::NoRow { rows: part.rows }));
    }
    let in_target = source.in_target(snapshot, work)?;
    let (rows, in_target) = (rows.difference(&in_target), rows.intersection(&in_target).len());
    let all = rows.len();
    if k == 0 || k as u64 >= all {
        return Err(AnswerError::Refused(format!(
            "a cascade chooses among rows: {k} of {all} leaves it no choice"
        )));
    }
    check_counts(part, source, stages, &rows)?;
    let needed = least_to_learn(request, all)?;
    let top = k as f64 / all as f64;
    let labels = |misses, spare| labels_for(request.recall, (stages.len(), misses), (k as u64, all), spare);
    let least = labels(0, 1.0);
    // With a miss for each stage cuts are worth more, where that is no large part of the pool.
    let usual = labels(stages.len(), SPARE).min(all / 4).max(labels(0, SPARE));
    let count = request.labels.unwrap_or(usual.max(needed));
    check_labels(request, (count, least, all), top, stages.len())?;
    let rest = (all - count) as f64;
    // At least the rows that are still to be found among the unlabelled ones go on.
    let found = (rest * top - (1.0 - request.recall) * k as f64).max(0.0);
    let entering = (0..=stages.len()).map(|stage| if stage == 0 { rest } else { found });
    let missing = source.missing((store, snapshot), stages, &rows, work)?;
    if !missing.gradients.contains(&true) {
        return Err(AnswerError::Cascade(
            "nothing was computed, because nothing can be saved: the pool has all gradients of these rows already; select \
             without a cascade"
                .to_owned(),
        ));
    }
    let spent = ComputeCost::new(stages, &missing);
    let cost = spent.passes(all, count, entering.collect());
    if cost.saving() <= 0.0 {
        return Err(AnswerError::Cascade(format!(
            "nothing was computed, because nothing can be saved: labels of {count} of {} and the stages take at least {:.0} \
             forward passes, against {:.0} for the gradients of all rows; fewer stages, a lower recall, or a larger \
             selection take fewer labels",
            many(all, "row"),
            cost.with(),
            cost.without()
        )));
    }
    let labelled = random_rows(&rows, count, request.seed);
    Ok((CandidatePool { rows, top, selected: k, labelled, in_target }, spent))
}

/// Checks `count` labels of the `all` rows of a pool, of which the recall over some stages takes `least`.
/// `top`: the share of the rows that is selected.
fn check_labels(
    request: &CascadeRequest,
    (count, least, all): (u64, u64, u64),
    top: f64,
    stages: usize,
) -> Result<(), AnswerError> {
    // Without a number of labels there are enough of them. One that is too small is no cascade that saves
    // nothing.
    if count < least {
        return Err(AnswerError::Refused(format!(
            "{} have about {:.0} of the top {}: a recall of {} over {} takes {least}; fewer stages, a lower recall, or a larger \
             selection take fewer",
            many(count, "labelled row"),
            count as f64 * top,
            percent(top),
            percent(request.recall),
            many(stages as u64, "stage")
        )));
    }
    if let Some(asked) = request.labels.filter(|asked| *asked >= all && least < all) {
        return Err(AnswerError::Refused(format!(
            "{} leave none of the {all} rows of the pool to choose from: a recall of {} takes at least \
             {least}, and at most {} leave one",
            many(asked, "labelled row"),
            percent(request.recall),
            all - 1
        )));
    }
    if count >= all {
        return Err(AnswerError::Cascade(format!(
            "nothing was computed, because nothing can be saved: a recall of {} of the top {} takes {} labelled \
             rows, and the pool has {all}; fewer stages, a lower recall, or a larger selection take fewer",
            percent(request.recall),
            percent(top),
            if request.labels.is_some() { least } else { count }
        )));
    }
    Ok(())
}

/// How many labelled rows the learner needs, of so many rows of the pool.
///
/// # Errors
/// It would not have them: known before any row costs anything.
fn least_to_learn(request: &CascadeRequest, all: u64) -> Result<u64, AnswerError> {
    let options = FitOptions { learner: request.learner.clone(), ..FitOptions::default() };
    let (needed, why) = options.needed_rows();
    match request.labels.unwrap_or(all) {
        rows if rows < needed as u64 => Err(AnswerError::Refused(format!(
            "{} are too few for {}: {needed} are needed: {why}",
            many(rows, "labelled row"),
            request.learner.name()
        ))),
        _ => Ok(needed as u64),
    }
}

/// How many rows of a pool are labelled so that stages, which leave out `misses` labelled rows of the top,
/// have this recall. `selected` of `all` rows are the top.
fn labels_for(recall: f64, (stages, misses): (usize, usize), (selected, all): (u64, u64), spare: f64) -> u64 {
    let of_top = least_top(recall, stages, misses, selected as usize) as f64;
    (of_top * spare / (selected as f64 / all as f64)).ceil() as u64
}

/// Computes all features of the labelled rows, gradients last: they cost most. Gives the keys of the forward
/// passes by stage.
pub(super) fn compute_sample(
    store: &Store,
    source: &CascadeSource,
    stages: &[Stage],
    (labelled, spent): (&RowSet, &mut ComputeCost),
    work: &mut JobContext<'_>,
) -> Result<Vec<Vec<String>>, AnswerError> {
    let mut keys = vec![Vec::new(); stages.len()];
    for (place, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.kinds.is_empty()) {
        let computed = source.compute(store, source.forward(&stage.kinds), labelled, work)?;
        spent.forward(place, computed.measured);
        keys[place] = computed.keys;
    }
    let all = source.gradients_at(source.checkpoints());
    spent.gradients(source.compute(store, all, labelled, work)?.measured);
    Ok(keys)
}

/// The names of each stage's inputs.
pub(super) fn inputs(
    snapshot: &Snapshot,
    stages: &[Stage],
    keys: &[Vec<String>],
) -> Result<Vec<Vec<String>>, AnswerError> {
    let label = |key: &String| match snapshot.feature_by_key(key) {
        Some(part) => Ok(part.attrs.label.clone()),
        None => {
            Err(AnswerError::Refused("a feature of the cascade was dropped while it was computed".to_owned()))
        }
    };
    let mut found = Vec::with_capacity(stages.len());
    let mut is_first_pass = true;
    for (stage, keys) in stages.iter().zip(keys) {
        let labels = keys.iter().map(label).collect::<Result<Vec<String>, _>>()?;
        let is_first = is_first_pass && !labels.is_empty();
        is_first_pass &= labels.is_empty();
        found.push(stage.inputs(&labels, is_first));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_from_the_top_and_grow_with_the_pool_up_to_a_limit() {
        // 85, 70 and 49 of 224 rows.
        let of = |stages, misses, spare| labels_for(0.95, (stages, misses), (224, 4480), spare);
        assert_eq!([1, 2, 3].map(|stages| of(stages, 0, 1.0)), [980, 1400, 1700]);
        assert_eq!((of(3, 0, SPARE), of(3, 3, SPARE)), (1785, 2436));
        let sizes = [100u64, 1000, 20_000, 20_000_000];
        let found = sizes.map(|top| labels_for(0.95, (3, 0), (top, 20 * top), 1.0));
        assert_eq!(found, [59 * 20, 113 * 20, 124 * 20, 124 * 20]);
        // A top that is too small for any cut takes all rows.
        assert_eq!(labels_for(0.95, (2, 0), (15, 300), 1.0), 300);
    }
}
